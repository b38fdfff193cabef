//! Windows against a plain reference that keeps every event: random streams with disorder, late events, ties and several
//! partitions; block sizes from one row up; keys shared among one, two and four; restarts from a snapshot.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use support::{Case, Feed, feeds, rising, rows_of, run_direct};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

/// Lengths are in units of the setting.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Sliding { size: i64, every: i64, offset: i64 },
    Session { gap: i64, max: Option<i64> },
    Count { events: usize },
    Calendar { unit: &'static str, zone: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Emit {
    Final,
    Every(i64),
    Once,
}

#[derive(Clone, Debug)]
struct Setting {
    shape: Shape,
    emit: Emit,
    allow_late: i64,
    out_of_order: i64,
    keyed: bool,
    /// Seconds since the epoch at which streams begin.
    base: i64,
    /// Seconds of a unit.
    unit: i64,
}

#[derive(Clone, Debug)]
struct Row {
    /// Units after the base.
    at: i64,
    /// `None`: the field is missing.
    key: Option<Value>,
    value: Option<Value>,
}

const AGGREGATES: &str = "
      aggregate:
        n: count()
        values: count(v)
        total: sum(v)
        mean: avg(v)
        least: min(v)
        most: max(v)
        one: first(v)
        end: last(v)
        spread: variance_pop(v)
        kept: collect(v, 1000)";

impl Setting {
    fn yaml(&self) -> String {
        let of = |units: i64| units * self.unit;
        let shape = match self.shape {
            Shape::Sliding { size, every, offset } if size == every => {
                format!("tumbling: {}s\n      offset: {}s", of(size), of(offset))
            }
            Shape::Sliding { size, every, offset } => {
                let (size, every, offset) = (of(size), of(every), of(offset));
                format!("sliding: {{ size: {size}s, every: {every}s }}\n      offset: {offset}s")
            }
            Shape::Session { gap, max: None } => format!("session: {{ gap: {}s }}", of(gap)),
            Shape::Session { gap, max: Some(max) } => format!("session: {{ gap: {}s, max: {}s }}", of(gap), of(max)),
            Shape::Count { events } => format!("count: {events}"),
            Shape::Calendar { unit, zone } => format!("calendar: {{ every: {unit}, zone: {zone} }}"),
        };
        let by = if self.keyed { "\n      by: key" } else { "" };
        let emit = match self.emit {
            Emit::Final => String::new(),
            Emit::Every(every) => format!("\n      emit: {{ every: {}s }}", of(every)),
            Emit::Once => "\n      emit: once".to_owned(),
        };
        let (allow_late, late) = match self.shape {
            // No event is late there.
            Shape::Count { .. } => (String::new(), "errors"),
            _ => (format!("\n      allow_late: {}s", of(self.allow_late)), "late"),
        };
        format!(
            "name: t
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix, out_of_order: {}s }}
steps:
  w:
    window:
      {shape}{by}{allow_late}{emit}{AGGREGATES}
sinks:
  out: {{ discard: {{}}, from: w }}
  late: {{ discard: {{}}, from: w.{late} }}
",
            of(self.out_of_order)
        )
    }

    /// Seconds since the epoch.
    fn time(&self, row: &Row) -> i64 {
        self.base + row.at * self.unit
    }

    fn line(&self, row: &Row) -> String {
        let mut event = Map::new();
        event.insert("ts".into(), json!(self.time(row)));
        if let Some(key) = &row.key {
            event.insert("key".into(), key.clone());
        }
        if let Some(value) = &row.value {
            event.insert("v".into(), value.clone());
        }
        Value::Object(event).to_string()
    }
}

/// A key as the reference compares it: null and missing are one; numbers equal in value are one.
fn rank(key: &Value) -> (u8, f64, String) {
    match key {
        Value::Null => (0, 0.0, String::new()),
        Value::Bool(b) => (1, f64::from(u8::from(*b)), String::new()),
        Value::Number(n) => (2, n.as_f64().unwrap_or(0.0), String::new()),
        other => (3, 0.0, other.as_str().unwrap_or_default().to_owned()),
    }
}

fn compare_keys(a: &Value, b: &Value) -> Ordering {
    let (a, b) = (rank(a), rank(b));
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
}

/// A window of the reference, with its events in order of arrival; times in seconds.
#[derive(Clone, Debug)]
struct Group {
    key: Value,
    start: i64,
    end: i64,
    events: Vec<(i64, Option<Value>)>,
    /// Rows it or one that it replaces left in, early ones aside.
    emitted: u32,
    known_start: bool,
    /// Since its last row.
    changed: bool,
    replaces: Vec<i64>,
}

struct Reference {
    setting: Setting,
    groups: Vec<Group>,
    watermark: i64,
    rows: Vec<Value>,
    late: Vec<Value>,
}

fn instant(seconds: i64) -> Value {
    let at = jiff::Timestamp::from_second(seconds).expect("in range");
    Value::String(at.to_string())
}

fn aggregates(events: &[(i64, Option<Value>)], row: &mut Map<String, Value>) {
    let mut values: Vec<(i64, &Value)> =
        events.iter().filter_map(|(at, v)| v.as_ref().filter(|v| !v.is_null()).map(|v| (*at, v))).collect();
    // Equal times: `first` is the first to arrive, `last` the last; the sort is stable.
    values.sort_by_key(|(at, _)| *at);
    let numbers: Vec<f64> = values.iter().map(|(_, v)| v.as_f64().expect("numbers")).collect();
    let ints = values.iter().all(|(_, v)| v.is_i64());
    let sum: f64 = numbers.iter().sum();
    let count = numbers.len() as f64;
    let null_or = |v: Value| if values.is_empty() { Value::Null } else { v };
    row.insert("n".into(), json!(events.len()));
    row.insert("values".into(), json!(values.len()));
    row.insert("total".into(), null_or(if ints { json!(sum as i64) } else { json!(sum) }));
    row.insert("mean".into(), null_or(json!(sum / count)));
    row.insert("least".into(), null_or(json!(numbers.iter().copied().fold(f64::INFINITY, f64::min))));
    row.insert("most".into(), null_or(json!(numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))));
    row.insert("one".into(), values.first().map_or(Value::Null, |(_, v)| (*v).clone()));
    row.insert("end".into(), values.last().map_or(Value::Null, |(_, v)| (*v).clone()));
    let mean = sum / count;
    let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    row.insert("spread".into(), null_or(json!(variance)));
    let kept: Vec<&Value> = values.iter().map(|(_, v)| *v).collect();
    row.insert("kept".into(), null_or(json!(kept)));
}

impl Reference {
    fn emit(&mut self, index: usize, early: bool) {
        let group = &mut self.groups[index];
        let mut row = Map::new();
        if self.setting.keyed {
            row.insert("key".into(), group.key.clone());
        }
        row.insert("window_start".into(), instant(group.start));
        row.insert("window_end".into(), instant(group.end));
        if early {
            row.insert("window_early".into(), json!(true));
        }
        if group.emitted > 0 {
            row.insert("window_revision".into(), json!(group.emitted));
        }
        group.replaces.sort_unstable();
        if !group.replaces.is_empty() {
            row.insert("window_replaces".into(), group.replaces.iter().map(|s| instant(*s)).collect());
        }
        group.replaces.clear();
        group.emitted += u32::from(!early);
        group.known_start = true;
        group.changed = false;
        aggregates(&group.events, &mut row);
        self.rows.push(Value::Object(row));
    }

    fn row(&mut self, row: &Row) {
        let key = if self.setting.keyed { row.key.clone().unwrap_or(Value::Null) } else { Value::Null };
        let (at, unit) = (self.setting.time(row), self.setting.unit);
        match self.setting.shape {
            Shape::Sliding { size, every, offset } => {
                let (size, every, offset) = (size * unit, every * unit, offset * unit);
                let last_start = (at - offset).div_euclid(every) * every + offset;
                let starts = (0..).map(|n| last_start - n * every).take_while(|start| start + size > at);
                let mut windows: Vec<(i64, i64)> = starts.map(|start| (start, start + size)).collect();
                windows.reverse();
                self.grid_row(row, at, &key, &windows);
            }
            Shape::Calendar { unit, zone } => self.grid_row(row, at, &key, &[calendar(unit, zone, at)]),
            Shape::Session { gap, max } => self.session_row(row, at, &key, gap * unit, max.map(|max| max * unit)),
            Shape::Count { events } => self.count_row(row, at, &key, events),
        }
    }

    fn late(&mut self, row: &Row) {
        self.late.push(serde_json::from_str(&self.setting.line(row)).expect("JSON"));
    }

    /// How long after its end a window is still there.
    fn allow_late(&self) -> i64 {
        self.setting.allow_late * self.setting.unit
    }

    /// When a window of this end first leaves.
    fn due(&self, end: i64) -> i64 {
        if self.setting.emit == Emit::Once { end + self.allow_late() } else { end }
    }

    fn grid_row(&mut self, row: &Row, at: i64, key: &Value, windows: &[(i64, i64)]) {
        let open: Vec<&(i64, i64)> = windows.iter().filter(|(_, e)| e + self.allow_late() > self.watermark).collect();
        if open.is_empty() {
            return self.late(row);
        }
        for (start, end) in open {
            let found = self.groups.iter().position(|g| g.start == *start && compare_keys(&g.key, key).is_eq());
            let index = found.unwrap_or_else(|| {
                self.groups.push(Group::new(key.clone(), *start, *end));
                self.groups.len() - 1
            });
            self.groups[index].events.push((at, row.value.clone()));
            self.groups[index].changed = true;
            if self.due(*end) <= self.watermark {
                self.emit(index, false);
            }
        }
    }

    fn session_row(&mut self, row: &Row, at: i64, key: &Value, gap: i64, max: Option<i64>) {
        let same: Vec<Group> = self.groups.iter().filter(|g| compare_keys(&g.key, key).is_eq()).cloned().collect();
        let fits = |start: i64, last: i64| max.is_none_or(|max| last + gap - start <= max);
        let inside = same.iter().find(|g| g.start <= at && at <= g.end - gap);
        let before =
            same.iter().filter(|g| g.end - gap < at && at <= g.end && fits(g.start, at)).max_by_key(|g| g.start);
        let after = same.iter().filter(|g| g.start > at && g.start - gap <= at && fits(at, g.end - gap));
        let after = after.min_by_key(|g| g.start);
        let joined: Vec<Group> = match (inside, before, after) {
            (Some(one), ..) => vec![one.clone()],
            (_, Some(a), Some(b)) if fits(a.start, b.end - gap) => vec![a.clone(), b.clone()],
            (_, Some(one), _) | (_, None, Some(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        let end = joined.iter().map(|g| g.end).chain([at + gap]).max().expect("one at least");
        if end + self.allow_late() <= self.watermark {
            return self.late(row);
        }
        let taken = |g: &Group| compare_keys(&g.key, key).is_eq() && joined.iter().any(|j| j.start == g.start);
        self.groups.retain(|g| !taken(g));
        let start = joined.first().map_or(at, |g| g.start.min(at));
        let mut group = Group::new(joined.first().map_or_else(|| key.clone(), |g| g.key.clone()), start, end);
        group.events = joined.iter().flat_map(|g| g.events.clone()).chain([(at, row.value.clone())]).collect();
        group.emitted = joined.iter().map(|g| g.emitted).max().unwrap_or(0);
        group.replaces = joined.iter().flat_map(|g| g.replaces.clone()).collect();
        group.replaces.extend(joined.iter().filter(|g| g.known_start && g.start != start).map(|g| g.start));
        group.known_start = joined.iter().any(|g| g.known_start && g.start == start);
        self.groups.push(group);
        if self.due(end) <= self.watermark {
            self.emit(self.groups.len() - 1, false);
        }
    }

    fn count_row(&mut self, row: &Row, at: i64, key: &Value, size: usize) {
        let found = self.groups.iter().position(|g| compare_keys(&g.key, key).is_eq());
        let index = found.unwrap_or_else(|| {
            self.groups.push(Group::new(key.clone(), at, at));
            self.groups.len() - 1
        });
        let group = &mut self.groups[index];
        group.events.push((at, row.value.clone()));
        (group.start, group.end) = (group.start.min(at), group.end.max(at));
        if group.events.len() == size {
            self.emit(index, false);
            self.groups.remove(index);
        }
    }

    /// Groups by index, in order of end, then of key.
    fn in_order(&self, wanted: impl Fn(&Group) -> bool) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.groups.len()).filter(|i| wanted(&self.groups[*i])).collect();
        found.sort_by(|a, b| {
            let (a, b) = (&self.groups[*a], &self.groups[*b]);
            a.end.cmp(&b.end).then_with(|| compare_keys(&a.key, &b.key))
        });
        found
    }

    fn advance(&mut self, to: i64) {
        if to <= self.watermark {
            return;
        }
        if let Shape::Count { .. } = self.setting.shape {
            self.watermark = to;
            if to == i64::MAX {
                self.in_order(|_| true).into_iter().for_each(|index| self.emit(index, false));
            }
            return;
        }
        let unit = self.setting.unit;
        let mut instants: Vec<i64> = self.groups.iter().map(|g| self.due(g.end)).collect();
        let offset = if let Shape::Sliding { offset, .. } = self.setting.shape { offset * unit } else { 0 };
        let points = if let Emit::Every(every) = self.setting.emit { every * unit } else { i64::MAX };
        let on_grid = |at: i64| (at - offset).rem_euclid(points) == 0;
        if points < i64::MAX {
            let first = self.groups.iter().map(|g| g.start).min().unwrap_or(0).max(self.watermark);
            let last = self.groups.iter().map(|g| g.end).max().unwrap_or(0).min(to);
            let first = (first - offset).div_euclid(points) * points + offset;
            instants.extend((first..=last).step_by(points as usize));
        }
        instants.retain(|at| *at > self.watermark && *at <= to);
        instants.sort_unstable();
        instants.dedup();
        for at in instants {
            for index in self.in_order(|g| self.due(g.end) == at) {
                self.emit(index, false);
            }
            for index in self.in_order(|g| on_grid(at) && g.changed && g.start < at && at < g.end) {
                self.emit(index, true);
            }
        }
        self.watermark = to;
        let allow_late = self.allow_late();
        self.groups.retain(|g| g.end.saturating_add(allow_late) > to);
    }
}

impl Group {
    fn new(key: Value, start: i64, end: i64) -> Self {
        let (events, replaces) = (Vec::new(), Vec::new());
        Group { key, start, end, events, emitted: 0, known_start: false, changed: true, replaces }
    }
}

/// The window of the calendar that an instant is in: civil arithmetic, one step at a time.
fn calendar(unit: &str, zone: &str, at: i64) -> (i64, i64) {
    let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
    let local = |at: i64| jiff::Timestamp::from_second(at).expect("in range").to_zoned(zone.clone());
    if unit == "hour" {
        // Minute by minute: an hour begins where the clock shows a full one, or one that is further on.
        let hour = |at: i64| local(at).datetime().with().minute(0).second(0).build().expect("a time");
        let begins = |at: i64| local(at).minute() == 0 || hour(at) > hour(at - 60);
        let minute = at - at.rem_euclid(60);
        let start = (0..).map(|n| minute - n * 60).find(|m| begins(*m)).expect("a start");
        return (start, (1..).map(|n| minute + n * 60).find(|m| begins(*m)).expect("an end"));
    }
    // Date by date: from the first instant of one that begins the unit to that of the next.
    let begins = |date: &jiff::civil::Date| match unit {
        "day" => true,
        "week" => date.weekday() == jiff::civil::Weekday::Monday,
        _ => date.day() == 1,
    };
    let today = local(at).date();
    let days = (-40..40).map(|n| today.checked_add(jiff::Span::new().days(n)).expect("a date"));
    let starts = days.filter(begins).map(|date| {
        let start = date.to_zoned(zone.clone()).and_then(|midnight| midnight.start_of_day());
        start.expect("a start").timestamp().as_second()
    });
    let starts: Vec<i64> = starts.collect();
    let next = starts.iter().position(|start| *start > at).expect("an end");
    (starts[next - 1], starts[next])
}

/// Reads partitions as the language says: next from the one whose watermark is least, ties by order.
fn reference(setting: &Setting, partitions: &[Vec<Row>]) -> (Vec<Value>, Vec<Value>) {
    let mut reference = Reference {
        setting: setting.clone(),
        groups: Vec::new(),
        watermark: i64::MIN,
        rows: Vec::new(),
        late: Vec::new(),
    };
    let mut taken = vec![0usize; partitions.len()];
    let mut greatest = vec![i64::MIN; partitions.len()];
    let mut ended = vec![false; partitions.len()];
    let minus = |at: i64| if at == i64::MIN { at } else { at - setting.out_of_order * setting.unit };
    while let Some(next) = (0..partitions.len()).filter(|i| !ended[*i]).min_by_key(|i| (minus(greatest[*i]), *i)) {
        if let Some(row) = partitions[next].get(taken[next]) {
            reference.row(row);
            taken[next] += 1;
            greatest[next] = greatest[next].max(setting.time(row));
        } else {
            ended[next] = true;
        }
        let least = (0..partitions.len()).filter(|i| !ended[*i]).map(|i| minus(greatest[i])).min();
        reference.advance(least.unwrap_or(i64::MAX));
    }
    (reference.rows, reference.late)
}

/// Whether two rows are the same; a variance may differ in its last digits, a number in its spelling.
fn same(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    let near = |name: &str, x: &Value, y: &Value| match (x.as_f64(), y.as_f64()) {
        // serde_json reads doubles to within one unit in the last place.
        (Some(x), Some(y)) if matches!(name, "spread" | "mean") => (x - y).abs() <= 1e-9 * x.abs().max(1.0),
        (Some(x), Some(y)) => x == y,
        _ => x == y,
    };
    a.keys().eq(b.keys()) && a.iter().all(|(name, x)| b.get(name).is_some_and(|y| near(name, x, y)))
}

/// Zones with an instant near which their clocks change, or a day that has no midnight or two.
const ZONES: [(&str, &str); 10] = [
    ("UTC", "2026-01-01T00:00:00Z"),
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    ("Asia/Beirut", "2026-03-28T22:00:00Z"),
    ("America/Havana", "2026-11-01T05:00:00Z"),
    ("Asia/Kolkata", "2026-01-01T00:00:00Z"),
];

/// A shape with the base and the unit that suit it.
fn shape() -> impl Strategy<Value = (Shape, i64, i64)> {
    let slide = |(a, b, offset): (i64, i64, i64)| Shape::Sliding { size: a.max(b), every: a.min(b), offset };
    let session = |(gap, more): (i64, Option<i64>)| Shape::Session { gap, max: more.map(|more| gap + more) };
    let plain = prop_oneof![
        (1i64..20, 0i64..5).prop_map(|(size, offset)| Shape::Sliding { size, every: size, offset }),
        (1i64..20, 1i64..20, 0i64..5).prop_map(slide),
        (1i64..8, prop::option::of(0i64..20)).prop_map(session),
        (1usize..8).prop_map(|events| Shape::Count { events }),
    ];
    let units = prop::sample::select(vec![("hour", 600), ("day", 3_600), ("week", 21_600), ("month", 86_400)]);
    let calendar =
        (units, prop::sample::select(ZONES.to_vec()), 0i64..60).prop_map(|((unit, seconds), zone, before)| {
            let near = zone.1.parse::<jiff::Timestamp>().expect("a time").as_second();
            (Shape::Calendar { unit, zone: zone.0 }, near - before * seconds, seconds)
        });
    prop_oneof![3 => plain.prop_map(|shape| (shape, BASE, 1)), 1 => calendar]
}

/// The greatest `every` of `emit` that a shape takes.
fn longest_every(shape: &Shape) -> i64 {
    match shape {
        Shape::Sliding { size, .. } => size - 1,
        Shape::Session { max, .. } => max.map_or(9, |max| max - 1),
        Shape::Calendar { .. } => 5,
        Shape::Count { .. } => 0,
    }
}

/// Windows of so many panes that they are merged in blocks.
fn many_panes() -> impl Strategy<Value = (Shape, i64, i64)> {
    let shape = |(size, every, offset)| Shape::Sliding { size, every, offset };
    (128i64..200, 1i64..3, 0i64..3).prop_map(shape).prop_map(|shape| (shape, BASE, 1))
}

fn setting(shape: impl Strategy<Value = (Shape, i64, i64)>) -> impl Strategy<Value = Setting> {
    let emit = prop_oneof![2 => Just(Emit::Final), 2 => (1i64..10).prop_map(Emit::Every), 1 => Just(Emit::Once)];
    let late = prop_oneof![Just(0i64), 1i64..15];
    let of = |((shape, base, unit), emit, allow_late, out_of_order, keyed)| {
        let emit = match (emit, longest_every(&shape)) {
            _ if matches!(shape, Shape::Count { .. }) => Emit::Final,
            (Emit::Every(_), 0) => Emit::Final,
            (Emit::Every(every), longest) => Emit::Every(every.min(longest)),
            (emit, _) => emit,
        };
        Setting { shape, emit, allow_late, out_of_order, keyed, base, unit }
    };
    (shape, emit, late, 0i64..10, any::<bool>()).prop_map(of)
}

fn row() -> impl Strategy<Value = Row> {
    let key = prop_oneof![
        4 => Just(Some(json!("a"))),
        4 => Just(Some(json!("b"))),
        1 => Just(Some(json!(1))),
        1 => Just(Some(json!(1.0))),
        1 => Just(Some(json!("1"))),
        1 => Just(Some(Value::Null)),
        1 => Just(None),
        1 => Just(Some(json!(true))),
    ];
    // Halves: sums of them are exact, so that the order of adding does not matter to the reference.
    let value = prop_oneof![
        4 => (-50i64..50).prop_map(|v| Some(json!(v))),
        2 => (-50i64..50).prop_map(|v| Some(json!(v as f64 + 0.5))),
        1 => Just(Some(Value::Null)),
        1 => Just(None),
    ];
    (-30i64..40, key, value).prop_map(|(at, key, value)| Row { at, key, value })
}

/// Mostly rising times, so that windows close along the way.
fn stream() -> impl Strategy<Value = Vec<Row>> {
    rising(row(), 40, |row, base| row.at = base + row.at.rem_euclid(12) - 6)
}

fn case(setting: &Setting, partitions: &[Vec<Row>]) -> Case {
    Case {
        yaml: setting.yaml(),
        partitions: partitions.iter().map(|rows| rows.iter().map(|row| setting.line(row)).collect()).collect(),
        out_of_order: setting.out_of_order * setting.unit,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_the_reference(
        setting in setting(shape()),
        partitions in prop::collection::vec(stream(), 1..4),
        block in 1usize..20,
        target in 1u32..30,
    ) {
        let expected = reference(&setting, &partitions);
        let case = case(&setting, &partitions);
        let out = run_direct(&case, &Feed { block, target, shares: 1, restarts: vec![], beyond: (0, 0) });
        let made = rows_of(&out[0]);
        for (row, wanted) in made.iter().zip(&expected.0) {
            prop_assert!(same(row, wanted), "{row}\n{wanted}\n{}", setting.yaml());
        }
        prop_assert_eq!(made.len(), expected.0.len());
        prop_assert_eq!(rows_of(&out[1]), expected.1);
    }

    #[test]
    fn output_is_the_same_however_it_is_cut_shared_and_restarted(
        setting in setting(shape()),
        partitions in prop::collection::vec(stream(), 1..4),
        feed in feeds(),
    ) {
        let case = case(&setting, &partitions);
        let plain = run_direct(&case, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        let cut = run_direct(&case, &feed);
        prop_assert_eq!(plain, cut, "{}", setting.yaml());
    }

    /// Where no event is late, no row that windows make is late for windows of these rows.
    #[test]
    fn rows_are_on_time_for_windows_of_windows(
        mut setting in setting(shape()),
        partitions in prop::collection::vec(stream(), 1..4),
        size in 1i64..20,
    ) {
        // Streams are up to 11 units out of order. Revisions are late by nature.
        setting.out_of_order = 12;
        if setting.emit != Emit::Once {
            setting.allow_late = 0;
        }
        let mut case = case(&setting, &partitions);
        let size = size * setting.unit;
        let above = format!("\n  above:\n    window: {{ tumbling: {size}s, aggregate: {{ n: count() }} }}\nsinks:\n");
        case.yaml = case.yaml.replace("\nsinks:\n", &above);
        case.yaml += "  counted: { discard: {}, from: above }\n  too_late: { discard: {}, from: above.late }\n";
        let out = run_direct(&case, &Feed { block: 5, target: 7, shares: 2, restarts: vec![9], beyond: (3, 1) });
        prop_assert_eq!(&out[1], "");
        prop_assert_eq!(&out[3], "", "{}", case.yaml);
        let counted: i64 = rows_of(&out[2]).iter().filter_map(|row| row["n"].as_i64()).sum();
        prop_assert_eq!(counted as usize, out[0].lines().count(), "{}", case.yaml);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn windows_of_many_panes_are_those_of_the_reference(
        setting in setting(many_panes()),
        partitions in prop::collection::vec(stream(), 1..3),
        feed in feeds(),
    ) {
        let expected = reference(&setting, &partitions);
        let case = case(&setting, &partitions);
        let plain = run_direct(&case, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        let made = rows_of(&plain[0]);
        for (row, wanted) in made.iter().zip(&expected.0) {
            prop_assert!(same(row, wanted), "{row}\n{wanted}\n{}", setting.yaml());
        }
        prop_assert_eq!(made.len(), expected.0.len());
        prop_assert_eq!(rows_of(&plain[1]), expected.1);
        let cut = run_direct(&case, &feed);
        prop_assert_eq!(plain, cut, "{}", setting.yaml());
    }
}

#[test]
fn fields_come_in_the_order_of_the_contract() {
    let shape = Shape::Sliding { size: 10, every: 10, offset: 0 };
    let (emit, base) = (Emit::Final, BASE);
    let setting = Setting { shape, emit, allow_late: 0, out_of_order: 0, keyed: true, base, unit: 1 };
    let rows = vec![Row { at: 3, key: Some(json!("a")), value: Some(json!(2)) }];
    let feed = Feed { block: 10, target: 10, shares: 1, restarts: vec![], beyond: (0, 0) };
    let out = run_direct(&case(&setting, &[rows]), &feed);
    let expected = r#"{"key":"a","window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-01T00:00:10Z","n":1,"values":1,"total":2,"mean":2.0,"least":2,"most":2,"one":2,"end":2,"spread":0.0,"kept":[2]}"#;
    assert_eq!(out[0], format!("{expected}\n"));
}
