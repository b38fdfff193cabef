//! Mapping a source's block: decoding, event times, and the stateless flow behind the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::Metadata;
use crate::data::batch::{Batch, RowError};
use crate::data::clock::TimeReader;
use crate::data::column::{Cell, Column, ColumnBuilder, as_u32};
use crate::data::format::{Format, TimeFormat};
use crate::data::formats::Decoder;
use crate::data::framing::Block;
use crate::data::json;
use crate::data::layout::{Demand, FieldId, FieldPath, Layout, Root};
use crate::data::value::Value;
use crate::expr::Program;
use crate::plan::Port;
use crate::store::rows::{Origin, ReturnedRow};

use super::flow::{Failed, Flow, FlowContext, FlowRunner};
use super::ledger::Counted;
use super::missing::Watch;
use super::parcel::Parcel;
use super::partition::{Mapped, Starts};

/// A source as workers see it.
pub struct SourceSpec {
    /// How records are read.
    pub format: Format,
    /// What is read of its rows.
    pub needed: Demand,
    /// How event time is found; `None` is time of arrival.
    pub time: Option<TimeSpec>,
    /// Whether anything needs event times at all.
    pub timed: bool,
    /// Metadata that is read.
    pub meta: Vec<(FieldId, Meta)>,
    /// What is behind it.
    pub flow: Arc<Flow>,
    /// Name of the source.
    pub name: String,
    /// Looks for fields that are read and that no event has.
    pub watch: Arc<Watch>,
    /// Whether a checkpoint may fall inside a block and has to know what became of its first records.
    pub recounts: AtomicBool,
    /// The port that its rows leave by: `.errors` of a sink that they come back to.
    pub port: Port,
}

/// How event time is found.
#[derive(Clone)]
pub struct TimeSpec {
    /// What holds it.
    pub field: Program,
    /// Where that is written.
    pub place: String,
    /// How it is read.
    pub format: TimeFormat,
    /// The zone of times without an offset.
    pub zone: String,
    /// How far ahead of the wall clock it may be.
    pub max_future: Option<TimeSpan>,
}

/// Metadata of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// The source's name.
    Source,
    /// The partition: a file's path.
    Path,
    /// The record's position in its partition: bytes, or records.
    Offset,
    /// What the source says of the record, if it says it.
    Said,
}

/// A block to map.
pub struct MapInput {
    /// The bytes.
    pub block: Block,
    /// The partition's name.
    pub partition: Arc<str>,
    /// What its position counts in.
    pub stream: Arc<str>,
    /// Number of the block in its partition, for samples.
    pub number: u64,
    /// When it arrived, which is its event time where nothing in it is: the same whenever it is read again.
    pub arrived: Timestamp,
    /// When it was read, by the clock that silence is measured by.
    pub now: Timestamp,
    /// What its source says of each record.
    pub meta: Option<Metadata>,
    /// The records are JSON, whatever the source's format.
    pub decoded: bool,
    /// Instead of records: rows that a sink was refused.
    pub returned: Vec<ReturnedRow>,
}

/// A block as it was decoded, before it went on: for counting a part of it.
#[derive(Debug)]
pub struct Decoded {
    batch: Batch,
    failed: Vec<Failed>,
    number: u64,
}

/// Maps blocks of one source; one a worker.
pub struct Mapper {
    spec: Arc<SourceSpec>,
    layout: Arc<Layout>,
    decoder: Decoder,
    times: Option<TimeReader>,
    said: Option<SaidMeta>,
    /// Runs what is behind the source, and counts.
    pub runner: FlowRunner,
    tools: super::action::Tools,
}

impl Mapper {
    /// A mapper of a source. The error says what is wrong with its format or its time.
    pub fn new(spec: &Arc<SourceSpec>, context: &Arc<FlowContext>) -> Result<Self, String> {
        let decoder = Decoder::new(&spec.format, &context.layout, &spec.needed)?;
        let times = spec.time.as_ref().map(|t| TimeReader::new(&t.format, &t.zone)).transpose()?;
        Ok(Mapper {
            spec: Arc::clone(spec),
            layout: Arc::clone(&context.layout),
            decoder,
            times,
            said: SaidMeta::of(&context.layout, &spec.meta),
            runner: FlowRunner::new(&spec.flow, context),
            tools: super::action::Tools::new(&context.layout, &spec.needed),
        })
    }

    /// Maps a block.
    pub fn map(&mut self, mut input: MapInput) -> Mapped {
        if !input.returned.is_empty() {
            return self.give_back(input);
        }
        if let Some(why) = input.meta.as_mut().and_then(|meta| meta.refused.take()) {
            input.block.broken = Some(why);
        }
        let base = input.block.position;
        let number = input.number;
        let counted = input.block.ends.is_some();
        // Of a record that is too long only the beginning came along.
        let length = input.block.too_long.unwrap_or(input.block.bytes.len() as u64);
        let length = length + u64::from(input.block.broken.is_some());
        self.runner.sequence = input.number;
        let header = input.block.header.clone();
        let decoded = match input.decoded {
            true => self.tools.decoder.decode(input.block),
            false => self.decoder.decode(input.block),
        };
        let records = decoded.records;
        let end = if counted { base + u64::from(records) } else { base + length };
        let starts = Starts {
            stream: Arc::clone(&input.stream),
            base,
            offsets: if counted { Vec::new() } else { decoded.starts },
            end,
        };
        let mut batch = decoded.batch;
        self.spec.watch.look(&self.layout, &batch);
        self.meta(&mut batch, &input.partition, &starts);
        if let Some(said) = &mut self.said {
            said.put(&mut batch, input.meta);
        }
        self.runner.counted.of(self.spec.flow.root).tally.taken += u64::from(records);
        let mut failed: Vec<Failed> = decoded
            .refused
            .into_iter()
            .map(|r| Failed {
                ordinal: r.ordinal,
                time: Timestamp::MIN,
                reason: r.reason,
                // What is counted, or has no name, stands nowhere that anybody could look at.
                place: if counted || input.partition.is_empty() {
                    r.place
                } else {
                    starts.place(r.ordinal, &r.place, &input.partition)
                },
                origin: if r.whole { Origin::Record } else { Origin::Part },
                header: header.clone(),
                original: r.original,
            })
            .collect();
        let mut rises = Vec::new();
        if self.spec.timed || self.spec.time.is_some() {
            self.times(&mut batch, input.arrived, &mut failed);
            rises = rises_of(&batch);
        }
        failed.sort_by_key(|f| f.ordinal);
        let decoded = self.spec.recounts.load(Ordering::Relaxed).then(|| Decoded {
            batch: batch.clone(),
            failed: failed.clone(),
            number,
        });
        let parcels = self.pass(batch, failed);
        let counted = std::sync::Mutex::new(std::mem::take(&mut self.runner.counted));
        Mapped { records, rises, parcels, starts, counted, decoded }
    }

    /// Rows that a sink was refused leave as those do that it cannot write.
    fn give_back(&mut self, input: MapInput) -> Mapped {
        let (records, base) = (as_u32(input.returned.len()), input.block.position);
        let starts = Starts { stream: input.stream, base, offsets: Vec::new(), end: base + u64::from(records) };
        let failed = |(ordinal, row): (u32, ReturnedRow)| Failed {
            ordinal,
            time: row.time.map_or(Timestamp::MIN, Timestamp),
            reason: row.reason,
            place: String::new(),
            origin: if row.json { Origin::Row } else { Origin::Made },
            header: None,
            original: row.original,
        };
        let failed: Vec<Failed> = (0u32..).zip(input.returned).map(failed).collect();
        self.runner.sequence = input.number;
        let mut batch = self.runner.give_back(&failed);
        self.meta(&mut batch, &input.partition, &starts);
        let recounts = self.spec.recounts.load(Ordering::Relaxed);
        let decoded = || Decoded { batch: batch.clone(), failed: Vec::new(), number: input.number };
        let decoded = recounts.then(decoded);
        let parcels = self.pass(batch, Vec::new());
        let counted = std::sync::Mutex::new(std::mem::take(&mut self.runner.counted));
        Mapped { records, rises: Vec::new(), parcels, starts, counted, decoded }
    }

    fn pass(&mut self, batch: Batch, failed: Vec<Failed>) -> Vec<Option<Parcel>> {
        let mut ports = Vec::with_capacity(2);
        if let Some(errors) = self.runner.fail_root(failed) {
            ports.push(errors);
        }
        ports.push((self.spec.port.clone(), batch));
        self.runner.run(ports)
    }

    /// What became of some of a block's records, by ordinal: a checkpoint may cut a block in two.
    pub fn recount(&mut self, decoded: &Decoded, records: std::ops::Range<u32>) -> Counted {
        let rows = decoded.batch.ordinals.iter().zip(0u32..);
        let rows: Vec<u32> = rows.filter(|(o, _)| records.contains(o)).map(|(_, row)| row).collect();
        let failed = decoded.failed.iter().filter(|f| records.contains(&f.ordinal)).cloned().collect();
        self.runner.sequence = decoded.number;
        self.runner.again = true;
        if self.spec.port == Port::Main {
            self.runner.counted.of(self.spec.flow.root).tally.taken += u64::from(records.end - records.start);
        }
        self.pass(decoded.batch.select(&rows), failed);
        std::mem::take(&mut self.runner.counted)
    }

    /// Reads event times; rows without one are taken out.
    fn times(&mut self, batch: &mut Batch, arrived: Timestamp, failed: &mut Vec<Failed>) {
        let (Some(spec), Some(reader)) = (&self.spec.time, &mut self.times) else {
            batch.times = vec![arrived; batch.rows];
            return;
        };
        let mut errors: Vec<RowError> = Vec::new();
        let shared = spec.field.column_of();
        let computed;
        let column = match shared {
            Some(field) => batch.column(field),
            None => {
                let mut builder = ColumnBuilder::with_capacity(batch.rows);
                spec.field.evaluate(batch, &mut self.tools.scratch, &mut builder, &mut errors);
                computed = builder.finish();
                Some(&computed)
            }
        };
        let absent = Column { cells: vec![Cell::Missing; batch.rows], ..Column::default() };
        let mut times = Vec::with_capacity(batch.rows);
        let mut unread: Vec<RowError> = Vec::new();
        reader.read(column.unwrap_or(&absent), batch.rows, &mut times, &mut unread);
        // An expression that failed has no value, which the reader would call missing.
        unread.retain(|e| !errors.iter().any(|o| o.row == e.row));
        unread.iter_mut().for_each(|e| e.place.clone_from(&spec.place));
        errors.append(&mut unread);
        if let Some(limit) = spec.max_future {
            let latest = arrived.plus(limit);
            for (row, time) in (0u32..).zip(&times).filter(|(_, t)| **t > latest) {
                let reason = format!("event time {time} is more than {limit} ahead of the clock ({arrived})");
                errors.push(RowError { row, reason, place: spec.place.clone() });
            }
        }
        batch.times = times;
        if errors.is_empty() {
            return;
        }
        errors.sort_by_key(|e| e.row);
        errors.dedup_by_key(|e| e.row);
        let mut gone = errors.iter().map(|e| e.row).peekable();
        let kept: Vec<u32> = (0..as_u32(batch.rows)).filter(|row| gone.next_if_eq(row).is_none()).collect();
        // Such a row has no time that could be trusted.
        let rows = self.runner.failed_rows(batch, errors);
        failed.extend(rows.into_iter().map(|f| Failed { time: Timestamp::MIN, ..f }));
        *batch = batch.select(&kept);
    }

    fn meta(&self, batch: &mut Batch, partition: &str, starts: &Starts) {
        for (field, meta) in &self.spec.meta {
            let column = match meta {
                Meta::Source => Column::constant(&Value::Text(self.spec.name.as_str().into()), batch.rows),
                Meta::Path => Column::constant(&Value::Text(partition.into()), batch.rows),
                Meta::Offset => {
                    let position = |ordinal: &u32| i64::try_from(starts.at(*ordinal)).unwrap_or(i64::MAX);
                    let cells = batch.ordinals.iter().map(|o| Cell::Int(position(o))).collect();
                    Column { cells, ..Column::default() }
                }
                Meta::Said => continue,
            };
            batch.put(*field, Arc::new(column));
        }
    }
}

/// Reads what a source says of its records, the members that something reads.
struct SaidMeta {
    decoder: json::Decoder,
    /// A column of what is read there, and the one that it becomes.
    fields: Vec<(FieldId, FieldId)>,
}

impl SaidMeta {
    fn of(layout: &Layout, meta: &[(FieldId, Meta)]) -> Option<SaidMeta> {
        let (mut own, mut needed, mut fields) = (Layout::default(), Demand::default(), Vec::new());
        for (field, _) in meta.iter().filter(|(_, meta)| *meta == Meta::Said) {
            let names = layout.path(*field).map(|path| path.names.clone()).unwrap_or_default();
            let Some(read) = own.intern(FieldPath { root: Root::Event, names }) else { continue };
            needed.value(read);
            fields.push((read, *field));
        }
        (!fields.is_empty()).then(|| SaidMeta { decoder: json::Decoder::new(&own, &needed), fields })
    }

    fn put(&mut self, batch: &mut Batch, meta: Option<Metadata>) {
        let Some(Metadata { text, ends, .. }) = meta else { return };
        let said = self.decoder.decode(Block::from_records(text, ends)).batch;
        // Of every record there is an object; rows are records that could be read.
        let rows = batch.ordinals.iter().map(|ordinal| said.ordinals.binary_search(ordinal).map_or(u32::MAX, as_u32));
        let rows: Vec<u32> = rows.collect();
        let cell = |column: &Column, row: &u32| column.cells.get(*row as usize).copied().unwrap_or(Cell::Missing);
        for (read, field) in &self.fields {
            let Some(column) = said.column(*read) else { continue };
            let cells = rows.iter().map(|row| cell(column, row)).collect();
            let column = Column { cells, places: Vec::new(), ..Column::clone(column) };
            batch.put(*field, Arc::new(column));
        }
    }
}

/// Where the greatest time so far rises.
fn rises_of(batch: &Batch) -> Vec<(u32, Timestamp)> {
    let mut greatest = Timestamp::MIN;
    let mut rises = Vec::new();
    for (time, ordinal) in batch.times.iter().zip(&batch.ordinals) {
        if *time > greatest {
            greatest = *time;
            rises.push((*ordinal, *time));
        }
    }
    rises
}
