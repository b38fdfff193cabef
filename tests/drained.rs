//! A pipeline that is drained and started again reads what comes after, and nothing twice.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use self::daemon::Daemon;
use self::program::{read, until, with_texts};

/// What is sent, and what is appended to a file; all of it in one window that the watermark never closes.
const PIPELINE: &str = "\
sources:
  hook: { http_server: { listen: \"127.0.0.1:PORT\", path: /in } }
  log: { file: { path: \"*.log\", follow: true }, format: json }
  once: { file: { path: once.ndjson } }
steps:
  all: { from: [hook, log], window: { session: { gap: 1h }, aggregate: { rows: count(), last: max(n) } } }
sinks:
  rows: { from: [hook, log, once], file: { path: rows.ndjson, mode: append } }
  sums: { from: all, file: { path: sums.ndjson, mode: append } }
checkpoint: { every: 50ms }
";

fn append(home: &Path, name: &str, numbers: std::ops::Range<u64>) {
    let mut file = OpenOptions::new().create(true).append(true).open(home.join(name)).unwrap();
    numbers.for_each(|n| writeln!(file, "{{\"n\":{n}}}").unwrap());
}

/// The numbers in a file of rows, in order.
fn numbers(home: &Path, file: &str, field: &str) -> Vec<u64> {
    let value = |line: &str| serde_json::from_str::<Value>(line).unwrap()[field].as_u64().unwrap();
    let mut all: Vec<u64> = read(home, file).lines().map(value).collect();
    all.sort_unstable();
    all
}

fn send(port: u16, numbers: std::ops::Range<u64>) {
    let body: Vec<String> = numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let head = "POST /in HTTP/1.1\r\nContent-Type: application/x-ndjson";
    // A run that has just begun may not listen yet.
    until("somebody who listens", || match server::send(port, head, body.concat().as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => false,
        sent => sent.unwrap().status == 202,
    });
}

/// Each number is there once, and the windows that were closed hold them all.
fn hold(home: &Path, most: u64) {
    // What ends by itself is read again by each run that begins.
    let mut once = numbers(home, "rows.ndjson", "n");
    once.retain(|n| *n < 1000);
    assert_eq!(once, (0..most).collect::<Vec<_>>(), "each row once");
    assert_eq!(numbers(home, "sums.ndjson", "rows").iter().sum::<u64>(), most, "{}", read(home, "sums.ndjson"));
}

#[test]
fn what_was_read_before_a_drain_is_not_read_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = with_texts(&[
        ("live.yaml", &PIPELINE.replace("PORT", &port.to_string())),
        ("once.ndjson", "{\"n\":1000}\n"),
        ("a.log", ""),
    ]);
    let home = home.path();
    let mut next = 0;
    let mut daemon = Daemon::start(home, &[]);
    // It is drained; drained, and then all is killed; killed where its output is not final yet.
    let ways = [None, Some(""), Some("checkpoint.finishing"), Some("checkpoint.complete"), None];
    for way in ways {
        if let Some(point) = way.filter(|point| !point.is_empty()) {
            daemon.kill();
            daemon = Daemon::start_with(home, &[], &[("MILLSTREAM_FAULT", point)]);
        }
        daemon.until_phase("live", "running");
        send(port, next..next + 3);
        append(home, "a.log", next + 3..next + 5);
        append(home, &format!("b{next}.log"), next + 5..next + 6);
        next += 6;
        until("rows", || numbers(home, "rows.ndjson", "n").iter().filter(|n| **n < 1000).count() as u64 == next);
        // One that dies of it gives no answer.
        daemon.ask("POST", "/api/v1/pipelines/live/drain", &[], "");
        if let Some(point) = way {
            if point.is_empty() {
                daemon.until_phase("live", "complete");
                daemon.kill();
            } else {
                daemon.wait();
            }
            daemon = Daemon::start(home, &[]);
        }
        // That it was complete is known.
        daemon.until_phase("live", "complete");
        hold(home, next);
        daemon.post("/api/v1/pipelines/live/start", "");
        daemon.until_phase("live", "running");
        hold(home, next);
    }
    until("what ends by itself", || {
        numbers(home, "rows.ndjson", "n").iter().filter(|n| **n == 1000).count() == ways.len() + 1
    });
    assert_eq!(daemon.stop(), Some(0));
}
