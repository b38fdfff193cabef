//! Cutting a stream of bytes into blocks of whole records, and what decoding a block gives.

use std::sync::Arc;

use super::batch::Batch;
use super::csv::{self, Quotes};
use super::format::{Csv, Format};
use crate::base::limit::{CHUNK_BYTES, RECORD_BYTES};

/// How much of a record that is too long is kept to show what it was.
const KEPT_OF_LONG: usize = 1 << 10;

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
        let reason = format!(
            "the record has {size} bytes, more than the {RECORD_BYTES} that one record may have: is a line end missing?"
        );
        let refused = Refused { ordinal: 0, reason, place: format!("byte {}", RECORD_BYTES + 1), original: beginning };
        Decoded { refused: vec![refused], records: 1, starts: vec![0], ..Decoded::default() }
    }
}

/// Cuts a stream into blocks that end where a record ends.
#[derive(Debug)]
pub struct Framer {
    /// `None`: a record is a line, whatever is in it.
    csv: Option<Csv>,
    header: Option<Arc<Vec<String>>>,
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
            Format::Json => None,
            Format::Csv(csv) => Some(csv.clone()),
        };
        let header = csv.as_ref().and_then(|c| c.columns.clone()).map(Arc::new);
        Framer {
            csv,
            header,
            carry: Vec::new(),
            position: 0,
            at_start: true,
            quotes: Quotes::default(),
            skipping: None,
        }
    }

    /// A framer that goes on in the middle of a stream whose header was read before.
    pub fn resume(format: &Format, header: Option<Arc<Vec<String>>>) -> Self {
        let mut framer = Framer::new(format);
        framer.header = header.or(framer.header);
        framer
    }

    /// CSV: the names of the fields, once they are known; for [`Framer::resume`].
    pub fn header(&self) -> Option<&Arc<Vec<String>>> {
        self.header.as_ref()
    }

    /// Takes the next piece of the stream, whose first byte is at `position`: the records that are complete now.
    pub fn push(&mut self, chunk: Vec<u8>, position: u64) -> Vec<Block> {
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
        let bytes = std::mem::take(&mut self.carry);
        if let Some(size) = self.skipping.take() {
            return Some(Block { bytes, position: self.position, too_long: Some(size), ..Block::default() });
        }
        self.quotes = Quotes::default();
        let bytes = self.without_header(bytes);
        let position = self.position;
        self.position += bytes.len() as u64;
        (!bytes.is_empty()).then(|| self.block(bytes, position))
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
            Some(csv) => self.quotes.look(&bytes, csv.delimiter, csv.quote),
        };
        let rest = split_off(&mut bytes, cut);
        let position = self.position;
        self.position += cut as u64;
        self.quotes.taken();
        self.carry = rest;
        if cut > 0 {
            let len = bytes.len();
            let bytes = self.without_header(bytes);
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

    /// Takes the header off the first records of CSV that has one.
    fn without_header(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let Some(csv) = self.csv.as_ref().filter(|_| self.header.is_none()) else { return bytes };
        let (names, end) = csv::header(&bytes, csv);
        if let Some(names) = names {
            self.header = Some(Arc::new(names));
        }
        bytes.drain(..end);
        bytes
    }

    fn block(&self, bytes: Vec<u8>, position: u64) -> Block {
        Block { bytes, position, header: self.header.clone(), ..Block::default() }
    }
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
