//! Reading CSV: a record becomes the JSON object that it stands for, and from there all is as for JSON.

use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Quotes;
use crate::base::limit::RECORD_BYTES;
use crate::data::column::as_u32;
use crate::data::format::Csv;
use crate::data::framing::{Block, Decoded, KEPT_OF_LONG, Refused, too_long};
use crate::data::json;
use crate::data::layout::{Demand, Layout};

/// Reads blocks of CSV records.
#[derive(Debug)]
pub struct Decoder {
    csv: Csv,
    json: json::Decoder,
    fields: Fields,
    /// The header of the last block, and what is known of every member of a row.
    header: Option<Arc<Vec<String>>>,
    heads: Vec<Head>,
    /// Why the fields of the block have no names.
    nameless: Option<Arc<str>>,
}

/// How a member of a row begins.
#[derive(Debug)]
struct Head {
    /// `{"name":` or `,"name":`.
    text: Vec<u8>,
    /// Whether the value may be anything but text.
    infer: bool,
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
            nameless: None,
        }
    }

    /// Reads every record of a block, whose header names the fields. The rows' text is JSON.
    pub fn decode(&mut self, block: Block) -> Decoded {
        if block.too_long.is_some() {
            return self.json.decode(block);
        }
        self.take_header(&block);
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
                at += no_records(bytes.get(at..).unwrap_or_default(), &self.csv);
                if at >= limit {
                    break;
                }
            }
            let rest = bytes.get(at..limit).unwrap_or_default();
            let read = self.fields.read(rest);
            let record = rest.get(..read).unwrap_or_default();
            let before = text.len();
            let more = ends.is_some() && !rest.get(read..).unwrap_or_default().trim_ascii().is_empty();
            let written = match more {
                true => Err(("there is more text after the record".to_owned(), read)),
                false => self.write_row(record, read == rest.len(), &mut text),
            };
            match written {
                Ok(()) => ordinals.push(as_u32(starts.len())),
                Err((reason, byte)) => {
                    text.truncate(before);
                    let record = if more { rest } else { record };
                    let whole = record.len() <= RECORD_BYTES;
                    let original = if whole { record } else { record.get(..KEPT_OF_LONG).unwrap_or_default() };
                    let original = without_line_end(original).to_vec();
                    let place = format!("byte {}", byte + 1);
                    refused.push(Refused { ordinal: as_u32(starts.len()), reason, place, original, whole });
                }
            }
            starts.push(as_u32(at));
            at = if ends.is_some() { limit } else { at + read };
        }
        let records = as_u32(starts.len());
        let decoded = self.json.decode(Block { bytes: text, ..Block::default() });
        let mut batch = decoded.batch;
        let ordinal = |made: &u32| ordinals.get(*made as usize).copied().unwrap_or(*made);
        batch.ordinals = batch.ordinals.iter().map(ordinal).collect();
        // Only a record that has grown beyond what one may be is refused once it is JSON: quotes and control characters do
        // that.
        for grown in decoded.refused {
            let ordinal = ordinal(&grown.ordinal);
            let start = starts.get(ordinal as usize).map_or(0, |start| *start as usize);
            let shown = bytes.get(start..).unwrap_or_default();
            let original = shown.get(..KEPT_OF_LONG.min(shown.len())).unwrap_or_default().to_vec();
            let reason = format!("as JSON this cannot be read: {}", grown.reason);
            refused.push(Refused { ordinal, reason, place: "byte 1".to_owned(), original, whole: false });
        }
        refused.sort_by_key(|r| r.ordinal);
        Decoded { batch, refused, records, starts }
    }

    fn take_header(&mut self, block: &Block) {
        self.nameless.clone_from(&block.nameless);
        let header = block.header.clone();
        if self.header == header {
            return;
        }
        self.heads.clear();
        for (i, name) in header.iter().flat_map(|h| h.iter()).enumerate() {
            let mut text = vec![if i == 0 { b'{' } else { b',' }];
            json::write_text(name, &mut text);
            text.push(b':');
            self.heads.push(Head { text, infer: self.csv.infer && !self.csv.as_text.contains(name) });
        }
        self.header = header;
    }

    /// Writes the record that was read last as a line of JSON, or says what is wrong with it and at which byte.
    fn write_row(&self, record: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), (String, usize)> {
        let Fields { bytes, ends, count, .. } = &self.fields;
        if record.len() > RECORD_BYTES {
            return Err((too_long(record.len() as u64), RECORD_BYTES));
        }
        if let Some(reason) = &self.nameless {
            return Err((reason.to_string(), 0));
        }
        if last {
            let mut quotes = Quotes::default();
            quotes.look(record, &self.csv);
            if let Some(quote) = self.csv.quote.filter(|_| quotes.open_at_end(record, &self.csv)) {
                let opened = memchr::memrchr(quote, record).unwrap_or_default();
                return Err(("a quote is opened and never closed".to_owned(), opened));
            }
        }
        if *count > self.heads.len() || (*count < self.heads.len() && !self.csv.fill) {
            let plural = if *count == 1 { "" } else { "s" };
            return Err((format!("the record has {count} field{plural}, the header {}", self.heads.len()), 0));
        }
        if let Err(error) = std::str::from_utf8(record) {
            return Err(("this is not valid UTF-8".to_owned(), error.valid_up_to()));
        }
        let mut start = 0;
        // What a short record lacks is missing from its event.
        for (head, end) in self.heads.iter().zip(ends).take(*count) {
            out.extend_from_slice(&head.text);
            let mut field = std::str::from_utf8(bytes.get(start..*end).unwrap_or_default()).unwrap_or_default();
            start = *end;
            if self.csv.trim {
                field = field.trim_matches([' ', '\t']);
            }
            match field {
                "" if head.infer => out.extend_from_slice(b"null"),
                _ if self.csv.nulls.iter().any(|null| null == field) => out.extend_from_slice(b"null"),
                "true" | "false" if head.infer => out.extend_from_slice(field.as_bytes()),
                _ if head.infer && json::is_number(field) => out.extend_from_slice(field.as_bytes()),
                _ => json::write_text(field, out),
            }
        }
        out.extend_from_slice(if self.heads.is_empty() { b"{}\n" } else { b"}\n" });
        Ok(())
    }
}

/// How many bytes at the front of `bytes`, where a record may begin, are blank lines and comments.
fn no_records(bytes: &[u8], csv: &Csv) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'\n' | b'\r') {
            at += 1;
        } else if Some(*byte) == csv.comment {
            let rest = bytes.get(at..).unwrap_or_default();
            at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        } else {
            break;
        }
    }
    at
}

impl Fields {
    fn new(csv: &Csv) -> Self {
        // Comments are passed over before a record is read.
        let mut builder = ReaderBuilder::new();
        builder.delimiter(csv.delimiter).escape(csv.escape).quoting(csv.quote.is_some());
        let reader = builder.quote(csv.quote.unwrap_or(b'"')).build();
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

fn without_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

/// What the first record of a stream is as its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// There is no record, or one whose quotes do not close: it is left to be refused like any other.
    None,
    /// The names of the fields.
    Names(Vec<String>),
    /// It is not UTF-8: the first byte that is not.
    NotText(usize),
}

/// The header that the first record of `bytes` holds, and one past its end.
pub fn header(bytes: &[u8], csv: &Csv) -> (Header, usize) {
    let blank = no_records(bytes, csv);
    let rest = bytes.get(blank..).unwrap_or_default();
    if rest.is_empty() {
        return (Header::None, bytes.len());
    }
    let mut quotes = Quotes::default();
    if quotes.look(rest, csv) == 0 && quotes.open_at_end(rest, csv) {
        return (Header::None, blank);
    }
    let mut fields = Fields::new(csv);
    let mut end = blank + fields.read(rest);
    if bytes.get(end.saturating_sub(1)..=end) == Some(b"\r\n") {
        end += 1;
    }
    if let Err(error) = std::str::from_utf8(bytes.get(blank..end).unwrap_or_default()) {
        return (Header::NotText(blank + error.valid_up_to()), end);
    }
    let mut start = 0;
    let names = fields.ends.iter().take(fields.count).map(|end| {
        let name = std::str::from_utf8(fields.bytes.get(start..*end).unwrap_or_default()).unwrap_or_default();
        start = *end;
        name.trim().to_owned()
    });
    (Header::Names(names.collect()), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csv::Encoder;
    use crate::data::layout::{FieldId, FieldPath};
    use crate::data::value::Value;
    use proptest::prelude::*;

    fn dialect() -> Csv {
        Csv { infer: true, ..Csv::PLAIN }
    }

    fn decode(csv: &Csv, names: &[&str], bytes: &[u8]) -> (Decoded, Vec<FieldId>) {
        let mut layout = Layout::default();
        let ids: Vec<_> = names.iter().map(|n| layout.intern(FieldPath::event([n])).unwrap()).collect();
        let demand = Demand { values: ids.clone(), ..Demand::default() };
        let header = Some(Arc::new(names.iter().map(|n| (*n).to_owned()).collect()));
        let block = Block { bytes: bytes.to_vec(), header, ..Block::default() };
        (Decoder::new(csv, &layout, &demand).decode(block), ids)
    }

    #[test]
    fn infers_what_is_spelled_like_json() {
        let (decoded, _) = decode(&dialect(), &["a", "b"], b"1,-2.50\ntrue,\r\n007,\"x \"\"y\"\"\nz\"\n\n+1,null");
        let raw = decoded.batch.raw.as_ref().unwrap();
        let rows: Vec<_> = (0..decoded.batch.rows).map(|row| raw.row(row)).collect();
        let expected = [
            r#"{"a":1,"b":-2.50}"#,
            r#"{"a":true,"b":null}"#,
            r#"{"a":"007","b":"x \"y\"\nz"}"#,
            r#"{"a":"+1","b":"null"}"#,
        ];
        assert_eq!(rows, expected);
        assert_eq!(decoded.starts, [0, 8, 15, 32]);
        assert_eq!(decoded.refused, []);
    }

    #[test]
    fn refuses_wrong_counts_open_quotes_and_bad_text() {
        let (decoded, _) = decode(&dialect(), &["a", "b"], b"1\n1,2\n1,2,3\n\xff,2\n1,\"2\n3");
        assert_eq!((decoded.records, decoded.batch.ordinals), (5, vec![1]));
        let reasons: Vec<_> =
            decoded.refused.iter().map(|r| (r.ordinal, r.reason.as_str(), r.place.as_str())).collect();
        let expected = [
            (0, "the record has 1 field, the header 2", "byte 1"),
            (2, "the record has 3 fields, the header 2", "byte 1"),
            (3, "this is not valid UTF-8", "byte 1"),
            (4, "a quote is opened and never closed", "byte 3"),
        ];
        assert_eq!(reasons, expected);
        assert_eq!(decoded.refused[2].original, b"\xff,2");
    }

    #[test]
    fn dialects_say_what_is_null_text_and_missing() {
        let rows = |csv: &Csv, bytes: &[u8]| {
            let (decoded, _) = decode(csv, &["a", "b"], bytes);
            let raw = decoded.batch.raw.unwrap_or_default();
            let rows: Vec<String> = (0..decoded.batch.rows).map(|row| raw.row(row).to_owned()).collect();
            (rows, decoded.refused.len(), decoded.starts)
        };
        let lax = Csv { nulls: vec!["NA".into()], as_text: vec!["b".into()], trim: true, fill: true, ..dialect() };
        let (read, refused, _) = rows(&lax, b"1 , 007\n NA,NA\n 2\n,\n1,2,3\n");
        assert_eq!(read, [r#"{"a":1,"b":"007"}"#, r#"{"a":null,"b":null}"#, r#"{"a":2}"#, r#"{"a":null,"b":""}"#]);
        assert_eq!(refused, 1, "more than the header has is refused all the same");
        let escaped = Csv { escape: Some(b'\\'), comment: Some(b'#'), ..dialect() };
        let (read, refused, starts) = rows(&escaped, b"# \"no, record\n1,\"x \\\"y\\\" \"\"z\"\n\n#\n2,#\n# end");
        assert_eq!(read, [r#"{"a":1,"b":"x \"y\" \"z"}"#, r##"{"a":2,"b":"#"}"##]);
        assert_eq!((refused, starts), (0, vec![14, 33]));
        let bare = Csv { delimiter: b'\t', quote: None, ..dialect() };
        assert_eq!(rows(&bare, b"\"\tx\"y\n").0, [r#"{"a":"\"","b":"x\"y"}"#]);
        let names = Header::Names(vec!["a".into(), "b".into()]);
        assert_eq!(header(b"# made by hand\n\na,b\n", &escaped), (names, 20));
    }

    #[test]
    fn a_record_that_grows_beyond_the_limit_is_refused_and_its_neighbours_read() {
        let mut bytes = b"1,2\n".to_vec();
        bytes.resize(bytes.len() + RECORD_BYTES / 2, 1);
        bytes.extend_from_slice(b",3\n4,5\n");
        let (decoded, _) = decode(&dialect(), &["a", "b"], &bytes);
        assert_eq!((decoded.records, decoded.batch.ordinals.as_slice()), (3, &[0, 2][..]));
        assert_eq!((decoded.refused.len(), decoded.refused[0].ordinal), (1, 1));
        assert!(decoded.refused[0].reason.contains("more than the"), "{}", decoded.refused[0].reason);
        assert_eq!(decoded.refused[0].original.len(), KEPT_OF_LONG);
    }

    #[test]
    fn headers_may_be_quoted_and_stand_alone() {
        let names = |bytes: &[u8]| header(bytes, &dialect());
        assert_eq!(names(b"\r\n\"a,b\", c\r\n1,2"), (Header::Names(vec!["a,b".into(), "c".into()]), 12));
        assert_eq!(names(b"a"), (Header::Names(vec!["a".into()]), 1));
        assert_eq!(names(b"\n\n"), (Header::None, 2));
        assert_eq!(names(b"\nid,Gr\xf6\xdfe\n1,2"), (Header::NotText(6), 10));
    }

    /// All records as the `csv` crate's engine reads them in one go.
    fn by_engine(csv: &Csv, bytes: &[u8]) -> Vec<Vec<String>> {
        let mut builder = ReaderBuilder::new();
        let mut reader = builder.comment(csv.comment).escape(csv.escape).quoting(csv.quote.is_some()).build();
        let (mut fields, mut ends) = (vec![0; bytes.len() + 1], vec![0; bytes.len() + 2]);
        let (mut at, mut written, mut count, mut records) = (0, 0, 0, Vec::new());
        loop {
            let (result, read, out, ended) =
                reader.read_record(&bytes[at..], &mut fields[written..], &mut ends[count..]);
            (at, written, count) = (at + read, written + out, count + ended);
            match result {
                ReadRecordResult::Record => {
                    let starts = [0].into_iter().chain(ends.iter().copied());
                    let field = |(from, to): (usize, &usize)| String::from_utf8(fields[from..*to].to_vec()).unwrap();
                    records.push(starts.zip(&ends[..count]).map(field).collect());
                    (written, count) = (0, 0);
                }
                ReadRecordResult::End => return records,
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(
            text in r#"([a-c,"\n\r #\\]|"[a\n,#]*"[,\n]|\n#[",a]*\n){0,40}"#,
            quoted in any::<bool>(),
            escape in prop::option::of(Just(b'\\')),
            comment in prop::option::of(Just(b'#')),
        ) {
            let texts = Csv { quote: quoted.then_some(b'"'), escape, comment, ..Csv::PLAIN };
            // The engine takes a comment without a line end for an empty record.
            let text = if comment.is_some() { text + "\n" } else { text };
            let (decoded, ids) = decode(&texts, &["a", "b"], text.as_bytes());
            for (ordinal, fields) in by_engine(&texts, text.as_bytes()).into_iter().enumerate() {
                let row = decoded.batch.ordinals.iter().position(|o| *o as usize == ordinal);
                let refused = decoded.refused.iter().find(|r| r.ordinal as usize == ordinal);
                match (row, refused) {
                    (Some(row), None) => {
                        let cells = ids.iter().map(|id| decoded.batch.get(*id, row).to_value());
                        let fields = fields.iter().map(|f| Value::Text(f.into()));
                        prop_assert_eq!(cells.collect::<Vec<_>>(), fields.collect::<Vec<_>>());
                    }
                    (None, Some(refused)) if refused.reason.starts_with("a quote") => {
                        prop_assert_eq!(ordinal + 1, decoded.records as usize);
                    }
                    (None, Some(refused)) => {
                        let count = fields.len().to_string();
                        prop_assert_eq!(refused.reason.split(" ").nth(3), Some(count.as_str()));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(rows in prop::collection::vec((any::<String>(), ".{0,6}", any::<i64>()), 1..8)) {
            let texts = Csv::PLAIN;
            let mut lines = Vec::new();
            for (a, b, n) in &rows {
                for (name, text) in [(b"{\"a\":" as &[u8], a), (b",\"b\":", b), (b",\"n\":", &n.to_string())] {
                    lines.extend_from_slice(name);
                    json::write_text(text, &mut lines);
                }
                lines.extend_from_slice(b"}\n");
            }
            let (_, ids) = decode(&texts, &["a", "b", "n"], b"");
            let mut layout = Layout::default();
            for name in ["a", "b", "n"] {
                layout.intern(FieldPath::event([name])).unwrap();
            }
            let demand = Demand { values: ids.clone(), ..Demand::default() };
            let batch = json::Decoder::new(&layout, &demand).decode(Block { bytes: lines, ..Block::default() }).batch;
            let columns = ["a", "b", "n"].iter().map(|n| (*n).to_owned()).zip(ids.iter().copied());
            let mut encoder = Encoder::new(&texts, columns.collect());
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            encoder.encode(&batch, &mut text, &mut ends);
            prop_assert_eq!(encoder.header(), b"a,b,n\n");
            prop_assert_eq!(ends.last().copied(), Some(text.len() as u32));
            let (again, ids) = decode(&texts, &["a", "b", "n"], &text);
            prop_assert_eq!(again.batch.rows, rows.len());
            for (row, (a, b, n)) in rows.iter().enumerate() {
                let cells: Vec<Value> = ids.iter().map(|id| again.batch.get(*id, row).to_value()).collect();
                prop_assert_eq!(cells, [Value::Text(a.into()), Value::Text(b.into()), Value::Text(n.to_string().into())]);
            }
        }
    }
}
