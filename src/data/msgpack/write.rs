//! Rows as MessagePack values, one after the other.

use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::json;
use crate::data::layout::Layout;
use crate::data::value::Value;

/// Adds every row of a batch whose fields are those of `layout` to `out`, as one value in the fewest bytes that hold it,
/// and one past each to `ends`.
pub fn encode(layout: &Layout, batch: &Batch, out: &mut Vec<u8>, ends: &mut Vec<u32>) {
    for row in 0..batch.rows {
        write(&json::event_of(layout, batch, row), out);
        ends.push(as_u32(out.len()));
    }
}

/// Writes a value.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(is) => out.push(if *is { 0xc3 } else { 0xc2 }),
        Value::Int(int) => write_int(*int, out),
        Value::Float(float) => write_float(*float, out),
        Value::Number(spelled) => write_number(spelled, out),
        Value::Text(text) => {
            write_size(text.len(), Size { short: 0xa0, shorts: 32, byte: Some(0xd9), two: 0xda, four: 0xdb }, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::List(items) => {
            write_size(items.len(), Size { short: 0x90, shorts: 16, byte: None, two: 0xdc, four: 0xdd }, out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(map) => {
            write_size(map.0.len(), Size { short: 0x80, shorts: 16, byte: None, two: 0xde, four: 0xdf }, out);
            for (name, value) in &map.0 {
                write(&Value::Text(name.clone()), out);
                write(value, out);
            }
        }
    }
}

/// What begins a value that holds so many bytes or items.
struct Size {
    /// Together with a size below `shorts`.
    short: u8,
    shorts: u8,
    /// Before a size of one, two and four bytes.
    byte: Option<u8>,
    two: u8,
    four: u8,
}

fn write_size(size: usize, how: Size, out: &mut Vec<u8>) {
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(size), _) if size < how.shorts => out.push(how.short | size),
        (Ok(size), _) if how.byte.is_some() => out.extend(how.byte.into_iter().chain([size])),
        (_, Ok(size)) => tagged(how.two, &size.to_be_bytes(), out),
        // Nothing that is held in memory as one row is larger.
        _ => tagged(how.four, &as_u32(size).to_be_bytes(), out),
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn write_int(int: i64, out: &mut Vec<u8>) {
    if let Ok(int) = u64::try_from(int) {
        return write_unsigned(int, out);
    }
    match (i8::try_from(int), i16::try_from(int), i32::try_from(int)) {
        (Ok(int), ..) if int >= -32 => out.extend_from_slice(&int.to_be_bytes()),
        (Ok(int), ..) => tagged(0xd0, &int.to_be_bytes(), out),
        (_, Ok(int), _) => tagged(0xd1, &int.to_be_bytes(), out),
        (_, _, Ok(int)) => tagged(0xd2, &int.to_be_bytes(), out),
        _ => tagged(0xd3, &int.to_be_bytes(), out),
    }
}

fn write_unsigned(int: u64, out: &mut Vec<u8>) {
    match (u8::try_from(int), u16::try_from(int), u32::try_from(int)) {
        (Ok(int), ..) if int < 0x80 => out.push(int),
        (Ok(int), ..) => tagged(0xcc, &[int], out),
        (_, Ok(int), _) => tagged(0xcd, &int.to_be_bytes(), out),
        (_, _, Ok(int)) => tagged(0xce, &int.to_be_bytes(), out),
        _ => tagged(0xcf, &int.to_be_bytes(), out),
    }
}

fn write_float(float: f64, out: &mut Vec<u8>) {
    tagged(0xcb, &float.to_be_bytes(), out);
}

/// A number that no `i64` and no double holds as it is spelled: 64 bits without a sign, the nearest double, or its text.
fn write_number(spelled: &str, out: &mut Vec<u8>) {
    match (spelled.parse::<u64>(), spelled.parse::<f64>()) {
        (Ok(int), _) => write_unsigned(int, out),
        (_, Ok(float)) if float.is_finite() => write_float(float, out),
        _ => write(&Value::Text(spelled.into()), out),
    }
}
