//! Numbers from text and text from numbers.

use bumpalo::Bump;

use super::{Function, Return, any, float, function, int, made, optional, text};
use crate::data::value::Val;
use crate::expr::fault::Fault;
use crate::expr::ops::{Spelling, spelled};

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "to_text(x)",
            "A number or bool as it is spelled; text as it is.",
            ("to_text(1.50)", "\"1.5\""),
            to_text,
        ),
        function(
            "parse_int(text, base?)",
            "The integer that a text spells, also after `0x`, `0o` or `0b` if the base is theirs; `()` if it spells none.",
            ("parse_int(\"ff\", 16)", "255"),
            parse_int,
        ),
        function(
            "parse_number(text)",
            "The integer that a text spells, or else the float; `()` if it spells none.",
            ("parse_number(\"2.50\")", "2.5"),
            parse_number,
        ),
        function(
            "parse_bool(text)",
            "What `true`, `yes`, `on` and `1` or `false`, `no`, `off` and `0` say, in capitals or not; `()` for anything else.",
            ("parse_bool(\"Yes\")", "true"),
            parse_bool,
        ),
        function(
            "format_number(x, decimals, thousands?)",
            "The number with so many decimals, halves away from zero, and with something between its thousands.",
            ("format_number(1234567.891, 2, \",\")", "\"1,234,567.89\""),
            format_number,
        ),
        function(
            "to_base(x, base)",
            "An integer's digits in a base, 2 to 36, small letters; `parse_int` reads them.",
            ("to_base(255, 16)", "\"ff\""),
            to_base,
        ),
        function(
            "parse_float(text)",
            "The number that a text spells, as a float; `()` if it spells none.",
            ("parse_float(\"1e3\")", "1000.0"),
            parse_float,
        ),
    ]
}

fn to_text<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let value = any(args, 0);
    if let Val::Text(_) = value {
        return Ok(value.into());
    }
    let mut room = Spelling::default();
    made(spelled(value, &mut room).ok_or_else(|| Fault::of(0, value))?, arena)
}

/// The base that an argument is.
fn base(args: &[Val<'_>]) -> Result<u32, Fault> {
    let base = u32::try_from(int(args, 1)?).ok().filter(|b| (2..=36).contains(b));
    base.ok_or_else(|| Fault::Unfit(1, "is no base; it is between 2 and 36".into()))
}

fn parse_int<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if let Val::Int(_) = any(args, 0) {
        return Ok(any(args, 0).into());
    }
    let base = if args.len() > 1 { base(args)? } else { 10 };
    let spelling = text(args, 0)?.trim();
    let marked = match base {
        2 => spelling.strip_prefix("0b").or_else(|| spelling.strip_prefix("0B")),
        8 => spelling.strip_prefix("0o").or_else(|| spelling.strip_prefix("0O")),
        16 => spelling.strip_prefix("0x").or_else(|| spelling.strip_prefix("0X")),
        _ => None,
    };
    // After the mark come digits, no second sign.
    let digits = marked.filter(|rest| !rest.starts_with(['+', '-'])).unwrap_or(spelling);
    Ok(i64::from_str_radix(digits, base).map_or(Val::Unit, Val::Int).into())
}

fn to_base<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (number, base) = (int(args, 0)?, base(args)?);
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 || digits.is_empty() {
        let digit = u32::try_from(rest % u64::from(base)).unwrap_or(0);
        digits.extend(char::from_digit(digit, base));
        rest /= u64::from(base);
    }
    if number < 0 {
        digits.push('-');
    }
    made(&digits.into_iter().rev().collect::<String>(), arena)
}

fn parse_number<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    match any(args, 0) {
        Val::Int(_) | Val::Float(_) => Ok(any(args, 0).into()),
        _ => match text(args, 0)?.trim().parse() {
            Ok(number) => Ok(Val::Int(number).into()),
            Err(_) => parse_float(args, arena),
        },
    }
}

fn parse_bool<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if let Val::Bool(_) = any(args, 0) {
        return Ok(any(args, 0).into());
    }
    let word = text(args, 0)?.trim();
    let is = |words: [&str; 4]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    Ok(if is(["true", "yes", "on", "1"]) {
        Val::Bool(true)
    } else if is(["false", "no", "off", "0"]) {
        Val::Bool(false)
    } else {
        Val::Unit
    }
    .into())
}

fn format_number<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let decimals = int(args, 1)?;
    let Some(decimals) = usize::try_from(decimals).ok().filter(|d| *d <= 15) else {
        return Err(Fault::Unfit(1, "is no number of decimals; it is between 0 and 15".into()));
    };
    let between = optional(args, 2)?.unwrap_or_default();
    let spelling = match any(args, 0) {
        Val::Int(n) => format!("{n}.{:0<decimals$}", ""),
        _ => {
            // Rounded first, so that halves go the way that `round` sends them; beyond 2^53 there is nothing to round.
            let (x, scale) = (float(args, 0)?, 10f64.powi(decimals as i32));
            let scaled = (x * scale).round();
            let x = if scaled.is_finite() && scaled.abs() < 9e15 { scaled / scale } else { x };
            format!("{:.decimals$}", if x == 0.0 { 0.0 } else { x })
        }
    };
    let (whole, fraction) = spelling.split_once('.').unwrap_or((&spelling, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut written = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            written.push_str(between);
        }
        written.push(digit);
    }
    if !fraction.is_empty() {
        written.push('.');
        written.push_str(fraction);
    }
    made(&written, arena)
}

fn parse_float<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if let Val::Int(_) | Val::Float(_) = any(args, 0) {
        return Ok(Val::Float(float(args, 0)?).into());
    }
    let spelling = text(args, 0)?.trim();
    // Digits, signs and exponents alone: `inf` and `nan` are no numbers of an event.
    let numeric = spelling.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let parsed = spelling.parse::<f64>().ok().filter(|f| numeric && f.is_finite());
    Ok(parsed.map_or(Val::Unit, Val::Float).into())
}
