//! Arithmetic over whole batches: what is made of fields and constants alone is computed column by column, in tight
//! loops, before rows are looked at. Where a row has no plain number, or a fault, it is computed again on its own.

use super::node::{Bound, Literal, Node};
use super::ops::Op;
use crate::data::column::Cell;

/// The result of arithmetic that went the quick way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
    /// Not a number, or a fault: [`Node::eval`] finds out.
    Slow,
}

impl Number {
    /// As a column holds it.
    #[inline]
    pub(super) fn cell(self) -> Cell {
        match self {
            Number::Int(i) => Cell::Int(i),
            Number::Float(f) => Cell::Float(f),
            Number::Slow => Cell::Missing,
        }
    }

    #[inline]
    fn finite(f: f64) -> Number {
        if f.is_finite() { Number::Float(f) } else { Number::Slow }
    }
}

/// Whether every result for a batch is a number.
pub(super) fn are_plain(vectors: &[Node], results: &[Vec<Number>]) -> bool {
    vectors.iter().zip(results).all(|(_, results)| !results.iter().any(|n| matches!(n, Number::Slow)))
}

/// Whether a node is arithmetic of fields and constants alone.
pub(super) fn is_plain(node: &Node) -> bool {
    fn leaf(node: &Node) -> bool {
        matches!(node, Node::Column(_) | Node::Literal(Literal::Int(_) | Literal::Float(_))) || is_plain(node)
    }
    match node {
        Node::Arithmetic { op: Op::Add | Op::Subtract | Op::Multiply | Op::Divide, sides, .. } => {
            leaf(&sides.0) && leaf(&sides.1)
        }
        _ => false,
    }
}

/// The node's results for all rows; `out` is overwritten.
pub(super) fn compute(node: &Node, columns: &[Bound<'_>], rows: usize, out: &mut Vec<Number>) {
    match node {
        Node::Column(column) => {
            out.clear();
            let cells = columns.get(*column).map_or(&[] as &[Cell], |c| c.cells);
            out.extend(cells.iter().take(rows).map(|cell| match cell {
                Cell::Int(i) => Number::Int(*i),
                Cell::Float(f) => Number::Float(*f),
                _ => Number::Slow,
            }));
            out.resize(rows, Number::Slow);
        }
        Node::Literal(literal) => {
            out.clear();
            out.resize(rows, constant(literal));
        }
        Node::Arithmetic { op, sides, .. } => {
            compute(&sides.0, columns, rows, out);
            if let Node::Literal(literal) = &sides.1 {
                with_constant(*op, out, constant(literal));
            } else {
                let mut right = Vec::new();
                compute(&sides.1, columns, rows, &mut right);
                with_each(*op, out, &right);
            }
        }
        _ => {
            out.clear();
            out.resize(rows, Number::Slow);
        }
    }
}

fn constant(literal: &Literal) -> Number {
    match literal {
        Literal::Int(i) => Number::Int(*i),
        Literal::Float(f) => Number::Float(*f),
        _ => Number::Slow,
    }
}

/// A loop for each operator, so that none of them asks which it is.
fn with_constant(op: Op, left: &mut [Number], right: Number) {
    match op {
        Op::Add => left.iter_mut().for_each(|n| *n = add(*n, right)),
        Op::Subtract => left.iter_mut().for_each(|n| *n = subtract(*n, right)),
        Op::Multiply => left.iter_mut().for_each(|n| *n = multiply(*n, right)),
        _ => left.iter_mut().for_each(|n| *n = divide(*n, right)),
    }
}

fn with_each(op: Op, left: &mut [Number], right: &[Number]) {
    let both = left.iter_mut().zip(right);
    match op {
        Op::Add => both.for_each(|(n, m)| *n = add(*n, *m)),
        Op::Subtract => both.for_each(|(n, m)| *n = subtract(*n, *m)),
        Op::Multiply => both.for_each(|(n, m)| *n = multiply(*n, *m)),
        _ => both.for_each(|(n, m)| *n = divide(*n, *m)),
    }
}

/// Both sides as floats, unless one is none.
#[inline]
fn floats(left: Number, right: Number, apply: impl FnOnce(f64, f64) -> f64) -> Number {
    match (left, right) {
        (Number::Float(a), Number::Float(b)) => Number::finite(apply(a, b)),
        (Number::Float(a), Number::Int(b)) => Number::finite(apply(a, b as f64)),
        (Number::Int(a), Number::Float(b)) => Number::finite(apply(a as f64, b)),
        (Number::Int(a), Number::Int(b)) => Number::finite(apply(a as f64, b as f64)),
        _ => Number::Slow,
    }
}

#[inline]
fn add(left: Number, right: Number) -> Number {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => a.checked_add(b).map_or(Number::Slow, Number::Int),
        _ => floats(left, right, |a, b| a + b),
    }
}

#[inline]
fn subtract(left: Number, right: Number) -> Number {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => a.checked_sub(b).map_or(Number::Slow, Number::Int),
        _ => floats(left, right, |a, b| a - b),
    }
}

#[inline]
fn multiply(left: Number, right: Number) -> Number {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => a.checked_mul(b).map_or(Number::Slow, Number::Int),
        _ => floats(left, right, |a, b| a * b),
    }
}

/// By zero the result is infinite or no number, and so goes the slow way to its fault.
#[inline]
fn divide(left: Number, right: Number) -> Number {
    floats(left, right, |a, b| a / b)
}
