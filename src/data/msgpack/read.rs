//! A value as the JSON text that it stands for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Item, NoItem, item};
use crate::base::limit::JSON_DEPTH;
use crate::data::json::{write_float, write_int, write_text};

/// Why bytes cannot be read: the byte where it went wrong, counted from 0, and one clause.
pub type Wrong = (usize, String);

/// The type of a time, the only extension that MessagePack itself defines.
const TIME: i8 = -1;

/// Writes a record that is one value as JSON; after an error something may have been written.
pub fn read(record: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let end = value(record, 0, 0, out)?;
    if end < record.len() {
        return Err((end, "one value has ended, and a message holds only one".to_owned()));
    }
    Ok(())
}

fn next(bytes: &[u8], at: usize) -> Result<(Item, usize), Wrong> {
    item(bytes, at).map_err(|no| match no {
        NoItem::Short => short(bytes),
        NoItem::Reserved => (at, RESERVED.to_owned()),
    })
}

/// What is wrong with a stream that holds a byte which begins no value.
pub const RESERVED: &str = "no MessagePack value begins with the byte 0xc1";

fn short(bytes: &[u8]) -> Wrong {
    (bytes.len(), "this is not MessagePack, or not all of it: the value ends too early".to_owned())
}

/// Writes the value at `at`, inside `depth` others: one past its end.
fn value(bytes: &[u8], at: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, Wrong> {
    let (item, body) = next(bytes, at)?;
    match item {
        Item::Nil => out.extend_from_slice(b"null"),
        Item::Bool(is) => out.extend_from_slice(if is { b"true" } else { b"false" }),
        Item::Int(int) => write_int(int, out),
        Item::Unsigned(int) => write_unsigned(int, out),
        Item::Single(float) if float.is_finite() => {
            // As many digits as stand for it: 20.1 stays 20.1, though no double is this single.
            out.extend_from_slice(zmij::Buffer::new().format_finite(float).as_bytes());
        }
        Item::Double(float) if float.is_finite() => write_float(float, out),
        Item::Single(_) | Item::Double(_) => {
            return Err((at, "this number is not finite, and an event holds no such number".to_owned()));
        }
        Item::Text(size) => {
            write_text(text(bytes, body, size)?, out);
            return Ok(body + size);
        }
        Item::Binary(size) => {
            let data = slice(bytes, body, size)?;
            write_text(&STANDARD.encode(data), out);
            return Ok(body + size);
        }
        Item::Extension(kind, size) => {
            let data = slice(bytes, body, size)?;
            let time = if kind == TIME { time(data) } else { None };
            let Some(time) = time else {
                let what = if kind == TIME { "this is not a time" } else { "only times are read of extension types" };
                return Err((at, format!("{what}: type {kind}, {size} bytes")));
            };
            write_text(&time.to_string(), out);
            return Ok(body + size);
        }
        Item::List(items) => return list(bytes, body, items, enter(at, depth)?, out),
        Item::Map(pairs) => return map(bytes, body, pairs, enter(at, depth)?, out),
    }
    Ok(body)
}

/// As deep as JSON may nest.
fn enter(at: usize, depth: usize) -> Result<usize, Wrong> {
    match depth + 1 >= JSON_DEPTH {
        true => Err((at, format!("this nests deeper than {JSON_DEPTH}"))),
        false => Ok(depth + 1),
    }
}

fn list(bytes: &[u8], mut at: usize, items: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, Wrong> {
    out.push(b'[');
    for i in 0..items {
        if i > 0 {
            out.push(b',');
        }
        at = value(bytes, at, depth, out)?;
    }
    out.push(b']');
    Ok(at)
}

fn map(bytes: &[u8], mut at: usize, pairs: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, Wrong> {
    out.push(b'{');
    for i in 0..pairs {
        if i > 0 {
            out.push(b',');
        }
        let (name, body) = next(bytes, at)?;
        at = match name {
            Item::Text(size) => {
                write_text(text(bytes, body, size)?, out);
                body + size
            }
            // Devices that save bytes number their fields.
            Item::Int(_) | Item::Unsigned(_) => {
                out.push(b'"');
                let end = value(bytes, at, depth, out)?;
                out.push(b'"');
                end
            }
            _ => return Err((at, "a name is neither text nor a whole number".to_owned())),
        };
        out.push(b':');
        at = value(bytes, at, depth, out)?;
    }
    out.push(b'}');
    Ok(at)
}

fn slice(bytes: &[u8], at: usize, size: usize) -> Result<&[u8], Wrong> {
    at.checked_add(size).and_then(|end| bytes.get(at..end)).ok_or_else(|| short(bytes))
}

fn text(bytes: &[u8], at: usize, size: usize) -> Result<&str, Wrong> {
    let invalid = |error: std::str::Utf8Error| (at + error.valid_up_to(), "this is not valid UTF-8".to_owned());
    std::str::from_utf8(slice(bytes, at, size)?).map_err(invalid)
}

fn write_unsigned(int: u64, out: &mut Vec<u8>) {
    match i64::try_from(int) {
        Ok(int) => write_int(int, out),
        Err(_) => out.extend_from_slice(int.to_string().as_bytes()),
    }
}

/// The time that the bytes of a timestamp stand for: 32 bits of seconds; 30 bits of nanoseconds and 34 of seconds; 32 of
/// nanoseconds and 64 of seconds.
fn time(data: &[u8]) -> Option<jiff::Timestamp> {
    let (seconds, nanoseconds) = match data.len() {
        4 => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(data.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = data.split_first_chunk()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    // Before the epoch the nanoseconds count forwards from the second all the same.
    let nanoseconds = i64::from(nanoseconds);
    let time = jiff::Timestamp::from_second(seconds).ok().filter(|_| nanoseconds < 1_000_000_000)?;
    time.checked_add(jiff::SignedDuration::from_nanos(nanoseconds)).ok()
}
