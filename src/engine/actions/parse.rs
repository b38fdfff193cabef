//! The step `parse`: a field's text, read in a format of its own and put into the event.

use crate::data::batch::{Batch, RowError};
use crate::data::column::as_u32;
use crate::data::format::Format;
use crate::data::formats::Decoder;
use crate::data::framing::{Block, Decoded};
use crate::data::json::{self, Joining};
use crate::data::layout::{Demand, FieldId, Layout};
use crate::data::value::Val;
use crate::engine::action::{Outcome, Tools, in_order};
use crate::plan::Port;

use super::texts::{Texts, Written};

/// What is read and where it goes.
pub struct ParseAction {
    /// The field that holds the text.
    pub field: FieldId,
    /// Its name, for messages.
    pub name: String,
    /// How it is read.
    pub format: Format,
    /// Where it goes.
    pub joining: Joining,
}

impl ParseAction {
    /// Reads the field of every row. A row whose field is no text, or none of this format, fails.
    pub fn run(&self, batch: &Batch, layout: &Layout, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let (block, rows) = self.texts(batch, &mut out.errors);
        let decoded = match self.decode(block, tools) {
            Ok(decoded) => decoded,
            Err(reason) => {
                // The format was checked with the pipeline.
                let all = (0..as_u32(batch.rows)).map(|row| error(row, reason.clone(), String::new()));
                return Outcome { errors: all.collect(), ..out };
            }
        };
        let row_of = |ordinal: &u32| rows.get(*ordinal as usize).copied().unwrap_or(0);
        let place = |place: &str| format!("{place} of `{}`", self.name);
        let refused = decoded.refused.iter().map(|r| error(row_of(&r.ordinal), r.reason.clone(), place(&r.place)));
        out.errors.extend(refused);
        let texts = Texts::of(tools, batch);
        let mut written = Written::default();
        for (at, ordinal) in decoded.batch.ordinals.iter().enumerate() {
            let row = row_of(ordinal);
            let parsed = decoded.batch.raw.as_ref().map_or("", |raw| raw.row(at));
            if json::write_joined(texts.row(row as usize), parsed, &self.joining, &mut written.text) {
                written.text.push(b'\n');
                written.rows.push(row);
            } else {
                let reason = format!(
                    "`{}` holds {}, which has no fields: say where it goes with `into`",
                    self.name,
                    super::kind(parsed)
                );
                out.errors.push(error(row, reason, place("byte 1")));
            }
        }
        let (made, mut errors) = written.into_batch(layout, tools, batch);
        out.errors.append(&mut errors);
        in_order(&mut out.errors);
        out.ports.push((Port::Main, made));
        out
    }

    /// The texts of the rows that have one, and which rows those are.
    fn texts(&self, batch: &Batch, errors: &mut Vec<RowError>) -> (Block, Vec<u32>) {
        let (mut bytes, mut ends, mut rows) = (Vec::new(), Vec::new(), Vec::with_capacity(batch.rows));
        for row in 0..batch.rows {
            let reason = match batch.get(self.field, row) {
                Val::Text(text) => {
                    bytes.extend_from_slice(text.as_bytes());
                    ends.push(as_u32(bytes.len()));
                    rows.push(as_u32(row));
                    continue;
                }
                Val::Unit if batch.column(self.field).is_none_or(|c| c.is_missing(row)) => {
                    format!("`{}` is missing", self.name)
                }
                other => format!("`{}` is {}, not text", self.name, other.kind()),
            };
            errors.push(error(as_u32(row), reason, String::new()));
        }
        let header = match &self.format {
            Format::Csv(csv) => csv.columns.clone().map(std::sync::Arc::new),
            _ => None,
        };
        (Block { header, ..Block::from_records(bytes, ends) }, rows)
    }

    fn decode(&self, block: Block, tools: &mut Tools) -> Result<Decoded, String> {
        if tools.parser.is_none() {
            tools.parser = Some(Decoder::new(&self.format, &Layout::default(), &Demand::default())?);
        }
        Ok(tools.parser.as_mut().map(|parser| parser.decode(block)).unwrap_or_default())
    }
}

fn error(row: u32, reason: String, place: String) -> RowError {
    RowError { row, reason, place }
}
