//! The functions that expressions call: one table, from which Rhai, the compiled path and the documentation take them.
//! All are pure and deterministic, and return values instead of changing what they are called on; `x.trim()` and
//! `trim(x)` are the same.

mod json;
mod number;
mod text;
mod time;

use std::sync::LazyLock;

use bumpalo::Bump;

use super::fault::Fault;
use crate::data::value::{Val, Value};

/// A function that expressions may call.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it has to do with: `text`, `numbers`, `time`, `json`.
    pub family: &'static str,
    /// How it is called: `round(x, digits?)`.
    pub signature: &'static str,
    /// What it returns, one sentence.
    pub summary: &'static str,
    /// An expression and what it gives, spelled as an expression.
    pub example: (&'static str, &'static str),
    /// The numbers of arguments it takes.
    pub(super) arguments: &'static [usize],
    /// What it does.
    pub(super) body: Body,
    /// Whether it may return a list or a map, which only Rhai holds.
    pub(super) makes_containers: bool,
}

/// A function's code: arguments, already as many as it takes, and an arena for the text it makes.
pub(super) type Body = for<'a> fn(&[Val<'a>], &'a Bump) -> Result<Out<'a>, Fault>;

/// What a function returns.
pub(super) enum Out<'a> {
    /// A value that borrows.
    Val(Val<'a>),
    /// A list or a map.
    Made(Value),
}

impl<'a> From<Val<'a>> for Out<'a> {
    fn from(value: Val<'a>) -> Self {
        Out::Val(value)
    }
}

/// Every function, by family, then by name.
pub fn functions() -> &'static [Function] {
    static ALL: LazyLock<Vec<Function>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for family in [text::family, number::family, time::family, json::family] {
            let from = all.len();
            family(&mut all);
            if let Some(added) = all.get_mut(from..) {
                added.sort_by_key(|f| f.name);
            }
        }
        all
    });
    &ALL
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    functions().iter().find(|f| f.name == name)
}

/// The text that argument `i` is.
fn text<'a>(args: &[Val<'a>], i: usize) -> Result<&'a str, Fault> {
    match args.get(i) {
        Some(Val::Text(text)) => Ok(text),
        other => Err(Fault::of(i, other.copied().unwrap_or(Val::Unit))),
    }
}

/// The integer that argument `i` is; a float without a fraction is one.
fn int(args: &[Val<'_>], i: usize) -> Result<i64, Fault> {
    match args.get(i) {
        Some(Val::Int(n)) => Ok(*n),
        Some(Val::Float(f)) if f.fract() == 0.0 && f.abs() < 9e15 => Ok(*f as i64),
        other => Err(Fault::of(i, other.copied().unwrap_or(Val::Unit))),
    }
}

/// The number that argument `i` is, as a float.
fn float(args: &[Val<'_>], i: usize) -> Result<f64, Fault> {
    match args.get(i) {
        Some(Val::Int(n)) => Ok(*n as f64),
        Some(Val::Float(f)) => Ok(*f),
        other => Err(Fault::of(i, other.copied().unwrap_or(Val::Unit))),
    }
}

/// Any value that argument `i` is.
fn any<'a>(args: &[Val<'a>], i: usize) -> Val<'a> {
    args.get(i).copied().unwrap_or(Val::Unit)
}

/// A count or position as an integer.
fn count(n: usize) -> Val<'static> {
    Val::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
