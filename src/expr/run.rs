//! Scripts over batches: what they write becomes edits, what they emit and drop is handed back.

use std::sync::Arc;

use super::fault::{Fault, Stop};
use super::node::{Mark, Slot};
use super::overlap::{Overlaps, keep};
use super::program::{Compiled, CompiledWrite, Program, Scratch, Way, as_row, row_groups};
use super::scripted::{Outcome, Scripted, Written};
use super::{dynamic, numbers};
use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder};
use crate::data::layout::FieldId;
use crate::data::value::{Map, Val, Value};

/// The `state` of a script: a map for each key, kept by whoever runs it. Rows are asked for in order.
pub trait KeyedState {
    /// The map of the row's key; null if it has none yet.
    fn get(&mut self, row: usize) -> Value;
    /// The map of the row's key from now on.
    fn put(&mut self, row: usize, state: Value);
}

/// An event that a script sent with `emit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The row, in the batch that was given, whose script sent it.
    pub row: u32,
    /// The port; `None` is the main output, where it comes before the row's own event.
    pub port: Option<String>,
    /// The event.
    pub value: Value,
}

/// What came of a script's run over a batch.
#[derive(Clone, Debug, Default)]
pub struct ScriptOutput {
    /// The rows that pass, with what was written as edits.
    pub batch: Batch,
    /// For each row of `batch` its place in the batch that was given.
    pub kept: Vec<u32>,
    /// What was sent, in order.
    pub emitted: Vec<Emitted>,
    /// Rows whose script failed; nothing that they wrote or sent is kept.
    pub errors: Vec<RowError>,
    /// How many rows `drop()` discarded.
    pub dropped: u64,
}

/// What the written fields of one row came to: few, so that they need no memory of their own.
type Outcomes = smallvec::SmallVec<[Outcome; 4]>;

/// The writes of one field while a batch runs.
struct Writing {
    column: ColumnBuilder,
    touched: Vec<bool>,
}

impl Writing {
    fn new(rows: usize) -> Writing {
        Writing { column: ColumnBuilder::with_capacity(rows), touched: Vec::with_capacity(rows) }
    }

    fn untouched(&mut self, before: Option<&Column>, row: usize) {
        self.touched.push(false);
        match before {
            Some(column) => keep(&mut self.column, column, row),
            None => self.column.push_cell(Cell::Missing),
        }
    }

    fn removed(&mut self) {
        self.touched.push(true);
        self.column.push_cell(Cell::Missing);
    }

    fn value(&mut self, value: Val<'_>) {
        self.touched.push(true);
        self.column.push(value);
    }

    /// Makes the edit, unless no row was touched.
    fn finish(self, batch: &mut Batch, field: FieldId, overlaps: &Overlaps) {
        if !self.touched.contains(&true) {
            return;
        }
        let touched = self.touched.contains(&false).then(|| Arc::new(self.touched));
        let column = Arc::new(self.column.finish());
        batch.set(field, Arc::clone(&column), touched.clone());
        if !overlaps.is_empty() {
            overlaps.refresh(batch, &column, touched.as_ref().map(|t| t.as_slice()));
        }
    }
}

impl Program {
    /// Runs a script on every row, in order. `state` is needed by a script that uses it.
    pub fn run(&self, batch: Batch, scratch: &mut Scratch, state: Option<&mut dyn KeyedState>) -> ScriptOutput {
        match &self.inner.way {
            Way::Compiled(compiled) => self.run_compiled(compiled, batch, scratch),
            Way::Scripted(scripted) => self.run_scripted(scripted, batch, scratch, state),
        }
    }

    fn run_compiled(&self, compiled: &Compiled, batch: Batch, scratch: &mut Scratch) -> ScriptOutput {
        let mut output = ScriptOutput::default();
        let mut writings: Vec<Writing> = compiled.written.iter().map(|_| Writing::new(batch.rows)).collect();
        let columns = compiled.bind(&batch, &mut scratch.numbers);
        if let Some(straight) =
            compiled.straight.as_ref().filter(|_| numbers::are_plain(&compiled.vectors, &scratch.numbers))
        {
            drop(columns);
            return self.run_straight(compiled, straight, batch, scratch);
        }
        let before: Vec<Option<&Column>> = compiled.written.iter().map(|w| batch.column(w.field)).collect();
        output.kept.reserve(batch.rows);
        for rows in row_groups(batch.rows) {
            scratch.empty_arena(rows.start);
            let slots = compiled.frame(&scratch.arena);
            for row in rows {
                slots.fill(Slot { value: Val::Unit, mark: Mark::Untouched });
                for ((write, before), slot) in compiled.written.iter().zip(&before).zip(slots.iter_mut()) {
                    if let (true, Some(column)) = (write.read, before) {
                        slot.value = column.get(row);
                    }
                }
                let cx = compiled.context(&columns, row, &scratch.arena, &scratch.numbers, &self.inner.sites);
                match compiled.root.eval(&cx, slots) {
                    Ok(_) | Err(Stop::Done) => {
                        output.kept.push(as_row(row));
                        for ((write, before), writing) in compiled.written.iter().zip(&before).zip(&mut writings) {
                            settle(write, *before, row, slots.get(write.slot), writing);
                        }
                    }
                    Err(Stop::Drop) => output.dropped += 1,
                    Err(stop) => self.report(row, stop, &mut output.errors),
                }
            }
        }
        output.batch = kept(batch, &output.kept);
        for ((write, writing), overlaps) in compiled.written.iter().zip(writings).zip(&self.inner.overlaps) {
            writing.finish(&mut output.batch, write.field, overlaps);
        }
        output
    }

    /// Assigns arithmetic that has a number in every row: no row fails and none is dropped.
    fn run_straight(
        &self,
        compiled: &Compiled,
        straight: &[(usize, usize)],
        batch: Batch,
        scratch: &Scratch,
    ) -> ScriptOutput {
        let mut output = ScriptOutput { kept: (0..batch.rows).map(as_row).collect(), batch, ..ScriptOutput::default() };
        for (slot, vector) in straight {
            let (Some(write), Some(numbers)) = (compiled.written.get(*slot), scratch.numbers.get(*vector)) else {
                continue;
            };
            let cells: Vec<Cell> = numbers.iter().map(|n| n.cell()).collect();
            let before = output.batch.column(write.field).filter(|_| write.read);
            // A field that comes to the value it had is not touched.
            let touched: Vec<bool> = match before {
                Some(before) => cells.iter().zip(&before.cells).map(|(new, old)| !same_number(*new, *old)).collect(),
                None => Vec::new(),
            };
            if !touched.is_empty() && !touched.contains(&true) {
                continue;
            }
            let touched = touched.contains(&false).then(|| Arc::new(touched));
            let column = Arc::new(Column { cells, ..Column::default() });
            output.batch.set(write.field, Arc::clone(&column), touched.clone());
            if let Some(overlaps) = self.inner.overlaps.get(*slot) {
                overlaps.refresh(&mut output.batch, &column, touched.as_ref().map(|t| t.as_slice()));
            }
        }
        output
    }

    fn run_scripted(
        &self,
        scripted: &Scripted,
        batch: Batch,
        scratch: &mut Scratch,
        mut state: Option<&mut dyn KeyedState>,
    ) -> ScriptOutput {
        let mut output = ScriptOutput::default();
        let mut writings: Vec<Writing> = scripted.written.iter().map(|_| Writing::new(batch.rows)).collect();
        let mut events = EventWrites::default();
        for row in 0..batch.rows {
            let event = self.event(scripted, &batch, row, scratch);
            let before = match &mut state {
                Some(state) if scripted.state => Some(match state.get(row) {
                    Value::Null => Value::Map(Arc::default()),
                    kept => kept,
                }),
                _ => None,
            };
            let sites = &self.inner.sites;
            let (result, effects) =
                scripted.run(&batch, row, &mut scratch.scope, event.as_ref(), before.as_ref(), sites);
            let settled = match result {
                Ok(_) | Err(Stop::Done) => self.outcomes(scripted, &batch, row, scratch, event.as_ref()).map(Some),
                Err(Stop::Drop) => Ok(None),
                Err(stop) => Err(stop),
            };
            // What a row leaves in `state` stays when it is dropped, and not when it fails.
            let after = settled.and_then(|s| Ok((s, self.state_after(before.as_ref(), row, scratch)?)));
            let (settled, after) = match after {
                Ok(done) => done,
                Err(stop) => {
                    self.report(row, stop, &mut output.errors);
                    continue;
                }
            };
            if let (Some(after), Some(state)) = (after, &mut state) {
                state.put(row, after);
            }
            let sent = effects.emitted.into_iter().map(|(port, value)| Emitted { row: as_row(row), port, value });
            output.emitted.extend(sent);
            let Some((outcomes, event_after)) = settled else {
                output.dropped += 1;
                continue;
            };
            output.kept.push(as_row(row));
            for ((outcome, written), writing) in outcomes.into_iter().zip(&scripted.written).zip(&mut writings) {
                match outcome {
                    Outcome::Untouched => writing.untouched(batch.column(written.field), row),
                    Outcome::Removed => writing.removed(),
                    Outcome::Value(value) => writing.value(value.as_val()),
                }
            }
            events.rows.push(event.zip(event_after));
        }
        output.batch = kept(batch, &output.kept);
        for ((written, writing), overlaps) in scripted.written.iter().zip(writings).zip(&self.inner.overlaps) {
            writing.finish(&mut output.batch, written.field, overlaps);
        }
        if scripted.event {
            events.finish(self, &mut output.batch);
        }
        output
    }

    /// What the written fields, or the whole event, came to.
    fn outcomes(
        &self,
        scripted: &Scripted,
        batch: &Batch,
        row: usize,
        scratch: &Scratch,
        event: Option<&Value>,
    ) -> Result<(Outcomes, Option<Value>), Stop> {
        let odd = |name: String, kind: &str| {
            let words = format!("`{name}` was given {kind}, which no event holds");
            Stop::fault(&self.inner.sites, usize::MAX, &Fault::Other(words))
        };
        let outcome = |written: &Written| {
            scripted.outcome(written, batch, row, &scratch.scope).map_err(|kind| odd(written.path(), kind))
        };
        let outcomes = scripted.written.iter().map(outcome).collect::<Result<Outcomes, _>>()?;
        let (Some(old), Some(_)) = (event, self.inner.whole) else { return Ok((outcomes, None)) };
        let after = match scratch.scope.get("event") {
            Some(value) => dynamic::to_value(value).map_err(|kind| odd("event".into(), kind))?,
            None => old.clone(),
        };
        Ok((outcomes, Some(dynamic::in_old_order(old, after))))
    }

    /// What `state` came to, if the script has one.
    fn state_after(&self, before: Option<&Value>, _row: usize, scratch: &Scratch) -> Result<Option<Value>, Stop> {
        let (Some(_), Some(state)) = (before, scratch.scope.get("state")) else { return Ok(None) };
        dynamic::to_value(state).map(Some).map_err(|kind| {
            let words = format!("`state` was given {kind}, which cannot be kept");
            Stop::fault(&self.inner.sites, usize::MAX, &Fault::Other(words))
        })
    }
}

/// The rows that pass.
fn kept(batch: Batch, rows: &[u32]) -> Batch {
    if rows.len() == batch.rows { batch } else { batch.select(rows) }
}

/// Notes what became of a compiled script's field in a row.
fn settle(write: &CompiledWrite, before: Option<&Column>, row: usize, slot: Option<&Slot<'_>>, writing: &mut Writing) {
    let Some(slot) = slot else { return };
    let cell = if write.read { before.and_then(|c| c.cells.get(row)).copied() } else { None };
    match (slot.mark, slot.value) {
        (Mark::Untouched, _) => writing.untouched(before, row),
        (Mark::Null, _) if cell == Some(Cell::Null) => writing.untouched(before, row),
        (Mark::Null, _) => writing.value(Val::Unit),
        (Mark::Set, Val::Unit) if write.read && cell.is_none_or(|c| c == Cell::Missing) => {
            writing.untouched(before, row)
        }
        (Mark::Set, Val::Unit) => writing.removed(),
        (Mark::Set, value) => match (cell, before) {
            (Some(cell), Some(column))
                if !matches!(cell, Cell::Missing | Cell::Null) && same(column.val(cell), value) =>
            {
                writing.untouched(before, row);
            }
            _ => writing.value(value),
        },
    }
}

/// Whether two cells hold the same number of the same kind.
fn same_number(a: Cell, b: Cell) -> bool {
    match (a, b) {
        (Cell::Int(a), Cell::Int(b)) => a == b,
        (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
        _ => false,
    }
}

/// Whether a field has the value that it had.
fn same(old: Val<'_>, new: Val<'_>) -> bool {
    match (old, new) {
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Int(a), Val::Int(b)) => a == b,
        (Val::Float(a), Val::Float(b)) => a.to_bits() == b.to_bits(),
        (Val::Text(a), Val::Text(b)) => a == b,
        (Val::Big(_), Val::Big(b)) => dynamic::same(old, b),
        _ => false,
    }
}

/// Writes through `event` as a whole: for each row that passes, the event before and after.
#[derive(Default)]
struct EventWrites {
    rows: Vec<Option<(Value, Value)>>,
}

impl EventWrites {
    /// Turns differences into edits of top-level fields. A row in which a field changed that the pipeline names nowhere
    /// is set as a whole.
    fn finish(self, program: &Program, batch: &mut Batch) {
        let Some(whole_field) = program.inner.whole else { return };
        let tops = &program.inner.tops;
        let mut whole = Writing::new(batch.rows);
        let mut fields: Vec<Writing> = tops.iter().map(|_| Writing::new(batch.rows)).collect();
        let before: Vec<Option<Arc<Column>>> =
            tops.iter().map(|(_, id, _)| batch.columns.get(id.index()).cloned().flatten()).collect();
        for (row, change) in self.rows.iter().enumerate() {
            let named = |name: &str| tops.iter().any(|(n, ..)| n == name);
            let by_field = match change {
                Some((Value::Map(old), Value::Map(new))) => changed(old, new).iter().all(|name| named(name)),
                Some((old, new)) => dynamic::same(old.as_val(), new),
                None => true,
            };
            match change {
                Some((_, new)) if !by_field => whole.value(new.as_val()),
                _ => whole.untouched(None, row),
            }
            for (((name, ..), writing), before) in tops.iter().zip(&mut fields).zip(&before) {
                let (old, new) = match change {
                    Some((Value::Map(old), Value::Map(new))) => (old.get(name), new.get(name)),
                    _ => (None, None),
                };
                match (old, new) {
                    (Some(old), Some(new)) if dynamic::same(old.as_val(), new) => {
                        writing.untouched(before.as_deref(), row)
                    }
                    (None, None) => writing.untouched(before.as_deref(), row),
                    (_, None) => writing.removed(),
                    (_, Some(new)) => writing.value(new.as_val()),
                }
            }
        }
        // A row set as a whole has its fields set again after it, which is the same and brings the columns up to date.
        whole.finish(batch, whole_field, &Overlaps::default());
        for ((_, id, overlaps), writing) in tops.iter().zip(fields) {
            writing.finish(batch, *id, overlaps);
        }
    }
}

/// The names of members that differ.
fn changed<'m>(old: &'m Map, new: &'m Map) -> Vec<&'m str> {
    let differs = |name: &str| match (old.get(name), new.get(name)) {
        (Some(a), Some(b)) => !dynamic::same(a.as_val(), b),
        (None, None) => false,
        _ => true,
    };
    let names = old.0.iter().chain(&new.0).map(|(name, _)| name.as_str());
    names.filter(|name| differs(name)).collect()
}
