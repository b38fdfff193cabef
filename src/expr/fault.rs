//! Why a row's expression has no value, in words that name what the author wrote.
//!
//! An operation reports a [`Fault`], which knows only the position of the operand at fault. A [`Site`] knows how the
//! operation and its operands are spelled and where they stand. Both ways of running share the sites of one expression
//! and so fail with the same words at the same place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::built_in::BuiltIn;
use crate::data::value::{Val, Value};

/// Messages quote at most this many characters of a value.
const QUOTED: usize = 40;

/// Why an operation has no result. Numbers are positions of operands, from 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The operand is missing or null.
    Missing(usize),
    /// The operand is of a kind the operation does not take; "text".
    Kind(usize, &'static str),
    /// A bool is needed and this is not one; its kind.
    NotBool(&'static str),
    /// The order of two operands is asked for, and they have none.
    Unordered(Box<[Side; 2]>),
    /// The integer result does not fit 64 bits.
    Overflow,
    /// The operand divides and is zero.
    DivideByZero(usize),
    /// The result is too large for a float.
    Infinite,
    /// The result is not a number: the root of -1.
    NotANumber,
    /// The text made is longer than scripts may make.
    TooLong,
    /// The operand is not what the function takes, and why: "is not a time: …".
    Unfit(usize, String),
    /// The first operand is of a kind that a function of Rhai's own is not called on.
    NotOn(&'static str, &'static BuiltIn),
    /// Anything else, a whole sentence.
    Other(String),
}

impl Fault {
    /// The fault of an operand that is not taken because of what it is.
    #[cold]
    pub(super) fn of(operand: usize, value: Val<'_>) -> Fault {
        match value {
            Val::Unit => Fault::Missing(operand),
            other => Fault::Kind(operand, other.kind()),
        }
    }
}

impl Fault {
    /// The fault by itself, where nobody knows what it was of.
    pub(super) fn alone(&self) -> String {
        match self {
            Fault::Missing(_) | Fault::NotBool("null") => "a value is missing or null".into(),
            Fault::Kind(_, kind) | Fault::NotBool(kind) => format!("a value is {kind}, where another is needed"),
            Fault::Unordered(sides) => match (&sides[0], &sides[1]) {
                (one, _) | (_, one) if one.value.is_none() => format!("{} has no order", one.kind),
                (left, right) => format!("{left} has no order with {right}"),
            },
            Fault::NotOn(kind, function) => {
                format!("a value is {kind}, and `{}` is for {}", function.name, function.on())
            }
            Fault::Overflow => "a result does not fit a 64-bit integer".into(),
            Fault::DivideByZero(_) => "a number is divided by zero".into(),
            Fault::Infinite => "a result is too large for a float".into(),
            Fault::NotANumber => "a result is not a number".into(),
            Fault::TooLong => "a text is too long".into(),
            Fault::Unfit(_, why) => format!("a value {why}"),
            Fault::Other(words) => words.clone(),
        }
    }
}

/// One of two values that have no order, in words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    /// What it is: "the text", before its spelling; "a list", which has none.
    pub kind: &'static str,
    /// As an author would write it.
    pub value: Option<String>,
}

impl Side {
    /// Of an operand.
    #[cold]
    pub(super) fn of(value: Val<'_>) -> Side {
        let (kind, value) = match value {
            Val::Text(text) => ("the text", format!("{:?}", cut(text))),
            Val::Int(i) => ("the number", i.to_string()),
            Val::Float(f) => ("the number", zmij::Buffer::new().format(f).to_owned()),
            Val::Big(Value::Number(number)) => ("the number", cut(number).into_owned()),
            Val::Bool(b) => ("the bool", b.to_string()),
            other => return Side { kind: other.kind(), value: None },
        };
        Side { kind, value: Some(value) }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// A value's text, of a length that a message bears.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// How an operand is spelled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    /// As the author would write it.
    pub text: String,
    /// Whether it is a field, so that `()` means missing or null.
    pub field: bool,
}

/// An operation of an expression: its spelling, its operands' and where it stands.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Site {
    /// The whole operation.
    pub text: String,
    /// What it works on.
    pub operands: Vec<Operand>,
    /// From 1.
    pub line: usize,
    /// From 1, characters.
    pub column: usize,
}

impl Site {
    /// The sentence for a fault.
    pub(super) fn words(&self, fault: &Fault) -> String {
        let operand = |i: usize| self.operands.get(i).map_or("a value", |o| o.text.as_str());
        let nothing = |i: usize| match self.operands.get(i) {
            Some(o) if o.field => "is missing or null",
            _ => "is null",
        };
        let whole = &self.text;
        match fault {
            Fault::Missing(i) => format!("`{}` {}, so `{whole}` has no value", operand(*i), nothing(*i)),
            Fault::Kind(i, kind) => format!("`{}` is {kind}, so `{whole}` has no value", operand(*i)),
            Fault::NotBool("null") => format!("`{}` {}, where a bool is needed", operand(0), nothing(0)),
            Fault::NotBool(kind) => format!("`{}` is {kind}, where a bool is needed", operand(0)),
            Fault::Unordered(sides) => self.unordered(sides),
            Fault::Overflow => format!("the result of `{whole}` does not fit a 64-bit integer"),
            Fault::DivideByZero(i) => format!("`{whole}` divides by zero: `{}` is 0", operand(*i)),
            Fault::Infinite => format!("the result of `{whole}` is too large for a float"),
            Fault::NotANumber => format!("the result of `{whole}` is not a number"),
            Fault::TooLong => {
                format!("the text that `{whole}` makes is longer than {} bytes", crate::base::limit::SCRIPT_TEXT_BYTES)
            }
            Fault::Unfit(i, why) => format!("`{}` {why}", operand(*i)),
            Fault::NotOn(kind, function) => {
                let is = if *kind == "null" { nothing(0).to_owned() } else { format!("is {kind}") };
                let (name, on, call) = (function.name, function.on(), function.call);
                format!("`{}` {is}, and `{name}` is for {on}: `{call}`", operand(0))
            }
            Fault::Other(words) => words.clone(),
        }
    }

    /// The sentence for two operands that have no order: it begins with the one that the author did not write in place.
    fn unordered(&self, sides: &[Side; 2]) -> String {
        let named = |i: usize| self.operands.get(i).map(|o| o.text.as_str());
        let constant = |i: usize| named(i) == sides.get(i).and_then(|side| side.value.as_deref());
        if let Some(i) = sides.iter().position(|side| side.value.is_none()) {
            let kind = sides.get(i).map_or("a value", |side| side.kind);
            return format!(
                "`{}` is {kind}, which has no order, so `{}` has no value",
                named(i).unwrap_or(kind),
                self.text
            );
        }
        let [left, right] = sides;
        let (subject, is, other, than) = if constant(0) { (1, right, 0, left) } else { (0, left, 1, right) };
        let other = match named(other) {
            Some(name) if !constant(other) => format!("`{name}`, {than}"),
            _ => than.to_string(),
        };
        match named(subject) {
            Some(name) => format!("`{name}` is {is}: it has no order with {other}"),
            None => format!("{is} has no order with {other}"),
        }
    }
}

/// What a site stands for; a bool operand may stand where the operation that computes it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Role {
    /// An operator or a call.
    Operation,
    /// A value that must be a bool.
    Truth,
}

/// The sites of one expression, found by where they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    list: Vec<Site>,
    at: BTreeMap<(Role, usize, usize), usize>,
}

impl Sites {
    /// Adds a site that is found at a place, unless that has one. Where it is reported may be another place.
    pub(super) fn add(&mut self, role: Role, at: (usize, usize), site: Site) -> usize {
        let next = self.list.len();
        let key = (role, at.0, at.1);
        match self.at.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => *entry.get(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(next);
                self.list.push(site);
                next
            }
        }
    }

    /// Lets a site be found at a second place.
    pub(super) fn also(&mut self, role: Role, at: (usize, usize), site: usize) {
        self.at.entry((role, at.0, at.1)).or_insert(site);
    }

    /// The number of the site at a place.
    pub(super) fn find(&self, role: Role, line: usize, column: usize) -> Option<usize> {
        self.at.get(&(role, line, column)).copied()
    }

    /// A site by its number.
    pub(super) fn get(&self, index: usize) -> Option<&Site> {
        self.list.get(index)
    }
}

/// A fault with its words and its place in the expression's text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// One sentence.
    pub reason: String,
    /// From 1; 0 if the place is not known.
    pub line: usize,
    /// From 1, characters.
    pub column: usize,
}

/// Why a row's evaluation stops early.
#[derive(Debug)]
pub(super) enum Stop {
    /// `drop()`.
    Drop,
    /// `return`.
    Done,
    /// Something has no value.
    Fault(Box<Failure>),
}

impl Stop {
    /// Stops with a fault at a site.
    #[cold]
    pub(super) fn fault(sites: &Sites, site: usize, fault: &Fault) -> Stop {
        let failure = match sites.get(site) {
            Some(site) => Failure { reason: site.words(fault), line: site.line, column: site.column },
            None => Failure { reason: Site::default().words(fault), line: 0, column: 0 },
        };
        Stop::Fault(Box::new(failure))
    }
}
