//! Functions on instants. An instant is RFC 3339 text or an integer of microseconds since the epoch; functions that
//! return one return microseconds. All is UTC, and none reads a clock.

use bumpalo::Bump;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::{Function, Out, any, text};
use crate::base::time::{RFC3339_LEN, TimeSpan, Timestamp, parse_rfc3339, write_rfc3339};
use crate::data::value::Val;
use crate::expr::fault::Fault;

type Return<'a> = Result<Out<'a>, Fault>;

macro_rules! function {
    ($name:literal, $arguments:expr, $body:expr, $signature:literal, $summary:literal, $example:expr) => {
        Function {
            name: $name,
            family: "time",
            signature: $signature,
            summary: $summary,
            example: $example,
            arguments: $arguments,
            body: $body,
            makes_containers: false,
        }
    };
}

pub(super) fn family(all: &mut Vec<Function>) {
    all.extend([
        function!("parse_time", &[1, 2], parse_time, "parse_time(text, pattern?)", "Microseconds since the epoch of RFC 3339 text, or of text in a strptime pattern (UTC unless it has an offset).", ("parse_time(\"2026-01-01T00:00:00Z\")", "1767225600000000")),
        function!("format_time", &[1, 2], format_time, "format_time(time, pattern?)", "The instant as RFC 3339 text, or in a strftime pattern.", ("format_time(\"2026-01-02T03:04:05Z\", \"%d.%m.%Y\")", "\"02.01.2026\"")),
        function!("duration", &[1], duration, "duration(text)", "Microseconds of a duration such as `1h30m`.", ("duration(\"1m\")", "60000000")),
        function!("year", &[1], |a, _| civil(a, |t| i64::from(t.year())), "year(time)", "The year.", ("year(\"2026-01-02T03:04:05Z\")", "2026")),
        function!("month", &[1], |a, _| civil(a, |t| i64::from(t.month())), "month(time)", "The month, 1 to 12.", ("month(\"2026-01-02T03:04:05Z\")", "1")),
        function!("day", &[1], |a, _| civil(a, |t| i64::from(t.day())), "day(time)", "The day of the month, from 1.", ("day(\"2026-01-02T03:04:05Z\")", "2")),
        function!("hour", &[1], |a, _| civil(a, |t| i64::from(t.hour())), "hour(time)", "The hour, 0 to 23.", ("hour(\"2026-01-02T03:04:05Z\")", "3")),
        function!("minute", &[1], |a, _| civil(a, |t| i64::from(t.minute())), "minute(time)", "The minute, 0 to 59.", ("minute(\"2026-01-02T03:04:05Z\")", "4")),
        function!("second", &[1], |a, _| civil(a, |t| i64::from(t.second())), "second(time)", "The second, 0 to 59.", ("second(\"2026-01-02T03:04:05Z\")", "5")),
        function!("weekday", &[1], |a, _| civil(a, |t| i64::from(t.weekday().to_monday_one_offset())), "weekday(time)", "The day of the week, 1 (Monday) to 7.", ("weekday(\"2026-01-02T03:04:05Z\")", "5")),
        function!("unix", &[1], |a, _| Ok(Val::Int(instant(a, 0)?.0.div_euclid(1_000_000)).into()), "unix(time)", "Whole seconds since the epoch.", ("unix(\"1970-01-01T00:01:00Z\")", "60")),
        function!("unix_ms", &[1], |a, _| Ok(Val::Int(instant(a, 0)?.0.div_euclid(1_000)).into()), "unix_ms(time)", "Whole milliseconds since the epoch.", ("unix_ms(\"1970-01-01T00:01:00Z\")", "60000")),
    ]);
}

/// The instant that argument `i` is.
fn instant(args: &[Val<'_>], i: usize) -> Result<Timestamp, Fault> {
    let at = match any(args, i) {
        Val::Int(micros) => Timestamp(micros),
        Val::Text(text) => parse_rfc3339(text.as_bytes()).ok_or_else(|| {
            Fault::Unfit(
                i,
                format!(
                    "is {:?}, which is not a time like `2026-01-01T00:00:10Z`",
                    crate::expr::spell::cut(text.into())
                ),
            )
        })?,
        other => return Err(Fault::of(i, other)),
    };
    if at.is_event_time() { Ok(at) } else { Err(Fault::Unfit(i, "is outside the years 0000 to 9999".into())) }
}

fn in_utc(at: Timestamp) -> Result<jiff::Zoned, Fault> {
    let outside = |_| Fault::Unfit(0, "is outside the years 0000 to 9999".into());
    Ok(jiff::Timestamp::from_microsecond(at.0).map_err(outside)?.to_zoned(TimeZone::UTC))
}

fn civil<'a>(args: &[Val<'a>], take: fn(&jiff::Zoned) -> i64) -> Return<'a> {
    Ok(Val::Int(take(&in_utc(instant(args, 0)?)?)).into())
}

fn parse_time<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if args.len() < 2 {
        return Ok(Val::Int(instant(args, 0)?.0).into());
    }
    let (spelling, pattern) = (text(args, 0)?, text(args, 1)?);
    let wrong =
        |e: jiff::Error| Fault::Unfit(0, format!("is {spelling:?}, which is not in the pattern {pattern:?}: {e}"));
    let parsed = strtime::parse(pattern, spelling).map_err(wrong)?;
    let at = match parsed.to_timestamp() {
        Ok(at) => at,
        // Without an offset the civil time is taken as UTC; without a time of day, as midnight.
        Err(_) => {
            let date = parsed.to_date().map_err(wrong)?;
            let time = parsed.to_time().unwrap_or(jiff::civil::Time::midnight());
            date.to_datetime(time).to_zoned(TimeZone::UTC).map_err(wrong)?.timestamp()
        }
    };
    Ok(Val::Int(at.as_microsecond()).into())
}

fn format_time<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let at = instant(args, 0)?;
    if args.len() < 2 {
        let mut buffer = [0; RFC3339_LEN];
        return Ok(Val::Text(arena.alloc_str(write_rfc3339(at, &mut buffer))).into());
    }
    let pattern = text(args, 1)?;
    let made = strtime::format(pattern, &in_utc(at)?)
        .map_err(|e| Fault::Unfit(1, format!("is {pattern:?}, which is no pattern: {e}")))?;
    Ok(Val::Text(arena.alloc_str(&made)).into())
}

fn duration<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let span = TimeSpan::parse(text(args, 0)?).map_err(Fault::Other)?;
    Ok(Val::Int(span.0).into())
}
