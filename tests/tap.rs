//! Taps of a run: what passes an entry, seen while it passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/running.rs"]
mod running;
mod support;

use std::time::Instant;

use millstream::engine::tap::{Tap, TappedRow};
use running::{PATIENCE, Running, begin};

const PIPELINE: &str = "
name: t
sources:
  events: { file: { path: none }, time: { field: ts, format: unix } }
steps:
  even: { filter: ts % 2 == 0 }
  named: { set: { twice: ts * 2 } }
  minutes:
    window: { tumbling: 1m, aggregate: { n: count() } }
sinks:
  out: { from: minutes, discard: {} }
  csv: { from: named, discard: {}, format: { csv: { columns: [ts] } } }
";

/// So many rows of a tap.
fn rows(tap: &mut Tap, count: usize) -> Vec<TappedRow> {
    let (began, mut rows) = (Instant::now(), Vec::new());
    while rows.len() < count {
        match tap.try_next() {
            Some(row) => rows.push(row),
            None => assert!(began.elapsed() < PATIENCE, "{} rows of {count}", rows.len()),
        }
        std::thread::yield_now();
    }
    rows
}

fn texts(tap: &mut Tap, count: usize) -> Vec<String> {
    rows(tap, count).into_iter().map(|row| row.row).collect()
}

fn start() -> Running {
    begin(PIPELINE, &[&[""]]).start()
}

#[test]
fn rows_are_seen_where_they_pass() {
    let running = start();
    let tap = |entry: &str| running.handle.tap(entry, 1).unwrap();
    let mut taps = ["events", "even", "named", "minutes", "out", "csv"].map(tap);
    running.feed((0, 0), [1, 2, 70]);
    let [events, even, named, minutes, out, csv] = &mut taps;
    let mut seen = texts(events, 3);
    // Workers take blocks side by side.
    seen.sort();
    assert_eq!(seen[0], r#"{"ts":1767225601,"k":"k1"}"#);
    assert_eq!(rows(even, 2).len(), 2);
    let mut seen = rows(named, 2);
    seen.sort_by(|a, b| a.row.cmp(&b.row));
    assert_eq!(seen[0].row, r#"{"ts":1767225602,"k":"k2","twice":3534451204}"#);
    assert_eq!(seen[0].time.unwrap().to_string(), "2026-01-01T00:00:02Z");
    let window = r#"{"window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-01T00:01:00Z","n":1}"#;
    let seen = rows(minutes, 1);
    assert_eq!((seen[0].row.as_str(), seen[0].port.as_str()), (window, ""));
    let written = serde_json::to_value(&seen[0]).unwrap();
    assert_eq!((&written["row"]["n"], &written["time"]), (&1.into(), &"2026-01-01T00:00:59.999999Z".into()));
    assert_eq!(texts(out, 1), [window]);
    let mut seen = texts(csv, 2);
    seen.sort();
    assert_eq!(seen[0], r#"{"ts":1767225602,"k":"k2","twice":3534451204}"#, "whatever the sink writes");
    assert_eq!((csv.passed(), csv.let_go()), (2, 0));
    running.handle.stop();
    running.ended();
}

#[test]
fn one_row_in_so_many_is_shown() {
    let running = start();
    let mut tap = running.handle.tap("events", 10).unwrap();
    running.feed((0, 0), 0..95);
    running.until_taken("events", 95);
    running.handle.drain();
    running.ended();
    assert_eq!(rows(&mut tap, 10).len(), 10);
    assert_eq!((tap.try_next(), tap.passed(), tap.let_go()), (None, 95, 0));
}

#[test]
fn a_tap_that_nobody_reads_holds_nothing_back() {
    let running = start();
    let mut tap = running.handle.tap("events", 1).unwrap();
    running.feed((0, 0), 0..3000);
    running.until_taken("events", 3000);
    running.handle.stop();
    running.ended();
    let shown = std::iter::from_fn(|| tap.try_next()).count() as u64;
    assert!(shown < 3000 && shown + tap.let_go() == 3000, "{shown}, {}", tap.let_go());
}

#[test]
fn a_tap_ends_with_the_run() {
    let running = start();
    let mut tap = running.handle.tap("even", 1).unwrap();
    let handle = running.handle.clone();
    running.feed((0, 0), [2]);
    running.until_taken("events", 1);
    running.handle.stop();
    running.ended();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let all = runtime.block_on(async {
        let mut all = Vec::new();
        while let Some(row) = tap.next().await {
            all.push(row.row);
        }
        all
    });
    assert_eq!(all.len(), 1);
    assert!(runtime.block_on(handle.tap("even", 1).unwrap().next()).is_none(), "of a run that is over");
}

#[test]
fn there_are_only_so_many_taps_and_only_of_entries() {
    let running = start();
    let why = running.handle.tap("evn", 1).unwrap_err();
    assert_eq!(why, "there is no source, step or sink `evn`; is it `even`?");
    let mut taps: Vec<Tap> = (0..16).map(|_| running.handle.tap("even", 1).unwrap()).collect();
    assert!(running.handle.tap("even", 1).unwrap_err().contains("16 taps"));
    taps.pop();
    running.handle.tap("even", 1).unwrap();
    running.handle.stop();
    running.ended();
}
