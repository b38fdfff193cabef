//! Live inputs meet by chance, and what is sent early depends on how they met: however often the program is killed, nobody is
//! told two different things.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use program::{command, stop, until, with_texts};
use receiver::Receiver;

const PIPELINE: &str = "name: t
checkpoint: { every: 700ms }
sources:
  left: { file: { path: left.ndjson, follow: true, poll: 5ms }, time: { field: ts, format: unix_ms, idle_after: 100ms } }
  right: { file: { path: right.ndjson, follow: true, poll: 5ms }, time: { field: ts, format: unix_ms, idle_after: 100ms } }
steps:
  numbered:
    from: [left, right]
    by: device
    script: |
      if state.n == () { state.n = 0; }
      state.n += 1;
      n = state.n;
  sums:
    from: [left, right]
    window: { tumbling: 40ms, emit: once, aggregate: { rows: count(), last: last(v) } }
sinks:
  rows: { from: numbered, http: { url: \"http://ADDRESS/rows\" } }
  windows: { from: sums, http: { url: \"http://ADDRESS/windows\" } }
";

fn start(home: &Path) -> Child {
    command(home, &["run", "--quiet", "t.yaml"]).stderr(Stdio::inherit()).spawn().unwrap()
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn add(home: &Path, file: &str, (ahead, v): (u128, usize)) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(home.join(file)).unwrap();
    writeln!(file, "{{\"ts\":{},\"device\":\"d\",\"v\":{v}}}", now() + ahead).unwrap();
}

/// By what it is about, everything that was said of it.
fn said(to: &Receiver, path: &str, about: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut said = BTreeMap::<String, BTreeSet<String>>::new();
    for request in to.came().into_iter().filter(|request| request.path == path) {
        for line in request.text().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            said.entry(row[about].to_string()).or_default().insert(line.to_owned());
        }
    }
    said
}

#[test]
fn nobody_is_told_two_different_things() {
    let to = Receiver::start();
    let yaml = PIPELINE.replace("ADDRESS", &to.address.to_string());
    let home = with_texts(&[("t.yaml", &yaml), ("left.ndjson", ""), ("right.ndjson", "")]);
    let home = home.path();
    let (mut chance, mut written) = (7u64, 0usize);
    for round in 0..10 {
        let mut run = start(home);
        for _ in 0..4 {
            for _ in 0..30 {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                add(home, if chance >> 63 == 0 { "left.ndjson" } else { "right.ndjson" }, (0, written));
                written += 1;
            }
            until("the rows", || said(&to, "/rows", "n").len() >= written);
        }
        if round % 2 == 0 {
            // It is not late, and its window closes when both inputs have been silent for a while.
            add(home, "left.ndjson", (200, written));
            written += 1;
            let last = format!("\"last\":{}", written - 1);
            let closed = || to.came().iter().any(|request| request.text().contains(&last));
            until("the last window", closed);
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let run = start(home);
    add(home, "right.ndjson", (0, written));
    written += 1;
    until("the rows", || said(&to, "/rows", "n").len() >= written);
    stop(run, Signal::SIGTERM);
    let rows = said(&to, "/rows", "n");
    assert_eq!(rows.len(), written);
    for (about, said) in rows.iter().chain(&said(&to, "/windows", "window_start")) {
        assert_eq!(said.len(), 1, "{about}: {said:#?}");
    }
    assert!(home.join(".millstream/t.db.turns").is_dir());
}

const BY_ARRIVAL: &str = "name: t
checkpoint: { every: 700ms }
sources:
  events: { file: { path: left.ndjson, follow: true, poll: 5ms } }
steps:
  rooms:
    window: { tumbling: 40ms, emit: once, aggregate: { all: \"collect(v, 1000)\" } }
sinks:
  windows: { from: rooms, http: { url: \"http://ADDRESS/windows\" } }
";

/// What each window held.
fn held(to: &Receiver) -> Vec<u64> {
    let windows = said(to, "/windows", "window_start");
    let rows = windows.values().flatten().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.flat_map(|row| row["all"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn what_has_no_time_keeps_the_one_at_which_it_arrived() {
    let to = Receiver::start();
    let yaml = BY_ARRIVAL.replace("ADDRESS", &to.address.to_string());
    let home = with_texts(&[("t.yaml", &yaml), ("left.ndjson", "")]);
    let home = home.path();
    let mut written = 0usize;
    for _ in 0..6 {
        let mut run = start(home);
        let before = held(&to).len();
        // A window closes when something arrives after it.
        until("some windows", || {
            add(home, "left.ndjson", (0, written));
            written += 1;
            held(&to).len() > before + 20
        });
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let wanted = written as u64;
    let run = start(home);
    until("the rest", || {
        add(home, "left.ndjson", (0, written));
        written += 1;
        held(&to).iter().any(|v| *v >= wanted)
    });
    stop(run, Signal::SIGTERM);
    for (about, said) in said(&to, "/windows", "window_start") {
        assert_eq!(said.len(), 1, "{about}: {said:#?}");
    }
    let mut held = held(&to);
    held.sort_unstable();
    assert_eq!(held, (0..held.len() as u64).collect::<Vec<_>>(), "each once");
}
