//! Scanning JSON text without building anything: strings, numbers, words, whole values. Every function takes the bytes
//! of valid UTF-8 and an offset, and says where the value ends or what is wrong where.

use wide::u8x16;

use super::JsonError;
use crate::base::limit::JSON_DEPTH;

const ONES: u64 = 0x0101_0101_0101_0101;
const ZEROS: u64 = ONES * b'0' as u64;

/// Where and why text is not JSON: an offset into the scanned bytes and a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Offset into the scanned bytes.
    pub at: usize,
    /// One clause.
    pub reason: &'static str,
}

impl Fault {
    /// A fault with its offset.
    pub fn new(at: usize, reason: &'static str) -> Self {
        Fault { at, reason }
    }

    /// As the error of a record that starts at `start`.
    pub fn into_error(self, start: usize) -> JsonError {
        JsonError { reason: self.reason.to_owned(), byte: self.at.saturating_sub(start) + 1 }
    }
}

pub(super) type Scan<T> = Result<T, Fault>;

pub(super) const ENDS_IN_VALUE: &str = "the text ends where a value should stand";
const ENDS_IN_STRING: &str = "the text ends inside a string";
const ENDS_IN_LIST: &str = "the text ends inside a list";
pub(super) const ENDS_IN_OBJECT: &str = "the text ends inside an object";
const NO_VALUE: &str = "a value should stand here";
const CONTROL: &str = "a control character in a string must be escaped";
const BAD_ESCAPE: &str = "this escape does not exist";
const BAD_UNICODE: &str = "`\\u` needs four hexadecimal digits";
const LONE_SURROGATE: &str = "half of a surrogate pair stands alone";
pub(super) const TOO_DEEP: &str = "values are nested more than 127 deep";
const BAD_NUMBER: &str = "this is not a JSON number";
pub(super) const TRAILING: &str = "there is more text after the value";
pub(super) const NEED_KEY: &str = "a member's name in quotes should stand here";
pub(super) const NEED_COLON: &str = "`:` should stand here";
pub(super) const NEED_COMMA_OBJECT: &str = "`,` or `}` should stand here";
const NEED_COMMA_LIST: &str = "`,` or `]` should stand here";

/// The byte at an offset; zero beyond the end, which no JSON token begins with.
#[inline(always)]
pub(super) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Eight bytes as a little-endian number.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|c| u64::from_le_bytes(*c))
}

/// The first offset at or after `at` that is not white space.
#[inline(always)]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    if byte(bytes, at) > b' ' {
        return at;
    }
    while matches!(byte(bytes, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

/// Sixteen bytes, to be looked at together.
#[inline(always)]
pub(super) fn window(bytes: &[u8], at: usize) -> Option<u8x16> {
    bytes.get(at..)?.first_chunk::<16>().map(|c| u8x16::new(*c))
}

/// A bit for each quote, backslash and control character.
#[inline(always)]
pub(super) fn string_stops(window: u8x16) -> u32 {
    const QUOTES: u8x16 = u8x16::new([b'"'; 16]);
    const SLASHES: u8x16 = u8x16::new([b'\\'; 16]);
    const CONTROLS: u8x16 = u8x16::new([0x1f; 16]);
    let control = window.min(CONTROLS).simd_eq(window);
    (window.simd_eq(QUOTES) | window.simd_eq(SLASHES) | control).to_bitmask()
}

/// The first quote, backslash or control character at or after `at`, or the end. Sixteen bytes at a time.
#[inline(always)]
pub(super) fn string_stop(bytes: &[u8], mut at: usize) -> usize {
    while let Some(w) = window(bytes, at) {
        let found = string_stops(w);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    last_string_stop(bytes, at)
}

/// The same for the last bytes of all.
#[cold]
fn last_string_stop(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// A scanned string: one past its closing quote, and whether it holds escapes. `at` is its opening quote.
#[inline]
pub(super) fn string(bytes: &[u8], at: usize) -> Scan<(usize, bool)> {
    let stop = string_stop(bytes, at + 1);
    if byte(bytes, stop) == b'"' {
        return Ok((stop + 1, false));
    }
    escaped_string(bytes, stop).map(|end| (end, true))
}

/// The rest of a string from its first byte that is not plain.
#[cold]
fn escaped_string(bytes: &[u8], mut at: usize) -> Scan<usize> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at)?,
            Some(_) => return Err(Fault::new(at, CONTROL)),
            None => return Err(Fault::new(at, ENDS_IN_STRING)),
        }
        at = string_stop(bytes, at);
    }
}

fn escape(bytes: &[u8], at: usize) -> Scan<usize> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = hex4(bytes, at + 2)?;
            match unit {
                0xd800..=0xdbff => {
                    if byte(bytes, at + 6) != b'\\' || byte(bytes, at + 7) != b'u' {
                        return Err(Fault::new(at, LONE_SURROGATE));
                    }
                    match hex4(bytes, at + 8)? {
                        0xdc00..=0xdfff => Ok(at + 12),
                        _ => Err(Fault::new(at, LONE_SURROGATE)),
                    }
                }
                0xdc00..=0xdfff => Err(Fault::new(at, LONE_SURROGATE)),
                _ => Ok(at + 6),
            }
        }
        Some(_) => Err(Fault::new(at, BAD_ESCAPE)),
        None => Err(Fault::new(at + 1, ENDS_IN_STRING)),
    }
}

/// Four hexadecimal digits.
pub(super) fn hex4(bytes: &[u8], at: usize) -> Scan<u32> {
    let mut unit = 0;
    for i in 0..4 {
        let digit = bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
        unit = unit * 16 + digit.ok_or(Fault::new(at + i, BAD_UNICODE))?;
    }
    Ok(unit)
}

/// One past the last digit at or after `at`, eight at a time.
#[inline(always)]
pub(super) fn digits_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(w) = word(bytes, at) {
        let other = not_digits(w);
        if other != 0 {
            return at + (other.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while byte(bytes, at).is_ascii_digit() {
        at += 1;
    }
    at
}

/// High bits at the bytes that are no digits; right up to and including the first of them.
#[inline(always)]
pub(super) fn not_digits(w: u64) -> u64 {
    // A digit has 3 as its high nibble and stays below 0x40 when 6 is added.
    ((w ^ (ONES * 0x30)) | (w ^ (ONES * 0x30)).wrapping_add(ONES * 0x06)) & (ONES * 0xf0)
}

/// A number of at most seven digits without exponent, as most are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    /// The digits as values 0 to 9, the first in the lowest byte; above them lies anything.
    pub digits: u64,
    /// How many digits there are.
    pub count: u32,
    /// How many of them stand behind the point; `None` if there is no point.
    pub fraction: Option<u32>,
    /// Whether it begins with a minus.
    pub negative: bool,
    /// How many bytes it has.
    pub len: usize,
}

/// The first eight bytes of sixteen, the first of all in the lowest byte.
#[inline(always)]
pub(super) fn front(window: &[u8; 16]) -> u64 {
    let (words, _) = window.as_chunks::<8>();
    words.first().map_or(0, |w| u64::from_le_bytes(*w))
}

/// Reads the number that eight bytes begin with, if it is short and right.
#[inline(always)]
pub(super) fn short_in(word: u64) -> Option<Short> {
    let sign = u32::from(word as u8 == b'-');
    let w = word >> (8 * sign);
    let bits = not_digits(w).trailing_zeros() & !7;
    if bits == 0 || bits == 64 || (bits > 8 && w as u8 == b'0') {
        return None;
    }
    let (whole, after) = (bits / 8, w >> bits);
    let mut short = Short { digits: w, count: whole, fraction: None, negative: sign > 0, len: (sign + whole) as usize };
    let mut next = after as u8;
    if next == b'.' {
        let rest = after >> 8;
        let bits_behind = not_digits(rest).trailing_zeros() & !7;
        next = (rest >> bits_behind) as u8;
        if bits_behind == 0 {
            return None;
        }
        short.digits = (w & ((1 << bits) - 1)) | rest << bits;
        short.count += bits_behind / 8;
        short.fraction = Some(bits_behind / 8);
        short.len += bits_behind as usize / 8 + 1;
    }
    // The zero bytes that came in from above are no digits, so an end was always found; but it may not be the number's.
    if next == 0 || next | 0x20 == b'e' {
        return None;
    }
    short.digits ^= ZEROS;
    Some(short)
}

/// One past the end of the number at `at`.
#[inline]
pub(super) fn number(bytes: &[u8], start: usize) -> Scan<usize> {
    match word(bytes, start).and_then(short_in) {
        Some(short) => Ok(start + short.len),
        None => long_number(bytes, start),
    }
}

#[inline(never)]
fn long_number(bytes: &[u8], start: usize) -> Scan<usize> {
    let mut at = start + usize::from(byte(bytes, start) == b'-');
    let whole = at;
    at = digits_end(bytes, at);
    if at == whole || (byte(bytes, whole) == b'0' && at - whole > 1) {
        return Err(Fault::new(start, BAD_NUMBER));
    }
    number_tail(bytes, start, at)
}

/// Whether a text is spelled like a JSON number.
pub fn is_number(text: &str) -> bool {
    number(text.as_bytes(), 0) == Ok(text.len())
}

/// The fraction and exponent, from one past the whole part's digits.
#[inline(always)]
pub(super) fn number_tail(bytes: &[u8], start: usize, mut at: usize) -> Scan<usize> {
    let mut next = byte(bytes, at);
    if next == b'.' {
        let end = digits_end(bytes, at + 1);
        if end == at + 1 {
            return Err(Fault::new(start, BAD_NUMBER));
        }
        at = end;
        next = byte(bytes, at);
    }
    if next == b'e' || next == b'E' {
        let digits = at + 1 + usize::from(matches!(byte(bytes, at + 1), b'+' | b'-'));
        at = digits_end(bytes, digits);
        if at == digits {
            return Err(Fault::new(start, BAD_NUMBER));
        }
    }
    Ok(at)
}

/// One past the end of `true`, `false` or `null` at `at`.
#[inline]
pub(super) fn literal(bytes: &[u8], at: usize, text: &'static [u8]) -> Scan<usize> {
    let end = at + text.len();
    match bytes.get(at..end) {
        Some(found) if found == text => Ok(end),
        _ => Err(Fault::new(at, NO_VALUE)),
    }
}

/// One past the end of the scalar at `at`.
#[inline]
pub(super) fn scalar(bytes: &[u8], at: usize) -> Scan<usize> {
    match byte(bytes, at) {
        b'"' => string(bytes, at).map(|(end, _)| end),
        b'-' | b'0'..=b'9' => number(bytes, at),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ if at >= bytes.len() => Err(Fault::new(at, ENDS_IN_VALUE)),
        _ => Err(Fault::new(at, NO_VALUE)),
    }
}

/// One past the end of the value at `at`, which lies in `depth` containers.
pub(super) fn value(bytes: &[u8], at: usize, depth: usize) -> Scan<usize> {
    match byte(bytes, at) {
        b'{' => object(bytes, at, depth),
        b'[' => list(bytes, at, depth),
        _ => scalar(bytes, at),
    }
}

/// Goes into a container: its depth, or a fault if that is too deep.
#[inline]
pub(super) fn enter(at: usize, depth: usize) -> Scan<usize> {
    if depth + 1 >= JSON_DEPTH { Err(Fault::new(at, TOO_DEEP)) } else { Ok(depth + 1) }
}

fn list(bytes: &[u8], at: usize, depth: usize) -> Scan<usize> {
    let depth = enter(at, depth)?;
    let mut at = skip_space(bytes, at + 1);
    if byte(bytes, at) == b']' {
        return Ok(at + 1);
    }
    loop {
        at = after_item(bytes, value(bytes, at, depth)?)?;
        if byte(bytes, at.saturating_sub(1)) == b']' {
            return Ok(at);
        }
        at = skip_space(bytes, at);
    }
}

/// One past the `,` or `]` that must follow a list's item, from one past the item.
#[inline]
pub(super) fn after_item(bytes: &[u8], at: usize) -> Scan<usize> {
    let at = skip_space(bytes, at);
    match bytes.get(at) {
        Some(b',' | b']') => Ok(at + 1),
        Some(_) => Err(Fault::new(at, NEED_COMMA_LIST)),
        None => Err(Fault::new(at, ENDS_IN_LIST)),
    }
}

fn object(bytes: &[u8], at: usize, depth: usize) -> Scan<usize> {
    let depth = enter(at, depth)?;
    let mut members = Members::new(bytes, at);
    while let Some(member) = members.next()? {
        members.value_ends(value(bytes, member.value, depth)?);
    }
    Ok(members.end())
}

/// Walks the members of an object; the caller scans the values.
pub(super) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
    first: bool,
}

/// A member's name and where its value begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The name's opening quote.
    pub key: usize,
    /// One past the name's closing quote.
    pub key_end: usize,
    /// Whether the name holds escapes.
    pub escaped: bool,
    /// The value's first byte.
    pub value: usize,
}

impl<'a> Members<'a> {
    /// Over the object whose `{` is at `at`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Members { bytes, at: at + 1, first: true }
    }

    /// The next member; after it [`Members::value_ends`] must be told where its value ends.
    #[inline(always)]
    pub fn next(&mut self) -> Scan<Option<Member>> {
        let bytes = self.bytes;
        let mut at = skip_space(bytes, self.at);
        match bytes.get(at) {
            Some(b'}') => {
                self.at = at + 1;
                return Ok(None);
            }
            Some(b',') if !self.first => at = skip_space(bytes, at + 1),
            None => return Err(Fault::new(at, ENDS_IN_OBJECT)),
            Some(_) if !self.first => return Err(Fault::new(at, NEED_COMMA_OBJECT)),
            Some(_) => {}
        }
        self.first = false;
        match bytes.get(at) {
            Some(b'"') => {}
            Some(_) => return Err(Fault::new(at, NEED_KEY)),
            None => return Err(Fault::new(at, ENDS_IN_OBJECT)),
        }
        let (key_end, escaped) = string(bytes, at)?;
        let colon = skip_space(bytes, key_end);
        match bytes.get(colon) {
            Some(b':') => {}
            Some(_) => return Err(Fault::new(colon, NEED_COLON)),
            None => return Err(Fault::new(colon, ENDS_IN_OBJECT)),
        }
        Ok(Some(Member { key: at, key_end, escaped, value: skip_space(bytes, colon + 1) }))
    }

    /// Goes on behind a member's value.
    #[inline]
    pub fn value_ends(&mut self, end: usize) {
        self.at = end;
    }

    /// One past the object's `}`, once there is no next member.
    pub fn end(&self) -> usize {
        self.at
    }
}
