//! Joins as pure data.

use crate::base::time::TimeSpan;
use crate::data::layout::FieldId;
use crate::expr::Expr;

use super::NodeId;
use super::window::Late;

/// A `join` step. Its node has two inputs: the left one, then the right one.
#[derive(Clone, PartialEq, Debug)]
pub struct Join {
    /// The first input.
    pub left: Side,
    /// The second input.
    pub right: Side,
    /// How long before a left row a right one may be to match it, this included.
    pub before: TimeSpan,
    /// How long after a left row a right one may be to match it, this included.
    pub after: TimeSpan,
    /// Whether both sides are windows that match when they are the same; their bounds are then parts of the key.
    pub windows: bool,
    /// Which rows leave without a match.
    pub kind: Kind,
    /// The fields of a row and what they are made of; empty is a field for each side.
    pub select: Vec<(FieldId, Expr)>,
    /// What becomes of a late row when nobody reads `.late`.
    pub late: Late,
}

/// One side of a join.
#[derive(Clone, PartialEq, Debug)]
pub struct Side {
    /// The field that holds its row.
    pub name: String,
    /// The parts of its key; both sides have as many.
    pub on: Vec<Expr>,
}

/// Which rows leave without a match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// None.
    Inner,
    /// Those of the left side.
    Left,
    /// All.
    Full,
}

impl Join {
    /// Whether rows of each side, left and right, leave without a match.
    pub fn outer(&self) -> [bool; 2] {
        match self.kind {
            Kind::Inner => [false, false],
            Kind::Left => [true, false],
            Kind::Full => [true, true],
        }
    }

    /// How far the watermark behind the step is behind its own. A row without a match keeps its event time and leaves when
    /// the watermark is this much beyond it; what reads it must not find it late.
    pub fn behind(&self) -> TimeSpan {
        let [left, right] = self.outer();
        let of_left = if left { self.after } else { TimeSpan::ZERO };
        if right { of_left.max(self.before) } else { of_left }
    }
}

/// Marks the rows of one side on their way into a join. The engine puts such steps in; no author writes one.
#[derive(Clone, PartialEq, Debug)]
pub struct Tag {
    /// The computed column of the mark.
    pub field: FieldId,
    /// Which side.
    pub right: bool,
    /// The join.
    pub join: NodeId,
}
