//! Time of a stream that goes quiet, of one whose connection is gone, and of one with a wrong clock among its senders, over
//! a real broker.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

#[path = "support/broker.rs"]
mod broker;
#[path = "support/program.rs"]
mod program;

use broker::Broker;
use program::{command, read, stop, until, with_texts};

const PIPELINE: &str = "name: t
sources:
  near:
    mqtt: { url: \"mqtt://127.0.0.1:NEAR\", topics: x }
    time: { field: ts, idle_after: 1s }
  far:
    mqtt: { url: \"mqtt://127.0.0.1:FAR\", topics: x }
    time: { field: ts, idle_after: 1s }
steps:
  of_near: { from: near, window: { tumbling: 4s, aggregate: { n: count() } } }
  of_far: { from: far, window: { tumbling: 2s, aggregate: { n: count() } } }
sinks:
  seen: { from: [near, far], file: { path: seen.ndjson, visible: at_once } }
  near_windows: { from: of_near, file: { path: near.ndjson, visible: at_once } }
  far_windows: { from: of_far, file: { path: far.ndjson, visible: at_once } }
  wrong: { from: near.errors, file: { path: wrong.ndjson, visible: at_once } }
";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn at(second: &str) -> String {
    format!(r#"{{"ts":"{second}"}}"#)
}

#[test]
fn a_quiet_stream_goes_on_one_without_a_connection_waits_and_a_wrong_clock_moves_nothing() {
    let near = Broker::start("");
    let mut far = Broker::start("");
    let yaml = PIPELINE.replace("NEAR", &near.port.to_string()).replace("FAR", &far.port.to_string());
    let home = with_texts(&[("t.yaml", &yaml)]);
    let child = command(home.path(), &["run", "--quiet", "t.yaml"]).stderr(Stdio::inherit()).spawn().unwrap();
    let seen = |count: usize| read(home.path(), "seen.ndjson").lines().count() >= count;
    // What is retained is there whenever it subscribes.
    far.publish("x", [at("2026-01-01T00:00:00.5Z")], &["-q", "1", "-r"]);
    until("the far one", || seen(1));
    far.kill();
    near.publish("x", [at("2026-01-01T00:00:00.5Z")], &["-q", "1", "-r"]);
    until("the near one", || seen(2));
    // A clock that is years ahead closes nothing.
    near.publish("x", [at("2099-01-01T00:00:00Z"), at("2026-01-01T00:00:01Z")], &["-q", "1"]);
    until("what comes behind it", || seen(3));
    assert_eq!(lines(&read(home.path(), "wrong.ndjson")).len(), 1);
    assert_eq!(read(home.path(), "near.ndjson"), "");
    // The near one is quiet: its window of four seconds closes as time passes. That of the far one, of two, does not: nobody
    // knows what it has to say.
    until("the quiet one", || !read(home.path(), "near.ndjson").is_empty());
    assert_eq!(lines(&read(home.path(), "near.ndjson"))[0]["n"], 2);
    assert_eq!(read(home.path(), "far.ndjson"), "");
    far.again();
    far.publish("x", [at("2026-01-01T00:00:01Z")], &["-q", "1", "-r"]);
    until("the far one again", || !read(home.path(), "far.ndjson").is_empty());
    assert_eq!(lines(&read(home.path(), "far.ndjson"))[0]["n"], 2);
    stop(child, Signal::SIGTERM);
}
