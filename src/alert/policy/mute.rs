//! Mute times: when nobody is told, by the calendar and the clock of a zone.

use jiff::ToSpan;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::base::time::Timestamp;

/// Days that are looked at for the end of a mute time: one without an end in it is asked again then.
const LOOK_AHEAD: i64 = 800;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// From a number to a number, both included; where the first is the greater one, over the end of the week or year.
type Span = (i8, i8);

/// Times that recur: those clock times on those days that are all of what is written. What is not written is any.
#[derive(Clone, PartialEq, Debug)]
pub struct MuteTime {
    /// Of the week, Monday being 1.
    days: Vec<Span>,
    /// Of the month; -1 is its last.
    dates: Vec<Span>,
    months: Vec<Span>,
    /// From, to; one that ends no later than it begins ends on the next day, and belongs to the day on which it began.
    times: Vec<(Time, Option<Time>)>,
    zone: TimeZone,
}

impl MuteTime {
    /// Reads what an author writes: days (`monday`, `sat`, `mon-fri`), dates of the month (`1`, `24-26`, `-1` for the last
    /// one, `-3 to -1`), months (`december`, `jul-aug`), times (`22:00-06:00`, `09:00-24:00`) and an IANA zone.
    pub fn parse(
        days: &[String],
        dates: &[String],
        months: &[String],
        times: &[String],
        zone: &str,
    ) -> Result<Self, String> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| {
                format!("`{name}` is not a time zone; write an IANA name such as `Europe/Berlin` or `UTC`")
            })?,
        };
        let read = |list: &[String], one: &dyn Fn(&str) -> Option<i8>, like: &str| -> Result<Vec<Span>, String> {
            list.iter().map(|text| span(text, one).ok_or_else(|| format!("`{text}` is not {like}"))).collect()
        };
        let days =
            read(days, &|word| named(word, &DAYS), "a day of the week; write it like `monday`, `sat` or `mon-fri`")?;
        let months = read(
            months,
            &|word| named(word, &MONTHS).or_else(|| number(word, 1, 12)),
            "a month; write it like `december` or `jul-aug`",
        )?;
        let dates = read(
            dates,
            &|word| number(word, 1, 31).or_else(|| number(word, -31, -1)),
            "a date of the month; write it like `1`, `24-26`, or `-1` for the last one",
        )?;
        let times = times.iter().map(|text| clock_span(text)).collect::<Result<_, _>>()?;
        Ok(MuteTime { days, dates, months, times, zone })
    }

    /// The end of the time that an instant is in, if it is in one.
    fn end_of(&self, now: Timestamp) -> Option<Timestamp> {
        let today = instant(now).to_zoned(self.zone.clone()).date();
        // What began yesterday may end today; where a zone skipped a date, the day before that.
        let days = (-2..=1).filter_map(|days: i64| today.checked_add(days.days()).ok());
        let spans = days.filter(|day| self.has_day(*day)).flat_map(|day| self.spans(day));
        spans.filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| to).max()
    }

    fn has_day(&self, day: Date) -> bool {
        let weekday = day.weekday().to_monday_one_offset();
        let (date, length) = (day.day(), day.days_in_month());
        let any = |spans: &[Span], within: &dyn Fn(Span) -> bool| spans.is_empty() || spans.iter().any(|s| within(*s));
        let round = |value: i8, (from, to): Span| {
            if from <= to { from <= value && value <= to } else { value >= from || value <= to }
        };
        let from_start = |n: i8| if n < 0 { length + 1 + n } else { n };
        any(&self.days, &|span| round(weekday, span))
            && any(&self.months, &|span| round(day.month(), span))
            && any(&self.dates, &|(from, to)| (from_start(from)..=from_start(to)).contains(&date))
    }

    /// What it has of a day, as instants.
    fn spans(&self, day: Date) -> Vec<(Timestamp, Timestamp)> {
        let next = day.checked_add(1.days()).unwrap_or(day);
        let at = |date: Date, time: Time| {
            let zoned = self.zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().ok()?;
            Some(Timestamp(zoned.timestamp().as_microsecond()))
        };
        let start = |date: Date| {
            let zoned = date.to_zoned(self.zone.clone()).and_then(|at| at.start_of_day()).ok()?;
            Some(Timestamp(zoned.timestamp().as_microsecond()))
        };
        if self.times.is_empty() {
            return start(day).zip(start(next)).into_iter().collect();
        }
        let spans = self.times.iter().filter_map(|(from, to)| {
            let end = match to {
                None => start(next)?,
                Some(to) if to <= from => at(next, *to)?,
                Some(to) => at(day, *to)?,
            };
            Some((at(day, *from)?, end))
        });
        spans.collect()
    }
}

/// Until when an instant is muted by any of these times, one after the other; `None` if it is not. What has no end for two
/// years ends then, to be asked again.
pub fn muted_until(times: &[MuteTime], now: Timestamp) -> Option<Timestamp> {
    let mut until = None;
    for _ in 0..LOOK_AHEAD {
        let at = until.unwrap_or(now);
        match times.iter().filter_map(|time| time.end_of(at)).max() {
            Some(end) if end > at => until = Some(end),
            _ => break,
        }
    }
    until
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    let nearest = if time.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(time.0).unwrap_or(nearest)
}

/// `a`, `a-b` or `a to b`.
fn span(text: &str, one: &dyn Fn(&str) -> Option<i8>) -> Option<Span> {
    let text = text.trim();
    if let Some(single) = one(text) {
        return Some((single, single));
    }
    let ends = text.split_once(" to ").or_else(|| {
        // A minus at the front belongs to a number.
        let at = text.get(1..)?.find('-')? + 1;
        Some((text.get(..at)?, text.get(at + 1..)?))
    });
    let (from, to) = ends?;
    Some((one(from.trim())?, one(to.trim())?))
}

/// The place of a name or of its first three letters or more, from 1.
fn named(word: &str, names: &[&str]) -> Option<i8> {
    let word = word.to_ascii_lowercase();
    let at = names.iter().position(|name| word.len() >= 3 && name.starts_with(&word))?;
    i8::try_from(at + 1).ok()
}

fn number(word: &str, least: i8, most: i8) -> Option<i8> {
    word.parse().ok().filter(|n| (least..=most).contains(n))
}

fn clock_span(text: &str) -> Result<(Time, Option<Time>), String> {
    let wrong = || format!("`{text}` is not a time of day; write it like `22:00-06:00` or `09:00-24:00`");
    let ends = text.split_once(" to ").or_else(|| text.split_once('-'));
    let (from, to) = ends.ok_or_else(wrong)?;
    let from = clock(from.trim()).ok_or_else(wrong)?;
    let to = match to.trim() {
        "24:00" => None,
        to => Some(clock(to).ok_or_else(wrong)?),
    };
    Ok((from, to))
}

fn clock(text: &str) -> Option<Time> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str, most: i8| {
        let digits = part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| number(part, 0, most)).flatten()
    };
    Time::new(two(hours, 23)?, two(minutes, 59)?, 0, 0).ok()
}

#[cfg(test)]
mod tests;
