//! Joins against a plain reference that keeps every row: random streams of two sources with disorder, late rows, ties and
//! several partitions; block sizes from one row up; keys shared among one, two and four; restarts from a snapshot.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Feed, Input, beyond, feeds, lines, rising, rows_of, run_inputs};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;
/// Far from every time, and from the ends of the numbers.
const NEVER: i64 = i64::MAX / 4;

#[derive(Clone, Debug)]
struct Setting {
    kind: &'static str,
    before: i64,
    after: i64,
    out_of_order: [i64; 2],
    select: bool,
    /// The right side names its key otherwise.
    renamed: bool,
}

#[derive(Clone, Debug)]
struct Row {
    /// Seconds after the base.
    at: i64,
    /// `None`: the field is missing.
    key: Option<Value>,
    value: u8,
}

impl Setting {
    fn yaml(&self) -> String {
        let Setting { kind, before, after, out_of_order, .. } = self;
        let on = if self.renamed { "{ left: id, right: \"of % 100\" }" } else { "id" };
        let select = if self.select {
            "\n      select: { at: l.ts, left.v: l.v, right: r.v, same: \"l.v == r.v\" }"
        } else {
            ""
        };
        let source = |name: &str, seconds: i64| {
            format!(
                "  {name}:\n    file: {{ path: none }}\n    time: {{ field: ts, format: unix, out_of_order: {seconds}s }}\n"
            )
        };
        format!(
            "name: t\nsources:\n{}{}steps:
  j:
    join:
      left: l
      right: r
      on: {on}
      within: {{ before: {before}s, after: {after}s }}
      type: {kind}{select}
  # What leaves without a match is on time for a step behind the join.
  counts:
    from: j
    window: {{ tumbling: 5s, aggregate: {{ n: count() }} }}
sinks:
  out: {{ discard: {{}}, from: j }}
  late: {{ discard: {{}}, from: j.late }}
  wrong: {{ discard: {{}}, from: j.errors }}
  counts_late: {{ discard: {{}}, from: counts.late }}
  counted: {{ discard: {{}}, from: counts }}
",
            source("l", out_of_order[0]),
            source("r", out_of_order[1]),
        )
    }

    fn outer(&self, side: usize) -> bool {
        self.kind == "full" || (self.kind == "left" && side == 0)
    }

    /// The watermark at which a row cannot be matched any more.
    fn gone(&self, side: usize, at: i64) -> i64 {
        at + if side == 0 { self.after } else { self.before } + 1
    }

    fn line(&self, side: usize, row: &Row) -> String {
        let name = if side == 1 && self.renamed { "of" } else { "id" };
        let key = row.key.as_ref().map(|key| format!(",\"{name}\":{key}")).unwrap_or_default();
        format!("{{\"ts\":{},\"v\":{}{key}}}", BASE + row.at, row.value)
    }

    fn output(&self, left: Option<&Row>, right: Option<&Row>) -> String {
        let line = |side, row: Option<&Row>| row.map_or("null".to_owned(), |row| self.line(side, row));
        if !self.select {
            return format!("{{\"l\":{},\"r\":{}}}", line(0, left), line(1, right));
        }
        let value = |row: Option<&Row>| row.map_or("null".to_owned(), |row| row.value.to_string());
        let same = left.zip(right).is_some_and(|(left, right)| left.value == right.value);
        let at = left.map_or("null".to_owned(), |left| (BASE + left.at).to_string());
        let (l, r) = (value(left), value(right));
        format!("{{\"at\":{at},\"left\":{{\"v\":{l}}},\"right\":{r},\"same\":{same}}}")
    }
}

/// What is equal as a key; `None` matches nothing.
fn key(row: &Row) -> Option<(u8, i64, String)> {
    match row.key.as_ref()? {
        Value::Null => None,
        Value::Number(n) => Some((0, n.as_f64().expect("a number") as i64, String::new())),
        other => Some((1, 0, other.as_str().unwrap_or_default().to_owned())),
    }
}

struct Kept {
    side: usize,
    row: Row,
    matched: bool,
}

struct Reference<'a> {
    setting: &'a Setting,
    watermark: i64,
    kept: Vec<Kept>,
    out: Vec<String>,
    late: Vec<String>,
    wrong: usize,
}

impl Reference<'_> {
    fn row(&mut self, side: usize, row: &Row) {
        let setting = self.setting;
        if setting.renamed && side == 1 && key(row).is_none() {
            // A missing key cannot be computed with.
            self.wrong += 1;
            return;
        }
        if setting.gone(side, row.at) <= self.watermark {
            self.late.push(setting.line(side, row));
            return;
        }
        if key(row).is_none() {
            if setting.outer(side) {
                self.alone(side, row);
            }
            return;
        }
        let close =
            |left: &Row, right: &Row| right.at >= left.at - setting.before && right.at <= left.at + setting.after;
        let mut matches: Vec<&mut Kept> = self
            .kept
            .iter_mut()
            .filter(|k| k.side != side && key(&k.row) == key(row))
            .filter(|k| if side == 0 { close(row, &k.row) } else { close(&k.row, row) })
            .collect();
        matches.sort_by_key(|k| k.row.at);
        let matched = !matches.is_empty();
        for other in matches {
            other.matched = true;
            let pair = if side == 0 { (row, &other.row) } else { (&other.row, row) };
            self.out.push(setting.output(Some(pair.0), Some(pair.1)));
        }
        self.kept.push(Kept { side, row: row.clone(), matched });
    }

    fn alone(&mut self, side: usize, row: &Row) {
        let pair = if side == 0 { (Some(row), None) } else { (None, Some(row)) };
        self.out.push(self.setting.output(pair.0, pair.1));
    }

    fn advance(&mut self, to: i64) {
        self.watermark = self.watermark.max(to);
        let (watermark, setting) = (self.watermark, self.setting);
        let (mut due, kept): (Vec<Kept>, Vec<Kept>) =
            self.kept.drain(..).partition(|k| setting.gone(k.side, k.row.at) <= watermark);
        self.kept = kept;
        due.sort_by(|a, b| {
            let instant = |k: &Kept| setting.gone(k.side, k.row.at);
            instant(a)
                .cmp(&instant(b))
                .then_with(|| key(&a.row).cmp(&key(&b.row)))
                .then(a.side.cmp(&b.side))
                .then(Ordering::Equal)
        });
        for gone in due {
            if !gone.matched && setting.outer(gone.side) {
                self.alone(gone.side, &gone.row);
            }
        }
    }
}

/// Reads partitions as the language says: next from the one whose watermark is least, ties by order.
fn reference<'a>(setting: &'a Setting, partitions: &[(usize, Vec<Row>)]) -> Reference<'a> {
    let mut reference =
        Reference { setting, watermark: -NEVER, kept: Vec::new(), out: Vec::new(), late: Vec::new(), wrong: 0 };
    let mut taken = vec![0usize; partitions.len()];
    let mut greatest = vec![-NEVER; partitions.len()];
    let mut ended = vec![false; partitions.len()];
    let watermark = |greatest: &[i64], i: usize| match greatest[i] {
        at if at == -NEVER => at,
        at => at - setting.out_of_order[partitions[i].0],
    };
    while let Some(next) = (0..partitions.len()).filter(|i| !ended[*i]).min_by_key(|i| (watermark(&greatest, *i), *i)) {
        let (side, rows) = &partitions[next];
        if let Some(row) = rows.get(taken[next]) {
            reference.row(*side, row);
            taken[next] += 1;
            greatest[next] = greatest[next].max(row.at);
        } else {
            ended[next] = true;
        }
        let least = (0..partitions.len()).filter(|i| !ended[*i]).map(|i| watermark(&greatest, i)).min();
        reference.advance(least.unwrap_or(NEVER));
    }
    reference
}

fn setting() -> impl Strategy<Value = Setting> {
    let kind = prop::sample::select(vec!["inner", "left", "full"]);
    (kind, 0i64..8, 0i64..8, [0i64..8, 0i64..8], any::<bool>(), any::<bool>()).prop_map(
        |(kind, before, after, out_of_order, select, renamed)| Setting {
            kind,
            before,
            after,
            out_of_order,
            select,
            renamed,
        },
    )
}

fn row() -> impl Strategy<Value = Row> {
    let key = prop::sample::select(vec![
        Some(json!(1)),
        Some(json!(1)),
        Some(json!(1.0)),
        Some(json!(2)),
        Some(json!(3)),
        Some(Value::Null),
        None,
    ]);
    (0i64..12, key, any::<u8>()).prop_map(|(at, key, value)| Row { at, key, value })
}

/// Mostly rising times.
fn stream() -> impl Strategy<Value = Vec<Row>> {
    rising(row(), 30, |row, base| row.at += base - 6)
}

/// By partition the side it belongs to and its rows.
fn partitions() -> impl Strategy<Value = Vec<(usize, Vec<Row>)>> {
    let several = || prop::collection::vec(stream(), 1..3);
    (several(), several()).prop_map(|(left, right)| {
        let left = left.into_iter().map(|rows| (0, rows));
        left.chain(right.into_iter().map(|rows| (1, rows))).collect()
    })
}

fn inputs(setting: &Setting, partitions: &[(usize, Vec<Row>)]) -> Vec<Input> {
    let input = |(number, (side, rows)): (usize, &(usize, Vec<Row>))| Input {
        source: *side,
        name: format!("p{number}"),
        rows: rows.iter().map(|row| setting.line(*side, row)).collect(),
        out_of_order: setting.out_of_order[*side],
        header: None,
    };
    partitions.iter().enumerate().map(input).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_the_reference(
        setting in setting(),
        partitions in partitions(),
        feed in feeds(),
    ) {
        let expected = reference(&setting, &partitions);
        let ran = run_inputs(&setting.yaml(), &inputs(&setting, &partitions), &feed);
        prop_assert_eq!(lines(&ran.outputs[0]), expected.out, "{}", setting.yaml());
        prop_assert_eq!(lines(&ran.outputs[1]), expected.late, "{}", setting.yaml());
        prop_assert_eq!(ran.outputs[2].lines().count(), expected.wrong);
    }

    #[test]
    fn what_leaves_without_a_match_is_on_time_behind_the_join(
        setting in setting(),
        partitions in partitions(),
        block in 1usize..20,
        target in 1u32..30,
        restarts in prop::collection::vec(0usize..60, 0..3),
        beyond in beyond(),
    ) {
        let in_order = |(side, mut rows): (usize, Vec<Row>)| {
            rows.sort_by_key(|row| row.at);
            (side, rows)
        };
        let setting = Setting { out_of_order: [0; 2], renamed: false, ..setting };
        let partitions: Vec<_> = partitions.into_iter().map(in_order).collect();
        let inputs = inputs(&setting, &partitions);
        let ran = run_inputs(&setting.yaml(), &inputs, &Feed { block, target, shares: 2, restarts, beyond });
        prop_assert_eq!(&ran.outputs[1], "");
        prop_assert_eq!(&ran.outputs[3], "", "{}", setting.yaml());
        let plain = run_inputs(&setting.yaml(), &inputs, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        prop_assert_eq!(&plain.outputs, &ran.outputs, "{}", setting.yaml());
    }
}

/// What a pipeline gives whose sources `l` and `r` are in order.
fn run(step: &str, left: &[String], right: &[String]) -> Vec<String> {
    let source =
        |name: &str| format!("  {name}:\n    file: {{ path: none }}\n    time: {{ field: ts, format: unix }}\n");
    let yaml = format!(
        "name: t\nsources:\n{}{}steps:\n{step}sinks:\n  out: {{ discard: {{}}, from: j }}\n  wrong: {{ discard: {{}}, from: j.errors }}\n",
        source("l"),
        source("r"),
    );
    let input = |(source, rows): (usize, &[String])| Input {
        source,
        name: format!("p{source}"),
        rows: rows.to_vec(),
        out_of_order: 0,
        header: None,
    };
    let inputs: Vec<Input> = [left, right].into_iter().enumerate().map(input).collect();
    run_inputs(&yaml, &inputs, &Feed { block: 100, target: 100, shares: 2, restarts: vec![3], beyond: (3, 1) }).outputs
}

#[test]
fn windows_that_begin_and_end_together_are_joined() {
    let step = "  a: { from: l, window: { tumbling: 10s, by: key, aggregate: { n: count() } } }
  b: { from: r, window: { tumbling: 10s, by: key, aggregate: { sum: sum(v) } } }
  j:
    join:
      left: a
      right: b
      on: key
      within: window
      type: full
      select: { key: \"if a.key == () { b.key } else { a.key }\", end: a.window_end, n: a.n, sum: b.sum }
";
    let row = |(at, key, v): &(i64, &str, i64)| format!("{{\"ts\":{at},\"key\":\"{key}\",\"v\":{v}}}");
    let left: Vec<String> = [(1, "x", 1), (2, "x", 1), (3, "y", 1), (12, "x", 1)].iter().map(row).collect();
    let right: Vec<String> = [(1, "x", 5), (9, "x", 6), (13, "y", 7), (14, "x", 8)].iter().map(row).collect();
    let out = run(step, &left, &right);
    let expected = [
        r#"{"key":"x","end":"1970-01-01T00:00:10Z","n":2,"sum":11}"#,
        r#"{"key":"y","end":"1970-01-01T00:00:10Z","n":1,"sum":null}"#,
        r#"{"key":"x","end":"1970-01-01T00:00:20Z","n":1,"sum":8}"#,
        r#"{"key":"y","end":null,"n":null,"sum":7}"#,
    ];
    let mut made = lines(&out[0]);
    made.sort_unstable();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(made, expected);
}

#[test]
fn a_stream_joins_itself() {
    let step = "  j:
    join:
      left: { first: l }
      right: { then: l }
      on: key
      within: { after: 5s }
      select: { from: first.v, to: then.v }
";
    let row = |(at, v): &(i64, i64)| format!("{{\"ts\":{at},\"key\":1,\"v\":{v}}}");
    let rows: Vec<String> = [(0, 1), (3, 2), (9, 3)].iter().map(row).collect();
    let yaml = format!(
        "name: t\nsources:\n  l:\n    file: {{ path: none }}\n    time: {{ field: ts, format: unix }}\nsteps:\n{step}sinks:\n  out: {{ discard: {{}} }}\n"
    );
    let input = Input { source: 0, name: "p".into(), rows, out_of_order: 0, header: None };
    let feed = Feed { block: 1, target: 10, shares: 2, restarts: vec![], beyond: (0, 0) };
    let out = run_inputs(&yaml, &[input], &feed).outputs;
    let expected = ["{\"from\":1,\"to\":1}", "{\"from\":1,\"to\":2}", "{\"from\":2,\"to\":2}", "{\"from\":3,\"to\":3}"];
    assert_eq!(lines(&out[0]), expected);
}

#[test]
fn rows_beyond_the_limit_and_rows_that_would_nest_too_deep_are_errors() {
    let step = "  j:\n    join: { left: l, right: r, on: key, within: 1s }\n";
    let row = |n: usize| format!("{{\"ts\":1,\"key\":1,\"n\":{n}}}");
    let left: Vec<String> = (0..10_002).map(row).collect();
    let deep = format!("{{\"ts\":1,\"key\":2,\"deep\":{}{}}}", "[".repeat(126), "]".repeat(126));
    let flat = "{\"ts\":1,\"key\":2}".to_owned();
    let out = run(step, &[left, vec![flat]].concat(), &[deep]);
    assert_eq!(out[0], "");
    let wrong = rows_of(&out[1]);
    let reasons: Vec<&str> = wrong.iter().filter_map(|row| row["reason"].as_str()).collect();
    let full = "`l` has 10000 rows of this key that wait for a match, which is the limit";
    assert_eq!(reasons[..2], [full, full]);
    assert_eq!((wrong[0]["original"].as_str(), reasons.len()), (Some("{\"ts\":1,\"key\":1,\"n\":10000}"), 3));
    assert_eq!(reasons[2], "the two rows together: values are nested more than 127 deep");
}
