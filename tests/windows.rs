//! Windows against a plain reference that keeps every event: random streams with disorder, late events, ties and several
//! partitions; block sizes from one row up; keys shared among one, two and four; restarts from a snapshot.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use support::{Case, Feed, rows_of, run_direct};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Sliding { size: i64, every: i64, offset: i64 },
    Session { gap: i64 },
}

#[derive(Clone, Debug)]
struct Setting {
    shape: Shape,
    allow_late: i64,
    out_of_order: i64,
    keyed: bool,
}

#[derive(Clone, Debug)]
struct Row {
    /// Seconds after the base.
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
        kept: collect(v, 1000)
sinks:
  out: { discard: {}, from: w }
  late: { discard: {}, from: w.late }
";

impl Setting {
    fn yaml(&self) -> String {
        let shape = match self.shape {
            Shape::Sliding { size, every, offset } if size == every => {
                format!("tumbling: {size}s\n      offset: {offset}s")
            }
            Shape::Sliding { size, every, offset } => {
                format!("sliding: {{ size: {size}s, every: {every}s }}\n      offset: {offset}s")
            }
            Shape::Session { gap } => format!("session: {{ gap: {gap}s }}"),
        };
        let by = if self.keyed { "\n      by: key" } else { "" };
        let (out_of_order, allow_late) = (self.out_of_order, self.allow_late);
        format!(
            "name: t
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix, out_of_order: {out_of_order}s }}
steps:
  w:
    window:
      {shape}{by}
      allow_late: {allow_late}s{AGGREGATES}"
        )
    }
}

fn line(row: &Row) -> String {
    let mut event = Map::new();
    event.insert("ts".into(), json!(BASE + row.at));
    if let Some(key) = &row.key {
        event.insert("key".into(), key.clone());
    }
    if let Some(value) = &row.value {
        event.insert("v".into(), value.clone());
    }
    Value::Object(event).to_string()
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

/// A window of the reference, with its events in order of arrival.
#[derive(Clone, Debug)]
struct Group {
    key: Value,
    start: i64,
    end: i64,
    events: Vec<(i64, Option<Value>)>,
    emitted: u32,
    known_start: bool,
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
    let at = jiff::Timestamp::from_second(BASE + seconds).expect("in range");
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
    fn emit(&mut self, index: usize) {
        let group = &mut self.groups[index];
        let mut row = Map::new();
        if self.setting.keyed {
            row.insert("key".into(), group.key.clone());
        }
        row.insert("window_start".into(), instant(group.start));
        row.insert("window_end".into(), instant(group.end));
        if group.emitted > 0 {
            row.insert("window_revision".into(), json!(group.emitted));
        }
        group.replaces.sort_unstable();
        if !group.replaces.is_empty() {
            row.insert("window_replaces".into(), group.replaces.iter().map(|s| instant(*s)).collect());
        }
        group.replaces.clear();
        group.emitted += 1;
        group.known_start = true;
        aggregates(&group.events, &mut row);
        self.rows.push(Value::Object(row));
    }

    fn row(&mut self, row: &Row) {
        let key = if self.setting.keyed { row.key.clone().unwrap_or(Value::Null) } else { Value::Null };
        match self.setting.shape {
            Shape::Sliding { size, every, offset } => self.grid_row(row, &key, size, every, offset),
            Shape::Session { gap } => self.session_row(row, &key, gap),
        }
    }

    fn late(&mut self, row: &Row) {
        self.late.push(serde_json::from_str(&line(row)).expect("JSON"));
    }

    fn grid_row(&mut self, row: &Row, key: &Value, size: i64, every: i64, offset: i64) {
        let last_start = (BASE + row.at - offset).div_euclid(every) * every + offset - BASE;
        let starts = (0..).map(|n| last_start - n * every).take_while(|start| start + size > row.at);
        let mut open: Vec<i64> = starts.filter(|s| s + size + self.setting.allow_late > self.watermark).collect();
        open.reverse();
        if open.is_empty() {
            return self.late(row);
        }
        for start in open {
            let found = self.groups.iter().position(|g| g.start == start && compare_keys(&g.key, key).is_eq());
            let index = found.unwrap_or_else(|| {
                let (key, end, events, replaces) = (key.clone(), start + size, Vec::new(), Vec::new());
                self.groups.push(Group { key, start, end, events, emitted: 0, known_start: false, replaces });
                self.groups.len() - 1
            });
            self.groups[index].events.push((row.at, row.value.clone()));
            if start + size <= self.watermark {
                self.emit(index);
            }
        }
    }

    fn session_row(&mut self, row: &Row, key: &Value, gap: i64) {
        let touches = |g: &Group| compare_keys(&g.key, key).is_eq() && row.at >= g.start - gap && row.at <= g.end;
        let ends = self.groups.iter().filter(|g| touches(g)).map(|g| g.end);
        let end = ends.chain([row.at + gap]).max().expect("one at least");
        if end + self.setting.allow_late <= self.watermark {
            return self.late(row);
        }
        let (mut joined, rest): (Vec<Group>, Vec<Group>) = self.groups.drain(..).partition(|g| touches(g));
        self.groups = rest;
        joined.sort_by_key(|g| g.start);
        let start = joined.first().map_or(row.at, |g| g.start.min(row.at));
        let mut events: Vec<(i64, Option<Value>)> = joined.iter().flat_map(|g| g.events.clone()).collect();
        events.push((row.at, row.value.clone()));
        let emitted = joined.iter().map(|g| g.emitted).max().unwrap_or(0);
        let mut replaces: Vec<i64> = joined.iter().flat_map(|g| g.replaces.clone()).collect();
        replaces.extend(joined.iter().filter(|g| g.known_start && g.start != start).map(|g| g.start));
        let known_start = joined.iter().any(|g| g.known_start && g.start == start);
        let key = joined.first().map_or_else(|| key.clone(), |g| g.key.clone());
        self.groups.push(Group { key, start, end, events, emitted, known_start, replaces });
        if end <= self.watermark {
            self.emit(self.groups.len() - 1);
        }
    }

    fn advance(&mut self, to: i64) {
        if to <= self.watermark {
            return;
        }
        let due = |g: &Group| g.end > self.watermark && g.end <= to;
        let mut due: Vec<usize> = (0..self.groups.len()).filter(|i| due(&self.groups[*i])).collect();
        due.sort_by(|a, b| {
            let (a, b) = (&self.groups[*a], &self.groups[*b]);
            a.end.cmp(&b.end).then_with(|| compare_keys(&a.key, &b.key))
        });
        self.watermark = to;
        due.into_iter().for_each(|index| self.emit(index));
        let allow_late = self.setting.allow_late;
        self.groups.retain(|g| g.end.saturating_add(allow_late) > to);
    }
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
    let minus = |at: i64| if at == i64::MIN { at } else { at - setting.out_of_order };
    while let Some(next) = (0..partitions.len()).filter(|i| !ended[*i]).min_by_key(|i| (minus(greatest[*i]), *i)) {
        if let Some(row) = partitions[next].get(taken[next]) {
            reference.row(row);
            taken[next] += 1;
            greatest[next] = greatest[next].max(row.at);
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

fn shape() -> impl Strategy<Value = Shape> {
    let slide = |(a, b, offset): (i64, i64, i64)| Shape::Sliding { size: a.max(b), every: a.min(b), offset };
    prop_oneof![
        (1i64..20, 0i64..5).prop_map(|(size, offset)| Shape::Sliding { size, every: size, offset }),
        (1i64..20, 1i64..20, 0i64..5).prop_map(slide),
        (1i64..8).prop_map(|gap| Shape::Session { gap }),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let of = |(shape, allow_late, out_of_order, keyed)| Setting { shape, allow_late, out_of_order, keyed };
    (shape(), prop_oneof![Just(0i64), 1i64..15], 0i64..10, any::<bool>()).prop_map(of)
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
    prop::collection::vec((row(), 0i64..4), 0..40).prop_map(|rows| {
        let mut base = 0;
        let shift = |(mut row, step): (Row, i64)| {
            base += step;
            row.at = base + row.at.rem_euclid(12) - 6;
            row
        };
        rows.into_iter().map(shift).collect()
    })
}

fn case(setting: &Setting, partitions: &[Vec<Row>]) -> Case {
    Case {
        yaml: setting.yaml(),
        partitions: partitions.iter().map(|rows| rows.iter().map(line).collect()).collect(),
        out_of_order: setting.out_of_order,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_the_reference(
        setting in setting(),
        partitions in prop::collection::vec(stream(), 1..4),
        block in 1usize..20,
        target in 1u32..30,
    ) {
        let expected = reference(&setting, &partitions);
        let case = case(&setting, &partitions);
        let out = run_direct(&case, &Feed { block, target, shares: 1, restarts: vec![] });
        let made = rows_of(&out[0]);
        for (row, wanted) in made.iter().zip(&expected.0) {
            prop_assert!(same(row, wanted), "{row}\n{wanted}\n{}", setting.yaml());
        }
        prop_assert_eq!(made.len(), expected.0.len());
        prop_assert_eq!(rows_of(&out[1]), expected.1);
    }

    #[test]
    fn output_is_the_same_however_it_is_cut_shared_and_restarted(
        setting in setting(),
        partitions in prop::collection::vec(stream(), 1..4),
        block in 1usize..20,
        target in 1u32..30,
        shares in prop_oneof![Just(1usize), Just(2), Just(4)],
        restarts in prop::collection::vec(0usize..60, 0..3),
    ) {
        let case = case(&setting, &partitions);
        let plain = run_direct(&case, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![] });
        let cut = run_direct(&case, &Feed { block, target, shares, restarts });
        prop_assert_eq!(plain, cut, "{}", setting.yaml());
    }
}

#[test]
fn fields_come_in_the_order_of_the_contract() {
    let shape = Shape::Sliding { size: 10, every: 10, offset: 0 };
    let setting = Setting { shape, allow_late: 0, out_of_order: 0, keyed: true };
    let rows = vec![Row { at: 3, key: Some(json!("a")), value: Some(json!(2)) }];
    let feed = Feed { block: 10, target: 10, shares: 1, restarts: vec![] };
    let out = run_direct(&case(&setting, &[rows]), &feed);
    let expected = r#"{"key":"a","window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-01T00:00:10Z","n":1,"values":1,"total":2,"mean":2.0,"least":2,"most":2,"one":2,"end":2,"spread":0.0,"kept":[2]}"#;
    assert_eq!(out[0], format!("{expected}\n"));
}
