//! Scalars on the fast path: how long one is, and its cell. A length instead of a result keeps the innermost loop short.

use wide::u8x16;

use super::columns::Columns;
use super::scan::{self, short_in};
use super::{number, value};
use crate::data::column::Cell;
use crate::data::value::Value;

/// The length of a value that is none; no slice goes on after so much.
pub(super) const WRONG: usize = usize::MAX;

/// How long the scalar is that `rest` begins with, or [`WRONG`].
#[inline(always)]
pub(super) fn scalar_len(rest: &[u8]) -> usize {
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
pub(super) fn wanted(text: &str, rest: &[u8], column: u16, columns: &mut Columns) -> usize {
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
