//! `dedupe` and `throttle` against a plain reference that keeps every row that went on: random streams with disorder, late events, ties
//! and several partitions; block sizes from one row up; keys shared among one, two and four; restarts from a snapshot.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Case, Feed, feeds, keys, lines, rising, rows_of, run_direct};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

/// What is compared with the reference.
#[derive(Clone, Debug)]
struct Setting {
    /// How many rows go on in a span; `None` is a `dedupe`.
    limit: Option<usize>,
    /// Without a key the whole event is one, or all events are.
    keyed: bool,
    span: i64,
    out_of_order: i64,
}

#[derive(Clone, Debug)]
struct Row {
    /// Seconds after the base.
    at: i64,
    /// `None`: the field is missing.
    key: Option<Value>,
    value: Value,
    /// Whether the members stand the other way round.
    turned: bool,
}

impl Setting {
    fn yaml(&self) -> String {
        let Setting { span, out_of_order, .. } = self;
        let (step, held) = match self.limit {
            None => (format!("dedupe:\n      within: {span}s"), ""),
            Some(limit) => (
                format!("throttle:\n      limit: {limit}\n      per: {span}s"),
                "  held: { discard: {}, from: s.throttled }\n",
            ),
        };
        let by = if self.keyed { "\n      by: key" } else { "" };
        format!(
            "name: t
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix, out_of_order: {out_of_order}s }}
steps:
  s:
    {step}{by}
sinks:
  out: {{ discard: {{}}, from: s }}
  late: {{ discard: {{}}, from: s.late }}
{held}"
        )
    }

    fn same(&self, a: &Row, b: &Row) -> bool {
        if self.limit.is_some() && !self.keyed {
            return true;
        }
        let keys = number(&a.key) == number(&b.key);
        // The whole event holds its time, and has the field or not.
        let whole = || a.key.is_some() == b.key.is_some() && a.at == b.at;
        keys && (self.keyed || (whole() && number(&Some(a.value.clone())) == number(&Some(b.value.clone()))))
    }
}

/// Null and missing are one, and numbers equal in value are.
fn number(value: &Option<Value>) -> Value {
    match value {
        Some(Value::Number(n)) => json!(n.as_f64()),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn line(row: &Row) -> String {
    let key = row.key.as_ref().map(|key| format!("\"key\":{key}"));
    let mut members: Vec<String> =
        key.into_iter().chain([format!("\"ts\":{}", BASE + row.at), format!("\"v\":{}", row.value)]).collect();
    if row.turned {
        members.reverse();
    }
    format!("{{{}}}", members.join(","))
}

struct Reference<'a> {
    setting: &'a Setting,
    watermark: i64,
    kept: Vec<Row>,
    passed: Vec<String>,
    late: Vec<String>,
    held: Vec<String>,
}

impl Reference<'_> {
    fn row(&mut self, row: &Row) {
        let span = self.setting.span;
        if row.at + span <= self.watermark {
            self.late.push(line(row));
            return;
        }
        let mut times: Vec<i64> = self.kept.iter().filter(|k| self.setting.same(k, row)).map(|k| k.at).collect();
        times.push(row.at);
        // Every span that begins at a row; the rule is about all of them.
        let most = times.iter().map(|from| times.iter().filter(|at| **at >= *from && **at < from + span).count()).max();
        if most <= Some(self.setting.limit.unwrap_or(1)) {
            self.kept.push(row.clone());
            self.passed.push(line(row));
        } else {
            self.held.push(line(row));
        }
    }
}

/// Reads partitions as the language says: next from the one whose watermark is least, ties by order.
fn reference<'a>(setting: &'a Setting, partitions: &[Vec<Row>]) -> Reference<'a> {
    let none = Vec::new;
    let watermark = i64::MIN / 2;
    let mut reference = Reference { setting, watermark, kept: Vec::new(), passed: none(), late: none(), held: none() };
    let mut taken = vec![0usize; partitions.len()];
    let mut greatest = vec![i64::MIN / 2; partitions.len()];
    let mut ended = vec![false; partitions.len()];
    while let Some(next) = (0..partitions.len()).filter(|i| !ended[*i]).min_by_key(|i| (greatest[*i], *i)) {
        if let Some(row) = partitions[next].get(taken[next]) {
            reference.row(row);
            taken[next] += 1;
            greatest[next] = greatest[next].max(row.at);
        } else {
            ended[next] = true;
        }
        let least = (0..partitions.len()).filter(|i| !ended[*i]).map(|i| greatest[i]).min();
        let least = least.map_or(i64::MAX / 2, |least| least - setting.out_of_order);
        reference.watermark = reference.watermark.max(least);
    }
    reference
}

fn setting() -> impl Strategy<Value = Setting> {
    let of = |(limit, keyed, span, out_of_order)| Setting { limit, keyed, span, out_of_order };
    (prop::option::of(1usize..5), any::<bool>(), 1i64..12, 0i64..10).prop_map(of)
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop::sample::select(vec![json!(0), json!(1), json!(1.0), json!("x")]);
    (0i64..12, keys(), value, any::<bool>()).prop_map(|(at, key, value, turned)| Row { at, key, value, turned })
}

/// Mostly rising times.
fn stream() -> impl Strategy<Value = Vec<Row>> {
    rising(row(), 40, |row, base| row.at += base - 6)
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
    fn what_goes_on_is_that_of_the_reference(
        setting in setting(),
        partitions in prop::collection::vec(stream(), 1..4),
        feed in feeds(),
    ) {
        let expected = reference(&setting, &partitions);
        let out = run_direct(&case(&setting, &partitions), &feed);
        prop_assert_eq!(lines(&out[0]), expected.passed, "{}", setting.yaml());
        prop_assert_eq!(lines(&out[1]), expected.late, "{}", setting.yaml());
        if setting.limit.is_some() {
            prop_assert_eq!(lines(&out[2]), expected.held, "{}", setting.yaml());
        }
    }
}

#[test]
fn a_duplicate_does_not_renew_the_limit_and_at_the_limit_an_event_goes_on() {
    let setting = Setting { limit: None, keyed: true, span: 10, out_of_order: 0 };
    let row = |at: i64| Row { at, key: Some(json!("a")), value: json!(at), turned: false };
    // 6 repeats 0; 10 does not, although 6 came in between; 3, out of order, is less than ten from both.
    let rows: Vec<Row> = [0, 6, 10, 3, 19, 20].map(row).to_vec();
    let feed = Feed { block: 10, target: 10, shares: 1, restarts: vec![], beyond: (0, 0) };
    let out = run_direct(&case(&setting, &[rows]), &feed);
    let at = |row: &Value| row["v"].as_i64().expect("a number");
    assert_eq!(rows_of(&out[0]).iter().map(at).collect::<Vec<_>>(), [0, 10, 20]);
    assert_eq!(out[1], "");
}
