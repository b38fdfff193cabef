//! Whole values: text to tree and tree to text.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::JsonError;
use super::number::{self, Number, write_float, write_int};
use super::scan::{self, Fault, Members, Scan, byte, enter, skip_space};
use super::text::{unescape, write_text};
use crate::data::value::{Map, Val, Value};

/// Reads one JSON value with nothing but white space around it. Of members that stand twice the last counts.
pub fn parse_value(text: &str) -> Result<Value, JsonError> {
    let start = skip_space(text.as_bytes(), 0);
    let whole = read(text, start, 0).and_then(|(value, end)| {
        let rest = skip_space(text.as_bytes(), end);
        if rest == text.len() { Ok(value) } else { Err(Fault::new(rest, scan::TRAILING)) }
    });
    whole.map_err(|fault| fault.into_error(0))
}

/// The value of text that was scanned before.
pub(super) fn scanned(text: &str, depth: usize) -> Value {
    read(text, 0, depth).map_or(Value::Null, |(value, _)| value)
}

/// The value of a scalar that was scanned before.
pub(super) fn scalar(spelled: &str) -> Value {
    read_scalar(spelled, 0).map_or(Value::Null, |(value, _)| value)
}

/// The value at `at`, inside `depth` containers, and one past its end.
fn read(text: &str, at: usize, depth: usize) -> Scan<(Value, usize)> {
    match byte(text.as_bytes(), at) {
        b'{' => read_object(text, at, depth),
        b'[' => read_list(text, at, depth),
        _ => read_scalar(text, at),
    }
}

fn read_scalar(text: &str, at: usize) -> Scan<(Value, usize)> {
    let bytes = text.as_bytes();
    match byte(bytes, at) {
        b'"' => {
            let (end, escaped) = scan::string(bytes, at)?;
            Ok((Value::Text(inner(text, at, end, escaped)), end))
        }
        b'-' | b'0'..=b'9' => {
            let (number, end) = number::read(bytes, at)?;
            let value = match number {
                Number::Int(int) => Value::Int(int),
                Number::Float(float) => Value::Float(float),
                Number::Beyond => Value::Number(text.get(at..end).unwrap_or_default().into()),
            };
            Ok((value, end))
        }
        b't' => scan::literal(bytes, at, b"true").map(|end| (Value::Bool(true), end)),
        b'f' => scan::literal(bytes, at, b"false").map(|end| (Value::Bool(false), end)),
        _ => scan::scalar(bytes, at).map(|end| (Value::Null, end)),
    }
}

/// What a string from its opening quote at `at` to one past its closing quote says.
pub(super) fn inner(text: &str, at: usize, end: usize, escaped: bool) -> CompactString {
    let inner = text.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
    if !escaped {
        return inner.into();
    }
    let mut plain = String::with_capacity(inner.len());
    unescape(inner, &mut plain);
    plain.into()
}

fn read_list(text: &str, at: usize, depth: usize) -> Scan<(Value, usize)> {
    let bytes = text.as_bytes();
    let depth = enter(at, depth)?;
    let mut items = Vec::new();
    let mut at = skip_space(bytes, at + 1);
    if byte(bytes, at) == b']' {
        return Ok((Value::List(Arc::new(items)), at + 1));
    }
    loop {
        let (item, end) = read(text, at, depth)?;
        items.push(item);
        at = scan::after_item(bytes, end)?;
        if byte(bytes, at.saturating_sub(1)) == b']' {
            return Ok((Value::List(Arc::new(items)), at));
        }
        at = skip_space(bytes, at);
    }
}

fn read_object(text: &str, at: usize, depth: usize) -> Scan<(Value, usize)> {
    let bytes = text.as_bytes();
    let depth = enter(at, depth)?;
    let mut map = Vec::new();
    let mut members = Members::new(bytes, at);
    while let Some(member) = members.next()? {
        let (value, end) = read(text, member.value, depth)?;
        map.push((inner(text, member.key, member.key_end, member.escaped), value));
        members.value_ends(end);
    }
    Ok((Value::Map(Arc::new(Map(last_counts(map)))), members.end()))
}

/// Below this many members, comparing each with each is cheaper than hashing.
const FEW: usize = 16;

/// Of members with one name the last value stays, where the first stood.
fn last_counts(members: Vec<(CompactString, Value)>) -> Vec<(CompactString, Value)> {
    if members.len() <= FEW {
        let mut map = Map(Vec::with_capacity(members.len()));
        for (name, value) in members {
            match map.0.iter_mut().find(|(n, _)| *n == name) {
                Some((_, old)) => *old = value,
                None => map.0.push((name, value)),
            }
        }
        return map.0;
    }
    let mut places: HashMap<CompactString, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut kept: Vec<(CompactString, Value)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let place = *places.entry(name.clone()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some((_, old)) => *old = value,
            None => kept.push((name, value)),
        }
    }
    kept
}

/// Writes a value as JSON without white space.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(int) => write_int(*int, out),
        Value::Float(float) => write_float(*float, out),
        Value::Number(spelled) => out.extend_from_slice(spelled.as_bytes()),
        Value::Text(text) => write_text(text, out),
        Value::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (i, (name, value)) in map.0.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(name, out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Writes a borrowed value as JSON; unit becomes null.
#[inline]
pub fn write_val(value: Val<'_>, out: &mut Vec<u8>) {
    match value {
        Val::Unit => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Int(int) => write_int(int, out),
        Val::Float(float) => write_float(float, out),
        Val::Text(text) => write_text(text, out),
        Val::Big(value) => write_value(value, out),
    }
}
