//! Writing a sink's rows in its format.

use std::sync::Arc;

use crate::connector::template::Template;
use crate::connector::{Encoded, path};
use crate::data::batch::{Batch, RowError};
use crate::data::column::as_u32;
use crate::data::csv;
use crate::data::format::Csv;
use crate::data::formats::encode_logfmt;
use crate::data::hash;
use crate::data::layout::FieldId;
use crate::data::msgpack;
use crate::data::value::Val;
use crate::engine::action::{Outcome, Tools, in_order, without};
use crate::plan::Port;

/// How a sink's rows are written.
pub struct Encode {
    /// The format.
    pub format: Rows,
    /// Texts that depend on the row.
    pub templates: Vec<RowText>,
    /// Whether the sink needs event times.
    pub timed: bool,
    /// Of a sink that sends: source, partition and position.
    pub identity: Option<[FieldId; 3]>,
    /// The field that alone tells rows apart, if there is one.
    pub told_apart: Option<FieldId>,
}

/// The format of a sink's rows.
#[derive(Clone)]
pub enum Rows {
    /// JSON, a row a line.
    Json,
    /// CSV records.
    Csv(Arc<CsvColumns>),
    /// logfmt, a row a line.
    Logfmt,
    /// Lines that the last of the sink's templates makes.
    Lines,
    /// MessagePack values, one after the other.
    MessagePack,
}

/// A text that depends on the row.
#[derive(Clone)]
pub struct RowText {
    /// How it is made.
    pub template: Template,
    /// Of what.
    pub fields: Vec<FieldId>,
    /// It is a path that stays inside this directory.
    pub inside: Option<Arc<str>>,
}

/// A CSV sink's dialect and columns.
pub struct CsvColumns {
    /// The dialect.
    pub dialect: Csv,
    /// Names and fields, in the order written.
    pub columns: Vec<(String, FieldId)>,
}

impl Encode {
    /// Writes every row and the texts that depend on it; a row whose texts cannot be made fails.
    pub fn run(&self, mut batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let mut rendered = Vec::with_capacity(self.templates.len());
        for text in &self.templates {
            rendered.push(text.render(&batch, &mut out.errors));
        }
        if self.timed {
            untimed(&batch, &mut out.errors);
        }
        in_order(&mut out.errors);
        if !out.errors.is_empty() {
            let kept = without(batch.rows, &out.errors);
            batch = batch.select(&kept);
            for texts in &mut rendered {
                *texts = kept.iter().filter_map(|row| texts.get(*row as usize).cloned()).collect();
            }
        }
        let line = if let Rows::Lines = self.format { rendered.pop() } else { None };
        let times = if self.timed || self.identity.is_some() { std::mem::take(&mut batch.times) } else { Vec::new() };
        let mut lines = Encoded { rendered, times, ..Encoded::default() };
        out.ports.push((
            Port::Main,
            Batch { ordinals: std::mem::take(&mut batch.ordinals), rows: batch.rows, ..Batch::default() },
        ));
        match &self.format {
            Rows::Csv(csv) => {
                let mut encoder = csv::Encoder::new(&csv.dialect, csv.columns.clone());
                encoder.encode(&batch, &mut lines.text, &mut lines.ends);
            }
            Rows::Json => tools.encoder.encode(&batch, &mut lines.text, &mut lines.ends),
            Rows::Lines => {
                for text in line.iter().flatten() {
                    lines.text.extend_from_slice(text.as_bytes());
                    lines.text.push(b'\n');
                    lines.ends.push(as_u32(lines.text.len()));
                }
            }
            Rows::Logfmt => {
                encode_logfmt(tools.encoder.layout(), &batch, &mut lines.text, &mut lines.ends);
            }
            Rows::MessagePack => {
                msgpack::encode(tools.encoder.layout(), &batch, &mut lines.text, &mut lines.ends);
            }
        }
        if let Some(identity) = &self.identity {
            lines.ids = match self.told_apart {
                Some(field) => (0..batch.rows).map(|row| named(batch.get(field, row))).collect(),
                None => ids(&batch, identity, &lines),
            };
        }
        out.lines = Some(lines);
        out
    }
}

/// What tells a row apart that has a field for it.
fn named(value: Val<'_>) -> u128 {
    hash::row_id(hash::hash_key(&[value]), b"")
}

/// What tells rows apart: where they come from and what they say; of those that a step made, when and what.
fn ids(batch: &Batch, identity: &[FieldId; 3], lines: &Encoded) -> Vec<u128> {
    let starts = std::iter::once(0).chain(lines.ends.iter().copied());
    let of_row = |(row, (from, to)): (usize, (u32, &u32))| {
        let text = lines.text.get(from as usize..*to as usize).unwrap_or_default();
        let place = identity.map(|field| batch.get(field, row));
        let time = lines.times.get(row).map_or(i64::MIN, |at| at.0);
        let place = if matches!(place, [.., Val::Unit]) { [Val::Unit, Val::Unit, Val::Int(time)] } else { place };
        hash::row_id(hash::hash_key(&place), text)
    };
    starts.zip(&lines.ends).enumerate().map(of_row).collect()
}

/// Rows whose time is not known, where the sink needs it.
fn untimed(batch: &Batch, errors: &mut Vec<RowError>) {
    let known = |row: u32| batch.times.get(row as usize).is_some_and(|at| at.is_event_time());
    let reason = || "the row has no event time, which this sink goes by".to_owned();
    let unknown = (0..as_u32(batch.rows)).filter(|row| !known(*row));
    errors.extend(unknown.map(|row| RowError { row, reason: reason(), place: String::new() }));
}

impl RowText {
    /// The text for every row. Neighbouring rows mostly have the same: a text is made when a field changes.
    fn render(&self, batch: &Batch, errors: &mut Vec<RowError>) -> Vec<Arc<str>> {
        let mut texts: Vec<Arc<str>> = Vec::with_capacity(batch.rows);
        let mut last: Option<Arc<str>> = None;
        for row in 0..batch.rows {
            let value = |row: usize, f: &FieldId| batch.get(*f, row);
            let same = |f: &FieldId| crate::data::value::compare(value(row, f), value(row - 1, f)).is_eq();
            let text = match &last {
                Some(text) if self.fields.iter().all(same) => Arc::clone(text),
                _ => {
                    let values: Vec<Val<'_>> = self.fields.iter().map(|f| value(row, f)).collect();
                    match self.made(&values) {
                        Ok(text) => Arc::from(text),
                        Err(reason) => {
                            errors.push(RowError { row: as_u32(row), reason, place: String::new() });
                            last = None;
                            texts.push(Arc::from(""));
                            continue;
                        }
                    }
                }
            };
            last = Some(Arc::clone(&text));
            texts.push(text);
        }
        texts
    }

    fn made(&self, values: &[Val<'_>]) -> Result<String, String> {
        let text = self.template.render(values)?;
        match self.inside.as_ref().and_then(|plain| path::refuse(plain, &text)) {
            Some(reason) => Err(reason),
            None => Ok(text),
        }
    }
}
