//! Rows that a receiver refuses come out of the sink's `.errors`, by the program itself: each once, however often it is killed,
//! and to the end of a run that ends by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/broker.rs"]
mod broker;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use broker::Broker;
use daemon::Daemon;
use program::{command, read, run, said, stop, until, with_texts};
use receiver::{Answer, Came, Receiver, ok};

fn rows(count: u64) -> String {
    (0..count).map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

fn number(text: &str) -> u64 {
    serde_json::from_str::<Value>(text).unwrap()["n"].as_u64().unwrap()
}

/// Rows whose number can be divided by three are not wanted.
fn unwanted(n: u64) -> bool {
    n.is_multiple_of(3)
}

/// Refuses what is not wanted, one row a request.
fn picky(came: &Came) -> Answer {
    let n = number(&came.text());
    if unwanted(n) { (400, Vec::new(), format!("{n} is not wanted")) } else { ok() }
}

/// A pipeline that sends its rows, with these sinks beside, and with these lines at its end.
fn home(to: &Receiver, count: u64, options: &str, more: &str) -> TempDir {
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    http:\n      url: http://{}/in\n      retry: {{ first: 1ms, most: 5ms }}\n{options}\n{more}",
        to.address
    );
    with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows(count))])
}

const TO_FILE: &str = "  wrong: { from: out.errors, file: { path: wrong.ndjson } }\n";

fn start(home: &Path, arguments: &[&str]) -> Child {
    let all: Vec<&str> = ["run", "--quiet", "t.yaml"].iter().chain(arguments).copied().collect();
    command(home, &all).stderr(Stdio::inherit()).spawn().unwrap()
}

/// The rows of a file of errors: the number in the original of each, and the row.
fn errors(home: &Path, name: &str) -> Vec<(u64, Value)> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (number(row["original"].as_str().unwrap()), row)
    };
    read(home, name).lines().map(row).collect()
}

fn sorted(errors: &[(u64, Value)]) -> Vec<u64> {
    let mut numbers: Vec<u64> = errors.iter().map(|(n, _)| *n).collect();
    numbers.sort_unstable();
    numbers
}

fn all_unwanted(count: u64) -> Vec<u64> {
    (0..count).filter(|n| unwanted(*n)).collect()
}

/// What became of the rows of an entry, as `status` says; it balances.
fn tally(home: &Path, entry: &str) -> BTreeMap<String, u64> {
    let output = run(home, &["status", "t.yaml", "--format", "json"]);
    assert!(output.status.success(), "{}", said(&output));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = status["ledger"].as_array().unwrap().iter().find(|of| of["entry"] == entry);
    let of = of.unwrap_or_else(|| panic!("no `{entry}` in {status}"));
    of.as_object().unwrap().iter().filter_map(|(key, value)| Some((key.clone(), value.as_u64()?))).collect()
}

fn letters(home: &Path) -> String {
    said(&run(home, &["dead-letters", "list", "t.yaml"]))
}

#[test]
fn what_is_refused_goes_to_who_reads_the_errors_of_the_sink() {
    let to = Receiver::start();
    to.answers(picky);
    let home = home(&to, 60, "", TO_FILE);
    let checked = run(home.path(), &["check", "t.yaml"]);
    assert!(checked.status.success() && !said(&checked).contains("warning"), "{}", said(&checked));
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let wrong = errors(home.path(), "wrong.ndjson");
    assert_eq!(sorted(&wrong), all_unwanted(60), "{}", read(home.path(), "wrong.ndjson"));
    let (_, row) = wrong.iter().find(|(n, _)| *n == 9).unwrap();
    let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(BTreeSet::from_iter(keys), BTreeSet::from(["reason", "entry", "place", "original"]));
    assert_eq!(row["reason"], "the answer was 400 Bad Request: 9 is not wanted");
    assert_eq!((&row["entry"], &row["original"]), (&"out".into(), &r#"{"n":9}"#.into()));
    // They were refused, and are nobody's dead letters; whoever reads them took all of them in.
    let out = tally(home.path(), "out");
    assert_eq!((out["taken"], out["passed"], out["failed"], out["dead"]), (60, 40, 20, 0));
    let wrong = tally(home.path(), "wrong");
    assert_eq!((wrong["taken"], wrong["passed"]), (20, 20));
    assert!(!letters(home.path()).contains("not wanted"), "{}", letters(home.path()));
    let holds = said(&run(home.path(), &["explain", "--guarantees", "t.yaml"]));
    assert!(holds.contains("in → out → wrong: exactly once\n"), "{holds}");
    assert!(
        holds.contains("what `out` is refused leaves it and comes out of `out.errors` in one transaction"),
        "{holds}"
    );
    // The next run is another.
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), all_unwanted(60));
}

/// Numbers that come by chance; a run that failed is repeated with `MILLSTREAM_SEED`.
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let given = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock);
        eprintln!("MILLSTREAM_SEED={seed}");
        Chance(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Runs to the end, killed now and then: at most `kills` times, each after so many milliseconds at most.
fn run_and_kill(home: &Path, arguments: &[&str], chance: &mut Chance, (kills, most): (u32, u64)) {
    for _ in 0..kills {
        let mut child = start(home, arguments);
        std::thread::sleep(Duration::from_millis(20 + chance.below(most)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(home, arguments).wait().unwrap().success());
}

#[test]
fn each_comes_once_however_often_the_run_is_killed() {
    let mut chance = Chance::new();
    for workers in ["1", "2", "3", "4"] {
        for latency in ["immediate", "exact"] {
            let to = Receiver::start();
            let mut fails = Chance(chance.below(u64::MAX));
            to.answers(move |came| match fails.below(20) {
                0 => (500, Vec::new(), String::new()),
                1 => (503, vec![("retry-after", "0".to_owned())], String::new()),
                _ => picky(came),
            });
            let options = format!("      latency: {latency}\n      concurrency: 4\n      buffer: 4KiB");
            let home = home(&to, 1_200, &options, &format!("{TO_FILE}checkpoint: {{ every: 20ms }}\n"));
            run_and_kill(home.path(), &["--workers", workers], &mut chance, (12, 400));
            let wrong = errors(home.path(), "wrong.ndjson");
            assert_eq!(sorted(&wrong), all_unwanted(1_200), "{workers} {latency}");
            let taken: BTreeSet<u64> = to.came().iter().map(|came| number(&came.text())).collect();
            assert_eq!(taken.len(), 1_200);
            let out = tally(home.path(), "out");
            assert_eq!((out["taken"], out["passed"], out["failed"], out["dead"]), (1_200, 800, 400, 0));
            assert_eq!(tally(home.path(), "wrong")["taken"], 400);
        }
    }
}

#[test]
fn a_crash_at_any_point_of_a_checkpoint_repeats_and_loses_nothing() {
    let to = Receiver::start();
    to.answers(picky);
    let points = ["gathered", "committed", "told", "last", "finishing", "complete"];
    for (point, time) in points.iter().flat_map(|point| (1..=4).map(move |time| (point, time))) {
        let home = home(&to, 90, "", &format!("{TO_FILE}checkpoint: {{ every: 20ms }}\n"));
        let mut dies = command(home.path(), &["run", "--quiet", "t.yaml"]);
        dies.env("MILLSTREAM_FAULT", format!("checkpoint.{point}:{time}")).stderr(Stdio::null());
        dies.status().unwrap();
        let output = run(home.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{point} {time}: {}", said(&output));
        assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), all_unwanted(90), "{point} {time}");
        tally(home.path(), "wrong");
    }
}

#[test]
fn what_is_refused_may_be_sent_elsewhere_and_be_refused_there() {
    let mut chance = Chance::new();
    let (first, second) = (Receiver::start(), Receiver::start());
    first.answers(picky);
    // The row that it was is in what it is sent.
    let original = |came: &Came| {
        let row: Value = serde_json::from_str(&came.text()).unwrap();
        number(row["original"].as_str().unwrap())
    };
    second.answers(move |came| {
        let n = original(came);
        if n.is_multiple_of(9) { (422, Vec::new(), format!("nor is {n}")) } else { ok() }
    });
    let sinks = format!(
        "  next: {{ from: out.errors, http: {{ url: \"http://{}/in\", retry: {{ first: 1ms, most: 5ms }} }} }}\n  lost: {{ from: next.errors, file: {{ path: lost.ndjson }} }}\ncheckpoint: {{ every: 20ms }}\n",
        second.address
    );
    for kills in [0, 10] {
        let home = home(&first, 600, "", &sinks);
        run_and_kill(home.path(), &["--workers", "2"], &mut chance, (kills, 300));
        let lost = read(home.path(), "lost.ndjson");
        let mut numbers = Vec::new();
        for line in lost.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let inner: Value = serde_json::from_str(row["original"].as_str().unwrap()).unwrap();
            assert_eq!((&row["entry"], &inner["entry"]), (&"next".into(), &"out".into()));
            numbers.push(number(inner["original"].as_str().unwrap()));
            assert!(row["reason"].as_str().unwrap().contains("nor is"), "{row}");
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..600u64).filter(|n| n.is_multiple_of(9)).collect::<Vec<_>>());
        let next = tally(home.path(), "next");
        assert_eq!((next["taken"], next["passed"], next["failed"], next["dead"]), (200, 133, 67, 0));
        assert_eq!(tally(home.path(), "lost")["taken"], 67);
        // A row has one id there, however often it was sent, and no other row has it.
        let mut by_id = BTreeMap::new();
        for came in second.came() {
            let before = by_id.insert(came.header("idempotency-key").to_owned(), original(&came));
            assert!(before.is_none_or(|before| before == original(&came)), "an id is one row's");
        }
        assert_eq!(by_id.len(), 200);
    }
}

#[test]
fn without_a_reader_the_rows_are_what_on_error_says() {
    for (on_error, dead) in [("dead_letter", 4), ("drop", 0), ("fail", 0)] {
        let to = Receiver::start();
        to.answers(picky);
        let unread = home(&to, 12, &format!("    on_error: {on_error}"), "");
        let output = run(unread.path(), &["run", "t.yaml"]);
        assert_eq!(output.status.success(), on_error != "fail", "{}", said(&output));
        assert_eq!(letters(unread.path()).matches("is not wanted").count(), dead, "{on_error}");
        if on_error == "fail" {
            assert!(said(&output).contains("a row of `out` was refused"), "{}", said(&output));
        } else {
            let out = tally(unread.path(), "out");
            assert_eq!((out["failed"], out["dead"]), (4, dead as u64));
        }
        // Whoever reads them has them, whatever it says.
        let read = home(&to, 12, &format!("    on_error: {on_error}"), TO_FILE);
        let output = run(read.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{on_error}: {}", said(&output));
        assert_eq!(sorted(&errors(read.path(), "wrong.ndjson")), all_unwanted(12));
    }
}

/// A run that was stopped while rows waited: they were refused as it stopped, and nobody has taken them in yet.
fn stopped(to: &mut Receiver, more: &str) -> TempDir {
    let home = home(to, 300, "      buffer: 1MB", &format!("{TO_FILE}{more}"));
    to.answers(|came| {
        std::thread::sleep(Duration::from_millis(2));
        picky(came)
    });
    let before = to.came().len();
    let child = start(home.path(), &[]);
    until("some rows", || to.came().len() > before + 5);
    stop(child, Signal::SIGTERM);
    home
}

#[test]
fn what_was_refused_as_a_run_stopped_comes_out_when_it_goes_on() {
    let mut to = Receiver::start();
    let home = stopped(&mut to, "");
    let out = tally(home.path(), "out");
    assert_eq!((out["failed"], out["dead"]), (100, 0));
    assert!(tally_or_none(home.path(), "wrong") < 100, "somebody took them in");
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), all_unwanted(300));
    assert_eq!(to.came().len(), 300, "none was sent twice");
}

/// Rows that an entry took in; none if it took none.
fn tally_or_none(home: &Path, entry: &str) -> u64 {
    tally(home, entry).get("taken").copied().unwrap_or(0)
}

#[test]
fn what_nobody_reads_any_more_becomes_dead_letters() {
    let mut to = Receiver::start();
    let home = stopped(&mut to, "");
    let there = fs::read_to_string(home.path().join("t.yaml")).unwrap();
    let taken = tally_or_none(home.path(), "wrong");
    fs::write(home.path().join("t.yaml"), there.replace(TO_FILE, "")).unwrap();
    let planned = run(home.path(), &["plan", "t.yaml"]);
    let rows = 100 - taken;
    assert!(
        said(&planned).contains(&format!("nobody reads out.errors any more; {rows} rows that it was refused")),
        "{}",
        said(&planned)
    );
    assert!(planned.status.success());
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let wanted =
        format!("{rows} rows that `out` was refused become dead letters: nobody takes them in at `out.errors`");
    assert!(said(&output).contains(&wanted), "{}", said(&output));
    let json = said(&run(home.path(), &["dead-letters", "list", "t.yaml", "--format", "ndjson", "--limit", "1000"]));
    assert_eq!(json.matches("is not wanted").count() as u64, rows, "{json}");
    let out = tally(home.path(), "out");
    assert_eq!((out["failed"], out["dead"]), (100, rows));

    // A run that begins anew keeps them as well.
    let home = stopped(&mut to, "");
    let taken = tally_or_none(home.path(), "wrong");
    let output = run(home.path(), &["run", "--fresh", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let json = said(&run(home.path(), &["dead-letters", "list", "t.yaml", "--format", "ndjson", "--limit", "1000"]));
    assert_eq!(json.matches("is not wanted").count() as u64, 100 - taken, "{json}");
    assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), all_unwanted(300));
}

#[test]
fn a_live_run_that_is_quiet_hears_of_it_and_one_that_is_drained_ends_with_all_of_it() {
    let to = Receiver::start();
    to.answers(picky);
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 50ms }}\nsources:\n  in: {{ file: {{ path: in.ndjson, follow: true, poll: 10ms }} }}\nsinks:\n  out:\n    http: {{ url: \"http://{}/in\", retry: {{ first: 1ms, most: 5ms }} }}\n  wrong: {{ from: out.errors, file: {{ path: wrong.ndjson, visible: at_once }} }}\n",
        to.address
    );
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows(30))]);
    let daemon = Daemon::start(home.path(), &[]);
    // Nothing more comes in after them.
    until("they come out", || errors(home.path(), "wrong.ndjson").len() == 10);
    to.answers(|came| {
        std::thread::sleep(Duration::from_millis(5));
        picky(came)
    });
    let mut file = fs::OpenOptions::new().append(true).open(home.path().join("in.ndjson")).unwrap();
    let more: String = (30..330).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::io::Write::write_all(&mut file, more.as_bytes()).unwrap();
    until("some of them", || to.came().len() > 40);
    daemon.post("/api/v1/pipelines/t/drain", "{}");
    daemon.until_phase("t", "complete");
    let wrong = sorted(&errors(home.path(), "wrong.ndjson"));
    let came: BTreeSet<u64> = to.came().iter().map(|came| number(&came.text())).filter(|n| unwanted(*n)).collect();
    assert_eq!(wrong, came.into_iter().collect::<Vec<_>>());
    daemon.kill();
    tally(home.path(), "wrong");
}

#[test]
fn a_drain_that_waits_for_answers_can_be_stopped_and_gone_on_with() {
    let mut to = Receiver::start();
    to.answers(picky);
    to.leave();
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 50ms }}\nsources:\n  in: {{ file: {{ path: in.ndjson, follow: true, poll: 10ms }} }}\nsinks:\n  out:\n    http: {{ url: \"http://{}/in\", retry: {{ first: 1ms, most: 5ms }} }}\n  wrong: {{ from: out.errors, file: {{ path: wrong.ndjson, visible: at_once }} }}\n",
        to.address
    );
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows(30))]);
    let daemon = Daemon::start(home.path(), &[]);
    until("all rows at the sink", || {
        let status = said(&run(home.path(), &["status", "t.yaml", "--format", "json"]));
        let held = serde_json::from_str(&status).unwrap_or(Value::Null)["ledger"][1]["held"].as_u64();
        held == Some(30)
    });
    daemon.post("/api/v1/pipelines/t/drain", "{}");
    daemon.post("/api/v1/pipelines/t/stop", "{}");
    daemon.until_phase("t", "stopped");
    assert_eq!(read(home.path(), "wrong.ndjson"), "");
    to.listen();
    daemon.post("/api/v1/pipelines/t/start", "{}");
    until("they come out", || errors(home.path(), "wrong.ndjson").len() == 10);
    daemon.post("/api/v1/pipelines/t/drain", "{}");
    daemon.until_phase("t", "complete");
    assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), all_unwanted(30));
    daemon.kill();
    assert_eq!(tally(home.path(), "wrong")["taken"], 10);
}

#[test]
fn a_run_without_anything_to_read_is_drained_whenever_checkpoints_are_made() {
    let to = Receiver::start();
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 1h }}\nsources:\n  in: {{ file: {{ path: \"none-*.ndjson\", follow: true }} }}\nsinks:\n  out: {{ http: {{ url: \"http://{}/in\" }} }}\n  wrong: {{ from: out.errors, file: {{ path: wrong.ndjson }} }}\n",
        to.address
    );
    let home = with_texts(&[("t.yaml", &yaml)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("t", "running");
    daemon.post("/api/v1/pipelines/t/drain", "{}");
    daemon.until_phase("t", "complete");
    daemon.kill();
}

#[test]
fn what_a_script_remembers_of_them_is_sent_the_same_after_a_crash() {
    let mut chance = Chance::new();
    let (first, second) = (Receiver::start(), Receiver::start());
    first.answers(picky);
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 30ms }}\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsteps:\n  both: {{ from: [in, out.errors], set: {{ k: \"1\" }} }}\n  counted:\n    script: \"state.n = (state.n ?? 0) + 1; event.at = state.n;\"\n    by: k\nsinks:\n  out:\n    from: in\n    http: {{ url: \"http://{}/in\", retry: {{ first: 1ms, most: 5ms }} }}\n  told:\n    from: counted\n    http: {{ url: \"http://{}/in\", retry: {{ first: 1ms, most: 5ms }} }}\n",
        first.address, second.address
    );
    // Two files that meet, and what comes back beside them.
    let yaml = yaml.replace("path: in.ndjson }", "path: \"in-*.ndjson\" }, time: { field: at_ms, format: unix_ms }");
    let part = |odd: u64| -> String {
        let own = (0..400u64).filter(|n| n % 2 == odd);
        own.map(|n| format!("{{\"n\":{n},\"at_ms\":{}}}\n", 1_700_000_000_000 + n * 1_000)).collect()
    };
    let home = with_texts(&[("t.yaml", &yaml), ("in-0.ndjson", &part(0)), ("in-1.ndjson", &part(1))]);
    let checked = run(home.path(), &["check", "t.yaml"]);
    assert!(checked.status.success(), "{}", said(&checked));
    run_and_kill(home.path(), &["--workers", "2"], &mut chance, (10, 300));
    let counted = 400 + all_unwanted(400).len() as u64;
    let mut by_number = BTreeMap::new();
    for came in second.came() {
        let row: Value = serde_json::from_str(&came.text()).unwrap();
        let before = by_number.insert(row["at"].as_u64().unwrap(), came.text());
        assert!(before.is_none_or(|before| before == came.text()), "it says the same again");
    }
    assert_eq!(by_number.keys().copied().collect::<Vec<_>>(), (1..=counted).collect::<Vec<_>>());
}

#[test]
fn what_a_broker_or_a_topic_refuses_comes_out_as_well() {
    let broker = Broker::start("");
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    mqtt: {{ url: \"mqtt://127.0.0.1:{}\", topic: \"rows/{{{{ site }}}}\" }}\n{TO_FILE}",
        broker.port
    );
    let given = "{\"n\":1,\"site\":\"#\"}\n{\"n\":2,\"site\":\"a\"}\n{\"n\":3,\"site\":\"+\"}\n";
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", given)]);
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), [1, 3], "{}", read(home.path(), "wrong.ndjson"));
    let out = tally(home.path(), "out");
    assert_eq!((out["passed"], out["failed"], out["dead"]), (1, 2, 0));
}

#[test]
fn what_is_sent_again_and_refused_again_is_a_letter_again() {
    let to = Receiver::start();
    to.answers(picky);
    let home = home(&to, 6, "", "");
    assert!(run(home.path(), &["run", "t.yaml"]).status.success());
    let yaml = fs::read_to_string(home.path().join("t.yaml")).unwrap();
    let growing = "  wrong: { from: out.errors, stdout: {} }\n";
    fs::write(home.path().join("t.yaml"), format!("{yaml}{growing}")).unwrap();
    let output = run(home.path(), &["dead-letters", "retry", "t.yaml"]);
    assert_eq!(said(&output), "2 dead letters sent again: 2 rows for sinks, 2 rows became dead letters\n");
    assert_eq!(letters(home.path()).matches("is not wanted").count(), 2);
}

#[test]
fn rows_that_cannot_be_written_come_out_beside_those_that_are_refused() {
    let to = Receiver::start();
    to.answers(picky);
    let given: String =
        (0..40).map(|n| format!("{{\"n\":{n},\"to\":\"{}\"}}\n", if n % 5 == 0 { "../x" } else { "in" })).collect();
    let home = home(&to, 0, "      headers: { X-To: \"{{ to }}\" }", TO_FILE);
    let yaml = fs::read_to_string(home.path().join("t.yaml")).unwrap();
    fs::write(home.path().join("t.yaml"), yaml.replace("/in\n", "/in/{{ to }}\n")).unwrap();
    fs::write(home.path().join("in.ndjson"), given).unwrap();
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let wrong = errors(home.path(), "wrong.ndjson");
    let expected: Vec<u64> = (0..40).filter(|n| n % 5 == 0 || unwanted(*n)).collect();
    assert_eq!(sorted(&wrong), expected);
    for (n, row) in wrong {
        let reason = if n.is_multiple_of(5) { "leads out of" } else { "is not wanted" };
        assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
    }
    let out = tally(home.path(), "out");
    assert_eq!((out["taken"], out["failed"], out["dead"]), (40, expected.len() as u64, 0));
}

#[test]
fn what_a_receiver_of_alerts_refuses_may_go_elsewhere() {
    let to = Receiver::start();
    to.answers(|_| (410, Vec::new(), "we have moved".to_owned()));
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  hot:\n    alert: {{ when: n > 5, by: n, notify: team }}\n  wrong: {{ from: team.errors, file: {{ path: wrong.ndjson }} }}\nreceivers:\n  team: {{ webhook: {{ url: \"http://{}/in\" }} }}\n",
        to.address
    );
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows(9))]);
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let wrong = read(home.path(), "wrong.ndjson");
    assert_eq!((wrong.lines().count(), wrong.matches("we have moved").count()), (3, 3), "{wrong}");
    let team = tally(home.path(), "team");
    assert_eq!((team["taken"], team["failed"], team["dead"]), (3, 3, 0));
}

#[test]
fn what_is_refused_does_not_gather_in_memory_until_the_next_checkpoint() {
    let to = Receiver::start();
    to.answers(|came| (400, Vec::new(), format!("{} is wanted by nobody", came.text())));
    for more in ["", "\n      buffer_on_disk: 1MiB"] {
        let options = format!("      latency: immediate\n      buffer: 4KiB{more}");
        let wrong = "  wrong: { from: out.errors, file: { path: wrong.ndjson, mode: append } }\n";
        let home = home(&to, 2_000, &options, &format!("{wrong}checkpoint: {{ every: 1h }}\n"));
        let live = read(home.path(), "t.yaml").replace("path: in.ndjson", "path: in.ndjson, follow: true, poll: 5ms");
        fs::write(home.path().join("t.yaml"), live).unwrap();
        let child = start(home.path(), &[]);
        // What is refused takes so much of the buffer that a checkpoint is made for it again and again.
        let failed = || -> Option<u64> {
            let output = run(home.path(), &["status", "t.yaml", "--format", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            status["ledger"].as_array()?.iter().find(|of| of["entry"] == "out")?["failed"].as_u64()
        };
        until("most are in checkpoints", || failed().is_some_and(|failed| failed > 1_800));
        stop(child, Signal::SIGTERM);
        // One that makes checkpoints in time takes the rest.
        let often = read(home.path(), "t.yaml").replace("every: 1h", "every: 20ms");
        fs::write(home.path().join("t.yaml"), often).unwrap();
        let child = start(home.path(), &[]);
        until("all come out", || read(home.path(), "wrong.ndjson").lines().count() == 2_000);
        stop(child, Signal::SIGTERM);
        assert_eq!(sorted(&errors(home.path(), "wrong.ndjson")), (0..2_000).collect::<Vec<_>>());
    }
}
