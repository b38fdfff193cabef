//! Records to batches: validates every row, fills the wanted columns, refuses what is not JSON.

use std::sync::Arc;

use super::JsonError;
use super::columns::{Columns, Names, Wanted};
use super::scan::skip_space;
use super::shape::{Found, Recorder, Shapes};
use super::walk::Walker;
use crate::base::limit::RECORD_BYTES;
use crate::data::batch::{Batch, Range32, Raw};
use crate::data::column::as_u32;
use crate::data::framing::{Block, Decoded, KEPT_OF_LONG, Refused, too_long};
use crate::data::layout::{Demand, Layout};

/// Bytes behind the last row.
const PADDING: usize = 16;
/// A buffer up to this size is rather moved than its last row read slowly.
const CHEAP_TO_MOVE: usize = 4 << 10;
/// What a row that matches earns, and what one that does not costs. Below zero, shapes are left alone for a while.
const EARNS: i32 = 1;
const COSTS: i32 = 4;
const MOST_CREDIT: i32 = 64;
/// Rows without speculation after it did not pay.
const REST: u32 = 1_000;

/// Reads blocks of JSON records. Keeps what it learned of their shape from block to block.
#[derive(Debug)]
pub struct Decoder {
    names: Names,
    wanted: Vec<Wanted>,
    shapes: Shapes,
    recorder: Recorder,
    credit: i32,
    resting: u32,
    rows_before: usize,
}

/// A block being read.
struct Reading<'a> {
    text: &'a str,
    columns: Columns,
    rows: Vec<Range32>,
    starts: Vec<u32>,
    refused: Vec<Refused>,
    /// Records that are not UTF-8 or too long, in order, blanked out in `text`.
    bad: std::vec::IntoIter<Bad>,
    next_bad: Option<Bad>,
}

/// A record that is not looked at: not UTF-8, or too long.
struct Bad {
    start: usize,
    reason: String,
    /// The byte where it went wrong, counted from 0.
    fault: usize,
    original: Vec<u8>,
}

impl Decoder {
    /// A decoder for the event fields of a demand; metadata and computed columns in it are not its business.
    pub fn new(layout: &Layout, demand: &Demand) -> Self {
        let (names, wanted) = Names::new(layout, demand);
        Decoder {
            names,
            wanted,
            shapes: Shapes::default(),
            recorder: Recorder::default(),
            credit: MOST_CREDIT,
            resting: 0,
            rows_before: 64,
        }
    }

    /// Reads every record of a block.
    pub fn decode(&mut self, block: Block) -> Decoded {
        let Block { mut bytes, ends, too_long, .. } = block;
        if let Some(size) = too_long {
            return Decoded::too_long(bytes, size);
        }
        // Looking at sixteen bytes at a time needs as many behind the last row. Blank lines are nobody's.
        if bytes.capacity() - bytes.len() >= PADDING || bytes.len() < CHEAP_TO_MOVE {
            bytes.extend_from_slice(&[b'\n'; PADDING]);
        }
        let (text, bad) = readable(bytes, ends.as_deref());
        let mut bad = bad.into_iter();
        let mut reading = Reading {
            text: &text,
            columns: Columns::new(&self.wanted, self.rows_before),
            rows: Vec::with_capacity(self.rows_before),
            starts: Vec::with_capacity(self.rows_before),
            refused: Vec::new(),
            next_bad: bad.next(),
            bad,
        };
        match &ends {
            None => self.lines(&mut reading),
            Some(ends) => self.records(&mut reading, ends),
        }
        let Reading { columns, rows, starts, refused, .. } = reading;
        let ordinals = accepted(as_u32(starts.len()), &refused);
        self.rows_before = rows.len() + rows.len() / 16 + 1;
        let text = Arc::new(if ends.is_some() { one_line(text, &rows) } else { text });
        let records = as_u32(starts.len());
        let mut batch = Batch { rows: rows.len(), ordinals, ..Batch::default() };
        columns.finish(&text, &mut batch);
        batch.raw = Some(Raw { text, rows });
        Decoded { batch, refused, records, starts }
    }

    fn lines(&mut self, reading: &mut Reading<'_>) {
        let bytes = reading.text.as_bytes();
        let mut at = 0;
        loop {
            at = self.run(reading, at);
            match bytes.get(at) {
                Some(b'\n') => at += 1,
                Some(_) => at = self.line(reading, at),
                None => return,
            }
        }
    }

    /// Reads rows as long as they have a known shape, from the line at `at`: the line that has not.
    fn run(&mut self, reading: &mut Reading<'_>, mut at: usize) -> usize {
        if self.resting > 0 {
            self.resting -= 1;
            return at;
        }
        let mut earned = 0;
        while let Some(found) = self.shapes.read(reading.text, at, &self.names, &mut reading.columns) {
            let Some(next) = line_end(reading.text.as_bytes(), found) else { break };
            reading.accept(at, (found.start, found.end));
            at = next;
            earned += EARNS;
        }
        reading.columns.clear_row();
        self.credit = self.credit.saturating_add(earned).min(MOST_CREDIT);
        at
    }

    /// Reads the line at `at`, which is not blank, by the general scanner: where the next one begins.
    fn line(&mut self, reading: &mut Reading<'_>, at: usize) -> usize {
        let bytes = reading.text.as_bytes();
        let end = at + memchr::memchr(b'\n', bytes.get(at..).unwrap_or_default()).unwrap_or(bytes.len() - at);
        if reading.next_bad.as_ref().is_some_and(|b| b.start == at) || skip_space(bytes, at) < end {
            self.walk(reading, at, end);
        }
        end + 1
    }

    fn records(&mut self, reading: &mut Reading<'_>, ends: &[u32]) {
        let mut at = 0;
        for end in ends {
            let end = *end as usize;
            if !self.record(reading, at, end) {
                self.walk(reading, at, end);
            }
            at = end;
        }
    }

    /// Reads the record that lies in `at..end`, if it has a known shape.
    fn record(&mut self, reading: &mut Reading<'_>, at: usize, end: usize) -> bool {
        if self.resting > 0 {
            self.resting -= 1;
            return false;
        }
        if let Some(found) = self.shapes.read(reading.text, at, &self.names, &mut reading.columns)
            && found.end <= end
            && skip_space(reading.text.as_bytes().get(..end).unwrap_or_default(), found.end) == end
        {
            reading.accept(at, (found.start, found.end));
            self.credit = (self.credit + EARNS).min(MOST_CREDIT);
            return true;
        }
        reading.columns.clear_row();
        false
    }

    /// Learns the shape of the row that was just walked. Where rows hardly ever match what was learned, it is not worth it.
    fn learn(&mut self, text: &str, start: usize, value: (usize, usize)) {
        self.shapes.learn(&self.recorder, text, start, value);
        self.credit -= COSTS;
        if self.credit < 0 {
            self.resting = REST;
            self.credit = MOST_CREDIT / 2;
        }
    }

    /// Reads a record by the general scanner, and learns its shape.
    fn walk(&mut self, reading: &mut Reading<'_>, start: usize, end: usize) {
        if reading.next_bad.as_ref().is_some_and(|b| b.start == start) {
            return reading.refuse_bad();
        }
        self.recorder.begin();
        let text = reading.text.get(..end).unwrap_or_default();
        let recorder = (self.resting == 0).then_some(&mut self.recorder);
        let learns = recorder.is_some();
        let mut walker = Walker { text, names: &self.names, columns: &mut reading.columns, recorder };
        match walker.row(start) {
            Ok(value) => {
                if learns {
                    self.learn(text, start, value);
                }
                reading.accept(start, value);
            }
            Err(fault) => {
                reading.columns.clear_row();
                reading.refuse(start, end, fault.into_error(start));
            }
        }
    }
}

/// Where the next line begins, if the line ends behind the row that was found.
#[inline(always)]
fn line_end(bytes: &[u8], found: Found) -> Option<usize> {
    if !found.opaque && bytes.get(found.end) == Some(&b'\n') {
        Some(found.end + 1)
    } else {
        late_line_end(bytes, found)
    }
}

#[inline(never)]
fn late_line_end(bytes: &[u8], found: Found) -> Option<usize> {
    if found.opaque && memchr::memchr(b'\n', bytes.get(found.start..found.end)?).is_some() {
        return None;
    }
    let space = |b: &&u8| matches!(b, b' ' | b'\t' | b'\r');
    let end = found.end + bytes.get(found.end..)?.iter().take_while(space).count();
    match bytes.get(end) {
        Some(b'\n') => Some(end + 1),
        Some(_) => None,
        None => Some(end),
    }
}

impl Reading<'_> {
    #[inline]
    fn accept(&mut self, start: usize, value: (usize, usize)) {
        self.starts.push(start as u32);
        self.rows.push(Range32 { start: value.0 as u32, end: value.1 as u32 });
        self.columns.next_row();
    }

    fn refuse(&mut self, start: usize, end: usize, error: JsonError) {
        let original = self.text.as_bytes().get(start..end).unwrap_or_default();
        let original = original.strip_suffix(b"\r").unwrap_or(original).to_vec();
        let reason = format!("this is not JSON: {}", error.reason);
        let place = format!("byte {}", error.byte);
        self.refused.push(Refused { ordinal: as_u32(self.starts.len()), reason, place, original, whole: true });
        self.starts.push(as_u32(start));
    }

    fn refuse_bad(&mut self) {
        let next = self.bad.next();
        let Some(bad) = std::mem::replace(&mut self.next_bad, next) else { return };
        self.refused.push(Refused {
            ordinal: as_u32(self.starts.len()),
            reason: bad.reason,
            place: format!("byte {}", bad.fault + 1),
            original: bad.original,
            whole: true,
        });
        self.starts.push(as_u32(bad.start));
    }
}

/// The indexes of the records that were not refused.
fn accepted(records: u32, refused: &[Refused]) -> Vec<u32> {
    if refused.is_empty() {
        return (0..records).collect();
    }
    let mut refused = refused.iter().map(|r| r.ordinal).peekable();
    (0..records).filter(|ordinal| refused.next_if_eq(ordinal).is_none()).collect()
}

/// The block as text. Records that are not UTF-8, or longer than a record may be, are taken out and blanked.
fn readable(bytes: Vec<u8>, ends: Option<&[u32]>) -> (String, Vec<Bad>) {
    let mut bytes = match String::from_utf8(bytes) {
        Ok(text) if text.len() <= RECORD_BYTES => return (text, Vec::new()),
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let mut bad = Vec::new();
    let mut start = 0;
    let mut ends = ends.map(|e| e.iter());
    while start < bytes.len() || ends.as_ref().is_some_and(|e| e.len() > 0) {
        let rest = bytes.get(start..).unwrap_or_default();
        let (end, next) = match &mut ends {
            Some(ends) => {
                let Some(end) = ends.next() else { break };
                (*end as usize, *end as usize)
            }
            None => {
                let end = start + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                (end, end + 1)
            }
        };
        let record = bytes.get(start..end).unwrap_or_default();
        let wrong = match std::str::from_utf8(record) {
            _ if record.len() > RECORD_BYTES => {
                let kept = record.get(..KEPT_OF_LONG).unwrap_or_default();
                Some((too_long(record.len() as u64), RECORD_BYTES, kept))
            }
            Err(error) => Some(("this is not valid UTF-8".to_owned(), error.valid_up_to(), record)),
            Ok(_) => None,
        };
        if let Some((reason, fault, original)) = wrong {
            bad.push(Bad { start, reason, fault, original: original.to_vec() });
            if let Some(record) = bytes.get_mut(start..end) {
                record.fill(b' ');
            }
        }
        start = next;
    }
    // Only records were blanked, so what no record covers may still be wrong; it is nobody's.
    let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    (text, bad)
}

/// Messages may hold line ends between their tokens; so that a row is always a line, they become spaces.
fn one_line(text: String, rows: &[Range32]) -> String {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return text;
    }
    let mut bytes = text.into_bytes();
    for row in rows {
        for b in bytes.get_mut(row.range()).unwrap_or_default() {
            if matches!(b, b'\n' | b'\r') {
                *b = b' ';
            }
        }
    }
    // A line end is one byte of its own in UTF-8, so this is still text.
    String::from_utf8(bytes).unwrap_or_default()
}
