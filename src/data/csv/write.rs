//! Writing CSV.

use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::format::{Csv, CsvWrite};
use crate::data::json::{write_float, write_int, write_value};
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value};

/// Writes fields of batches as CSV records.
#[derive(Clone, Debug)]
pub struct Encoder {
    delimiter: u8,
    quote: u8,
    how: CsvWrite,
    /// What null and missing become.
    null: Vec<u8>,
    /// Name and field of each column.
    columns: Vec<(String, FieldId)>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder for a dialect, with the name and field of each column in order; the fields' values are demanded.
    pub fn new(csv: &Csv, columns: Vec<(String, FieldId)>) -> Self {
        Encoder {
            delimiter: csv.delimiter,
            quote: csv.quote.unwrap_or(b'"'),
            how: csv.write,
            null: csv.nulls.first().map(|null| null.as_bytes().to_vec()).unwrap_or_default(),
            columns,
            scratch: Vec::new(),
        }
    }

    /// The record of names, with its line end, that a file begins with; empty if it begins with a row.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.how.header {
            return out;
        }
        for (i, (name, _)) in self.columns.iter().enumerate() {
            self.separate(i, &mut out);
            self.write_text(name, &mut out);
        }
        self.end(&mut out);
        out
    }

    /// Adds every row with its line end to `text`, and one past each to `ends`. What is missing or null becomes the
    /// spelling of null, empty if there is none; a text of that spelling is quoted, so that it is told from that. Lists and objects are written as JSON.
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
            self.end(text);
            ends.push(as_u32(text.len()));
        }
        self.scratch = scratch;
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.how.crlf { b"\r\n" } else { b"\n" });
    }

    fn separate(&self, column: usize, out: &mut Vec<u8>) {
        if column > 0 {
            out.push(self.delimiter);
        }
    }

    fn write_val(&self, value: Val<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        match value {
            Val::Unit => out.extend_from_slice(&self.null),
            Val::Bool(_) | Val::Int(_) | Val::Float(_) if self.how.quote_all => {
                write_value(&value.to_value(), scratch);
                self.write_bytes(scratch, out);
            }
            Val::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
            Val::Int(int) => write_int(int, out),
            Val::Float(float) => write_float(float, out),
            Val::Text(text) => self.write_text(text, out),
            Val::Big(Value::Text(text)) => self.write_text(text, out),
            Val::Big(value) => {
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
        if bytes != self.null && !self.how.quote_all && !bytes.is_empty() && !bytes.iter().any(special) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::framing::Block;
    use crate::data::json::Decoder;
    use crate::data::layout::{Demand, FieldPath, Layout};

    #[test]
    fn null_has_a_spelling_and_lines_an_end() {
        let mut layout = Layout::default();
        let columns: Vec<_> =
            ["a", "b"].iter().map(|n| ((*n).to_owned(), layout.intern(FieldPath::event([n])).unwrap())).collect();
        let demand = Demand { values: columns.iter().map(|(_, f)| *f).collect(), ..Demand::default() };
        let lines = b"{\"a\":null,\"b\":\"NA\"}\n{\"a\":1.50,\"b\":\"\"}\n{\"b\":\"x,y\"}\n".to_vec();
        let batch = Decoder::new(&layout, &demand).decode(Block { bytes: lines, ..Block::default() }).batch;
        let written = |csv: &Csv| {
            let mut encoder = Encoder::new(csv, columns.clone());
            let mut text = encoder.header();
            encoder.encode(&batch, &mut text, &mut Vec::new());
            String::from_utf8(text).unwrap()
        };
        let spelled = Csv { nulls: vec!["NA".into()], ..Csv::PLAIN };
        assert_eq!(written(&spelled), "a,b\nNA,\"NA\"\n1.5,\"\"\nNA,\"x,y\"\n");
        let write = CsvWrite { header: false, quote_all: true, crlf: true };
        assert_eq!(written(&Csv { write, ..Csv::PLAIN }), ",\"NA\"\r\n\"1.5\",\"\"\r\n,\"x,y\"\r\n");
    }
}
