//! Windows as pure data.

use crate::base::time::TimeSpan;
use crate::data::layout::FieldId;
use crate::expr::Expr;

use super::KeyPart;

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

/// One aggregate call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// What is computed.
    pub function: Function,
    /// Of what; `None` for `count()`.
    pub argument: Option<Expr>,
    /// The computed column in which output expressions find the result.
    pub result: FieldId,
}

/// An aggregate function. Null and missing are passed over; with no value left the result is null, a count 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Function {
    /// Rows, or rows whose argument is not null.
    Count,
    /// Exact for integers (128 bits inside).
    Sum,
    /// Arithmetic mean, a float.
    Avg,
    /// Least, in the order of values.
    Min,
    /// Greatest, in the order of values.
    Max,
    /// By event time, ties by arrival.
    First,
    /// By event time, ties by arrival.
    Last,
    /// Sample standard deviation.
    Stddev,
    /// Population standard deviation.
    StddevPop,
    /// Sample variance.
    Variance,
    /// Population variance.
    VariancePop,
}

impl Function {
    /// Every function of this version by name.
    pub const ALL: [(&'static str, Function); 11] = [
        ("count", Function::Count),
        ("sum", Function::Sum),
        ("avg", Function::Avg),
        ("min", Function::Min),
        ("max", Function::Max),
        ("first", Function::First),
        ("last", Function::Last),
        ("stddev", Function::Stddev),
        ("stddev_pop", Function::StddevPop),
        ("variance", Function::Variance),
        ("variance_pop", Function::VariancePop),
    ];

    /// The name an author writes.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }
}

/// What an aggregate field of the output is made of.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A call's result as it is: an index into [`Window::calls`].
    Call(usize),
    /// An expression over computed columns.
    Expr(Expr),
}
