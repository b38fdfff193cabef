//! What an unquoted scalar means: the rules of `serde_yaml`, which are those of the YAML 1.2 core schema (`no`, `on`,
//! `010`, `1_000` and `12:30` are text).

use crate::base::tree::Data;

/// The meaning of a plain scalar. `None` for an integer beyond 64 bits signed, which nothing here can hold exactly.
pub fn resolve(text: &str) -> Option<Data> {
    match text {
        "" | "null" | "Null" | "NULL" | "~" => return Some(Data::Null),
        "true" | "True" | "TRUE" => return Some(Data::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Data::Bool(false)),
        _ => {}
    }
    if leading_zero(text) {
        return Some(Data::Text(text.to_owned()));
    }
    if let Some(number) = integer(text) {
        return i64::try_from(number).ok().map(Data::Int);
    }
    Some(float(text).map_or_else(|| Data::Text(text.to_owned()), Data::Float))
}

/// Whether `key`, as it is written, is how the YAML value is spelled.
pub fn spelled(value: &serde_yaml::Value, key: &str) -> bool {
    use serde_yaml::Value;
    match (resolve(key), value) {
        (Some(Data::Null), Value::Null) => true,
        (Some(Data::Bool(a)), Value::Bool(b)) => a == *b,
        (Some(Data::Int(a)), Value::Number(b)) => b.as_i64() == Some(a),
        (Some(Data::Float(a)), Value::Number(b)) => b.as_f64() == Some(a),
        _ => false,
    }
}

/// Zeros before other digits make text of it: an article number, not a number.
fn leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Decimal, `0x`, `0o` and `0b` integers with at most one sign.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    for (prefix, radix) in radix {
        if let Some(rest) = digits.strip_prefix(prefix)
            && !rest.starts_with(['+', '-'])
            && let Ok(number) = i128::from_str_radix(rest, radix)
        {
            return Some(if negative { -number } else { number });
        }
    }
    let number = digits.parse::<i128>().ok()?;
    Some(if negative { -number } else { number })
}

/// Decimal fractions and exponents, `.inf`, `.nan`.
fn float(text: &str) -> Option<f64> {
    let unsigned = match text.strip_prefix('+') {
        Some(rest) if rest.starts_with(['+', '-']) => return None,
        Some(rest) => rest,
        None => text,
    };
    match (unsigned, text) {
        (".inf" | ".Inf" | ".INF", _) => return Some(f64::INFINITY),
        (_, "-.inf" | "-.Inf" | "-.INF") => return Some(f64::NEG_INFINITY),
        (_, ".nan" | ".NaN" | ".NAN") => return Some(f64::NAN),
        _ => {}
    }
    unsigned.parse::<f64>().ok().filter(|f| f.is_finite())
}
