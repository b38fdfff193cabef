//! The program itself going on with a run that was stopped: what a changed pipeline may keep, who may have a state, and what
//! a state that is not what was written leads to.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;

#[path = "support/program.rs"]
mod program;

use nix::sys::signal::Signal;

use program::{command, read, run, said, stop, until};

const PIPELINE: &str = r#"
name: t
checkpoint: { every: 30ms }
state: kept/t.db
sources:
  events:
    file: { path: in.ndjson, follow: true, poll: 10ms }
    time: { field: ts, format: unix }
steps:
  seen:
    dedupe: { by: id, within: 1h }
  sums:
    window: { tumbling: 1m, by: k, aggregate: { n: count() } }
sinks:
  all: { from: seen, file: { path: all.ndjson } }
  out: { from: sums, file: { path: out.ndjson } }
"#;

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("t.yaml"), PIPELINE).unwrap();
    write(home.path(), &[(1, 1), (2, 2), (3, 3)]);
    home
}

fn write(home: &Path, rows: &[(i64, u64)]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(home.join("in.ndjson")).unwrap();
    for (ts, id) in rows {
        writeln!(file, "{{\"ts\":{},\"k\":\"a\",\"id\":{id}}}", 1_767_225_600 + ts).unwrap();
    }
}

/// Runs until so many rows have come through, then stops.
fn run_until(home: &Path, rows: usize, arguments: &[&str]) {
    let child = command(home, arguments).spawn().unwrap();
    until("the rows", || read(home, "all.ndjson").lines().count() == rows);
    stop(child, Signal::SIGTERM);
}

#[test]
fn what_means_something_else_is_reset_only_when_asked() {
    let home = home();
    let home = home.path();
    run_until(home, 3, &["run", "--quiet", "t.yaml"]);
    let plan = run(home, &["plan", "t.yaml"]);
    assert!(plan.status.success());
    assert!(said(&plan).contains("seen: kept (3 keys)\n  sums: kept (1 key, 1 open window)\n"), "{}", said(&plan));

    fs::write(home.join("t.yaml"), PIPELINE.replace("n: count()", "n: count(), last: last(id)")).unwrap();
    let plan = run(home, &["plan", "t.yaml"]);
    assert_eq!(plan.status.code(), Some(1));
    let differs = "sums: means something else now; it keeps 1 key, 1 open window\n    aggregates: count(), last(id), was count()\n    reset with --reset-state sums\n";
    assert!(said(&plan).contains(differs), "{}", said(&plan));
    let refused = run(home, &["run", "t.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("`sums` keeps something else now"), "{}", said(&refused));
    let wrong = run(home, &["run", "--reset-state", "sums", "--reset-state", "sum", "t.yaml"]);
    assert!(said(&wrong).contains("`--reset-state sum`: no step of this name keeps state"), "{}", said(&wrong));

    // A row that was seen before stays a duplicate; the window has forgotten its rows.
    write(home, &[(4, 1), (5, 4)]);
    run_until(home, 4, &["run", "--quiet", "--reset-state", "sums", "t.yaml"]);
    write(home, &[(70, 5)]);
    run_until(home, 5, &["run", "--quiet", "--workers", "3", "t.yaml"]);
    assert!(read(home, "out.ndjson").contains("\"n\":1,\"last\":4}"), "{}", read(home, "out.ndjson"));
    let status = said(&run(home, &["status", "t.yaml"]));
    assert!(!status.contains("balance"), "{status}");

    // Anew: everything is read again.
    let child = command(home, &["run", "--quiet", "--fresh", "t.yaml"]).spawn().unwrap();
    until("all rows again", || read(home, "all.ndjson").lines().count() == 10);
    stop(child, Signal::SIGINT);
}

#[test]
fn two_runs_do_not_share_a_state() {
    let home = home();
    let home = home.path();
    let mut child = command(home, &["run", "--quiet", "t.yaml"]).spawn().unwrap();
    until("the first run", || read(home, "all.ndjson").lines().count() == 3);
    let second = run(home, &["run", "t.yaml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains(&format!("process {}", child.id())), "{}", said(&second));
    // Killed, it leaves nothing that keeps others out.
    child.kill().unwrap();
    child.wait().unwrap();
    write(home, &[(6, 6)]);
    run_until(home, 4, &["run", "--quiet", "t.yaml"]);
}

#[test]
fn a_damaged_state_is_refused() {
    let home = home();
    let home = home.path();
    run_until(home, 3, &["run", "--quiet", "t.yaml"]);
    let path = home.join("kept/t.db");
    // What is in the log beside it goes into the file.
    let state = rusqlite::Connection::open(&path).unwrap();
    state.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    state.execute("UPDATE partition SET position = position - 20", []).unwrap();
    drop(state);
    let refused = run(home, &["run", "t.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("kept/t.db"), "{}", said(&refused));
    assert_eq!(read(home, "all.ndjson").lines().count(), 3);
}
