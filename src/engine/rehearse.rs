//! Runs a plan over given events in virtual time, without connectors, and watches any of its outputs.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::diag::Diagnostic;
use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::Place;
use crate::data::column::as_u32;
use crate::data::format::Format;
use crate::data::framing::{Block, Framer};
use crate::data::json;
use crate::data::value::Value;
use crate::plan::lookup::Refresh;
use crate::plan::{Input, Node, NodeKind, OnError, Operator, Plan, Sink};

use super::direct::Direct;
use super::lower::{Lowering, lower};
use super::missing::Watch;
use super::partition::PartitionSpec;

/// The wall clock at the start: 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp(1_767_225_600_000_000);
/// Rows at which a tick is cut; any number gives the same output.
const TICK_ROWS: u32 = 1024;

/// What a source is given.
#[derive(Clone, Debug)]
pub enum Given {
    /// An event as if it had been decoded.
    Event(Value),
    /// A record in the source's format; of MessagePack in Base64.
    Record(String),
    /// The clock moves on.
    Silence(TimeSpan),
}

/// What came of a rehearsal.
pub struct Rehearsed {
    /// What each watched output passed on, a JSON text a row.
    pub outputs: Vec<Vec<String>>,
    /// What was seen of the fields that are read.
    pub watches: Vec<Arc<Watch>>,
}

/// The warnings of `run` for fields that are read and that no given event of any of these rehearsals of one plan had.
pub fn missing_fields(rehearsals: &[Rehearsed]) -> Vec<Diagnostic> {
    let Some((first, others)) = rehearsals.split_first() else { return Vec::new() };
    let together = |(index, watch): (usize, &Arc<Watch>)| {
        for other in others.iter().filter_map(|r| r.watches.get(index)) {
            watch.add(other);
        }
        watch.warnings()
    };
    first.watches.iter().enumerate().flat_map(together).collect()
}

/// Runs the plan over what is given and says what each watched output passed on. `given` names sources by their place among the sources; after
/// the last item every source ends. The error is for the pipeline's author: a row failed where `on_error` is `fail`.
pub fn rehearse(plan: &Plan, given: &[(usize, Vec<Given>)], watched: &[Vec<Input>]) -> Result<Rehearsed, String> {
    let mut plan = plan.clone();
    // Nothing is too far ahead of a clock that is not the world's.
    for node in &mut plan.nodes {
        match &mut node.kind {
            NodeKind::Source(source) => source.time.iter_mut().for_each(|time| time.max_future = None),
            // Nor do tables change while it stands.
            NodeKind::Step(Operator::Lookup(lookup)) => lookup.refresh = Refresh::Never,
            NodeKind::Step(Operator::Notify(notify)) => notify.virtual_time = true,
            _ => {}
        }
    }
    let first = plan.nodes.len();
    plan.nodes.extend(watched.iter().map(|inputs| watcher(inputs)));
    let graph = lower(&plan, Lowering { shares: 1, track: false })?;
    let sources: Vec<(Format, PartitionSpec)> = specs(&plan);
    let specs = sources.iter().map(|(_, spec)| spec.clone()).collect();
    let mut direct = Direct::new(graph, specs, TICK_ROWS, START, None)?;
    feed(&mut direct, &sources, given)?;
    let sinks = direct.sink_nodes();
    let mut outputs = Vec::with_capacity(watched.len());
    for at in first..first + watched.len() {
        let sink = sinks.iter().position(|node| node.index() == at);
        let lines = sink.map(|s| direct.take(s)).unwrap_or_default();
        let text =
            lines.iter().flat_map(|l| String::from_utf8_lossy(&l.text).lines().map(str::to_owned).collect::<Vec<_>>());
        outputs.push(text.collect());
    }
    Ok(Rehearsed { outputs, watches: direct.job().graph.watches.clone() })
}

/// A sink that is only watched.
fn watcher(inputs: &[Input]) -> Node {
    Node {
        name: String::new(),
        description: None,
        place: String::new(),
        inputs: inputs.to_vec(),
        on_error: OnError::default(),
        kind: NodeKind::Sink(Sink {
            connector: String::new(),
            options: serde_json::Value::Null,
            format: Format::Json,
            line: None,
            templates: Vec::new(),
            paths: false,
            timed: false,
            identity: None,
            told_apart: None,
            promise: crate::base::promise::Promise::once("keeps nothing"),
        }),
    }
}

/// A source is one partition here.
fn specs(plan: &Plan) -> Vec<(Format, PartitionSpec)> {
    let sources = plan.nodes.iter().filter_map(|n| match &n.kind {
        NodeKind::Source(source) => Some(source),
        _ => None,
    });
    let spec = |(index, source): (usize, &crate::plan::Source)| {
        let time = source.time.as_ref();
        let spec = PartitionSpec {
            source: index,
            name: String::new(),
            start: Place::default(),
            bounded: source.bounded,
            timed: time.is_some_and(|t| t.field.is_some()),
            out_of_order: time.map(|t| t.out_of_order).unwrap_or_default(),
            idle_after: time.map_or(TimeSpan::seconds(30), |t| t.idle_after),
            after: None,
        };
        (source.format.clone(), spec)
    };
    sources.enumerate().map(spec).collect()
}

/// Feeds what stands before each source's first silence, in the order of sources, then lets the longest of those silences
/// pass, and so on; then ends every source.
fn feed(direct: &mut Direct, sources: &[(Format, PartitionSpec)], given: &[(usize, Vec<Given>)]) -> Result<(), String> {
    let mut framers: Vec<Framer> = sources.iter().map(|(format, _)| Framer::new(format)).collect();
    let mut left: Vec<(usize, std::vec::IntoIter<Given>)> =
        given.iter().map(|(source, items)| (*source, items.clone().into_iter())).collect();
    // Events are told apart by where they stand, as they are in a source.
    let mut position = 0;
    loop {
        let mut silence: Option<TimeSpan> = None;
        for (source, items) in &mut left {
            for item in items.by_ref() {
                match item {
                    Given::Event(value) => {
                        direct.feed_event(*source, event(&value, position))?;
                        position += 1;
                    }
                    Given::Record(text) => {
                        let Some(framer) = framers.get_mut(*source) else { continue };
                        let packed = sources.get(*source).is_some_and(|(format, _)| *format == Format::MessagePack);
                        let record = match packed {
                            true => STANDARD.decode(&text).map_err(|e| format!("`raw` is not Base64: {e}"))?,
                            false => format!("{text}\n").into_bytes(),
                        };
                        for block in framer.push(record, 0) {
                            direct.feed(*source, block)?;
                        }
                    }
                    Given::Silence(span) => {
                        silence = silence.max(Some(span));
                        break;
                    }
                }
            }
        }
        let Some(silence) = silence else { break };
        direct.pass_time(direct.now().plus(silence))?;
    }
    for (source, framer) in framers.iter_mut().enumerate() {
        if let Some(block) = framer.finish() {
            direct.feed(source, block)?;
        }
        direct.end(source)?;
    }
    Ok(())
}

fn event(value: &Value, position: u64) -> Block {
    let mut bytes = Vec::new();
    json::write_value(value, &mut bytes);
    let ends = vec![as_u32(bytes.len())];
    Block { position, ..Block::from_records(bytes, ends) }
}
