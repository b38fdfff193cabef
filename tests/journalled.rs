//! A source whose events cannot be asked for again, in a process that is killed at any moment: an event that is read from the
//! journal has arrived when it first did, and the journal holds no more than what no checkpoint does.
//!
//! `MILLSTREAM_SEED` repeats a run that failed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/inputs.rs"]
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use inputs::Numbers;
use millstream::base::diag::Severity;
use millstream::base::time::TimeSpan;
use millstream::config::{self, Pipeline, Registry};
use millstream::connector::{OpenContext, Sink};
use millstream::connectors::journalled::{Producer, journalled};
use millstream::connectors::{SINKS, SOURCES};
use millstream::engine::keeper::StateKeeper;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::run::{Input, Options, Outcome, run};
use millstream::plan::{NodeId, NodeKind};
use millstream::store::journal::{Journal, Settings};
use millstream::store::state::{Holder, StateFile};
use serde_json::Value;

const EVENTS: u64 = 400;
/// Bytes that the journal may hold: a tenth of all events.
const JOURNAL: u64 = 48 << 10;
const SEGMENT: u64 = 8 << 10;

/// The place of the source is taken by a journal.
const PIPELINE: &str = "
name: t
sources:
  events: { generate: { fields: { n: 1 } } }
steps:
  numbered: { set: { at: meta.offset } }
  moments:
    window: { tumbling: 10ms, by: [id, at], aggregate: { n: count() } }
sinks:
  all: { from: numbered, file: { path: all.ndjson } }
  out: { from: moments, file: { path: out.ndjson } }
";

/// The process that is killed: takes a line of standard input as an event and says so when it is durable. Runs only where a
/// test has started it.
#[test]
fn child() {
    let Some(home) = std::env::var_os("MILLSTREAM_JOURNAL_HOME").map(PathBuf::from) else { return };
    let registry = Registry { sources: SOURCES, sinks: SINKS };
    let pipeline = config::load(&home.join("t.yaml"), &registry, &|_| None, Severity::Error).pipeline.unwrap();
    let holder = Holder { pipeline: "t.yaml".into(), command: "run".into() };
    let file = StateFile::open(&home.join("t.db"), &holder).unwrap();
    let (mut keeper, resumed) = StateKeeper::open(file, &pipeline.plan).unwrap();
    let settings = Settings { segment_bytes: SEGMENT, max_bytes: JOURNAL };
    let journal = Arc::new(Journal::open(&home.join("journal"), settings).unwrap());
    let (producer, partition) = journalled(&journal, "events", "").unwrap();
    let graph = lower(&pipeline.plan, Lowering { shares: 2, track: true }).unwrap();
    let marks = resumed.as_ref().map(|resumed| &resumed.marks);
    let sinks = graph.sink_nodes().iter().map(|node| sink(&pipeline, *node, marks)).collect();
    let hour = TimeSpan::seconds(3600);
    let input = Input {
        partitions: vec![partition],
        watch: None,
        bounded: false,
        out_of_order: TimeSpan::ZERO,
        idle_after: hour,
    };
    let options =
        Options { workers: 2, checkpoint_every: Duration::from_millis(20), max_keys: None, max_state_bytes: None };
    let stood = resumed.map(|resumed| resumed.stood);
    let summary = run(graph, vec![input], sinks, &options, (stood.as_ref(), None, &mut keeper), &mut |handle| {
        let producer = producer.clone();
        std::thread::spawn(move || {
            take(&producer);
            handle.stop();
        });
    });
    assert_eq!(summary.outcome, Outcome::Stopped);
}

fn sink(
    pipeline: &Pipeline,
    id: NodeId,
    marks: Option<&std::collections::HashMap<String, BTreeMap<String, String>>>,
) -> Box<dyn Sink> {
    let node = pipeline.plan.node(id).unwrap();
    let NodeKind::Sink(sink) = &node.kind else { panic!("it is no sink") };
    let kind = SINKS.iter().find(|kind| kind.name == sink.connector).unwrap();
    let context = OpenContext {
        directory: pipeline.directory.clone(),
        name: node.name.clone(),
        seed: 1,
        bounded: false,
        header: None,
        json: true,
        meta: Vec::new(),
        journal: std::path::PathBuf::new(),
        link: Default::default(),
        marks: marks.map(|marks| marks.get(&node.name).cloned().unwrap_or_default()),
        stood: None,
    };
    (kind.open)(&sink.options, context).map_err(|e| e.message()).unwrap()
}

fn take(producer: &Producer) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for line in std::io::stdin().lines() {
        let bytes = line.unwrap().into_bytes();
        let ends = vec![u32::try_from(bytes.len()).unwrap()];
        runtime.block_on(producer.offer(bytes, ends)).unwrap();
        // Written at once and whatever the test does with what is printed.
        std::io::stdout().lock().write_all(b"taken\n").unwrap();
    }
}

/// The process, and the way to it.
struct Started {
    child: Child,
    events: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

fn start(home: &Path) -> Started {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("MILLSTREAM_JOURNAL_HOME", home);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (events, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Started { child, events, said: BufReader::new(said).lines() }
}

impl Started {
    fn send(&mut self, event: &str) {
        writeln!(self.events, "{event}").unwrap();
    }

    /// Whether an event was acknowledged before the process was gone.
    fn taken(&mut self) -> bool {
        self.said.by_ref().map_while(Result::ok).any(|line| line == "taken")
    }

    fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        let taken = self.taken();
        self.child.wait().unwrap();
        taken
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn rows(home: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(home.join(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An event's number and its place in the journal; none of those that only let time pass.
fn keys(rows: &[Value]) -> Vec<(u64, u64)> {
    let key = |row: &Value| Some((row["id"].as_u64()?, row["at"].as_u64()?));
    rows.iter().filter_map(key).collect()
}

fn journal_bytes(home: &Path) -> u64 {
    fs::read_dir(home.join("journal")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// When an event was sent, and when it was taken or the process was gone.
type Sent = (u64, u64);

/// Sends all events; the process is killed after some of them, and asked again where it did not answer.
fn send_all(home: &Path, numbers: &mut Numbers) -> (Started, Vec<Sent>, u64) {
    let (mut started, mut sent, mut killed) = (start(home), Vec::new(), 0);
    for id in 0..EVENTS {
        let event = format!("{{\"id\":{id},\"filling\":\"{}\"}}", "x".repeat(numbers.below(2_000) as usize));
        let before = now();
        let mut taken = false;
        while !taken {
            started.send(&event);
            if numbers.below(25) == 0 {
                std::thread::sleep(Duration::from_micros(numbers.below(6_000)));
                taken = started.kill();
                killed += 1;
                started = start(home);
            } else {
                taken = started.taken();
                assert!(taken, "it ended by itself");
            }
        }
        sent.push((before, now()));
    }
    (started, sent, killed)
}

#[test]
fn what_was_acknowledged_is_processed_once_and_leaves_the_journal() {
    let given = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| now() | 1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), PIPELINE).unwrap();
    let (mut started, sent, killed) = send_all(home, &mut Numbers(seed));
    // Time passes with what arrives: the last windows close.
    let begun = Instant::now();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    while all.len() < sent.len() || all.len() != out.len() {
        assert!(begun.elapsed() < Duration::from_secs(60), "seed {seed}: {} of {}", out.len(), all.len());
        started.send("{\"id\":null}");
        assert!(started.taken());
        (all, out) = (keys(&rows(home, "all.ndjson")), keys(&rows(home, "out.ndjson")));
    }
    let Started { mut child, events, said } = started;
    drop(events);
    assert!(child.wait().unwrap().success());
    drop(said);
    assert!(killed > 2, "seed {seed}");
    let ids: BTreeSet<u64> = all.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), sent.len(), "seed {seed}: every event is there");
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "seed {seed}: nothing in the journal is processed twice");
    assert!(all.len() as u64 <= EVENTS + killed, "seed {seed}: {} rows", all.len());
    for row in rows(home, "out.ndjson").iter().filter(|row| !row["id"].is_null()) {
        let time = |field: &str| row[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let (before, after) = sent[row["id"].as_u64().unwrap() as usize];
        let arrived = time("window_start") as u64 <= after && before < time("window_end") as u64;
        assert!(arrived, "seed {seed}: sent from {before} to {after}: {row}");
        assert_eq!(row["n"], 1, "seed {seed}: {row}");
    }
    let left = journal_bytes(home);
    assert!(left <= 2 * SEGMENT, "seed {seed}: {left} bytes are left");
}

/// Events are refused that are more than 10 s ahead of the clock.
const AHEAD: &str = "
name: t
sources:
  events:
    generate: { fields: { n: 1 } }
    time: { field: ts, format: unix_ms, max_future: 10s }
sinks:
  all: { from: events, file: { path: all.ndjson } }
";

#[test]
fn what_was_ahead_of_the_clock_stays_so_when_it_is_read_again() {
    /// Milliseconds by which they are too far ahead.
    const BY: u64 = 300;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("t.yaml"), AHEAD).unwrap();
    let mut started = start(home);
    let mut refused = BTreeSet::new();
    for id in 0..8u32 {
        let before = now() / 1_000;
        started.send(&format!("{{\"id\":{id},\"ts\":{}}}", before + 10_000 + BY));
        assert!(started.taken());
        // On a slow machine it may be near enough by then.
        if now() / 1_000 < before + BY {
            refused.insert(id);
        }
        started.kill();
        while now() / 1_000 <= before + BY {
            std::thread::sleep(Duration::from_millis(10));
        }
        started = start(home);
    }
    while rows(home, "all.ndjson").is_empty() {
        started.send(&format!("{{\"id\":null,\"ts\":{}}}", now() / 1_000));
        assert!(started.taken());
    }
    let Started { mut child, events, said } = started;
    drop(events);
    assert!(child.wait().unwrap().success());
    drop(said);
    let state = rusqlite::Connection::open(home.join("t.db")).unwrap();
    let mut statement = state.prepare("SELECT json_extract(CAST(original AS TEXT), '$.id') FROM dead_letter").unwrap();
    let letters: Vec<u32> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let distinct: BTreeSet<u32> = letters.iter().copied().collect();
    assert_eq!(letters.len(), distinct.len(), "{letters:?}");
    assert!(refused.len() > 2 && refused.is_subset(&distinct), "{refused:?} of {distinct:?}");
    let taken = rows(home, "all.ndjson").iter().filter(|row| !row["id"].is_null()).count();
    assert_eq!(taken + distinct.len(), 8);
}
