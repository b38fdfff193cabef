//! Why a window is open, by the program itself: what is in it, who holds the watermark back, and when it will close.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[path = "support/program.rs"]
mod program;

use nix::sys::signal::Signal;
use serde_json::Value;

use program::{command, read, run, said, stop, until, with_texts};
use tempfile::TempDir;

const PIPELINE: &str = r#"
name: t
checkpoint: { every: 30ms }
state: kept/t.db
sources:
  parts:
    file: { path: 'in/*.ndjson', follow: true, poll: 10ms }
    time: { field: ts, out_of_order: 5s, idle_after: 1h }
steps:
  tumbling:
    from: parts
    window: { tumbling: 1m, by: device, aggregate: { n: count(), peak: max(v) } }
  sliding:
    from: parts
    window:
      sliding: { size: 2m, every: 1m }
      by: [device, room]
      aggregate: { n: count() }
  sessions:
    from: parts
    window:
      session: { gap: 10m }
      by: device
      emit: { every: 1m }
      aggregate: { n: count() }
  counts:
    from: parts
    window: { count: 5, by: device, aggregate: { n: count() } }
  hours:
    from: parts
    window:
      calendar: { every: hour, zone: Europe/Berlin }
      aggregate: { mean: avg(v) }
  last:
    from: tumbling
    window: { tumbling: 10m, emit: once, allow_late: 1m, aggregate: { windows: count() } }
sinks:
  all: { from: parts, file: { path: all.ndjson } }
  out: { from: [tumbling, sliding, sessions, counts, hours, last], file: { path: out.ndjson } }
"#;

fn row(minute: u32, second: u32, device: &str, v: i64) -> String {
    format!("{{\"ts\":\"2026-01-01T00:{minute:02}:{second:02}Z\",\"device\":\"{device}\",\"room\":1,\"v\":{v}}}\n")
}

/// A pipeline that was stopped when it had taken these rows.
fn stopped() -> TempDir {
    let a = [row(0, 10, "press", 3), row(0, 20, "lathe", 9), row(1, 10, "press", 7), row(1, 40, "press", 4)].concat();
    let b = row(1, 15, "saw", 1);
    let home = with_texts(&[("t.yaml", PIPELINE), ("in/a.ndjson", &a), ("in/b.ndjson", &b)]);
    let child = command(home.path(), &["run", "--quiet", "t.yaml"]).spawn().unwrap();
    until("the rows", || read(home.path(), "all.ndjson").lines().count() == 5);
    stop(child, Signal::SIGTERM);
    home
}

fn why(home: &Path, step: &str, key: &[&str]) -> Value {
    let arguments = [&["why", "window", "--format", "ndjson", "t.yaml", step], key].concat();
    let output = run(home, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Start, end and row of each open window.
fn open(answer: &Value) -> Vec<(String, String, String)> {
    let text = |window: &Value, name: &str| window[name].as_str().unwrap().to_owned();
    let windows = answer["windows"].as_array().unwrap();
    windows.iter().map(|w| (text(w, "start"), text(w, "end"), w["row"].to_string())).collect()
}

fn window(start: &str, end: &str, row: &str) -> (String, String, String) {
    let at = |time: &str| format!("2026-01-01T{time}Z");
    let (start, end) = (at(start), at(end));
    (
        start.clone(),
        end.clone(),
        row.replace("BOUNDS", &format!("\"window_start\":\"{start}\",\"window_end\":\"{end}\"")),
    )
}

#[test]
fn every_kind_of_window_says_what_is_in_it() {
    let home = stopped();
    let home = home.path();
    let answer = why(home, "tumbling", &["press"]);
    assert_eq!(open(&answer), [window("00:01:00", "00:02:00", r#"{"device":"press",BOUNDS,"n":2,"peak":7}"#)]);
    assert_eq!((&answer["events"], &answer["watermark"]), (&2.into(), &"2026-01-01T00:01:10Z".into()));
    assert_eq!(answer["held_back_by"]["partition"], "in/b.ndjson");
    assert_eq!(answer["windows"][0]["closes_at"], "2026-01-01T00:02:00Z");
    assert_eq!(answer["windows"][0]["event_needed"], "2026-01-01T00:02:05Z");

    let two = [
        window("00:00:00", "00:02:00", r#"{"device":"press","room":1,BOUNDS,"n":3}"#),
        window("00:01:00", "00:03:00", r#"{"device":"press","room":1,BOUNDS,"n":2}"#),
    ];
    assert_eq!(open(&why(home, "sliding", &["[\"press\", 1]"])), two);

    let answer = why(home, "sessions", &["press"]);
    assert_eq!(open(&answer), [window("00:00:10", "00:11:40", r#"{"device":"press",BOUNDS,"n":3}"#)], "no early row");
    let answer = why(home, "counts", &["press"]);
    assert_eq!(open(&answer), [window("00:00:10", "00:01:40", r#"{"device":"press",BOUNDS,"n":3}"#)]);
    assert_eq!((&answer["events_missing"], &answer["windows"][0]["closes_at"]), (&2.into(), &Value::Null));
    let answer = why(home, "hours", &[]);
    assert_eq!(open(&answer), [window("00:00:00", "01:00:00", r#"{BOUNDS,"mean":4.8}"#)]);

    // One that leaves once waits for late events: its clock is behind.
    let answer = why(home, "last", &[]);
    assert_eq!(open(&answer), [window("00:00:00", "00:10:00", r#"{BOUNDS,"windows":2}"#)]);
    assert_eq!(answer["watermark"], "2026-01-01T00:00:10Z");
    assert_eq!(answer["windows"][0]["event_needed"], "2026-01-01T00:11:05Z");
}

#[test]
fn people_read_it() {
    let home = stopped();
    let text = said(&run(home.path(), &["why", "window", "t.yaml", "tumbling", "press"]));
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("`tumbling` has 1 open window for `press`, of 2 events (checkpoint of 2"), "{text}");
    let rest: Vec<&str> = lines.collect();
    assert_eq!(
        rest,
        [
            "  2026-01-01T00:01:00Z to 2026-01-01T00:02:00Z: {\"device\":\"press\",\"window_start\":\"2026-01-01T00:01:00Z\",\"window_end\":\"2026-01-01T00:02:00Z\",\"n\":2,\"peak\":7}",
            "the watermark is at 2026-01-01T00:01:10Z; `parts` (in/b.ndjson) holds it back",
            "it closes when the watermark reaches 2026-01-01T00:02:00Z: with an event of `parts` of 2026-01-01T00:02:05Z or later, when it falls idle, or ends",
        ]
    );
    let text = said(&run(home.path(), &["why", "window", "t.yaml", "counts", "press"]));
    assert!(text.ends_with("it closes with 2 more events, or when all input ends\n"), "{text}");
}

#[test]
fn a_key_without_an_open_window_says_so() {
    let home = stopped();
    for key in ["lathe", "drill"] {
        let answer = why(home.path(), "tumbling", &[key]);
        assert_eq!((open(&answer).len(), &answer["kept"]), (0, &false.into()), "{key}");
    }
    let text = said(&run(home.path(), &["why", "window", "t.yaml", "tumbling", "lathe"]));
    assert!(text.starts_with("`tumbling` has no open window for `lathe`; nothing came since its last one"), "{text}");
}

#[test]
fn what_cannot_be_answered_says_why() {
    let home = stopped();
    let home = home.path();
    let refused = |step: &str, code: i32, why: &str| {
        let output = run(home, &["why", "window", "t.yaml", step, "press"]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    refused("tumblin", 2, "there is no step `tumblin`; is it `tumbling`?");
    refused("parts", 2, "`parts` is no window step");
    fs::write(home.join("t.yaml"), PIPELINE.replace("peak: max(v)", "peak: min(v)")).unwrap();
    refused("tumbling", 1, "`tumbling` keeps something else now");
    fs::remove_dir_all(home.join("kept")).unwrap();
    refused("tumbling", 1, "has no state");
}
