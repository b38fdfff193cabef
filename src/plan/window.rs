//! Windows as pure data.

use crate::base::time::TimeSpan;
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
    /// What becomes of a late row when nobody reads `.late`.
    pub late: Late,
    /// Every distinct aggregate call of the step.
    pub calls: Vec<Call>,
    /// The rows' aggregate fields, in order.
    pub outputs: Vec<(FieldId, Output)>,
    /// The fields `window_start`, `window_end`, `window_revision`, `window_replaces`.
    pub bounds: Bounds,
}

/// The fields that every window row has, and those of revisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// `window_start`.
    pub start: FieldId,
    /// `window_end`.
    pub end: FieldId,
    /// `window_revision`.
    pub revision: FieldId,
    /// `window_replaces`.
    pub replaces: FieldId,
}

/// The shape of a window. Windows are `[start, end)` and aligned to the epoch plus `offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    },
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
