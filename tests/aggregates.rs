//! Aggregates against a plain reference: on windows of every shape, over random streams with disorder and late events,
//! however blocks are cut, keys shared and runs restarted. Each window collects its values, so that the reference of all
//! other aggregates is a few lines; that `collect` is right is held by `tests/windows.rs`.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use support::{Case, Feed, beyond, rows_of, run_direct};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

const SHAPES: [&str; 7] = [
    "tumbling: 10s",
    "sliding: { size: 10s, every: 2s }",
    "sliding: { size: 9s, every: 6s }",
    "session: { gap: 3s }",
    "session: { gap: 3s, max: 8s }",
    "count: 4",
    "calendar: { every: hour }",
];

const AGGREGATES: &str = "
      aggregate:
        numbers: collect(v, 1000)
        words: collect(word, 1000)
        verdicts: collect(ok, 1000)
        three: collect(v, 3)
        hot: count_if(v > 10)
        oks: count_if(ok)
        some: any(ok)
        every: all(ok)
        middle: median(v)
        high: quantile(v, 0.9)
        low: quantile(v, 0)
        most: quantile(v, 1)
        different: distinct(word)
        nearly: approx_distinct(word)
        frequent: top(word, 2)
        n: count()";

const FOLDS: &str = "
        furthest:
          fold:
            init: \"#{ least: 1000, texts: [] }\"
            each: |
              {
                let it = v ?? 0;
                let list = acc.texts;
                list.push(it);
                #{ least: if it < acc.least { it } else { acc.least }, texts: list }
              }
            merge: |
              {
                let list = a.texts;
                list.append(b.texts);
                #{ least: if a.least < b.least { a.least } else { b.least }, texts: list }
              }
        events:
          fold: { init: vars.none, each: acc + 1, merge: a + b }";

const SINKS: &str = "
sinks:
  out: { discard: {}, from: w }
  wrong: { discard: {}, from: w.errors }
";

fn yaml(shape: &str, keyed: bool, allow_late: i64) -> String {
    let by = if keyed { "\n      by: key" } else { "" };
    let late = if shape.starts_with("count") { String::new() } else { format!("\n      allow_late: {allow_late}s") };
    format!(
        "name: t
vars: {{ none: 0 }}
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix, out_of_order: 4s }}
steps:
  w:
    window:
      {shape}{by}{late}{AGGREGATES}{FOLDS}{SINKS}"
    )
}

/// The values of a collected field, in order.
fn collected<'a>(row: &'a Value, name: &str) -> Vec<&'a Value> {
    row[name].as_array().map(|list| list.iter().collect()).unwrap_or_default()
}

/// The number at a part of the way through sorted numbers.
fn quantile(numbers: &[f64], q: f64) -> Value {
    let Some(last) = numbers.len().checked_sub(1) else { return Value::Null };
    let place = q * last as f64;
    let (low, high) = (numbers[place.floor() as usize], numbers[place.ceil() as usize]);
    json!(low + (high - low) * place.fract())
}

fn expected(row: &Value) -> Map<String, Value> {
    let (values, words, verdicts) = (collected(row, "numbers"), collected(row, "words"), collected(row, "verdicts"));
    let mut numbers: Vec<f64> = values.iter().map(|v| v.as_f64().expect("numbers")).collect();
    let hot = numbers.iter().filter(|v| **v > 10.0).count();
    let three: Vec<&Value> = values.iter().take(3).copied().collect();
    numbers.sort_by(f64::total_cmp);
    let oks = verdicts.iter().filter(|v| **v == &json!(true)).count();
    let or_null = |none: bool, value: Value| if none { Value::Null } else { value };
    let mut counts: Vec<(&Value, usize)> = Vec::new();
    for word in &words {
        match counts.iter_mut().find(|(w, _)| w == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let different = counts.len();
    counts.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.as_str().cmp(&b.as_str())));
    let top: Vec<Value> = counts.iter().take(2).map(|(v, count)| json!({ "value": v, "count": count })).collect();
    let expected = json!({
        "three": or_null(three.is_empty(), json!(three)),
        "hot": hot,
        "oks": oks,
        "some": or_null(verdicts.is_empty(), json!(oks > 0)),
        "every": or_null(verdicts.is_empty(), json!(oks == verdicts.len())),
        "middle": quantile(&numbers, 0.5),
        "high": quantile(&numbers, 0.9),
        "low": quantile(&numbers, 0.0),
        "most": quantile(&numbers, 1.0),
        "different": different,
        "nearly": different,
        "frequent": or_null(top.is_empty(), json!(top)),
    });
    expected.as_object().cloned().unwrap_or_default()
}

/// Folds see every event, null or not, in order of arrival within a part of a window.
fn folded(row: &Value) -> Result<(), TestCaseError> {
    prop_assert_eq!(&row["events"], &row["n"]);
    let numbers = |list: &Value| -> Vec<f64> {
        let mut all: Vec<f64> = list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (mut collected, all) = (numbers(&row["numbers"]), numbers(&row["furthest"]["texts"]));
    prop_assert_eq!(Some(all.len() as u64), row["n"].as_u64());
    prop_assert_eq!(row["furthest"]["least"].as_f64(), all.first().copied());
    // Nulls came as zeros.
    collected.resize(all.len(), 0.0);
    collected.sort_by(f64::total_cmp);
    prop_assert_eq!(collected, all);
    Ok(())
}

fn same(a: &Value, b: &Value, allowed: f64) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= allowed * (1.0 + 1e-9),
        _ => a == b,
    }
}

/// Lines of events whose times mostly rise.
fn stream() -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![
        6 => (-50i64..50).prop_map(|v| json!(v)),
        2 => (-50i64..50).prop_map(|v| json!(v as f64 / 4.0)),
        1 => Just(Value::Null),
    ];
    let word = prop::sample::select(vec![json!("a"), json!("b"), json!("c"), json!("d"), Value::Null]);
    let ok = prop::sample::select(vec![json!(true), json!(true), json!(false), Value::Null]);
    let key = prop::sample::select(vec!["x", "y", "z"]);
    let row = (0i64..3, 0i64..10, key, number, word, ok);
    prop::collection::vec((row, any::<bool>()), 0..60).prop_map(|rows| {
        let mut at = BASE;
        let line = |((step, back, key, v, word, ok), whole): (_, bool)| {
            at += step;
            let mut event = Map::from_iter([("ts".to_owned(), json!(at - back)), ("key".to_owned(), json!(key))]);
            if whole {
                event.extend([("v".to_owned(), v), ("word".to_owned(), word), ("ok".to_owned(), ok)]);
            } else {
                event.extend([("v".to_owned(), v)]);
            }
            // A condition over a missing field is false; `v > 10` never fails.
            Value::Object(event).to_string()
        };
        rows.into_iter().map(line).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn aggregates_are_those_of_the_reference_however_rows_come(
        shape in prop::sample::select(SHAPES.to_vec()),
        keyed in any::<bool>(),
        allow_late in prop::sample::select(vec![0i64, 5]),
        partitions in prop::collection::vec(stream(), 1..3),
        block in 1usize..20,
        target in 1u32..30,
        shares in prop::sample::select(vec![1usize, 2, 4]),
        restarts in prop::collection::vec(0usize..60, 0..3),
        beyond in beyond(),
    ) {
        let yaml = yaml(shape, keyed, allow_late);
        let case = Case { yaml: yaml.clone(), partitions, out_of_order: 4 };
        let plain = run_direct(&case, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        let cut = run_direct(&case, &Feed { block, target, shares, restarts, beyond });
        prop_assert_eq!(&plain, &cut, "{}", yaml);
        // Nothing fails, so whatever was taken in shows.
        prop_assert_eq!(&plain[1], "");
        for row in rows_of(&plain[0]) {
            for (name, value) in expected(&row) {
                // Beyond 64 numbers, which are all within 50, a sketch is within 1 % of each.
                let sketched = collected(&row, "numbers").len() > 64 && ["middle", "high"].contains(&name.as_str());
                let allowed = if sketched { 0.5 } else { 1e-9 };
                prop_assert!(same(&row[&name], &value, allowed), "{name}: {value} in {row}\n{yaml}");
            }
            folded(&row)?;
        }
    }
}

fn run(yaml: &str, rows: Vec<String>) -> Vec<Vec<Value>> {
    let case = Case { yaml: yaml.to_owned(), partitions: vec![rows], out_of_order: 4 };
    let out = run_direct(&case, &Feed { block: 7, target: 11, shares: 1, restarts: vec![3], beyond: (3, 1) });
    out.iter().map(|text| rows_of(text)).collect()
}

/// A pipeline without folds.
fn without_folds(shape: &str) -> String {
    yaml(shape, false, 0).replace(FOLDS, "")
}

/// A pipeline with just these aggregates.
fn only(aggregates: &str, shape: &str, allow_late: i64) -> String {
    yaml(shape, false, allow_late).replace(FOLDS, "").replace(AGGREGATES, aggregates)
}

fn event(at: i64, more: &Value) -> String {
    let mut event = Map::from_iter([("ts".to_owned(), json!(BASE + at))]);
    event.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(event).to_string()
}

#[test]
fn a_condition_that_is_no_bool_fails_its_event_and_null_is_passed_over() {
    let rows = [json!({ "ok": true }), json!({ "ok": "yes" }), json!({ "ok": null }), json!({}), json!({ "ok": 1 })];
    let yaml = yaml("tumbling: 10s", false, 0);
    let out = run(&yaml, rows.iter().map(|row| event(1, row)).collect());
    assert_eq!((&out[0][0]["n"], &out[0][0]["oks"], &out[0][0]["every"]), (&json!(3), &json!(1), &json!(true)));
    let reasons: Vec<&Value> = out[1].iter().map(|row| &row["reason"]).collect();
    assert_eq!(reasons, ["`ok` is text, where a bool is needed", "`ok` is an integer, where a bool is needed"]);
}

#[test]
fn an_event_whose_fold_fails_belongs_to_no_window() {
    let aggregates = "
      aggregate:
        total:
          fold: { init: 0, each: acc + v, merge: a + b }
        n: count()";
    let rows = |second: Value| {
        let of = |at: i64, v: &Value| event(at, &json!({ "v": v }));
        vec![of(1, &json!(5)), of(3, &second), of(5, &json!(7)), of(40, &json!(null)), of(41, &json!(true))]
    };
    for shape in SHAPES {
        let yaml = only(aggregates, shape, 5);
        let out = run(&yaml, rows(json!([])));
        let failed: Vec<&Value> = out[1].iter().map(|row| &row["reason"]).collect();
        assert_eq!(failed.len(), 3, "{shape}: {failed:?}");
        assert_eq!(out[1][1]["original"], event(40, &json!({ "v": null })));
        assert!(out[0].iter().all(|row| row["n"] == 1 || row["n"] == 2), "{shape}: {out:?}");
        let joined = out[0].iter().any(|row| row["n"] == 2);
        // Without the event between them these two are sessions of their own.
        assert_eq!(joined, !shape.starts_with("session"), "{shape}");
        let all = run(&yaml, rows(json!(1)));
        assert!(all[0].iter().any(|row| row["total"] == 13), "{shape}: {all:?}");
    }
}

#[test]
fn the_accumulator_hides_a_field_of_its_name_and_a_merge_may_fail() {
    let aggregates = "
      aggregate:
        seen:
          fold:
            init: \"[]\"
            each: '{ acc.push(event[\"acc\"]); acc }'
            merge: '{ if a.len() + b.len() > 3 { throw \"too many\"; } a.append(b); a }'
        known:
          fold:
            init: 0
            each: if contains(event, \"acc\") { acc + 1 } else { acc }
            merge: a + b";
    let yaml = only(aggregates, "sliding: { size: 4s, every: 2s }", 0);
    let acc = |at: i64, acc: i64| event(at, &json!({ "acc": acc }));
    let out = run(&yaml, vec![acc(0, 7), acc(1, 8), acc(2, 9), event(2, &json!({})), acc(4, 1), acc(5, 2)]);
    let seen: Vec<&Value> = out[0].iter().map(|row| &row["seen"]).collect();
    assert_eq!(seen, [&json!([7, 8]), &json!([1, 2])]);
    assert_eq!(out[0].iter().map(|row| row["known"].clone()).collect::<Vec<_>>(), [json!(2), json!(2)]);
    assert_eq!(out[1].len(), 2, "{:?}", out[1]);
    assert!(out[1][0]["reason"].as_str().is_some_and(|reason| reason.contains("too many")), "{:?}", out[1]);
}

#[test]
fn many_values_are_counted_within_the_errors_that_are_stated() {
    // Three panes of a window together have what none has alone.
    let rows = (0..9_000i64).map(|i| {
        let at = i / 1_000;
        event(at, &json!({ "v": (i * 7_919) % 9_000 + 1, "word": format!("w{}", (i * 31) % 5_000) }))
    });
    let out = run(&without_folds("sliding: { size: 9s, every: 3s }"), rows.collect());
    let whole = out[0].iter().find(|row| row["window_start"] == "2026-01-01T00:00:00Z").expect("the window");
    let near = |name: &str, exact: f64, error: f64| {
        let found = whole[name].as_f64().expect("a number");
        assert!((found / exact - 1.0).abs() <= error, "{name}: {found} for {exact}");
    };
    near("middle", 4_500.5, 0.01);
    near("high", 8_100.1, 0.01);
    assert_eq!((&whole["low"], &whole["most"]), (&json!(1.0), &json!(9_000.0)));
    assert_eq!(whole["different"], json!(5_000));
    near("nearly", 5_000.0, 0.05);
}

#[test]
fn a_window_with_too_many_distinct_values_has_no_answer_but_an_error() {
    let limit = millstream::base::limit::DISTINCT_VALUES as i64;
    let aggregates = "\n      aggregate: { n: distinct(v), most: max(v) }";
    let yaml = only(aggregates, "sliding: { size: 4s, every: 2s }", 0);
    let rows = (0..=limit).map(|i| event(4 * i / (limit + 1), &json!({ "v": i }))).collect();
    let case = Case { yaml, partitions: vec![rows], out_of_order: 4 };
    let out =
        run_direct(&case, &Feed { block: 5_000, target: 5_000, shares: 1, restarts: vec![4, 14], beyond: (3, 1) });
    let (rows, wrong) = (rows_of(&out[0]), rows_of(&out[1]));
    assert_eq!(rows.iter().map(|row| row["n"].as_i64().expect("a count")).sum::<i64>(), limit + 1);
    assert_eq!(wrong.len(), 1);
    let reason = wrong[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("`approx_distinct` counts any number"), "{reason}");
    assert_eq!(wrong[0]["place"], "t.yaml:12:32");
}

#[test]
fn text_in_a_sum_fails_its_row_and_null_is_passed_over() {
    let yaml = "
name: t
sources:
  in: { file: { path: none.ndjson }, time: { field: ts, format: unix } }
steps:
  w:
    window:
      tumbling: 10s
      aggregate:
        n: count()
        total: sum(v)
        mean: avg(v)
        half: median(w)
sinks:
  out: { from: w, discard: {} }
  wrong: { from: w.errors, discard: {} }
";
    let events = [
        json!({"ts": BASE, "v": 1, "w": 1}),
        json!({"ts": BASE, "v": "2", "w": 1}),
        json!({"ts": BASE, "v": null}),
        json!({"ts": BASE, "v": 3, "w": true}),
    ];
    let case = Case {
        yaml: yaml.into(),
        partitions: vec![
            events
                .iter()
                .map(Value::to_string)
                .chain([format!("{{\"ts\":{BASE},\"v\":99999999999999999999}}")])
                .collect(),
        ],
        out_of_order: 0,
    };
    let out = run_direct(&case, &Feed { block: 2, target: 2, shares: 1, restarts: vec![], beyond: (0, 0) });
    let rows = rows_of(&out[0]);
    assert_eq!(rows.len(), 1, "{out:?}");
    let row = &rows[0];
    assert_eq!(
        (&row["n"], &row["total"], &row["mean"], &row["half"]),
        (&json!(2), &json!(1), &json!(1.0), &json!(1.0))
    );
    let reasons: Vec<String> =
        rows_of(&out[1]).iter().map(|row| row["reason"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        reasons,
        [
            "`v` is text, which `sum(v)` cannot use",
            "`w` is a bool, which `median(w)` cannot use",
            "`v` is a number beyond 64 bits, which `sum(v)` cannot use",
        ]
    );
}
