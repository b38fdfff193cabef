//! What stateless steps do to a batch.

use std::sync::Arc;

use crate::base::limit::JSON_DEPTH;
use crate::connector::Encoded;
use crate::data::batch::{Batch, Edit, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder, as_u32};
use crate::data::formats;
use crate::data::framing::Block;
use crate::data::hash;
use crate::data::json::{self, Decoder, Encoder};
use crate::data::layout::{Demand, FieldId, Layout, Root};
use crate::data::weave::{self, Pick};
use crate::expr::{Emitted, Program, Scratch};
use crate::plan::Port;

use super::actions::encode::Encode;
use super::actions::explode::ExplodeAction;
use super::actions::join::{self, PrepareJoin};
use super::actions::lookup::Lookup;
use super::actions::parse::ParseAction;
use super::actions::sample::Sampler;
use super::actions::validate::ValidateAction;

/// A stateless step, its expressions compiled.
pub enum Action {
    /// Keeps rows whose condition is true.
    Filter(Program),
    /// Runs a script without state.
    Script(Program),
    /// Writes fields, each seeing those before it.
    Set(Vec<(FieldId, Program)>),
    /// Lets only these fields stay.
    Keep(Arc<[FieldId]>),
    /// Takes fields out.
    Drop(Vec<FieldId>),
    /// Gives fields other names.
    Rename(Vec<(FieldId, FieldId)>),
    /// Reads a field's text in a format of its own.
    Parse(Box<ParseAction>),
    /// Makes a row for each element of a list.
    Explode(ExplodeAction),
    /// Keeps rows that fit a JSON Schema.
    Validate(ValidateAction),
    /// Sends each row to the first branch whose condition is true.
    Route(Vec<(Port, Program)>),
    /// Takes over columns of a table.
    Lookup(Lookup),
    /// Computes the key and the arguments of a step with state, which stands behind an exchange.
    Prepare(Prepare),
    /// Lets a part of the rows go on.
    Sample(Arc<Sampler>),
    /// Marks the rows of one side of a join.
    Tag(FieldId, bool),
    /// Computes the key of a join, each side's by its own expressions.
    PrepareJoin(Arc<PrepareJoin>),
    /// Writes rows in a sink's format.
    Encode(Encode),
}

/// What a step with state needs of each row.
#[derive(Clone)]
pub struct Prepare {
    /// Columns to compute.
    pub compute: Vec<(Program, FieldId)>,
    /// Columns that hold numbers or nothing.
    pub numbers: Vec<Numbers>,
    /// Where the digest of the whole event goes, if the step needs it.
    pub digest: Option<[FieldId; 2]>,
    /// The columns of the key.
    pub key: Vec<FieldId>,
}

/// A column that an aggregate of numbers reads. Null is passed over; anything else that is no number would be lost
/// without a word, so its row fails.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// The column.
    pub field: FieldId,
    /// The call, as it is written.
    pub call: String,
    /// Its argument, as it is written.
    pub argument: String,
    /// Where that stands.
    pub place: String,
}

/// What a worker needs beside an action, kept from batch to batch.
pub struct Tools {
    /// Reads rows again after a step wrote paths that overlap with ones read later.
    pub decoder: Decoder,
    /// Writes rows.
    pub encoder: Encoder,
    /// For expressions.
    pub scratch: Scratch,
    /// Reads texts inside fields; made when there is a first one.
    pub parser: Option<formats::Decoder>,
}

impl Tools {
    /// For rows of which `needed` is read later.
    pub fn new(layout: &Arc<Layout>, needed: &Demand) -> Self {
        Tools {
            decoder: Decoder::new(layout, needed),
            encoder: Encoder::new(layout),
            scratch: scratch(layout),
            parser: None,
        }
    }
}

impl Tools {
    /// The rows with their edits written into their text and columns read from it again. Rows that their edits have made
    /// unreadable (nested too deep) are left out and reported by their place in the batch.
    pub fn reread(&mut self, batch: &Batch) -> (Batch, Vec<RowError>) {
        json::materialise(&mut self.encoder, &mut self.decoder, batch)
    }
}

/// What expressions of a pipeline need to run.
pub fn scratch(layout: &Arc<Layout>) -> Scratch {
    let layout = Arc::clone(layout);
    let event_of = move |batch: &Batch, row: usize| json::event_of(&layout, batch, row);
    let mut scratch = Scratch::default();
    scratch.event_of = Some(Arc::new(event_of));
    scratch
}

/// What an action made of a batch.
#[derive(Default)]
pub struct Outcome {
    /// Rows by port.
    pub ports: Vec<(Port, Batch)>,
    /// Rows for a sink.
    pub lines: Option<Encoded>,
    /// The key hash of each row of the main port.
    pub hashes: Vec<u64>,
    /// Rows of the input that could not be processed; they are on no port.
    pub errors: Vec<RowError>,
    /// Rows of the input for which a condition was false.
    pub filtered: u64,
    /// Rows of the input that a script dropped, or of which an `explode` made none.
    pub dropped: u64,
    /// Rows that were made beyond those that came in.
    pub made: u64,
}

impl Action {
    /// Runs the action.
    pub fn run(&self, batch: Batch, layout: &Layout, tools: &mut Tools) -> Outcome {
        match self {
            Action::Filter(condition) => filter(condition, batch, tools),
            Action::Script(program) => script(program, batch, tools),
            Action::Set(fields) => set(fields, batch, tools),
            Action::Keep(fields) => passed(keep(fields, batch, layout)),
            Action::Drop(fields) => passed(drop_fields(fields, batch)),
            Action::Rename(fields) => passed(rename(fields, batch)),
            Action::Parse(parse) => parse.run(&batch, layout, tools),
            Action::Explode(explode) => explode.run(&batch, layout, tools),
            Action::Validate(validate) => validate.run(batch, tools),
            Action::Route(branches) => route(branches, batch, tools),
            Action::Lookup(lookup) => lookup.run(batch, tools),
            Action::Prepare(prepare) => prepare.run(batch, tools),
            Action::Sample(sampler) => sampler.run(batch, tools),
            Action::Tag(field, right) => join::tag(*field, *right, batch),
            Action::PrepareJoin(prepare) => prepare.run(batch, tools),
            Action::Encode(encode) => encode.run(batch, tools),
        }
    }
}

fn passed(batch: Batch) -> Outcome {
    Outcome { ports: vec![(Port::Main, batch)], ..Outcome::default() }
}

/// The rows that are in neither list; both ascend.
pub(super) fn without(rows: usize, gone: &[RowError]) -> Vec<u32> {
    let mut gone = gone.iter().map(|e| e.row).peekable();
    (0..as_u32(rows)).filter(|row| gone.next_if_eq(row).is_none()).collect()
}

/// One error a row, in order of rows.
pub(super) fn in_order(errors: &mut Vec<RowError>) {
    errors.sort_by_key(|e| e.row);
    errors.dedup_by_key(|e| e.row);
}

/// Rows in which a step wrote a value that nests deeper than a record may. They fail where that happens: every other row
/// can be read again, however often its way leads through text.
pub(super) fn too_deep(layout: &Layout, batch: &Batch) -> Vec<RowError> {
    let mut errors = Vec::new();
    for edit in &batch.edits {
        let Edit::Set { field, column, .. } = edit else { continue };
        if column.heap.is_empty() {
            continue;
        }
        let Some(path) = layout.path(*field).filter(|p| p.root == Root::Event) else { continue };
        let limit = (JSON_DEPTH - 1).saturating_sub(path.names.len());
        let deep: Vec<bool> = column.heap.iter().map(|value| value.nests_beyond(limit)).collect();
        if !deep.contains(&true) {
            continue;
        }
        for (row, cell) in (0u32..).zip(&column.cells) {
            if let Cell::Heap(index) = cell
                && deep.get(*index as usize) == Some(&true)
            {
                let reason = format!("`{}` would nest the row deeper than {JSON_DEPTH}", path.names.join("."));
                errors.push(RowError { row, reason, place: String::new() });
            }
        }
    }
    in_order(&mut errors);
    errors
}

fn filter(condition: &Program, batch: Batch, tools: &mut Tools) -> Outcome {
    let mut out = Outcome::default();
    let mut kept = Vec::with_capacity(batch.rows);
    condition.test(&batch, &mut tools.scratch, &mut kept, &mut out.errors);
    out.filtered = (batch.rows - kept.len() - out.errors.len()) as u64;
    let batch = if kept.len() == batch.rows { batch } else { batch.select(&kept) };
    out.ports.push((Port::Main, batch));
    out
}

fn set(fields: &[(FieldId, Program)], mut batch: Batch, tools: &mut Tools) -> Outcome {
    let mut out = Outcome::default();
    for (field, program) in fields {
        let column = column_of(program, &batch, tools, &mut out.errors);
        batch.set(*field, column, None);
    }
    out.errors.append(&mut too_deep(tools.encoder.layout(), &batch));
    in_order(&mut out.errors);
    if !out.errors.is_empty() {
        batch = batch.select(&without(batch.rows, &out.errors));
    }
    out.ports.push((Port::Main, batch));
    out
}

/// The column of an expression; one that is just a field is that field's own column.
pub(super) fn column_of(
    program: &Program,
    batch: &Batch,
    tools: &mut Tools,
    errors: &mut Vec<RowError>,
) -> Arc<Column> {
    let shared = program.column_of().and_then(|f| batch.columns.get(f.index()).cloned().flatten());
    if let Some(column) = shared.filter(|c| !c.cells.is_empty()) {
        return column;
    }
    let mut builder = ColumnBuilder::with_capacity(batch.rows);
    program.evaluate(batch, &mut tools.scratch, &mut builder, errors);
    Arc::new(builder.finish())
}

fn keep(fields: &Arc<[FieldId]>, mut batch: Batch, layout: &Layout) -> Batch {
    let path = |f: &FieldId| layout.path(*f);
    for (index, column) in batch.columns.iter_mut().enumerate() {
        let Some(id) = u16::try_from(index).ok().map(FieldId) else { continue };
        let Some(own) = layout.path(id).filter(|p| p.root == Root::Event) else { continue };
        let inside = |kept: &FieldId| {
            *kept == id || path(kept).is_some_and(|k| k.names.len() < own.names.len() && k.overlaps(own))
        };
        if column.is_some() && !fields.iter().any(inside) {
            *column = None;
        }
    }
    batch.edits.push(Edit::Keep { fields: Arc::clone(fields) });
    batch
}

fn drop_fields(fields: &[FieldId], mut batch: Batch) -> Batch {
    let missing = Arc::new(Column { cells: vec![Cell::Missing; batch.rows], ..Column::default() });
    for field in fields {
        batch.set(*field, Arc::clone(&missing), None);
    }
    batch
}

fn rename(fields: &[(FieldId, FieldId)], mut batch: Batch) -> Batch {
    for (from, to) in fields {
        let column = batch.columns.get(from.index()).cloned().flatten();
        if let Some(column) = column {
            // The place in the text is the old name's.
            batch.put(*to, Arc::new(Column { places: Vec::new(), ..Column::clone(&column) }));
        }
        if let Some(place) = batch.columns.get_mut(from.index()) {
            let places = place.as_ref().map(|c| c.places.clone()).unwrap_or_default();
            *place = Some(Arc::new(Column { cells: vec![Cell::Missing; batch.rows], places, ..Column::default() }));
        }
        batch.edits.push(Edit::Rename { from: *from, to: *to });
    }
    batch
}

fn route(branches: &[(Port, Program)], batch: Batch, tools: &mut Tools) -> Outcome {
    let mut out = Outcome::default();
    let mut rest: Vec<u32> = (0..as_u32(batch.rows)).collect();
    for (port, condition) in branches {
        let whole = rest.len() == batch.rows;
        let selected = if whole { None } else { Some(batch.select(&rest)) };
        let (mut taken, mut errors) = (Vec::new(), Vec::new());
        condition.test(selected.as_ref().unwrap_or(&batch), &mut tools.scratch, &mut taken, &mut errors);
        let original = |row: u32| rest.get(row as usize).copied().unwrap_or(row);
        let taken: Vec<u32> = taken.into_iter().map(original).collect();
        errors.iter_mut().for_each(|e| e.row = original(e.row));
        let mut gone: Vec<u32> = taken.iter().copied().chain(errors.iter().map(|e| e.row)).collect();
        gone.sort_unstable();
        rest.retain(|row| gone.binary_search(row).is_err());
        out.errors.append(&mut errors);
        out.ports.push((port.clone(), batch.select(&taken)));
    }
    in_order(&mut out.errors);
    out.ports.push((Port::Main, if rest.len() == batch.rows { batch } else { batch.select(&rest) }));
    out
}

fn script(program: &Program, batch: Batch, tools: &mut Tools) -> Outcome {
    let (ordinals, times) = (batch.ordinals.clone(), batch.times.clone());
    let ran = program.run(batch, &mut tools.scratch, None);
    let mut out = Outcome { errors: ran.errors, dropped: ran.dropped, ..Outcome::default() };
    let cause = Causes { ordinals: &ordinals, times: &times };
    weave_emitted(ran.batch, ran.kept, ran.emitted, &cause, tools, &mut out);
    in_order(&mut out.errors);
    out
}

/// Ordinals and times of a script's input rows.
pub struct Causes<'a> {
    /// One a row.
    pub ordinals: &'a [u32],
    /// One a row; may be empty.
    pub times: &'a [crate::base::time::Timestamp],
}

/// Puts emitted events among the rows that a script passed on: before the row that emitted them. Ports come in the order
/// of their names, whichever of them a batch has an event for first.
pub fn weave_emitted(
    mut batch: Batch,
    mut kept: Vec<u32>,
    mut emitted: Vec<Emitted>,
    causes: &Causes<'_>,
    tools: &mut Tools,
    out: &mut Outcome,
) {
    let mut ports = made_events(&emitted, causes, tools);
    let mut unreadable: Vec<RowError> = ports.iter_mut().flat_map(|made| std::mem::take(&mut made.refused)).collect();
    let deep = too_deep(tools.encoder.layout(), &batch).into_iter();
    unreadable.extend(deep.map(|e| RowError { row: kept.get(e.row as usize).copied().unwrap_or(e.row), ..e }));
    if !unreadable.is_empty() {
        // A row fails as a whole, with everything that it emitted.
        in_order(&mut unreadable);
        let failed = |row: &u32| unreadable.binary_search_by_key(row, |e| e.row).is_ok();
        let survivors: Vec<u32> = (0u32..).zip(&kept).filter(|(_, row)| !failed(row)).map(|(at, _)| at).collect();
        let passed = kept.len() - survivors.len();
        // Those that were not going on themselves had been dropped.
        out.dropped = out.dropped.saturating_sub((unreadable.len() - passed) as u64);
        emitted.retain(|event| !failed(&event.row));
        batch = batch.select(&survivors);
        kept = crate::data::column::pick(&kept, &survivors);
        out.errors.append(&mut unreadable);
        ports = made_events(&emitted, causes, tools);
    }
    let mut main = batch;
    for Made { port, rows, batch: made, .. } in ports {
        out.made += made.rows as u64;
        match port {
            Some(port) => out.ports.push((Port::Named(port), made)),
            None => {
                // None is refused: rows that became too deep are gone.
                let (own, _) = tools.reread(&main);
                let mut order: Vec<(u32, Pick)> =
                    (0u32..).zip(&rows).map(|(i, row)| (*row, Pick { part: 0, row: i })).collect();
                order.extend((0u32..).zip(&kept).map(|(i, row)| (*row, Pick { part: 1, row: i })));
                order.sort_by_key(|(row, pick)| (*row, pick.part));
                let order: Vec<Pick> = order.into_iter().map(|(_, pick)| pick).collect();
                main = weave::weave(&[made, own], &order);
            }
        }
    }
    out.ports.push((Port::Main, main));
}

/// The events that a script emitted to one port.
struct Made {
    port: Option<String>,
    /// The row that emitted each.
    rows: Vec<u32>,
    batch: Batch,
    /// Events that cannot be read again (nested too deep), by the row that emitted them.
    refused: Vec<RowError>,
}

/// Batches of the events that a script emitted, by port.
fn made_events(emitted: &[Emitted], causes: &Causes<'_>, tools: &mut Tools) -> Vec<Made> {
    let mut ports: Vec<&Option<String>> = emitted.iter().map(|event| &event.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let made = |port: &Option<String>| {
        let events: Vec<&Emitted> = emitted.iter().filter(|event| event.port == *port).collect();
        let rows: Vec<u32> = events.iter().map(|event| event.row).collect();
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(events.len()));
        for event in events {
            json::write_value(&event.value, &mut bytes);
            ends.push(as_u32(bytes.len()));
        }
        let decoded = tools.decoder.decode(Block::from_records(bytes, ends));
        let cause = |ordinal: u32| rows.get(ordinal as usize).copied().unwrap_or(0);
        let refused = decoded.refused.into_iter();
        let refused = refused.map(|r| RowError { row: cause(r.ordinal), reason: r.reason, place: r.place }).collect();
        let mut batch = decoded.batch;
        batch.ordinals = rows.iter().map(|row| causes.ordinals.get(*row as usize).copied().unwrap_or(0)).collect();
        batch.times = rows.iter().filter_map(|row| causes.times.get(*row as usize).copied()).collect();
        Made { port: port.clone(), rows, batch, refused }
    };
    ports.into_iter().map(made).collect()
}

impl Numbers {
    fn check(&self, batch: &Batch, errors: &mut Vec<RowError>) {
        let Some(column) = batch.column(self.field) else { return };
        for (row, cell) in (0u32..).zip(&column.cells) {
            if matches!(cell, Cell::Int(_) | Cell::Float(_) | Cell::Null | Cell::Missing) {
                continue;
            }
            let Numbers { call, argument, .. } = self;
            let kind = column.val(*cell).kind();
            let reason = format!("`{argument}` is {kind}, which `{call}` cannot use");
            errors.push(RowError { row, reason, place: self.place.clone() });
        }
    }
}

impl Prepare {
    fn run(&self, mut batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        for (program, field) in &self.compute {
            let column = column_of(program, &batch, tools, &mut out.errors);
            batch.put(*field, column);
        }
        self.numbers.iter().for_each(|numbers| numbers.check(&batch, &mut out.errors));
        in_order(&mut out.errors);
        if !out.errors.is_empty() {
            batch = batch.select(&without(batch.rows, &out.errors));
        }
        if let Some(fields) = self.digest {
            let columns = digests(tools.encoder.layout(), &batch);
            fields.into_iter().zip(columns).for_each(|(field, column)| batch.put(field, Arc::new(column)));
        }
        if !self.key.is_empty() {
            let empty = Column::default();
            let columns: Vec<&Column> = self.key.iter().map(|f| batch.column(*f).unwrap_or(&empty)).collect();
            hash::hash_columns(&columns, batch.rows, &mut out.hashes);
        }
        out.ports.push((Port::Main, batch));
        out
    }
}

/// The digests of whole events, in two columns.
fn digests(layout: &Layout, batch: &Batch) -> [Column; 2] {
    let mut columns = [Column::default(), Column::default()];
    for row in 0..batch.rows {
        let digest = hash::digest(json::event_of(layout, batch, row).as_val());
        for (column, part) in columns.iter_mut().zip(digest) {
            column.cells.push(Cell::Int(part.cast_signed()));
        }
    }
    columns
}
