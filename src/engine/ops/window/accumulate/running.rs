//! What every aggregate is to the window step: running values in slots.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder};
use crate::data::value::Val;
use crate::plan::aggregate::Function;

use super::super::segments::Segmented;
use super::Stored;

/// The running value of one aggregate over some rows. Whatever the order in which rows come and however they are split,
/// merging the parts in order of time gives what adding every row gives.
pub(super) trait Running: Clone + Debug + Send {
    /// Whether it looks at the argument.
    const READS: bool = true;
    /// Whether it looks at the event time.
    const TIMED: bool = false;
    /// A constant of the call that adding depends on.
    type Constant: Copy + Debug + Send;

    /// Before the first row.
    fn empty(constant: Self::Constant) -> Self;

    /// Adds a row's value; unit is null or missing.
    fn add(&mut self, value: Val<'_>, time: i64);

    /// Takes in what came later by event time, or at any time where that does not matter.
    fn merge(&mut self, later: &Self);

    /// Adds the answer's cell. The error says why there is none.
    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String>;

    /// For storing.
    fn stored(&self) -> Stored;

    /// As it was stored; `None` if that was another aggregate's.
    fn load(stored: &Stored, constant: Self::Constant) -> Option<Self>;
}

/// Running values of one aggregate by slot.
pub(super) trait Store: Debug + Send {
    /// One more slot, empty.
    fn allocate(&mut self);

    /// Empties a slot.
    fn clear(&mut self, slot: u32);

    /// Computes what may fail of a row that is about to be added to what lies in `slots`, in order of time: the next
    /// [`Store::add`] is of this row alone.
    fn prepare(&mut self, _batch: &Batch, _row: u32, _slots: &[u32]) -> Result<(), RowError> {
        Ok(())
    }

    /// Adds rows, each to its slot.
    fn add(&mut self, batch: &Batch, argument: Option<&Column>, rows: &[(u32, u32)]);

    /// Merges one slot into another that holds what came before it.
    fn merge(&mut self, into: u32, from: u32);

    /// Adds the answer of some slots, in order of time, to a column. After an error the cell is null.
    fn result(&self, function: &Function, slots: &[u32], out: &mut ColumnBuilder) -> Result<(), RowError>;

    /// The running value of a slot.
    fn stored(&self, slot: u32) -> Option<Stored>;

    /// Fills a slot; false if what was stored is another aggregate's.
    fn load(&mut self, slot: u32, stored: &Stored) -> bool;
}

/// A [`Store`] of any kind of running value.
#[derive(Debug)]
pub(super) struct Slots<R: Running> {
    constant: R::Constant,
    values: Segmented<R>,
}

impl<R: Running> Slots<R> {
    pub fn new(constant: R::Constant) -> Self {
        Slots { constant, values: Segmented::default() }
    }

    /// The running value of several slots together.
    fn together(&self, slots: &[u32]) -> Cow<'_, R> {
        let mut parts = slots.iter().filter_map(|slot| self.values.get(*slot as usize));
        match (parts.next(), parts.next()) {
            (None, _) => Cow::Owned(R::empty(self.constant)),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let mut whole = first.clone();
                whole.merge(second);
                parts.for_each(|part| whole.merge(part));
                Cow::Owned(whole)
            }
        }
    }
}

impl<R: Running> Store for Slots<R> {
    fn allocate(&mut self) {
        self.values.push(R::empty(self.constant));
    }

    fn clear(&mut self, slot: u32) {
        if let Some(value) = self.values.get_mut(slot as usize) {
            *value = R::empty(self.constant);
        }
    }

    fn add(&mut self, batch: &Batch, argument: Option<&Column>, rows: &[(u32, u32)]) {
        for (row, slot) in rows {
            let Some(running) = self.values.get_mut(*slot as usize) else { continue };
            let value = if R::READS { argument.map_or(Val::Unit, |c| c.get(*row as usize)) } else { Val::Unit };
            let time = if R::TIMED { batch.times.get(*row as usize).map_or(0, |t| t.0) } else { 0 };
            running.add(value, time);
        }
    }

    fn merge(&mut self, into: u32, from: u32) {
        if let Some((a, b)) = self.values.two_mut(into as usize, from as usize) {
            a.merge(b);
        }
    }

    fn result(&self, function: &Function, slots: &[u32], out: &mut ColumnBuilder) -> Result<(), RowError> {
        self.together(slots).result(function, out).map_err(|reason| {
            out.push_cell(Cell::Null);
            RowError { row: 0, reason, place: String::new() }
        })
    }

    fn stored(&self, slot: u32) -> Option<Stored> {
        self.values.get(slot as usize).map(R::stored)
    }

    fn load(&mut self, slot: u32, stored: &Stored) -> bool {
        match (self.values.get_mut(slot as usize), R::load(stored, self.constant)) {
            (Some(value), Some(loaded)) => {
                *value = loaded;
                true
            }
            _ => false,
        }
    }
}

/// Adds a float, or null where there is none or it is beyond all numbers.
pub(super) fn push_float(out: &mut ColumnBuilder, value: Option<f64>) {
    match value {
        Some(f) if f.is_finite() => out.push_cell(Cell::Float(f)),
        _ => out.push_cell(Cell::Null),
    }
}

/// Adds a count.
pub(super) fn push_count(out: &mut ColumnBuilder, count: u64) {
    out.push_cell(Cell::Int(i64::try_from(count).unwrap_or(i64::MAX)));
}
