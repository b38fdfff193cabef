//! Sends dead letters again: each enters at the entry that refused it, in a pipeline that stands still at its last
//! checkpoint, and what comes of it is part of the next one. Nothing else moves: no input is read, no watermark goes on.

use std::collections::{BTreeMap, HashMap};

use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{Encoded, Sink, SinkError};
use crate::data::format::Format;
use crate::data::framing::Block;
use crate::plan::{Input, Node, NodeId, NodeKind, OnError, Operator, Plan, Port, Source};
use crate::store::rows::{Cause, Status};
use crate::store::state::Letter;

use super::direct::Direct;
use super::epoch::{Epoch, Keeper, Resume, Stood};
use super::keeper::StateKeeper;
use super::lower::{Lowering, lower};
use super::partition::PartitionSpec;
use super::run::wall_clock;

/// Rows at which a tick is cut; any number gives the same output.
const TICK_ROWS: u32 = 1024;
/// Further than any two events are apart: what is sent again moves no watermark.
const NEVER: TimeSpan = TimeSpan(i64::MAX / 4);

/// What came of sending letters again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many were sent.
    pub sent: u64,
    /// How many dead letters were made in this, wherever: the same ones again, or what came of them.
    pub dead: u64,
    /// How many rows sinks were given.
    pub delivered: u64,
}

/// Letters that stand still, ready to be sent.
pub struct Retry {
    direct: Direct,
    sinks: Vec<NodeId>,
    /// Rows that steps held before.
    held: HashMap<NodeId, u64>,
    /// By entry: ids, and causes of those that the run's ledger counts.
    sent: BTreeMap<NodeId, Vec<(u64, Option<Cause>)>>,
}

/// Why a letter cannot be sent again; one sentence.
pub fn refusal(plan: &Plan, letter: &Letter) -> Option<String> {
    let entry = &letter.letter.entry;
    let Some(node) = plan.nodes.iter().find(|node| node.name == *entry) else {
        return Some(format!("the pipeline no longer has an entry `{entry}`"));
    };
    match &node.kind {
        NodeKind::Step(Operator::Join(_)) => Some("which side of the join it came from is not kept".to_owned()),
        NodeKind::Source(Source { format: Format::Csv(_) | Format::MessagePack, .. }) if !is_json(letter) => {
            Some("a record of this format cannot be read without its file".to_owned())
        }
        _ => None,
    }
}

fn is_json(letter: &Letter) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(&letter.letter.original).is_ok()
}

impl Retry {
    /// Feeds letters into a pipeline that goes on from where it `stood`.
    pub fn feed(
        plan: &Plan,
        run: u64,
        letters: &[Letter],
        stood: &Stood,
        keeper: &StateKeeper,
    ) -> Result<Self, String> {
        let entry_of = |letter: &Letter| plan.nodes.iter().position(|node| node.name == letter.letter.entry);
        let number = |index: usize| NodeId(u16::try_from(index).unwrap_or(u16::MAX));
        let mut plan_again = plan.clone();
        // A step or sink reads a source of its own beside what it reads; letters of a source are its own records.
        let mut partition_of: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut partitions = Vec::new();
        let sources = plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_))).count();
        let mut added = 0;
        for index in letters.iter().filter_map(entry_of) {
            let node = number(index);
            if partition_of.contains_key(&node) {
                continue;
            }
            let is_source = plan.nodes.get(index).is_some_and(|n| matches!(n.kind, NodeKind::Source(_)));
            let source = if is_source {
                plan.nodes.iter().take(index).filter(|n| matches!(n.kind, NodeKind::Source(_))).count()
            } else {
                let own = number(plan_again.nodes.len());
                if let Some(reader) = plan_again.nodes.get_mut(index) {
                    reader.inputs.push(Input { node: own, port: Port::Main });
                }
                plan_again.nodes.push(again(&plan.nodes, index));
                added += 1;
                sources + added - 1
            };
            partition_of.insert(node, partitions.len());
            partitions.push(spec(source));
        }
        let graph = lower(&plan_again, Lowering { shares: 1, track: true })?;
        let from = Resume { stood, rows: keeper };
        let sinks = graph.sink_nodes();
        let mut direct = Direct::resume(graph, partitions, TICK_ROWS, wall_clock(), Some(from))?;
        let held = direct.held();
        (0..sources + added).for_each(|source| direct.job().keep_open(source));
        let mut sent: BTreeMap<NodeId, Vec<(u64, Option<Cause>)>> = BTreeMap::new();
        for letter in letters {
            let Some(node) = entry_of(letter).map(number) else { continue };
            let Some(partition) = partition_of.get(&node).copied() else { continue };
            direct.set_now(letter.letter.time.map_or_else(wall_clock, Timestamp));
            let is_source = plan.node(node).is_some_and(|n| matches!(n.kind, NodeKind::Source(_)));
            feed_one(&mut direct, partition, letter, is_source)?;
            sent.entry(node).or_default().push((letter.id, (letter.run == run).then_some(letter.letter.cause)));
        }
        Ok(Retry { direct, sinks, held, sent })
    }

    /// What would come of it, and nothing is changed.
    pub fn rehearse(mut self) -> Result<Outcome, String> {
        let (epoch, lines) = self.collect()?;
        Ok(self.outcome(&epoch, &lines))
    }

    /// Gives sinks what came of it and makes it all durable.
    pub fn commit(
        mut self,
        stood: &Stood,
        keeper: &mut StateKeeper,
        mut sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Outcome, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime for the sinks: {e}"))?;
        let (mut epoch, lines) = self.collect()?;
        let outcome = self.outcome(&epoch, &lines);
        for ((sink, node), lines) in sinks.iter_mut().zip(&self.sinks).zip(&lines) {
            for rows in lines.iter().filter(|rows| !rows.ends.is_empty()) {
                runtime.block_on(sink.deliver(rows)).map_err(SinkError::message)?;
            }
            epoch.marks.push((*node, runtime.block_on(sink.prepare()).map_err(SinkError::message)?));
        }
        // The input stands where it stood.
        epoch.partitions.clone_from(&stood.partitions);
        keeper.restored(&self.held);
        for (node, letters) in &self.sent {
            keeper.withdraw(*node, letters);
        }
        keeper.commit(epoch, Status::Stopped)?;
        sinks.iter_mut().try_for_each(|sink| runtime.block_on(sink.committed())).map_err(SinkError::message)?;
        Ok(outcome)
    }

    fn collect(&mut self) -> Result<(Epoch, Vec<Vec<Encoded>>), String> {
        let epoch = self.direct.epoch()?;
        let lines = (0..self.sinks.len()).map(|sink| self.direct.take(sink)).collect();
        Ok((epoch, lines))
    }

    fn outcome(&self, epoch: &Epoch, lines: &[Vec<Encoded>]) -> Outcome {
        Outcome {
            sent: self.sent.values().map(|letters| letters.len() as u64).sum(),
            dead: epoch.counted.letters() as u64,
            delivered: lines.iter().flatten().map(|rows| rows.ends.len() as u64).sum(),
        }
    }
}

/// A source of what a step or sink refused.
fn again(nodes: &[Node], index: usize) -> Node {
    let source = Source {
        connector: String::new(),
        options: serde_json::Value::Null,
        bounded: true,
        format: Format::Json,
        time: None,
        schema: None,
    };
    Node {
        name: nodes.get(index).map(|node| node.name.clone()).unwrap_or_default(),
        description: None,
        place: String::new(),
        inputs: Vec::new(),
        on_error: OnError::Fail,
        kind: NodeKind::Source(source),
    }
}

fn spec(source: usize) -> PartitionSpec {
    PartitionSpec {
        source,
        name: String::new(),
        start: crate::connector::Place::default(),
        bounded: false,
        timed: true,
        out_of_order: NEVER,
        idle_after: NEVER,
    }
}

fn feed_one(direct: &mut Direct, partition: usize, letter: &Letter, is_source: bool) -> Result<(), String> {
    let mut bytes = letter.letter.original.clone();
    // What a source refused after it had read it was kept as JSON.
    if is_source && !is_json(letter) {
        bytes.push(b'\n');
        return direct.feed(partition, Block { bytes, ..Block::default() });
    }
    let end = crate::data::column::as_u32(bytes.len());
    direct.feed_event(partition, Block::from_records(bytes, vec![end]))
}
