//! Dead letters of the program itself, sent again: in a pipeline that stands still, and beside one that runs, which pauses
//! for it and goes on.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).current_dir(home).env("FACTOR", factor).env("NO_COLOR", "1");
    command
}

fn said(home: &Path, arguments: &[&str], factor: &str) -> String {
    let output = command(home, arguments, factor).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text(home: &Path, name: &str) -> String {
    fs::read_to_string(home.join(name)).unwrap_or_default()
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
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

fn stop(mut child: Child) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
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
    stop(run);
    assert_eq!(text(home, "all.ndjson"), "");
    let dry = said(home, &["dead-letters", "retry", "--dry-run", "t.yaml"], "2");
    assert_eq!(dry, "3 dead letters would be sent again: 2 rows for sinks, 1 row would be dead letters\n");
    assert_eq!(letters(home).lines().count(), 3);
    let sent = said(home, &["dead-letters", "retry", "--entry", "scaled", "t.yaml"], "2");
    assert_eq!(sent, "3 dead letters sent again: 2 rows for sinks, 1 row became dead letters\n");
    assert_eq!(letters(home).lines().count(), 1);
    let all = text(home, "all.ndjson");
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(all.contains("\"k\":\"a\",\"v\":1,\"weight\":2}"), "{all}");
    // They are part of their windows, which close as if they had come in time.
    let run = start(home, "2");
    write(home, &[(10, "b", "3"), (75, "a", "1")]);
    until("the windows", || text(home, "out.ndjson").lines().count() == 2);
    stop(run);
    let out = text(home, "out.ndjson");
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
    until("the window", || text(home, "out.ndjson").lines().count() == 1);
    assert_eq!(said(home, &["dead-letters", "purge", "--all", "t.yaml"], "2"), "1 dead letter purged\n");
    assert_eq!(
        said(home, &["state", "t.yaml", "sums", "--delete", "--key", "a"], "2"),
        "`sums` has forgotten the key `a`\n"
    );
    write(home, &[(170, "b", "1"), (240, "b", "1")]);
    until("the next window", || text(home, "out.ndjson").lines().count() == 2);
    stop(run);
    let out = text(home, "out.ndjson");
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
