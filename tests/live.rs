//! Live time: partitions that fall silent and come back, clocks that run wild, time of arrival, a pipe that stays open,
//! and signals.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use millstream::base::time::{TimeSpan, Timestamp};
use millstream::connector::Place;
use millstream::data::framing::Block;
use millstream::engine::direct::Direct;
use millstream::engine::job::Snapshot;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::partition::PartitionSpec;
use serde_json::{Value, json};

use support::{pipeline, rows_of};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;

const COUNTS: &str = "
steps:
  counts:
    from: SOURCES
    window:
      tumbling: 10s
      aggregate:
        n: count()
sinks:
  out: { from: counts, discard: {} }
  late: { from: counts.late, discard: {} }
";

fn source(name: &str, time: &str) -> String {
    format!("  {name}:\n    file: {{ path: none }}\n{time}")
}

const EVENT_TIME: &str = "    time: { field: ts, format: unix, out_of_order: 2s }\n";

/// A pipeline of live partitions in virtual time; all times are seconds after the start.
struct Live {
    direct: Direct,
}

impl Live {
    /// `sources` by partition.
    fn new(yaml: &str, sources: &[usize], timed: bool, from: Option<&Snapshot>) -> Live {
        let pipeline = pipeline(yaml);
        let graph = lower(&pipeline.plan, Lowering { shares: 2, track: true }).unwrap();
        let spec = |(number, source): (usize, &usize)| PartitionSpec {
            source: *source,
            name: format!("p{number}"),
            start: Place::default(),
            bounded: false,
            timed,
            out_of_order: if timed { TimeSpan::seconds(2) } else { TimeSpan::default() },
            idle_after: TimeSpan::seconds(30),
            after: None,
        };
        let specs = sources.iter().enumerate().map(spec).collect();
        Live { direct: Direct::new(graph, specs, 100, instant(0), from).unwrap() }
    }

    fn event(&mut self, partition: usize, event: &Value) {
        let bytes = event.to_string().into_bytes();
        let ends = vec![bytes.len() as u32];
        self.direct.feed(partition, Block::from_records(bytes, ends)).unwrap();
    }

    fn at(&mut self, partition: usize, seconds: i64) {
        self.event(partition, &json!({ "ts": START + seconds }));
    }

    fn clock(&mut self, seconds: i64) {
        self.direct.pass_time(instant(seconds)).unwrap();
    }

    /// What a sink was given since the last call.
    fn rows(&mut self, sink: usize) -> Vec<Value> {
        self.direct.take(sink).iter().flat_map(|lines| rows_of(std::str::from_utf8(&lines.text).unwrap())).collect()
    }

    /// Ends of the windows that closed since the last call, in seconds, and their counts.
    fn closed(&mut self) -> Vec<(i64, i64)> {
        let end = |row: &Value| row["window_end"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        self.rows(0).iter().map(|row| (end(row) - START, row["n"].as_i64().unwrap())).collect()
    }
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp((START + seconds) * 1_000_000)
}

fn one_source(time: &str) -> String {
    format!("name: t\nsources:\n{}{}", source("a", time), COUNTS.replace("SOURCES", "a"))
}

fn two_sources() -> String {
    let (a, b) = (source("a", EVENT_TIME), source("b", EVENT_TIME));
    format!("name: t\nsources:\n{a}{b}{}", COUNTS.replace("SOURCES", "[a, b]"))
}

#[test]
fn a_silent_partition_holds_the_watermark_until_it_is_idle() {
    let mut live = Live::new(&one_source(EVENT_TIME), &[0, 0], true, None);
    live.clock(10);
    live.at(0, 5);
    live.at(1, 6);
    live.clock(20);
    live.at(0, 15);
    live.clock(35);
    live.at(0, 31);
    live.clock(39);
    assert_eq!(live.closed(), [], "p1 has been silent for 29 seconds");
    live.clock(40);
    assert_eq!(live.closed(), [(10, 2), (20, 1)], "the watermark is p0's: 29");
}

#[test]
fn a_partition_that_never_had_an_event_leaves_the_minimum() {
    let mut live = Live::new(&one_source(EVENT_TIME), &[0, 0], true, None);
    live.clock(29);
    live.at(0, 15);
    assert_eq!(live.closed(), []);
    live.clock(30);
    live.at(0, 25);
    assert_eq!(live.closed(), [(20, 1)]);
}

#[test]
fn when_all_are_idle_the_watermark_goes_on_with_the_clock() {
    let mut live = Live::new(&one_source(EVENT_TIME), &[0, 0], true, None);
    live.at(0, 5);
    live.clock(10);
    live.at(1, 8);
    // p1 goes idle at 40 with the watermark at p0's 3, which ends the window at 10 seven seconds later.
    live.clock(40);
    live.clock(46);
    assert_eq!(live.closed(), []);
    live.clock(47);
    assert_eq!(live.closed(), [(10, 2)]);
}

#[test]
fn how_often_the_clock_is_looked_at_does_not_matter() {
    let mut ends = Vec::new();
    for step in [1, 7, 90] {
        let mut live = Live::new(&one_source(EVENT_TIME), &[0, 0], true, None);
        live.at(0, 5);
        live.at(1, 58);
        let mut now = 0;
        while now < 180 {
            now += step;
            live.clock(now.min(180));
        }
        ends.push(live.closed());
    }
    // The watermark at 180 is 3 + (180 - 30).
    assert_eq!(ends[0], [(10, 1), (60, 1)]);
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0], ends[2]);
}

#[test]
fn who_comes_back_never_moves_the_watermark_back() {
    let mut live = Live::new(&one_source(EVENT_TIME), &[0, 0], true, None);
    live.at(0, 5);
    live.at(1, 5);
    live.clock(40);
    live.at(0, 38);
    assert_eq!(live.closed(), [(10, 2)]);
    // p1 stands at 3, behind what was handed on: its event is late, and the watermark stays.
    live.at(1, 7);
    assert_eq!(live.rows(1), [json!({ "ts": START + 7 })]);
    live.at(0, 55);
    assert_eq!(live.closed(), [], "p1 counts again and is at 5");
    live.at(1, 54);
    assert_eq!(live.closed(), [(40, 1)], "the least is p1's 52");
}

#[test]
fn a_source_that_speaks_does_not_hold_up_another_that_went_quiet() {
    let (a, b) = (source("a", EVENT_TIME), source("b", EVENT_TIME));
    let own = |name: &str| {
        format!("  {name}s:\n    from: {name}\n    window: {{ tumbling: 10s, aggregate: {{ n: count() }} }}\n")
    };
    let sinks = "sinks:\n  a_out: { from: as, discard: {} }\n  b_out: { from: bs, discard: {} }\n";
    let yaml = format!("name: t\nsources:\n{a}{b}steps:\n{}{}{sinks}", own("a"), own("b"));
    let mut live = Live::new(&yaml, &[0, 1], true, None);
    live.at(0, 5);
    for now in 0..60 {
        live.clock(now);
        live.at(1, now);
    }
    assert_eq!(live.closed(), [(10, 1)], "a's window closes although b speaks");
}

#[test]
fn what_went_on_in_silence_is_not_undone_by_a_restart() {
    let yaml = one_source(EVENT_TIME);
    let mut live = Live::new(&yaml, &[0, 0], true, None);
    live.at(0, 5);
    live.at(1, 5);
    live.clock(60);
    assert_eq!(live.closed(), [(10, 2)]);
    let snapshot = live.direct.snapshot().unwrap();
    let mut live = Live::new(&yaml, &[0, 0], true, Some(&snapshot));
    live.at(0, 6);
    assert_eq!(live.closed(), []);
    assert_eq!(live.rows(1).len(), 1, "the window at 10 has closed before the restart");
}

#[test]
fn a_partition_found_later_does_not_move_the_watermark_back() {
    let yaml = one_source(EVENT_TIME);
    let mut live = Live::new(&yaml, &[0], true, None);
    live.at(0, 25);
    let snapshot = live.direct.snapshot().unwrap();
    let mut live = Live::new(&yaml, &[0, 0], true, Some(&snapshot));
    live.at(1, 7);
    assert_eq!(live.rows(1).len(), 1);
}

#[test]
fn sources_that_meet_wait_for_the_slower_one() {
    let mut live = Live::new(&two_sources(), &[0, 1], true, None);
    live.at(0, 5);
    live.at(1, 6);
    live.at(0, 100);
    assert_eq!(live.closed(), []);
    live.at(1, 25);
    assert_eq!(live.closed(), [(10, 2)]);
}

#[test]
fn a_wild_clock_closes_no_window() {
    let time = "    time: { field: ts, format: unix, out_of_order: 2s, max_future: 1h }\n";
    let yaml = format!("{}  wrong: {{ from: a.errors, discard: {{}} }}\n", one_source(time));
    let mut live = Live::new(&yaml, &[0], true, None);
    live.clock(10);
    live.at(0, 5);
    live.at(0, 10 + 3601);
    live.at(0, 9);
    assert_eq!(live.closed(), []);
    let wrong = live.rows(2);
    assert_eq!(wrong.len(), 1);
    let reason = wrong[0]["reason"].as_str().unwrap();
    assert!(reason.contains("ahead of the clock"), "{reason}");
    live.at(0, 10 + 3600);
    assert_eq!(live.closed(), [(10, 2)], "exactly an hour ahead is taken");
}

#[test]
fn without_a_time_events_have_that_of_their_arrival() {
    let mut live = Live::new(&one_source(""), &[0], false, None);
    live.clock(3);
    live.event(0, &json!({ "v": 1 }));
    live.clock(9);
    live.event(0, &json!({ "v": 2 }));
    live.clock(10);
    live.event(0, &json!({ "v": 3 }));
    assert_eq!(live.closed(), [(10, 2)]);
    // Idle at 40; the clock reaches the end of its window ten seconds later.
    live.clock(49);
    assert_eq!(live.closed(), []);
    live.clock(50);
    assert_eq!(live.closed(), [(20, 1)]);
}

/// The program with a pipe into it.
struct Piped {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _home: tempfile::TempDir,
}

impl Piped {
    fn start(pipeline: &str) -> Piped {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("t.yaml");
        std::fs::write(&file, pipeline).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["run", "--quiet", "--workers", "2"]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Piped { child, input, output, _home: home }
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// The next line, however long it takes.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// The exit code and what was written since, after the input was closed.
    fn finish(self) -> (Option<i32>, String) {
        let Piped { mut child, input, mut output, .. } = self;
        drop(input);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        (child.wait().unwrap().code(), rest)
    }
}

const PIPED: &str = "
name: piped
sources:
  in:
    stdin: {}
    time: { field: ts, format: unix }
steps:
  odd:
    filter: v % 2 == 1
  counts:
    from: in
    window: { tumbling: 10s, aggregate: { n: count() } }
sinks:
  out:
    from: [odd, counts]
    stdout: {}
";

#[test]
fn rows_come_out_while_the_pipe_stays_open() {
    let mut piped = Piped::start(PIPED);
    for v in 0..20 {
        // Cut in the middle of a record: the rest comes with the next piece.
        let record = format!("{{\"ts\":{},\"v\":{v}}}\n", START + v / 4);
        let (first, rest) = record.split_at(9);
        piped.write(first);
        piped.write(rest);
        if v % 2 == 1 {
            assert_eq!(piped.line(), record);
        }
    }
    piped.write(&format!("{{\"ts\":{},\"v\":0}}\n", START + 10));
    assert!(piped.line().ends_with("\"n\":20}\n"), "the window closes as soon as the watermark is at its end");
    let (code, rest) = piped.finish();
    assert_eq!(code, Some(0));
    assert!(rest.ends_with("\"n\":1}\n"), "{rest}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_is_not_an_end() {
    let mut piped = Piped::start(PIPED);
    piped.write(&format!("{{\"ts\":{START},\"v\":1}}\n"));
    // The row was taken.
    assert!(piped.line().ends_with("\"v\":1}\n"));
    // A row can be through before the program listens to signals.
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", piped.child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap() & (1 << (2 - 1)) != 0
    };
    while !caught() {
        std::thread::yield_now();
    }
    let interrupted = Command::new("kill").args(["-INT", &piped.child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let Piped { mut child, input, mut output, .. } = piped;
    let mut rest = String::new();
    // Ends although the pipe is open.
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "no window was closed");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(input);
}

#[cfg(target_os = "linux")]
#[test]
fn a_source_without_an_end_goes_on_until_it_is_stopped() {
    let mut piped = Piped::start(
        "
name: endless
sources:
  in: { generate: { fields: { n: { sequence: {} } } } }
sinks:
  out: { stdout: {} }
",
    );
    // Many blocks through little leave: each wake-up must reach a worker, although the clock's thread waits as well.
    for n in 0..200_000 {
        let line = piped.line();
        assert!(line.contains(&format!("\"n\":{n}")), "{line}");
    }
    let stopped = Command::new("kill").args(["-TERM", &piped.child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let (code, _) = piped.finish();
    assert_eq!(code, Some(130));
}
