//! The compiled form of an expression: a tree that is evaluated row by row over columns. Nothing here allocates but for
//! text that an expression makes, which goes to an arena.

use bumpalo::Bump;
use compact_str::CompactString;

use super::fault::{Fault, Sites, Stop};
use super::functions::{Function, Out};
use super::numbers::Number;
use super::ops::{self, Op};
use crate::data::column::{Cell, Column};
use crate::data::value::{Val, Value};

/// A constant.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    /// `()`.
    Unit,
    /// `true`, `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(Box<str>),
    /// A list, map or large number among the pipeline's constants.
    Big(Value),
}

impl Literal {
    /// Borrowed.
    #[inline]
    pub(super) fn val(&self) -> Val<'_> {
        match self {
            Literal::Unit => Val::Unit,
            Literal::Bool(b) => Val::Bool(*b),
            Literal::Int(i) => Val::Int(*i),
            Literal::Float(f) => Val::Float(*f),
            Literal::Text(text) => Val::Text(text),
            Literal::Big(value) => value.as_val(),
        }
    }
}

/// A node of a compiled expression. Numbers of columns and slots are those of its [`super::subset::Compiled`]; a site
/// is where a fault is reported.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    /// A field that is only read.
    Column(usize),
    /// Arithmetic that is computed for the whole batch beforehand.
    Vector(usize),
    /// A local, or a field that is written.
    Slot(usize),
    /// A member of a value.
    Member(Box<Node>, CompactString),
    Arithmetic {
        op: Op,
        sides: Box<(Node, Node)>,
        site: usize,
    },
    Compare {
        op: Op,
        sides: Box<(Node, Node)>,
        site: usize,
    },
    /// A field against a constant.
    CompareColumn {
        op: Op,
        column: usize,
        with: Literal,
        /// Whether the constant is written first.
        mirrored: bool,
        site: usize,
    },
    Negate(Box<Node>, usize),
    Affirm(Box<Node>, usize),
    Not(Box<Node>, usize),
    And(Vec<(Node, usize)>),
    Or(Vec<(Node, usize)>),
    Coalesce(Vec<Node>),
    /// Whether a value is one of a list of constants.
    In {
        value: Box<Node>,
        list: Vec<Literal>,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Node>,
        site: usize,
    },
    /// An interpolated text: pieces with the sites of their faults.
    Join(Vec<(Node, usize)>),
    If {
        condition: Box<Node>,
        site: usize,
        branches: Box<(Node, Node)>,
    },
    /// Statements; the value is that of the last.
    Block(Vec<Node>),
    /// Sets a local or a field.
    Set {
        slot: usize,
        value: Box<Node>,
    },
    /// Sets a field to null, which is not the same as removing it.
    SetNull {
        slot: usize,
    },
    Drop,
    Return,
}

/// What a slot has been through in this row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// As it was.
    Untouched,
    /// Set; `()` removes.
    Set,
    /// Set to null.
    Null,
}

/// A local or a written field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'r> {
    pub value: Val<'r>,
    pub mark: Mark,
}

/// A column of the batch at hand, its stores at hand too. Without cells where the batch lacks the field.
#[derive(Clone, Copy, Default)]
pub(super) struct Bound<'r> {
    pub cells: &'r [Cell],
    pub text: &'r str,
    pub heap: &'r [Value],
}

impl<'r> Bound<'r> {
    /// Of a batch's column.
    pub(super) fn new(column: Option<&'r Column>) -> Bound<'r> {
        column.map_or_else(Bound::default, |c| Bound { cells: &c.cells, text: &c.text, heap: &c.heap })
    }

    #[inline]
    fn val(&self, row: usize) -> Val<'r> {
        self.cells.get(row).map_or(Val::Unit, |cell| self.of(*cell))
    }

    /// The value of one of its cells.
    #[inline]
    pub(super) fn of(&self, cell: Cell) -> Val<'r> {
        match cell {
            Cell::Missing | Cell::Null => Val::Unit,
            Cell::Bool(b) => Val::Bool(b),
            Cell::Int(i) => Val::Int(i),
            Cell::Float(f) => Val::Float(f),
            Cell::Text { start, len } => {
                let (start, len) = (start as usize, len as usize);
                Val::Text(self.text.get(start..start + len).unwrap_or_default())
            }
            Cell::Heap(index) => self.heap.get(index as usize).map_or(Val::Unit, Value::as_val),
        }
    }
}

/// What a row is evaluated against.
pub(super) struct Context<'r> {
    /// By column number.
    pub columns: &'r [Bound<'r>],
    /// Arithmetic that was computed for the whole batch, and its results.
    pub vectors: &'r [Node],
    pub numbers: &'r [Vec<Number>],
    pub row: usize,
    pub arena: &'r Bump,
    pub sites: &'r Sites,
}

type Evaluated<'r> = Result<Val<'r>, Stop>;

impl<'r> Context<'r> {
    #[inline]
    fn column(&self, column: usize) -> Val<'r> {
        self.columns.get(column).map_or(Val::Unit, |column| column.val(self.row))
    }

    #[cold]
    fn stop(&self, site: usize, fault: &Fault) -> Stop {
        Stop::fault(self.sites, site, fault)
    }

    /// Why a field and a constant could not be compared.
    #[cold]
    pub(super) fn unordered(&self, column: usize, with: &Literal, mirrored: bool, site: usize) -> Stop {
        let (field, with) = (self.column(column), with.val());
        let fault = if mirrored { ops::unordered(with, field) } else { ops::unordered(field, with) };
        self.stop(site, &fault)
    }
}

impl Node {
    /// The node's value in the context's row.
    pub(super) fn eval<'r>(&'r self, cx: &Context<'r>, slots: &mut [Slot<'r>]) -> Evaluated<'r> {
        match self {
            Node::Literal(literal) => Ok(literal.val()),
            Node::Column(column) => Ok(cx.column(*column)),
            Node::Slot(slot) => Ok(slots.get(*slot).map_or(Val::Unit, |s| s.value)),
            Node::Vector(index) => match cx.numbers.get(*index).and_then(|n| n.get(cx.row)) {
                Some(Number::Int(i)) => Ok(Val::Int(*i)),
                Some(Number::Float(f)) => Ok(Val::Float(*f)),
                _ => cx.vectors.get(*index).map_or(Ok(Val::Unit), |node| node.eval(cx, slots)),
            },
            Node::Arithmetic { op, sides, site } => {
                let left = sides.0.eval(cx, slots)?;
                let right = sides.1.eval(cx, slots)?;
                ops::binary(*op, left, right, cx.arena).map_err(|fault| cx.stop(*site, &fault))
            }
            Node::Compare { .. }
            | Node::CompareColumn { .. }
            | Node::And(_)
            | Node::Or(_)
            | Node::Not(..)
            | Node::In { .. } => self.test(cx, slots, 0).map(Val::Bool),
            Node::If { condition, site, branches } => {
                if condition.test(cx, slots, *site)? {
                    branches.0.eval(cx, slots)
                } else {
                    branches.1.eval(cx, slots)
                }
            }
            Node::Block(statements) => {
                let mut last = Val::Unit;
                for statement in statements {
                    last = statement.eval(cx, slots)?;
                }
                Ok(last)
            }
            Node::Set { slot, value } => {
                let value = value.eval(cx, slots)?;
                set(slots, *slot, value, Mark::Set)
            }
            Node::SetNull { slot } => set(slots, *slot, Val::Unit, Mark::Null),
            _ => self.eval_rarer(cx, slots),
        }
    }

    fn eval_rarer<'r>(&'r self, cx: &Context<'r>, slots: &mut [Slot<'r>]) -> Evaluated<'r> {
        match self {
            Node::Coalesce(items) => {
                for item in items {
                    match item.eval(cx, slots)? {
                        Val::Unit => {}
                        value => return Ok(value),
                    }
                }
                Ok(Val::Unit)
            }
            Node::Member(of, name) => match of.eval(cx, slots)? {
                Val::Big(Value::Map(map)) => Ok(map.get(name).map_or(Val::Unit, Value::as_val)),
                _ => Ok(Val::Unit),
            },
            Node::Negate(value, site) => ops::negate(value.eval(cx, slots)?).map_err(|fault| cx.stop(*site, &fault)),
            Node::Affirm(value, site) => ops::affirm(value.eval(cx, slots)?).map_err(|fault| cx.stop(*site, &fault)),
            Node::Call { function, arguments, site } => {
                let mut values: smallvec::SmallVec<[Val<'r>; 6]> = smallvec::SmallVec::new();
                for argument in arguments {
                    values.push(argument.eval(cx, slots)?);
                }
                match (function.body)(&values, cx.arena) {
                    Ok(Out::Val(value)) => Ok(value),
                    // Functions that make containers are never compiled.
                    Ok(Out::Made(_)) => Ok(Val::Unit),
                    Err(fault) => Err(cx.stop(*site, &fault)),
                }
            }
            Node::Join(pieces) => join(pieces, cx, slots),
            Node::Drop => Err(Stop::Drop),
            Node::Return => Err(Stop::Done),
            _ => Ok(Val::Unit),
        }
    }

    /// The node's value as a bool; `site` is where it is reported if it is none.
    pub(super) fn test<'r>(&'r self, cx: &Context<'r>, slots: &mut [Slot<'r>], site: usize) -> Result<bool, Stop> {
        match self {
            Node::CompareColumn { op, column, with, mirrored, site } => {
                let bound = cx.columns.get(*column).copied().unwrap_or_default();
                super::select::compare(*op, &bound, cx.row, with)
                    .ok_or_else(|| cx.unordered(*column, with, *mirrored, *site))
            }
            Node::And(items) => {
                for (item, site) in items {
                    if !item.test(cx, slots, *site)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Or(items) => {
                for (item, site) in items {
                    if item.test(cx, slots, *site)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Compare { op, sides, site } => {
                let left = sides.0.eval(cx, slots)?;
                let right = sides.1.eval(cx, slots)?;
                ops::holds(*op, left, right).ok_or_else(|| cx.stop(*site, &ops::unordered(left, right)))
            }
            Node::Not(value, site) => {
                let value = value.eval(cx, slots)?;
                match ops::not(value) {
                    Ok(value) => Ok(matches!(value, Val::Bool(true))),
                    Err(fault) => Err(cx.stop(*site, &fault)),
                }
            }
            Node::In { value, list } => {
                let value = value.eval(cx, slots)?;
                Ok(list.iter().any(|item| ops::equal(item.val(), value)))
            }
            other => {
                let value = other.eval(cx, slots)?;
                ops::truth(value).map_err(|fault| cx.stop(site, &fault))
            }
        }
    }
}

#[inline]
fn set<'r>(slots: &mut [Slot<'r>], slot: usize, value: Val<'r>, mark: Mark) -> Evaluated<'r> {
    if let Some(place) = slots.get_mut(slot) {
        *place = Slot { value, mark };
    }
    Ok(Val::Unit)
}

fn join<'r>(pieces: &'r [(Node, usize)], cx: &Context<'r>, slots: &mut [Slot<'r>]) -> Evaluated<'r> {
    let mut made = bumpalo::collections::String::new_in(cx.arena);
    for (piece, site) in pieces {
        let value = piece.eval(cx, slots)?;
        let mut room = ops::Spelling::default();
        match ops::spelled(value, &mut room) {
            Some(text) => made.push_str(text),
            None => return Err(cx.stop(*site, &Fault::of(0, value))),
        }
        if made.len() > crate::base::limit::SCRIPT_TEXT_BYTES {
            return Err(cx.stop(*site, &Fault::TooLong));
        }
    }
    Ok(Val::Text(made.into_bump_str()))
}
