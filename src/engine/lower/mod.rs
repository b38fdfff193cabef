//! A plan made ready to run: stateless steps gathered into flows behind each source and each step with state, and the
//! exchanges between them.

mod actions;
mod alert;
mod join;
mod lookup;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::time::TimeSpan;
use crate::data::format::Format;
use crate::data::layout::{Demand, FieldId, FieldPath, Layout, Root};
use crate::expr::{Expr, Program};
use crate::plan::demand::{Demands, demand};
use crate::plan::{Node, NodeId, NodeKind, Operator, Plan, Port, Sink, Source};

use super::action::Action;
use super::flow::{EntryInfo, ErrorFields, Flow, FlowContext};
use super::map::{Meta, SourceSpec, TimeSpec};
use super::missing::{Watch, fields_read};
use super::stage::StageSpec;
use actions::{compile, encode};
pub(super) use join::tag_sides;
use steps::Stateful;

/// A plan ready to run.
pub struct Graph {
    /// What all flows share.
    pub context: Arc<FlowContext>,
    /// In the order written; then the rows that come back to sinks, each like a source that is read behind the sink.
    pub sources: Vec<SourcePart>,
    /// Steps with state and sinks, each after those that feed it.
    pub readers: Vec<Reader>,
    /// For each step with state, by its place among them: the sources that its watermark depends on.
    pub sets: Vec<Vec<usize>>,
    /// What looks for fields that expressions read and no event has.
    pub watches: Vec<Arc<Watch>>,
    /// Whether a step goes by the wall clock.
    pub clocked: bool,
    /// Whether a step with state takes rows that came back to a sink: when they came shows in what it does.
    pub meets: bool,
}

impl Graph {
    /// The sinks, in the order that [`ReaderKind::Sink`] numbers them.
    pub fn sink_nodes(&self) -> Vec<NodeId> {
        let sinks = self.readers.iter().filter(|r| matches!(r.kind, ReaderKind::Sink(_)));
        sinks.map(|r| r.node).collect()
    }
}

/// A source of the graph.
pub struct SourcePart {
    /// Which entry.
    pub node: NodeId,
    /// What workers do with its blocks.
    pub spec: Arc<SourceSpec>,
    /// The reader of each exit of its flow.
    pub exits: Vec<usize>,
    /// Of rows that come back to a sink: the sources whose rows come to it, by index.
    pub after: Option<Vec<usize>>,
}

/// A reader of ticks.
pub struct Reader {
    /// Which entry.
    pub node: NodeId,
    /// What it is.
    pub kind: ReaderKind,
    /// Sources whose flows feed it, by index.
    pub sources: Vec<usize>,
    /// Readers whose flows feed it, by index.
    pub stages: Vec<usize>,
    /// What is read of its rows.
    pub needed: Demand,
    /// How far its watermark is behind that of its sources: steps before it hand on rows that old.
    pub behind: TimeSpan,
    /// Of a sink that sends: whether rows leave before a checkpoint holds what they were made of.
    pub early: bool,
}

/// What a reader is.
pub enum ReaderKind {
    /// A step with state, and the number of its watermark's set.
    Stage(Arc<StageSpec>, usize),
    /// A sink, by its place among the sinks.
    Sink(usize),
}

/// How a plan is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Lowering {
    /// How many shares keyed steps are cut into.
    pub shares: usize,
    /// Whether state changes are noted, for snapshots.
    pub track: bool,
}

/// Makes a plan ready to run. The error is for the person who wrote it.
pub fn lower(plan: &Plan, how: Lowering) -> Result<Graph, String> {
    let mut plan = plan.clone();
    name_csv_columns(&mut plan)?;
    tag_sides(&mut plan)?;
    let plan = &plan;
    let demands = demand(plan);
    let mut lowering = Lower { plan, layout: plan.layout.clone(), demands, how, readers: HashMap::new() };
    let error_fields = ErrorFields {
        reason: lowering.field(FieldPath::event(["reason"]))?,
        entry: lowering.field(FieldPath::event(["entry"]))?,
        place: lowering.field(FieldPath::event(["place"]))?,
        original: lowering.field(FieldPath::event(["original"]))?,
    };
    let order: Vec<NodeId> = plan.upstream_order().into_iter().rev().collect();
    for id in &order {
        if plan.node(*id).is_some_and(is_reader) {
            let number = lowering.readers.len();
            lowering.readers.insert(*id, number);
        }
    }
    // Actions first: they name computed columns, which must all be in the layout before anything is compiled for it.
    let mut made: HashMap<NodeId, Made> = HashMap::new();
    for id in &order {
        if let Some(node) = plan.node(*id) {
            made.insert(*id, lowering.node(*id, node)?);
        }
    }
    lowering.graph(&order, made, error_fields)
}

/// The columns that CSV sinks write are fields like those that steps name.
fn name_csv_columns(plan: &mut Plan) -> Result<(), String> {
    for node in &plan.nodes {
        let NodeKind::Sink(Sink { format: Format::Csv(dialect), .. }) = &node.kind else { continue };
        for name in dialect.columns.iter().flatten() {
            let field = plan.layout.intern(FieldPath::event([name]));
            field.ok_or_else(|| "the pipeline names too many fields".to_owned())?;
        }
    }
    Ok(())
}

/// Whether a node is a sink whose rows are out of the pipeline's hands before a checkpoint holds what they were made of.
fn sends_early(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Sink(sink) if sink.identity.is_some() && sink.promise.early)
}

/// Whether a node takes ticks in sequence: a sink, or a step with state.
pub(super) fn is_reader(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Source(_) => false,
        NodeKind::Sink(_) => true,
        NodeKind::Step(operator) => operator.has_state(),
    }
}

/// The parts of a node, before flows are laid.
pub(super) struct Made {
    /// Makes the action anew for each flow that the node stands in.
    pub(super) action: Option<Box<dyn Fn() -> Result<Action, String>>>,
    stateful: Option<Stateful>,
    time: Option<TimeSpec>,
}

pub(super) struct Lower<'a> {
    pub(super) plan: &'a Plan,
    pub(super) layout: Layout,
    pub(super) demands: Demands,
    how: Lowering,
    /// The number of each reader.
    pub(super) readers: HashMap<NodeId, usize>,
}

impl Lower<'_> {
    fn field(&mut self, path: FieldPath) -> Result<FieldId, String> {
        self.layout.intern(path).ok_or_else(|| "the pipeline names too many fields".to_owned())
    }

    fn compile(&self, expr: &Expr) -> Result<Program, String> {
        compile(expr, &self.layout, &self.plan.vars)
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<Made, String> {
        let mut made = Made { action: None, stateful: None, time: None };
        match &node.kind {
            NodeKind::Source(source) => made.time = self.time(source)?,
            NodeKind::Sink(sink) => made.action = Some(encode(sink, &self.layout)?),
            NodeKind::Step(operator) if operator.has_state() => {
                let (stateful, prepare) = self.stateful(id, node, operator)?;
                made.stateful = Some(stateful);
                made.action = Some(prepare);
            }
            NodeKind::Step(operator) => made.action = Some(self.stateless(operator)?),
        }
        Ok(made)
    }

    fn time(&self, source: &Source) -> Result<Option<TimeSpec>, String> {
        let Some(time) = &source.time else { return Ok(None) };
        let Some(field) = &time.field else { return Ok(None) };
        Ok(Some(TimeSpec {
            field: self.compile(field)?,
            place: field.origin.span.place(),
            format: time.format.clone(),
            zone: time.zone.clone(),
            max_future: time.max_future,
        }))
    }

    /// What all flows share; rows come back to the sinks that are `returning`.
    fn context(&self, layout: Arc<Layout>, returning: &[NodeId], error_fields: ErrorFields) -> FlowContext {
        let entry = |(id, node): (NodeId, &Node)| EntryInfo {
            name: node.name.clone(),
            on_error: node.on_error,
            part_of: match &node.kind {
                NodeKind::Step(Operator::Tag(tag)) => Some(tag.join),
                _ => None,
            },
            returned: returning.contains(&id),
        };
        let entries = (0u16..).map(NodeId).zip(&self.plan.nodes).map(entry).collect();
        FlowContext { layout, entries, error_fields, letters: self.how.track, taps: Arc::default() }
    }

    fn graph(
        self,
        order: &[NodeId],
        mut made: HashMap<NodeId, Made>,
        error_fields: ErrorFields,
    ) -> Result<Graph, String> {
        let layout = Arc::new(self.layout.clone());
        let returning = self.plan.returning();
        let mut graph = Graph {
            context: Arc::new(self.context(Arc::clone(&layout), &returning, error_fields)),
            sources: Vec::new(),
            readers: Vec::new(),
            sets: Vec::new(),
            watches: Vec::new(),
            clocked: false,
            meets: false,
        };
        graph.clocked = self.plan.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Step(Operator::Notify(_))));
        let mut flows: HashMap<NodeId, (Arc<Flow>, Vec<usize>)> = HashMap::new();
        let is_root = |id: &&NodeId| returning.contains(id) || self.plan.node(**id).is_some_and(is_root);
        for id in order.iter().filter(is_root) {
            let (flow, exits) = self.flow(*id, order, &made)?;
            flows.insert(*id, (Arc::new(flow), exits));
        }
        for (id, node) in (0u16..).map(NodeId).zip(&self.plan.nodes) {
            if let NodeKind::Source(source) = &node.kind
                && let Some((flow, exits)) = flows.get(&id)
            {
                let time = made.get_mut(&id).and_then(|m| m.time.take());
                let spec = self.source(id, node, source, time, Arc::clone(flow));
                graph.watches.push(Arc::clone(&spec.watch));
                graph.sources.push(SourcePart { node: id, spec: Arc::new(spec), exits: exits.clone(), after: None });
            }
        }
        for id in returning {
            let (Some(node), Some((flow, exits))) = (self.plan.node(id), flows.get(&id)) else { continue };
            let (spec, after) = (Arc::new(self.returned(id, node, Arc::clone(flow))), Some(Vec::new()));
            graph.sources.push(SourcePart { node: id, spec, exits: exits.clone(), after });
        }
        let mut sinks = 0;
        for id in order.iter().filter(|id| self.readers.contains_key(id)) {
            let kind = match (made.get_mut(id).and_then(|m| m.stateful.take()), flows.get(id)) {
                (Some(stateful), Some((flow, exits))) => {
                    graph.watches.extend(stateful.watches.iter().cloned());
                    let spec = self.stage(*id, stateful, Arc::clone(flow), exits.clone(), &layout);
                    ReaderKind::Stage(Arc::new(spec), graph.readers.len())
                }
                _ => {
                    sinks += 1;
                    ReaderKind::Sink(sinks - 1)
                }
            };
            let needed = self.input_demand(*id);
            graph.readers.push(Reader {
                node: *id,
                kind,
                sources: Vec::new(),
                stages: Vec::new(),
                needed,
                behind: TimeSpan::ZERO,
                early: self.plan.node(*id).is_some_and(sends_early),
            });
        }
        connect(&mut graph);
        Ok(graph)
    }

    fn source(&self, id: NodeId, node: &Node, source: &Source, time: Option<TimeSpec>, flow: Arc<Flow>) -> SourceSpec {
        let needed = self.demands.of(id, &Port::Main);
        SourceSpec {
            format: source.format.clone(),
            meta: self.meta(&needed),
            timed: time.is_some()
                || self.plan.nodes.iter().any(|n| match &n.kind {
                    NodeKind::Step(operator) => operator.has_state(),
                    NodeKind::Sink(sink) => sink.timed || sink.identity.is_some(),
                    NodeKind::Source(_) => false,
                }),
            time,
            flow,
            name: node.name.clone(),
            watch: Arc::new(Watch::new("event", fields_read(self.plan, &self.layout, &needed))),
            needed,
            recounts: false.into(),
            port: Port::Main,
        }
    }

    /// What comes back to a sink is read behind it, and where it stands tells its rows apart.
    fn returned(&self, id: NodeId, node: &Node, flow: Arc<Flow>) -> SourceSpec {
        let needed = self.demands.of(id, &Port::Errors);
        SourceSpec {
            format: Format::Json,
            meta: self.meta(&needed),
            timed: false,
            time: None,
            flow,
            name: format!("{}{}", node.name, Port::Errors),
            watch: Arc::new(Watch::new("row", Vec::new())),
            needed,
            recounts: false.into(),
            port: Port::Errors,
        }
    }

    /// The metadata that is read of a source's rows.
    fn meta(&self, needed: &Demand) -> Vec<(FieldId, Meta)> {
        let meta = |field: &FieldId| {
            let path = self.layout.path(*field).filter(|p| p.root == Root::Meta)?;
            let meta = match path.names.first()?.as_str() {
                "source" => Meta::Source,
                "path" => Meta::Path,
                "offset" => Meta::Offset,
                _ => Meta::Said,
            };
            Some((*field, meta))
        };
        needed.values.iter().filter_map(meta).collect()
    }

    fn stage(
        &self,
        id: NodeId,
        stateful: Stateful,
        flow: Arc<Flow>,
        exits: Vec<usize>,
        layout: &Arc<Layout>,
    ) -> StageSpec {
        let layout = Arc::clone(layout);
        let needed = self.demands.of_all(id);
        let of_output = needed.clone();
        let Stateful { make, keyed, late, behind, side, .. } = stateful;
        StageSpec {
            node: id,
            make: Box::new(move || Ok(make(&layout, &of_output))),
            shares: if keyed { self.how.shares } else { 1 },
            flow,
            exits,
            needed,
            late,
            behind,
            side,
        }
    }

    /// What is read of a node's input rows.
    pub(super) fn input_demand(&self, id: NodeId) -> Demand {
        let mut needed = Demand::default();
        for input in self.plan.node(id).map_or(&[][..], |n| &n.inputs) {
            needed.union(&self.demands.of(input.node, &input.port));
        }
        needed
    }
}

/// A flow begins behind a source and behind each step with state.
fn is_root(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Source(_)) || (is_reader(node) && !matches!(node.kind, NodeKind::Sink(_)))
}

/// Notes who feeds each reader, which sources each step's watermark depends on, and how far it is behind them.
fn connect(graph: &mut Graph) {
    for (index, source) in graph.sources.iter().enumerate() {
        for exit in &source.exits {
            if let Some(reader) = graph.readers.get_mut(*exit) {
                reader.sources.push(index);
            }
        }
    }
    let exits = |reader: &Reader| match &reader.kind {
        ReaderKind::Stage(spec, _) => spec.exits.clone(),
        ReaderKind::Sink(_) => Vec::new(),
    };
    for index in 0..graph.readers.len() {
        for exit in graph.readers.get(index).map(exits).unwrap_or_default() {
            if let Some(reader) = graph.readers.get_mut(exit) {
                reader.stages.push(index);
            }
        }
    }
    // Readers stand after those that feed them, so one pass gathers the sources of each.
    let mut above: Vec<(Vec<usize>, TimeSpan)> = Vec::new();
    for reader in &mut graph.readers {
        let mut sources = reader.sources.clone();
        for (of_stage, behind) in reader.stages.iter().filter_map(|stage| above.get(*stage)) {
            sources.extend(of_stage);
            reader.behind = reader.behind.max(*behind);
        }
        sources.sort_unstable();
        sources.dedup();
        if let ReaderKind::Stage(_, set) = &mut reader.kind {
            *set = graph.sets.len();
            // What comes back to a sink moves no watermark: it came in before.
            let real = real(&graph.sources, &sources);
            graph.meets |= real != sources;
            graph.sets.push(real);
        } else if let Some(back) =
            graph.sources.iter_mut().find(|part| part.after.is_some() && part.node == reader.node)
        {
            back.after = Some(sources.clone());
        }
        let own = match &reader.kind {
            ReaderKind::Stage(spec, _) => spec.behind,
            ReaderKind::Sink(_) => TimeSpan::ZERO,
        };
        above.push((sources, TimeSpan(reader.behind.0.saturating_add(own.0))));
    }
}

/// Sources, and in the place of what comes back to a sink those whose rows came to it.
fn real(parts: &[SourcePart], sources: &[usize]) -> Vec<usize> {
    let mut found = Vec::new();
    for source in sources {
        match parts.get(*source).and_then(|part| part.after.as_deref()) {
            Some(after) => found.extend(real(parts, after)),
            None => found.push(*source),
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
