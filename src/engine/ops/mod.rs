//! Operators that keep state. They run on one worker at a time, see ticks in order, and see no clock and no I/O.

pub mod alert;
pub mod join;
pub mod notify;
pub mod pace;
pub mod script;
pub mod window;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::data::batch::Batch;
use crate::data::column::{Column, as_u32};
use crate::data::value::compare;
use crate::engine::clock::Watermarks;
use crate::engine::flow::Failed;
use crate::engine::said::Said;
use crate::engine::state::{Load, State};
use crate::plan::Port;

/// The rows of one tick for one worker.
pub struct TickInput<'a> {
    /// The step's whole input of the tick.
    pub batch: &'a Batch,
    /// Which rows of it are this worker's, ascending.
    pub rows: &'a [u32],
    /// The hash of each row's key, over the whole batch; empty without a key.
    pub hashes: &'a [u64],
    /// The watermark along the tick.
    pub watermarks: &'a Watermarks,
    /// What the wall clock said when the tick was cut, for steps that go by it; in virtual time that.
    pub now: Timestamp,
    /// What somebody says to the step that tells people.
    pub said: Option<&'a Said>,
    /// Rows of the step's whole input of the tick that came before these, in slices of their own.
    pub before: u32,
}

impl TickInput<'_> {
    /// As in [`Rank::turn`]: of what a row causes.
    #[inline]
    pub fn turn_of(&self, row: u32) -> u32 {
        self.before.wrapping_add(row).saturating_mul(2).saturating_add(1)
    }

    /// As in [`Rank::turn`]: of what the watermark's step after an ordinal causes.
    pub fn turn_after(&self, ordinal: u32) -> u32 {
        let rows_before = self.batch.ordinals.partition_point(|o| *o <= ordinal);
        self.before.wrapping_add(as_u32(rows_before)).saturating_mul(2)
    }
}

/// How far an operator is in its input when it has more to hand out than goes at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Of the share's rows the first that was not taken.
    pub row: usize,
    /// The first step of the watermark that was not taken.
    pub step: usize,
}

/// Where an output row stands among those of the other workers: by what caused it, then by when it leaves, then by window
/// end, then by key.
#[derive(Clone, Copy, Debug)]
pub struct Rank {
    /// The ordinal of the cause.
    pub ordinal: u32,
    /// Rows of the step's whole input count 1, 3, 5 …; a watermark step after k rows counts 2k. So a step's rows come
    /// after those of the row before it, whichever worker has that row.
    pub turn: u32,
    /// The instant of event time at which a watermark lets it go, microseconds: its window's end, or before that the one of
    /// an early row; the least for rows that are no window's.
    pub at: i64,
    /// The window's end; the least for rows that are no window's.
    pub end: i64,
    /// The row in [`Ranks::keys`].
    pub key: u32,
}

/// The ranks of one worker's output rows of a tick.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    /// One a row, over all ports, in output order.
    pub list: Vec<Rank>,
    /// The columns of the windows' keys.
    pub keys: Vec<Arc<Column>>,
}

impl Ranks {
    /// The order of an output row against one of another worker.
    pub fn compare(&self, at: u32, other: &Ranks, other_at: u32) -> Ordering {
        let (Some(a), Some(b)) = (self.list.get(at as usize), other.list.get(other_at as usize)) else {
            return Ordering::Equal;
        };
        (a.ordinal, a.turn, a.at, a.end).cmp(&(b.ordinal, b.turn, b.at, b.end)).then_with(|| {
            let pairs = self.keys.iter().zip(&other.keys);
            let mut orders = pairs.map(|(x, y)| compare(x.get(a.key as usize), y.get(b.key as usize)));
            orders.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        })
    }
}

/// What an operator made of one tick. The ordinals of its batches are indexes into `ranks`.
#[derive(Default)]
pub struct TickOutput {
    /// Where each row stands.
    pub ranks: Ranks,
    /// Rows by port.
    pub ports: Vec<(Port, Batch)>,
    /// Late rows: index into the tick's input and into `ranks`.
    pub late: Vec<(u32, u32)>,
    /// Rows that could not be processed; their ordinals are indexes into `ranks`.
    pub failed: Vec<Failed>,
    /// Rows of the input that were dropped.
    pub dropped: u64,
    /// Rows of the input that repeat one before them.
    pub duplicates: u64,
    /// Rows that were made beyond those that came in.
    pub made: u64,
    /// Rows taken in before, or now, that are no longer part of what is kept.
    pub absorbed: u64,
    /// There is more to hand out: the operator is to be given the same input again.
    pub unfinished: bool,
}

/// When something happens next of which no row is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The watermark at which it does; the greatest if no watermark brings anything about.
    pub watermark: Timestamp,
    /// The same of what the wall clock says.
    pub clock: Timestamp,
}

impl Due {
    /// Rows alone bring something about.
    pub const NEVER: Due = Due { watermark: Timestamp::MAX, clock: Timestamp::MAX };

    /// At a watermark, if there is one, in microseconds.
    pub fn at(watermark: Option<i64>) -> Due {
        Due { watermark: watermark.map_or(Timestamp::MAX, Timestamp), ..Due::NEVER }
    }
}

/// An operator with state.
pub trait Operator: Send {
    /// Takes a tick's rows and moves the watermark along. What leaves together may be much: then it is handed out in slices,
    /// a call for each, with the same input, and nothing else in between but that state is encoded. A barrier comes behind
    /// the last slice, so that what waits to leave is never state: a run that ends in between goes on from before the tick.
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput);

    /// Whether what it keeps is of use when all input has ended.
    fn outlives_input(&self) -> bool {
        false
    }

    /// What it keeps.
    fn state(&mut self) -> &mut dyn State;

    /// How many rows of its input are part of what it keeps: those of windows that are open, those that wait for others.
    fn held(&self) -> u64 {
        0
    }

    /// When something happens next by itself. Asked for after every tick: while all its input is silent it is told of time
    /// that passes no sooner.
    fn due(&self) -> Due;

    /// How much it keeps. Asked for after every tick.
    fn load(&self) -> Load {
        Load::default()
    }
}
