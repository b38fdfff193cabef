//! Hours, days, weeks and months of a time zone as spans of event time, one right after the other.
//!
//! A date begins at its first instant: where clocks skip midnight, at the first instant after the gap; where they show
//! midnight twice, at the first of the two. An hour begins where the clock shows a full hour, or jumps forward over one.
//! So every instant is in one span, whatever its clock did: in Newfoundland, where clocks once went back from 00:01 to
//! 23:01, that hour belongs to the day that had begun.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::time::{TimeSpan, Timestamp};

/// A unit of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// From one full hour of the clock to the next. Where clocks go back by an hour, the hour that comes twice is two
    /// spans; where they move by half an hour, a span is that much longer or shorter.
    Hour,
    /// A date: 23 to 25 hours where clocks change.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

impl Unit {
    /// The word that an author writes.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
        }
    }

    /// The length of the longest, but for clocks that change.
    pub fn length(self) -> TimeSpan {
        TimeSpan::seconds(match self {
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 31 * 86_400,
        })
    }
}

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// One unit in one zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    unit: Unit,
    zone: TimeZone,
}

impl Calendar {
    /// A unit in the zone of this IANA name.
    pub fn new(unit: Unit, zone: &str) -> Result<Self, String> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| format!("there is no time zone `{name}`"))?,
        };
        Ok(Calendar { unit, zone })
    }

    /// The span that an instant is in, microseconds: its first instant and the first after it. The last span that the
    /// calendar knows goes on to the end of the year 9999; what is no event time counts as the nearest one.
    pub fn span_of(&self, time: i64) -> (i64, i64) {
        let time = time.clamp(Timestamp::FIRST.0, Timestamp::LAST.0);
        match self.unit {
            Unit::Hour => self.hour(time),
            Unit::Day | Unit::Week | Unit::Month => self.dates(time),
        }
    }

    fn dates(&self, time: i64) -> (i64, i64) {
        let whole = (Timestamp::FIRST.0, Timestamp::LAST.0 + 1);
        let Some(first) = self.first_date(instant(time).to_zoned(self.zone.clone()).date()) else { return whole };
        let start_of = |units: i64| {
            let date = match self.unit {
                Unit::Month => first.checked_add(units.months()),
                Unit::Week => first.checked_add(units.weeks()),
                Unit::Hour | Unit::Day => first.checked_add(units.days()),
            };
            let start = date.and_then(|date| date.to_zoned(self.zone.clone())).and_then(|at| at.start_of_day());
            start.ok().map(|at| at.timestamp().as_microsecond())
        };
        // Where clocks went back over midnight, an instant's date is not that of the span it is in: the next one has begun.
        // A date that a zone left out is an empty span.
        let mut units = 0;
        while start_of(units).is_some_and(|start| start > time) {
            units -= 1;
        }
        while start_of(units + 1).is_some_and(|end| end <= time) {
            units += 1;
        }
        (start_of(units).unwrap_or(whole.0), start_of(units + 1).unwrap_or(whole.1))
    }

    /// The first date of the unit that a date is in.
    fn first_date(&self, date: Date) -> Option<Date> {
        match self.unit {
            Unit::Month => Some(date.first_of_month()),
            Unit::Week => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok(),
            Unit::Hour | Unit::Day => Some(date),
        }
    }

    fn hour(&self, time: i64) -> (i64, i64) {
        let floor = |at: i64, offset: i64| (at + offset).div_euclid(HOUR) * HOUR - offset;
        let mut at = time;
        let start = loop {
            let start = floor(at, self.offset(at));
            // What changed the clocks last, if that was within this hour of the clock.
            let changed = self.zone.preceding(instant(at + 1)).next().map(|t| t.timestamp().as_microsecond());
            match changed.filter(|changed| *changed > start) {
                Some(changed) if self.begins_hour(changed) => break changed,
                Some(changed) => at = changed - 1,
                None => break start,
            }
        };
        let mut at = time;
        let end = loop {
            let end = floor(at, self.offset(at)) + HOUR;
            let changes = self.zone.following(instant(at)).next().map(|t| t.timestamp().as_microsecond());
            match changes.filter(|changes| *changes <= end) {
                Some(changes) if self.begins_hour(changes) => break changes,
                Some(changes) => at = changes,
                None => break end,
            }
        };
        (start, end)
    }

    /// Whether an hour begins where clocks change: they then show a full one, or jumped over one.
    fn begins_hour(&self, changed: i64) -> bool {
        let (before, after) = (self.offset(changed - 1), self.offset(changed));
        let jumped = (changed - 1 + before).div_euclid(HOUR) < (changed + after).div_euclid(HOUR);
        (changed + after).rem_euclid(HOUR) == 0 || jumped
    }

    /// What the zone's clocks are ahead of UTC, microseconds.
    fn offset(&self, at: i64) -> i64 {
        i64::from(self.zone.to_offset(instant(at)).seconds()) * SECOND
    }
}

/// As the calendar's library has it; the nearest one that it has.
fn instant(time: i64) -> jiff::Timestamp {
    let nearest = if time < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(time).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    /// The span of an instant as text, and its length in minutes.
    fn span(unit: Unit, zone: &str, time: &str) -> (String, String, i64) {
        let (start, end) = Calendar::new(unit, zone).unwrap().span_of(at(time));
        (Timestamp(start).to_string(), Timestamp(end).to_string(), (end - start) / (60 * SECOND))
    }

    fn is(unit: Unit, zone: &str, time: &str, start: &str, minutes: i64) {
        let (from, to, length) = span(unit, zone, time);
        assert_eq!((from.as_str(), length), (start, minutes), "{unit:?} {zone} {time}: to {to}");
    }

    #[test]
    fn days_where_clocks_change() {
        let day = Unit::Day;
        is(day, "UTC", "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z", 24 * 60);
        is(day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23 * 60);
        is(day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25 * 60);
        is(day, "Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", 24 * 60 + 30);
        is(day, "Australia/Lord_Howe", "2026-10-04T00:00:00Z", "2026-10-03T13:30:00Z", 23 * 60 + 30);
        // No midnight: the day begins at one o'clock, at -02:00.
        is(day, "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", 23 * 60);
        is(day, "Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z", 23 * 60);
        // Midnight twice: the first one counts.
        is(day, "America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", 25 * 60);
        // 23:01 to 24:00 for the second time, after the day had begun for a minute.
        is(day, "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", 25 * 60);
        // Samoa had no 30 December 2011.
        is(day, "Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", 24 * 60);
        is(day, "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", 24 * 60);
    }

    #[test]
    fn hours_where_clocks_change() {
        let hour = Unit::Hour;
        is(hour, "Asia/Kolkata", "2026-01-01T00:10:00Z", "2025-12-31T23:30:00Z", 60);
        // The hour from two to three comes twice.
        is(hour, "Europe/Berlin", "2026-10-25T00:59:00Z", "2026-10-25T00:00:00Z", 60);
        is(hour, "Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z", 60);
        // And in spring not at all.
        is(hour, "Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", 60);
        is(hour, "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 60);
        // Half past one to two comes twice; half past two comes right after two o'clock would have.
        is(hour, "Australia/Lord_Howe", "2026-04-04T14:30:00Z", "2026-04-04T14:00:00Z", 90);
        is(hour, "Australia/Lord_Howe", "2026-04-04T15:29:00Z", "2026-04-04T14:00:00Z", 90);
        is(hour, "Australia/Lord_Howe", "2026-10-03T15:40:00Z", "2026-10-03T15:30:00Z", 30);
        is(hour, "Australia/Lord_Howe", "2026-10-03T16:00:00Z", "2026-10-03T16:00:00Z", 60);
    }

    #[test]
    fn weeks_and_months() {
        is(Unit::Week, "UTC", "2026-01-01T00:00:00Z", "2025-12-29T00:00:00Z", 7 * 24 * 60);
        is(Unit::Week, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", (7 * 24 - 1) * 60);
        is(Unit::Month, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-09-30T22:00:00Z", (31 * 24 + 1) * 60);
        is(Unit::Month, "UTC", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", 29 * 24 * 60);
        is(Unit::Month, "UTC", "1969-12-31T23:59:59Z", "1969-12-01T00:00:00Z", 31 * 24 * 60);
    }

    #[test]
    fn at_the_ends_of_time() {
        for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month] {
            for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
                let calendar = Calendar::new(unit, zone).unwrap();
                for time in [Timestamp::FIRST.0, Timestamp::LAST.0 - 20 * HOUR, Timestamp::LAST.0] {
                    let (start, end) = calendar.span_of(time);
                    assert!(start <= time && time < end, "{unit:?} {zone}: {start} {time} {end}");
                    assert_eq!(calendar.span_of(start), (start, end));
                    assert_eq!(calendar.span_of(end - 1), (start, end));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Whatever the zone's clocks did, each instant is in one span, and a span is the same from everywhere in it.
        #[test]
        fn spans_lie_one_after_the_other(
            unit in prop::sample::select(vec![Unit::Hour, Unit::Day, Unit::Week, Unit::Month]),
            zone in prop::sample::select(jiff::tz::db().available().map(|n| n.to_string()).collect::<Vec<_>>()),
            time in -5_000_000_000_000_000i64..5_000_000_000_000_000,
            part in 0.0f64..1.0,
        ) {
            let Ok(calendar) = Calendar::new(unit, &zone) else { return Ok(()) };
            // Near a change of the clocks, if there is one.
            let near = calendar.zone.following(instant(time)).next().map_or(time, |t| t.timestamp().as_microsecond());
            for time in [time, near - 1, near, near + HOUR / 2, near - HOUR / 2, near + 23 * HOUR] {
                let (start, end) = calendar.span_of(time);
                prop_assert!(start <= time && time < end, "{} {:?} {}: {} {}", zone, unit, time, start, end);
                let within = start + ((end - start) as f64 * part) as i64;
                prop_assert_eq!(calendar.span_of(within.min(end - 1)), (start, end));
                prop_assert_eq!(calendar.span_of(start), (start, end));
                prop_assert_eq!(calendar.span_of(end).0, end);
                prop_assert_eq!(calendar.span_of(start - 1).1, start);
            }
        }
    }
}
