//! Running values of aggregates, never the events, except where the answer is made of them. Values lie in slots, one a
//! group and pane; each aggregate keeps its own array over the slots, so that a batch is added one aggregate at a time.
//! An aggregate is a file here that implements [`running::Running`].

mod chosen;
mod collect;
mod count;
mod distinct;
mod fold;
mod moments;
mod quantiles;
mod running;
mod sum;
mod top;

use std::sync::Arc;

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::data::batch::{Batch, RowError};
use crate::data::column::{ColumnBuilder, as_u32};
use crate::data::layout::{FieldId, Layout};
use crate::data::value::Value;
use crate::plan::aggregate::Function;

use chosen::{Extreme, Timed};
use collect::Collected;
use count::{Count, Verdicts};
use distinct::{Approx, Distinct};
pub use fold::Folding;
use fold::Folds;
use moments::Moments;
use quantiles::Quantiles;
use running::{Slots, Store};
use sum::Sum;
use top::Top;

/// The running value of one aggregate in one slot, for storing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stored {
    /// Rows or values.
    Count(u64),
    /// A sum.
    Sum(Sum),
    /// Least or greatest value; null is none.
    Extreme(Value),
    /// First or last value with its event time.
    Timed(i64, Value),
    /// Moments.
    Moments(Moments),
    /// How often a condition held and did not.
    Verdicts(Verdicts),
    /// Numbers or a sketch of them.
    Quantiles(Quantiles),
    /// Different values; `None` are more than are counted.
    Distinct(Option<Vec<Value>>),
    /// Hashes of different values or registers.
    Approx(Approx),
    /// Values and how often they came.
    Top(Vec<(Value, u64)>),
    /// Values with their times; `None` are more than are kept.
    Collected(Option<Vec<(i64, Value)>>),
    /// The value of a fold.
    Folded(Value),
}

/// The running values of a slot, stored as a list of [`Stored`].
#[derive(Clone, Copy, Debug)]
pub struct StoredSlot<'a> {
    shelves: &'a [Shelf],
    slot: u32,
}

impl Serialize for StoredSlot<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.shelves.len()))?;
        for shelf in self.shelves {
            let stored =
                shelf.store.stored(self.slot).ok_or_else(|| S::Error::custom("a window has lost its values"))?;
            list.serialize_element(&stored)?;
        }
        list.end()
    }
}

/// What is kept for a call. Calls of one argument that keep the same share it: `avg(x)` and `sum(x)` are one sum.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kept {
    Rows,
    Count,
    Verdicts,
    Sum,
    Min,
    Max,
    First,
    Last,
    Moments,
    Quantiles,
    Distinct,
    Approx,
    Top,
    Collected(u32),
    /// Each fold has its own.
    Folded,
}

impl Kept {
    fn of(function: &Function, has_argument: bool) -> Kept {
        match function {
            Function::Count if has_argument => Kept::Count,
            Function::Count => Kept::Rows,
            Function::CountIf | Function::Any | Function::All => Kept::Verdicts,
            Function::Sum | Function::Avg => Kept::Sum,
            Function::Min => Kept::Min,
            Function::Max => Kept::Max,
            Function::First => Kept::First,
            Function::Last => Kept::Last,
            Function::Stddev | Function::StddevPop | Function::Variance | Function::VariancePop => Kept::Moments,
            Function::Quantile(_) => Kept::Quantiles,
            Function::Distinct => Kept::Distinct,
            Function::ApproxDistinct => Kept::Approx,
            Function::Top(_) => Kept::Top,
            Function::Collect(limit) => Kept::Collected(*limit),
            Function::Fold(_) => Kept::Folded,
        }
    }

    fn store(self, aggregate: &Aggregate, layout: &Arc<Layout>) -> Box<dyn Store> {
        if let Some(folding) = &aggregate.folding {
            return Box::new(Folds::new(folding, layout));
        }
        match self {
            Kept::Rows | Kept::Folded => Box::new(Slots::<Count<false>>::new(())),
            Kept::Count => Box::new(Slots::<Count<true>>::new(())),
            Kept::Verdicts => Box::new(Slots::<Verdicts>::new(())),
            Kept::Sum => Box::new(Slots::<Sum>::new(())),
            Kept::Min => Box::new(Slots::<Extreme<false>>::new(())),
            Kept::Max => Box::new(Slots::<Extreme<true>>::new(())),
            Kept::First => Box::new(Slots::<Timed<false>>::new(())),
            Kept::Last => Box::new(Slots::<Timed<true>>::new(())),
            Kept::Moments => Box::new(Slots::<Moments>::new(())),
            Kept::Quantiles => Box::new(Slots::<Quantiles>::new(())),
            Kept::Distinct => Box::new(Slots::<Distinct>::new(())),
            Kept::Approx => Box::new(Slots::<Approx>::new(())),
            Kept::Top => Box::new(Slots::<Top>::new(())),
            Kept::Collected(limit) => Box::new(Slots::<Collected>::new(limit)),
        }
    }
}

/// An aggregate call as the accumulators see it.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// The column of its argument.
    pub argument: Option<FieldId>,
    /// Where it is written, `file:line:column`.
    pub place: String,
    /// What a fold runs.
    pub folding: Option<Arc<Folding>>,
}

/// One array of running values and the column that it reads.
#[derive(Debug)]
struct Shelf {
    argument: Option<FieldId>,
    kept: Kept,
    store: Box<dyn Store>,
}

/// The running values of all aggregates of a window step.
#[derive(Debug)]
pub struct Accumulators {
    /// Each call and which shelf answers it.
    calls: Vec<(Aggregate, usize)>,
    shelves: Vec<Shelf>,
    free: Vec<u32>,
    slots: u32,
    folds: bool,
    /// The shelf that counts rows; the ledger wants to know what windows hold.
    rows: usize,
    /// Rows in all slots.
    held: u64,
    /// Rows of slots that were given back, until somebody asks.
    absorbed: u64,
}

impl Accumulators {
    /// Empty, for these calls.
    pub fn new(aggregates: impl IntoIterator<Item = Aggregate>, layout: &Arc<Layout>) -> Self {
        let mut shelves: Vec<Shelf> = Vec::new();
        let mut calls = Vec::new();
        for aggregate in aggregates {
            let (argument, kept) = (aggregate.argument, Kept::of(&aggregate.function, aggregate.argument.is_some()));
            let shared = |shelf: &Shelf| shelf.argument == argument && shelf.kept == kept && kept != Kept::Folded;
            let found = shelves.iter().position(shared);
            if found.is_none() {
                shelves.push(Shelf { argument, kept, store: kept.store(&aggregate, layout) });
            }
            calls.push((aggregate, found.unwrap_or(shelves.len() - 1)));
        }
        let folds = shelves.iter().any(|shelf| shelf.kept == Kept::Folded);
        let counts = |shelf: &Shelf| shelf.kept == Kept::Rows && shelf.argument.is_none();
        let rows = shelves.iter().position(counts).unwrap_or(shelves.len());
        if rows == shelves.len() {
            shelves.push(Shelf { argument: None, kept: Kept::Rows, store: Box::new(Slots::<Count<false>>::new(())) });
        }
        Accumulators { calls, shelves, free: Vec::new(), slots: 0, folds, rows, held: 0, absorbed: 0 }
    }

    /// Whether each row must be prepared before it is added, and added alone: there is a fold.
    pub fn folds(&self) -> bool {
        self.folds
    }

    /// Computes the folds of a row that is about to be added to a window's part, `slots` in order of time; none is a new
    /// one. After an error nothing has changed, and the row belongs to no window.
    pub fn prepare(&mut self, batch: &Batch, row: u32, slots: &[u32]) -> Result<(), RowError> {
        self.shelves.iter_mut().try_for_each(|shelf| shelf.store.prepare(batch, row, slots))
    }

    /// An empty slot.
    pub fn allocate(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.shelves.iter_mut().for_each(|shelf| shelf.store.allocate());
        self.slots += 1;
        self.slots - 1
    }

    /// How many rows all slots hold.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// How many rows were in slots that were given back since this was last asked.
    pub fn take_absorbed(&mut self) -> u64 {
        std::mem::take(&mut self.absorbed)
    }

    fn rows_in(&self, slot: u32) -> u64 {
        match self.shelves.get(self.rows).and_then(|shelf| shelf.store.stored(slot)) {
            Some(Stored::Count(rows)) => rows,
            _ => 0,
        }
    }

    /// Gives a slot back, emptied; its rows are absorbed.
    pub fn release(&mut self, slot: u32) {
        let rows = self.rows_in(slot);
        self.held -= rows;
        self.absorbed += rows;
        self.empty(slot);
    }

    fn empty(&mut self, slot: u32) {
        self.shelves.iter_mut().for_each(|shelf| shelf.store.clear(slot));
        self.free.push(slot);
    }

    /// Adds rows of a batch, each to its slot.
    pub fn add(&mut self, batch: &Batch, rows: &[(u32, u32)]) {
        self.held += rows.len() as u64;
        for shelf in &mut self.shelves {
            let column = shelf.argument.and_then(|f| batch.column(f));
            shelf.store.add(batch, column, rows);
        }
    }

    /// Merges what lies in `from` into `into` and gives `from` back; `from` holds what came later by event time.
    pub fn merge(&mut self, into: u32, from: u32) {
        self.shelves.iter_mut().for_each(|shelf| shelf.store.merge(into, from));
        self.empty(from);
    }

    /// Merges what lies in `from` into `into` as well; `from` stays, and its rows are counted there alone.
    pub fn take_in(&mut self, into: u32, from: u32) {
        self.shelves.iter_mut().for_each(|shelf| shelf.store.merge(into, from));
    }

    /// Gives back a slot that [`Accumulators::take_in`] filled.
    pub fn give_back(&mut self, slot: u32) {
        self.empty(slot);
    }

    /// The results of one call for many groups; a group is a run of `slots`, in order of time. A group that has no answer
    /// is an error of its row, which is null.
    pub fn results(
        &self,
        call: usize,
        groups: &[std::ops::Range<u32>],
        slots: &[u32],
        out: &mut ColumnBuilder,
        errors: &mut Vec<RowError>,
    ) {
        let Some((aggregate, shelf)) = self.calls.get(call) else { return };
        let Some(shelf) = self.shelves.get(*shelf) else { return };
        for group in groups {
            let slots = slots.get(group.start as usize..group.end as usize).unwrap_or_default();
            let row = as_u32(out.len());
            if let Err(error) = shelf.store.result(&aggregate.function, slots, out) {
                let place = if error.place.is_empty() { aggregate.place.clone() } else { error.place };
                errors.push(RowError { row, place, ..error });
            }
        }
    }

    /// The running values of a slot, for storing.
    pub fn store(&self, slot: u32) -> StoredSlot<'_> {
        StoredSlot { shelves: &self.shelves, slot }
    }

    /// A slot with stored running values. `None` if they are not of these aggregates.
    pub fn load(&mut self, stored: &[Stored]) -> Option<u32> {
        if stored.len() != self.shelves.len() {
            return None;
        }
        let slot = self.allocate();
        let loaded = self.shelves.iter_mut().zip(stored).all(|(shelf, value)| shelf.store.load(slot, value));
        self.held += self.rows_in(slot);
        loaded.then_some(slot)
    }
}
