//! Functions on numbers, and tests of what a value is.

use bumpalo::Bump;

use super::{Function, Out, any, float, int};
use crate::data::value::{Val, Value, compare};
use crate::expr::fault::Fault;
use crate::expr::ops::{Op, binary, finite};

type Return<'a> = Result<Out<'a>, Fault>;

macro_rules! function {
    ($name:literal, $arguments:expr, $body:expr, $signature:literal, $summary:literal, $example:expr) => {
        Function {
            name: $name,
            family: "numbers",
            signature: $signature,
            summary: $summary,
            example: $example,
            arguments: $arguments,
            body: $body,
            makes_containers: false,
        }
    };
}

pub(super) fn family(all: &mut Vec<Function>) {
    rounding(all);
    calculating(all);
}

fn rounding(all: &mut Vec<Function>) {
    all.extend([
        function!("abs", &[1], abs, "abs(x)", "The number without its sign.", ("abs(-3)", "3")),
        function!("sign", &[1], sign, "sign(x)", "-1, 0 or 1.", ("sign(-2.5)", "-1")),
        function!("floor", &[1], floor, "floor(x)", "The next integer below.", ("floor(2.7)", "2")),
        function!("ceil", &[1], ceil, "ceil(x)", "The next integer above.", ("ceil(2.1)", "3")),
        function!(
            "round",
            &[1, 2],
            round,
            "round(x, digits?)",
            "The nearest integer, or the nearest number with so many decimals; halves away from zero.",
            ("round(2.345, 1)", "2.3")
        ),
        function!("int", &[1], to_int, "int(x)", "The number without its fraction.", ("int(-2.7)", "-2")),
        function!("float", &[1], to_float, "float(x)", "The number as a float.", ("float(2)", "2.0")),
        function!(
            "div",
            &[2],
            div,
            "div(a, b)",
            "How many whole times `b` goes into `a`, cut towards zero.",
            ("div(7, 2)", "3")
        ),
    ]);
}

fn calculating(all: &mut Vec<Function>) {
    all.extend([
        function!("min", &[2], min, "min(a, b)", "The smaller of two numbers.", ("min(2, 1.5)", "1.5")),
        function!("max", &[2], max, "max(a, b)", "The greater of two numbers.", ("max(2, 1.5)", "2")),
        function!(
            "clamp",
            &[3],
            clamp,
            "clamp(x, low, high)",
            "The number, or the bound it is beyond.",
            ("clamp(12, 0, 10)", "10")
        ),
        function!(
            "pow",
            &[2],
            pow,
            "pow(x, power)",
            "The number raised to a power, as `x ** power`.",
            ("pow(2, 10)", "1024")
        ),
    ]);
    analysis(all);
    tests(all);
}

fn analysis(all: &mut Vec<Function>) {
    all.extend([
        function!("sqrt", &[1], |a, _| of_float(a, f64::sqrt), "sqrt(x)", "The square root.", ("sqrt(9)", "3.0")),
        function!("exp", &[1], |a, _| of_float(a, f64::exp), "exp(x)", "e raised to a power.", ("exp(0)", "1.0")),
        function!("ln", &[1], |a, _| logarithm(a, f64::ln), "ln(x)", "The natural logarithm.", ("ln(1)", "0.0")),
        function!(
            "log10",
            &[1],
            |a, _| logarithm(a, f64::log10),
            "log10(x)",
            "The logarithm to base 10.",
            ("log10(1000)", "3.0")
        ),
        function!(
            "log2",
            &[1],
            |a, _| logarithm(a, f64::log2),
            "log2(x)",
            "The logarithm to base 2.",
            ("log2(8)", "3.0")
        ),
        function!(
            "sin",
            &[1],
            |a, _| of_float(a, f64::sin),
            "sin(x)",
            "The sine of an angle in radians.",
            ("sin(0)", "0.0")
        ),
        function!(
            "cos",
            &[1],
            |a, _| of_float(a, f64::cos),
            "cos(x)",
            "The cosine of an angle in radians.",
            ("cos(0)", "1.0")
        ),
        function!(
            "atan2",
            &[2],
            |a, _| Ok(finite(float(a, 0)?.atan2(float(a, 1)?))?.into()),
            "atan2(y, x)",
            "The angle of a point in radians.",
            ("atan2(0, 1)", "0.0")
        ),
    ]);
}

fn tests(all: &mut Vec<Function>) {
    macro_rules! test {
        ($name:literal, $signature:literal, $summary:literal, $example:expr, $pattern:pat) => {
            function!(
                $name,
                &[1],
                |args, _| Ok(Val::Bool(matches!(any(args, 0), $pattern)).into()),
                $signature,
                $summary,
                $example
            )
        };
    }
    all.extend([
        test!("is_null", "is_null(x)", "Whether it is missing or null.", ("is_null(())", "true"), Val::Unit),
        test!("is_bool", "is_bool(x)", "Whether it is a bool.", ("is_bool(1)", "false"), Val::Bool(_)),
        test!("is_int", "is_int(x)", "Whether it is an integer.", ("is_int(1)", "true"), Val::Int(_)),
        test!("is_float", "is_float(x)", "Whether it is a float.", ("is_float(1)", "false"), Val::Float(_)),
        test!(
            "is_number",
            "is_number(x)",
            "Whether it is a number.",
            ("is_number(1.5)", "true"),
            Val::Int(_) | Val::Float(_) | Val::Big(Value::Number(_))
        ),
        test!("is_text", "is_text(x)", "Whether it is text.", ("is_text(\"a\")", "true"), Val::Text(_)),
        test!("is_list", "is_list(x)", "Whether it is a list.", ("is_list([1])", "true"), Val::Big(Value::List(_))),
        test!("is_map", "is_map(x)", "Whether it is a map.", ("is_map([1])", "false"), Val::Big(Value::Map(_))),
    ]);
}

fn of_float<'a>(args: &[Val<'a>], apply: fn(f64) -> f64) -> Return<'a> {
    Ok(finite(apply(float(args, 0)?))?.into())
}

fn logarithm<'a>(args: &[Val<'a>], apply: fn(f64) -> f64) -> Return<'a> {
    let x = float(args, 0)?;
    if x <= 0.0 {
        return Err(Fault::Unfit(0, format!("is {x}, and only a number above 0 has a logarithm")));
    }
    Ok(finite(apply(x))?.into())
}

fn abs<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    match any(args, 0) {
        Val::Int(n) => n.checked_abs().map(|n| Val::Int(n).into()).ok_or(Fault::Overflow),
        _ => Ok(Val::Float(float(args, 0)?.abs()).into()),
    }
}

fn sign<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let x = float(args, 0)?;
    Ok(Val::Int(i64::from(x > 0.0) - i64::from(x < 0.0)).into())
}

/// An integral float as an integer.
fn whole<'a>(x: f64) -> Return<'a> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63, exact
    if (-LIMIT..LIMIT).contains(&x) { Ok(Val::Int(x as i64).into()) } else { Err(Fault::Overflow) }
}

fn integral<'a>(args: &[Val<'a>], apply: fn(f64) -> f64) -> Return<'a> {
    match any(args, 0) {
        Val::Int(n) => Ok(Val::Int(n).into()),
        _ => whole(apply(float(args, 0)?)),
    }
}

fn floor<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    integral(args, f64::floor)
}

fn ceil<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    integral(args, f64::ceil)
}

fn to_int<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    integral(args, f64::trunc)
}

fn round<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if args.len() < 2 {
        return integral(args, f64::round);
    }
    let digits = int(args, 1)?;
    let Some(digits) = i32::try_from(digits).ok().filter(|d| (0..=15).contains(d)) else {
        return Err(Fault::Unfit(1, "is no number of decimals; it is between 0 and 15".into()));
    };
    let x = float(args, 0)?;
    let scale = 10f64.powi(digits);
    let scaled = (x * scale).round();
    // Beyond 2^53 a float has no decimals to round.
    Ok(Val::Float(if scaled.is_finite() && scaled.abs() < 9e15 { scaled / scale } else { x }).into())
}

fn to_float<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Float(float(args, 0)?).into())
}

fn div<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    match (any(args, 0), any(args, 1)) {
        (_, Val::Int(0)) => Err(Fault::DivideByZero(1)),
        (Val::Int(a), Val::Int(b)) => a.checked_div(b).map(|n| Val::Int(n).into()).ok_or(Fault::Overflow),
        _ => {
            let (a, b) = (float(args, 0)?, float(args, 1)?);
            if b == 0.0 { Err(Fault::DivideByZero(1)) } else { whole((a / b).trunc()) }
        }
    }
}

/// Two numbers, as they are.
fn numbers<'a>(args: &[Val<'a>], i: usize, j: usize) -> Result<(Val<'a>, Val<'a>), Fault> {
    float(args, i)?;
    float(args, j)?;
    Ok((any(args, i), any(args, j)))
}

fn min<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (a, b) = numbers(args, 0, 1)?;
    Ok(if compare(a, b).is_le() { a } else { b }.into())
}

fn max<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (a, b) = numbers(args, 0, 1)?;
    Ok(if compare(a, b).is_ge() { a } else { b }.into())
}

fn clamp<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (x, low) = numbers(args, 0, 1)?;
    let (_, high) = numbers(args, 0, 2)?;
    if compare(low, high).is_gt() {
        return Err(Fault::Unfit(1, "is above the upper bound".into()));
    }
    let at_least = if compare(x, low).is_lt() { low } else { x };
    Ok(if compare(at_least, high).is_gt() { high } else { at_least }.into())
}

fn pow<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    Ok(binary(Op::Power, any(args, 0), any(args, 1), arena)?.into())
}
