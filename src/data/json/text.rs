//! Strings of JSON: taking escapes out and putting them in.

use super::scan::{byte, hex4, string_stop};

/// The text between a string's quotes, `inner`, without its escapes. `inner` was scanned before.
pub(super) fn unescape(inner: &str, out: &mut String) {
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // Inside the quotes only a backslash stops the scan.
        let stop = string_stop(bytes, at);
        out.push_str(inner.get(at..stop).unwrap_or_default());
        if stop >= bytes.len() {
            return;
        }
        let (c, len) = match byte(bytes, stop + 1) {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => unicode(bytes, stop),
            other => (char::from(other), 2),
        };
        out.push(c);
        at = stop + len;
    }
}

/// The character of a `\u` escape, with its second half if it has one, and how long that is.
fn unicode(bytes: &[u8], at: usize) -> (char, usize) {
    let high = hex4(bytes, at + 2).unwrap_or(0xfffd);
    if !(0xd800..0xdc00).contains(&high) {
        return (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
    }
    let low = hex4(bytes, at + 8).unwrap_or(0xdc00);
    let code = 0x1_0000 + ((high - 0xd800) << 10) + low.saturating_sub(0xdc00);
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
}

/// Writes a string with its quotes; escapes are those that JSON asks for, the short ones where there are.
#[inline]
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let stop = string_stop(bytes, 0);
    if stop == bytes.len() {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(bytes, stop, out);
    }
    out.push(b'"');
}

#[cold]
fn write_escaped(bytes: &[u8], first: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (mut from, mut stop) = (0, first);
    while let Some(b) = bytes.get(stop) {
        out.extend_from_slice(bytes.get(from..stop).unwrap_or_default());
        let short = match b {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => 0,
        };
        if short != 0 {
            out.extend_from_slice(&[b'\\', short]);
        } else {
            let digit = |d: u8| HEX.get(usize::from(d)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(b >> 4), digit(b & 15)]);
        }
        from = stop + 1;
        stop = string_stop(bytes, from);
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}
