//! Reading CSV: a record becomes the JSON object that it stands for, and from there all is as for JSON.

use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Quotes;
use crate::data::column::as_u32;
use crate::data::format::Csv;
use crate::data::framing::{Block, Decoded, Refused};
use crate::data::json;
use crate::data::layout::{Demand, Layout};

/// Reads blocks of CSV records.
#[derive(Debug)]
pub struct Decoder {
    csv: Csv,
    json: json::Decoder,
    fields: Fields,
    /// The header of the last block, and what every member of a row begins with: `{"name":` or `,"name":`.
    header: Option<Arc<Vec<String>>>,
    heads: Vec<Vec<u8>>,
}

/// The fields of one record, free of quotes.
#[derive(Debug)]
struct Fields {
    reader: Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Decoder {
    /// A decoder for a dialect, filling the columns of a demand.
    pub fn new(csv: &Csv, layout: &Layout, demand: &Demand) -> Self {
        Decoder {
            csv: csv.clone(),
            json: json::Decoder::new(layout, demand),
            fields: Fields::new(csv),
            header: None,
            heads: Vec::new(),
        }
    }

    /// Reads every record of a block, whose header names the fields. The rows' text is JSON.
    pub fn decode(&mut self, block: Block) -> Decoded {
        if block.too_long.is_some() {
            return self.json.decode(block);
        }
        self.take_header(block.header.clone());
        let bytes = &block.bytes;
        let mut text = Vec::with_capacity(bytes.len() * 2);
        let (mut starts, mut ordinals, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut ends = block.ends.as_ref().map(|e| e.iter());
        let mut at = 0;
        loop {
            // Records that came one by one are read one by one; an empty one is a record too.
            let limit = match &mut ends {
                Some(ends) => match ends.next() {
                    Some(end) => *end as usize,
                    None => break,
                },
                None => bytes.len(),
            };
            if ends.is_none() {
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
                if at >= limit {
                    break;
                }
            }
            let rest = bytes.get(at..limit).unwrap_or_default();
            let read = self.fields.read(rest);
            let record = rest.get(..read).unwrap_or_default();
            let before = text.len();
            match self.write_row(record, read == rest.len(), &mut text) {
                Ok(()) => ordinals.push(as_u32(starts.len())),
                Err((reason, byte)) => {
                    text.truncate(before);
                    let original = record.trim_ascii_end().to_vec();
                    let place = format!("byte {}", byte + 1);
                    refused.push(Refused { ordinal: as_u32(starts.len()), reason, place, original });
                }
            }
            starts.push(as_u32(at));
            at = if ends.is_some() { limit } else { at + read };
        }
        let records = as_u32(starts.len());
        let mut batch = self.json.decode(Block { bytes: text, ..Block::default() }).batch;
        batch.ordinals = ordinals;
        Decoded { batch, refused, records, starts }
    }

    fn take_header(&mut self, header: Option<Arc<Vec<String>>>) {
        if self.header == header {
            return;
        }
        self.heads.clear();
        for (i, name) in header.iter().flat_map(|h| h.iter()).enumerate() {
            let mut head = vec![if i == 0 { b'{' } else { b',' }];
            json::write_text(name, &mut head);
            head.push(b':');
            self.heads.push(head);
        }
        self.header = header;
    }

    /// Writes the record that was read last as a line of JSON, or says what is wrong with it and at which byte.
    fn write_row(&self, record: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), (String, usize)> {
        let Fields { bytes, ends, count, .. } = &self.fields;
        if last {
            let mut quotes = Quotes::default();
            quotes.look(record, self.csv.delimiter, self.csv.quote);
            if quotes.open_at_end(record) {
                let opened = memchr::memrchr(self.csv.quote, record).unwrap_or_default();
                return Err(("a quote is opened and never closed".to_owned(), opened));
            }
        }
        if *count != self.heads.len() {
            let plural = if *count == 1 { "" } else { "s" };
            return Err((format!("the record has {count} field{plural}, the header {}", self.heads.len()), 0));
        }
        if let Err(error) = std::str::from_utf8(record) {
            return Err(("this is not valid UTF-8".to_owned(), error.valid_up_to()));
        }
        let mut start = 0;
        for (head, end) in self.heads.iter().zip(ends) {
            out.extend_from_slice(head);
            let field = std::str::from_utf8(bytes.get(start..*end).unwrap_or_default()).unwrap_or_default();
            start = *end;
            match field {
                "" if self.csv.infer => out.extend_from_slice(b"null"),
                "true" | "false" if self.csv.infer => out.extend_from_slice(field.as_bytes()),
                _ if self.csv.infer && json::is_number(field) => out.extend_from_slice(field.as_bytes()),
                _ => json::write_text(field, out),
            }
        }
        out.extend_from_slice(if self.heads.is_empty() { b"{}\n" } else { b"}\n" });
        Ok(())
    }
}

impl Fields {
    fn new(csv: &Csv) -> Self {
        let reader = ReaderBuilder::new().delimiter(csv.delimiter).quote(csv.quote).build();
        Fields { reader, bytes: vec![0; 1 << 10], ends: vec![0; 64], count: 0 }
    }

    /// Reads the record at the front of `input`, which ends with it or goes on: how many bytes it has.
    fn read(&mut self, input: &[u8]) -> usize {
        let (mut read, mut written) = (0, 0);
        self.count = 0;
        self.reader.reset();
        loop {
            // Empty input says that no more follows, which ends a record that no line end does.
            let (result, taken, out, ended) = self.reader.read_record(
                input.get(read..).unwrap_or_default(),
                self.bytes.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(self.count..).unwrap_or_default(),
            );
            (read, written, self.count) = (read + taken, written + out, self.count + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => return read,
            }
        }
    }
}

/// The field names that the first record of `bytes` holds, and one past its end. `None` if there is no record.
pub fn header(bytes: &[u8], csv: &Csv) -> (Option<Vec<String>>, usize) {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    let rest = bytes.get(blank..).unwrap_or_default();
    if rest.is_empty() {
        return (None, bytes.len());
    }
    let mut fields = Fields::new(csv);
    let mut end = blank + fields.read(rest);
    if bytes.get(end) == Some(&b'\n') {
        end += 1;
    }
    let mut start = 0;
    let names = fields.ends.iter().take(fields.count).map(|end| {
        let name = String::from_utf8_lossy(fields.bytes.get(start..*end).unwrap_or_default()).trim().to_owned();
        start = *end;
        name
    });
    (Some(names.collect()), end)
}
