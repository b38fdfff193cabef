//! Fifty pipelines in one process under load, killed, reloaded, stopped and started, their broker restarted, again and again:
//! every row is there once, every alert was told once, every ledger balances, and memory does not grow.
//!
//! `MILLSTREAM_SOAK` is the number of rounds, a few seconds each: thousands make a soak of an hour.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use self::broker::{Broker, free_port};
use self::daemon::Daemon;
use self::program::{met, read, run, said, until, with_texts};

/// Pipelines of each kind.
const EACH: usize = 10;
/// Kinds whose rows are numbers that all come out.
const NUMBERED: [&str; 3] = ["mqtt", "http", "tail"];
/// After so many rounds it is waited until all has come.
const OFTEN: usize = 20;
/// Rows for each pipeline in a round.
const ROWS: usize = 20;

fn pipelines(mqtt: u16, http: u16) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for n in 0..EACH {
        let hook = |path: &str| {
            format!("sources:\n  in: {{ http_server: {{ listen: \"127.0.0.1:{http}\", path: /{path}{n} }} }}\n")
        };
        let out = |name: &str| format!("sinks:\n  out: {{ file: {{ path: {name}{n}.ndjson, mode: append }} }}\n");
        let every = "checkpoint: { every: 200ms }\n";
        let broker = format!("sources:\n  in: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{mqtt}\", topics: soak/{n} }} }}\n");
        let follow = format!("sources:\n  in: {{ file: {{ path: tail{n}.txt, follow: true, poll: 50ms }} }}\n");
        let generate = "sources:\n  in: { generate: { rate: 100, fields: { n: { sequence: {} }, key: { cycle: [a, b, c] } } } }\nsteps:\n  per: { window: { tumbling: 10s, by: key, aggregate: { n: count() } } }\n";
        let alert = "sinks:\n  hot:\n    alert: { by: device, when: temperature > 30, order: arrival, title: \"{{ n }}\", notify: [people] }\n";
        let people = format!("receivers:\n  people: {{ file: {{ path: told{n}.ndjson, mode: append }} }}\n");
        all.push((format!("mqtt{n}.yaml"), format!("{broker}{}{every}", out("mqtt"))));
        all.push((format!("http{n}.yaml"), format!("{}{}{every}", hook("in"), out("http"))));
        all.push((format!("tail{n}.yaml"), format!("{follow}{}{every}", out("tail"))));
        all.push((format!("gen{n}.yaml"), format!("{generate}{}{every}", out("gen"))));
        all.push((format!("alert{n}.yaml"), format!("{}{alert}{people}{every}", hook("alert"))));
    }
    all
}

/// Sends rows under a key until they are taken.
fn post(port: u16, path: &str, key: &str, rows: &str) {
    let sent = || -> Option<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nIdempotency-Key: {key}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            rows.len()
        );
        stream.write_all(format!("{head}{rows}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.starts_with("HTTP/1.1 202"))
    };
    until(&format!("{path} takes {key}"), || sent() == Some(true));
}

/// A round's load.
fn load(home: &Path, broker: &Broker, http: u16, round: usize) {
    let numbers = || (round * ROWS..(round + 1) * ROWS).map(|n| format!("{{\"n\":{n}}}"));
    let text: String = numbers().map(|line| line + "\n").collect();
    for n in 0..EACH {
        broker.publish(&format!("soak/{n}"), numbers(), &["-q", "1"]);
        post(http, &format!("/in{n}"), &format!("in-{n}-{round}"), &text);
        let temperature = if round.is_multiple_of(2) { 40 } else { 20 };
        let row = format!("{{\"n\":{round},\"device\":\"d\",\"temperature\":{temperature}}}\n");
        post(http, &format!("/alert{n}"), &format!("alert-{n}-{round}"), &row);
        let mut file = OpenOptions::new().append(true).create(true).open(home.join(format!("tail{n}.txt"))).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

fn numbers(home: &Path, name: &str) -> Vec<u64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap();
    let mut all: Vec<u64> = read(home, name).lines().map(number).collect();
    all.sort_unstable();
    all
}

/// The first rows of a file that are not there.
fn lacks(home: &Path, name: &str, count: usize) -> Vec<u64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["n"].as_u64();
    let there: BTreeSet<u64> = read(home, name).lines().filter_map(number).collect();
    (0..count as u64).filter(|n| !there.contains(n)).take(50).collect()
}

/// Waits until all has come of so many rounds; otherwise everything stays where it is, to be looked at.
fn all_there(home: &mut TempDir, daemon: &Daemon, rounds: usize) {
    let of_kind = |kind| (0..EACH).map(move |n| (format!("{kind}{n}.ndjson"), rounds * ROWS));
    let told = (0..EACH).map(|n| (format!("told{n}.ndjson"), rounds));
    let all: Vec<(String, usize)> = NUMBERED.into_iter().flat_map(of_kind).chain(told).collect();
    let lines = |name: &str| read(home.path(), name).lines().count();
    let short = || all.iter().filter(|(name, count)| lines(name) < *count);
    if !met(|| short().next().is_none()) {
        let missing: Vec<_> = short().map(|(name, count)| (name, lacks(home.path(), name, *count))).collect();
        let shown = daemon.get("/api/v1/pipelines");
        let missing = format!("after {rounds} rounds these are missing: {missing:?}; {shown}");
        home.disable_cleanup(true);
        panic!("{missing}; see `{}`", home.path().display());
    }
}

fn memory(daemon: &Daemon) -> f64 {
    let text = daemon.ask("GET", "/metrics", &[], "").1;
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    line.parse().unwrap()
}

fn all_run(daemon: &Daemon) {
    daemon.until("that all run", |daemon| {
        let all = daemon.get("/api/v1/pipelines");
        all.as_array()?.iter().all(|p| p["phase"] == "running").then_some(())
    });
}

#[test]
fn fifty_pipelines_lose_and_repeat_nothing_whatever_happens_to_them() {
    let rounds: usize = std::env::var("MILLSTREAM_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let (mut broker, http) = (Broker::start(""), free_port());
    let files = pipelines(broker.port, http);
    let texts: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut home = with_texts(&texts);
    for n in 0..EACH {
        std::fs::write(home.path().join(format!("tail{n}.txt")), "").unwrap();
    }
    let mut daemon = Daemon::start(home.path(), &[]);
    all_run(&daemon);
    for round in 0..rounds {
        load(home.path(), &broker, http, round);
        let (kind, n) = (["mqtt", "http", "tail", "gen", "alert"][round % 5], round % EACH);
        daemon.post(&format!("/api/v1/pipelines/{kind}{n}/stop"), "");
        match round % 4 {
            0 => {
                daemon.kill();
                daemon = Daemon::start(home.path(), &[]);
            }
            1 => {
                broker.stop();
                broker.again();
            }
            _ => {}
        }
        daemon.post(&format!("/api/v1/pipelines/{kind}{n}/start"), "");
        let name = format!("{kind}{}.yaml", (n + 1) % EACH);
        let text = read(home.path(), &name) + &format!("# round {round}\n");
        std::fs::write(home.path().join(name), text).unwrap();
        all_run(&daemon);
        if round % OFTEN == 0 {
            all_there(&mut home, &daemon, round + 1);
        }
    }
    // The same again, and nobody dies: memory is what it was.
    let mut used = Vec::new();
    for round in rounds..2 * rounds {
        load(home.path(), &broker, http, round);
        used.push(memory(&daemon));
    }
    all_there(&mut home, &daemon, 2 * rounds);
    let count = 2 * rounds * ROWS;
    assert_eq!(daemon.stop(), Some(0));
    for n in 0..EACH {
        for kind in NUMBERED {
            let name = format!("{kind}{n}.ndjson");
            assert_eq!(numbers(home.path(), &name), (0..count as u64).collect::<Vec<_>>(), "{name}");
        }
        assert_eq!(read(home.path(), &format!("told{n}.ndjson")).lines().count(), 2 * rounds, "told{n}");
    }
    for (name, _) in &files {
        let output = run(home.path(), &["status", name]);
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
    let (first, last) = (used[used.len() / 2], used[used.len() - 1]);
    assert!(last < first * 1.2 + 16e6, "memory grows: {used:?}");
}
