//! Cutting a stream of bytes into blocks of whole records, and what decoding a block gives.

use std::sync::Arc;

use super::batch::Batch;
use super::csv::{self, Header, Quotes};
use super::format::{Csv, Format};
use super::msgpack::Values;
use crate::base::limit::{CHUNK_BYTES, RECORD_BYTES};

/// How much of a record that is too long is kept to show what it was.
pub(super) const KEPT_OF_LONG: usize = 1 << 10;

/// Whole records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The records as they came, line ends included.
    pub bytes: Vec<u8>,
    /// One past the end of each record; `None` when they end with their lines.
    pub ends: Option<Vec<u32>>,
    /// Offset in its stream of the first byte; with `ends`, the number of the first record.
    pub position: u64,
    /// CSV: the names of the fields.
    pub header: Option<Arc<Vec<String>>>,
    /// The block is the beginning of one record of this many bytes, more than a record may have.
    pub too_long: Option<u64>,
    /// MessagePack: no end of the record can be found: the byte that begins no value, counted from 0.
    pub lost: Option<u64>,
    /// CSV: the names of the fields cannot be read, and so no record can; why.
    pub nameless: Option<Arc<str>>,
    /// The block is the beginning of one record, behind which the stream cannot be read; why. The break counts as a byte.
    pub broken: Option<String>,
}

impl Block {
    /// Records that were cut by whoever brought them; `ends` holds one past the end of each.
    pub fn from_records(bytes: Vec<u8>, ends: Vec<u32>) -> Block {
        Block { bytes, ends: Some(ends), ..Block::default() }
    }
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Its index among all records of the block.
    pub ordinal: u32,
    /// What is wrong, one sentence.
    pub reason: String,
    /// Where: `byte 17` of the record, counted from 1.
    pub place: String,
    /// The record as it came; of one that is too long the beginning.
    pub original: Vec<u8>,
    /// Whether that is all of it.
    pub whole: bool,
}

/// What was read of a block.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The records that are events. Ordinals are their indexes among all records of the block; times are empty.
    pub batch: Batch,
    /// The others.
    pub refused: Vec<Refused>,
    /// How many records there were.
    pub records: u32,
    /// The offset in the block of every record.
    pub starts: Vec<u32>,
}

impl Decoded {
    /// What becomes of a record that is longer than a record may be.
    pub(super) fn too_long(beginning: Vec<u8>, size: u64) -> Decoded {
        let reason = too_long(size);
        let place = format!("byte {}", RECORD_BYTES + 1);
        Decoded::one(Refused { ordinal: 0, reason, place, original: beginning, whole: false })
    }

    /// What becomes of a record in which its stream breaks, `size` bytes into it.
    pub(super) fn broken(beginning: Vec<u8>, size: usize, reason: String) -> Decoded {
        let place = format!("byte {}", size + 1);
        Decoded::one(Refused { ordinal: 0, reason, place, original: beginning, whole: false })
    }

    fn one(refused: Refused) -> Decoded {
        Decoded { refused: vec![refused], records: 1, starts: vec![0], ..Decoded::default() }
    }
}

/// What is wrong with a record of `size` bytes.
pub(super) fn too_long(size: u64) -> String {
    format!(
        "the record has {size} bytes, more than the {RECORD_BYTES} that one record may have: is a line end missing?"
    )
}

/// Cuts a stream into blocks that end where a record ends.
#[derive(Debug)]
pub struct Framer {
    /// MessagePack: it is not cut by lines, and this does all of it.
    values: Option<Values>,
    /// `None`: a record is a line, whatever is in it.
    csv: Option<Csv>,
    header: Option<Arc<Vec<String>>>,
    /// Why the names in the header cannot be read.
    nameless: Option<Arc<str>>,
    /// What the stream is called in messages.
    name: Arc<str>,
    /// The beginning of a record whose end has not come.
    carry: Vec<u8>,
    /// Where in the stream the carry begins.
    position: u64,
    /// Whether the stream's start may still bring a byte order mark.
    at_start: bool,
    /// Where the carry was looked through to, and whether that is inside quotes.
    quotes: Quotes,
    /// Bytes so far of a record that is too long; what is kept of it is in the carry.
    skipping: Option<u64>,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Framer {
    /// A framer at the start of a stream, or at a position of one that needs no header.
    pub fn new(format: &Format) -> Self {
        let csv = match format {
            Format::Csv(csv) => Some(Csv::clone(csv)),
            _ => None,
        };
        let header = csv.as_ref().and_then(|c| c.columns.clone()).map(Arc::new);
        Framer {
            values: (*format == Format::MessagePack).then(Values::default),
            csv,
            header,
            nameless: None,
            name: Arc::default(),
            carry: Vec::new(),
            position: 0,
            at_start: true,
            quotes: Quotes::default(),
            skipping: None,
        }
    }

    /// The same with what the stream is called in messages.
    #[must_use]
    pub fn named(mut self, name: &Arc<str>) -> Self {
        self.name = Arc::clone(name);
        self
    }

    /// A framer that goes on in the middle of a stream whose header another has read.
    pub fn resume(format: &Format, from_start: &Framer) -> Self {
        let mut framer = Framer::new(format).named(&from_start.name);
        framer.header = from_start.header.clone().or(framer.header);
        framer.nameless.clone_from(&from_start.nameless);
        framer
    }

    /// CSV: whether the header was read.
    pub fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// Takes the next piece of the stream, whose first byte is at `position`: the records that are complete now.
    pub fn push(&mut self, chunk: Vec<u8>, position: u64) -> Vec<Block> {
        if let Some(values) = &mut self.values {
            return values.push(chunk, position);
        }
        let mut blocks = Vec::new();
        let bytes = self.joined(chunk, position);
        if self.skipping.is_some() {
            self.skip(bytes, &mut blocks);
            return blocks;
        }
        self.cut(bytes, &mut blocks);
        blocks
    }

    /// The stream has ended: a last record without a line end.
    pub fn finish(&mut self) -> Option<Block> {
        if let Some(values) = &mut self.values {
            return values.finish();
        }
        let bytes = std::mem::take(&mut self.carry);
        if let Some(size) = self.skipping.take() {
            return Some(Block { bytes, position: self.position, too_long: Some(size), ..Block::default() });
        }
        self.quotes = Quotes::default();
        let end = self.position + bytes.len() as u64;
        let bytes = self.without_header(bytes, self.position);
        let position = end - bytes.len() as u64;
        self.position = end;
        (!bytes.is_empty()).then(|| self.block(bytes, position))
    }

    /// The stream cannot be read beyond `position`, whatever may follow: what it broke off in is one record.
    pub fn broken(&mut self, position: u64, reason: String) -> Option<Block> {
        if let Some(values) = &mut self.values {
            return values.broken(position, reason);
        }
        let (bytes, too_long) = (std::mem::take(&mut self.carry), self.skipping.take());
        self.quotes = Quotes::default();
        if bytes.is_empty() {
            self.position = position;
        }
        Some(Block { bytes, position: self.position, too_long, broken: Some(reason), ..Block::default() })
    }

    /// What was carried, followed by the chunk. A byte order mark at the stream's start is taken off.
    fn joined(&mut self, mut chunk: Vec<u8>, position: u64) -> Vec<u8> {
        if self.skipping.is_some() {
            return chunk;
        }
        let mut bytes = if self.carry.is_empty() {
            self.position = position;
            chunk
        } else {
            self.carry.append(&mut chunk);
            std::mem::take(&mut self.carry)
        };
        if self.at_start && (bytes.len() >= MARK.len() || !MARK.starts_with(&bytes)) {
            self.at_start = false;
            if self.position == 0 && bytes.starts_with(MARK) {
                bytes.drain(..MARK.len());
                self.position = MARK.len() as u64;
            }
        }
        bytes
    }

    /// Makes a block of what is complete and carries the rest.
    fn cut(&mut self, mut bytes: Vec<u8>, blocks: &mut Vec<Block>) {
        let cut = match &self.csv {
            None => memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1),
            Some(csv) => self.quotes.look(&bytes, csv),
        };
        let rest = split_off(&mut bytes, cut);
        let position = self.position;
        self.position += cut as u64;
        self.quotes.taken();
        self.carry = rest;
        if cut > 0 {
            let len = bytes.len();
            let bytes = self.without_header(bytes, position);
            let position = position + (len - bytes.len()) as u64;
            if !bytes.is_empty() {
                blocks.push(self.block(bytes, position));
            }
        }
        if self.carry.len() > RECORD_BYTES {
            self.skipping = Some(self.carry.len() as u64);
            self.carry.truncate(KEPT_OF_LONG);
            self.carry.shrink_to_fit();
        }
    }

    /// Looks for the end of a record that is too long: the next line end, also for CSV, where it is as likely that a
    /// quote is missing.
    fn skip(&mut self, mut bytes: Vec<u8>, blocks: &mut Vec<Block>) {
        let size = self.skipping.unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', &bytes) else {
            self.skipping = Some(size + bytes.len() as u64);
            return;
        };
        self.skipping = None;
        self.quotes = Quotes::default();
        let size = size + end as u64;
        let beginning = std::mem::take(&mut self.carry);
        blocks.push(Block { bytes: beginning, position: self.position, too_long: Some(size), ..Block::default() });
        self.position += size + 1;
        bytes.drain(..=end);
        self.cut(bytes, blocks);
    }

    /// Takes the header off the first records of CSV that has one; they stand at `position`.
    fn without_header(&mut self, mut bytes: Vec<u8>, position: u64) -> Vec<u8> {
        let Some(csv) = self.csv.as_ref().filter(|_| self.header.is_none()) else { return bytes };
        let (header, end) = csv::header(&bytes, csv);
        match header {
            Header::None => {}
            Header::Names(names) => self.header = Some(Arc::new(names)),
            Header::NotText(byte) => {
                let whose = if self.name.is_empty() { String::new() } else { format!(" of `{}`", self.name) };
                let reason = not_text(&whose, position + byte as u64);
                (self.header, self.nameless) = (Some(Arc::default()), Some(reason.into()));
            }
        }
        bytes.drain(..end);
        bytes
    }

    fn block(&self, bytes: Vec<u8>, position: u64) -> Block {
        let (header, nameless) = (self.header.clone(), self.nameless.clone());
        Block { bytes, position, header, nameless, ..Block::default() }
    }
}

/// What is said of records whose header has a byte that is no text, counted from 0.
fn not_text(whose: &str, byte: u64) -> String {
    format!(
        "the header{whose} is not valid UTF-8 at byte {}, so the fields have no names: save the file as UTF-8, or name them with `columns`",
        byte + 1
    )
}

/// Cuts off what follows `at`, with room for the chunk that will complete it.
fn split_off(bytes: &mut Vec<u8>, at: usize) -> Vec<u8> {
    if at == 0 {
        return std::mem::take(bytes);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Vec::new();
    }
    let mut carried = Vec::with_capacity(rest.len() + CHUNK_BYTES);
    carried.extend_from_slice(rest);
    bytes.truncate(at);
    carried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::json::Decoder;
    use crate::data::layout::{Demand, Layout};
    use proptest::prelude::*;

    fn csv() -> Format {
        Format::Csv(Box::new(Csv::PLAIN))
    }

    /// The blocks of a stream that comes in pieces.
    fn framed(framer: &mut Framer, bytes: &[u8], cuts: &[usize]) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            if to > from {
                blocks.extend(framer.push(bytes[from..to].to_vec(), from as u64));
                from = to;
            }
        }
        blocks.extend(framer.finish());
        blocks
    }

    fn joined(blocks: &[Block]) -> (Vec<u8>, Option<Arc<Vec<String>>>) {
        (blocks.iter().flat_map(|b| b.bytes.clone()).collect(), blocks.last().and_then(|b| b.header.clone()))
    }

    #[test]
    fn marks_blank_lines_and_missing_line_ends_do_no_harm() {
        let bytes = b"\xef\xbb\xbf{\"a\":1}\r\n\r\n \n{\"a\":2}";
        let mut framer = Framer::new(&Format::Json);
        let blocks = framed(&mut framer, bytes, &[2, 5]);
        let mut decoder = Decoder::new(&Layout::default(), &Demand::default());
        let mut found = Vec::new();
        for block in blocks {
            let position = block.position;
            let decoded = decoder.decode(block);
            assert_eq!(decoded.refused, []);
            let raw = decoded.batch.raw.unwrap();
            found.extend(
                (0..decoded.batch.rows).map(|row| (position + u64::from(decoded.starts[row]), raw.row(row).to_owned())),
            );
        }
        assert_eq!(found, [(3, "{\"a\":1}".to_owned()), (16, "{\"a\":2}".to_owned())]);
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_and_the_next_one_read() {
        for (len, step) in [(RECORD_BYTES + 1, 1 << 20), (3 * RECORD_BYTES, 1 << 20), (RECORD_BYTES + 1, usize::MAX)] {
            let mut bytes = b"1\n".to_vec();
            bytes.resize(bytes.len() + len, b'7');
            bytes.extend_from_slice(b"\n2\n");
            let cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
            let mut framer = Framer::new(&Format::Json);
            let mut decoder = Decoder::new(&Layout::default(), &Demand::default());
            let (mut rows, mut refused) = (Vec::new(), Vec::new());
            for block in framed(&mut framer, &bytes, &cuts) {
                let position = block.position;
                let decoded = decoder.decode(block);
                let raw = decoded.batch.raw.unwrap_or_default();
                rows.extend((0..decoded.batch.rows).map(|row| raw.row(row).to_owned()));
                refused.extend(
                    decoded.refused.into_iter().map(|r| (position + u64::from(decoded.starts[r.ordinal as usize]), r)),
                );
            }
            assert_eq!(rows, ["1", "2"]);
            assert_eq!(refused.len(), 1);
            assert_eq!(refused[0].0, 2);
            assert!(refused[0].1.reason.contains(&format!("{len} bytes, more than the {RECORD_BYTES}")));
            assert_eq!(refused[0].1.original.len(), KEPT_OF_LONG);
        }
    }

    #[test]
    fn a_stream_may_be_resumed_behind_its_header() {
        let mut framer = Framer::new(&csv());
        let first = framer.push(b"a,b\n1,2\n".to_vec(), 0);
        assert_eq!(first[0].position, 4);
        assert_eq!(first[0].header.as_deref(), Some(&vec!["a".to_owned(), "b".to_owned()]));
        let mut resumed = Framer::resume(&csv(), &framer);
        let next = resumed.push(b"3,4\n".to_vec(), 8);
        assert_eq!((next[0].position, &next[0].header), (8, &first[0].header));
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            text in r#"([a-c,"\n\r #\\]|"[a\n,#]*"[,\n]|\n#[",a]*\n){0,60}"#,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            dialect in 0..5,
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let format = match dialect {
                0 => Format::Json,
                1 => csv(),
                2 => Format::Csv(Box::new(Csv { comment: Some(b'#'), ..Csv::PLAIN })),
                3 => Format::Csv(Box::new(Csv { comment: Some(b'#'), escape: Some(b'\\'), ..Csv::PLAIN })),
                _ => Format::Csv(Box::new(Csv { quote: None, comment: Some(b'#'), ..Csv::PLAIN })),
            };
            let whole = framed(&mut Framer::new(&format), bytes, &[]);
            let pieces = framed(&mut Framer::new(&format), bytes, &cuts);
            prop_assert_eq!(joined(&whole), joined(&pieces));
            for block in &pieces {
                let at = block.position as usize;
                prop_assert_eq!(&bytes[at..at + block.bytes.len()], &block.bytes);
            }
            // A block ends where a record ends: read one by one, the records are the same.
            if let Format::Csv(csv) = &format {
                let (layout, demand) = (Layout::default(), Demand::default());
                let rows = |blocks: &[Block]| {
                    let mut decoder = crate::data::csv::Decoder::new(csv, &layout, &demand);
                    let (mut rows, mut refused) = (Vec::new(), Vec::new());
                    for block in blocks {
                        let decoded = decoder.decode(block.clone());
                        let raw = decoded.batch.raw.unwrap_or_default();
                        rows.extend((0..decoded.batch.rows).map(|row| raw.row(row).to_owned()));
                        refused.extend(decoded.refused.into_iter().map(|r| (r.reason, r.original)));
                    }
                    (rows, refused)
                };
                prop_assert_eq!(rows(&whole), rows(&pieces));
            }
        }
    }
}
