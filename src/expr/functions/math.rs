//! Roots, powers, logarithms, angles.

use bumpalo::Bump;

use super::{Function, Return, float, function};
use crate::data::value::Val;
use crate::expr::fault::Fault;
use crate::expr::ops::finite;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("sqrt(x)", "The square root.", ("sqrt(9)", "3.0"), |a, _| of_float(a, f64::sqrt)),
        function("exp(x)", "e raised to a power.", ("exp(0)", "1.0"), |a, _| of_float(a, f64::exp)),
        function("ln(x)", "The natural logarithm.", ("ln(1)", "0.0"), |a, _| logarithm(a, f64::ln)),
        function("log(x, base)", "The logarithm to a base.", ("log(9, 3)", "2.0"), log),
        function("cbrt(x)", "The cube root.", ("cbrt(27)", "3.0"), |a, _| of_float(a, f64::cbrt)),
        function("hypot(x, y)", "The length of a vector, `sqrt(x * x + y * y)`.", ("hypot(3, 4)", "5.0"), |a, _| {
            of_two(a, f64::hypot)
        }),
        function(
            "pi()",
            "The ratio of a circle's circumference to its diameter.",
            ("round(pi(), 4)", "3.1416"),
            |_, _| Ok(Val::Float(std::f64::consts::PI).into()),
        ),
        function("tan(x)", "The tangent of an angle in radians.", ("tan(0)", "0.0"), |a, _| of_float(a, f64::tan)),
        function("asin(x)", "The angle in radians of a sine.", ("asin(0)", "0.0"), |a, _| of_float(a, f64::asin)),
        function("acos(x)", "The angle in radians of a cosine.", ("acos(1)", "0.0"), |a, _| of_float(a, f64::acos)),
        function("atan(x)", "The angle in radians of a tangent.", ("atan(0)", "0.0"), |a, _| of_float(a, f64::atan)),
        function("tanh(x)", "The hyperbolic tangent, between -1 and 1.", ("tanh(0)", "0.0"), |a, _| {
            of_float(a, f64::tanh)
        }),
        function("degrees(x)", "An angle in radians in degrees.", ("degrees(0)", "0.0"), |a, _| {
            of_float(a, f64::to_degrees)
        }),
        function("radians(x)", "An angle in degrees in radians.", ("round(radians(180), 4)", "3.1416"), |a, _| {
            of_float(a, f64::to_radians)
        }),
        function("log10(x)", "The logarithm to base 10.", ("log10(1000)", "3.0"), |a, _| logarithm(a, f64::log10)),
        function("log2(x)", "The logarithm to base 2.", ("log2(8)", "3.0"), |a, _| logarithm(a, f64::log2)),
        function("sin(x)", "The sine of an angle in radians.", ("sin(0)", "0.0"), |a, _| of_float(a, f64::sin)),
        function("cos(x)", "The cosine of an angle in radians.", ("cos(0)", "1.0"), |a, _| of_float(a, f64::cos)),
        function("atan2(y, x)", "The angle of a point in radians.", ("atan2(0, 1)", "0.0"), |a, _| {
            of_two(a, f64::atan2)
        }),
    ]
}

fn of_float<'a>(args: &[Val<'a>], apply: fn(f64) -> f64) -> Return<'a> {
    Ok(finite(apply(float(args, 0)?))?.into())
}

fn logarithm<'a>(args: &[Val<'a>], apply: fn(f64) -> f64) -> Return<'a> {
    Ok(finite(apply(positive(args)?))?.into())
}

fn of_two<'a>(args: &[Val<'a>], apply: fn(f64, f64) -> f64) -> Return<'a> {
    Ok(finite(apply(float(args, 0)?, float(args, 1)?))?.into())
}

fn log<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let base = float(args, 1)?;
    if base <= 0.0 || base == 1.0 {
        return Err(Fault::Unfit(1, format!("is {base}, and the base of a logarithm is above 0 and not 1")));
    }
    let x = positive(args)?;
    // The bases that have a function of their own are exact there: `log(1000, 10)` is 3.
    let result = match base {
        2.0 => x.log2(),
        10.0 => x.log10(),
        _ => x.ln() / base.ln(),
    };
    Ok(finite(result)?.into())
}

/// The first argument, of which there is a logarithm.
fn positive(args: &[Val<'_>]) -> Result<f64, Fault> {
    let x = float(args, 0)?;
    if x > 0.0 {
        return Ok(x);
    }
    Err(Fault::Unfit(0, format!("is {x}, and only a number above 0 has a logarithm")))
}
