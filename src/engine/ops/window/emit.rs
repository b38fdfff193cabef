//! Makes the output rows of a window step, a column at a time.

use std::ops::Range;
use std::sync::Arc;

use crate::base::time::{RFC3339_LEN, Timestamp, write_rfc3339};
use crate::data::batch::{Batch, Edit, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder, as_u32};
use crate::data::json;
use crate::data::layout::{FieldId, Layout};
use crate::data::value::{Val, Value};
use crate::engine::action::{scratch, too_deep};
use crate::engine::flow::Failed;
use crate::engine::ops::{Rank, Ranks, TickOutput};
use crate::expr::Scratch;
use crate::plan::Port;
use crate::store::rows::Origin;

use super::accumulate::Accumulators;
use super::keys::Keys;
use super::{OutputField, WindowSpec};

/// What caused an emission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    /// Ordinal in the tick.
    pub ordinal: u32,
    /// As in [`Rank::turn`].
    pub turn: u32,
}

/// Windows of one emission that share their bounds: a group a key.
pub(super) struct Emission<'a> {
    pub cause: Cause,
    /// As in [`Rank::at`].
    pub at: i64,
    /// The rows' event time.
    pub time: i64,
    /// Whether the windows are still open and will emit again.
    pub early: bool,
    pub start: i64,
    pub end: i64,
    /// Key numbers, in order.
    pub keys: &'a [u32],
    /// For each key the run of `slots` that is its window, in order of time.
    pub groups: &'a [Range<u32>],
    pub slots: &'a [u32],
    /// Absent on the first emission of a window.
    pub revision: Option<u32>,
    /// The other emitted starts that a session replaces.
    pub replaces: &'a [i64],
}

/// Collects the rows of a tick.
pub(super) struct Emitter {
    spec: WindowSpec,
    layout: Arc<Layout>,
    scratch: Scratch,
    ranks: Vec<Rank>,
    late: Vec<(u32, u32)>,
    ordinals: Vec<u32>,
    times: Vec<Timestamp>,
    by: Vec<ColumnBuilder>,
    start: ColumnBuilder,
    end: ColumnBuilder,
    early: ColumnBuilder,
    revision: ColumnBuilder,
    replaces: ColumnBuilder,
    /// Whether a row has a `window_early`.
    some_early: bool,
    /// Whether a row has a `window_revision` or `window_replaces`.
    some_revised: bool,
    calls: Vec<ColumnBuilder>,
    /// Rows for which an aggregate has no answer.
    unanswered: Vec<RowError>,
    /// Rows of the input that could not be taken in.
    failed: Vec<Failed>,
}

impl Emitter {
    pub fn new(spec: &WindowSpec, layout: &Arc<Layout>) -> Self {
        let builders = |n: usize| (0..n).map(|_| ColumnBuilder::default()).collect();
        Emitter {
            scratch: scratch(layout),
            layout: Arc::clone(layout),
            ranks: Vec::new(),
            late: Vec::new(),
            ordinals: Vec::new(),
            times: Vec::new(),
            by: builders(spec.by.len()),
            start: ColumnBuilder::default(),
            end: ColumnBuilder::default(),
            early: ColumnBuilder::default(),
            revision: ColumnBuilder::default(),
            replaces: ColumnBuilder::default(),
            some_early: false,
            some_revised: false,
            calls: builders(spec.calls.len()),
            unanswered: Vec::new(),
            failed: Vec::new(),
            spec: spec.clone(),
        }
    }

    /// A row that came too late.
    pub fn late(&mut self, cause: Cause, row: u32) {
        self.late.push((row, as_u32(self.ranks.len())));
        let Cause { ordinal, turn } = cause;
        self.ranks.push(Rank { ordinal, turn, at: i64::MIN, end: i64::MIN, key: u32::MAX });
    }

    /// A row that could not be taken in.
    pub fn failed(&mut self, cause: Cause, input: &Batch, error: RowError) {
        let row = error.row as usize;
        let original = match &input.raw {
            Some(raw) if input.edits.is_empty() => raw.row(row).as_bytes().to_vec(),
            _ => {
                let mut text = Vec::new();
                json::write_value(&json::event_of(&self.layout, input, row), &mut text);
                text
            }
        };
        self.failed.push(Failed {
            ordinal: as_u32(self.ranks.len()),
            time: input.times.get(row).copied().unwrap_or(Timestamp::MIN),
            reason: error.reason,
            place: error.place,
            origin: Origin::Row,
            header: None,
            original,
        });
        self.ranks.push(Rank { ordinal: cause.ordinal, turn: cause.turn, at: i64::MIN, end: i64::MIN, key: u32::MAX });
    }

    /// The rows of one emission.
    pub fn emit<T: Default>(&mut self, emission: &Emission<'_>, keys: &Keys<T>, accumulators: &Accumulators) {
        let rows = emission.keys.len();
        for id in emission.keys {
            let parts = keys.get(*id).map_or(&[][..], |e| e.key.parts());
            for (part, builder) in self.by.iter_mut().enumerate() {
                builder.push(parts.get(part).map_or(Val::Unit, Value::as_val));
            }
            let rank = as_u32(self.ranks.len());
            self.ordinals.push(rank);
            self.ranks.push(Rank {
                ordinal: emission.cause.ordinal,
                turn: emission.cause.turn,
                at: emission.at,
                end: emission.end,
                key: as_u32(self.times.len()),
            });
            self.times.push(Timestamp(emission.time));
        }
        repeat_time(&mut self.start, emission.start, rows);
        repeat_time(&mut self.end, emission.end, rows);
        for _ in 0..rows {
            self.early.push_cell(if emission.early { Cell::Bool(true) } else { Cell::Missing });
            self.revision.push_cell(emission.revision.map_or(Cell::Missing, |r| Cell::Int(i64::from(r))));
            if emission.replaces.is_empty() {
                self.replaces.push_cell(Cell::Missing);
            } else {
                let text = |start: &i64| Value::Text(Timestamp(*start).to_string().into());
                let starts = Value::List(Arc::new(emission.replaces.iter().map(text).collect()));
                self.replaces.push(Val::Big(&starts));
            }
        }
        self.some_early |= emission.early;
        self.some_revised |= emission.revision.is_some() || !emission.replaces.is_empty();
        for (call, builder) in self.calls.iter_mut().enumerate() {
            accumulators.results(call, emission.groups, emission.slots, builder, &mut self.unanswered);
        }
    }

    /// Hands over what was collected.
    pub fn finish(&mut self, out: &mut TickOutput) {
        out.late = std::mem::take(&mut self.late);
        out.failed = std::mem::take(&mut self.failed);
        out.ranks.list = std::mem::take(&mut self.ranks);
        if self.times.is_empty() {
            return;
        }
        out.made = self.times.len() as u64;
        let mut batch = Batch {
            rows: self.times.len(),
            ordinals: std::mem::take(&mut self.ordinals),
            times: std::mem::take(&mut self.times),
            ..Batch::default()
        };
        let take = |builder: &mut ColumnBuilder| Arc::new(std::mem::take(builder).finish());
        let mut keys = Vec::with_capacity(self.by.len());
        for (builder, field) in self.by.iter_mut().zip(&self.spec.by) {
            let column = take(builder);
            keys.push(Arc::clone(&column));
            write(&mut batch, *field, column);
        }
        out.ranks = Ranks { list: std::mem::take(&mut out.ranks.list), keys };
        let bounds = self.spec.bounds;
        write(&mut batch, bounds.start, take(&mut self.start));
        write(&mut batch, bounds.end, take(&mut self.end));
        let (early, revision, replaces) = (take(&mut self.early), take(&mut self.revision), take(&mut self.replaces));
        if std::mem::take(&mut self.some_early) {
            write(&mut batch, bounds.early, early);
        }
        if std::mem::take(&mut self.some_revised) {
            write(&mut batch, bounds.revision, revision);
            write(&mut batch, bounds.replaces, replaces);
        }
        for (builder, (_, field)) in self.calls.iter_mut().zip(&self.spec.calls) {
            batch.put(*field, take(builder));
        }
        self.outputs(&mut batch, out);
        out.failed.sort_by_key(|failed| failed.ordinal);
        out.ports.push((Port::Main, batch));
    }

    /// Writes the aggregate fields; rows whose expression fails are taken out.
    fn outputs(&mut self, batch: &mut Batch, out: &mut TickOutput) {
        let mut failed = std::mem::take(&mut self.unanswered);
        for (field, output) in &self.spec.outputs {
            let column = match output {
                OutputField::Call(result) => batch.columns.get(result.index()).cloned().flatten(),
                OutputField::Program(program) => {
                    let mut builder = ColumnBuilder::with_capacity(batch.rows);
                    program.evaluate(batch, &mut self.scratch, &mut builder, &mut failed);
                    let mut column = builder.finish();
                    // An aggregate without a value is null; the field is there all the same.
                    column.cells.iter_mut().filter(|c| **c == Cell::Missing).for_each(|c| *c = Cell::Null);
                    Some(Arc::new(column))
                }
            };
            if let Some(column) = column {
                write(batch, *field, column);
            }
        }
        failed.append(&mut too_deep(&self.layout, batch));
        if failed.is_empty() {
            return;
        }
        failed.sort_by_key(|e| e.row);
        failed.dedup_by_key(|e| e.row);
        let mut bad = failed.iter().map(|e| e.row).peekable();
        let keep: Vec<u32> = (0..as_u32(batch.rows)).filter(|row| bad.next_if_eq(row).is_none()).collect();
        for error in failed {
            let row = error.row as usize;
            let mut original = Vec::new();
            json::write_value(&json::event_of(&self.layout, batch, row), &mut original);
            out.failed.push(Failed {
                ordinal: batch.ordinals.get(row).copied().unwrap_or(0),
                time: batch.times.get(row).copied().unwrap_or(Timestamp::MIN),
                reason: error.reason,
                place: error.place,
                origin: Origin::Made,
                header: None,
                original,
            });
        }
        *batch = batch.select(&keep);
    }
}

/// Writes a field of a row that the step makes; the order of calls is the order of fields.
fn write(batch: &mut Batch, field: FieldId, column: Arc<Column>) {
    batch.put(field, Arc::clone(&column));
    batch.edits.push(Edit::Set { field, column, touched: None });
}

/// The same instant in several rows: its text is stored once.
fn repeat_time(builder: &mut ColumnBuilder, at: i64, rows: usize) {
    if rows == 0 {
        return;
    }
    let mut buffer = [0u8; RFC3339_LEN];
    builder.push(Val::Text(write_rfc3339(Timestamp(at), &mut buffer)));
    builder.repeat_last(rows - 1);
}
