//! The program itself, killed at any moment: whatever it had written, and however often, its output, its ledger and its
//! dead letters are in the end those of a run that nothing disturbed.
//!
//! `MILLSTREAM_CRASHES` multiplies how often it is killed; `MILLSTREAM_SEED` repeats a run that failed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/inputs.rs"]
mod inputs;
#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use inputs::{Numbers, SOURCES, START, write_inputs};
use program::command;
use rusqlite::types::Value;

/// Times that a pipeline is killed before it may come to its end.
const KILLS: u64 = 30;

const WINDOWS: &str = r#"
steps:
  minutes:
    from: [parts, more]
    window:
      tumbling: 1m
      by: device
      allow_late: 20s
      aggregate: { n: count(), mean: avg(v), spread: stddev(v), median: median(v), most: "top(note, 2)" }
  hours:
    window: { tumbling: 10m, aggregate: { n: sum(n), devices: distinct(device), best: max(mean) } }
  slides:
    from: parts
    window: { sliding: { size: 5m, every: 30s }, by: device, emit: { every: 10s }, aggregate: { least: min(v), first: first(v) } }
sinks:
  out_minutes: { from: minutes, file: { path: out/minutes.ndjson } }
  out_hours: { from: hours, file: { path: out/hours.csv }, format: { csv: { columns: [window_start, n, devices, best] } } }
  out_slides: { from: slides, file: { path: out/slides.ndjson.gz, compression: gzip } }
  late: { from: minutes.late, file: { path: out/late.ndjson, mode: append } }
"#;

const SESSIONS: &str = r#"
steps:
  stays:
    from: parts
    window: { session: { gap: 3s, max: 1m }, by: [device, site.floor], allow_late: 20s, aggregate: { n: count(), last: last(v), some: "collect(v, 3)" } }
  tens:
    from: [parts, more]
    window: { count: 10, by: device, aggregate: { n: count(), kinds: approx_distinct(v) } }
  days:
    from: more
    window:
      calendar: { every: hour, zone: Asia/Kolkata }
      by: device
      emit: once
      allow_late: 5s
      aggregate:
        n: count()
        ones:
          fold: { init: 0, each: acc + 1, merge: a + b }
sinks:
  out_stays: { from: stays, file: { path: out/stays.ndjson, mode: append } }
  out_tens: { from: tens, file: { path: out/tens.ndjson, mode: append, visible: at_once } }
  out_days: { from: days, file: { path: out/days.ndjson.zst, mode: append, compression: zstd } }
  everything: { from: [stays.late, days], file: { path: "out/by-{{ device }}.ndjson" } }
"#;

const SCRIPTS: &str = r#"
steps:
  ways:
    from: [more, parts]
    route: { low: v < 500, high: v > 1500 }
  once:
    from: [ways, ways.low, ways.high]
    dedupe: { by: [device, v], within: 30s }
  slower:
    throttle: { by: device, limit: 3, per: 10s }
  changes:
    script: |
      if state.before == () { state.before = 0; state.seen = 0; }
      state.seen += 1;
      step = v - state.before;
      state.before = v;
      if state.seen % 10 == 0 { emit(#{ device: device, seen: state.seen }); }
      if state.seen % 7 == 0 { drop(); }
    by: device
    state_ttl: 2m
sinks:
  out_changes: { from: changes, file: { path: out/changes.ndjson.gz, compression: gzip, rotate: { size: 20KB } } }
  out_held: { from: [slower.throttled, once.late], file: { path: out/held.ndjson, rotate: { every: 10m, size: 10KB }, mode: append } }
  wrong: { from: parts.errors, file: { path: out/wrong.ndjson } }
"#;

const JOINS: &str = r#"
steps:
  pairs:
    join: { left: parts, right: more, on: device, within: 4s, type: full }
  split:
    explode: { field: parts.pair }
    from: wide
  wide:
    from: pairs
    script: |
      if parts != () { parts.pair = [parts.v, 1]; }
sinks:
  out_pairs: { from: split, file: { path: out/pairs.ndjson.zst, compression: zstd, visible: at_once } }
  every: { from: pairs.late, file: { path: "out/{{ device }}/late.ndjson", mode: append, visible: at_once } }
"#;

const TABLES: &str = r#"
steps:
  minutes:
    from: [parts, more]
    window: { tumbling: 1m, by: device, allow_late: 20s, aggregate: { n: count(), sum: sum(v) } }
sinks:
  replaced: { from: parts, sqlite: { path: out/all.db, table: readings } }
  changed: { from: minutes, sqlite: { path: out/all.db, table: minutes, key: [device, window_start] } }
  added: { from: [minutes, minutes.late], sqlite: { path: out/added.db, table: minutes, mode: append } }
"#;

/// Goes on in the map of the sources. Many rows of the table have one time.
const DATABASE: &str = r#"  rows:
    sqlite: { path: in/rows.db, query: "SELECT ts, device, v FROM t WHERE v <> 7", by: ts }
    time: { field: ts, format: unix, out_of_order: 5s }
  table:
    sqlite: { path: in/rows.db, table: t, by: ts }
    time: { field: ts, format: unix }
steps:
  minutes:
    from: [parts, rows, table]
    window: { tumbling: 1m, by: device, allow_late: 20s, aggregate: { n: count(), total: sum(v), last: last(v) } }
sinks:
  out_minutes: { from: minutes, file: { path: out/minutes.ndjson } }
  out_rows: { from: [rows, table, more], file: { path: out/rows.ndjson, mode: append } }
"#;

/// How the program is run.
#[derive(Clone, Copy, Default)]
struct Run<'a> {
    workers: u64,
    fault: Option<&'a str>,
}

fn start(home: &Path, run: Run<'_>) -> Child {
    let mut command = command(home, &["run", "--quiet", "--workers", &run.workers.to_string(), "t.yaml"]);
    if let Some(fault) = run.fault {
        command.env("MILLSTREAM_FAULT", fault);
    }
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the program ends by itself, which it has to do well.
fn finish(mut child: Child, context: &str) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{context}: {status}: {said}");
}

/// Kills the program after so long; true if it had ended by itself, which it has to do well.
fn kill_after(home: &Path, mut child: Child, delay: Duration, context: &str) -> bool {
    std::thread::sleep(delay);
    if child.try_wait().unwrap().is_some() {
        finish(child, context);
        return true;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // It may have come to its end just before: the next run would be another one.
    status(home) == "complete"
}

/// What the state says of the last run; nothing if there is none.
fn status(home: &Path) -> String {
    let path = home.join(".millstream/t.db");
    if !path.exists() {
        return String::new();
    }
    let state = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT CASE WHEN run > 0 THEN status ELSE '' END FROM run";
    state.query_row(sql, [], |row| row.get(0)).unwrap_or_default()
}

/// A directory with input and a pipeline.
fn home(steps: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("in")).unwrap();
    write_inputs(home.path(), 250);
    if steps == DATABASE {
        let rows = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)";
        let sql = format!(
            "CREATE TABLE t (ts INT, device TEXT, v INT); {rows} INSERT INTO t SELECT {START} + i / 30 * 10, 'd' || i % 40, i % 900 FROM n"
        );
        rusqlite::Connection::open(home.path().join("in/rows.db")).unwrap().execute_batch(&sql).unwrap();
    }
    fs::write(home.path().join("t.yaml"), format!("name: t\ncheckpoint: {{ every: 15ms }}\n{SOURCES}{steps}")).unwrap();
    home
}

/// Every file that was written, unpacked, by its path.
fn written(directory: &Path, within: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{within}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            written(&entry.path(), &format!("{name}/"), files);
            continue;
        }
        if name.ends_with(".db") {
            files.insert(name, tables(&entry.path()).into_bytes());
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let mut text = Vec::new();
        if name.ends_with(".gz") {
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap();
        } else if name.ends_with(".zst") {
            text = zstd::decode_all(bytes.as_slice()).unwrap();
        } else {
            text = bytes;
        }
        files.insert(name, text);
    }
}

/// The rows of a database's tables in the order in which they were added, a line each. What the sink keeps for itself is
/// left out.
fn tables(database: &Path) -> String {
    let database = rusqlite::Connection::open(database).unwrap();
    let names =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_millstream%' ESCAPE '\\' ORDER BY 1";
    let mut statement = database.prepare(names).unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let mut text = String::new();
    for name in names {
        let mut statement = database.prepare(&format!("SELECT * FROM \"{name}\" ORDER BY rowid")).unwrap();
        let columns = statement.column_count();
        let row =
            |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>();
        for values in statement.query_map([], row).unwrap() {
            text += &format!("{name} {:?}\n", values.unwrap());
        }
    }
    text
}

/// What a run has left: its files, its ledger, its dead letters in no order.
#[derive(PartialEq)]
struct Left {
    files: BTreeMap<String, Vec<u8>>,
    ledger: Vec<Vec<Value>>,
    letters: Vec<Vec<Value>>,
}

fn left(home: &Path) -> Left {
    let mut files = BTreeMap::new();
    written(&home.join("out"), "", &mut files);
    let state = rusqlite::Connection::open(home.join(".millstream/t.db")).unwrap();
    let rows = |sql: &str| -> Vec<Vec<Value>> {
        let mut statement = state.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let letters = "SELECT entry, cause, reason, place, time, original FROM dead_letter ORDER BY 1, 2, 3, 4, 5, 6";
    Left { files, ledger: rows("SELECT * FROM ledger ORDER BY 1"), letters: rows(letters) }
}

fn assert_same(expected: &Left, found: &Left, context: &str) {
    let names = |left: &Left| left.files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "{context}: the files");
    for (name, bytes) in &expected.files {
        let other = &found.files[name];
        if bytes != other {
            let (a, b) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(other));
            let at = a.lines().zip(b.lines()).position(|(a, b)| a != b);
            let (lines, others) = (a.lines().count(), b.lines().count());
            let shown = at.map(|at| (a.lines().nth(at), b.lines().nth(at)));
            panic!("{context}: {name} has {others} lines, not {lines}; the first that differs is {at:?}: {shown:?}");
        }
    }
    assert_eq!(expected.ledger, found.ledger, "{context}: the ledger");
    assert_eq!(expected.letters.len(), found.letters.len(), "{context}: how many dead letters");
    assert!(expected.letters == found.letters, "{context}: the dead letters");
}

fn seed() -> u64 {
    let given = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1)
}

/// What an undisturbed run leaves, and how long it takes.
fn undisturbed(steps: &str) -> (Left, Duration) {
    let home = home(steps);
    let started = Instant::now();
    finish(start(home.path(), Run { workers: 2, fault: None }), "undisturbed");
    (left(home.path()), started.elapsed())
}

/// Runs a pipeline again and again, each time killed after a random time, until it comes to its end.
fn killed_at_any_moment(steps: &str) {
    let seed = seed();
    let mut numbers = Numbers(seed);
    let (expected, took) = undisturbed(steps);
    assert!(!expected.letters.is_empty() || steps == SCRIPTS, "the input has broken rows");
    let times: u64 = std::env::var("MILLSTREAM_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut kills = 0;
    while kills < KILLS * times {
        let home = home(steps);
        let mut history = Vec::new();
        loop {
            let run = Run { workers: 1 + numbers.below(4), fault: None };
            let delay = Duration::from_micros(numbers.below(took.as_micros() as u64 * 5 / 4));
            history.push((run.workers, delay));
            let context = format!("seed {seed}, killed after {history:?}");
            if kill_after(home.path(), start(home.path(), run), delay, &context) {
                break;
            }
            kills += 1;
            if history.len() >= 6 {
                finish(start(home.path(), Run { workers: 2, fault: None }), &context);
                break;
            }
        }
        assert_same(&expected, &left(home.path()), &format!("seed {seed}, killed after {history:?}"));
    }
}

#[test]
fn windows_survive_being_killed() {
    killed_at_any_moment(WINDOWS);
}

#[test]
fn sessions_survive_being_killed() {
    killed_at_any_moment(SESSIONS);
}

#[test]
fn scripts_survive_being_killed() {
    killed_at_any_moment(SCRIPTS);
}

#[test]
fn joins_survive_being_killed() {
    killed_at_any_moment(JOINS);
}

#[test]
fn tables_survive_being_killed() {
    killed_at_any_moment(TABLES);
}

#[test]
fn rows_of_a_database_survive_being_killed() {
    killed_at_any_moment(DATABASE);
}

/// Where a checkpoint, and the end of a run, can be cut in two.
const FAULTS: [&str; 14] = [
    "checkpoint.first",
    "checkpoint.slice",
    "checkpoint.gathered",
    "checkpoint.committed",
    "checkpoint.told",
    "checkpoint.last",
    "checkpoint.finishing",
    "checkpoint.complete",
    "sink.prepared",
    "sink.committed",
    "sink.appended",
    "sink.synced",
    "sink.renamed",
    "sink.named",
];

#[test]
fn a_crash_between_any_two_steps_of_a_checkpoint_leaves_nothing_undone() {
    let mut died = BTreeMap::new();
    for steps in [WINDOWS, SESSIONS, SCRIPTS, TABLES] {
        let (expected, _) = undisturbed(steps);
        for fault in FAULTS {
            for time in ["1", "4"] {
                let home = home(steps);
                let asked = format!("{fault}:{time}");
                let mut child = start(home.path(), Run { workers: 2, fault: Some(&asked) });
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                let status = child.wait().unwrap();
                if status.success() {
                    break;
                }
                assert!(said.contains("dies at"), "{asked}: {status}: {said}");
                *died.entry(fault).or_insert(0) += 1;
                finish(start(home.path(), Run { workers: 3, fault: None }), &asked);
                assert_same(&expected, &left(home.path()), &asked);
            }
        }
    }
    for fault in FAULTS {
        assert!(died.contains_key(fault), "nothing died at `{fault}`");
    }
}
