//! Functions on numbers, and tests of what a value is.

use bumpalo::Bump;

use super::{Function, Return, any, float, function, int, truth};
use crate::data::value::{Val, compare};
use crate::expr::fault::Fault;
use crate::expr::ops::{Op, binary, finite};

pub(super) fn functions() -> Vec<Function> {
    [rounding(), calculating()].into_iter().flatten().collect()
}

fn rounding() -> Vec<Function> {
    vec![
        function("abs(x)", "The number without its sign.", ("abs(-3)", "3"), abs),
        function("sign(x)", "-1, 0 or 1.", ("sign(-2.5)", "-1"), sign),
        function("floor(x)", "The next integer below.", ("floor(2.7)", "2"), floor),
        function("ceil(x)", "The next integer above.", ("ceil(2.1)", "3"), ceil),
        function(
            "round(x, digits?)",
            "The nearest integer, or the nearest number with so many decimals; halves away from zero.",
            ("round(2.345, 1)", "2.3"),
            round,
        ),
        function(
            "floor_to(x, step)",
            "The greatest multiple of `step` that is not above the number.",
            ("floor_to(17, 5)", "15"),
            |a, _| multiple(a, false),
        ),
        function(
            "round_to(x, step)",
            "The nearest multiple of `step`, halves away from zero.",
            ("round_to(17.3, 0.5)", "17.5"),
            |a, _| multiple(a, true),
        ),
        function("int(x)", "The number without its fraction.", ("int(-2.7)", "-2"), to_int),
        function("float(x)", "The number as a float.", ("float(2)", "2.0"), to_float),
        function("div(a, b)", "How many whole times `b` goes into `a`, cut towards zero.", ("div(7, 2)", "3"), div),
    ]
}

fn calculating() -> Vec<Function> {
    vec![
        function("min(a, b)", "The smaller of two numbers.", ("min(2, 1.5)", "1.5"), min),
        function("max(a, b)", "The greater of two numbers.", ("max(2, 1.5)", "2"), max),
        function("clamp(x, low, high)", "The number, or the bound it is beyond.", ("clamp(12, 0, 10)", "10"), clamp),
        function(
            "between(x, low, high)",
            "Whether a number is within bounds, which count as inside.",
            ("between(3, 1, 3)", "true"),
            between,
        ),
        function(
            "modulo(a, b)",
            "What is left of `a` over whole times `b`, with the sign of `b`; `a % b` has the sign of `a`.",
            ("modulo(-30, 360)", "330"),
            modulo,
        ),
        function(
            "rescale(x, low, high, to_low, to_high)",
            "The number carried from one range to another in proportion, also beyond its ends: 4 to 20 mA to 0 to 100 %.",
            ("rescale(12, 4, 20, 0, 100)", "50.0"),
            rescale,
        ),
        function("pow(x, power)", "The number raised to a power, as `x ** power`.", ("pow(2, 10)", "1024"), pow),
    ]
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

fn between<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (x, low) = numbers(args, 0, 1)?;
    let (_, high) = numbers(args, 0, 2)?;
    truth(compare(x, low).is_ge() && compare(x, high).is_le())
}

fn modulo<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (a, b) = numbers(args, 0, 1)?;
    let rest = binary(Op::Remainder, a, b, arena)?;
    let zero = Val::Int(0);
    let (left, sign) = (compare(rest, zero), compare(b, zero));
    if left.is_eq() || left == sign { Ok(rest.into()) } else { Ok(binary(Op::Add, rest, b, arena)?.into()) }
}

fn rescale<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (x, low, high) = (float(args, 0)?, float(args, 1)?, float(args, 2)?);
    let (to_low, to_high) = (float(args, 3)?, float(args, 4)?);
    if low == high {
        return Err(Fault::Unfit(2, "is the lower bound too, and such a range has no proportion".into()));
    }
    Ok(finite(to_low + (x - low) / (high - low) * (to_high - to_low))?.into())
}

/// A multiple of the second argument: the nearest, or that which is not above. Integers stay integers, as floats would
/// cut what is beyond 2^53.
fn multiple<'a>(args: &[Val<'a>], nearest: bool) -> Return<'a> {
    let (x, step) = numbers(args, 0, 1)?;
    if compare(step, Val::Int(0)).is_le() {
        return Err(Fault::Unfit(1, "is not above 0, and a step must be".into()));
    }
    if let (Val::Int(x), Val::Int(step)) = (x, step) {
        let (x, step) = (i128::from(x), i128::from(step));
        let rest = x.rem_euclid(step);
        let up = nearest && (rest * 2 > step || (rest * 2 == step && x > 0));
        let found = x - rest + if up { step } else { 0 };
        return i64::try_from(found).map(|n| Val::Int(n).into()).map_err(|_| Fault::Overflow);
    }
    let (x, step) = (float(args, 0)?, float(args, 1)?);
    let times = if nearest { (x / step).round() } else { (x / step).floor() };
    Ok(finite(times * step)?.into())
}
