//! Whole pipelines through the reader, with connectors that do nothing.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::base::tree::Node;
use crate::connector::{
    CheckContext, OpenContext, Partition, Sink, SinkConnector, SinkError, SourceConnector, SourceError,
};
use crate::plan::window::{Function, Output, Shape};
use crate::plan::{NodeKind, Operator, Port};

struct TestIn;
struct TestOut;

/// Reads nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// A path.
    path: String,
    /// Whether it goes on.
    #[serde(default)]
    follow: bool,
}

impl SourceConnector for TestIn {
    const NAME: &'static str = "file";
    type Options = Options;
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn bounded(options: &Options) -> bool {
        !options.follow
    }
    fn open(_: Options, _: OpenContext) -> Result<Vec<Partition>, SourceError> {
        Ok(Vec::new())
    }
}

impl SinkConnector for TestOut {
    const NAME: &'static str = "file";
    type Options = Options;
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn templates(options: &Options) -> Vec<String> {
        if options.path.contains("{{") { vec![options.path.clone()] } else { Vec::new() }
    }
    fn open(_: Options, _: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        Err(SinkError::Fatal("a test does not open".into()))
    }
}

pub(super) fn check(text: &str) -> Loaded {
    let registry = Registry { sources: &[SourceKind::of::<TestIn>()], sinks: &[SinkKind::of::<TestOut>()] };
    let env = |name: &str| (name == "SET").then(|| "30".to_owned());
    parse(text, "p.yaml", Path::new("."), &registry, &env, Severity::Warning)
}

pub(super) fn plan(text: &str) -> Plan {
    let loaded = check(text);
    assert!(loaded.found.list.is_empty(), "{:#?}", codes(&loaded));
    loaded.pipeline.unwrap().plan
}

pub(super) fn codes(loaded: &Loaded) -> Vec<String> {
    let one = |d: &Diagnostic| {
        let place = d.span.as_ref().map(|s| format!("{}:{}", s.line_column().0, s.line_column().1)).unwrap_or_default();
        format!("{place} {} {} [{}]", d.code, d.message, d.help.clone().unwrap_or_default())
    };
    loaded.found.list.iter().map(one).collect()
}

const J3: &str = "\
name: j3
sources:
  readings:
    file: { path: in.ndjson }
    time: { field: ts, out_of_order: 5s }
steps:
  per_device:
    window:
      tumbling: 10s
      by: device_id
      aggregate:
        readings: count()
        mean: avg(temperature)
        least: min(temperature)
        most: max(temperature)
sinks:
  out:
    file: { path: out.ndjson }
";

#[test]
fn a_window_pipeline_becomes_a_plan() {
    let plan = plan(J3);
    assert_eq!(plan.nodes.len(), 3);
    let [source, step, sink] = plan.nodes.as_slice() else { panic!() };
    let NodeKind::Source(source) = &source.kind else { panic!() };
    assert!(source.bounded);
    let time = source.time.as_ref().unwrap();
    assert_eq!((time.out_of_order.to_string(), time.max_future), ("5s".into(), None));
    let NodeKind::Step(Operator::Window(window)) = &step.kind else { panic!() };
    let Shape::Tumbling { size, .. } = window.shape else { panic!() };
    assert_eq!(size.to_string(), "10s");
    let functions: Vec<Function> = window.calls.iter().map(|c| c.function).collect();
    assert_eq!(functions, [Function::Count, Function::Avg, Function::Min, Function::Max]);
    assert!(matches!(window.outputs.as_slice(), [(_, Output::Call(0)), ..]));
    assert_eq!(sink.inputs.len(), 1);
    assert_eq!(sink.inputs[0].node.index(), 1);
    assert_eq!(sink.inputs[0].port, Port::Main);
    assert_eq!(step.place, "p.yaml:7:3");
}

#[test]
fn the_schema_is_made_of_what_the_reader_takes() {
    let registry = Registry { sources: &[SourceKind::of::<TestIn>()], sinks: &[SinkKind::of::<TestOut>()] };
    insta::assert_snapshot!(schema::schema(&registry));
}
