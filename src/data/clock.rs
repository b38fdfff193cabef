//! Reading event times: columns of texts and numbers to instants.
//!
//! A local time that a zone's clocks skip (spring) is read as if they had not been put forward yet, so it lands that much
//! later; one that they show twice (autumn) is the first of the two.

use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

use super::batch::RowError;
use super::column::{Cell, Column};
use super::format::TimeFormat;
use super::json::write_val;
use super::value::{Val, Value};
use crate::base::time::{Timestamp, parse_civil, parse_rfc3339};

/// Bytes of a value that a reason shows.
const SHOWN: usize = 80;
/// `YYYY-MM-DDTHH:MM`.
const MINUTE: usize = 16;

/// Reads the times of one source.
#[derive(Debug)]
pub struct TimeReader {
    format: TimeFormat,
    zone: Zone,
    minute: Minute,
}

#[derive(Debug)]
enum Zone {
    Utc,
    Other(TimeZone),
}

/// The last minute that was read in full: the next time is most likely in it.
#[derive(Debug, Default)]
struct Minute {
    text: [u8; MINUTE],
    /// Microseconds of its start; those of a text without an offset lie elsewhere.
    utc: Option<i64>,
    local: Option<i64>,
}

/// What a text or number was not.
type Unread = &'static str;

const NOT_RFC3339: Unread = "it is not RFC 3339 (`2026-01-31T12:00:00Z`)";
const NOT_AUTO: Unread = "it is neither RFC 3339 (`2026-01-31T12:00:00Z`) nor a number";
const NOT_NUMBER: Unread = "it is not a number";
const NOT_TEXT: Unread = "it is not text";
const OUT_OF_RANGE: Unread = "it is outside the years 0000 to 9999";
const NOT_PATTERN: Unread = "it does not follow the source's time format";

impl TimeReader {
    /// A reader for a format; `zone` is the IANA name of the zone of times without an offset.
    pub fn new(format: &TimeFormat, zone: &str) -> Result<Self, String> {
        let zone = if matches!(zone, "UTC" | "Etc/UTC" | "Z") {
            Zone::Utc
        } else {
            Zone::Other(TimeZone::get(zone).map_err(|_| {
                format!("`{zone}` is not a time zone; write an IANA name such as `Europe/Berlin` or `UTC`")
            })?)
        };
        let reader = TimeReader { format: format.clone(), zone, minute: Minute::default() };
        if let TimeFormat::Pattern(pattern) = format {
            reader.check_pattern(pattern)?;
        }
        Ok(reader)
    }

    /// A pattern is right if it can read what it writes.
    fn check_pattern(&self, pattern: &str) -> Result<(), String> {
        let wrong = |why: String| format!("the time format `{pattern}` cannot be read: {why}");
        let zone = match &self.zone {
            Zone::Utc => TimeZone::UTC,
            Zone::Other(zone) => zone.clone(),
        };
        let sample = jiff::Timestamp::from_second(1_700_000_000).map_err(|e| wrong(e.to_string()))?.to_zoned(zone);
        let text = strtime::format(pattern, &sample).map_err(|e| wrong(e.to_string()))?;
        let broken = BrokenDownTime::parse(pattern, &text).map_err(|e| wrong(e.to_string()))?;
        match self.resolve(&broken) {
            Some(_) => Ok(()),
            None => Err(wrong("it does not give a whole date; `%Y-%m-%d %H:%M:%S` does".to_owned())),
        }
    }

    /// Reads the first `rows` values of a column. Each adds an instant to `out`; one that cannot be read adds
    /// [`Timestamp::MIN`] and an error, whose place is left to the caller.
    pub fn read(&mut self, column: &Column, rows: usize, out: &mut Vec<Timestamp>, errors: &mut Vec<RowError>) {
        out.reserve(rows);
        let all = column.text.as_bytes();
        let rfc3339 = matches!(self.format, TimeFormat::Auto | TimeFormat::Rfc3339);
        for row in 0..rows {
            let cell = column.cells.get(row).copied().unwrap_or(Cell::Missing);
            // Mostly the bytes of a text are enough.
            if let Cell::Text { start, len } = cell
                && rfc3339
                && let Some(text) = all.get(start as usize..start as usize + len as usize)
                && let Some(at) = self.minute.read(text)
            {
                out.push(at);
                continue;
            }
            match self.read_val(column.val(cell)) {
                Ok(at) => out.push(at),
                Err(why) => {
                    out.push(Timestamp::MIN);
                    let reason = reason(column, cell, why);
                    errors.push(RowError { row: row as u32, reason, place: String::new() });
                }
            }
        }
    }

    #[inline]
    fn read_val(&mut self, value: Val<'_>) -> Result<Timestamp, Unread> {
        match value {
            Val::Text(text) => {
                let rfc3339 = matches!(self.format, TimeFormat::Auto | TimeFormat::Rfc3339);
                match self.minute.read(text.as_bytes()).filter(|_| rfc3339) {
                    Some(at) => Ok(at),
                    None => self.read_text(text),
                }
            }
            Val::Int(int) => match unit(&self.format, int.unsigned_abs() as f64) {
                Some(unit) => whole(int, unit),
                None => self.spelled(&int.to_string()),
            },
            Val::Float(float) => match unit(&self.format, float.abs()) {
                Some(unit) => fractional(float, unit),
                None => self.spelled(&float.to_string()),
            },
            Val::Big(Value::Text(text)) => self.read_text(text),
            Val::Big(Value::Number(_)) => Err(OUT_OF_RANGE),
            _ => Err(if self.format == TimeFormat::Auto { NOT_AUTO } else { NOT_TEXT }),
        }
    }

    /// A number for a format that wants text: `%s` and `%Y%m%d` are spelled as numbers.
    fn spelled(&mut self, text: &str) -> Result<Timestamp, Unread> {
        if matches!(self.format, TimeFormat::Pattern(_)) { self.read_text(text) } else { Err(NOT_RFC3339) }
    }

    fn read_text(&mut self, text: &str) -> Result<Timestamp, Unread> {
        match &self.format {
            TimeFormat::Rfc3339 => self.rfc3339(text).ok_or(NOT_RFC3339),
            TimeFormat::Auto => match self.rfc3339(text) {
                Some(at) => Ok(at),
                None => number(&self.format, text).unwrap_or(Err(NOT_AUTO)),
            },
            TimeFormat::Pattern(pattern) => {
                let broken = BrokenDownTime::parse(pattern, text).map_err(|_| NOT_PATTERN)?;
                in_range(self.resolve(&broken).ok_or(NOT_PATTERN)?)
            }
            _ => number(&self.format, text).unwrap_or(Err(NOT_NUMBER)),
        }
    }

    fn rfc3339(&mut self, text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        if let Some(at) = parse_rfc3339(bytes) {
            if bytes.ends_with(b"Z") {
                self.minute.keep(bytes, at.0 - at.0.rem_euclid(60_000_000), true);
            }
            return Some(at);
        }
        let (local, rest) = parse_civil(bytes)?;
        if !rest.is_empty() {
            return None;
        }
        let start = local - local.rem_euclid(60_000_000);
        let (first, last) = (self.local(start)?, self.local(start + 59_000_000)?);
        // Only where the clocks go on evenly for the whole minute, seconds can be added to its start.
        if last - first == 59_000_000 {
            self.minute.keep(bytes, first, false);
        }
        in_range(self.local(local)?).ok()
    }

    /// The instant, in microseconds, of a local time given as microseconds as if in UTC.
    fn local(&self, micros: i64) -> Option<i64> {
        let Zone::Other(zone) = &self.zone else { return Some(micros) };
        let local = jiff::Timestamp::from_microsecond(micros).ok()?.to_zoned(TimeZone::UTC).datetime();
        in_zone(zone, local)
    }

    /// The instant, in microseconds, of what a pattern found.
    fn resolve(&self, broken: &BrokenDownTime) -> Option<i64> {
        if broken.timestamp().is_some() || broken.offset().is_some() || broken.iana_time_zone().is_some() {
            return match broken.to_timestamp() {
                Ok(at) => Some(at.as_microsecond()),
                Err(_) => broken.to_zoned().ok().map(|at| at.timestamp().as_microsecond()),
            };
        }
        let local = broken.to_datetime().ok()?;
        match &self.zone {
            Zone::Utc => in_zone(&TimeZone::UTC, local),
            Zone::Other(zone) => in_zone(zone, local),
        }
    }
}

fn in_zone(zone: &TimeZone, local: DateTime) -> Option<i64> {
    zone.to_ambiguous_timestamp(local).compatible().ok().map(|at| at.as_microsecond())
}

impl Minute {
    /// A time in the minute that was read last, `YYYY-MM-DDTHH:MM:SS[.fraction]` with `Z` or nothing after it.
    #[inline]
    fn read(&self, text: &[u8]) -> Option<Timestamp> {
        let (minute, rest) = text.split_first_chunk::<MINUTE>()?;
        if *minute != self.text {
            return None;
        }
        let ([colon, tens, ones], rest) = rest.split_first_chunk::<3>()?;
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        if *colon != b':' || tens > 5 || ones > 9 {
            return None;
        }
        let seconds = i64::from(tens) * 10 + i64::from(ones);
        let (micros, rest) = match rest {
            [b'.', a, b, c, rest @ ..] if !rest.first().is_some_and(u8::is_ascii_digit) => {
                let (a, b, c) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'), c.wrapping_sub(b'0'));
                if a > 9 || b > 9 || c > 9 {
                    return None;
                }
                (i64::from(a) * 100_000 + i64::from(b) * 10_000 + i64::from(c) * 1_000, rest)
            }
            [b'.', ..] => return None,
            rest => (0, rest),
        };
        let start = match rest {
            b"Z" => self.utc?,
            b"" => self.local?,
            _ => return None,
        };
        Some(Timestamp(start + seconds * 1_000_000 + micros))
    }

    fn keep(&mut self, text: &[u8], start: i64, utc: bool) {
        let Some(minute) = text.first_chunk::<MINUTE>() else { return };
        if *minute != self.text {
            *self = Minute { text: *minute, utc: None, local: None };
        }
        *(if utc { &mut self.utc } else { &mut self.local }) = Some(start);
    }
}

/// A unit as microseconds: so many, or one of so many.
#[derive(Clone, Copy)]
enum Unit {
    Micros(i64),
    PerMicro(i64),
}

/// The unit of a number of this size; `None` for formats that want text.
#[inline]
fn unit(format: &TimeFormat, size: f64) -> Option<Unit> {
    match format {
        TimeFormat::Auto if size < 1e11 => Some(Unit::Micros(1_000_000)),
        TimeFormat::Auto if size < 1e14 => Some(Unit::Micros(1_000)),
        TimeFormat::Auto if size < 1e17 => Some(Unit::Micros(1)),
        TimeFormat::Auto | TimeFormat::UnixNs => Some(Unit::PerMicro(1_000)),
        TimeFormat::Unix => Some(Unit::Micros(1_000_000)),
        TimeFormat::UnixMs => Some(Unit::Micros(1_000)),
        TimeFormat::UnixUs => Some(Unit::Micros(1)),
        TimeFormat::Rfc3339 | TimeFormat::Pattern(_) => None,
    }
}

#[inline]
fn whole(int: i64, unit: Unit) -> Result<Timestamp, Unread> {
    let micros = match unit {
        Unit::Micros(many) => int.checked_mul(many),
        Unit::PerMicro(many) => Some(int.div_euclid(many)),
    };
    in_range(micros.ok_or(OUT_OF_RANGE)?)
}

/// The nearest microsecond, because a decimal fraction's double is as often just below it as above.
fn fractional(float: f64, unit: Unit) -> Result<Timestamp, Unread> {
    let micros = match unit {
        Unit::Micros(many) => float * many as f64,
        Unit::PerMicro(many) => float / many as f64,
    };
    // Casting stops at the ends of the range, which are outside of event time.
    in_range(micros.round() as i64)
}

/// A number in quotes; `None` if it is none.
fn number(format: &TimeFormat, text: &str) -> Option<Result<Timestamp, Unread>> {
    let text = text.trim();
    if let Ok(int) = text.parse::<i64>() {
        return Some(whole(int, unit(format, int.unsigned_abs() as f64)?));
    }
    let float = text.parse::<f64>().ok().filter(|f| f.is_finite())?;
    Some(fractional(float, unit(format, float.abs())?))
}

#[inline]
fn in_range(micros: i64) -> Result<Timestamp, Unread> {
    let at = Timestamp(micros);
    if at.is_event_time() { Ok(at) } else { Err(OUT_OF_RANGE) }
}

#[cold]
fn reason(column: &Column, cell: Cell, why: Unread) -> String {
    match cell {
        Cell::Missing => "the event has no time: the field is missing".to_owned(),
        Cell::Null => "the event has no time: the field is null".to_owned(),
        cell => {
            let mut shown = Vec::new();
            write_val(column.val(cell), &mut shown);
            let shown = String::from_utf8_lossy(&shown);
            let short: String = shown.chars().take(SHOWN).collect();
            let dots = if short.len() < shown.len() { "…" } else { "" };
            format!("{short}{dots} is not a time: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::column::ColumnBuilder;
    use proptest::prelude::*;

    fn read(format: &TimeFormat, zone: &str, values: &[Val<'_>]) -> (Vec<String>, Vec<String>) {
        let mut builder = ColumnBuilder::default();
        values.iter().for_each(|v| builder.push(*v));
        let column = builder.finish();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        TimeReader::new(format, zone).unwrap().read(&column, values.len(), &mut out, &mut errors);
        let times = out.iter().filter(|t| **t != Timestamp::MIN).map(Timestamp::to_string).collect();
        (times, errors.into_iter().map(|e| e.reason).collect())
    }

    #[test]
    fn auto_tells_texts_and_units_apart() {
        let values = [
            Val::Text("2026-01-01T00:00:00.123Z"),
            Val::Text("2026-01-01T00:00:59Z"),
            Val::Text("2026-01-01T00:00:59"),
            Val::Text("2026-01-01T00:00:58.5"),
            Val::Text("2026-01-01T00:00:60Z"),
            Val::Text("2026-01-01T01:00:00.1234567+01:00"),
            Val::Int(1_767_225_600),
            Val::Int(1_767_225_600_250),
            Val::Int(1_767_225_600_250_001),
            Val::Int(1_767_225_600_250_001_999),
            Val::Float(1_767_225_600.123),
            Val::Text("1767225600"),
            Val::Int(-1),
        ];
        let (times, errors) = read(&TimeFormat::Auto, "UTC", &values);
        assert_eq!(errors, [""; 0]);
        let expected = [
            "2026-01-01T00:00:00.123Z",
            "2026-01-01T00:00:59Z",
            "2026-01-01T00:00:59Z",
            "2026-01-01T00:00:58.5Z",
            "2026-01-01T00:00:59.999999Z",
            "2026-01-01T00:00:00.123456Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.25Z",
            "2026-01-01T00:00:00.250001Z",
            "2026-01-01T00:00:00.250001Z",
            "2026-01-01T00:00:00.123Z",
            "2026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ];
        assert_eq!(times, expected);
    }

    #[test]
    fn reasons_name_the_value() {
        let values =
            [Val::Unit, Val::Text("soon"), Val::Bool(true), Val::Int(i64::MAX), Val::Text("2026-01-01T00:00:61Z")];
        let (_, errors) = read(&TimeFormat::Auto, "UTC", &values);
        let expected = [
            "the event has no time: the field is null",
            "\"soon\" is not a time: it is neither RFC 3339 (`2026-01-31T12:00:00Z`) nor a number",
            "true is not a time: it is neither RFC 3339 (`2026-01-31T12:00:00Z`) nor a number",
            "\"2026-01-01T00:00:61Z\" is not a time: it is neither RFC 3339 (`2026-01-31T12:00:00Z`) nor a number",
        ];
        assert_eq!(errors, expected);
        let (_, errors) = read(&TimeFormat::Unix, "UTC", &[Val::Int(i64::MAX)]);
        assert_eq!(errors, ["9223372036854775807 is not a time: it is outside the years 0000 to 9999"]);
    }

    #[test]
    fn zones_decide_what_local_times_mean() {
        let values = [
            Val::Text("2026-03-29T02:30:00"), // skipped
            Val::Text("2026-10-25T02:30:00"), // shown twice
            Val::Text("2026-07-01T12:00:00"),
            Val::Text("2026-07-01T12:00:01.5"),
            Val::Text("2026-07-01T12:00:01Z"),
        ];
        let (times, _) = read(&TimeFormat::Rfc3339, "Europe/Berlin", &values);
        let expected = [
            "2026-03-29T01:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-07-01T10:00:00Z",
            "2026-07-01T10:00:01.5Z",
            "2026-07-01T12:00:01Z",
        ];
        assert_eq!(times, expected);
        assert!(TimeReader::new(&TimeFormat::Auto, "Europe/Berln").unwrap_err().contains("`Europe/Berln`"));
    }

    #[test]
    fn patterns_read_dates_offsets_and_seconds() {
        let one = |pattern: &str, zone: &str, value: Val<'_>| {
            let (times, errors) = read(&TimeFormat::Pattern(pattern.into()), zone, &[value]);
            times.into_iter().chain(errors).next().unwrap()
        };
        assert_eq!(one("%d.%m.%Y %H:%M:%S", "Europe/Berlin", Val::Text("01.07.2026 12:00:00")), "2026-07-01T10:00:00Z");
        assert_eq!(one("%d/%b/%Y:%H:%M:%S %z", "UTC", Val::Text("01/Jul/2026:12:00:00 +0200")), "2026-07-01T10:00:00Z");
        assert_eq!(one("%s", "UTC", Val::Int(1_767_225_600)), "2026-01-01T00:00:00Z");
        assert_eq!(one("%Y%m%d", "UTC", Val::Int(20_260_101)), "2026-01-01T00:00:00Z");
        assert!(one("%Y-%m-%d", "UTC", Val::Text("x")).contains("does not follow"));
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        for pattern in ["%H:%M", "%Q%!", "no directive"] {
            let error = TimeReader::new(&TimeFormat::Pattern(pattern.into()), "UTC").map(|_| ()).unwrap_err();
            assert!(error.contains(pattern), "{error}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_reads_as_the_long_way(
            start in Timestamp::FIRST.0..=Timestamp::LAST.0 - 120_000_000,
            steps in prop::collection::vec(0i64..90_000_000, 1..6),
            change in prop::option::of((0usize..25, any::<char>())),
        ) {
            let texts: Vec<String> = steps.iter().map(|s| {
                let text = Timestamp(start + s).to_string();
                match change {
                    Some((at, c)) if s % 2 == 0 => text.chars().enumerate().map(|(i, old)| if i == at { c } else { old }).collect(),
                    _ => text,
                }
            }).collect();
            let mut reader = TimeReader::new(&TimeFormat::Rfc3339, "UTC").unwrap();
            for text in &texts {
                let by_hand = parse_rfc3339(text.as_bytes())
                    .or_else(|| parse_civil(text.as_bytes()).filter(|(_, r)| r.is_empty()).map(|(l, _)| Timestamp(l)));
                prop_assert_eq!(reader.read_val(Val::Text(text)).ok(), by_hand, "{}", text);
            }
        }
    }
}
