//! Runs a pipeline over rows in memory: the real configuration, plan and engine, without connectors.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::path::Path;

use millstream::base::diag::Severity;
use millstream::base::time::{TimeSpan, Timestamp};
use millstream::config::{self, Pipeline, Registry};
use millstream::connectors::{SINKS, SOURCES};
use millstream::data::framing::Block;
use millstream::engine::direct::Direct;
use millstream::engine::job::Snapshot;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::partition::PartitionSpec;
use millstream::plan::{NodeId, NodeKind};
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
}

pub fn pipeline(yaml: &str) -> Pipeline {
    let registry = Registry { sources: SOURCES, sinks: SINKS };
    let loaded = config::parse(yaml, "t.yaml", Path::new("."), &registry, &|_| None, Severity::Error);
    loaded.pipeline.unwrap_or_else(|| panic!("{:#?}\n{yaml}", loaded.found.list))
}

/// What each sink was given, in the order written, as text.
pub fn run_direct(case: &Case, feed: &Feed) -> Vec<String> {
    let pipeline = pipeline(&case.yaml);
    let sinks = pipeline.plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_))).count();
    let mut out = vec![String::new(); sinks];
    let mut snapshot: Option<Snapshot> = None;
    let mut restarts = feed.restarts.clone();
    restarts.sort_unstable();
    restarts.dedup();
    let mut restarts = restarts.into_iter();
    loop {
        let stop_after = restarts.next();
        let mut direct = make(&pipeline, case, feed, snapshot.as_ref());
        let ended = drive(&mut direct, case, feed, snapshot.as_ref(), stop_after);
        if !ended {
            snapshot = Some(direct.snapshot().expect("a snapshot"));
        }
        collect(&mut direct, &pipeline, &mut out);
        if ended {
            assert!(direct.is_done(), "the run did not end");
            return out;
        }
    }
}

fn make(pipeline: &Pipeline, case: &Case, feed: &Feed, from: Option<&Snapshot>) -> Direct {
    let graph = lower(&pipeline.plan, Lowering { shares: feed.shares, track: true }).expect("it lowers");
    let spec = |index: usize| PartitionSpec {
        source: 0,
        name: format!("p{index}"),
        bounded: true,
        timed: true,
        out_of_order: TimeSpan::seconds(case.out_of_order),
        idle_after: TimeSpan::seconds(30),
    };
    let specs = (0..case.partitions.len()).map(spec).collect();
    Direct::new(graph, specs, feed.target, Timestamp(0), from).expect("it starts")
}

/// Feeds blocks round robin, which is not the order they are taken in. False if it stopped before the end.
fn drive(direct: &mut Direct, case: &Case, feed: &Feed, from: Option<&Snapshot>, stop_after: Option<usize>) -> bool {
    let position = |index: usize| {
        let state = from.and_then(|s| s.partitions.iter().find(|p| p.name == format!("p{index}")));
        state.map_or((0, false), |p| (p.position as usize, p.ended))
    };
    let mut next: Vec<(usize, bool)> = (0..case.partitions.len()).map(position).collect();
    let mut fed = 0;
    while next.iter().any(|(_, ended)| !ended) {
        for (index, rows) in case.partitions.iter().enumerate() {
            let (at, ended) = next[index];
            if ended {
                continue;
            }
            if stop_after == Some(fed) {
                return false;
            }
            fed += 1;
            if at >= rows.len() {
                direct.end(index).expect("it ends");
                next[index].1 = true;
                continue;
            }
            let to = (at + feed.block).min(rows.len());
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for row in &rows[at..to] {
                bytes.extend_from_slice(row.as_bytes());
                ends.push(bytes.len() as u32);
            }
            let block = Block { position: at as u64, ..Block::from_records(bytes, ends) };
            direct.feed(index, block).expect("it runs");
            next[index].0 = to;
        }
    }
    true
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
