//! Functions on instants. An instant is RFC 3339 text or an integer of microseconds since the epoch; functions that
//! return one return microseconds. Parts of an instant are those of UTC unless a zone is named, and none reads a clock.

use std::rc::Rc;

use bumpalo::Bump;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::kept::Kept;
use super::{Function, Return, any, float, function, made, optional, text, truth};
use crate::base::suggest::nearest;
use crate::base::time::{RFC3339_LEN, TimeSpan, Timestamp, parse_rfc3339, write_rfc3339};
use crate::data::value::Val;
use crate::expr::fault::Fault;

/// RFC 3339 with the zone's offset, a fraction only where there is one.
const WITH_OFFSET: &str = "%Y-%m-%dT%H:%M:%S%.f%:z";

thread_local! {
    static ZONES: Kept<TimeZone> = const { Kept::new() };
}

pub(super) fn functions() -> Vec<Function> {
    [reading(), writing(), parts(), dates()].into_iter().flatten().collect()
}

fn reading() -> Vec<Function> {
    vec![
        function("parse_time(text, pattern?, zone?)", "Microseconds since the epoch of RFC 3339 text, or of text in a strptime pattern; in the zone (UTC) where the text has no offset.", ("parse_time(\"02.01.2026 03:04\", \"%d.%m.%Y %H:%M\", \"Europe/Berlin\")", "1767319440000000"), parse_time).checked(1, check_pattern).checked(2, check_zone),
        function("from_unix(x, unit?)", "The instant of a number since the epoch in `s`, `ms`, `us` or `ns`; without a unit one of them by size, as sources read times: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds.", ("from_unix(60, \"s\")", "60000000"), from_unix).checked(1, |unit| unit_of(unit).map(drop)),
        function("duration(text)", "Microseconds of a duration such as `1h30m`.", ("duration(\"1m\")", "60000000"), |a, _| Ok(Val::Int(span(a, 0)?.0).into())).checked(0, check_span),
        function("unix(time)", "Whole seconds since the epoch.", ("unix(\"1970-01-01T00:01:00Z\")", "60"), |a, _| Ok(Val::Int(instant(a, 0)?.0.div_euclid(1_000_000)).into())),
        function("unix_ms(time)", "Whole milliseconds since the epoch.", ("unix_ms(\"1970-01-01T00:01:00Z\")", "60000"), |a, _| Ok(Val::Int(instant(a, 0)?.0.div_euclid(1_000)).into())),
        function("unix_us(time)", "Microseconds since the epoch.", ("unix_us(\"1970-01-01T00:01:00Z\")", "60000000"), |a, _| Ok(Val::Int(instant(a, 0)?.0).into())),
        function("unix_ns(time)", "Nanoseconds since the epoch.", ("unix_ns(\"1970-01-01T00:01:00Z\")", "60000000000"), |a, _| instant(a, 0)?.0.checked_mul(1_000).map(|ns| Val::Int(ns).into()).ok_or(Fault::Overflow)),
    ]
}

fn writing() -> Vec<Function> {
    vec![
        function(
            "format_time(time, pattern?, zone?)",
            "The instant as RFC 3339 text in UTC, or in a strftime pattern.",
            ("format_time(\"2026-01-02T03:04:05Z\", \"%d.%m.%Y %H:%M\", \"Europe/Berlin\")", "\"02.01.2026 04:04\""),
            format_time,
        )
        .checked(1, check_pattern)
        .checked(2, check_zone),
        function(
            "in_zone(time, zone, pattern?)",
            "The instant as a zone's clocks show it: RFC 3339 with its offset, or in a strftime pattern.",
            ("in_zone(\"2026-07-01T12:00:00Z\", \"Europe/Berlin\")", "\"2026-07-01T14:00:00+02:00\""),
            in_zone,
        )
        .checked(1, check_zone)
        .checked(2, check_pattern),
        function(
            "format_duration(micros)",
            "Microseconds as a duration, the longest units first.",
            ("format_duration(5400000000)", "\"1h30m\""),
            |a, arena| made(&TimeSpan(super::int(a, 0)?).to_string(), arena),
        ),
        function(
            "date(time, zone?)",
            "The date, `2026-01-02`.",
            ("date(\"2026-01-01T23:30:00Z\", \"Europe/Berlin\")", "\"2026-01-02\""),
            |a, arena| written(a, "%Y-%m-%d", arena),
        )
        .checked(1, check_zone),
        function(
            "time_of_day(time, zone?)",
            "What the clock shows, `03:04:05`: text that compares as times do.",
            ("time_of_day(\"2026-01-02T03:04:05Z\")", "\"03:04:05\""),
            |a, arena| written(a, "%H:%M:%S", arena),
        )
        .checked(1, check_zone),
    ]
}

fn parts() -> Vec<Function> {
    macro_rules! part {
        ($signature:literal, $summary:literal, $example:expr, $take:expr) => {
            function($signature, $summary, $example, |a, _| civil(a, $take)).checked(1, check_zone)
        };
    }
    vec![
        part!("year(time, zone?)", "The year.", ("year(\"2026-01-02T03:04:05Z\")", "2026"), |t| t.year().into()),
        part!("month(time, zone?)", "The month, 1 to 12.", ("month(\"2026-01-02T03:04:05Z\")", "1"), |t| t
            .month()
            .into()),
        part!("day(time, zone?)", "The day of the month, from 1.", ("day(\"2026-01-02T03:04:05Z\")", "2"), |t| t
            .day()
            .into()),
        part!(
            "hour(time, zone?)",
            "The hour, 0 to 23.",
            ("hour(\"2026-01-02T03:04:05Z\", \"Asia/Tokyo\")", "12"),
            |t| t.hour().into()
        ),
        part!("minute(time, zone?)", "The minute, 0 to 59.", ("minute(\"2026-01-02T03:04:05Z\")", "4"), |t| t
            .minute()
            .into()),
        part!("second(time, zone?)", "The second, 0 to 59.", ("second(\"2026-01-02T03:04:05Z\")", "5"), |t| t
            .second()
            .into()),
    ]
}

fn dates() -> Vec<Function> {
    macro_rules! part {
        ($signature:literal, $summary:literal, $example:expr, $take:expr) => {
            function($signature, $summary, $example, |a, _| civil(a, $take)).checked(1, check_zone)
        };
    }
    vec![
        part!(
            "weekday(time, zone?)",
            "The day of the week, 1 (Monday) to 7.",
            ("weekday(\"2026-01-02T03:04:05Z\")", "5"),
            |t| t.weekday().to_monday_one_offset().into()
        ),
        part!(
            "day_of_year(time, zone?)",
            "The day of the year, from 1.",
            ("day_of_year(\"2026-02-01T00:00:00Z\")", "32"),
            |t| t.day_of_year().into()
        ),
        part!(
            "week(time, zone?)",
            "The week of the year by ISO 8601, 1 to 53.",
            ("week(\"2026-01-05T00:00:00Z\")", "2"),
            |t| t.date().iso_week_date().week().into()
        ),
        part!(
            "quarter(time, zone?)",
            "The quarter of the year, 1 to 4.",
            ("quarter(\"2026-05-05T00:00:00Z\")", "2"),
            |t| ((t.month() + 2) / 3).into()
        ),
        function(
            "is_weekend(time, zone?)",
            "Whether it is Saturday or Sunday.",
            ("is_weekend(\"2026-01-03T00:00:00Z\")", "true"),
            |a, _| truth(zoned(a, 1)?.weekday().to_monday_one_offset() > 5),
        )
        .checked(1, check_zone),
    ]
}

/// The instant that argument `i` is.
pub(super) fn instant(args: &[Val<'_>], i: usize) -> Result<Timestamp, Fault> {
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
    if at.is_event_time() { Ok(at) } else { Err(outside(i)) }
}

/// The fault of an instant that no event can have.
pub(super) fn outside(i: usize) -> Fault {
    Fault::Unfit(i, "is outside the years 0000 to 9999".into())
}

/// An instant as a result, if an event can have it.
pub(super) fn returned<'a>(micros: i64) -> Return<'a> {
    if Timestamp(micros).is_event_time() {
        Ok(Val::Int(micros).into())
    } else {
        Err(Fault::Other("the result is outside the years 0000 to 9999".into()))
    }
}

/// The duration that argument `i` is: text, or an integer of microseconds.
pub(super) fn span(args: &[Val<'_>], i: usize) -> Result<TimeSpan, Fault> {
    match any(args, i) {
        Val::Int(micros) => Ok(TimeSpan(micros)),
        _ => TimeSpan::parse(text(args, i)?).map_err(Fault::Other),
    }
}

pub(super) fn check_span(text: &str) -> Result<(), String> {
    TimeSpan::parse(text).map(drop).map_err(|why| match why.split_once(" is not ") {
        Some((_, rest)) => format!("is not {rest}"),
        None => why,
    })
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
        let by_city = known.iter().find(|k| k.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name)));
        let near = by_city.map(String::as_str).or_else(|| nearest(name, known.iter().map(String::as_str)));
        match near {
            Some(near) => format!("is not a time zone; did you mean {near:?}?"),
            None => "is not a time zone; they are named like `Europe/Berlin`".into(),
        }
    })
}

pub(super) fn check_zone(name: &str) -> Result<(), String> {
    find_zone(name).map(drop)
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    strtime::format(pattern, &sample).map(drop).map_err(|e| bad_pattern(&e))
}

fn bad_pattern(error: &jiff::Error) -> String {
    let said = error.to_string();
    format!("is no pattern like `%Y-%m-%d %H:%M`: {}", said.rsplit(": ").next().unwrap_or(&said))
}

/// The zone that argument `i` names; UTC without one.
pub(super) fn zone(args: &[Val<'_>], i: usize) -> Result<Rc<TimeZone>, Fault> {
    match optional(args, i)? {
        None => Ok(Rc::new(TimeZone::UTC)),
        Some(name) => ZONES.with(|kept| kept.get(name, find_zone)).map_err(|why| Fault::Unfit(i, why)),
    }
}

/// The instant that the first argument is, in the zone that argument `i` names.
pub(super) fn zoned(args: &[Val<'_>], i: usize) -> Result<jiff::Zoned, Fault> {
    let at = jiff::Timestamp::from_microsecond(instant(args, 0)?.0).map_err(|_| outside(0))?;
    Ok(at.to_zoned(TimeZone::clone(&*zone(args, i)?)))
}

fn civil<'a>(args: &[Val<'a>], take: fn(&jiff::Zoned) -> i64) -> Return<'a> {
    Ok(Val::Int(take(&zoned(args, 1)?)).into())
}

fn parse_time<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let Some(pattern) = optional(args, 1)? else { return Ok(Val::Int(instant(args, 0)?.0).into()) };
    let spelling = text(args, 0)?;
    let wrong = |why: &str| {
        Fault::Unfit(
            0,
            format!("is {:?}, which is not in the pattern {pattern:?}{why}", crate::expr::spell::cut(spelling.into())),
        )
    };
    let because = |e: jiff::Error| wrong(&format!(": {e}"));
    let parsed = strtime::parse(pattern, spelling).map_err(because)?;
    if parsed.timestamp().is_some() || parsed.offset().is_some() || parsed.iana_time_zone().is_some() {
        let at = parsed.to_timestamp().or_else(|_| parsed.to_zoned().map(|at| at.timestamp())).map_err(because)?;
        return Ok(Val::Int(at.as_microsecond()).into());
    }
    // Without a time of day it is midnight.
    let date = parsed.to_date().map_err(because)?;
    let local = date.to_datetime(parsed.to_time().unwrap_or(jiff::civil::Time::midnight()));
    let at = zone(args, 2)?.to_ambiguous_timestamp(local).compatible().map_err(because)?;
    returned(at.as_microsecond())
}

/// How many of a unit of time are a second, and the name's meaning. The error goes on after the argument.
fn unit_of(unit: &str) -> Result<i64, String> {
    match unit {
        "s" => Ok(1),
        "ms" => Ok(1_000),
        "us" => Ok(1_000_000),
        "ns" => Ok(1_000_000_000),
        other => Err(format!("is {other:?}, which is none of `s`, `ms`, `us` and `ns`")),
    }
}

fn from_unix<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let number = float(args, 0)?;
    let per_second = match optional(args, 1)? {
        Some(unit) => unit_of(unit).map_err(|why| Fault::Unfit(1, why))?,
        None if number.abs() < 1e11 => 1,
        None if number.abs() < 1e14 => 1_000,
        None if number.abs() < 1e17 => 1_000_000,
        None => 1_000_000_000,
    };
    let micros = match any(args, 0) {
        // Finer than microseconds is cut, towards the past.
        Val::Int(n) => i64::try_from((i128::from(n) * 1_000_000).div_euclid(per_second.into())).ok(),
        _ => Some(number * 1e6 / per_second as f64).filter(|m| m.abs() < 9e18).map(|m| m.floor() as i64),
    };
    micros.map_or_else(|| Err(outside(0)), returned)
}

fn format_time<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let at = instant(args, 0)?;
    let Some(pattern) = optional(args, 1)? else {
        let mut buffer = [0; RFC3339_LEN];
        return made(write_rfc3339(at, &mut buffer), arena);
    };
    formatted(&zoned(args, 2)?, pattern, 1, arena)
}

/// An instant in a pattern, which is argument `i`.
fn formatted<'a>(at: &jiff::Zoned, pattern: &str, i: usize, arena: &'a Bump) -> Return<'a> {
    made(&strtime::format(pattern, at).map_err(|e| Fault::Unfit(i, bad_pattern(&e)))?, arena)
}

fn in_zone<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    formatted(&zoned(args, 1)?, optional(args, 2)?.unwrap_or(WITH_OFFSET), 2, arena)
}

fn written<'a>(args: &[Val<'a>], pattern: &str, arena: &'a Bump) -> Return<'a> {
    formatted(&zoned(args, 1)?, pattern, 0, arena)
}
