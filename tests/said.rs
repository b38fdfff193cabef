//! What people say to a run is an input of it: the run does not pause for it, and what was answered holds, whoever is killed.
//! Where a run does pause, or is replaced, whoever sends to it is told to come again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/server.rs"]
mod server;

use daemon::Daemon;
use program::{command, read, run, said, text, until, with_texts};
use receiver::Receiver;
use server::free_port;

fn start(home: &Path, fault: Option<&str>) -> Child {
    let mut run = command(home, &["run", "--quiet", "t.yaml"]);
    if let Some(fault) = fault {
        run.env("MILLSTREAM_FAULT", fault);
    }
    run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A verb that has to succeed: what it printed.
fn does(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    text(&output.stdout)
}

/// Ends those who post, also if the test fails meanwhile.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until somebody listens.
fn connected(port: u16) -> TcpStream {
    let mut connection = None;
    until("the port is open", || {
        connection = TcpStream::connect(("127.0.0.1", port)).ok();
        connection.is_some()
    });
    connection.unwrap()
}

/// Posts a row on a connection that stays open; the status it is answered with.
fn post(connection: &mut TcpStream, row: &str) -> String {
    let head = format!(
        "POST /in HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        row.len()
    );
    connection.write_all(format!("{head}{row}").as_bytes()).unwrap();
    let (mut status, mut length) = (String::new(), 0);
    let mut answer = BufReader::new(connection);
    answer.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut std::io::Read::take(&mut answer, length), &mut std::io::sink()).unwrap();
    status.trim_end().to_owned()
}

#[test]
fn a_connection_stays_open_while_people_silence_and_acknowledge() {
    let port = free_port();
    let home = with_texts(&[(
        "t.yaml",
        &format!(
            "name: t\nsources:\n  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}\nsinks:\n  hot:\n    alert:\n      \
             by: device\n      when: t > 30\n      order: arrival\n      title: \"{{{{ device }}}}\"\n      notify: [people]\nreceivers:\n  \
             people: {{ file: {{ path: told.ndjson, mode: append }} }}\n"
        ),
    )]);
    let home = home.path();
    let mut child = start(home, None);
    let mut connection = connected(port);
    assert!(post(&mut connection, "{\"device\":\"a\",\"t\":40}\n").contains("202"));
    until("somebody is told", || home.join("told.ndjson").exists() && read(home, "told.ndjson").contains("firing"));
    let done = AtomicBool::new(false);
    let taken = std::thread::scope(|threads| {
        let posts = threads.spawn(|| {
            let mut taken = 0;
            while !done.load(Ordering::Acquire) {
                let status = post(&mut connection, "{\"device\":\"b\",\"t\":20}\n");
                assert!(status.contains("202"), "{status}");
                taken += 1;
            }
            taken
        });
        let ends = Done(&done);
        for n in 1..=5 {
            let silence = format!("s{n}");
            does(home, &["silence", "add", "t.yaml", "device=b", "--by", "me"]);
            assert!(does(home, &["silence", "list", "t.yaml"]).contains(&silence), "it is seen at once");
            does(home, &["silence", "expire", "t.yaml", &silence, "--by", "me"]);
            assert!(!does(home, &["silence", "list", "t.yaml"]).contains(&silence), "so is its end");
        }
        does(home, &["ack", "t.yaml", "hot", "a", "--by", "me", "--comment", "on my way"]);
        drop(ends);
        posts.join().unwrap()
    });
    assert!(taken > 10, "{taken} were taken meanwhile");
    assert!(does(home, &["alerts", "t.yaml"]).contains("acknowledged by me"));
    let wrong = run(home, &["ack", "t.yaml", "hot", "c"]);
    assert!(!wrong.status.success() && said(&wrong).contains('c'), "{}", said(&wrong));
    child.kill().unwrap();
    child.wait().unwrap();
    let history = does(home, &["alerts", "t.yaml", "--history", "--format", "ndjson"]);
    let by_people = history.lines().filter(|line| line.contains("\"by\":\"me\"")).count();
    assert_eq!(by_people, 11, "{history}");
}

#[test]
fn a_port_stays_open_while_its_pipeline_pauses_and_changes() {
    let port = free_port();
    let yaml = |path: &str| {
        format!(
            "sources:\n  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: {path} }} }}\nsinks:\n  out: {{ file: {{ path: out.ndjson, mode: \
             append }} }}\ncheckpoint: {{ every: 50ms }}\n"
        )
    };
    let home = with_texts(&[("t.yaml", &yaml("/in"))]);
    let home = home.path();
    let daemon = Daemon::start(home, &[]);
    let phase = |daemon: &Daemon, wanted: &str| {
        daemon.until(wanted, |daemon| (daemon.get("/api/v1/pipelines")[0]["phase"] == wanted).then_some(()));
    };
    phase(&daemon, "running");
    let mut connection = connected(port);
    let done = AtomicBool::new(false);
    let (taken, later) = std::thread::scope(|threads| {
        let posts = threads.spawn(|| {
            let (mut taken, mut later) = (0, 0);
            while !done.load(Ordering::Acquire) {
                let status = post(&mut connection, &format!("{{\"n\":{taken}}}\n"));
                assert!(status.contains("202") || status.contains("503"), "{status}");
                if status.contains("202") { taken += 1 } else { later += 1 }
            }
            (taken, later)
        });
        let ends = Done(&done);
        for n in 1..=4 {
            // What has a journal pauses while it is copied.
            does(home, &["backup", "t.yaml", "--to", &format!("backup{n}")]);
            let changed = yaml("/in") + &format!("description: change {n}\n");
            std::fs::write(home.join("t.yaml"), changed).unwrap();
            assert_eq!(daemon.post("/api/v1/pipelines/t/reload", "")["result"], "applied");
            phase(&daemon, "running");
        }
        drop(ends);
        posts.join().unwrap()
    });
    assert!(taken > 10, "{taken} were taken, {later} were told to come again");
    // Nobody is there any more when it is stopped, and another address is another port.
    until("all are there", || read(home, "out.ndjson").lines().count() == taken);
    daemon.post("/api/v1/pipelines/t/stop", "");
    phase(&daemon, "stopped");
    until("the port is closed", || TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Points at which a run dies, of which one is taken by chance.
const POINTS: [&str; 4] = ["checkpoint.gathered", "checkpoint.committed", "checkpoint.told", "checkpoint.slice"];

#[test]
fn what_was_answered_holds_and_nobody_is_told_two_things_under_one_id() {
    let rounds = std::env::var("MILLSTREAM_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(1) * 12;
    let to = Receiver::start();
    let notify = format!("http: {{ url: \"http://{}/\" }}", to.address);
    let home = with_texts(&[
        ("in.ndjson", ""),
        (
            "t.yaml",
            &format!(
                "name: t\ncheckpoint: {{ every: 50ms }}\nsources:\n  in: {{ file: {{ path: in.ndjson, follow: true, poll: 5ms }} }}\nsinks:\n  \
                 hot:\n    alert:\n      by: device\n      when: t > 30\n      order: arrival\n      title: \"{{{{ device }}}}\"\n      \
                 latency: immediate\n      group_by: [site]\n      group_wait: 50ms\n      group_interval: 100ms\n      labels: {{ site: \"{{{{ site }}}}\" }}\n      \
                 notify:\n        - {notify}\n"
            ),
        ),
    ]);
    let home = home.path();
    let mut chance = std::process::id() as usize;
    eprintln!("seed {chance}");
    let mut random = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    let mut quiet = BTreeSet::new();
    for round in 0..rounds {
        let fault = format!("{}:{}", POINTS[random(POINTS.len())], 1 + random(5));
        let mut child = start(home, Some(&fault));
        let (silenced, loud) = (format!("q{round}"), format!("l{round}"));
        let answer = run(home, &["silence", "add", "t.yaml", &format!("device={silenced}"), "--for", "9h"]);
        if answer.status.success() {
            quiet.insert(silenced.clone());
        }
        let mut file = OpenOptions::new().append(true).open(home.join("in.ndjson")).unwrap();
        for device in [&silenced, &loud] {
            file.write_all(format!("{{\"device\":\"{device}\",\"site\":{},\"t\":40}}\n", round % 3).as_bytes())
                .unwrap();
        }
        until("it dies", || child.try_wait().unwrap().is_some());
    }
    let mut child = start(home, None);
    let told = || -> BTreeSet<String> {
        let mut by_id = BTreeMap::new();
        let mut devices = BTreeSet::new();
        for came in to.came() {
            let says: Value = serde_json::from_slice(&came.body).unwrap();
            let alerts = says["alerts"].as_array().unwrap();
            devices.extend(alerts.iter().map(|alert| alert["key"]["device"].as_str().unwrap().to_owned()));
            let before = by_id.insert(came.header("idempotency-key").to_owned(), says["alerts"].clone());
            assert!(before.is_none_or(|before| before == says["alerts"]), "an id is one notification's");
        }
        devices
    };
    until("all that nobody silenced is told", || {
        let told = told();
        (0..rounds).all(|round| told.contains(&format!("l{round}")))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let broken: Vec<_> = told().intersection(&quiet).cloned().collect();
    assert!(broken.is_empty(), "{broken:?} were silenced and told nevertheless");
    assert!(quiet.len() * 3 > rounds, "{} of {rounds} silences were answered", quiet.len());
}
