//! Rows as logfmt, a row a line, so that they read back as they were: what nests gets dotted names.

use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::json;
use crate::data::layout::Layout;
use crate::data::value::Value;

/// Adds every row of a batch whose fields are those of `layout` to `out`, each with its line end, and one past each to
/// `ends`. The members of a map follow with the map's name and a dot before theirs; lists and empty maps are written as
/// JSON, null as nothing. A text that would read back as something else is quoted.
pub fn encode_logfmt(layout: &Layout, batch: &Batch, out: &mut Vec<u8>, ends: &mut Vec<u32>) {
    let mut name = Vec::new();
    for row in 0..batch.rows {
        let start = out.len();
        match json::event_of(layout, batch, row) {
            Value::Map(map) => {
                for (member, value) in &map.0 {
                    pair(member, value, &mut name, start, out);
                }
            }
            // What has no name gets one.
            other => pair("value", &other, &mut name, start, out),
        }
        out.push(b'\n');
        ends.push(as_u32(out.len()));
    }
}

/// Adds a member; `name` holds what its name begins with.
fn pair(member: &str, value: &Value, name: &mut Vec<u8>, start: usize, out: &mut Vec<u8>) {
    let before = name.len();
    if before > 0 {
        name.push(b'.');
    }
    if member.is_empty() {
        name.push(b'_');
    }
    name.extend(member.bytes().map(|b| if parts(b) { b'_' } else { b }));
    match value {
        Value::Map(map) if !map.0.is_empty() => {
            for (member, value) in &map.0 {
                pair(member, value, name, start, out);
            }
        }
        scalar => {
            if out.len() > start {
                out.push(b' ');
            }
            out.extend_from_slice(name);
            out.push(b'=');
            write(scalar, out);
        }
    }
    name.truncate(before);
}

/// Whether a byte would end a name.
fn parts(b: u8) -> bool {
    b <= b' ' || matches!(b, b'=' | b'"' | 0x7f)
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Text(text) => write_text(text, out),
        Value::List(_) | Value::Map(_) => {
            let mut spelled = Vec::new();
            json::write_value(value, &mut spelled);
            write_text(&String::from_utf8(spelled).unwrap_or_default(), out);
        }
        scalar => json::write_value(scalar, out),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let special = text.bytes().any(|b| parts(b) || b == b'\\');
    if special || matches!(text, "" | "true" | "false") || json::is_number(text) {
        json::write_text(text, out);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}
