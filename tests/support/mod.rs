//! Runs a pipeline over rows in memory: the real configuration, plan and engine, without connectors.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

pub mod graphs;
pub mod live;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream::base::diag::Severity;
use millstream::base::time::{TimeSpan, Timestamp};
use millstream::config::{self, Pipeline, Registry};
use millstream::connector::Place;
use millstream::connectors::{SINKS, SOURCES};
use millstream::data::framing::Block;
use millstream::engine::direct::Direct;
use millstream::engine::job::Snapshot;
use millstream::engine::ledger::{Tally, Total};
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::partition::{PartitionSpec, PartitionState};
use millstream::plan::{NodeId, NodeKind, Operator, Port};
use proptest::prelude::*;
use serde_json::Value;

/// A pipeline with one source and what its partitions hold, a JSON text a row.
pub struct Case {
    pub yaml: String,
    pub partitions: Vec<Vec<String>>,
    /// Seconds.
    pub out_of_order: i64,
}

/// How rows are fed: what must not show in the output.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Rows a block.
    pub block: usize,
    /// Rows at which a tick is cut.
    pub target: u32,
    /// Shares of the keys.
    pub shares: usize,
    /// After how many blocks the engine is thrown away and made anew from its snapshot.
    pub restarts: Vec<usize>,
    /// How many more blocks it takes after its snapshot was cut and before it is thrown away, and how many keys it encodes
    /// after each tick meanwhile.
    pub beyond: (usize, usize),
}

/// Rows fed any way.
pub fn feeds() -> impl Strategy<Value = Feed> {
    let shares = prop_oneof![Just(1usize), Just(2), Just(4)];
    let restarts = prop::collection::vec(0usize..60, 0..3);
    let of = |(block, target, shares, restarts, beyond)| Feed { block, target, shares, restarts, beyond };
    (1usize..20, 1u32..30, shares, restarts, beyond()).prop_map(of)
}

/// Blocks beyond a cut, and keys that are encoded after each tick.
pub fn beyond() -> impl Strategy<Value = (usize, usize)> {
    (0usize..20, prop::sample::select(vec![0, 1, 3]))
}

/// Keys of every kind, few enough that they come again; `None` is a field that is missing.
pub fn keys() -> impl Strategy<Value = Option<Value>> {
    let text = |text: &str| Some(Value::from(text));
    let (one, float) = (Some(Value::from(1)), Some(Value::from(1.0)));
    prop::sample::select(vec![text("a"), text("a"), text("b"), one, float, text("1"), Some(Value::Null), None])
}

/// Rows of mostly rising times: `move_by` moves a row by so much.
pub fn rising<R: Clone + std::fmt::Debug>(
    row: impl Strategy<Value = R>,
    most: usize,
    move_by: fn(&mut R, i64),
) -> impl Strategy<Value = Vec<R>> {
    prop::collection::vec((row, 0i64..4), 0..most).prop_map(move |rows| {
        let mut base = 0;
        let moved = |(mut row, step): (R, i64)| {
            base += step;
            move_by(&mut row, base);
            row
        };
        rows.into_iter().map(moved).collect()
    })
}

/// The lines of an output.
pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

pub fn pipeline(yaml: &str) -> Pipeline {
    let registry = Registry { sources: SOURCES, sinks: SINKS };
    let loaded = config::parse(yaml, "t.yaml", Path::new("."), &registry, &|_| None, Severity::Error);
    loaded.pipeline.unwrap_or_else(|| panic!("{:#?}\n{yaml}", loaded.found.list))
}

/// What each sink was given, in the order written, as text.
pub fn run_direct(case: &Case, feed: &Feed) -> Vec<String> {
    let input = |(index, rows): (usize, &Vec<String>)| Input {
        source: 0,
        name: format!("p{index}"),
        rows: rows.clone(),
        out_of_order: case.out_of_order,
        header: None,
    };
    let inputs: Vec<Input> = case.partitions.iter().enumerate().map(input).collect();
    run_inputs(&case.yaml, &inputs, feed).outputs
}

/// One bounded partition of one source.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its source's place among the sources.
    pub source: usize,
    pub name: String,
    /// A record each, without its line end.
    pub rows: Vec<String>,
    /// Seconds.
    pub out_of_order: i64,
    /// CSV: the names of the columns. Records are then told apart by line ends, and positions are bytes.
    pub header: Option<Vec<String>>,
}

impl Input {
    /// The position of a row, as a source would count it.
    fn position(&self, row: usize) -> u64 {
        match self.header {
            None => row as u64,
            Some(_) => self.rows[..row].iter().map(|r| r.len() as u64 + 1).sum(),
        }
    }

    fn row_at(&self, position: u64) -> usize {
        (0..=self.rows.len()).find(|row| self.position(*row) == position).expect("a position where a row begins")
    }

    fn block(&self, from: usize, to: usize) -> Block {
        let position = self.position(from);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for row in &self.rows[from..to] {
            bytes.extend_from_slice(row.as_bytes());
            if self.header.is_some() {
                bytes.push(b'\n');
            }
            ends.push(bytes.len() as u32);
        }
        match &self.header {
            None => Block { position, ..Block::from_records(bytes, ends) },
            Some(names) => Block { bytes, position, header: Some(Arc::new(names.clone())), ..Block::default() },
        }
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    /// What each sink was given, in the order written, as text.
    pub outputs: Vec<String>,
    /// Counts by entry, in the order of the plan, over all restarts.
    pub counts: Vec<(String, Tally)>,
    /// By entry: rows that left it by ports that are read, those of errors and late rows aside.
    pub left: Vec<(String, u64)>,
}

/// Runs a pipeline over several partitions of several sources.
pub fn run_inputs(yaml: &str, inputs: &[Input], feed: &Feed) -> Ran {
    let pipeline = pipeline(yaml);
    let sinks = pipeline.plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_))).count();
    let mut outputs = vec![String::new(); sinks];
    let mut snapshot: Option<Snapshot> = None;
    let mut restarts = feed.restarts.clone();
    restarts.sort_unstable();
    restarts.dedup();
    let mut restarts = restarts.into_iter();
    loop {
        let stop_after = restarts.next();
        let mut direct = make(&pipeline, inputs, feed, snapshot.as_ref());
        let mut next = stands(inputs, snapshot.as_ref());
        let ended = drive(&mut direct, inputs, feed, &mut next, &mut |_, fed| stop_after == Some(fed));
        if !ended {
            direct.cut(feed.beyond.1).expect("a cut");
        }
        collect(&mut direct, &pipeline, &mut outputs);
        if !ended {
            // What it does from here on is lost with it.
            go_beyond(&mut direct, inputs, feed, &mut next);
            snapshot = Some(direct.cut_snapshot().expect("a snapshot"));
        }
        let left = balanced(&pipeline, direct.ledger().expect("a ledger"), yaml);
        if ended {
            let counts = counts(&mut direct, &pipeline);
            return Ran { outputs, counts, left };
        }
    }
}

/// Counts by entry of a run that has ended.
fn counts(direct: &mut Direct, pipeline: &Pipeline) -> Vec<(String, Tally)> {
    assert!(direct.is_done(), "the run did not end");
    let ledger = direct.ledger().expect("a ledger").clone();
    let ledger = |index: usize| ledger.get(&index).map_or_else(Tally::default, |total| total.tally);
    pipeline.plan.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), ledger(i))).collect()
}

/// A run that has ended.
fn ended(direct: &mut Direct, pipeline: &Pipeline, outputs: Vec<String>, yaml: &str) -> Ran {
    let left = balanced(pipeline, direct.ledger().expect("a ledger"), yaml);
    Ran { outputs, counts: counts(direct, pipeline), left }
}

/// A run with a checkpoint after every block, handed out while the next one is taken; then one from each of these
/// checkpoints to the end, on `shares` shares, with what the sinks were given before it. The undisturbed one comes first.
pub fn run_from_every_epoch(yaml: &str, inputs: &[Input], feed: &Feed, shares: usize) -> Vec<Ran> {
    let pipeline = pipeline(yaml);
    let sinks = pipeline.plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_))).count();
    let mut outputs = vec![String::new(); sinks];
    let mut epochs: Vec<(Snapshot, Vec<String>)> = Vec::new();
    let mut direct = make(&pipeline, inputs, feed, None);
    // What the sinks were given before the last cut.
    let mut before: Option<Vec<String>> = None;
    drive(&mut direct, inputs, feed, &mut stands(inputs, None), &mut |direct, _| {
        if let Some(before) = before.take() {
            let snapshot = direct.cut_snapshot().expect("a snapshot");
            balanced(&pipeline, direct.ledger().expect("a ledger"), yaml);
            epochs.push((snapshot, before));
        }
        direct.cut(feed.beyond.1).expect("a cut");
        collect(direct, &pipeline, &mut outputs);
        before = Some(outputs.clone());
        false
    });
    collect(&mut direct, &pipeline, &mut outputs);
    let mut runs = vec![ended(&mut direct, &pipeline, outputs, yaml)];
    let feed = Feed { shares, ..feed.clone() };
    for (snapshot, mut outputs) in epochs {
        let mut direct = make(&pipeline, inputs, &feed, Some(&snapshot));
        drive(&mut direct, inputs, &feed, &mut stands(inputs, Some(&snapshot)), &mut |_, _| false);
        collect(&mut direct, &pipeline, &mut outputs);
        runs.push(ended(&mut direct, &pipeline, outputs, yaml));
    }
    runs
}

/// At every checkpoint each row that an entry took in has come to exactly one end, or is held; what its inputs handed to it
/// is what it took in, and all readers of a port were handed the same rows. What left each entry.
fn balanced(pipeline: &Pipeline, ledger: &BTreeMap<usize, Total>, yaml: &str) -> Vec<(String, u64)> {
    let nodes = &pipeline.plan.nodes;
    let mut left: BTreeMap<(usize, Port), u64> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let Total { tally, held, handed } = ledger.get(&index).cloned().unwrap_or_default();
        let Tally { passed, filtered, dropped, duplicate, failed, late, absorbed, .. } = tally;
        let ends = passed + filtered + dropped + duplicate + failed + late + absorbed + held;
        assert_eq!(tally.taken + tally.made, ends, "{}: {tally:?}, {held} held\n{yaml}", node.name);
        if !node.inputs.is_empty() {
            assert_eq!(handed.values().sum::<u64>(), tally.taken, "{}: {handed:?}\n{yaml}", node.name);
        }
        for input in &node.inputs {
            let of = (input.node.index(), input.port.clone());
            // A join may read one output twice.
            let times = node.inputs.iter().filter(|other| *other == input).count() as u64;
            let rows = handed.get(&of).copied().unwrap_or(0) / times;
            assert_eq!(*left.entry(of.clone()).or_insert(rows), rows, "{of:?} to {}\n{yaml}", node.name);
        }
    }
    let of = |index: usize| {
        let ports =
            left.iter().filter(|((node, port), _)| *node == index && !matches!(port, Port::Errors | Port::Late));
        ports.map(|(_, rows)| rows).sum()
    };
    nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), of(index))).collect()
}

fn make(pipeline: &Pipeline, inputs: &[Input], feed: &Feed, from: Option<&Snapshot>) -> Direct {
    // Bounded input has no clock but that of its events.
    let mut plan = pipeline.plan.clone();
    for node in &mut plan.nodes {
        if let NodeKind::Step(Operator::Notify(notify)) = &mut node.kind {
            notify.virtual_time = true;
        }
    }
    let graph = lower(&plan, Lowering { shares: feed.shares, track: true }).expect("it lowers");
    let spec = |input: &Input| PartitionSpec {
        source: input.source,
        name: input.name.clone(),
        start: Place::default(),
        bounded: true,
        timed: true,
        out_of_order: TimeSpan::seconds(input.out_of_order),
        idle_after: TimeSpan::seconds(30),
        after: None,
    };
    Direct::new(graph, inputs.iter().map(spec).collect(), feed.target, Timestamp(0), from).expect("it starts")
}

/// The row at which each input goes on, and whether it has ended.
fn stands(inputs: &[Input], from: Option<&Snapshot>) -> Vec<(usize, bool)> {
    let stands = |input: &Input| {
        let same = |p: &&PartitionState| p.source == input.source && p.name == input.name;
        let state = from.and_then(|s| s.stood.partitions.iter().find(same));
        state.map_or((0, false), |p| (input.row_at(p.position), p.ended))
    };
    inputs.iter().map(stands).collect()
}

/// Feeds blocks round robin, which is not the order they are taken in. False if it stopped before the end: `stop` is asked
/// before each block, with the number of those before it.
fn drive(
    direct: &mut Direct,
    inputs: &[Input],
    feed: &Feed,
    next: &mut [(usize, bool)],
    stop: &mut dyn FnMut(&mut Direct, usize) -> bool,
) -> bool {
    let mut fed = 0;
    while next.iter().any(|(_, ended)| !ended) {
        for (index, input) in inputs.iter().enumerate() {
            let (at, ended) = next[index];
            if ended {
                continue;
            }
            if stop(direct, fed) {
                return false;
            }
            fed += 1;
            if at >= input.rows.len() {
                direct.end(index).expect("it ends");
                next[index].1 = true;
                continue;
            }
            let to = (at + feed.block).min(input.rows.len());
            direct.feed(index, input.block(at, to)).expect("it runs");
            next[index].0 = to;
        }
    }
    true
}

/// Feeds blocks after a cut, but not the end of everything.
fn go_beyond(direct: &mut Direct, inputs: &[Input], feed: &Feed, next: &mut [(usize, bool)]) {
    for _ in 0..feed.beyond.0 {
        for (index, input) in inputs.iter().enumerate() {
            let (at, ended) = next[index];
            let others = next.iter().enumerate().any(|(other, (_, ended))| other != index && !ended);
            let to = (at + feed.block).min(input.rows.len());
            if !ended && at < to {
                direct.feed(index, input.block(at, to)).expect("it runs");
                next[index].0 = to;
            } else if !ended && others {
                direct.end(index).expect("it ends");
                next[index].1 = true;
            }
        }
    }
}

fn collect(direct: &mut Direct, pipeline: &Pipeline, out: &mut [String]) {
    let nodes = (0u16..).zip(&pipeline.plan.nodes);
    let sinks = nodes.filter(|(_, n)| matches!(n.kind, NodeKind::Sink(_)));
    let written: Vec<NodeId> = sinks.map(|(index, _)| NodeId(index)).collect();
    for (index, node) in direct.sink_nodes().iter().enumerate() {
        let place = written.iter().position(|w| w == node).expect("a sink");
        for lines in direct.take(index) {
            out[place].push_str(std::str::from_utf8(&lines.text).expect("UTF-8"));
        }
    }
}

/// Rows of JSON lines.
pub fn rows_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
