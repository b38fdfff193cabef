//! Event time: instants and spans in whole microseconds, how they are read and how they are written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instant of event time, microseconds since the Unix epoch (also before it). Finer fractions are cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every event; the watermark of a partition that has had none.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After every event; the watermark of a partition that has ended.
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// The first instant that can be written as RFC 3339, `0000-01-01T00:00:00Z`.
    pub const FIRST: Timestamp = Timestamp(-62_167_219_200_000_000);
    /// The last instant that can be written as RFC 3339, `9999-12-31T23:59:59.999999Z`.
    pub const LAST: Timestamp = Timestamp(253_402_300_799_999_999);

    /// Whether this is an instant that an event can have.
    pub fn is_event_time(self) -> bool {
        Self::FIRST <= self && self <= Self::LAST
    }

    /// Later by `span`; stays at the ends of the range.
    pub fn plus(self, span: TimeSpan) -> Self {
        Timestamp(self.0.saturating_add(span.0))
    }

    /// Earlier by `span`; `MIN` stays `MIN`.
    pub fn minus(self, span: TimeSpan) -> Self {
        if self == Self::MIN || self == Self::MAX { self } else { Timestamp(self.0.saturating_sub(span.0)) }
    }
}

/// RFC 3339 in UTC, with a fraction only when it is not zero (`2026-01-01T00:00:10Z`, `…:10.25Z`).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; RFC3339_LEN];
        f.write_str(write_rfc3339(*self, &mut buffer))
    }
}

/// The longest text that [`write_rfc3339`] makes.
pub const RFC3339_LEN: usize = 32;

/// Writes an instant as RFC 3339 in UTC into `buffer`, with a fraction only when it is not zero.
/// Outside the years 0000 to 9999 it writes the nearest instant inside.
pub fn write_rfc3339(at: Timestamp, buffer: &mut [u8; RFC3339_LEN]) -> &str {
    let at = at.clamp(Timestamp::FIRST, Timestamp::LAST);
    let (seconds, micros) = (at.0.div_euclid(1_000_000), at.0.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let two = |b: &mut [u8; RFC3339_LEN], i: usize, v: i64| {
        b[i] = b'0' + (v / 10) as u8;
        b[i + 1] = b'0' + (v % 10) as u8;
    };
    two(buffer, 0, year / 100);
    two(buffer, 2, year % 100);
    buffer[4] = b'-';
    two(buffer, 5, month);
    buffer[7] = b'-';
    two(buffer, 8, day);
    buffer[10] = b'T';
    two(buffer, 11, second / 3600);
    buffer[13] = b':';
    two(buffer, 14, second / 60 % 60);
    buffer[16] = b':';
    two(buffer, 17, second % 60);
    let mut end = 19;
    if micros != 0 {
        buffer[19] = b'.';
        let mut rest = micros;
        for i in (20..26).rev() {
            buffer[i] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        end = 26;
        while buffer[end - 1] == b'0' {
            end -= 1;
        }
    }
    buffer[end] = b'Z';
    std::str::from_utf8(&buffer[..=end]).unwrap_or_default()
}

/// Days since the epoch of a date of the proleptic Gregorian calendar.
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// The date (year, month, day) of a day since the epoch. Hinnant, `civil_from_days`.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads RFC 3339 (`T`, `t` or a space between; `Z`, `z` or an offset; any number of fraction digits, cut to
/// microseconds; second 60 is the last instant of its minute). `None` if it is anything else, or a date that does not exist.
pub fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let (local, rest) = parse_civil(text)?;
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 60 + minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let at = Timestamp(local - offset * 1_000_000);
    at.is_event_time().then_some(at)
}

/// Reads `YYYY-MM-DD[T ]HH:MM:SS[.fraction]` from the front: microseconds as if in UTC, and what follows.
pub fn parse_civil(text: &[u8]) -> Option<(i64, &[u8])> {
    let (head, mut rest) = text.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T' | b't' | b' ', h1, h2, b':', mi1, mi2, b':', s1, s2] = head
    else {
        return None;
    };
    let year = two_digits(*y1, *y2)? * 100 + two_digits(*y3, *y4)?;
    let (month, day) = (two_digits(*mo1, *mo2)?, two_digits(*d1, *d2)?);
    let (hour, minute, second) = (two_digits(*h1, *h2)?, two_digits(*mi1, *mi2)?, two_digits(*s1, *s2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = 0;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        let mut scale = 100_000;
        for digit in digits.iter().take(count.min(6)) {
            micros += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
        rest = digits.get(count..)?;
    }
    // A leap second does not exist on the Unix scale: it is the last instant of its minute.
    let (second, micros) = if second == 60 { (59, 999_999) } else { (second, micros) };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds * 1_000_000 + micros, rest))
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (t, o) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (t <= 9 && o <= 9).then(|| i64::from(t) * 10 + i64::from(o))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A span of time, microseconds; written `500ms`, `10s`, `1m`, `2h`, `1d`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TimeSpan(pub i64);

/// The units a span is written in, longest first, with their microseconds.
const UNITS: [(&str, i64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

impl TimeSpan {
    /// No time at all.
    pub const ZERO: TimeSpan = TimeSpan(0);

    /// A span of whole seconds.
    pub const fn seconds(n: i64) -> Self {
        TimeSpan(n * 1_000_000)
    }

    /// As the standard library's type; a negative span is zero there.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads `10s`, `1h30m`, `-5m`. The error says what a span looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| match TimeSpan::worded(text) {
            Some(right) => format!("`{text}` is not how a duration is written; write `{right}`"),
            None => {
                format!("`{text}` is not a duration: {why}; write it like `500ms`, `10s`, `1m`, `2h`, `1d` or `1h30m`")
            }
        };
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest == "0" {
            return Ok(TimeSpan::ZERO);
        }
        if rest.is_empty() {
            return Err(wrong("it is empty"));
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_alphabetic()).len();
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                return Err(wrong("a number is missing"));
            }
            if unit.is_empty() {
                return Err(wrong("a unit is missing"));
            }
            let unit = if unit == "µs" { "us" } else { unit };
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(wrong(&format!("`{unit}` is not a unit")));
            };
            let part = number.parse::<i64>().ok().and_then(|n| n.checked_mul(*scale));
            total = part.and_then(|p| total.checked_add(p)).ok_or_else(|| wrong("it is too long"))?;
            rest = tail;
        }
        Ok(TimeSpan(if negative { -total } else { total }))
    }
}

/// What units are called in words, with how they are written and how many of that they are.
const WORDS: [(&[&str], &str, u64); 7] = [
    (&["w", "week", "weeks"], "d", 7),
    (&["d", "day", "days"], "d", 1),
    (&["h", "hr", "hrs", "hour", "hours"], "h", 1),
    (&["m", "min", "mins", "minute", "minutes"], "m", 1),
    (&["s", "sec", "secs", "second", "seconds"], "s", 1),
    (&["ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"], "ms", 1),
    (&["us", "usec", "usecs", "micro", "micros", "microsecond", "microseconds"], "us", 1),
];

impl TimeSpan {
    /// How a duration in words is written: `10s` for `10 seconds`, `1h30m` for `1 hour and 30 min`.
    pub fn worded(text: &str) -> Option<String> {
        let folded = text.to_lowercase().replace(',', " ").replace(" and ", " ");
        let (mut rest, mut right) = (folded.trim(), String::new());
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (word, tail) = tail.split_at(letters);
            let (_, unit, many) = WORDS.iter().find(|(words, ..)| words.contains(&word))?;
            right += &format!("{}{unit}", number.parse::<u64>().ok()?.checked_mul(*many)?);
            rest = tail.trim_start();
        }
        // What is too long either way is not helped by another spelling.
        (right != text && TimeSpan::parse(&right).is_ok()).then_some(right)
    }
}

/// As it is written in a pipeline: the longest units first, `1h30m`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (unit, scale) in UNITS {
            let count = rest / scale.unsigned_abs();
            rest %= scale.unsigned_abs();
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// Reads a size: `512`, `64KiB`, `10MB`, `1GiB`. The error says what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it like `512B`, `64KiB`, `10MB` or `1GiB`");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_rfc3339_allows_and_nothing_else() {
        let at = |s: &str| parse_rfc3339(s.as_bytes()).map(|t| t.to_string());
        assert_eq!(at("2026-01-01T00:00:10Z").as_deref(), Some("2026-01-01T00:00:10Z"));
        assert_eq!(at("2026-01-01 00:00:10.250+01:30").as_deref(), Some("2025-12-31T22:30:10.25Z"));
        assert_eq!(at("2016-12-31T23:59:60Z").as_deref(), Some("2016-12-31T23:59:59.999999Z"));
        assert_eq!(at("1969-12-31T23:59:59.9999999Z").as_deref(), Some("1969-12-31T23:59:59.999999Z"));
        for bad in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "0000-01-01T00:00:00+01:00",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_read_and_write() {
        assert_eq!(TimeSpan::parse("1h30m").map(|s| s.to_string()).as_deref(), Ok("1h30m"));
        assert_eq!(TimeSpan::parse("90s").map(|s| s.to_string()).as_deref(), Ok("1m30s"));
        assert_eq!(TimeSpan::parse("-5m").map(|s| s.0), Ok(-300_000_000));
        for bad in ["", "10", "s", "10x", "99999999999d", "1h 30m", "1.5h"] {
            assert!(TimeSpan::parse(bad).is_err(), "{bad}");
        }
        for (worded, right) in [
            ("10 seconds", Some("10s")),
            ("5 min", Some("5m")),
            ("2 Hours", Some("2h")),
            ("1 hour and 30 minutes", Some("1h30m")),
            ("2weeks, 1 day", Some("14d1d")),
            ("1h 30m", Some("1h30m")),
            ("10s", None),
            ("5 windows", None),
            ("2 of 3 windows", None),
            ("seconds", None),
            ("10", None),
            ("", None),
            ("99999999999999999999 s", None),
            ("999999999999999999 weeks", None),
        ] {
            assert_eq!(TimeSpan::worded(worded).as_deref(), right, "{worded}");
        }
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert!(parse_size("64 Kb").is_err());
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(micros in Timestamp::FIRST.0..=Timestamp::LAST.0) {
            let at = Timestamp(micros);
            prop_assert_eq!(parse_rfc3339(at.to_string().as_bytes()), Some(at));
            let by_jiff = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse_rfc3339(by_jiff.to_string().as_bytes()), Some(at));
        }
    }
}
