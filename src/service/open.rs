//! Opening what a pipeline runs with: its connectors, and its state.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::base::time::TimeSpan;
use crate::config::{Pipeline, Registry};
use crate::connector::{Link, OpenContext, Sink};
use crate::connectors::{SINKS, SOURCES};
use crate::data::csv;
use crate::data::format::Format;
use crate::data::hash::hash_key;
use crate::data::layout::{FieldId, Root};
use crate::data::value::Val;
use crate::engine::epoch::Stood;
use crate::engine::lower::Graph;
use crate::engine::run::Input;
use crate::engine::turn_log::{Read, TurnLog};
use crate::plan::demand::demand;
use crate::plan::{Node, NodeId, NodeKind, Port};
use crate::store::control::{AGAIN_AFTER, ASKED_AGAIN, Pause, pause};
use crate::store::state::{Holder, StateError, StateFile, StateReader};

use super::links::Links;

/// Every connector.
pub const REGISTRY: Registry<'static> = Registry { sources: SOURCES, sinks: SINKS };

/// How long a live source without `time` is silent before it is idle.
const IDLE_AFTER: TimeSpan = TimeSpan::seconds(30);

/// What programs that run a pipeline call themselves: they take requests for its state.
pub const RUNS: [&str; 2] = ["run", "serve"];

/// The state database of a pipeline: where its file says, relative to it, else in the directory `data`, else in `.millstream`
/// beside it.
pub fn state_path(pipeline: &Pipeline, data: Option<&Path>) -> PathBuf {
    if let Some(path) = &pipeline.plan.state {
        return beside(pipeline, path);
    }
    // A variable that is set to nothing names no directory.
    let data = data.filter(|directory| !directory.as_os_str().is_empty());
    let directory = data.map_or_else(|| beside(pipeline, ".millstream"), Path::to_owned);
    directory.join(format!("{}.db", pipeline.plan.name))
}

/// A path relative to a pipeline's file, as people write it.
fn beside(pipeline: &Pipeline, path: &str) -> PathBuf {
    match pipeline.directory == Path::new(".") {
        true => PathBuf::from(path),
        false => pipeline.directory.join(path),
    }
}

/// A state that was opened to change it; a run that has it pauses meanwhile. The file is let go before the pause: what is
/// declared first goes last.
pub struct Opened {
    /// The state.
    pub file: StateFile,
    /// Absent if no run has it.
    pub pause: Option<Pause>,
}

/// Opens a state that is there to change it, for `holder`.
pub fn open_to_write(path: &Path, holder: &Holder) -> Result<Opened, StateError> {
    // Who has it may be somebody that a run lends it to, or a run that begins: then that run, which is there in a moment, is
    // asked.
    let mut paused = None;
    for _ in 0..ASKED_AGAIN {
        if StateReader::held(path).is_none() {
            break;
        }
        paused = pause(path, &holder.command)?;
        if paused.is_some() {
            break;
        }
        std::thread::sleep(AGAIN_AFTER);
    }
    let file = match paused.as_mut().and_then(Pause::take_lock) {
        Some(lock) => StateFile::open_with(path, holder, lock),
        None => StateFile::open(path, holder),
    };
    Ok(Opened { file: file?, pause: paused })
}

/// Opens the sources of a pipeline, in the order written; `stood` is where they stood if a run goes on, and their journal is
/// beside the state.
pub fn open_sources(pipeline: &Pipeline, stood: Option<&Stood>, state: &Path) -> Result<Vec<Input>, String> {
    let (mut inputs, journal) = (Vec::new(), journal_of(state));
    let demands = demand(&pipeline.plan);
    for (node, id) in pipeline.plan.nodes.iter().zip(0..) {
        let NodeKind::Source(source) = &node.kind else { continue };
        let kind = SOURCES.iter().find(|k| k.name == source.connector);
        let kind = kind.ok_or_else(|| format!("there is no source `{}`", source.connector))?;
        // A run that begins knows of sources only where those stood that were drained.
        let stood = stood.map(|stood| (stood.begins, stood.of_source(inputs.len())));
        let stood = stood.filter(|(begins, stood)| !begins || !stood.is_empty()).map(|(_, stood)| stood);
        let read = demands.of(NodeId(id), &Port::Main).values.into_iter().filter_map(|f| pipeline.plan.layout.path(f));
        let meta = read.filter(|path| path.root == Root::Meta).filter_map(|path| path.names.first());
        let meta = meta.map(ToString::to_string).collect();
        let own = OpenContext { stood, meta, journal: journal.clone(), ..context(pipeline, node, None) };
        let opened = (kind.open)(&source.options, own);
        let mut opened = opened.map_err(|e| format!("source `{}`: {}", node.name, e.message))?;
        opened.partitions.sort_by(|a, b| a.name.cmp(&b.name));
        let time = source.time.as_ref();
        inputs.push(Input {
            partitions: opened.partitions,
            watch: opened.watch,
            bounded: source.bounded,
            out_of_order: time.map(|t| t.out_of_order).unwrap_or_default(),
            idle_after: time.map_or(IDLE_AFTER, |t| t.idle_after),
        });
    }
    Ok(inputs)
}

/// Opens where it is written down how live inputs meet, if anything leaves ahead of a checkpoint that depends on it.
/// What comes back to a sink is a live input to steps with state; rows that it is made of alone say where they come from.
pub fn open_turns(
    graph: &Graph,
    inputs: &[Input],
    stood: Option<&Stood>,
    state: &Path,
) -> Result<Option<(TurnLog, Read)>, String> {
    let live = graph.meets || inputs.iter().any(|input| !input.bounded);
    if !live || !graph.readers.iter().any(|reader| reader.early) {
        return Ok(None);
    }
    let mut directory = state.as_os_str().to_owned();
    directory.push(".turns");
    TurnLog::open(Path::new(&directory), graph, stood.and_then(|stood| stood.turns.as_ref())).map(Some)
}

/// The sources of a pipeline whose input was all taken before: there is nothing left to read.
pub fn ended_sources(pipeline: &Pipeline) -> Vec<Input> {
    let sources = pipeline.plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
    let ended = |_| Input {
        partitions: Vec::new(),
        watch: None,
        bounded: true,
        out_of_order: TimeSpan::ZERO,
        idle_after: IDLE_AFTER,
    };
    sources.map(ended).collect()
}

/// Opens the sinks of a pipeline; `order` are their nodes in the order the engine numbers them, `marks` what each remembers
/// if the run goes on.
pub fn open_sinks(
    pipeline: &Pipeline,
    order: &[NodeId],
    (marks, state): (Option<&HashMap<String, BTreeMap<String, String>>>, &Path),
    links: &mut Links,
) -> Result<Vec<Box<dyn Sink>>, String> {
    let mut sinks = Vec::new();
    for id in order {
        let Some(node) = pipeline.plan.node(*id) else { continue };
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let kind = SINKS.iter().find(|k| k.name == sink.connector);
        let kind = kind.ok_or_else(|| format!("there is no sink `{}`", sink.connector))?;
        let header = match &sink.format {
            Format::Csv(dialect) => {
                let names = dialect.columns.iter().flatten();
                // The header is names alone; the fields they stand for do not matter to it.
                let columns = names.map(|name| (name.clone(), FieldId(0))).collect();
                Some(csv::Encoder::new(dialect, columns).header())
            }
            _ => None,
        };
        let marks = marks.map(|marks| marks.get(&node.name).cloned().unwrap_or_default());
        let own = OpenContext { marks, journal: outbox_of(state, &node.name), ..context(pipeline, node, header) };
        links.push((node.name.clone(), own.link.clone()));
        let opened = (kind.open)(&sink.options, own);
        sinks.push(opened.map_err(|e| format!("sink `{}`: {}", node.name, e.message()))?);
    }
    Ok(sinks)
}

/// Where the sources of a pipeline keep what is not part of a checkpoint yet.
pub fn journal_of(state: &Path) -> PathBuf {
    let mut journal = state.as_os_str().to_owned();
    journal.push(".journal");
    journal.into()
}

/// Where a sink may keep rows that wait.
fn outbox_of(state: &Path, sink: &str) -> PathBuf {
    let mut directory = state.as_os_str().to_owned();
    directory.push(".outbox");
    // Names are plain: letters, digits and underscores.
    Path::new(&directory).join(sink)
}

fn context(pipeline: &Pipeline, node: &Node, header: Option<Vec<u8>>) -> OpenContext {
    let is_live = |n: &Node| matches!(&n.kind, NodeKind::Source(s) if !s.bounded);
    OpenContext {
        directory: pipeline.directory.clone(),
        name: node.name.clone(),
        seed: hash_key(&[Val::Text(&pipeline.plan.name), Val::Text(&node.name)]),
        header,
        json: match &node.kind {
            NodeKind::Sink(sink) => sink.format == Format::Json,
            NodeKind::Source(source) => source.format == Format::Json,
            NodeKind::Step(_) => false,
        },
        meta: Vec::new(),
        journal: PathBuf::new(),
        bounded: !pipeline.plan.nodes.iter().any(is_live),
        link: Link::default(),
        marks: None,
        stood: None,
    }
}
