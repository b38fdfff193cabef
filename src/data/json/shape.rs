//! Speculating on a row's shape: rows of a stream mostly have the same members in the same order, so the text between
//! their values is the same from row to row. A shape holds that text and what becomes of the values; matching a row against
//! it compares sixteen bytes at a time, scans only the values and looks no name up.
//!
//! The idea is that of Y. Li, N. Katsipoulakis, B. Chandramouli, J. Goldstein, D. Kossmann, "Mison: a fast JSON parser for
//! data analytics" (VLDB 2017), and D. Bonetta, M. Brantner, "FAD.js: fast JSON data access using JIT-based speculative
//! optimizations" (VLDB 2017). A row that matches no shape goes to the general scanner, so a wrong guess costs time and
//! never an answer.

use wide::u8x16;

use super::columns::{Columns, NONE, Names};
use super::number;
use super::scan::{self, Member, short_in};
use super::value;
use super::walk::Walker;
use crate::data::column::{Cell, Place};
use crate::data::value::Value;

/// Values in a shape; a row with more is walked by the general scanner.
const SLOTS: usize = 512;
/// Steps of a shape, of up to sixteen bytes each.
const STEPS: usize = 2_048;

/// The form of a row.
#[derive(Debug, Default)]
pub(super) struct Shape {
    steps: Vec<Step>,
    /// What [`Next::Other`] points at.
    others: Vec<Slot>,
    /// White space before the row's value.
    lead: usize,
    /// Whether lists or objects are among its values; only those may hold line ends.
    pub opaque: bool,
}

/// Up to sixteen bytes between values, and what follows them.
#[derive(Clone, Copy, Debug)]
struct Step {
    bytes: u8x16,
    /// A bit for each byte that counts.
    mask: u32,
    /// How many count.
    len: u32,
    next: Next,
}

/// What follows the bytes of a step.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A scalar for a column, or for [`NONE`].
    Scalar(u16),
    /// The next step.
    Step,
    /// A value that more is to be done with.
    Other(u16),
}

/// A value of a row.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Column of its value, or [`NONE`].
    column: u16,
    /// A list, or an object that is wanted as a whole: the wanted name and how many containers it lies in.
    container: Option<(u16, usize)>,
    /// Column of its place, or [`NONE`].
    place: u16,
    /// From the value back to its key's opening quote and to one past the closing one.
    key: (u32, u32),
}

/// Notes the shape of the row that the general scanner walks.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    slots: Vec<(usize, usize, Slot)>,
    met: Vec<u16>,
    given_up: bool,
}

impl Recorder {
    /// A row begins.
    pub fn begin(&mut self) {
        self.slots.clear();
        self.met.clear();
        self.given_up = false;
    }

    /// A member of a wanted name begins. A second of one name would have to undo what the first brought, which slots
    /// cannot do.
    pub fn meet(&mut self, node: u16) {
        self.given_up |= self.met.contains(&node);
        self.met.push(node);
    }

    /// A value from `start` to `end`; `container` with its wanted name and depth if it is a list or object.
    pub fn slot(
        &mut self,
        start: usize,
        end: usize,
        container: Option<(u16, usize)>,
        column: u16,
        key: Option<(u16, &Member)>,
    ) {
        if self.slots.len() >= SLOTS {
            self.given_up = true;
        }
        if self.given_up {
            return;
        }
        let back = |at: usize| u32::try_from(start - at).unwrap_or(u32::MAX);
        let (place, key) = key.map_or((NONE, (0, 0)), |(place, m)| (place, (back(m.key), back(m.key_end))));
        self.slots.push((start, end, Slot { column, container, place, key }));
    }

    /// The shape of the row that began (its line, not its value) at `start` and whose value lies in `value`.
    pub fn shape(&self, text: &str, start: usize, value: (usize, usize)) -> Option<Shape> {
        if self.given_up {
            return None;
        }
        let mut shape = Shape { lead: value.0 - start, ..Shape::default() };
        let mut at = start;
        for (from, to, slot) in &self.slots {
            let next = if slot.container.is_none() && slot.place == NONE {
                Next::Scalar(slot.column)
            } else {
                shape.opaque |= slot.container.is_some();
                shape.others.push(*slot);
                Next::Other(u16::try_from(shape.others.len() - 1).ok()?)
            };
            shape.add(text.as_bytes().get(at..*from)?, next);
            at = *to;
        }
        shape.add(text.as_bytes().get(at..value.1)?, Next::Step);
        (shape.steps.len() <= STEPS).then_some(shape)
    }
}

impl Shape {
    /// Adds the steps of a literal and what follows it.
    fn add(&mut self, literal: &[u8], next: Next) {
        let mut rest = literal;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(16));
            let mut bytes = [0u8; 16];
            for (to, from) in bytes.iter_mut().zip(piece) {
                *to = *from;
            }
            let next = if after.is_empty() { next } else { Next::Step };
            let (mask, len) = ((1 << piece.len()) - 1, piece.len() as u32);
            self.steps.push(Step { bytes: u8x16::new(bytes), mask, len, next });
            rest = after;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Matches the row whose line begins at `start`, writing its wanted values: where its value begins and one past where
    /// it ends. `None` if the row has another form or is not JSON; what was written by then is to be cleared.
    ///
    /// This is the innermost loop of the program: what is rare stands in functions of its own, so that the loop keeps its
    /// few values in registers.
    #[inline(always)]
    pub fn read(&self, text: &str, start: usize, names: &Names, columns: &mut Columns) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let mut rest = bytes.get(start..)?;
        for step in &self.steps {
            let window = u8x16::new(*rest.first_chunk::<16>()?);
            if !window.simd_eq(step.bytes).to_bitmask() & step.mask != 0 {
                return None;
            }
            rest = rest.get(step.len as usize..)?;
            match step.next {
                Next::Scalar(NONE) => rest = rest.get(scalar_len(rest)..)?,
                Next::Scalar(column) => rest = rest.get(wanted(text, rest, column, columns)..)?,
                Next::Step => {}
                Next::Other(other) => {
                    let slot = self.others.get(usize::from(other))?;
                    rest = rest.get(slot.read(text, bytes.len() - rest.len(), names, columns)..)?;
                }
            }
        }
        Some((start + self.lead, bytes.len() - rest.len()))
    }
}

/// The length of a value that is none; no slice goes on after so much.
const WRONG: usize = usize::MAX;

impl Slot {
    /// Reads the value at `from`: how long it is, or [`WRONG`].
    #[inline(never)]
    fn read(&self, text: &str, from: usize, names: &Names, columns: &mut Columns) -> usize {
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        let len = match self.container {
            Some((node, depth)) => {
                let end = Walker { text, names, columns, recorder: None }.value(from, depth, node, None);
                end.map_or(WRONG, |end| end - from)
            }
            None if self.column == NONE => scalar_len(rest),
            None => wanted(text, rest, self.column, columns),
        };
        if self.place != NONE && len != WRONG {
            let place = Place {
                start: (from as u32).wrapping_sub(self.key.0),
                key_end: (from as u32).wrapping_sub(self.key.1),
                value_start: from as u32,
                value_end: (from + len) as u32,
            };
            columns.set_place(self.place, place);
        }
        len
    }
}

/// How long the scalar is that `rest` begins with, or [`WRONG`].
#[inline(always)]
fn scalar_len(rest: &[u8]) -> usize {
    let Some(window) = rest.first_chunk::<16>() else { return WRONG };
    let word = scan::front(window);
    if word as u8 == b'"' {
        return match plain_len(rest, window) {
            0 => escaped_len(rest),
            len => len,
        };
    }
    match short_in(word) {
        Some(short) => short.len,
        None => other_len(rest),
    }
}

/// How long the string is that `rest` begins with, if it has no escapes; 0 if it has, or is wrong.
#[inline(always)]
fn plain_len(rest: &[u8], window: &[u8; 16]) -> usize {
    // The first bit is the opening quote.
    let mut found = scan::string_stops(u8x16::new(*window)) & !1;
    let (mut at, mut window) = (0, window);
    while found == 0 {
        at += 16;
        let Some(next) = rest.get(at..).and_then(|r| r.first_chunk::<16>()) else { return 0 };
        window = next;
        found = scan::string_stops(u8x16::new(*window));
    }
    let stop = found.trailing_zeros() as usize;
    if window[stop & 15] == b'"' { at + stop + 1 } else { 0 }
}

/// The same for any string.
#[inline(never)]
fn escaped_len(rest: &[u8]) -> usize {
    scan::string(rest, 0).map_or(WRONG, |(end, _)| end)
}

/// How long a scalar is that is neither a string nor a short number.
#[inline(never)]
fn other_len(rest: &[u8]) -> usize {
    scan::scalar(rest, 0).unwrap_or(WRONG)
}

/// Writes the scalar that `rest`, the end of `text`, begins with into its column: how long it is, or [`WRONG`].
#[inline(never)]
fn wanted(text: &str, rest: &[u8], column: u16, columns: &mut Columns) -> usize {
    let Some(window) = rest.first_chunk::<16>() else { return WRONG };
    let word = scan::front(window);
    let at = text.len() - rest.len();
    if word as u8 == b'"' {
        let len = plain_len(rest, window);
        if len > 0 {
            columns.set_text(column, at + 1, at + len - 1);
            return len;
        }
    } else if let Some(short) = short_in(word) {
        columns.set(column, number::cell(short));
        return short.len;
    }
    other_wanted(text, at, column, columns).unwrap_or(WRONG)
}

/// A string with escapes, a number that is not short, or a word.
#[inline(never)]
fn other_wanted(text: &str, at: usize, column: u16, columns: &mut Columns) -> Option<usize> {
    let bytes = text.as_bytes();
    let (end, cell) = match scan::byte(bytes, at) {
        b'"' => {
            let (end, escaped) = scan::string(bytes, at).ok()?;
            columns.set_big(column, Value::Text(value::inner(text, at, end, escaped)));
            return Some(end - at);
        }
        b't' => (scan::literal(bytes, at, b"true").ok()?, Cell::Bool(true)),
        b'f' => (scan::literal(bytes, at, b"false").ok()?, Cell::Bool(false)),
        b'n' => (scan::literal(bytes, at, b"null").ok()?, Cell::Null),
        _ => {
            let (number, end) = number::read(bytes, at).ok()?;
            columns.set_number(column, number, text, at..end);
            return Some(end - at);
        }
    };
    columns.set(column, cell);
    Some(end - at)
}
