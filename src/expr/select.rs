//! Conditions over whole batches: each part of a conjunction runs over the rows that the parts before it left, so that
//! comparisons of a field with a constant become tight loops.

use std::cmp::Ordering;

use super::fault::Stop;
use super::node::{Bound, Context, Literal, Node};
use super::ops::{self, Op};
use super::program::as_row;
use crate::data::column::Cell;
use crate::data::value::{Val, Value, compare_int_float};

/// Which outcomes of a comparison an operator accepts: less, equal, greater.
fn accepted(op: Op) -> [bool; 3] {
    match op {
        Op::Equal => [false, true, false],
        Op::Unequal => [true, false, true],
        Op::Less => [true, false, false],
        Op::LessOrEqual => [true, true, false],
        Op::Greater => [false, false, true],
        _ => [false, true, true],
    }
}

#[inline]
fn accepts(accepted: [bool; 3], order: Ordering) -> bool {
    match order {
        Ordering::Less => accepted[0],
        Ordering::Equal => accepted[1],
        Ordering::Greater => accepted[2],
    }
}

/// What a comparison of values of different kinds comes to: they are unequal, and have no order.
fn apart(op: Op) -> Option<bool> {
    match op {
        Op::Equal => Some(false),
        Op::Unequal => Some(true),
        _ => None,
    }
}

/// A cell against a constant; `None` if the order of two is asked for that have none.
pub(super) fn compare(op: Op, column: &Bound<'_>, row: usize, with: &Literal) -> Option<bool> {
    let cell = column.cells.get(row).copied().unwrap_or(Cell::Missing);
    match with {
        Literal::Int(b) => with_int(op, accepted(op), column, cell, *b),
        Literal::Float(b) => with_float(op, accepted(op), column, cell, *b),
        Literal::Text(b) if !op.is_order() => Some(with_text(op, column, cell, b)),
        _ => ops::holds(op, column.of(cell), with.val()),
    }
}

#[inline]
fn with_int(op: Op, accepted: [bool; 3], column: &Bound<'_>, cell: Cell, b: i64) -> Option<bool> {
    match cell {
        Cell::Int(a) => Some(accepts(accepted, a.cmp(&b))),
        Cell::Float(a) => Some(accepts(accepted, compare_int_float(b, a).reverse())),
        Cell::Missing | Cell::Null => Some(op == Op::Unequal),
        Cell::Text { .. } | Cell::Bool(_) => apart(op),
        Cell::Heap(_) => ops::holds(op, column.of(cell), Val::Int(b)),
    }
}

#[inline]
fn with_float(op: Op, accepted: [bool; 3], column: &Bound<'_>, cell: Cell, b: f64) -> Option<bool> {
    match cell {
        Cell::Float(a) => Some(a.partial_cmp(&b).map_or(op == Op::Unequal, |order| accepts(accepted, order))),
        Cell::Int(a) => Some(accepts(accepted, compare_int_float(a, b))),
        Cell::Missing | Cell::Null => Some(op == Op::Unequal),
        Cell::Text { .. } | Cell::Bool(_) => apart(op),
        Cell::Heap(_) => ops::holds(op, column.of(cell), Val::Float(b)),
    }
}

/// Equality with text alone.
#[inline]
fn with_text(op: Op, column: &Bound<'_>, cell: Cell, b: &str) -> bool {
    let equal = match cell {
        Cell::Text { start, len } => {
            let start = start as usize;
            len as usize == b.len() && column.text.as_bytes().get(start..start + b.len()) == Some(b.as_bytes())
        }
        Cell::Heap(index) => matches!(column.heap.get(index as usize), Some(Value::Text(a)) if a == b),
        _ => false,
    };
    equal == (op == Op::Equal)
}

/// Adds to `keep` the rows for which a condition that has no slots is true; a row that stops goes to `stopped`.
pub(super) fn select<'r>(
    node: &'r Node,
    site: usize,
    cx: &mut Context<'r>,
    rows: usize,
    keep: &mut Vec<u32>,
    mut stopped: impl FnMut(usize, Stop),
) {
    let from = keep.len();
    let parts: Vec<(&Node, usize)> = match node {
        Node::And(items) => items.iter().map(|(item, site)| (item, *site)).collect(),
        one => vec![(one, site)],
    };
    keep.extend((0..rows).map(as_row));
    // Rows in which a part asks for an order that is none.
    let mut unordered: Vec<u32> = Vec::new();
    for (part, site) in parts {
        match part {
            Node::CompareColumn { op, column: number, with, mirrored, site } => {
                let column = cx.columns.get(*number).copied().unwrap_or_default();
                let (op, accepted) = (*op, accepted(*op));
                let mut or_note = |row: u32, holds: Option<bool>| {
                    holds.unwrap_or_else(|| {
                        note(&mut unordered, row);
                        false
                    })
                };
                let cell = |row: u32| column.cells.get(row as usize).copied().unwrap_or(Cell::Missing);
                match with {
                    Literal::Int(b) => {
                        retain(keep, from, |row| or_note(row, with_int(op, accepted, &column, cell(row), *b)))
                    }
                    Literal::Float(b) => {
                        retain(keep, from, |row| or_note(row, with_float(op, accepted, &column, cell(row), *b)))
                    }
                    Literal::Text(b) if !op.is_order() => {
                        retain(keep, from, |row| with_text(op, &column, cell(row), b));
                    }
                    _ => retain(keep, from, |row| or_note(row, ops::holds(op, column.of(cell(row)), with.val()))),
                }
                for row in unordered.drain(..) {
                    cx.row = row as usize;
                    stopped(cx.row, cx.unordered(*number, with, *mirrored, *site));
                }
            }
            other => retain(keep, from, |row| {
                cx.row = row as usize;
                other.test(cx, &mut [], site).unwrap_or_else(|stop| {
                    stopped(row as usize, stop);
                    false
                })
            }),
        }
    }
}

/// Out of the loop's way: in most batches it is never called.
#[cold]
fn note(rows: &mut Vec<u32>, row: u32) {
    rows.push(row);
}

/// Keeps those rows after the first `from` for which `test` holds.
#[inline]
fn retain(rows: &mut Vec<u32>, from: usize, mut test: impl FnMut(u32) -> bool) {
    let mut kept = from;
    for i in from..rows.len() {
        let Some(row) = rows.get(i).copied() else { break };
        // Written whether it stays or not: no branch that the processor could guess wrong.
        if let Some(place) = rows.get_mut(kept) {
            *place = row;
        }
        kept += usize::from(test(row));
    }
    rows.truncate(kept);
}
