//! Where the time of events stands: fields whose values read as times, and how well each would do.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::disorder::Disorder;
use super::spelling;
use crate::base::time::{Timestamp, parse_rfc3339};
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
}

/// Values of one field in the sample.
#[derive(Default)]
struct Column {
    /// There and not null, by event.
    values: BTreeMap<usize, Value>,
}

/// The fields that may be the time of these events, the best first. With `only`, that field alone, as its author spells
/// it.
pub fn candidates(events: &[Value], only: Option<&str>) -> Vec<Candidate> {
    let mut columns: indexmap::IndexMap<Vec<CompactString>, Column> = indexmap::IndexMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Value::Map(map) = event {
            gather(at, map, &mut Vec::new(), &mut columns);
        }
    }
    columns.retain(|path, _| only.is_none_or(|only| only == spelling::path(path) || path.join(".") == only));
    let mut found: Vec<Candidate> =
        columns.iter().filter_map(|(path, column)| candidate(path, column, events.len())).collect();
    let dates: Vec<Candidate> = found.iter().filter(|c| is_date(&c.format)).cloned().collect();
    for date in dates {
        found.extend(columns.keys().filter_map(|clock| with_clock(&date, clock, events)));
    }
    found.sort_by_key(|c| std::cmp::Reverse(c.score));
    found.truncate(MEASURED);
    found
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

/// A field whose values all read as times.
fn candidate(path: &[CompactString], column: &Column, events: usize) -> Option<Candidate> {
    let values: Vec<&Value> = column.values.values().collect();
    let first = *values.first()?;
    let (format, how) = format_of(&values)?;
    let mut reasons = vec![how];
    let mut score = match (first, &format) {
        (Value::Text(_), TimeFormat::Auto) => 60,
        (_, format) if is_date(format) => 10,
        (Value::Text(_), _) => 50,
        _ => 30,
    };
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
    Some(Candidate { field: spelling::path(path), format, score, reasons, paths: vec![path.to_vec()] })
}

fn same(a: &Value, b: &Value) -> bool {
    crate::data::value::compare(a.as_val(), b.as_val()).is_eq()
}

/// How values are read, in the first way that reads all of them, and how that is called.
fn format_of(values: &[&Value]) -> Option<(TimeFormat, String)> {
    let numbers = values.iter().filter_map(|v| number(v));
    if numbers.clone().count() == values.len()
        && let Some(found) = unix(numbers)
    {
        return Some(found);
    }
    if reads(&TimeFormat::Rfc3339, values) {
        let zoned = |v: &&Value| matches!(v, Value::Text(text) if parse_rfc3339(text.as_bytes()).is_some());
        let how = if values.iter().all(zoned) {
            "RFC 3339"
        } else {
            "RFC 3339 without an offset, so in UTC unless `zone` says otherwise"
        };
        return Some((TimeFormat::Auto, how.into()));
    }
    let pattern = PATTERNS.iter().find(|pattern| reads(&TimeFormat::Pattern((**pattern).into()), values))?;
    let swapped = pattern.strip_prefix("%m/%d/").map(|rest| TimeFormat::Pattern(format!("%d/%m/{rest}")));
    let either = swapped.is_some_and(|other| reads(&other, values));
    let how = if either {
        format!("`{pattern}`, though day and month may be the other way round")
    } else {
        format!("`{pattern}`")
    };
    Some((TimeFormat::Pattern((*pattern).into()), how))
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

/// Numbers that all lie between 1990 and 2100 in one unit.
fn unix(numbers: impl Iterator<Item = f64> + Clone) -> Option<(TimeFormat, String)> {
    const YEARS: (f64, f64) = (631_152_000.0, 4_102_444_800.0);
    let units = [("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)];
    let (name, _) = units
        .iter()
        .find(|(_, per_second)| numbers.clone().all(|n| (YEARS.0 * per_second..YEARS.1 * per_second).contains(&n)))?;
    // `auto` tells these units apart by their size.
    Some((TimeFormat::Auto, format!("{name} since the epoch")))
}

fn reads(format: &TimeFormat, values: &[&Value]) -> bool {
    let Ok(mut reader) = TimeReader::new(format, "UTC") else { return false };
    values.iter().all(|value| time(&mut reader, value.as_val()).is_some())
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
    let format = formats.into_iter().find(|format| reads(format, &there))?;
    let reasons = vec![format!("a date and a time of day, `{}`", pattern_of(&format)), "in every event".to_owned()];
    let field = format!("{} + \" \" + {}", date.field, spelling::path(clock));
    Some(Candidate { field, format, score: 75, reasons, paths })
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
    /// The times so far.
    pub disorder: Disorder,
    /// Events without a time, or with one that cannot be read.
    pub without: u64,
}

impl Measuring {
    /// Nothing yet. The error says why the format cannot be read, which no candidate's is.
    pub fn new(candidate: &Candidate) -> Result<Self, String> {
        let reader = TimeReader::new(&candidate.format, "UTC")?;
        Ok(Measuring { reader, paths: candidate.paths.clone(), disorder: Disorder::default(), without: 0 })
    }

    /// Looks at the next event.
    pub fn add(&mut self, event: &Value) {
        let value = value_at(&self.paths, event);
        match value.and_then(|value| time(&mut self.reader, value.as_val())) {
            Some(at) => self.disorder.add(at),
            None => self.without += 1,
        }
    }
}
