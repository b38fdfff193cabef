//! Quoted texts with escapes, as log lines have them.

use std::borrow::Cow;

/// A quoted text that was read: what it says, and one past its closing quote.
pub(super) struct Quoted<'a> {
    pub text: Cow<'a, str>,
    pub end: usize,
}

/// The text quoted at `at`, where its opening quote stands. `None` if the quote is never closed.
pub(super) fn read(text: &str, at: usize, quote: u8) -> Option<Quoted<'_>> {
    let bytes = text.as_bytes();
    let start = at + 1;
    let mut end = start;
    let mut escaped = false;
    loop {
        let found = memchr::memchr2(quote, b'\\', bytes.get(end..)?)?;
        end += found;
        if bytes.get(end) == Some(&quote) {
            break;
        }
        escaped = true;
        end += 2;
    }
    let inner = text.get(start..end)?;
    let text = if escaped { unescaped(inner, quote) } else { Cow::Borrowed(inner) };
    Some(Quoted { text, end: end + 1 })
}

/// The text without its escapes: those of JSON, `\xhh` for a byte, and the quote's own. Any other backslash stays, and so
/// does all of it where bytes that are spelled out are no text.
pub(super) fn unescaped(inner: &str, quote: u8) -> Cow<'_, str> {
    let bytes = inner.as_bytes();
    let mut plain: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        plain.extend_from_slice(bytes.get(at..at + found).unwrap_or_default());
        at += found;
        let rest = bytes.get(at + 1..).unwrap_or_default();
        let (byte, len) = match rest.first() {
            Some(b'n') => (b'\n', 2),
            Some(b't') => (b'\t', 2),
            Some(b'r') => (b'\r', 2),
            Some(b'b') => (8, 2),
            Some(b'f') => (12, 2),
            Some(b'v') => (11, 2),
            Some(own @ (b'"' | b'\\' | b'/')) => (*own, 2),
            Some(own) if *own == quote => (*own, 2),
            Some(b'x') => match hex(rest, 1, 2) {
                Some(byte) => (byte as u8, 4),
                None => (b'\\', 1),
            },
            Some(b'u') => {
                let (c, len) = unicode(rest);
                match c {
                    Some(c) => plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => plain.push(b'\\'),
                }
                at += len;
                continue;
            }
            _ => (b'\\', 1),
        };
        plain.push(byte);
        at += len;
    }
    plain.extend_from_slice(bytes.get(at..).unwrap_or_default());
    match String::from_utf8(plain) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(inner),
    }
}

/// The character of `u0041` or of a pair `ud83d\ude00`, and how long the escape is with its backslash. `None`, and just the
/// backslash, for what is none.
fn unicode(rest: &[u8]) -> (Option<char>, usize) {
    let Some(high) = hex(rest, 1, 4) else { return (None, 1) };
    if !(0xd800..0xdc00).contains(&high) {
        return (Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)), 6);
    }
    let low = if rest.get(5..7) == Some(b"\\u") { hex(rest, 7, 4) } else { None };
    match low.filter(|low| (0xdc00..0xe000).contains(low)) {
        Some(low) => (char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12),
        None => (Some(char::REPLACEMENT_CHARACTER), 6),
    }
}

/// The number that `digits` hexadecimal digits from `at` on spell.
fn hex(bytes: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = bytes.get(at..at + digits)?;
    digits.iter().try_fold(0, |sum, b| Some(sum * 16 + char::from(*b).to_digit(16)?))
}
