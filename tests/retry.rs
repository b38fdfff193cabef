//! Dead letters of the program itself, sent again: in a pipeline that stands still, and beside one that runs, which pauses
//! for it and goes on.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[path = "support/program.rs"]
mod program;

use nix::sys::signal::Signal;

use program::{read, stop, until};

const PIPELINE: &str = r#"
name: t
checkpoint: { every: 30ms }
vars:
  factor: ${FACTOR:-text}
sources:
  events:
    file: { path: in.ndjson, follow: true, poll: 10ms }
    time: { field: ts, format: unix }
steps:
  scaled:
    script: |
      weight = v * vars.factor;
  sums:
    window: { tumbling: 1m, by: k, allow_late: 10s, aggregate: { n: count(), s: sum(weight) } }
sinks:
  all: { from: scaled, file: { path: all.ndjson } }
  out: { from: sums, file: { path: out.ndjson } }
"#;

fn command(home: &Path, arguments: &[&str], factor: &str) -> Command {
    let mut command = program::command(home, arguments);
    command.env("FACTOR", factor);
    command
}

fn said(home: &Path, arguments: &[&str], factor: &str) -> String {
    program::said(&command(home, arguments, factor).output().unwrap())
}

fn write(home: &Path, rows: &[(i64, &str, &str)]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(home.join("in.ndjson")).unwrap();
    for (ts, k, v) in rows {
        writeln!(file, "{{\"ts\":{},\"k\":\"{k}\",\"v\":{v}}}", 1_767_225_600 + ts).unwrap();
    }
}

fn start(home: &Path, factor: &str) -> Child {
    command(home, &["run", "--quiet", "t.yaml"], factor).stderr(Stdio::inherit()).spawn().unwrap()
}

fn letters(home: &Path) -> String {
    let output = command(home, &["dead-letters", "list", "--format", "ndjson", "t.yaml"], "2").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rows_enter_where_they_were_refused_and_count_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), PIPELINE).unwrap();
    write(home, &[(1, "a", "1"), (2, "a", "\"x\""), (3, "b", "2")]);
    // The factor is no number: nothing can be scaled.
    let run = start(home, "text");
    until("a dead letter for each row", || letters(home).lines().count() == 3);
    stop(run, Signal::SIGTERM);
    assert_eq!(read(home, "all.ndjson"), "");
    let dry = said(home, &["dead-letters", "retry", "--dry-run", "t.yaml"], "2");
    assert_eq!(dry, "3 dead letters would be sent again: 2 rows for sinks, 1 row would be dead letters\n");
    assert_eq!(letters(home).lines().count(), 3);
    let sent = said(home, &["dead-letters", "retry", "--entry", "scaled", "t.yaml"], "2");
    assert_eq!(sent, "3 dead letters sent again: 2 rows for sinks, 1 row became dead letters\n");
    assert_eq!(letters(home).lines().count(), 1);
    let all = read(home, "all.ndjson");
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(all.contains("\"k\":\"a\",\"v\":1,\"weight\":2}"), "{all}");
    // They are part of their windows, which close as if they had come in time.
    let run = start(home, "2");
    write(home, &[(10, "b", "3"), (75, "a", "1")]);
    until("the windows", || read(home, "out.ndjson").lines().count() == 2);
    stop(run, Signal::SIGTERM);
    let out = read(home, "out.ndjson");
    assert!(out.contains("\"n\":1,\"s\":2}") && out.contains("\"n\":2,\"s\":10}"), "{out}");
    let status = said(home, &["status", "t.yaml"], "2");
    assert!(!status.contains("balance"), "{status}");
}

#[test]
fn a_run_pauses_for_it_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), PIPELINE).unwrap();
    write(home, &[(1, "a", "\"x\""), (2, "a", "1")]);
    let run = start(home, "2");
    until("a dead letter", || letters(home).lines().count() == 1);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "3");
    assert_eq!(sent, "1 dead letter sent again: 0 rows for sinks, 1 row became dead letters\n");
    write(home, &[(3, "a", "2"), (80, "a", "1")]);
    until("the window", || read(home, "out.ndjson").lines().count() == 1);
    assert_eq!(said(home, &["dead-letters", "purge", "--all", "t.yaml"], "2"), "1 dead letter purged\n");
    assert_eq!(
        said(home, &["state", "t.yaml", "sums", "--delete", "--key", "a"], "2"),
        "`sums` has forgotten the key `a`\n"
    );
    write(home, &[(170, "b", "1"), (240, "b", "1")]);
    until("the next window", || read(home, "out.ndjson").lines().count() == 2);
    stop(run, Signal::SIGTERM);
    let out = read(home, "out.ndjson");
    let windows: Vec<&str> = out.lines().map(|line| line.split("\"n\"").next().unwrap()).collect();
    assert_eq!(
        windows,
        [
            "{\"k\":\"a\",\"window_start\":\"2026-01-01T00:00:00Z\",\"window_end\":\"2026-01-01T00:01:00Z\",",
            "{\"k\":\"b\",\"window_start\":\"2026-01-01T00:02:00Z\",\"window_end\":\"2026-01-01T00:03:00Z\",",
        ]
    );
    let status = said(home, &["status", "t.yaml"], "2");
    assert!(!status.contains("balance"), "{status}");
}

/// Runs a pipeline until it has dead letters, and stops it.
fn refused(home: &Path, pipeline: &str, factor: &str, count: usize) {
    fs::write(home.join("t.yaml"), pipeline).unwrap();
    let run = start(home, factor);
    until("dead letters", || letters(home).lines().count() == count);
    stop(run, Signal::SIGTERM);
}

/// What is wrong with the ledger; nothing if it balances.
fn unbalanced(home: &Path, factor: &str) -> Option<String> {
    let status = said(home, &["status", "t.yaml"], factor);
    status.contains("balance").then_some(status)
}

const JOINED: &str = r#"
name: t
checkpoint: { every: 30ms }
vars:
  factor: ${FACTOR:-text}
sources:
  orders: { file: { path: in.ndjson, follow: true, poll: 10ms }, time: { field: ts, format: unix } }
steps:
  paid: { from: orders, filter: k == "paid" }
  placed: { from: orders, filter: k == "placed" }
  pairs:
    join: { left: placed, right: paid, on: v * vars.factor, within: 1h }
sinks:
  out: { from: pairs, file: { path: out.ndjson } }
"#;

#[test]
fn rows_of_a_join_enter_by_the_side_that_they_came_from() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(home, &[(1, "placed", "1"), (2, "paid", "2"), (3, "placed", "2"), (4, "paid", "1")]);
    refused(home, JOINED, "text", 4);
    let origins: Vec<String> = letters(home)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["origin"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(origins, ["left", "right", "left", "right"]);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "1");
    assert_eq!(sent, "4 dead letters sent again: 2 rows for sinks, 0 rows became dead letters\n");
    let out = read(home, "out.ndjson");
    for row in out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        assert_eq!((&row["placed"]["k"], &row["paid"]["k"]), (&"placed".into(), &"paid".into()));
        assert_eq!(row["placed"]["v"], row["paid"]["v"]);
    }
    assert_eq!((out.lines().count(), unbalanced(home, "1")), (2, None), "{out}");
    // What is too late for the join now keeps its side, too.
    let run = start(home, "1");
    write(home, &[(9_000, "placed", "3"), (2, "paid", "3")]);
    until("the late row", || letters(home).lines().count() == 1);
    stop(run, Signal::SIGTERM);
    let shown = said(home, &["dead-letters", "show", "t.yaml", "5"], "1");
    assert!(shown.contains("of the join's right side") && shown.contains("late"), "{shown}");
}

#[test]
fn records_that_could_not_be_read_are_read_again_with_their_header() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let pipeline = |how: &str| {
        format!(
            "name: t\ncheckpoint: {{ every: 30ms }}\nsources:\n  in:\n    file: {{ path: in.csv, follow: true, poll: 10ms }}\n    format: {{ csv: {{ short_records: {how} }} }}\nsinks:\n  out: {{ from: in, file: {{ path: out.ndjson }} }}\n"
        )
    };
    // The second looks like JSON, and is none.
    fs::write(home.join("in.csv"), "a,b\n1,2\n3\n\"x,y\"\n").unwrap();
    refused(home, &pipeline("refuse"), "1", 2);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "1");
    assert_eq!(sent, "2 dead letters sent again: 0 rows for sinks, 2 rows became dead letters\n");
    fs::write(home.join("t.yaml"), pipeline("fill")).unwrap();
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "1");
    assert_eq!(sent, "2 dead letters sent again: 2 rows for sinks, 0 rows became dead letters\n");
    let out = read(home, "out.ndjson");
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows[0], r#"{"a":1,"b":2}"#);
    assert!(rows[1].starts_with(r#"{"a":3"#) && rows[2].starts_with(r#"{"a":"x,y""#), "{out}");
    assert_eq!(unbalanced(home, "1"), None);
}

#[test]
fn bytes_that_are_no_text_are_sent_as_they_were() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let pipeline = "name: t\ncheckpoint: { every: 30ms }\nsources:\n  in: { file: { path: in.bin, follow: true, poll: 10ms }, format: msgpack }\nsinks:\n  out: { from: in, file: { path: out.ndjson } }\n";
    // {"a": text that is not UTF-8}, {"a": 1}
    fs::write(home.join("in.bin"), b"\x81\xa1a\xa2\xff\xfe\x81\xa1a\x01").unwrap();
    refused(home, pipeline, "1", 1);
    let before = letters(home);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "1");
    assert_eq!(sent, "1 dead letter sent again: 0 rows for sinks, 1 row became dead letters\n");
    let original = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["original"].clone();
    assert_eq!(original(&before), original(&letters(home)));
    assert_eq!(read(home, "out.ndjson"), "{\"a\":1}\n");
}

#[test]
fn a_row_that_a_step_made_is_not_taken_for_one_that_came() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let pipeline = PIPELINE.replace("s: sum(weight)", "s: sum(weight) / count_if(weight > 9)");
    write(home, &[(1, "a", "1"), (2, "b", "50"), (100, "a", "1")]);
    refused(home, &pipeline, "1", 1);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "1");
    assert!(sent.contains("1 dead letter cannot be sent again: `sums`: it made the row itself"), "{sent}");
    assert!(sent.ends_with("nothing to send again\n"), "{sent}");
    assert_eq!((letters(home).lines().count(), unbalanced(home, "1")), (1, None));
}

#[test]
fn letters_of_an_earlier_run_are_handed_to_this_one() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(home, &[(1, "a", "1"), (2, "b", "2")]);
    refused(home, PIPELINE, "text", 2);
    fs::remove_file(home.join("in.ndjson")).unwrap();
    let run = command(home, &["run", "--quiet", "--fresh", "t.yaml"], "3").spawn().unwrap();
    write(home, &[(3, "c", "3")]);
    until("the new run", || read(home, "all.ndjson").lines().count() == 1);
    stop(run, Signal::SIGTERM);
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "3");
    assert_eq!(sent, "2 dead letters sent again: 2 rows for sinks, 0 rows became dead letters\n");
    assert_eq!((read(home, "all.ndjson").lines().count(), unbalanced(home, "3")), (3, None));
}

/// What is final stays as it is; what can grow takes the rows.
const GROWS: &str = r#"
name: t
vars:
  factor: ${FACTOR:-text}
sources:
  events:
    file: { path: in.ndjson }
    time: { field: ts, format: unix }
steps:
  scaled:
    script: |
      weight = v * vars.factor;
  checked:
    from: events
    script: |
      checked = v * vars.factor;
sinks:
  rows: { from: scaled, sqlite: { path: out.db, table: rows, mode: append } }
  all: { from: events, file: { path: all.ndjson } }
  final: { from: checked, file: { path: final.ndjson } }
"#;

#[test]
fn rows_of_a_run_that_is_over_go_where_output_can_grow() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), GROWS).unwrap();
    write(home, &[(1, "a", "1"), (2, "b", "\"x\"")]);
    said(home, &["run", "--quiet", "t.yaml"], "text");
    assert_eq!(letters(home).lines().count(), 4);
    let dry = said(home, &["dead-letters", "retry", "--dry-run", "t.yaml"], "2");
    assert!(dry.contains("it would come to `final`, and its output is final") && dry.contains("run it again"), "{dry}");
    assert!(
        dry.ends_with("2 dead letters would be sent again: 1 row for sinks, 1 row would be dead letters\n"),
        "{dry}"
    );
    fs::write(home.join("all.ndjson"), "somebody else's by now").unwrap();
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "2");
    assert!(sent.ends_with("2 dead letters sent again: 1 row for sinks, 1 row became dead letters\n"), "{sent}");
    let rows = || {
        let database = rusqlite::Connection::open(home.join("out.db")).unwrap();
        let mut rows = database.prepare("SELECT k, weight FROM rows").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect::<Vec<(String, i64)>>()
    };
    assert_eq!(rows(), [("a".to_owned(), 2)]);
    assert_eq!((read(home, "all.ndjson").as_str(), unbalanced(home, "2")), ("somebody else's by now", None));
    assert_eq!(letters(home).lines().count(), 3);
    assert!(said(home, &["status", "t.yaml"], "2").contains("complete"));
    // Once more: the row that is no number is refused again, and the other does not come again.
    said(home, &["dead-letters", "retry", "t.yaml"], "2");
    assert_eq!((rows().len(), letters(home).lines().count(), unbalanced(home, "2")), (1, 3, None));
}

#[test]
fn a_run_that_is_over_says_what_to_do_instead() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), PIPELINE.replace(", follow: true, poll: 10ms", "")).unwrap();
    write(home, &[(1, "a", "1")]);
    said(home, &["run", "t.yaml"], "text");
    let sent = said(home, &["dead-letters", "retry", "t.yaml"], "2");
    assert!(sent.contains("it would come to `sums`, and what it remembered is done with"), "{sent}");
    assert!(sent.contains("run it again") && sent.ends_with("nothing to send again\n"), "{sent}");
    // The dead letter of the run before stays: whether it was mended is for people to say.
    said(home, &["run", "t.yaml"], "2");
    assert_eq!((read(home, "all.ndjson").lines().count(), letters(home).lines().count()), (1, 1));
}
