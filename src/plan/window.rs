//! Windows as pure data.

use crate::base::time::TimeSpan;
use crate::data::calendar::Unit;
use crate::data::layout::FieldId;

use super::KeyPart;
use super::aggregate::{Call, Output};

/// A window step.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// Its shape.
    pub shape: Shape,
    /// The key; empty is one group.
    pub by: Vec<KeyPart>,
    /// How long after its end a window still takes events, each making it emit again.
    pub allow_late: TimeSpan,
    /// When its rows leave.
    pub emit: Emit,
    /// What becomes of a late row when nobody reads `.late`.
    pub late: Late,
    /// Every distinct aggregate call of the step.
    pub calls: Vec<Call>,
    /// The rows' aggregate fields, in order.
    pub outputs: Vec<(FieldId, Output)>,
    /// The fields that the step itself writes.
    pub bounds: Bounds,
}

impl Window {
    /// Whether a window may leave in more than one row, and why, as the option that makes it so.
    pub fn repeats(&self) -> Option<&'static str> {
        match self.emit {
            Emit::Every(_) => Some("emit"),
            Emit::Final if self.allow_late > TimeSpan::ZERO => Some("allow_late"),
            Emit::Final | Emit::Once => None,
        }
    }

    /// How far the watermark that the step goes by, and hands on, is behind the one it is given.
    ///
    /// A window that leaves once leaves `allow_late` after its end. Its row still has its event time just before that
    /// end; so that it is not late for whoever reads it, the step holds its watermark back by as much.
    pub fn holds_back(&self) -> TimeSpan {
        if self.emit == Emit::Once { self.allow_late } else { TimeSpan::ZERO }
    }
}

/// When the rows of a window leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Emit {
    /// When the watermark reaches its end; while it takes late events, each makes a revised row.
    #[default]
    Final,
    /// As [`Emit::Final`], and before that an early row at each point of a grid of event time inside the window, if the
    /// window changed since its last row. The grid is aligned like the windows.
    Every(TimeSpan),
    /// Once, when it takes no more events.
    Once,
}

/// The fields that every window row has, and those of early rows and of revisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// `window_start`.
    pub start: FieldId,
    /// `window_end`.
    pub end: FieldId,
    /// `window_early`.
    pub early: FieldId,
    /// `window_revision`.
    pub revision: FieldId,
    /// `window_replaces`.
    pub replaces: FieldId,
}

impl Bounds {
    /// Every one of them.
    pub fn all(self) -> [FieldId; 5] {
        [self.start, self.end, self.early, self.revision, self.replaces]
    }
}

/// The shape of a window. Windows are `[start, end)`; those of a fixed length are aligned to the epoch plus `offset`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One after the other.
    Tumbling {
        /// Length.
        size: TimeSpan,
        /// Shift of the alignment.
        offset: TimeSpan,
    },
    /// Overlapping.
    Sliding {
        /// Length.
        size: TimeSpan,
        /// From one start to the next, at most `size`.
        every: TimeSpan,
        /// Shift of the alignment.
        offset: TimeSpan,
    },
    /// Runs of events at most `gap` apart.
    Session {
        /// At exactly `gap` two events still join.
        gap: TimeSpan,
        /// The longest session, from its start to its end; a join that would stretch one beyond it is not made.
        max: Option<TimeSpan>,
    },
    /// So many events of a key, in order of arrival. Its bounds are the least and the greatest event time among them, both
    /// included.
    Count {
        /// At least 1.
        events: u64,
    },
    /// Hours, days, weeks or months of a time zone, as its clocks show them.
    Calendar {
        /// From one start to the next.
        every: Unit,
        /// The IANA name of the zone.
        zone: String,
    },
}

impl Shape {
    /// The length of every window, if all have the same.
    pub fn size(&self) -> Option<TimeSpan> {
        match self {
            Shape::Tumbling { size, .. } | Shape::Sliding { size, .. } => Some(*size),
            Shape::Session { .. } | Shape::Count { .. } | Shape::Calendar { .. } => None,
        }
    }
}

/// What becomes of a late row when nobody reads `.late`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Late {
    /// It is counted and sampled as a dead letter.
    #[default]
    DeadLetter,
    /// It is counted and gone.
    Drop,
}
