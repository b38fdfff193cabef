//! Loading a pipeline file for a verb, and opening its connectors.

use std::path::Path;

use crate::base::diag::Severity;
use crate::config::{self, Loaded, Pipeline, Registry};
use crate::connector::{OpenContext, Sink, SinkError};
use crate::connectors::{SINKS, SOURCES};
use crate::engine::run::Input;
use crate::plan::{Node, NodeKind};

/// Every connector.
pub const REGISTRY: Registry<'static> = Registry { sources: SOURCES, sinks: SINKS };

/// Loads a pipeline file with the environment's variables.
pub fn load(file: &Path, missing_secret: Severity) -> Loaded {
    config::load(file, &REGISTRY, &|name| std::env::var(name).ok(), missing_secret)
}

/// Opens the sources of a pipeline, in the order written.
pub fn open_sources(pipeline: &Pipeline) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for node in &pipeline.plan.nodes {
        let NodeKind::Source(source) = &node.kind else { continue };
        let kind = SOURCES.iter().find(|k| k.name == source.connector);
        let kind = kind.ok_or_else(|| format!("there is no source `{}`", source.connector))?;
        let context = context(pipeline, node, None);
        let mut partitions =
            (kind.open)(&source.options, context).map_err(|e| format!("source `{}`: {}", node.name, e.message))?;
        partitions.sort_by(|a, b| a.name.cmp(&b.name));
        let time = source.time.as_ref();
        inputs.push(Input {
            partitions,
            bounded: source.bounded,
            out_of_order: time.map(|t| t.out_of_order).unwrap_or_default(),
            idle_after: time.map(|t| t.idle_after).unwrap_or(crate::base::time::TimeSpan::seconds(30)),
        });
    }
    Ok(inputs)
}

/// Opens the sinks of a pipeline; `order` are their nodes in the order the engine numbers them.
pub fn open_sinks(pipeline: &Pipeline, order: &[crate::plan::NodeId]) -> Result<Vec<Box<dyn Sink>>, String> {
    let mut sinks = Vec::new();
    for id in order {
        let Some(node) = pipeline.plan.node(*id) else { continue };
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let kind = SINKS.iter().find(|k| k.name == sink.connector);
        let kind = kind.ok_or_else(|| format!("there is no sink `{}`", sink.connector))?;
        let opened = (kind.open)(&sink.options, context(pipeline, node, None));
        sinks.push(opened.map_err(|SinkError::Fatal(why)| format!("sink `{}`: {why}", node.name))?);
    }
    Ok(sinks)
}

fn context(pipeline: &Pipeline, node: &Node, header: Option<Vec<u8>>) -> OpenContext {
    let name = |text: &str| crate::data::value::Value::Text(text.into());
    let (of_pipeline, of_node) = (name(&pipeline.plan.name), name(&node.name));
    let seed = crate::data::hash::hash_key(&[of_pipeline.as_val(), of_node.as_val()]);
    let is_live = |n: &Node| matches!(&n.kind, NodeKind::Source(s) if !s.bounded);
    let bounded = !pipeline.plan.nodes.iter().any(is_live);
    OpenContext { directory: pipeline.directory.clone(), name: node.name.clone(), seed, header, bounded }
}
