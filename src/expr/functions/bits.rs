//! Bits of integers: flags, registers, what a device packs into a number.

use bumpalo::Bump;

use super::{Function, Return, function, int, truth};
use crate::data::value::Val;
use crate::expr::fault::Fault;
use crate::expr::ops::finite;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("bit_and(a, b)", "The bits that both integers have.", ("bit_and(12, 10)", "8"), |a, _| {
            of_two(a, |a, b| a & b)
        }),
        function("bit_or(a, b)", "The bits that either integer has.", ("bit_or(12, 10)", "14"), |a, _| {
            of_two(a, |a, b| a | b)
        }),
        function(
            "bit_xor(a, b)",
            "The bits that one of the integers has and the other has not.",
            ("bit_xor(12, 10)", "6"),
            |a, _| of_two(a, |a, b| a ^ b),
        ),
        function("bit_not(x)", "The bits that a 64-bit integer has not.", ("bit_not(0)", "-1"), |a, _| {
            Ok(Val::Int(!int(a, 0)?).into())
        }),
        function(
            "has_bit(x, number)",
            "Whether an integer has a bit, counted from 0, the lowest.",
            ("has_bit(6, 1)", "true"),
            |a, _| truth(int(a, 0)? >> place(a)? & 1 == 1),
        ),
        function(
            "shift_left(x, bits)",
            "The integer's bits moved up, those above the 64th lost.",
            ("shift_left(1, 4)", "16"),
            |a, _| Ok(Val::Int(int(a, 0)? << place(a)?).into()),
        ),
        function(
            "shift_right(x, bits)",
            "The integer's bits moved down; a negative number stays negative.",
            ("shift_right(16, 4)", "1"),
            |a, _| Ok(Val::Int(int(a, 0)? >> place(a)?).into()),
        ),
        function(
            "signed(x, bits)",
            "The lowest bits of an integer as a number in two's complement: what a register of 8, 16 or 32 bits means.",
            ("signed(65535, 16)", "-1"),
            signed,
        ),
        function(
            "float_of_bits(x)",
            "The number whose IEEE 754 form of 32 bits an integer is, such as two registers put together.",
            ("float_of_bits(1109917696)", "42.0"),
            float_of_bits,
        ),
    ]
}

fn of_two<'a>(args: &[Val<'a>], apply: fn(i64, i64) -> i64) -> Return<'a> {
    Ok(Val::Int(apply(int(args, 0)?, int(args, 1)?)).into())
}

/// The number of bits that the second argument is.
fn place(args: &[Val<'_>]) -> Result<u32, Fault> {
    let number = int(args, 1)?;
    u32::try_from(number)
        .ok()
        .filter(|n| *n < 64)
        .ok_or_else(|| Fault::Unfit(1, format!("is {number}, and an integer has the bits 0 to 63")))
}

fn signed<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (x, bits) = (int(args, 0)?, int(args, 1)?);
    let Some(unused) = u32::try_from(bits).ok().filter(|b| (1..=64).contains(b)).map(|b| 64 - b) else {
        return Err(Fault::Unfit(1, format!("is {bits}, and a register has 1 to 64 bits")));
    };
    Ok(Val::Int(x << unused >> unused).into())
}

fn float_of_bits<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let bits = int(args, 0)?;
    let bits = u32::try_from(bits).map_err(|_| Fault::Unfit(0, format!("is {bits}, which is not 32 bits")))?;
    Ok(finite(f64::from(f32::from_bits(bits)))?.into())
}
