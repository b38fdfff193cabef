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
use super::scan::{Member, byte, literal, number as scan_number, string, string_stop, window};
use super::value;
use super::walk::Walker;
use crate::data::column::{Cell, Place};

/// Values in a shape; a row with more is walked by the general scanner.
const SLOTS: usize = 512;
/// Bytes between values in a shape.
const LITERAL_BYTES: usize = 16 << 10;

/// The form of a row.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// All literals, each cut into pieces of sixteen bytes.
    pieces: Vec<Piece>,
    slots: Vec<Slot>,
    tail: Literal,
    /// White space before the row's value.
    lead: usize,
    /// Whether lists or objects are among its values; only those may hold line ends.
    pub opaque: bool,
}

/// The text before a value.
#[derive(Clone, Copy, Debug, Default)]
struct Literal {
    len: usize,
    /// Pieces after the first.
    more: usize,
}

/// Up to sixteen bytes of a literal.
#[derive(Clone, Copy, Debug)]
struct Piece {
    bytes: u8x16,
    /// A bit for each byte that counts.
    mask: u32,
}

/// A literal and the value that follows it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    literal: Literal,
    /// Column of its value, or [`NONE`].
    column: u16,
    kind: Kind,
    /// Column of its place, or [`NONE`].
    place: u16,
    /// From the value back to its key's opening quote and to one past the closing one.
    key: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Scalar,
    /// A list, or an object that is wanted as a whole: the wanted name and how many containers it lies in.
    Opaque {
        node: u16,
        depth: usize,
    },
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
        let kind = container.map_or(Kind::Scalar, |(node, depth)| Kind::Opaque { node, depth });
        let back = |at: usize| u32::try_from(start - at).unwrap_or(u32::MAX);
        let (place, key) = key.map_or((NONE, (0, 0)), |(place, m)| (place, (back(m.key), back(m.key_end))));
        self.slots.push((start, end, Slot { literal: Literal::default(), column, kind, place, key }));
    }

    /// The shape of the row that began (its line, not its value) at `start` and whose value lies in `value`.
    pub fn shape(&self, text: &str, start: usize, value: (usize, usize)) -> Option<Shape> {
        if self.given_up {
            return None;
        }
        let mut shape = Shape { lead: value.0 - start, ..Shape::default() };
        let mut at = start;
        for (from, to, slot) in &self.slots {
            let literal = shape.literal(text.as_bytes().get(at..*from)?);
            shape.opaque |= matches!(slot.kind, Kind::Opaque { .. });
            shape.slots.push(Slot { literal, ..*slot });
            at = *to;
        }
        shape.tail = shape.literal(text.as_bytes().get(at..value.1)?);
        (shape.pieces.len() * 16 <= LITERAL_BYTES).then_some(shape)
    }
}

/// The pieces of the literals, as they are used up.
type Pieces<'a> = std::slice::Iter<'a, Piece>;

impl Literal {
    #[inline(always)]
    fn matches(self, bytes: &[u8], mut at: usize, pieces: &mut Pieces<'_>) -> Option<usize> {
        let end = at + self.len;
        pieces.next()?.matches(bytes, at)?;
        for _ in 0..self.more {
            at += 16;
            pieces.next()?.matches(bytes, at)?;
        }
        Some(end)
    }
}

impl Piece {
    #[inline(always)]
    fn matches(&self, bytes: &[u8], at: usize) -> Option<()> {
        let same = window(bytes, at)?.simd_eq(self.bytes).to_bitmask();
        (!same & self.mask == 0).then_some(())
    }
}

impl Shape {
    fn literal(&mut self, text: &[u8]) -> Literal {
        let before = self.pieces.len();
        let mut rest = text;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(16));
            let mut padded = [0u8; 16];
            for (to, from) in padded.iter_mut().zip(piece) {
                *to = *from;
            }
            self.pieces.push(Piece { bytes: u8x16::new(padded), mask: (1 << piece.len()) - 1 });
            rest = after;
            if rest.is_empty() {
                return Literal { len: text.len(), more: self.pieces.len() - before - 1 };
            }
        }
    }

    /// Matches the row whose line begins at `start`, writing its wanted values: where its value begins and one past where
    /// it ends. `None` if the row has another form or is not JSON; what was written by then is to be cleared.
    #[inline]
    pub fn read(&self, text: &str, start: usize, names: &Names, columns: &mut Columns) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let mut pieces = self.pieces.iter();
        let mut at = start;
        for slot in &self.slots {
            let from = slot.literal.matches(bytes, at, &mut pieces)?;
            at = match slot.kind {
                Kind::Scalar => scalar(text, from, slot.column, columns)?,
                Kind::Opaque { node, depth } => {
                    Walker { text, names, columns, recorder: None }.value(from, depth, node, None).ok()?
                }
            };
            if slot.place != NONE {
                let place = Place {
                    start: (from as u32).wrapping_sub(slot.key.0),
                    key_end: (from as u32).wrapping_sub(slot.key.1),
                    value_start: from as u32,
                    value_end: at as u32,
                };
                columns.set_place(slot.place, place);
            }
        }
        let end = self.tail.matches(bytes, at, &mut pieces)?;
        Some((start + self.lead, end))
    }
}

/// A scalar of any kind: one past its end.
#[inline(always)]
fn scalar(text: &str, at: usize, column: u16, columns: &mut Columns) -> Option<usize> {
    let bytes = text.as_bytes();
    match byte(bytes, at) {
        b'"' => {
            let stop = string_stop(bytes, at + 1);
            if byte(bytes, stop) != b'"' {
                return escaped(text, at, column, columns);
            }
            if column != NONE {
                columns.set_text(column, at + 1, stop);
            }
            Some(stop + 1)
        }
        b'-' | b'0'..=b'9' => {
            if column == NONE {
                return scan_number(bytes, at).ok();
            }
            let (number, end) = number::read(bytes, at).ok()?;
            columns.set_number(column, number, text, at..end);
            Some(end)
        }
        b't' => word_cell(bytes, at, b"true", Cell::Bool(true), column, columns),
        b'f' => word_cell(bytes, at, b"false", Cell::Bool(false), column, columns),
        b'n' => word_cell(bytes, at, b"null", Cell::Null, column, columns),
        _ => None,
    }
}

#[inline]
fn word_cell(
    bytes: &[u8],
    at: usize,
    spelled: &'static [u8],
    cell: Cell,
    column: u16,
    columns: &mut Columns,
) -> Option<usize> {
    let end = literal(bytes, at, spelled).ok()?;
    if column != NONE {
        columns.set(column, cell);
    }
    Some(end)
}

/// A string with escapes.
#[cold]
fn escaped(text: &str, at: usize, column: u16, columns: &mut Columns) -> Option<usize> {
    let (end, escaped) = string(text.as_bytes(), at).ok()?;
    if column != NONE {
        let plain = value::inner(text, at, end, escaped);
        columns.set_big(column, crate::data::value::Value::Text(plain));
    }
    Some(end)
}
