//! Events that an HTTP server is asked for, by the program itself: pages, cursors, streams, and that each is there once however
//! often either side is killed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/program.rs"]
mod program;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use nix::sys::signal::Signal;
use peer::{Asked, Peer, answer};
use program::{command, read, run, said, stop, until, with_texts};
use tempfile::TempDir;

/// A pipeline that asks `PORT` with these options.
fn pipeline(peer: &Peer, options: &str) -> TempDir {
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 20ms }}\nsources:\n  in:\n    http_client:\n      url: http://127.0.0.1:{}/list\n      {}\nsinks:\n  out: {{ file: {{ path: out.ndjson }} }}\n",
        peer.port,
        options.replace("PORT", &peer.port.to_string()).replace('\n', "\n      ")
    );
    with_texts(&[("t.yaml", &yaml)])
}

fn begin(home: &TempDir) -> Child {
    let mut command = command(home.path(), &["run", "--quiet", "t.yaml"]);
    command.env("MILLSTREAM_LOG", "warn").spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn rows(home: &TempDir) -> Vec<String> {
    read(home.path(), "out.ndjson").lines().map(str::to_owned).collect()
}

fn json(body: impl Into<String>) -> Response {
    answer(200, &[("content-type", "application/json")], body.into())
}

/// Runs it to its end, which is a good one.
fn whole(home: &TempDir) -> Vec<String> {
    let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    rows(home)
}

#[test]
fn what_is_asked_for_once_comes_page_by_page_and_the_run_ends() {
    let by_link = |asked: &Asked| match asked.query("page").as_deref() {
        None => answer(200, &[("link", "</list?page=2>; rel=\"next\"")], "[{\"n\":1}, {\"n\":2.50}]"),
        Some("2") => answer(200, &[("link", "</list?page=3>; rel=\"next\"")], "[]"),
        _ => json("{\"n\":3}\n"),
    };
    let peer = Peer::start(by_link);
    let home = pipeline(&peer, "pagination: link_header");
    for _ in 0..2 {
        // Another run asks anew.
        assert_eq!(whole(&home), ["{\"n\":1}", "{\"n\":2.50}", "{\"n\":3}"]);
    }
    let peer = Peer::start(|asked| {
        let at: u64 = asked.query("after").map_or(0, |after| after.parse().unwrap());
        let next = if at < 4 { (at + 2).to_string() } else { "null".to_owned() };
        json(format!("{{\"data\":{{\"items\":[{{\"n\":{at}}},{{\"n\":{}}}]}},\"next\":{next}}}", at + 1))
    });
    let options = "records: data.items\nquery: { size: 2 }\npagination: { token: { path: next, parameter: after } }";
    let all: Vec<String> = (0..6).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(whole(&pipeline(&peer, options)), all);
    assert!(peer.asked().iter().all(|asked| asked.query("size").as_deref() == Some("2")));
    let peer = Peer::start(|asked| match asked.query("page").unwrap().as_str() {
        "0" => json("[{\"n\":0}]"),
        "1" => json("[{\"n\":1}]"),
        _ => answer(404, &[], "no such page"),
    });
    let home = pipeline(&peer, "pagination: { page: { parameter: page, start: 0 } }");
    assert_eq!(whole(&home), ["{\"n\":0}", "{\"n\":1}"]);
}

#[test]
fn a_failure_that_passes_is_waited_for_and_one_that_does_not_ends_a_run_that_asks_once() {
    let calls = AtomicU64::new(0);
    let peer = Peer::start(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => answer(503, &[("retry-after", "1")], ""),
        _ => json("[{\"n\":1}]"),
    });
    assert_eq!(whole(&pipeline(&peer, "")), ["{\"n\":1}"]);
    for (status, body, options, wanted) in [
        (404, "", "", "it answers 404 Not Found"),
        (302, "", "", "to other hosts nothing is sent"),
        (200, "<html>", "", "its answer is no JSON"),
        (200, "{\"data\":[]}", "records: items", "its answer has nothing at `items`"),
        (200, "[{\"n\":1}]", "max_body: 5B", "its answer has more than 5 bytes"),
    ] {
        let peer = Peer::start(move |_| answer(status, &[("location", "http://example.invalid/x")], body));
        let home = pipeline(&peer, options);
        let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{status} {body}: {}", said(&output));
        assert!(said(&output).contains(wanted), "{}", said(&output));
    }
}

#[test]
fn an_answer_that_has_not_changed_gives_nothing() {
    let version = Arc::new(AtomicU64::new(1));
    let of_peer = Arc::clone(&version);
    let peer = Peer::start(move |asked| {
        let version = format!("\"v{}\"", of_peer.load(Ordering::Relaxed));
        match asked.header("if-none-match") == Some(&version) {
            true => answer(304, &[], ""),
            false => answer(200, &[("etag", &version)], format!("[{{\"v\":{version}}}]")),
        }
    });
    let home = pipeline(&peer, "every: 10ms");
    for round in 1..=3usize {
        let child = begin(&home);
        until("the version", || rows(&home).len() == round);
        let asked = peer.asked().len();
        until("more questions", || peer.asked().len() > asked + 5);
        // It is not asked for again what was taken before it was killed.
        kill(child);
        version.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(rows(&home), ["{\"v\":\"v1\"}", "{\"v\":\"v2\"}", "{\"v\":\"v3\"}"]);
}

#[test]
fn records_are_there_once_however_often_both_sides_are_killed() {
    // It has three more each time that it is asked for a first page, some with the same time, and gives them in pages of two,
    // the newest first.
    let (count, full) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (of_peer, is_full) = (Arc::clone(&count), Arc::clone(&full));
    let mut peer = Peer::start(move |asked| {
        let at: u64 = asked.query("page").unwrap().parse().unwrap();
        if at == 1 && !is_full.load(Ordering::Relaxed) {
            of_peer.fetch_add(3, Ordering::Relaxed);
        }
        let since: u64 = asked.query("since").map_or(0, |since| since.parse().unwrap());
        let all = (0..of_peer.load(Ordering::Relaxed)).rev().filter(|n| n / 2 >= since);
        let page = all.skip(at as usize * 2 - 2).take(2).map(|n| format!("{{\"n\":{n},\"at\":{}}}", n / 2));
        json(format!("[{}]", page.collect::<Vec<_>>().join(",")))
    });
    let home = pipeline(
        &peer,
        "every: 5ms\nquery: { since: \"{{ cursor }}\" }\ncursor: { field: at }\npagination: { page: { parameter: page } }",
    );
    for round in 0..8 {
        let child = begin(&home);
        more(&home, 10);
        if round % 2 == 0 {
            peer.stop();
            peer.run();
            more(&home, 10);
        }
        kill(child);
    }
    let child = begin(&home);
    full.store(true, Ordering::Relaxed);
    until("the last row", || rows(&home).len() as u64 >= count.load(Ordering::Relaxed));
    stop(child, Signal::SIGTERM);
    let mut found = numbers(&home);
    found.sort_unstable();
    assert_eq!(found, (0..count.load(Ordering::Relaxed)).collect::<Vec<u64>>());
}

/// Waits for so many rows more.
fn more(home: &TempDir, wanted: usize) {
    let before = rows(home).len();
    until("more rows", || rows(home).len() >= before + wanted);
}

/// The first number of each row.
fn numbers(home: &TempDir) -> Vec<u64> {
    let number = |row: &String| row.split(|c: char| !c.is_ascii_digit()).find_map(|part| part.parse().ok()).unwrap();
    rows(home).iter().map(number).collect()
}

#[test]
fn a_stream_goes_on_behind_its_last_event() {
    let peer_of = || {
        Peer::start(|asked| {
            let from = asked.header("last-event-id").map_or(0, |id| id.parse::<u64>().unwrap() + 1);
            let text =
                |n: u64| format!(": {n}\r\nevent: x\r\nid: {n}\r\ndata: {{\"n\":{n},\r\ndata: \"m\":0}}\r\n\r\n");
            let events = (from..from + 7).map(text).chain([format!("retry: 1\n\ndata: {{\"n\":{}", from + 7)]);
            answer(200, &[("content-type", "text/event-stream")], events.collect::<String>())
        })
    };
    let mut peer = peer_of();
    let home = pipeline(&peer, "stream: sse");
    for round in 0..6 {
        let child = begin(&home);
        more(&home, 20);
        if round % 2 == 0 {
            peer.stop();
            peer.run();
            more(&home, 20);
        }
        kill(child);
    }
    let child = begin(&home);
    more(&home, 20);
    stop(child, Signal::SIGTERM);
    let found = numbers(&home);
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<u64>>());
    assert_eq!(rows(&home)[0], "{\"n\":0, \"m\":0}");
}

#[test]
fn lines_of_a_stream_are_events() {
    let peer = Peer::start(|asked| {
        let from: u64 = asked.query("from").unwrap().parse().unwrap();
        let lines = (from..from + 3).map(|n| format!("{{\"n\":{n}}}"));
        answer(200, &[], lines.collect::<Vec<_>>().join("\n\n"))
    });
    let home = pipeline(
        &peer,
        "stream: ndjson\nsilence: 5s\nquery: { from: \"{{ cursor }}\" }\ncursor: { field: n, start: 0 }",
    );
    let child = begin(&home);
    // The greatest of those before is asked for again, and known.
    until("more lines", || rows(&home).len() >= 5);
    stop(child, Signal::SIGTERM);
    assert_eq!(numbers(&home)[..5], [0, 1, 2, 3, 4]);
}

#[test]
fn tokens_are_fetched_and_fetched_anew_when_they_are_refused() {
    let tokens = Arc::new(Mutex::new((0, Vec::new())));
    let of_peer = Arc::clone(&tokens);
    let peer = Peer::start(move |asked| {
        let mut tokens = of_peer.lock().unwrap();
        if asked.uri.path() == "/token" {
            // me:s%3Ac
            assert_eq!(asked.header("authorization"), Some("Basic bWU6cyUzQWM="));
            assert_eq!(asked.body, "grant_type=client_credentials&scope=a+b");
            tokens.0 += 1;
            return json(format!(
                "{{\"access_token\":\"t{}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}",
                tokens.0
            ));
        }
        let shown = asked.header("authorization").unwrap_or_default().to_owned();
        tokens.1.push(shown.clone());
        // The first holds for two questions.
        let good = if tokens.1.len() <= 2 { "Bearer t1" } else { "Bearer t2" };
        match shown == good {
            true => json(format!("{{\"n\":{}}}", tokens.1.len())),
            false => answer(401, &[], ""),
        }
    });
    let auth = "auth: { oauth2: { token_url: \"http://127.0.0.1:PORT/token\", client_id: me, client_secret: \"s:c\", scope: a b } }";
    let home = pipeline(&peer, &format!("every: 5ms\n{auth}"));
    let child = begin(&home);
    more(&home, 4);
    stop(child, Signal::SIGTERM);
    assert_eq!(numbers(&home)[..4], [1, 2, 4, 5]);
    let tokens = tokens.lock().unwrap();
    assert_eq!(tokens.0, 2, "a token is kept");
    assert_eq!(tokens.1[..4], ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]);
}

#[test]
fn it_asks_through_a_proxy_and_says_who_it_is() {
    let peer = Peer::start(|_| json("{\"n\":1}"));
    let home = pipeline(&peer, "proxy: http://127.0.0.1:PORT\nauth: { basic: { user: ann, password: \"a:b\" } }");
    let yaml =
        read(home.path(), "t.yaml").replace(&format!("url: http://127.0.0.1:{}", peer.port), "url: http://api.invalid");
    std::fs::write(home.path().join("t.yaml"), yaml).unwrap();
    assert_eq!(whole(&home), ["{\"n\":1}"]);
    let asked = peer.asked();
    assert_eq!(asked[0].uri.to_string(), "http://api.invalid/list");
    assert_eq!(asked[0].header("authorization"), Some("Basic YW5uOmE6Yg=="));
}

#[test]
fn a_server_that_is_down_is_said_and_tried_again() {
    let mut peer = Peer::start(|_| json("{\"n\":1}"));
    peer.stop();
    let home = pipeline(&peer, "every: 1h\nheaders: { X-Key: s3cret }\nquery: { key: s3cret }");
    let mut command = command(home.path(), &["run", "--quiet", "t.yaml"]);
    let mut child = command.env("MILLSTREAM_LOG", "warn").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("Connection refused; it is tried until it answers"), "{first}");
    assert!(!first.contains("s3cret"), "{first}");
    peer.run();
    let second = lines.next().unwrap().unwrap();
    assert!(second.contains("answers again"), "{second}");
    until("a row", || rows(&home) == ["{\"n\":1}"]);
    stop(child, Signal::SIGTERM);
}
