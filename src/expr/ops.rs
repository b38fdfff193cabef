//! What the operators mean. The compiled path and Rhai both come here, so that they cannot differ.
//!
//! Numbers: `/` divides as floats, integers overflow as an error, a result that is no finite number is an error, and
//! comparisons go by exact value. `()` (missing or null) compares equal to itself only and is neither less nor greater than
//! anything; computing with it is an error. Text joins with text, numbers and bools. Values of different kinds are unequal,
//! and asking for their order is an error, as is asking for that of a list or a map: a sensor that sends `"ERR"` is not
//! one below its limit.

use bumpalo::Bump;

use super::fault::{Fault, Side};
use crate::base::limit;
use crate::data::value::{Val, Value, compare, compare_int_float};

/// A binary operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Op {
    /// Every operator with its spelling.
    pub(super) const ALL: [(Op, &'static str); 12] = [
        (Op::Add, "+"),
        (Op::Subtract, "-"),
        (Op::Multiply, "*"),
        (Op::Divide, "/"),
        (Op::Remainder, "%"),
        (Op::Power, "**"),
        (Op::Equal, "=="),
        (Op::Unequal, "!="),
        (Op::Less, "<"),
        (Op::LessOrEqual, "<="),
        (Op::Greater, ">"),
        (Op::GreaterOrEqual, ">="),
    ];

    /// The operator of a spelling.
    pub(super) fn from_symbol(symbol: &str) -> Option<Op> {
        Op::ALL.iter().find(|(_, s)| *s == symbol).map(|(op, _)| *op)
    }

    /// Whether it compares, and so gives a bool.
    pub(super) fn is_comparison(self) -> bool {
        !matches!(self, Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder | Op::Power)
    }

    /// Whether it asks for the order of its sides, which not all values have.
    pub(super) fn is_order(self) -> bool {
        matches!(self, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual)
    }

    /// The operator with its sides exchanged: `a < b` is `b > a`.
    pub(super) fn mirrored(self) -> Op {
        match self {
            Op::Less => Op::Greater,
            Op::LessOrEqual => Op::GreaterOrEqual,
            Op::Greater => Op::Less,
            Op::GreaterOrEqual => Op::LessOrEqual,
            other => other,
        }
    }
}

/// `left op right`; made text lies in the arena.
#[inline]
pub(super) fn binary<'a>(op: Op, left: Val<'a>, right: Val<'a>, arena: &'a Bump) -> Result<Val<'a>, Fault> {
    if op.is_comparison() { compared(op, left, right) } else { arithmetic(op, left, right, arena) }
}

/// The outcome of a comparison.
#[inline]
fn compared<'a>(op: Op, left: Val<'_>, right: Val<'_>) -> Result<Val<'a>, Fault> {
    holds(op, left, right).map(Val::Bool).ok_or_else(|| unordered(left, right))
}

/// The fault of two values that have no order.
#[cold]
pub(super) fn unordered(left: Val<'_>, right: Val<'_>) -> Fault {
    Fault::Unordered(Box::new([Side::of(left), Side::of(right)]))
}

/// Whether two values are equal.
#[inline]
pub(super) fn equal(left: Val<'_>, right: Val<'_>) -> bool {
    holds(Op::Equal, left, right) == Some(true)
}

/// Whether a comparison holds; `None` if the order of two values is asked for that have none ([`unordered`]).
#[inline]
pub(super) fn holds(op: Op, left: Val<'_>, right: Val<'_>) -> Option<bool> {
    let order = match (left, right) {
        (Val::Int(a), Val::Int(b)) => a.cmp(&b),
        (Val::Float(a), Val::Float(b)) => match a.partial_cmp(&b) {
            Some(order) => order,
            None => return Some(op == Op::Unequal),
        },
        (Val::Int(a), Val::Float(b)) => compare_int_float(a, b),
        (Val::Float(a), Val::Int(b)) => compare_int_float(b, a).reverse(),
        (Val::Text(a), Val::Text(b)) => match op {
            Op::Equal => return Some(a == b),
            Op::Unequal => return Some(a != b),
            _ => a.cmp(b),
        },
        _ => return holds_rarely(op, left, right),
    };
    Some(match op {
        Op::Equal => order.is_eq(),
        Op::Unequal => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::LessOrEqual => order.is_le(),
        Op::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// Bools, `()`, lists, maps, numbers beyond 64 bits, and sides of different kinds.
fn holds_rarely(op: Op, left: Val<'_>, right: Val<'_>) -> Option<bool> {
    let ordered = match (left, right) {
        (Val::Bool(_), Val::Bool(_)) => true,
        (a, b) => is_number(a) && is_number(b),
    };
    let order = || compare(left, right);
    Some(match op {
        Op::Equal => order().is_eq(),
        Op::Unequal => order().is_ne(),
        _ if !ordered => return matches!((left, right), (Val::Unit, _) | (_, Val::Unit)).then_some(false),
        Op::Less => order().is_lt(),
        Op::LessOrEqual => order().is_le(),
        Op::Greater => order().is_gt(),
        _ => order().is_ge(),
    })
}

fn is_number(v: Val<'_>) -> bool {
    matches!(v, Val::Int(_) | Val::Float(_) | Val::Big(Value::Number(_)))
}

/// `+ - * / % **`.
#[inline]
fn arithmetic<'a>(op: Op, left: Val<'a>, right: Val<'a>, arena: &'a Bump) -> Result<Val<'a>, Fault> {
    match (left, right) {
        (Val::Text(_), _) | (_, Val::Text(_)) if op == Op::Add => join(left, right, arena),
        _ => of_numbers(op, left, right),
    }
}

/// `left op right` of an integer or a float on either side: nothing is made that needs an arena.
#[inline]
pub(super) fn of_numbers(op: Op, left: Val<'_>, right: Val<'_>) -> Result<Val<'static>, Fault> {
    if op.is_comparison() {
        return compared(op, left, right);
    }
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => integers(op, a, b),
        (Val::Float(a), Val::Float(b)) => floats(op, a, b),
        (Val::Int(a), Val::Float(b)) => floats(op, a as f64, b),
        (Val::Float(a), Val::Int(b)) => floats(op, a, b as f64),
        _ => Err(unfit(left, right)),
    }
}

/// The first side that no arithmetic takes.
#[cold]
fn unfit(left: Val<'_>, right: Val<'_>) -> Fault {
    let fits = |v| matches!(v, Val::Int(_) | Val::Float(_));
    // Missing says more than a wrong kind, so it is looked for on both sides first.
    match (left, right) {
        (Val::Unit, _) => Fault::Missing(0),
        (_, Val::Unit) => Fault::Missing(1),
        (left, _) if !fits(left) => Fault::Kind(0, left.kind()),
        (_, right) => Fault::Kind(1, right.kind()),
    }
}

#[inline]
fn integers<'a>(op: Op, a: i64, b: i64) -> Result<Val<'a>, Fault> {
    let whole = match op {
        Op::Add => a.checked_add(b),
        Op::Subtract => a.checked_sub(b),
        Op::Multiply => a.checked_mul(b),
        Op::Divide => return floats(op, a as f64, b as f64),
        Op::Remainder if b == 0 => return Err(Fault::DivideByZero(1)),
        Op::Remainder => Some(a.wrapping_rem(b)),
        // A negative power of an integer is a fraction.
        _ => match u32::try_from(b) {
            Ok(power) => a.checked_pow(power),
            Err(_) if b > 0 => match a {
                0 | 1 => Some(a),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => None,
            },
            Err(_) => return floats(op, a as f64, b as f64),
        },
    };
    whole.map(Val::Int).ok_or(Fault::Overflow)
}

#[inline]
fn floats<'a>(op: Op, a: f64, b: f64) -> Result<Val<'a>, Fault> {
    let result = match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::Divide if b == 0.0 => return Err(Fault::DivideByZero(1)),
        Op::Divide => a / b,
        Op::Remainder if b == 0.0 => return Err(Fault::DivideByZero(1)),
        Op::Remainder => a % b,
        _ => a.powf(b),
    };
    finite(result)
}

/// A float that an event can hold, or why not.
#[inline]
pub(super) fn finite<'a>(result: f64) -> Result<Val<'a>, Fault> {
    if result.is_finite() {
        Ok(Val::Float(result))
    } else if result.is_nan() {
        Err(Fault::NotANumber)
    } else {
        Err(Fault::Infinite)
    }
}

/// Text joined with text, a number or a bool.
fn join<'a>(left: Val<'a>, right: Val<'a>, arena: &'a Bump) -> Result<Val<'a>, Fault> {
    if matches!(left, Val::Unit) {
        return Err(Fault::Missing(0));
    }
    if matches!(right, Val::Unit) {
        return Err(Fault::Missing(1));
    }
    let mut buffers = (Spelling::default(), Spelling::default());
    let left = spelled(left, &mut buffers.0).ok_or(Fault::Kind(0, left.kind()))?;
    let right = spelled(right, &mut buffers.1).ok_or(Fault::Kind(1, right.kind()))?;
    let len = left.len() + right.len();
    if len > limit::SCRIPT_TEXT_BYTES {
        return Err(Fault::TooLong);
    }
    let mut made = bumpalo::collections::String::with_capacity_in(len, arena);
    made.push_str(left);
    made.push_str(right);
    Ok(Val::Text(made.into_bump_str()))
}

/// Room for the spelling of a number.
#[derive(Default)]
pub(super) struct Spelling(compact_str::CompactString);

/// How a value reads when it is joined to text; `None` for `()`, lists and maps.
pub(super) fn spelled<'b>(value: Val<'b>, room: &'b mut Spelling) -> Option<&'b str> {
    use std::fmt::Write;
    match value {
        Val::Text(text) => Some(text),
        Val::Bool(true) => Some("true"),
        Val::Bool(false) => Some("false"),
        Val::Int(i) => {
            // Writing to a string cannot fail.
            let _ = write!(room.0, "{i}");
            Some(&room.0)
        }
        Val::Float(f) => {
            room.0.push_str(zmij::Buffer::new().format(f));
            Some(&room.0)
        }
        Val::Big(Value::Number(number)) => Some(number),
        Val::Unit | Val::Big(_) => None,
    }
}

/// `-value`.
pub(super) fn negate<'a>(value: Val<'a>) -> Result<Val<'a>, Fault> {
    match value {
        Val::Int(i) => i.checked_neg().map(Val::Int).ok_or(Fault::Overflow),
        Val::Float(f) => Ok(Val::Float(-f)),
        other => Err(Fault::of(0, other)),
    }
}

/// `+value`.
pub(super) fn affirm<'a>(value: Val<'a>) -> Result<Val<'a>, Fault> {
    match value {
        Val::Int(_) | Val::Float(_) => Ok(value),
        other => Err(Fault::of(0, other)),
    }
}

/// `!value`.
pub(super) fn not<'a>(value: Val<'a>) -> Result<Val<'a>, Fault> {
    match value {
        Val::Bool(b) => Ok(Val::Bool(!b)),
        other => Err(Fault::of(0, other)),
    }
}

/// A bool where one is needed.
#[inline]
pub(super) fn truth(value: Val<'_>) -> Result<bool, Fault> {
    match value {
        Val::Bool(b) => Ok(b),
        other => Err(Fault::NotBool(other.kind())),
    }
}
