//! `sample`: the share that was asked for, the same in every run, and all rows of a key or none.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod support;

use std::collections::BTreeMap;

use support::{Case, Feed, rows_of, run_direct};

const ROWS: i64 = 4_000;

fn run(sample: &str, step: &str, partitions: usize) -> String {
    let yaml = format!(
        "name: t
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix }}
steps:
{step}  s:
    sample: {sample}
sinks:
  out: {{ discard: {{}}, from: s }}
"
    );
    let row = |n: i64| format!("{{\"ts\":{n},\"user\":{},\"n\":{n}}}", n % 200);
    let partitions = vec![(0..ROWS).map(row).collect::<Vec<_>>(); partitions];
    let case = Case { yaml, partitions, out_of_order: 0 };
    let outputs: Vec<String> = [(1000, 1000, 1), (7, 13, 2)]
        .into_iter()
        .map(|(block, target, shares)| {
            run_direct(&case, &Feed { block, target, shares, restarts: vec![], beyond: (0, 0) }).swap_remove(0)
        })
        .collect();
    assert_eq!(outputs[0], outputs[1]);
    outputs.into_iter().next().expect("one")
}

fn share(text: &str) -> f64 {
    text.lines().count() as f64 / ROWS as f64
}

#[test]
fn a_share_of_the_rows_goes_on() {
    for (sample, wanted) in
        [("{ rate: 0.1 }", 0.1), ("{ one_in: 4 }", 0.25), ("{ rate: 1 }", 1.0), ("{ one_in: 1 }", 1.0)]
    {
        let got = share(&run(sample, "", 1));
        assert!((got - wanted).abs() < 0.02, "{sample}: {got}");
    }
    assert!(run("{ rate: 0.0000001 }", "", 1).is_empty());
}

#[test]
fn equal_rows_of_two_places_are_chosen_apart() {
    let text = run("{ rate: 0.5 }", "", 2);
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    text.lines().for_each(|line| *times.entry(line).or_default() += 1);
    let once = times.values().filter(|n| **n == 1).count() as f64;
    assert!((once / ROWS as f64 - 0.5).abs() < 0.03, "{once}");
}

#[test]
fn all_rows_of_a_key_go_on_or_none() {
    let rows = rows_of(&run("{ rate: 0.3, by: user }", "", 1));
    let mut users: BTreeMap<i64, i64> = BTreeMap::new();
    rows.iter().for_each(|row| *users.entry(row["user"].as_i64().expect("a user")).or_default() += 1);
    assert!(users.values().all(|n| *n == ROWS / 200));
    assert!((40..80).contains(&users.len()), "{}", users.len());
}

#[test]
fn rows_that_a_step_made_are_chosen_by_what_they_hold() {
    let window = "  w:\n    window: { tumbling: 1s, by: user, aggregate: { n: count() } }\n";
    let got = share(&run("{ rate: 0.5 }", window, 1));
    assert!((got - 0.5).abs() < 0.03, "{got}");
}
