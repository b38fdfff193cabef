//! Operators that keep state. They run on one worker at a time, see ticks in order, and see no clock and no I/O.

pub mod join;
pub mod pace;
pub mod script;
pub mod window;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::data::batch::Batch;
use crate::data::column::Column;
use crate::data::value::compare;
use crate::engine::clock::Watermarks;
use crate::engine::flow::Failed;
use crate::engine::state::State;
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
}

/// An operator with state.
pub trait Operator: Send {
    /// Takes a tick's rows and moves the watermark along.
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput);

    /// What it keeps.
    fn state(&mut self) -> &mut dyn State;

    /// How many rows of its input are part of what it keeps: those of windows that are open, those that wait for others.
    fn held(&self) -> u64 {
        0
    }
}
