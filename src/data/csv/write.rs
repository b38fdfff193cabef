//! Writing CSV.

use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::format::Csv;
use crate::data::json::{write_float, write_int, write_value};
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value};

/// Writes fields of batches as CSV records.
#[derive(Clone, Debug)]
pub struct Encoder {
    delimiter: u8,
    quote: u8,
    /// Name and field of each column.
    columns: Vec<(String, FieldId)>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder for a dialect, with the name and field of each column in order; the fields' values are demanded.
    pub fn new(csv: &Csv, columns: Vec<(String, FieldId)>) -> Self {
        Encoder { delimiter: csv.delimiter, quote: csv.quote, columns, scratch: Vec::new() }
    }

    /// The record of names, with its line end, that a file begins with.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, (name, _)) in self.columns.iter().enumerate() {
            self.separate(i, &mut out);
            self.write_text(name, &mut out);
        }
        out.push(b'\n');
        out
    }

    /// Adds every row with its line end to `text`, and one past each to `ends`. What is missing or null becomes empty; an
    /// empty text is quoted, so that it is told from that. Lists and objects are written as JSON.
    pub fn encode(&mut self, batch: &Batch, text: &mut Vec<u8>, ends: &mut Vec<u32>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for row in 0..batch.rows {
            let start = text.len();
            for (i, (_, field)) in self.columns.iter().enumerate() {
                self.separate(i, text);
                self.write_val(batch.get(*field, row), &mut scratch, text);
            }
            if text.len() == start {
                // An empty line is no record to those who read.
                text.extend_from_slice(&[self.quote, self.quote]);
            }
            text.push(b'\n');
            ends.push(as_u32(text.len()));
        }
        self.scratch = scratch;
    }

    fn separate(&self, column: usize, out: &mut Vec<u8>) {
        if column > 0 {
            out.push(self.delimiter);
        }
    }

    fn write_val(&self, value: Val<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        match value {
            Val::Unit => {}
            Val::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
            Val::Int(int) => write_int(int, out),
            Val::Float(float) => write_float(float, out),
            Val::Text(text) => self.write_text(text, out),
            Val::Big(Value::Text(text)) => self.write_text(text, out),
            Val::Big(value) => {
                scratch.clear();
                write_value(value, scratch);
                self.write_bytes(scratch, out);
            }
        }
    }

    fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        self.write_bytes(text.as_bytes(), out);
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let special = |b: &u8| *b == self.delimiter || *b == self.quote || matches!(b, b'\n' | b'\r');
        if !bytes.is_empty() && !bytes.iter().any(special) {
            out.extend_from_slice(bytes);
            return;
        }
        out.push(self.quote);
        for b in bytes {
            if *b == self.quote {
                out.push(self.quote);
            }
            out.push(*b);
        }
        out.push(self.quote);
    }
}
