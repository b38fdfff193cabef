//! Numbers of JSON: reading them exactly, and writing them so that they read back the same.

use super::scan::{Fault, Scan, Short, byte, not_digits, number, number_tail, word};
use crate::data::column::Cell;

/// A number that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Spelled without fraction and exponent, and fits.
    Int(i64),
    /// Any other that a finite double holds; `-0` too, whose sign an integer would lose.
    Float(f64),
    /// Neither holds it; its spelling is its value.
    Beyond,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
const WHOLE_POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Digits that always fit 63 bits.
const SAFE_DIGITS: usize = 18;
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The cell of a short number.
#[inline(always)]
pub(super) fn cell(short: Short) -> Cell {
    let size = eight(short.digits << (64 - 8 * short.count));
    match short.fraction {
        None if short.negative && size == 0 => Cell::Float(-0.0),
        None => Cell::Int(if short.negative { -(size as i64) } else { size as i64 }),
        Some(fraction) => {
            // Exact: see `read`.
            let size = size as f64 / POWERS.get(fraction as usize).copied().unwrap_or(1.0);
            Cell::Float(if short.negative { -size } else { size })
        }
    }
}

/// Reads the number at `start`: its value and one past its end.
pub(super) fn read(bytes: &[u8], start: usize) -> Scan<(Number, usize)> {
    let negative = byte(bytes, start) == b'-';
    let whole = start + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, whole, 0);
    let (whole_end, mut count) = (end, end - whole);
    if count == 0 || (count > 1 && byte(bytes, whole) == b'0') {
        return number(bytes, start).and_then(|_| Err(Fault::new(start, "this is not a JSON number")));
    }
    let exponent;
    match byte(bytes, end) {
        b'.' => {
            let point = end + 1;
            (mantissa, end) = digits(bytes, point, mantissa);
            count += end - point;
            exponent = point as i64 - end as i64;
            if end == point || matches!(byte(bytes, end), b'e' | b'E') {
                return read_spelled(bytes, start, whole_end);
            }
        }
        b'e' | b'E' => return read_spelled(bytes, start, whole_end),
        _ if count <= SAFE_DIGITS => {
            let int = mantissa as i64;
            return Ok(match (negative, int) {
                (false, _) => (Number::Int(int), end),
                (true, 0) => (Number::Float(-0.0), end),
                (true, _) => (Number::Int(-int), end),
            });
        }
        _ => {
            let spelled = std::str::from_utf8(bytes.get(start..end).unwrap_or_default()).unwrap_or_default();
            return Ok((spelled.parse().map_or(Number::Beyond, Number::Int), end));
        }
    }
    // W. D. Clinger, "How to read floating point numbers accurately" (1990): both operands are exact, so one rounding.
    if count <= SAFE_DIGITS
        && mantissa <= 1 << 53
        && let Some(power) = POWERS.get(exponent.unsigned_abs() as usize)
    {
        let size = mantissa as f64 / power;
        return Ok((Number::Float(if negative { -size } else { size }), end));
    }
    read_spelled(bytes, start, whole_end)
}

/// Any number, by the standard library. `whole_end` is one past the digits before the point.
#[cold]
fn read_spelled(bytes: &[u8], start: usize, whole_end: usize) -> Scan<(Number, usize)> {
    let end = number_tail(bytes, start, whole_end)?;
    let spelled = std::str::from_utf8(bytes.get(start..end).unwrap_or_default()).unwrap_or_default();
    match spelled.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok((Number::Float(float), end)),
        _ => Ok((Number::Beyond, end)),
    }
}

/// Adds the digits at `at` to `value` (wrapping when there are too many): the result and one past the last digit.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(w) = word(bytes, at) {
        let other = not_digits(w);
        if other == 0 {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight(w ^ ZEROS));
            at += 8;
            continue;
        }
        let count = other.trailing_zeros() / 8;
        if count > 0 {
            let power = WHOLE_POWERS.get(count as usize).copied().unwrap_or(1);
            value = value.wrapping_mul(power).wrapping_add(eight((w ^ ZEROS) << (64 - 8 * count)));
        }
        return (value, at + count as usize);
    }
    while byte(bytes, at).is_ascii_digit() {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte(bytes, at) - b'0'));
        at += 1;
    }
    (value, at)
}

/// The number that eight digits (as values 0 to 9, the first in the lowest byte) spell: neighbours are joined in pairs
/// three times. D. Lemire, "Quickly parsing eight digits" (2018).
#[inline(always)]
fn eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(2561) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(6_553_601) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(42_949_672_960_001) >> 32
}

/// Writes an integer.
#[inline]
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        if let Some(place) = buffer.get_mut(at) {
            *place = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(buffer.get(at..).unwrap_or_default());
}

/// Writes a double as the shortest digits that read back the same; a whole one keeps its `.0`. What is not finite, which
/// no event holds, becomes null.
#[inline]
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::json::scan;
    use proptest::prelude::*;

    fn of(text: &str) -> Option<Number> {
        read(text.as_bytes(), 0).ok().filter(|(_, end)| *end == text.len()).map(|(n, _)| n)
    }

    #[test]
    fn reads_what_json_allows() {
        assert_eq!(of("0"), Some(Number::Int(0)));
        assert!(matches!(of("-0"), Some(Number::Float(f)) if f == 0.0 && f.is_sign_negative()));
        assert_eq!(of("9223372036854775807"), Some(Number::Int(i64::MAX)));
        assert_eq!(of("-9223372036854775808"), Some(Number::Int(i64::MIN)));
        assert_eq!(of("9223372036854775808"), Some(Number::Beyond));
        assert_eq!(of("1e400"), Some(Number::Beyond));
        assert_eq!(of("1E2"), Some(Number::Float(100.0)));
        assert_eq!(of("0.1e-2"), Some(Number::Float(0.001)));
        for bad in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "-01", "1.e5", "00.5", "0x1"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn floats_read_as_the_standard_library_reads_them(text in r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            let float: f64 = text.parse().unwrap();
            match of(&text) {
                Some(Number::Int(int)) => prop_assert_eq!(text.parse::<i64>(), Ok(int)),
                Some(Number::Float(found)) => prop_assert_eq!(found.to_bits(), float.to_bits()),
                Some(Number::Beyond) => prop_assert!(float.is_infinite() || text.parse::<i64>().is_err()),
                None => prop_assert!(false, "refused {}", text),
            }
        }

        #[test]
        fn short_numbers_read_as_long_ones(text in r"-?[0-9]{0,5}(\.[0-9]{0,5})?", after in "[,}eE.0-9 ]") {
            let mut window = [b' '; 16];
            let whole = format!("{text}{after}");
            window[..whole.len()].copy_from_slice(whole.as_bytes());
            if let Some(short) = scan::short_in(scan::front(&window)) {
                let (number, end) = read(&window, 0).unwrap();
                prop_assert_eq!(end, short.len);
                match (number, cell(short)) {
                    (Number::Int(a), Cell::Int(b)) => prop_assert_eq!(a, b),
                    (Number::Float(a), Cell::Float(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        #[test]
        fn written_numbers_read_back(bits in any::<u64>(), int in any::<i64>()) {
            let (float, mut out) = (f64::from_bits(bits), Vec::new());
            if float.is_finite() {
                write_float(float, &mut out);
                let text = String::from_utf8(out.clone()).unwrap();
                prop_assert!(matches!(of(&text), Some(Number::Float(f)) if f.to_bits() == bits), "{}", text);
            }
            out.clear();
            write_int(int, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), int.to_string());
        }
    }
}
