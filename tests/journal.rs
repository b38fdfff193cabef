//! The journal under a process that dies: what was acknowledged is there afterwards, and in the engine's results once.
//! A child process is this test again, told by the environment what to do. `MILLSTREAM_CRASHES` says how often it dies.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on says why")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use millstream::base::time::TimeSpan;
use millstream::connector::{BoxFuture, Encoded, End, Prepared, Sink, SinkError};
use millstream::connectors::journalled::{Producer, journalled};
use millstream::engine::keeper::StateKeeper;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::run::{Input, Options, Outcome, run};
use millstream::store::journal::{Journal, Kind, Settings, SourceId};
use millstream::store::state::{Holder, StateFile};

/// What a child does.
const ROLE: &str = "JOURNAL_ROLE";
/// Where, and which round it is.
const PLACE: &str = "JOURNAL_PLACE";
const ROUND: &str = "JOURNAL_ROUND";

/// Small files, so that there are many.
const SETTINGS: Settings = Settings { segment_bytes: 16 << 10, max_bytes: 1 << 30 };

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn seeded(test: &str) -> Random {
        let set = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = set.unwrap_or_else(|| u64::from(std::process::id()) * 7919);
        println!("{test}: MILLSTREAM_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn rounds(default: u64) -> u64 {
    std::env::var("MILLSTREAM_CRASHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

fn command(role: &str, place: &Path, round: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, role).env(PLACE, place).env(ROUND, round.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The lines of a child that are for its parent, until it has said `lines` of them; then it is killed, and those that it
/// had said meanwhile follow.
fn killed_after(mut child: Child, lines: u64) -> Vec<String> {
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(line) = line.split_once("> ").map(|(_, line)| line.to_owned()) {
            said.push(line);
        }
        if said.len() as u64 == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    said
}

/// One line to the parent, written at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads on when the parent's test has failed.
    let _ = out.write_all(format!("\n> {line}\n").as_bytes()).and_then(|()| out.flush());
}

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var(PLACE).unwrap());
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    match role.as_str() {
        "append" => append_for_ever(&place, round),
        "fill" => append_until_it_fails(&place),
        "process" => process(&place, Some(round)),
        "finish" => process(&place, None),
        _ => panic!("no such role"),
    }
    std::process::exit(0);
}

/// Four threads append and say what was acknowledged; one lets go of what is covered, and says so before.
fn append_for_ever(place: &Path, round: u64) {
    let journal = Journal::open(place, SETTINGS).unwrap();
    say(&format!("opened {}", journal.torn()));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let journal = &journal;
            scope.spawn(move || {
                let mut random = Random(round * 4 + thread);
                let id = journal.source(&format!("thread {thread}")).unwrap();
                for n in 0u64.. {
                    let payloads: Vec<String> = (0..1 + random.below(5))
                        .map(|part| format!("{round}.{n}.{part}{}", "x".repeat(random.below(300) as usize)))
                        .collect();
                    let slices = payloads.iter().map(String::as_bytes);
                    let appended = journal.append(id, Kind::EVENT, slices).unwrap().wait().unwrap();
                    let acknowledged: Vec<String> =
                        appended.sequences.zip(&payloads).map(|(s, text)| format!("{s}={text}")).collect();
                    say(&format!("acknowledged {thread} {}", acknowledged.join(" ")));
                    if random.below(20) == 0 {
                        let up_to = journal.next() - random.below(200).min(journal.next() - 1);
                        say(&format!("cut {up_to}"));
                        journal.cut(up_to).unwrap();
                    }
                }
            });
        }
    });
}

/// What a journal holds: source and payload by sequence number.
fn held(place: &Path) -> (BTreeMap<u64, (SourceId, String)>, u64, Range<u64>) {
    let journal = Journal::open(place, SETTINGS).unwrap();
    let mut held = BTreeMap::new();
    for record in journal.read_from(0).unwrap() {
        let record = record.unwrap();
        held.insert(record.sequence, (record.source, String::from_utf8(record.payload.to_vec()).unwrap()));
    }
    let next = journal.next();
    let first = held.keys().next().copied().unwrap_or(next);
    assert_eq!(held.len() as u64, next - first, "no number is missing");
    (held, journal.torn(), first..next)
}

#[test]
fn what_was_acknowledged_survives_being_killed() {
    let mut random = Random::seeded("append");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("x.journal");
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    let (mut cut, mut ends, mut torn, mut count) = (1u64, 1, 0, 0);
    let points = ["written", "synced", "segment_written", "segment_made", "removed"];
    for round in 0..rounds(40) {
        let mut command = command("append", &place, round);
        if random.below(3) == 0 {
            let point = points[random.below(points.len() as u64) as usize];
            command.env("MILLSTREAM_FAULT", format!("journal.{point}:{}", 1 + random.below(10)));
        }
        let said = killed_after(command.spawn().unwrap(), 1 + random.below(120));
        assert!(said.first().is_none_or(|line| line.starts_with("opened ")), "{said:?}");
        for line in &said {
            let mut words = line.split(' ');
            match words.next() {
                Some("acknowledged") => {
                    for (sequence, text) in words.skip(1).filter_map(|word| word.split_once('=')) {
                        count += 1;
                        let other = acknowledged.insert(sequence.parse().unwrap(), text.to_owned());
                        assert_eq!(other, None, "a number that was acknowledged is not given again");
                    }
                }
                Some("cut") => cut = cut.max(words.next().unwrap().parse().unwrap()),
                _ => {}
            }
        }
        let (held, torn_now, range) = held(&place);
        torn += u64::from(torn_now > 0);
        assert!(range.end >= ends && range.start <= cut, "round {round}: {range:?} {ends} {cut}");
        ends = range.end;
        acknowledged.retain(|sequence, _| *sequence >= cut);
        for (sequence, text) in &acknowledged {
            let is = held.get(sequence).map(|(_, text)| text);
            assert_eq!(is, Some(text), "round {round}: record {sequence} was acknowledged");
        }
        // Of each thread in the order that it appended in.
        let mut latest: HashMap<SourceId, Vec<u64>> = HashMap::new();
        for (source, text) in held.values() {
            let key: Vec<u64> = text.trim_end_matches('x').split('.').map(|part| part.parse().unwrap()).collect();
            if let Some(before) = latest.insert(*source, key.clone()) {
                assert!(before < key, "{before:?} {key:?}");
            }
        }
    }
    println!("{count} records acknowledged, up to number {ends}; {torn} unfinished writes cut");
}

/// Appends until nothing is taken, and then some.
fn append_until_it_fails(place: &Path) {
    let journal = Journal::open(place, Settings { segment_bytes: 1 << 30, ..Settings::default() }).unwrap();
    let id = journal.source("a").unwrap();
    let mut refused = 0;
    while refused < 3 {
        let text = "x".repeat(1_000);
        match journal.append(id, Kind::EVENT, std::iter::once(text.as_bytes())).and_then(|ticket| ticket.wait()) {
            Ok(appended) => say(&format!("acknowledged {}", appended.sequences.start)),
            Err(why) => {
                refused += 1;
                say(&format!("refused {}", why.message()));
            }
        }
    }
}

/// A file that may not grow is what a full disk looks like: part of a write succeeds, the next fails.
#[test]
fn a_disk_that_takes_no_more_is_said_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("x.journal");
    let child = command("fill", &place, 0);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""])
        .arg(child.get_program())
        .args(child.get_args());
    shell.envs(child.get_envs().map(|(name, value)| (name, value.unwrap())));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let said = killed_after(shell.spawn().unwrap(), u64::MAX);
    let (taken, refused): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.starts_with("acknowledged"));
    assert!(taken.len() > 10 && refused.len() == 3, "{said:?}");
    let why = "cannot be written: a file may not grow any larger; raise the limit and start again";
    assert!(refused.iter().all(|line| line.ends_with(why)), "{refused:?}");
    let (held, torn, _) = held(&place);
    assert!(torn > 0);
    let numbers: Vec<String> = held.keys().map(|number| format!("acknowledged {number}")).collect();
    assert!(taken.into_iter().eq(&numbers));
}

const PIPELINE: &str = "
name: t
sources:
  orders: { file: { path: none }, time: { field: ts, format: unix } }
  refunds: { file: { path: none }, time: { field: ts, format: unix } }
steps:
  all:
    from: [orders, refunds]
    window:
      tumbling: 1d
      by: source
      aggregate: { n: count(), ids: 'collect(id, 10000)' }
sinks:
  out: { from: all, discard: {} }
";

/// Says every row.
struct Said;

impl Sink for Said {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        std::str::from_utf8(&rows.text).unwrap().lines().for_each(|row| say(&format!("row {row}")));
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(&mut self, _: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(std::future::ready(Ok(Prepared::default())))
    }
}

/// Runs the pipeline over two journalled sources; with a round, events are brought for as long as it lives.
fn process(place: &Path, round: Option<u64>) {
    let journal = Arc::new(Journal::open(&place.join("x.journal"), SETTINGS).unwrap());
    let pipeline = support::pipeline(PIPELINE);
    let graph = lower(&pipeline.plan, Lowering { shares: 2, track: true }).unwrap();
    let mut inputs = Vec::new();
    let mut producers = Vec::new();
    for name in ["orders", "refunds"] {
        let (producer, partition) = journalled(&journal, name, "").unwrap();
        inputs.push(Input {
            partitions: vec![partition],
            watch: None,
            bounded: round.is_none(),
            out_of_order: TimeSpan::default(),
            idle_after: TimeSpan::seconds(30),
        });
        producers.push((name, producer));
    }
    let holder = Holder { pipeline: "t.yaml".into(), command: "run".into() };
    let file = StateFile::open(&place.join("t.db"), &holder).unwrap_or_else(|e| panic!("{}", e.message));
    let (mut keeper, resumed) = StateKeeper::open(file, &pipeline.plan).unwrap();
    let stood = resumed.map(|resumed| resumed.stood);
    match round {
        Some(round) => drop(std::thread::spawn(move || bring(producers, round))),
        None => drop(producers),
    }
    let options =
        Options { workers: 2, checkpoint_every: Duration::from_millis(5), max_keys: None, max_state_bytes: None };
    let summary = run(graph, inputs, vec![Box::new(Said)], &options, (stood.as_ref(), None, &mut keeper), &mut |_| {});
    assert_eq!(summary.outcome, Outcome::Complete);
    say("complete");
}

/// Brings events from three tasks a source, and says which were acknowledged.
fn bring(producers: Vec<(&'static str, Producer)>, round: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for n in 0..50 {
            let mut tasks = tokio::task::JoinSet::new();
            for (name, producer) in &producers {
                for task in 0..3 {
                    let (producer, name) = (producer.clone(), *name);
                    tasks.spawn(async move {
                        let ids = [0, 1].map(|part| format!("{round}.{task}.{n}.{part}"));
                        let events =
                            ids.each_ref().map(|id| format!(r#"{{"id":"{id}","source":"{name}","ts":1767225600}}"#));
                        let first = events[0].len() as u32;
                        let ends = vec![first, first + events[1].len() as u32];
                        producer.offer(events.concat().into_bytes(), ends).await.unwrap();
                        say(&format!("acknowledged {name} {} {}", ids[0], ids[1]));
                    });
                }
            }
            tasks.join_all().await;
        }
        say("all");
        // The sources must not end.
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_killed_pipeline_counts_every_acknowledged_event_once() {
    let mut random = Random::seeded("process");
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<String, HashSet<String>> = HashMap::new();
    let rounds = rounds(30).min(60);
    for round in 0..rounds {
        let mut command = command("process", dir.path(), round);
        if random.below(4) == 0 {
            let points =
                ["journal.written", "journal.synced", "journal.removed", "checkpoint.gathered", "checkpoint.committed"];
            let point = points[random.below(points.len() as u64) as usize];
            command.env("MILLSTREAM_FAULT", format!("{point}:{}", 1 + random.below(30)));
        }
        for line in killed_after(command.spawn().unwrap(), 1 + random.below(150)) {
            assert!(line != "complete" && !line.starts_with("row"), "round {round}: {line}");
            let words: Vec<&str> = line.split(' ').collect();
            if let ["acknowledged", name, ids @ ..] = words.as_slice() {
                let known = acknowledged.entry(name.to_string()).or_default();
                ids.iter().for_each(|id| assert!(known.insert(id.to_string())));
            }
        }
    }
    let said = killed_after(command("finish", dir.path(), rounds).spawn().unwrap(), u64::MAX);
    assert_eq!(said.last().map(String::as_str), Some("complete"), "{said:?}");
    let rows: Vec<serde_json::Value> = said
        .iter()
        .filter_map(|line| line.strip_prefix("row "))
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let ids: Vec<&str> = row["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let once: HashSet<&str> = ids.iter().copied().collect();
        assert_eq!((row["n"].as_u64().unwrap(), ids.len()), (once.len() as u64, once.len()), "each is counted once");
        let known = &acknowledged[row["source"].as_str().unwrap()];
        let lost: Vec<&String> = known.iter().filter(|id| !once.contains(id.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged and not counted: {lost:?}");
        println!("{}: {} acknowledged, {} counted", row["source"], known.len(), once.len());
    }
    // Checkpoints have let go of what they cover.
    let journal = dir.path().join("x.journal");
    let first = fs::read_dir(&journal).unwrap().map(|e| e.unwrap().file_name()).filter(|name| name != "lock").min();
    assert!(first.unwrap() != "0000000000000001.log");
}
