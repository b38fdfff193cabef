//! Rows that are sent by HTTP, by the program itself, to a receiver that fails, goes away and comes back: each is taken, in
//! order, under an id of its own that is the same however often it is sent.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use program::{command, read, run, said, stop, until, with_texts};
use receiver::{Came, Receiver, ok};

fn rows(count: usize) -> String {
    (0..count).map(|n| format!("{{\"n\":{n},\"device\":\"d{}\"}}\n", n % 5)).collect()
}

/// A pipeline that sends its rows as these options of `http` say; more lines may follow for the pipeline.
fn home(to: &Receiver, options: &str, count: usize, more: &str) -> TempDir {
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    http:\n      url: http://{}/in\n{options}\n{more}",
        to.address
    );
    with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows(count))])
}

fn numbers(came: &[Came]) -> Vec<u64> {
    let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap();
    came.iter().flat_map(|request| request.text().lines().map(of).collect::<Vec<_>>()).collect()
}

fn all(count: u64) -> Vec<u64> {
    (0..count).collect()
}

fn start(home: &Path) -> Child {
    command(home, &["run", "--quiet", "t.yaml"]).stderr(Stdio::inherit()).spawn().unwrap()
}

#[test]
fn rows_are_sent_one_by_one_in_order_each_under_its_id() {
    let to = Receiver::start();
    let options =
        "      headers: { X-Device: \"{{ device }}\", Authorization-Not: plain }\n      auth: { bearer: s3cret }";
    let home = home(&to, options, 40, "");
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let came = to.came();
    assert_eq!(numbers(&came), all(40));
    assert_eq!(came[7].text(), r#"{"n":7,"device":"d2"}"#);
    let ids: std::collections::BTreeSet<_> = came.iter().map(|r| r.header("idempotency-key").to_owned()).collect();
    assert_eq!(ids.len(), 40);
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-device", "d2"),
        ("authorization-not", "plain"),
        ("authorization", "Bearer s3cret"),
    ] {
        assert_eq!(came[7].header(name), value);
    }
    let status = said(&run(home.path(), &["status", "t.yaml"]));
    assert!(status.contains("out") && !status.contains("balance"), "{status}");
    // A run that begins anew sends the same rows under the same ids.
    assert!(run(home.path(), &["run", "--fresh", "t.yaml"]).status.success());
    let again: std::collections::BTreeSet<_> =
        to.came().iter().skip(40).map(|r| r.header("idempotency-key").to_owned()).collect();
    assert_eq!(ids, again);
}

#[test]
fn rows_go_together() {
    for (framing, kind, shown) in [
        ("lines", "application/x-ndjson", "{\"n\":0,\"device\":\"d0\"}\n{\"n\":1,\"device\":\"d1\"}\n"),
        ("array", "application/json", r#"[{"n":0,"device":"d0"},{"n":1,"device":"d1"}]"#),
    ] {
        let to = Receiver::start();
        let options = format!("      batch: {{ count: 4, within: 1h }}\n      framing: {framing}");
        let home = home(&to, &options, 18, "");
        // At the end of the input nothing more comes to wait for.
        let output = run(home.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{}", said(&output));
        let came = to.came();
        let sizes: Vec<usize> = came.iter().map(|r| r.text().matches("\"n\"").count()).collect();
        assert_eq!(sizes, [4, 4, 4, 4, 2], "{framing}");
        assert!(came[0].text().starts_with(&shown[..shown.len() - 1]), "{}", came[0].text());
        assert_eq!(came[0].header("content-type"), kind);
    }
}

#[test]
fn what_fails_is_tried_again_and_what_is_refused_is_a_dead_letter() {
    let to = Receiver::start();
    let mut tries = BTreeMap::<String, u32>::new();
    to.answers(move |request| {
        let tried = tries.entry(request.text()).or_default();
        *tried += 1;
        let n = numbers(std::slice::from_ref(request));
        match (n.as_slice(), *tried) {
            ([3], 1) => (503, vec![("retry-after", "0".to_owned())], String::new()),
            ([5], 1 | 2) => (500, Vec::new(), "a moment".to_owned()),
            ([11], 1 | 2) => (422, Vec::new(), "no such\n  device".to_owned()),
            (several @ [_, _, ..], _) if several.contains(&11) => (400, Vec::new(), "one of them".to_owned()),
            _ => ok(),
        }
    });
    let options = "      retry: { first: 1ms, most: 5ms }";
    let single = home(&to, options, 20, "");
    let output = run(single.path(), &["run", "t.yaml"]);
    assert!(said(&output).contains("the answer was 422 Unprocessable Entity: no such device"), "{}", said(&output));
    let came = to.came();
    let mut expected: Vec<u64> = all(20);
    expected.splice(3..4, [3, 3]);
    expected.splice(6..7, [5, 5, 5]);
    assert_eq!(numbers(&came), expected);
    assert_eq!(came[3].header("idempotency-key"), came[4].header("idempotency-key"));
    let letters = said(&run(single.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(letters.contains("no such device") && letters.contains("out"), "{letters}");

    // The run is complete, but whoever is sent to may still take the row.
    let output = run(single.path(), &["dead-letters", "retry", "t.yaml"]);
    assert_eq!(said(&output), "1 dead letter sent again: 1 row for sinks, 1 row became dead letters\n");
    assert!(!output.status.success());
    let output = run(single.path(), &["dead-letters", "retry", "t.yaml"]);
    assert_eq!(said(&output), "1 dead letter sent again: 1 row for sinks, 0 rows became dead letters\n");
    assert!(output.status.success());
    let keys: Vec<_> = to
        .came()
        .iter()
        .filter(|r| numbers(std::slice::from_ref(r)) == [11])
        .map(|r| r.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys.len(), 3);

    // Of a batch the others are taken.
    let batched = Receiver::start();
    batched.answers(|request| {
        if numbers(std::slice::from_ref(request)).contains(&11) { (400, Vec::new(), "no".into()) } else { ok() }
    });
    let home = home(&batched, "      batch: { count: 16 }", 32, "");
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(said(&output).contains("the answer was 400 Bad Request: no"), "{}", said(&output));
    let came = batched.came();
    let mut taken: Vec<u64> =
        came.iter().map(|r| numbers(std::slice::from_ref(r))).filter(|n| !n.contains(&11)).flatten().collect();
    taken.sort();
    let without: Vec<u64> = all(32).into_iter().filter(|n| *n != 11).collect();
    assert_eq!(taken, without);
}

#[test]
fn a_receiver_that_is_away_is_waited_for_while_checkpoints_go_on() {
    let mut to = Receiver::start();
    to.leave();
    let options = "      retry: { first: 1ms, most: 20ms }\n      buffer: 4KiB";
    let home = home(&to, options, 3_000, "checkpoint: { every: 50ms }");
    let child = start(home.path());
    let held = || said(&run(home.path(), &["status", "t.yaml", "--format", "json"]));
    until("a checkpoint that holds rows", || {
        let status: serde_json::Value = serde_json::from_str(&held()).unwrap_or_default();
        serde_json::to_string(&status).unwrap().contains("\"held\":") && held_rows(&status) > 0
    });
    // It stops without having sent anything, and goes on from what it holds.
    stop(child, Signal::SIGTERM);
    assert_eq!(to.came().len(), 0);
    to.listen();
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(numbers(&to.came()), all(3_000));
}

/// Rows that any entry holds.
/// Bytes of the files in a directory.
fn size(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.map(|file| file.metadata().map_or(0, |about| about.len())).sum()
}

#[test]
fn rows_that_wait_on_the_disk_hold_nobody_back() {
    let mut to = Receiver::start();
    to.leave();
    let options = "      batch: { count: 500 }\n      buffer: 64KiB\n      buffer_on_disk: 100MB\n      retry: { first: 1ms, most: 20ms }\n";
    let more = "  seen: { from: in, file: { path: seen.ndjson, visible: at_once, mode: append } }\ncheckpoint: { every: 50ms }";
    let home = home(&to, &format!("{options}{more}"), 30_000, "");
    let outbox = home.path().join(".millstream/t.db.outbox/out");
    for _ in 0..3 {
        let mut child = start(home.path());
        until("all rows at the other sink", || read(home.path(), "seen.ndjson").lines().count() == 30_000);
        until("their place on the disk", || size(&outbox) > 1 << 20);
        // Only a checkpoint makes the disk something that the state counts on.
        until("a checkpoint of it", || {
            let status = said(&run(home.path(), &["status", "t.yaml", "--format", "json"]));
            held_rows(&serde_json::from_str(&status).unwrap_or_default()) == 30_000
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Without what the state speaks of it does not go on.
    let aside = home.path().join("aside");
    fs::rename(&outbox, &aside).unwrap();
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("of the rows that wait is gone from the disk"), "{}", said(&output));
    // It took a lock there, and made nothing else.
    let _ = fs::remove_dir_all(&outbox);
    fs::rename(&aside, &outbox).unwrap();
    to.listen();
    let mut child = start(home.path());
    until("some rows", || to.came().len() > 20);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let mut seen = std::collections::BTreeSet::new();
    let first: Vec<u64> = numbers(&to.came()).into_iter().filter(|n| seen.insert(*n)).collect();
    assert_eq!(first, all(30_000));
    assert_eq!(read(home.path(), "seen.ndjson").lines().count(), 30_000);
}

fn held_rows(status: &serde_json::Value) -> u64 {
    match status {
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(key, value)| if key == "held" { value.as_u64().unwrap_or(0) } else { held_rows(value) })
            .sum(),
        serde_json::Value::Array(list) => list.iter().map(held_rows).sum(),
        _ => 0,
    }
}

#[test]
fn rows_of_a_key_come_in_order_however_often_everything_is_killed() {
    for (latency, seed) in [("immediate", 1u64), ("exact", 2)] {
        let mut to = Receiver::start();
        let mut chance = seed;
        let behaves = move |_: &Came| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match chance >> 59 {
                0 => (503, vec![("retry-after", "0".to_owned())], String::new()),
                1 => (500, Vec::new(), String::new()),
                _ => ok(),
            }
        };
        to.answers(behaves);
        let options = format!(
            "      key: \"{{{{ device }}}}\"\n      retry: {{ first: 1ms, most: 5ms }}\n      latency: {latency}\n      concurrency: 4"
        );
        let home = home(&to, &options, 2_000, "checkpoint: { every: 20ms }");
        let mut kills = 0;
        loop {
            let mut child = start(home.path());
            let before = to.came().len();
            let mut ended = None;
            until("some rows", || {
                ended = child.try_wait().unwrap();
                ended.is_some() || to.came().len() > before + 300
            });
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            if kills % 3 == 2 {
                // The receiver, too.
                to.leave();
                to.listen();
            } else {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            kills += 1;
            if kills % 3 == 0 {
                until("the end", || child.try_wait().unwrap().is_some() || to.came().len() > before + 900);
                let _ = child.kill();
                child.wait().unwrap();
            }
        }
        let mut by_id = BTreeMap::<String, String>::new();
        for request in to.came() {
            let text = request.text();
            let before = by_id.insert(request.header("idempotency-key").to_owned(), text.clone());
            assert!(before.is_none_or(|before| before == text), "an id is one row's");
        }
        assert_eq!(by_id.len(), 2_000, "{latency}");
        // The first time that each came, those of a device came in order.
        let mut seen = std::collections::BTreeSet::new();
        let first: Vec<u64> = numbers(&to.came()).into_iter().filter(|n| seen.insert(*n)).collect();
        for device in 0..5 {
            let of: Vec<u64> = first.iter().copied().filter(|n| n % 5 == device).collect();
            assert!(of.is_sorted(), "{latency}: {of:?}");
        }
    }
}

#[test]
fn what_is_signed_and_packed_is_taken_by_the_source_of_the_same_name() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!(
        "name: s\nsources:\n  in:\n    http_server: {{ listen: \"127.0.0.1:{port}\", path: /in, auth: {{ hmac: {{ scheme: slack, secret: x }} }} }}\nsinks:\n  out: {{ file: {{ path: out.ndjson, visible: at_once }} }}\n"
    );
    let there = with_texts(&[("t.yaml", &server)]);
    let listening = start(there.path());
    for packing in ["gzip", "zstd"] {
        // Under one name the same rows would have the same ids, and count once.
        let client = format!(
            "name: {packing}\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    http:\n      url: http://localhost:{port}/in\n      sign: {{ scheme: slack, secret: x }}\n      compression: {packing}\n      batch: {{ count: 10 }}\n      retry: {{ first: 5ms, most: 50ms }}\n"
        );
        let here = with_texts(&[("t.yaml", &client), ("in.ndjson", &rows(100))]);
        let output = run(here.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{}", said(&output));
    }
    until("all rows", || program::read(there.path(), "out.ndjson").lines().count() == 200);
    stop(listening, Signal::SIGTERM);
}

#[test]
fn addresses_stay_where_they_were_written_and_secrets_are_not_shown() {
    let to = Receiver::start();
    to.answers(|_| (404, Vec::new(), "nobody".to_owned()));
    let yaml = |url: &str| {
        format!(
            "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    http: {{ url: \"{url}\", retry: {{ first: 1ms, most: 1ms, give_up_after: 1ms }} }}\n"
        )
    };
    let given = "{\"to\":\"a\"}\n{\"to\":\"../../b\"}\n{\"to\":\"c d\"}\n";
    let place = format!("http://ann:pa55@{}/to/{{{{ to }}}}?token=pa55", to.address);
    let home = with_texts(&[("t.yaml", &yaml(&place)), ("in.ndjson", given)]);
    let output = run(home.path(), &["run", "t.yaml"]);
    let shown = said(&output) + &said(&run(home.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(shown.contains("leads out of `/to/`"), "{shown}");
    assert!(!shown.contains("pa55"), "{shown}");
    let state: Vec<u8> = fs::read_dir(home.path().join(".millstream"))
        .unwrap()
        .flat_map(|f| fs::read(f.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(!String::from_utf8_lossy(&state).contains("pa55"), "the state knows no secret");
    let paths: std::collections::BTreeSet<String> = to.came().into_iter().map(|r| r.path).collect();
    assert_eq!(Vec::from_iter(paths), ["/to/a?token=pa55", "/to/c%20d?token=pa55"]);
    // A host that the row decides, and one that is no address.
    for (url, wanted) in [
        ("http://{{ to }}/x", "the host of an address may not depend on the row"),
        ("http://a{{ to }}/x", "the host of an address may not depend on the row"),
        ("ftp://a/x", "this is no address to send to"),
    ] {
        fs::write(home.path().join("t.yaml"), yaml(url)).unwrap();
        let output = run(home.path(), &["check", "t.yaml"]);
        assert!(said(&output).contains(wanted), "{url}: {}", said(&output));
    }
}
