//! The verbs that read what a pipeline keeps, on the real binary: `status`, `state`, `dead-letters`.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use std::path::{Path, PathBuf};
use std::process::Output;

use millstream::base::diag::Severity;
use millstream::config::{self, Registry};
use millstream::connectors::{SINKS, SOURCES};
#[path = "support/program.rs"]
mod program;

use millstream::data::hash::hash_key;
use millstream::data::value::{Val, Value};
use millstream::engine::epoch::{Epoch, Keeper};
use millstream::engine::keeper::StateKeeper;
use millstream::engine::state::encode;
use millstream::plan::{NodeId, Port};
use millstream::store::rows::{
    Cause, Commit, DeadLetter, HandedRow, LedgerRow, Origin, PartitionRow, StateRow, Status, StepRow,
};
use millstream::store::state::{Holder, StateFile, StateReader};
use serde::Serialize;
use tempfile::TempDir;

use program::{command, text};

const PIPELINE: &str = "
name: minutes
sources:
  in:
    file: { path: 'data/*.ndjson' }
    time: { field: ts, out_of_order: 5s }
steps:
  ok:
    filter: status == \"ok\"
  w:
    window:
      tumbling: 10s
      by: [device, room]
      aggregate: { n: count() }
sinks:
  out: { file: { path: out.ndjson } }
";

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;

/// What a step keeps.
#[derive(Serialize)]
struct Kept {
    start: i64,
    last: Value,
}

fn state_row(device: &str, room: i64) -> StateRow {
    let parts = [Value::Text(device.into()), Value::Int(room)];
    let value = Kept { start: START, last: Value::Text(format!("of {device}").into()) };
    StateRow {
        hash: hash_key(&[Val::Text(device), Val::Int(room)]),
        key: encode(&parts.as_slice()).expect("a key"),
        value: Some(encode(&value).expect("a value")),
    }
}

fn commit() -> Commit {
    let partition = |name: &str, position, greatest, ended| PartitionRow {
        source: "in".into(),
        name: name.into(),
        stream: String::new(),
        position,
        greatest,
        ended,
    };
    let ledger = |entry: &str, taken, passed| LedgerRow { entry: entry.into(), taken, passed, ..LedgerRow::default() };
    let handed = |entry: &str, input: &str, rows| HandedRow { entry: entry.into(), input: input.into(), rows };
    let letter = |entry: &str, cause, reason: &str, time, original: &[u8]| DeadLetter {
        entry: entry.into(),
        cause,
        reason: reason.into(),
        place: "byte 7".into(),
        time,
        origin: Origin::Row,
        header: None,
        original: original.into(),
    };
    Commit {
        status: Status::Stopped,
        partitions: vec![
            partition("data/a.ndjson", 123_456, START + 7_500_000, false),
            partition("data/b.ndjson", 0, i64::MIN, true),
        ],
        gone: vec![],
        steps: vec![StepRow { name: "w".into(), meaning: "{}".into(), watermark: START }],
        changes: vec![("w".into(), vec![state_row("a", 1), state_row("a", 2), state_row("b, \"c\"", 1)].into())],
        marks: vec![],
        ledger: vec![
            LedgerRow { failed: 2, dead: 2, ..ledger("in", 1_003, 1_001) },
            LedgerRow { filtered: 1, ..ledger("ok", 1_001, 1_000) },
            LedgerRow { held: 990, late: 10, dead: 1, made: 4, ..ledger("w", 1_000, 4) },
            ledger("out", 4, 4),
        ],
        handed: vec![handed("ok", "in", 1_001), handed("w", "ok", 1_000), handed("out", "w", 4)],
        dead_letters: vec![
            letter("in", Cause::Error, "this is not JSON", None, b"{\"a\": \x1b[31m"),
            letter("in", Cause::Error, "this is not valid UTF-8", None, b"\xff\xfe"),
            letter("w", Cause::Late, "its window is gone", Some(START), b"{\"device\":\"a\"}"),
        ],
        sent_again: vec![],
        returned: vec![],
        taken_in: vec![],
        now: START + 60_000_000,
    }
}

/// A directory with a pipeline and a state in `data`, as a run that was stopped leaves it.
fn stopped(commits: &[Commit]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("p.yaml"), PIPELINE).expect("written");
    let mut file = open(&directory);
    file.begin(START, Vec::new()).expect("it begins");
    for commit in commits {
        file.commit(commit).expect("it commits");
    }
    directory
}

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("data/minutes.db")
}

fn open(directory: &TempDir) -> StateFile {
    let holder = Holder { pipeline: "p.yaml".into(), command: "run".into() };
    StateFile::open(&path(directory), &holder).expect("a state")
}

fn millstream(directory: &TempDir, arguments: &[&str]) -> Output {
    command(directory.path(), arguments).env("MILLSTREAM_DATA", "data").output().expect("it runs")
}

/// What it printed, if it went well.
fn printed(directory: &TempDir, arguments: &[&str]) -> String {
    let output = millstream(directory, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What it said, and its exit code, where it did not go well.
fn refused(directory: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = millstream(directory, arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    (output.status.code(), text(&output.stderr))
}

/// Without sizes of files, which are SQLite's.
fn without_sizes(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in lines.iter_mut().filter(|line| line.starts_with("state: ")) {
        let (before, after) =
            (line.split(", ").next().unwrap_or_default(), line.split("; ").nth(1).unwrap_or_default());
        *line = format!("{before}, …; {after}");
    }
    lines.join("\n")
}

#[test]
fn nobody_else_can_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().expect("a directory");
    let yaml = "sources: { in: { generate: { count: 3, fields: { n: 1 } } } }\nsinks: { out: { discard: {} } }\n";
    std::fs::write(directory.path().join("p.yaml"), yaml).expect("written");
    printed(&directory, &["run", "p.yaml"]);
    let kept = directory.path().join("data");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&kept), mode(&kept.join("p.db")), mode(&kept.join("p.db.lock"))), (0o700, 0o600, 0o600));
    printed(&directory, &["backup", "p.yaml", "--to", "copies/new"]);
    let copies = directory.path().join("copies/new");
    assert_eq!((mode(&copies), mode(&copies.join("p.db"))), (0o700, 0o600));
}

#[test]
fn status_says_how_far_a_pipeline_is() {
    let directory = stopped(&[commit()]);
    insta::assert_snapshot!("status", without_sizes(&printed(&directory, &["status", "p.yaml"])));
    let json: serde_json::Value =
        serde_json::from_str(&printed(&directory, &["status", "p.yaml", "--format", "json"])).expect("JSON");
    assert_eq!((&json["status"], &json["epoch"], &json["held_by"]), (&"stopped".into(), &1.into(), &().into()));
    assert_eq!(json["partitions"][0]["watermark"], "2026-01-01T00:00:02.5Z");
    assert_eq!(json["ledger"][2]["held"], 990);
    assert_eq!(json["dead_letters"]["letters"], 3);
    let elsewhere = PIPELINE.replace("name: minutes", "name: minutes\nstate: kept/here.db");
    std::fs::write(directory.path().join("q.yaml"), elsewhere).expect("written");
    let output = printed(&directory, &["status", "q.yaml"]);
    assert_eq!(output, "minutes: never ran\nstate: kept/here.db; nobody has it open\n");
    // Where there is no state that is said, and is no failure.
    let output = printed(&directory, &["status", "p.yaml", "--data", "elsewhere"]);
    assert_eq!(output, "minutes: never ran\nstate: elsewhere/minutes.db; nobody has it open\n");
}

#[test]
fn a_ledger_that_does_not_balance_is_a_failure() {
    let mut commit = commit();
    commit.ledger[1].filtered = 0;
    let directory = stopped(&[commit]);
    let output = millstream(&directory, &["status", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let sentence =
        "error: the ledger does not balance: 1,001 rows came into `ok` or were made there, 1,000 are accounted for";
    assert!(text(&output.stdout).contains(sentence), "{}", text(&output.stdout));
}

#[test]
fn what_was_handed_to_an_entry_and_not_taken_in_is_a_failure() {
    let mut commit = commit();
    commit.handed[0].rows = 1_000;
    let directory = stopped(&[commit]);
    let output = millstream(&directory, &["status", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let sentence = "error: the ledger does not balance: 1,000 rows were handed to `ok`, and it took in 1,001";
    assert!(text(&output.stdout).contains(sentence), "{}", text(&output.stdout));
    let json = text(&millstream(&directory, &["status", "--format", "json", "p.yaml"]).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let balances = |entry: usize| &json["ledger"][entry]["balances"];
    assert_eq!((balances(0), balances(1)), (&true.into(), &false.into()));
}

#[test]
fn a_ledger_of_before_inputs_were_counted_goes_on() {
    let directory = stopped(&[Commit { handed: vec![], ..commit() }]);
    printed(&directory, &["status", "p.yaml"]);
    let registry = Registry { sources: SOURCES, sinks: SINKS };
    let file = directory.path().join("p.yaml");
    let pipeline = config::load(&file, &registry, &|_| None, Severity::Error).pipeline.expect("it is right");
    let (mut keeper, resumed) = StateKeeper::open(open(&directory), &pipeline.plan).expect("it opens");
    assert!(resumed.is_some());
    // One more row goes from the source to the step.
    let node = |name: &str| {
        let index = pipeline.plan.nodes.iter().position(|node| node.name == name).expect("an entry");
        NodeId(u16::try_from(index).expect("few"))
    };
    let mut epoch = Epoch::default();
    for (name, from) in [("in", None), ("ok", Some("in"))] {
        let entry = epoch.counted.of(node(name));
        (entry.tally.taken, entry.tally.passed) = (1, 1);
        if let Some(from) = from {
            entry.hand(node(from), &Port::Main, 1);
        }
    }
    epoch.held.insert(node("w"), 990);
    keeper.commit(epoch, Status::Stopped).expect("it commits");
    assert_eq!(keeper.imbalances(), []);
    drop(keeper);
    printed(&directory, &["status", "p.yaml"]);
    let reader = StateReader::open(&path(&directory)).expect("a state");
    let handed = &reader.kept().expect("a run").handed;
    let of_step: Vec<(&str, u64)> =
        handed.iter().filter(|row| row.entry == "ok").map(|row| (row.input.as_str(), row.rows)).collect();
    assert_eq!(of_step, [("(before)", 1_001), ("in", 1)]);
}

#[test]
fn everything_that_reads_works_beside_a_running_process_and_what_changes_is_refused() {
    let directory = stopped(&[]);
    let mut file = open(&directory);
    file.commit(&Commit { status: Status::Running, ..commit() }).expect("it commits");
    let output = printed(&directory, &["status", "p.yaml"]);
    let (runs, who) = ("minutes: runs (run 1, checkpoint 1,", format!("process {}", std::process::id()));
    assert!(output.starts_with(runs) && output.contains(&who), "{output}");
    assert_eq!(printed(&directory, &["state", "p.yaml", "w"]).lines().count(), 3);
    assert_eq!(printed(&directory, &["dead-letters", "export", "p.yaml"]).lines().count(), 3);
    printed(&directory, &["state", "check", "p.yaml"]);
    let changes: [&[&str]; 2] =
        [&["state", "p.yaml", "w", "--delete", "--key", "[\"a\",1]"], &["dead-letters", "purge", "p.yaml", "--all"]];
    for change in changes {
        let (code, said) = refused(&directory, change);
        assert!(code == Some(1) && said.contains("is in use by `millstream run p.yaml`"), "{said}");
    }
    drop(file);
    let output = printed(&directory, &["status", "p.yaml"]);
    assert!(output.starts_with("minutes: ended unexpectedly; `run` goes on"), "{output}");
}

#[test]
fn state_is_shown_exported_and_deleted_by_key() {
    let directory = stopped(&[commit()]);
    insta::assert_snapshot!("state", printed(&directory, &["state", "p.yaml"]));
    insta::assert_snapshot!("state_rows", printed(&directory, &["state", "p.yaml", "w"]));
    insta::assert_snapshot!("state_csv", printed(&directory, &["state", "p.yaml", "w", "--format", "csv"]));
    let key = "[\"a\", 2.0]";
    let row = "{\"key\":[\"a\",2],\"value\":{\"start\":1767225600000000,\"last\":\"of a\"}}\n";
    assert_eq!(printed(&directory, &["state", "p.yaml", "w", "--key", key, "--format", "ndjson"]), row);
    assert_eq!(
        printed(&directory, &["state", "p.yaml", "w", "--key", key, "--delete"]),
        format!("`w` has forgotten the key `{key}`\n")
    );
    let (code, said) = refused(&directory, &["state", "p.yaml", "w", "--key", key]);
    assert_eq!((code, said), (Some(1), format!("error: `w` keeps nothing for the key `{key}`\n")));
    assert_eq!(printed(&directory, &["state", "p.yaml", "w"]).lines().count(), 2);
    let checked = printed(&directory, &["state", "check", "p.yaml"]);
    assert_eq!(checked, "minutes: all in order: 2 keys and 3 dead letters are what was written\n");
    let (code, said) = refused(&directory, &["state", "p.yaml", "v"]);
    assert!(code == Some(2) && said.contains("there is no step `v`; the steps are ok, w"), "{said}");
    let (code, said) = refused(&directory, &["state", "p.yaml", "ok"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: `ok` keeps nothing\n"));
    let (code, said) = refused(&directory, &["state", "p.yaml", "--data", "none"]);
    assert!(code == Some(1) && said.contains("`p.yaml` has no state"), "{said}");
}

#[test]
fn a_damaged_state_is_said_by_every_verb() {
    let directory = stopped(&[commit()]);
    let mut bytes = std::fs::read(path(&directory)).expect("a file");
    let at = bytes.windows(13).position(|window| window == b"data/a.ndjson").expect("a partition");
    bytes[at + 5] = b'c';
    std::fs::write(path(&directory), bytes).expect("written");
    let verbs: [&[&str]; 4] = [
        &["status", "p.yaml"],
        &["state", "p.yaml"],
        &["state", "check", "p.yaml"],
        &["dead-letters", "list", "p.yaml"],
    ];
    for verb in verbs {
        let (code, said) = refused(&directory, verb);
        assert!(code == Some(1) && said.contains("is damaged") && said.contains("run --fresh"), "{said}");
    }
    std::fs::write(directory.path().join("data/a.ndjson"), "").expect("written");
    let (code, said) = refused(&directory, &["run", "p.yaml"]);
    assert!(code == Some(1) && said.contains("is damaged"), "{said}");
    let (code, said) = refused(&directory, &["run", "p.yaml", "--fresh"]);
    assert!(code == Some(0) && said.contains("is now `data/minutes.db.damaged`"), "{said}");
    assert!(printed(&directory, &["status", "p.yaml"]).starts_with("minutes: complete"));
}

#[test]
fn dead_letters_are_listed_shown_exported_and_purged() {
    let directory = stopped(&[commit()]);
    insta::assert_snapshot!("dead_letters", printed(&directory, &["dead-letters", "list", "p.yaml"]));
    let first = printed(&directory, &["dead-letters", "list", "p.yaml", "--limit", "1"]);
    assert!(first.lines().count() == 3 && first.contains("`--after 1` goes on"), "{first}");
    let rest = printed(&directory, &["dead-letters", "list", "p.yaml", "--after", "1", "--format", "ndjson"]);
    assert!(rest.lines().count() == 2 && rest.contains("\"original_base64\":\"//4=\""), "{rest}");
    insta::assert_snapshot!("dead_letter", printed(&directory, &["dead-letters", "show", "p.yaml", "1"]));
    let raw = millstream(&directory, &["dead-letters", "show", "p.yaml", "2", "--raw"]);
    assert_eq!(raw.stdout, b"\xff\xfe");
    let (code, said) = refused(&directory, &["dead-letters", "show", "p.yaml", "9"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: there is no dead letter 9\n"));
    printed(&directory, &["dead-letters", "export", "p.yaml", "--cause", "late", "-o", "late.ndjson"]);
    insta::assert_snapshot!("late", std::fs::read_to_string(directory.path().join("late.ndjson")).expect("a file"));
    let (code, said) = refused(&directory, &["dead-letters", "purge", "p.yaml"]);
    assert!(code == Some(2) && said.contains("`--all`"), "{said}");
    let since = ["--entry", "in", "--before", "2026-01-02T00:00:00Z"];
    let purge = [&["dead-letters", "purge", "p.yaml"], &since[..]].concat();
    assert_eq!(printed(&directory, &[&purge[..], &["--dry-run"]].concat()), "2 dead letters would go\n");
    assert_eq!(printed(&directory, &purge), "2 dead letters purged\n");
    assert_eq!(printed(&directory, &["dead-letters", "list", "p.yaml"]).lines().count(), 2);
    assert_eq!(printed(&directory, &["dead-letters", "purge", "p.yaml", "--all"]), "1 dead letter purged\n");
    assert_eq!(printed(&directory, &["dead-letters", "list", "p.yaml"]), "no dead letters\n");
}
