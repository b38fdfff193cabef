//! A backup that is made beside a run, and put back: it goes on from there.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

#[path = "support/program.rs"]
mod program;

use program::{command, read, run, said, stop, text, until, with_texts};

const PIPELINE: &str = "name: t
checkpoint: { every: 20ms }
sources:
  rows:
    file: { path: in.ndjson, follow: true, poll: 5ms }
    time: { field: ts, format: unix }
steps:
  counted:
    window: { count: 10, by: k, aggregate: { rows: count(), sum: sum(n) } }
sinks:
  out: { file: { path: out.ndjson, mode: append } }
";

fn rows(home: &Path, numbers: std::ops::Range<u64>) {
    let mut file = OpenOptions::new().append(true).create(true).open(home.join("in.ndjson")).unwrap();
    for n in numbers {
        writeln!(file, "{{\"ts\":{},\"k\":\"k{}\",\"n\":{n}}}", 1_767_225_600 + n, n % 3).unwrap();
    }
}

fn lines(home: &Path) -> usize {
    read(home, "out.ndjson").lines().count()
}

/// The expected output of all rows: by key the windows in the order in which they are full.
fn windows(count: u64) -> usize {
    (0..3).map(|key| (0..count).filter(|n| n % 3 == key).count() / 10).sum()
}

#[test]
fn a_state_that_is_put_back_goes_on_from_there() {
    let home = with_texts(&[("t.yaml", PIPELINE), ("in.ndjson", "")]);
    let start = || {
        let mut command = command(home.path(), &["run", "--quiet", "t.yaml"]);
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let child = start();
    rows(home.path(), 0..95);
    until("some windows", || lines(home.path()) == windows(95));
    let copied = run(home.path(), &["backup", "t.yaml", "--to", "saved/monday"]);
    assert!(copied.status.success(), "{}", said(&copied));
    assert!(text(&copied.stdout).contains("in `saved/monday/t.db`, read again"), "{}", said(&copied));
    // A second one does not go over the first.
    let again = run(home.path(), &["backup", "t.yaml", "--to", "saved/monday"]);
    assert!(said(&again).contains("is there already; name another directory"), "{}", said(&again));
    rows(home.path(), 95..200);
    until("more windows", || lines(home.path()) == windows(200));
    stop(child, Signal::SIGTERM);
    let whole = read(home.path(), "out.ndjson");

    fs::remove_dir_all(home.path().join(".millstream")).unwrap();
    fs::create_dir(home.path().join(".millstream")).unwrap();
    fs::copy(home.path().join("saved/monday/t.db"), home.path().join(".millstream/t.db")).unwrap();
    let child = start();
    rows(home.path(), 200..260);
    // What had left since the copy was made leaves again, and then what comes after it.
    let again = windows(260) - windows(95);
    until("the rest", || lines(home.path()) == windows(200) + again);
    stop(child, Signal::SIGTERM);
    let out = read(home.path(), "out.ndjson");
    let since = |text: &str, from: usize| text.lines().skip(from).map(str::to_owned).collect::<Vec<_>>();
    assert!(out.starts_with(&whole));
    assert_eq!(since(&out, windows(200))[..windows(200) - windows(95)], since(&whole, windows(95)));
    assert!(fs::read_dir(home.path().join("saved/monday")).unwrap().count() == 1, "a copy is one file");
    let checked = run(home.path(), &["state", "check", "t.yaml"]);
    assert!(checked.status.success(), "{}", said(&checked));
}

#[test]
fn what_was_taken_and_is_in_no_checkpoint_is_in_the_backup() {
    let port = free_port();
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 1h }}\nsources:\n  posted:\n    http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }}\n\
         sinks:\n  out: {{ file: {{ path: out.ndjson, mode: append }} }}\n"
    );
    let home = with_texts(&[("t.yaml", &yaml)]);
    let start = || {
        let mut command = command(home.path(), &["run", "--quiet", "t.yaml"]);
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let child = start();
    for n in 0..5 {
        let mut status = 0;
        until("it takes rows", || {
            status = post(port, &format!("{{\"n\":{n}}}")).unwrap_or(0);
            status > 0
        });
        assert_eq!(status, 202);
    }
    let copied = run(home.path(), &["backup", ".", "--to", "saved"]);
    assert!(copied.status.success(), "{}", said(&copied));
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir_all(home.path().join(".millstream")).unwrap();
    fs::rename(home.path().join("saved"), home.path().join(".millstream")).unwrap();
    let child = start();
    until("it takes rows again", || post(port, "{\"n\":5}").is_some_and(|status| status == 202));
    stop(child, Signal::SIGTERM);
    let mut numbers: Vec<String> = read(home.path(), "out.ndjson").lines().map(str::to_owned).collect();
    numbers.sort();
    assert_eq!(numbers, (0..6).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
}

#[test]
fn there_is_nothing_to_copy_and_nothing_is_left_of_a_copy_that_failed() {
    let home = with_texts(&[("t.yaml", PIPELINE), ("in.ndjson", "")]);
    let none = run(home.path(), &["backup", "t.yaml", "--to", "saved"]);
    assert!(none.status.success() && said(&none).contains("no state yet"), "{}", said(&none));
    fs::create_dir(home.path().join(".millstream")).unwrap();
    fs::write(home.path().join(".millstream/t.db"), "this is no database, whatever it is called").unwrap();
    let broken = run(home.path(), &["backup", "t.yaml", "--to", "saved"]);
    assert_eq!(broken.status.code(), Some(1), "{}", said(&broken));
    assert_eq!(fs::read_dir(home.path().join("saved")).map_or(0, Iterator::count), 0);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Posts a row: the status, if somebody answers.
fn post(port: u16, row: &str) -> Option<u16> {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "POST /in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{row}",
        row.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_whitespace().nth(1)?.parse().ok()
}
