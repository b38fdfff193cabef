//! The functions that expressions call: one table, from which Rhai, the compiled path and the documentation take them.
//! All are pure and deterministic, and return values instead of changing what they are called on; `x.trim()` and
//! `trim(x)` are the same. A function's name and the numbers of its arguments are read from its signature.

mod bits;
mod calendar;
mod convert;
mod encode;
mod geo;
mod hash;
mod json;
mod kept;
mod kind;
mod math;
mod net;
mod number;
mod pattern;
mod text;
mod time;
mod url;
mod words;

use std::sync::LazyLock;

use bumpalo::Bump;

use super::fault::Fault;
use crate::data::value::{Val, Value};

/// A function that expressions may call.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it has to do with: `text`, `numbers`, `time`, `json`, `hash`, `geo`, `net`.
    pub family: &'static str,
    /// How it is called: `round(x, digits?)`.
    pub signature: &'static str,
    /// What it returns, one sentence or two.
    pub summary: &'static str,
    /// An expression and what it gives, spelled as an expression.
    pub example: (&'static str, &'static str),
    /// The numbers of arguments it takes.
    pub(super) arguments: Vec<usize>,
    /// What it does.
    pub(super) body: Body,
    /// Whether it may return a list or a map, which only Rhai holds.
    pub(super) makes_containers: bool,
    /// Arguments whose text can be found wrong before anything runs, where it is a constant.
    pub(super) checks: Vec<(usize, Check)>,
}

/// A function's code: arguments, already as many as it takes, and an arena for the text it makes.
pub(super) type Body = for<'a> fn(&[Val<'a>], &'a Bump) -> Result<Out<'a>, Fault>;

/// Whether an argument's text will do; the error goes on after the argument, "is not a pattern: …".
pub(super) type Check = fn(&str) -> Result<(), String>;

/// What a body returns.
type Return<'a> = Result<Out<'a>, Fault>;

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

/// A function as its family lists it.
fn function(
    signature: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
    body: Body,
) -> Function {
    let (name, rest) = signature.split_once('(').unwrap_or((signature, ""));
    let names: Vec<&str> = rest.trim_end_matches(')').split(", ").filter(|name| !name.is_empty()).collect();
    let needed = names.iter().filter(|name| !name.ends_with('?')).count();
    Function {
        name,
        family: "",
        signature,
        summary,
        example,
        arguments: (needed..=names.len()).collect(),
        body,
        makes_containers: false,
        checks: Vec::new(),
    }
}

impl Function {
    /// The same, returning lists or maps.
    fn lists(mut self) -> Function {
        self.makes_containers = true;
        self
    }

    /// The same, with a check of argument `i` where it is a constant.
    fn checked(mut self, i: usize, check: Check) -> Function {
        self.checks.push((i, check));
        self
    }
}

/// The families in order, each with the files that it is in.
type Families = [(&'static str, &'static [fn() -> Vec<Function>])];

const FAMILIES: &Families = &[
    ("text", &[text::functions, words::functions, pattern::functions, encode::functions]),
    ("numbers", &[number::functions, math::functions, bits::functions, convert::functions, kind::functions]),
    ("time", &[time::functions, calendar::functions]),
    ("json", &[json::functions]),
    ("hash", &[hash::functions]),
    ("geo", &[geo::functions]),
    ("net", &[net::functions, url::functions]),
];

/// Every function, by family, then by name.
pub fn functions() -> &'static [Function] {
    static ALL: LazyLock<Vec<Function>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for (family, parts) in FAMILIES {
            let mut members: Vec<Function> = parts.iter().flat_map(|part| part()).collect();
            members.sort_by_key(|f| f.name);
            all.extend(members.into_iter().map(|f| Function { family, ..f }));
        }
        all
    });
    &ALL
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    functions().iter().find(|f| f.name == name)
}

/// A bool as a result.
fn truth<'a>(holds: bool) -> Return<'a> {
    Ok(Val::Bool(holds).into())
}

/// Text that was made, as a result; there is a bound on its length.
fn made<'a>(text: &str, arena: &'a Bump) -> Return<'a> {
    if text.len() > crate::base::limit::SCRIPT_TEXT_BYTES {
        return Err(Fault::TooLong);
    }
    Ok(Val::Text(arena.alloc_str(text)).into())
}

/// A list that was made, as a result; there is a bound on its length.
fn list<'a>(items: Vec<Value>) -> Return<'a> {
    if items.len() > crate::base::limit::SCRIPT_CONTAINER_ITEMS {
        let most = crate::base::limit::SCRIPT_CONTAINER_ITEMS;
        return Err(Fault::Other(format!("the list would have {} elements, and at most {most} may be", items.len())));
    }
    Ok(Out::Made(Value::List(std::sync::Arc::new(items))))
}

/// The text of an optional argument.
fn optional<'a>(args: &[Val<'a>], i: usize) -> Result<Option<&'a str>, Fault> {
    if args.len() > i { text(args, i).map(Some) } else { Ok(None) }
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
