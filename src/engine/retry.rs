//! Sends dead letters again: each enters at the entry that refused it, in a pipeline that stands still at its last
//! checkpoint, and what comes of it is part of the next one. Nothing else moves: no input is read, no watermark goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{Encoded, End, Sink, SinkError};
use crate::data::format::Format;
use crate::data::framing::Block;
use crate::plan::graph::readers;
use crate::plan::meaning::meaning;
use crate::plan::{Input, Node, NodeId, NodeKind, OnError, Operator, Plan, Port, Source};
use crate::store::rows::{Cause, DeadLetter, Origin, Status};
use crate::store::state::Letter;

use super::direct::Direct;
use super::epoch::{Epoch, Keeper, Kept, Part, Resume, Stood};
use super::keeper::StateKeeper;
use super::lower::{Lowering, lower, tag_sides};
use super::partition::PartitionSpec;
use super::refused;
use super::run::wall_clock;

/// Rows at which a tick is cut; any number gives the same output.
const TICK_ROWS: u32 = 1024;
/// Further than any two events are apart: what is sent again moves no watermark.
const NEVER: TimeSpan = TimeSpan(i64::MAX / 4);

/// The run that letters are sent again in.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// Its number.
    pub run: u64,
    /// Whether it is over: nothing that a step remembers is gone on with.
    pub over: bool,
}

/// What came of sending letters again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many were sent.
    pub sent: u64,
    /// How many dead letters were made in this, wherever: the same ones again, or what came of them.
    pub dead: u64,
    /// How many rows sinks were given.
    pub delivered: u64,
    /// How many of them are still on their way to whoever a sink sends to.
    pub waiting: u64,
}

/// Letters that stand still, ready to be sent.
pub struct Retry {
    direct: Direct,
    over: bool,
    sinks: Vec<NodeId>,
    /// Rows that steps held before.
    held: HashMap<NodeId, u64>,
    /// By entry: ids, and causes of those that the run's ledger counts.
    sent: BTreeMap<NodeId, Vec<(u64, Option<Cause>)>>,
}

/// Why a letter cannot be sent again in a run that is over; one sentence.
pub fn refusal_of_complete(plan: &Plan, letter: &Letter) -> Option<String> {
    below(plan, letter).into_iter().find_map(|id| {
        let node = plan.node(id)?;
        let why = match &node.kind {
            NodeKind::Sink(sink) if !sink.promise.grows => "its output is final",
            NodeKind::Step(_) if meaning(plan, node).is_some() => "what it remembered is done with",
            _ => return None,
        };
        Some(format!("the last run is complete; it would come to `{}`, and {why}", node.name))
    })
}

/// The entry that refused a letter, and all that is below it.
fn below(plan: &Plan, letter: &Letter) -> Vec<NodeId> {
    let entry = plan.nodes.iter().position(|node| node.name == letter.letter.entry);
    let mut found: Vec<NodeId> = entry.map(number).into_iter().collect();
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        for (_, reader) in readers(plan, id) {
            if !found.contains(&reader) {
                found.push(reader);
            }
        }
        at += 1;
    }
    found
}

/// The sinks that letters may come to, in the plan's order.
pub fn sinks_of(plan: &Plan, letters: &[Letter]) -> Vec<NodeId> {
    let reached: BTreeSet<NodeId> = letters.iter().flat_map(|letter| below(plan, letter)).collect();
    let is_sink = |id: &NodeId| plan.node(*id).is_some_and(|node| matches!(node.kind, NodeKind::Sink(_)));
    reached.into_iter().filter(is_sink).collect()
}

/// Nothing that a step remembers.
struct Nothing;

impl Kept for Nothing {
    fn size(&self, _: &str) -> u64 {
        0
    }

    fn part(&self, _: &str, _: Range<u64>) -> Result<Part<'_>, String> {
        Ok(Box::new(|_| Ok(())))
    }
}

/// Why a letter cannot be sent again; one sentence.
pub fn refusal(plan: &Plan, letter: &Letter) -> Option<String> {
    let DeadLetter { entry, origin, header, .. } = &letter.letter;
    let Some(node) = plan.nodes.iter().find(|node| node.name == *entry) else {
        return Some(format!("the pipeline no longer has an entry `{entry}`"));
    };
    let why = match (origin, &node.kind) {
        (Origin::Made, _) => {
            "it made the row itself, and what it made it of is gone; what comes from now on is made by the pipeline as it is"
        }
        (Origin::Part, _) => "only the beginning of the record was kept",
        (Origin::Record, NodeKind::Source(Source { format: Format::Csv(csv), .. }))
            if header.is_none() && csv.columns.is_none() =>
        {
            "the record was not of CSV with a header when it was kept; name the `columns` of its `format`"
        }
        (Origin::Record, NodeKind::Step(_) | NodeKind::Sink(_)) => "it was a source when the record was kept",
        (Origin::Unknown, NodeKind::Step(Operator::Join(_))) => {
            "an older version kept it, without the side of the join that it came from"
        }
        (Origin::Row, NodeKind::Step(Operator::Join(_))) => "it was no join when the row was kept",
        (Origin::Unknown, NodeKind::Source(Source { format: Format::Csv(_) | Format::MessagePack, .. }))
            if !is_json(letter) =>
        {
            "an older version kept it, without what is needed to read the record again"
        }
        _ => return None,
    };
    Some(why.to_owned())
}

fn is_json(letter: &Letter) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(&letter.letter.original).is_ok()
}

/// Where a letter enters: the node, and of a join whether by its right side.
type Way = (usize, Option<bool>);

fn way(plan: &Plan, letter: &Letter) -> Option<Way> {
    let index = plan.nodes.iter().position(|node| node.name == letter.letter.entry)?;
    let joins = plan.nodes.get(index).is_some_and(|node| matches!(node.kind, NodeKind::Step(Operator::Join(_))));
    Some((index, joins.then_some(letter.letter.origin == Origin::Right)))
}

fn number(index: usize) -> NodeId {
    NodeId(u16::try_from(index).unwrap_or(u16::MAX))
}

/// The pipeline in which letters enter.
struct Ways {
    plan: Plan,
    /// Sources, those that were put in for steps and sinks among them.
    sources: usize,
    /// The number of the partition that each way has.
    partition_of: BTreeMap<Way, usize>,
    partitions: Vec<PartitionSpec>,
}

impl Ways {
    /// A step or sink reads a source of its own beside what it reads; letters of a source are its own records.
    fn of(plan: &Plan, letters: &[Letter]) -> Result<Ways, String> {
        let is_source = |node: &&Node| matches!(node.kind, NodeKind::Source(_));
        let mut again = plan.clone();
        tag_sides(&mut again)?;
        let sources = plan.nodes.iter().filter(is_source).count();
        let mut ways = Ways { plan: again, sources, partition_of: BTreeMap::new(), partitions: Vec::new() };
        for way in letters.iter().filter_map(|letter| way(plan, letter)) {
            if ways.partition_of.contains_key(&way) {
                continue;
            }
            let (index, side) = way;
            let source = if plan.nodes.get(index).as_ref().is_some_and(is_source) {
                plan.nodes.iter().take(index).filter(is_source).count()
            } else {
                ways.add(&plan.nodes, index, side)
            };
            ways.partition_of.insert(way, ways.partitions.len());
            ways.partitions.push(spec(source));
        }
        Ok(ways)
    }

    /// Puts a source in for a step or sink: its number.
    fn add(&mut self, nodes: &[Node], index: usize, side: Option<bool>) -> usize {
        let own = Input { node: number(self.plan.nodes.len()), port: Port::Main };
        // Before each side of a join stands a step that marks its rows.
        let tag = |right: bool| {
            let input = self.plan.nodes.get(index)?.inputs.get(usize::from(right))?;
            Some(input.node.index())
        };
        let reader = side.and_then(tag).unwrap_or(index);
        if let Some(reader) = self.plan.nodes.get_mut(reader) {
            reader.inputs.push(own);
        }
        self.plan.nodes.push(again(nodes, index));
        self.sources += 1;
        self.sources - 1
    }
}

impl Retry {
    /// Feeds letters into a pipeline that goes on from where it `stood`.
    pub fn feed(
        plan: &Plan,
        again: Again,
        letters: &[Letter],
        stood: &Stood,
        keeper: &StateKeeper,
    ) -> Result<Self, String> {
        let Ways { plan: plan_again, sources, partition_of, partitions } = Ways::of(plan, letters)?;
        let graph = lower(&plan_again, Lowering { shares: 1, track: true })?;
        // What a run that is over has kept may be of another pipeline than the one that takes its letters.
        let nothing = Stood::default();
        let from = match again.over {
            true => Resume { stood: &nothing, rows: &Nothing },
            false => Resume { stood, rows: keeper },
        };
        let sinks = graph.sink_nodes();
        let mut direct = Direct::resume(graph, partitions, TICK_ROWS, wall_clock(), Some(from))?;
        let held = direct.held();
        (0..sources).for_each(|source| direct.job().keep_open(source));
        let mut sent: BTreeMap<NodeId, Vec<(u64, Option<Cause>)>> = BTreeMap::new();
        for letter in letters {
            let Some(way) = way(plan, letter) else { continue };
            let Some(partition) = partition_of.get(&way).copied() else { continue };
            direct.set_now(letter.letter.time.map_or_else(wall_clock, Timestamp));
            let format = match plan.nodes.get(way.0).map(|node| &node.kind) {
                Some(NodeKind::Source(source)) => Some(&source.format),
                _ => None,
            };
            feed_one(&mut direct, partition, letter, format)?;
            let counted = (letter.run == again.run).then_some(letter.letter.cause);
            sent.entry(number(way.0)).or_default().push((letter.id, counted));
        }
        Ok(Retry { direct, over: again.over, sinks, held, sent })
    }

    /// What would come of it, and nothing is changed.
    pub fn rehearse(mut self) -> Result<Outcome, String> {
        let (epoch, lines) = self.collect()?;
        Ok(self.outcome(&epoch, &lines))
    }

    /// Gives sinks what came of it and makes it all durable. Sinks that it does not come to may be left out.
    pub fn commit(
        mut self,
        stood: &Stood,
        keeper: &mut StateKeeper,
        mut sinks: Vec<(NodeId, Box<dyn Sink>)>,
    ) -> Result<Outcome, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime for the sinks: {e}"))?;
        let (mut epoch, lines) = self.collect()?;
        let mut outcome = self.outcome(&epoch, &lines);
        let context = Arc::clone(&self.direct.job().graph.context);
        let context = &*context;
        let mut lines: HashMap<NodeId, Vec<Encoded>> = self.sinks.iter().copied().zip(lines).collect();
        for (node, sink) in &mut sinks {
            let lines = lines.remove(node).unwrap_or_default();
            for rows in lines.iter().filter(|rows| !rows.ends.is_empty()) {
                runtime.block_on(sink.deliver(rows)).map_err(SinkError::message)?;
            }
            let mut prepared = runtime.block_on(sink.prepare()).map_err(SinkError::message)?;
            // What is refused again is a letter again, whoever reads the sink's `.errors`: it is seen here and now.
            let counted = refused::count(context, (0, *node), false, &mut prepared)?;
            epoch.take_mark(*node, prepared, counted);
        }
        // The input stands where it stood.
        epoch.partitions.clone_from(&stood.partitions);
        epoch.turns.clone_from(&stood.turns);
        if !self.over {
            keeper.restored(&self.held);
        }
        for (node, letters) in &self.sent {
            keeper.withdraw(*node, letters);
        }
        let status = if self.over { Status::Finishing } else { Status::Stopped };
        keeper.commit(epoch, status)?;
        let mut settled = Epoch::default();
        for (node, sink) in &mut sinks {
            runtime.block_on(sink.committed()).map_err(SinkError::message)?;
            let mut prepared = runtime.block_on(sink.finish(End::Stopped)).map_err(SinkError::message)?;
            let counted = refused::count(context, (1, *node), false, &mut prepared)?;
            outcome.dead += counted.letters() as u64;
            outcome.waiting += prepared.held;
            settled.take_mark(*node, prepared, counted);
        }
        keeper.settle(settled, status)?;
        // What is on its way still is what the next run begins with.
        if self.over && outcome.waiting == 0 {
            keeper.complete()?;
        }
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
            waiting: 0,
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
        rows: true,
        time: None,
        schema: None,
        replay: crate::base::promise::Replay::Seek,
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
        after: None,
    }
}

/// `format` is that of the source that refused it.
fn feed_one(direct: &mut Direct, partition: usize, letter: &Letter, format: Option<&Format>) -> Result<(), String> {
    let DeadLetter { origin, header, original, .. } = &letter.letter;
    let mut bytes = original.clone();
    let record = match origin {
        Origin::Record => true,
        // What a source refused after it had read it was kept as JSON.
        Origin::Unknown => !is_json(letter),
        _ => false,
    };
    let Some(format) = format.filter(|_| record) else {
        let end = crate::data::column::as_u32(bytes.len());
        return direct.feed_event(partition, Block::from_records(bytes, vec![end]));
    };
    if *format == Format::MessagePack {
        let id = letter.id;
        bytes = STANDARD.decode(&bytes).map_err(|e| format!("the dead letter {id} is no Base64: {e}"))?;
    }
    let header = match format {
        Format::Csv(csv) => csv.columns.clone().or_else(|| header.clone()).map(Arc::new),
        _ => None,
    };
    let end = crate::data::column::as_u32(bytes.len());
    direct.feed(partition, Block { header, ..Block::from_records(bytes, vec![end]) })
}
