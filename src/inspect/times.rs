//! Where the time of events stands: fields whose values read as times, and how well each would do.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::disorder::Disorder;
use super::records::shown;
use super::spelling;
use crate::base::time::{Timestamp, parse_civil, parse_rfc3339};
use crate::data::clock::TimeReader;
use crate::data::column::ColumnBuilder;
use crate::data::format::TimeFormat;
use crate::data::value::{Map, Val, Value};

/// Events that are kept to find the fields; the disorder is measured over all.
pub const SAMPLE: usize = 10_000;
/// Different fields that are looked at.
const FIELDS: usize = 512;
/// Maps inside one another.
const DEPTH: usize = 8;
/// Of a hundred values of a field so many have to read as times for the field to be proposed.
const MOSTLY: usize = 90;
/// Values, spread over all, of which half have to read for the others to be looked at.
const PROBED: usize = 64;
/// Fields whose disorder is measured.
const MEASURED: usize = 4;

/// Patterns in the order in which they are tried: one that says more before one that says less.
const PATTERNS: [&str; 20] = [
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S,%f",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%Y%m%dT%H%M%S",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
];
/// Those from here on have no time of day.
const DATES: usize = 15;
/// Times of day, for a date in another field: each reads what the one before does not.
const CLOCKS: [&str; 3] = ["%H:%M:%S", "%H:%M", "%H"];

/// Names that mostly are an event's time.
const NAMES: [&str; 13] = [
    "time",
    "timestamp",
    "ts",
    "@timestamp",
    "event_time",
    "eventtime",
    "datetime",
    "date_time",
    "occurred_at",
    "created_at",
    "created",
    "date",
    "at",
];

/// One or two fields that may be an event's time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// As `time.field` names it.
    pub field: String,
    /// How its values are read.
    pub format: TimeFormat,
    /// How good it is; greater is better.
    pub score: i64,
    /// What speaks for it and against it, a clause each.
    pub reasons: Vec<String>,
    paths: Vec<Vec<CompactString>>,
    /// Whether values are numbers since the epoch: those far from our time are then none.
    epoch: bool,
}

/// Values of one field in the sample.
#[derive(Default)]
struct Column {
    /// There and not null, by event.
    values: BTreeMap<usize, Value>,
}

/// The fields that may be the time of these events, the best first. With `only`, that field alone, as its author spells
/// it, though only some of its values read.
pub fn candidates(events: &[Value], only: Option<&str>) -> Vec<Candidate> {
    let mut columns: indexmap::IndexMap<Vec<CompactString>, Column> = indexmap::IndexMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Value::Map(map) = event {
            gather(at, map, &mut Vec::new(), &mut columns);
        }
    }
    columns.retain(|path, _| only.is_none_or(|only| is_named(path, only)));
    let least = |values: usize| if only.is_some() { 1 } else { (values * MOSTLY).div_ceil(100) };
    let mut found: Vec<Candidate> =
        columns.iter().filter_map(|(path, column)| candidate(path, column, events.len(), least)).collect();
    let dates: Vec<Candidate> = found.iter().filter(|c| is_date(&c.format)).cloned().collect();
    for date in dates {
        found.extend(columns.keys().filter_map(|clock| with_clock(&date, clock, events)));
    }
    found.sort_by_key(|c| std::cmp::Reverse(c.score));
    found.truncate(MEASURED);
    found
}

/// What there is of a field none of whose values reads as a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// How many events looked at have it.
    pub values: u64,
    /// The first of the values, as it is shown.
    pub first: String,
}

/// The values of a field that is no candidate; `None` if no event has it.
pub fn unreadable(events: &[Value], only: &str) -> Option<Unreadable> {
    let mut columns = indexmap::IndexMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Value::Map(map) = event {
            gather(at, map, &mut Vec::new(), &mut columns);
        }
    }
    let column = columns.into_iter().find(|(path, _)| is_named(path, only)).map(|(_, column)| column)?;
    let first = column.values.values().next().map(value_shown)?;
    Some(Unreadable { values: column.values.len() as u64, first })
}

/// Whether a field is the one that an author spells so.
fn is_named(path: &[CompactString], only: &str) -> bool {
    only == spelling::path(path) || path.join(".") == only
}

/// A value in a sentence.
fn value_shown(value: &Value) -> String {
    match value {
        Value::Text(text) => shown(text),
        other => {
            let mut text = Vec::new();
            crate::data::json::write_val(other.as_val(), &mut text);
            shown(&String::from_utf8_lossy(&text))
        }
    }
}

fn gather(
    at: usize,
    map: &Map,
    path: &mut Vec<CompactString>,
    into: &mut indexmap::IndexMap<Vec<CompactString>, Column>,
) {
    for (name, value) in &map.0 {
        path.push(name.clone());
        match value {
            Value::Map(inner) if path.len() < DEPTH => gather(at, inner, path, into),
            Value::Text(_) | Value::Int(_) | Value::Float(_) if into.contains_key(path) || into.len() < FIELDS => {
                into.entry(path.clone()).or_default().values.insert(at, value.clone());
            }
            _ => {}
        }
        path.pop();
    }
}

/// Whether a pattern gives a day and no more.
fn is_date(format: &TimeFormat) -> bool {
    matches!(format, TimeFormat::Pattern(p) if PATTERNS.iter().skip(DATES).any(|date| date == p))
}

/// A field of whose values enough read as times: `least` says how many of so many have to.
fn candidate(
    path: &[CompactString],
    column: &Column,
    events: usize,
    least: impl Fn(usize) -> usize,
) -> Option<Candidate> {
    let values: Vec<&Value> = column.values.values().collect();
    let Format { format, how, read, epoch } = format_of(&values, least(values.len()))?;
    let mut reasons = vec![how];
    let text = values.iter().filter(|value| matches!(value, Value::Text(_))).count() * 2 > values.len();
    let mut score = match (text, &format) {
        (true, TimeFormat::Auto) => 60,
        (_, format) if is_date(format) => 10,
        (true, _) => 50,
        _ => 30,
    };
    if read < values.len() {
        score -= 15;
    }
    let there = values.len() as u64;
    if values.len() == events {
        score += 20;
        reasons.push("in every event".into());
    } else {
        // An event without it could not be placed.
        score -= 30;
        reasons.push(format!("in {} of the events looked at", spelling::share(there, events as u64)));
    }
    let name = path.last().map(|name| name.to_lowercase()).unwrap_or_default();
    if let Some(rank) = NAMES.iter().position(|known| *known == name) {
        score += 25 - i64::try_from(rank).unwrap_or(0);
        reasons.push("named like a time".into());
    } else if ["time", "date", "_at", "_ts"].iter().any(|part| name.contains(part)) {
        score += 8;
        reasons.push("named like a time".into());
    }
    score -= 2 * i64::try_from(path.len()).unwrap_or(0);
    if is_date(&format) {
        reasons.push("a date without a time of day".into());
    }
    let distinct = values.windows(2).filter(|pair| matches!(pair, [a, b] if !same(a, b))).count();
    if distinct == 0 && values.len() > 1 {
        score -= 50;
        reasons.push("always the same".into());
    }
    Some(Candidate { field: spelling::path(path), format, score, reasons, paths: vec![path.to_vec()], epoch })
}

fn same(a: &Value, b: &Value) -> bool {
    crate::data::value::compare(a.as_val(), b.as_val()).is_eq()
}

/// How the values of a field are read.
struct Format {
    format: TimeFormat,
    /// What that is called.
    how: String,
    /// How many values it reads.
    read: usize,
    /// Whether they are numbers since the epoch.
    epoch: bool,
}

/// How values are read: in the first of those ways that read the most of them, if these are at least so many.
fn format_of(values: &[&Value], least: usize) -> Option<Format> {
    let epoch = unix(values).filter(|found| found.read >= least);
    if epoch.as_ref().is_some_and(|found| found.read == values.len()) {
        return epoch;
    }
    let rfc3339 = reads(&TimeFormat::Rfc3339, values, least).map(|read| {
        let zoned = |text: &str| parse_rfc3339(text.as_bytes()).is_some();
        let civil = |text: &str| parse_civil(text.as_bytes()).is_some_and(|(_, rest)| rest.is_empty());
        let local = values.iter().any(|v| matches!(v, Value::Text(text) if !zoned(text) && civil(text)));
        let how = if local { "RFC 3339 without an offset, so in UTC unless `zone` says otherwise" } else { "RFC 3339" };
        Format { format: TimeFormat::Auto, how: how.into(), read, epoch: false }
    });
    if rfc3339.as_ref().is_some_and(|found| found.read == values.len()) {
        return rfc3339;
    }
    let pattern = || {
        let (pattern, read) = best(PATTERNS, |pattern| reads(&TimeFormat::Pattern((*pattern).into()), values, least))?;
        let swapped = pattern.strip_prefix("%m/%d/").map(|rest| TimeFormat::Pattern(format!("%d/%m/{rest}")));
        let either = swapped.is_some_and(|other| reads(&other, values, read).is_some());
        let though = if either { ", though day and month may be the other way round" } else { "" };
        let how = format!("`{pattern}`{though}");
        Some(Format { format: TimeFormat::Pattern(pattern.into()), how, read, epoch: false })
    };
    let ways = [epoch, rfc3339, pattern()];
    best(ways.into_iter().flatten(), |found| Some(found.read)).map(|(found, _)| found)
}

/// The first of those that read the most, with how many that is; once one of them reads as many as any can, in vain for
/// the others: whoever counts says `None` of what reads too few.
fn best<T>(ways: impl IntoIterator<Item = T>, read: impl Fn(&T) -> Option<usize>) -> Option<(T, usize)> {
    let mut best: Option<(T, usize)> = None;
    for way in ways {
        let Some(count) = read(&way) else { continue };
        if best.as_ref().is_none_or(|(_, most)| count > *most) {
            best = Some((way, count));
        }
    }
    best
}

/// A number, also one in quotes; a float that is no whole number only where it can be seconds.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(f) => Some(*f),
        Value::Text(text) => text.parse::<f64>().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit())),
        _ => None,
    }
}

/// The years that numbers since the epoch are taken to lie in, in seconds: 1990 to 2100.
const YEARS: (f64, f64) = (631_152_000.0, 4_102_444_800.0);

/// The unit that lets the most numbers lie in those years.
fn unix(values: &[&Value]) -> Option<Format> {
    let numbers: Vec<f64> = values.iter().filter_map(|value| number(value)).collect();
    let units = [("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)];
    let within = |(_, per_second): &(&str, f64)| {
        let read = numbers.iter().filter(|n| (YEARS.0 * per_second..YEARS.1 * per_second).contains(n)).count();
        (read > 0).then_some(read)
    };
    let ((name, _), read) = best(units, within)?;
    // `auto` tells these units apart by their size.
    Some(Format { format: TimeFormat::Auto, how: format!("{name} since the epoch"), read, epoch: true })
}

/// How many values a format reads, if these are at least so many.
fn reads(format: &TimeFormat, values: &[&Value], least: usize) -> Option<usize> {
    let mut reader = TimeReader::new(format, "UTC").ok()?;
    let mut is_time = |value: &&Value| time(&mut reader, value.as_val()).is_some();
    // Most fields are no time at all, and most patterns are not that of the field: some values tell.
    if least > 1 && values.len() > 2 * PROBED {
        let probed = values.iter().step_by(values.len() / PROBED);
        let (all, read) = (probed.len(), probed.filter(|value| is_time(value)).count());
        if read * 2 < all {
            return None;
        }
    }
    let read = values.iter().filter(|value| is_time(value)).count();
    (read >= least && read > 0).then_some(read)
}

/// One value as a time.
fn time(reader: &mut TimeReader, value: Val<'_>) -> Option<Timestamp> {
    let mut column = ColumnBuilder::with_capacity(1);
    column.push(value);
    let (mut times, mut errors) = (Vec::new(), Vec::new());
    reader.read(&column.finish(), 1, &mut times, &mut errors);
    times.pop().filter(|_| errors.is_empty())
}

/// A date with a time of day from another field.
fn with_clock(date: &Candidate, clock: &[CompactString], events: &[Value]) -> Option<Candidate> {
    let (TimeFormat::Pattern(day), [path]) = (&date.format, date.paths.as_slice()) else { return None };
    let name = clock.last().map(|name| name.to_lowercase()).unwrap_or_default();
    if path == clock || !["time", "hour", "clock", "hh", "hr"].iter().any(|part| name.contains(part)) {
        return None;
    }
    let paths = vec![path.clone(), clock.to_vec()];
    let joined: Vec<Option<Value>> = events.iter().map(|event| value_at(&paths, event)).collect();
    let there: Vec<&Value> = joined.iter().flatten().collect();
    if there.len() != events.len() {
        return None;
    }
    let formats = CLOCKS.iter().map(|clock| TimeFormat::Pattern(format!("{day} {clock}")));
    let least = (there.len() * MOSTLY).div_ceil(100);
    let format = best(formats, |format| reads(format, &there, least))?.0;
    let reasons = vec![format!("a date and a time of day, `{}`", pattern_of(&format)), "in every event".to_owned()];
    let field = format!("{} + \" \" + {}", date.field, spelling::path(clock));
    Some(Candidate { field, format, score: 75, reasons, paths, epoch: false })
}

fn pattern_of(format: &TimeFormat) -> &str {
    if let TimeFormat::Pattern(pattern) = format { pattern } else { "" }
}

/// The value of a candidate in an event: of two fields their texts with a space between.
fn value_at(paths: &[Vec<CompactString>], event: &Value) -> Option<Value> {
    if let [only] = paths {
        return event.at(only).filter(|value| !matches!(value, Value::Null)).cloned();
    }
    let text = |path: &Vec<CompactString>| match event.at(path)? {
        Value::Text(text) => Some(text.to_string()),
        Value::Int(int) => Some(int.to_string()),
        _ => None,
    };
    let texts: Vec<String> = paths.iter().map(text).collect::<Option<_>>()?;
    Some(Value::Text(texts.join(" ").into()))
}

/// Measures the disorder of a candidate, event by event.
#[derive(Debug)]
pub struct Measuring {
    reader: TimeReader,
    paths: Vec<Vec<CompactString>>,
    epoch: bool,
    /// The times so far.
    pub disorder: Disorder,
    /// Events without a time, or with one that cannot be read.
    pub without: u64,
    /// Values that are not taken for times.
    pub strange: Strange,
}

/// Values of a field that are no times, or none that can be meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strange {
    /// How many.
    pub values: u64,
    /// The first as it is shown, with the record that it stands in, from 1.
    pub first: Option<(String, u64)>,
    /// How many of them are numbers that a source reads as a time far from ours.
    pub far: u64,
}

impl Measuring {
    /// Nothing yet. The error says why the format cannot be read, which no candidate's is.
    pub fn new(candidate: &Candidate) -> Result<Self, String> {
        let reader = TimeReader::new(&candidate.format, "UTC")?;
        let (disorder, strange) = (Disorder::default(), Strange::default());
        Ok(Measuring { reader, paths: candidate.paths.clone(), epoch: candidate.epoch, disorder, without: 0, strange })
    }

    /// Looks at the next event, which is that record of the stream.
    pub fn add(&mut self, record: u64, event: &Value) {
        let Some(value) = value_at(&self.paths, event) else {
            self.without += 1;
            return;
        };
        let near = |at: &Timestamp| {
            let seconds = at.0 as f64 / 1e6;
            (YEARS.0..YEARS.1).contains(&seconds)
        };
        let far = match time(&mut self.reader, value.as_val()) {
            Some(at) if !self.epoch || near(&at) => {
                self.disorder.add(at);
                return;
            }
            at => at.is_some(),
        };
        self.without += u64::from(!far);
        self.strange.far += u64::from(far);
        self.strange.values += 1;
        self.strange.first.get_or_insert_with(|| (value_shown(&value), record));
    }
}
