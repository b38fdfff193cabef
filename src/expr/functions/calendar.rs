//! Instants moved and compared: by spans, which are always of one length, and by the calendar of a zone, whose days
//! have 23 to 25 hours.

use bumpalo::Bump;
use jiff::civil::Weekday;
use jiff::{Span, Zoned};

use super::time::{check_span, check_zone, instant, returned, span, zone, zoned};
use super::{Function, Return, function, int, text};
use crate::base::time::days_from_civil;
use crate::data::value::Val;
use crate::expr::fault::Fault;
use crate::expr::ops::finite;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("add_time(time, span)", "The instant later by a duration such as `1h30m`, or earlier by one such as `-5m`.", ("format_time(add_time(\"2026-01-01T00:00:00Z\", \"90m\"))", "\"2026-01-01T01:30:00Z\""), add_time).checked(1, check_span),
        function("add_calendar(time, count, unit, zone?)", "The instant moved by so many `day`, `week`, `month`, `quarter` or `year` of a zone's calendar, at the same time of day; the 31st becomes the last of a shorter month.", ("format_time(add_calendar(\"2026-01-31T12:00:00Z\", 1, \"month\"))", "\"2026-02-28T12:00:00Z\""), add_calendar).checked(2, |unit| unit_of(unit).and_then(movable)).checked(3, check_zone),
        function("floor_time(time, span)", "The last instant not after it on a grid of durations that begins at the epoch: the start of a tumbling window.", ("format_time(floor_time(\"2026-01-01T10:17:00Z\", \"15m\"))", "\"2026-01-01T10:15:00Z\""), floor_time).checked(1, check_span),
        function("start_of(time, unit, zone?)", "The start of the `minute`, `hour`, `day`, `week` (Monday), `month`, `quarter` or `year` that it is in, by a zone's clocks.", ("format_time(start_of(\"2026-07-01T23:30:00Z\", \"day\", \"Europe/Berlin\"))", "\"2026-07-01T22:00:00Z\""), start_of).checked(1, |unit| unit_of(unit).map(drop)).checked(2, check_zone),
        function("time_between(from, to, span?)", "How long it is from one instant to another, in seconds or in a duration such as `1h`; negative if the second is earlier.", ("time_between(\"2026-01-01T00:00:00Z\", \"2026-01-01T01:30:00Z\", \"1h\")", "1.5"), time_between).checked(2, check_span),
        function("days_between(from, to, zone?)", "How many midnights of a zone lie between two instants; negative if the second is earlier.", ("days_between(\"2026-01-01T23:00:00Z\", \"2026-01-02T01:00:00Z\")", "1"), days_between).checked(2, check_zone),
    ]
}

/// A unit of the calendar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

const UNITS: [(&str, Unit); 7] = [
    ("minute", Unit::Minute),
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
];

/// The unit of a name. The error goes on after the argument.
fn unit_of(name: &str) -> Result<Unit, String> {
    let found = UNITS.iter().find(|(unit, _)| *unit == name);
    found.map(|(_, unit)| *unit).ok_or_else(|| {
        let listed: Vec<String> = UNITS.iter().map(|(unit, _)| format!("`{unit}`")).collect();
        format!("is {name:?}, which is none of {}", listed.join(", "))
    })
}

/// Whether the calendar moves by a unit; minutes and hours are always of one length.
fn movable(unit: Unit) -> Result<(), String> {
    match unit {
        Unit::Minute | Unit::Hour => Err("is of one length whatever the calendar; use `add_time(time, \"1h\")`".into()),
        _ => Ok(()),
    }
}

fn unit(args: &[Val<'_>], i: usize) -> Result<Unit, Fault> {
    unit_of(text(args, i)?).map_err(|why| Fault::Unfit(i, why))
}

fn beyond() -> Fault {
    Fault::Other("the result is outside the years 0000 to 9999".into())
}

fn micros<'a>(at: &Zoned) -> Return<'a> {
    returned(at.timestamp().as_microsecond())
}

fn add_time<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (at, span) = (instant(args, 0)?, span(args, 1)?);
    at.0.checked_add(span.0).map_or_else(|| Err(beyond()), returned)
}

fn add_calendar<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (at, count, unit) = (zoned(args, 3)?, int(args, 1)?, unit(args, 2)?);
    movable(unit).map_err(|why| Fault::Unfit(2, why))?;
    let span = match unit {
        Unit::Week => Span::new().try_weeks(count),
        Unit::Month => Span::new().try_months(count),
        Unit::Quarter => Span::new().try_months(count.saturating_mul(3)),
        Unit::Year => Span::new().try_years(count),
        Unit::Minute | Unit::Hour | Unit::Day => Span::new().try_days(count),
    };
    let moved = span.and_then(|span| at.checked_add(span)).map_err(|_| beyond())?;
    micros(&moved)
}

fn floor_time<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (at, span) = (instant(args, 0)?, span(args, 1)?);
    if span.0 <= 0 {
        return Err(Fault::Unfit(1, "is not above 0, and a grid needs a length".into()));
    }
    returned(at.0 - at.0.rem_euclid(span.0))
}

fn start_of<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (at, unit) = (zoned(args, 2)?, unit(args, 1)?);
    let date = at.date();
    let first = match unit {
        // Clocks are changed between minutes and hours, so what they show since can be taken away.
        Unit::Minute | Unit::Hour => {
            let minutes = if unit == Unit::Hour { i64::from(at.minute()) } else { 0 };
            let since = (minutes * 60 + i64::from(at.second())) * 1_000_000;
            let fraction = i64::from(at.subsec_nanosecond()).div_euclid(1_000);
            return returned(at.timestamp().as_microsecond() - since - fraction);
        }
        Unit::Day => Ok(date),
        Unit::Week if date.weekday() == Weekday::Monday => Ok(date),
        Unit::Week => date.nth_weekday(-1, Weekday::Monday),
        Unit::Month => Ok(date.first_of_month()),
        Unit::Quarter => {
            let month = (date.month() - 1) / 3 * 3 + 1;
            jiff::civil::Date::new(date.year(), month, 1)
        }
        Unit::Year => Ok(date.first_of_year()),
    };
    // Where clocks skip midnight, the day begins after it.
    let start = first.and_then(|date| date.to_zoned(at.time_zone().clone())).map_err(|_| beyond())?;
    micros(&start)
}

fn time_between<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (from, to) = (instant(args, 0)?, instant(args, 1)?);
    let unit = if args.len() > 2 { span(args, 2)?.0 } else { 1_000_000 };
    if unit <= 0 {
        return Err(Fault::Unfit(2, "is not above 0, and only such a duration can be counted".into()));
    }
    Ok(finite((to.0 - from.0) as f64 / unit as f64)?.into())
}

fn days_between<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let zone = zone(args, 2)?;
    let day = |i: usize| {
        let at = jiff::Timestamp::from_microsecond(instant(args, i)?.0).map_err(|_| super::time::outside(i))?;
        let date = zone.to_datetime(at);
        Ok(days_from_civil(date.year().into(), date.month().into(), date.day().into()))
    };
    Ok(Val::Int(day(1)? - day(0)?).into())
}
