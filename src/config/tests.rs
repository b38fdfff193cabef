//! Whole pipelines through the reader, with connectors that do nothing.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::base::tree::Node;
use crate::connector::{
    CheckContext, OpenContext, Opened, Reach, Sink, SinkConnector, SinkError, SourceConnector, SourceError,
};
use crate::plan::aggregate::{Function, Output};
use crate::plan::window::Shape;
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
    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn bounded(options: &Options) -> bool {
        !options.follow
    }
    fn open(_: Options, _: OpenContext) -> Result<Opened, SourceError> {
        Ok(Vec::new().into())
    }
}

impl SinkConnector for TestOut {
    const NAME: &'static str = "file";
    type Options = Options;
    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn promise(_: &Options) -> crate::base::promise::Promise {
        crate::base::promise::Promise::once("keeps rows")
    }

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
    let functions: Vec<Function> = window.calls.iter().map(|c| c.function.clone()).collect();
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

fn file(name: &str) -> String {
    format!("  {name}:\n    file: {{ path: {name}.ndjson }}\n")
}

/// `from` as `check` worked it out: `step < input, input`.
fn inputs(plan: &Plan) -> Vec<String> {
    let name = |input: &crate::plan::Input| format!("{}{}", plan.nodes[input.node.index()].name, input.port);
    let of = |node: &crate::plan::Node| {
        format!("{} < {}", node.name, node.inputs.iter().map(name).collect::<Vec<_>>().join(", "))
    };
    plan.nodes.iter().filter(|n| !n.inputs.is_empty()).map(of).collect()
}

#[test]
fn what_is_not_said_is_the_entry_above() {
    let steps = "steps:\n  x:\n    filter: v > 1\n  y:\n    keep: [v]\n";
    let text = format!("sources:\n{}{}{steps}sinks:\n{}{}", file("a"), file("b"), file("o"), file("p"));
    assert_eq!(inputs(&plan(&text)), ["x < a, b", "y < x", "o < y", "p < y"]);
    let text = format!("sources:\n{}sinks:\n{}", file("a"), file("o"));
    assert_eq!(inputs(&plan(&text)), ["o < a"]);
}

#[test]
fn ports_are_read_by_name() {
    let steps = "\
steps:
  split:
    route:
      hot: v > 30
      cold: v < 3
  odd:
    from: [split.hot, split.cold, a.errors]
    script: emit(\"big\", event)
    ports: [big]
  w:
    from: split
    window: { tumbling: 1m, aggregate: {} }
";
    let out = |name: &str, from: &str| format!("{}    from: {from}\n", file(name));
    let sinks = out("o", "[odd, odd.big, w]") + &out("p", "w.late");
    let text = format!("sources:\n{}{steps}sinks:\n{sinks}", file("a"));
    assert_eq!(
        inputs(&plan(&text)),
        ["split < a", "odd < split.hot, split.cold, a.errors", "w < split", "o < odd, odd.big, w", "p < w.late"]
    );
}

#[test]
fn every_step_becomes_its_operator() {
    let steps = "\
steps:
  a:
    set: { n: 1, half: 0.5, word: '\"x\"', twice: v * 2, none: null, list: [1, a], flag: true, site.floor: v }
  b:
    rename: { old: new, x.y: z }
  c:
    drop: secret
  d:
    on_error: fail
    description: counts
    script: |
      state.n = 1;
    by: { id: device_id }
    state_ttl: 1h
  e:
    window: { sliding: { size: 10m, every: 1m }, by: [device_id, site.floor], offset: -5s, late: drop, allow_late: 30s, aggregate: {} }
";
    let text =
        format!("vars:\n  limit: \"${{SET}}\"\n  kept: ${{SET}}\nsources:\n{}{steps}sinks:\n{}", file("s"), file("o"));
    let plan = plan(&text);
    let written = |id| plan.layout.path(id).unwrap().to_string();
    let step = |at: usize| match &plan.nodes[at].kind {
        NodeKind::Step(operator) => operator,
        _ => panic!("not a step"),
    };
    let Operator::Set { fields } = step(1) else { panic!() };
    let fields: Vec<String> = fields.iter().map(|(id, e)| format!("{} = {}", written(*id), e.text)).collect();
    assert_eq!(
        fields,
        [
            "n = 1",
            "half = 0.5",
            "word = \"x\"",
            "twice = v * 2",
            "none = null()",
            "list = [1, \"a\"]",
            "flag = true",
            "site.floor = v"
        ]
    );
    let Operator::Rename { fields } = step(2) else { panic!() };
    assert_eq!(fields.iter().map(|(a, b)| (written(*a), written(*b))).next(), Some(("old".into(), "new".into())));
    let Operator::Script { by, state_ttl, .. } = step(4) else { panic!() };
    assert_eq!((written(by[0].field), state_ttl.map(|t| t.to_string())), ("id".into(), Some("1h".into())));
    assert_eq!(plan.nodes[4].on_error, crate::plan::OnError::Fail);
    assert_eq!(plan.nodes[4].description.as_deref(), Some("counts"));
    let Operator::Window(window) = step(5) else { panic!() };
    let Shape::Sliding { size, every, offset } = window.shape else { panic!() };
    assert_eq!([size, every, offset, window.allow_late].map(|t| t.to_string()), ["10m", "1m", "-5s", "30s"]);
    assert_eq!(window.late, crate::plan::window::Late::Drop);
    use crate::data::value::Value;
    assert_eq!(plan.vars, [("limit".into(), Value::Text("30".into())), ("kept".into(), Value::Int(30))]);
}

#[test]
fn variables_are_filled_in_where_text_is_plain() {
    let text = "\
name: ${NAME:-from_env}
sources:
  a:
    file:
      path: x${SET}y$${SET}${MISSING:-}
      follow: ${FOLLOW:-true}
    time: { field: ts, out_of_order: \"${SET}s\" }
    format: { csv: { delimiter: \"\\t\", columns: [ts, v, device, site, SET], infer: false } }
steps:
  f:
    filter: v == `${SET}`
sinks:
  o:
    file: { path: \"{{ site.floor }}/{{ device }}/{{ meta.path }}.csv\" }
    format: { csv: { columns: [v, site] } }
";
    let plan = plan(text);
    assert_eq!(plan.name, "from_env");
    let NodeKind::Source(source) = &plan.nodes[0].kind else { panic!() };
    assert_eq!(source.options, serde_json::json!({ "path": "x30y${SET}", "follow": true }));
    assert!(!source.bounded);
    let time = source.time.as_ref().unwrap();
    let spans = (time.out_of_order.to_string(), time.max_future.map(|m| m.to_string()), time.idle_after.to_string());
    assert_eq!(spans, ("30s".into(), Some("1d".into()), "30s".into()));
    let crate::data::format::Format::Csv(csv) = &source.format else { panic!() };
    assert_eq!((csv.delimiter, csv.infer, csv.columns.as_deref().map(<[String]>::len)), (b'\t', false, Some(5)));
    let NodeKind::Step(Operator::Filter { condition }) = &plan.nodes[1].kind else { panic!() };
    assert_eq!(condition.text, "v == `${SET}`");
    let NodeKind::Sink(sink) = &plan.nodes[2].kind else { panic!() };
    let [template] = sink.templates.as_slice() else { panic!() };
    let fields: Vec<String> = template.fields.iter().map(|f| plan.layout.path(*f).unwrap().to_string()).collect();
    assert_eq!(fields, ["device", "meta.path", "site"]);
}

#[test]
fn tests_are_read_with_their_places() {
    let text = format!(
        "{J3}tests:
  - name: one row
    given:
      readings:
        - {{ device_id: a, ts: \"2026-01-01T00:00:10Z\", temperature: 35 }}
        - raw: '{{\"device_id\"'
        - advance: 5m
    expect:
      per_device: [{{ device_id: a, readings: 1 }}]
      per_device.late: []
      readings.errors: {{ count: 1 }}
      out: {{ contains: [{{ mean: 35.0 }}] }}
"
    );
    let loaded = check(&text);
    assert!(loaded.found.list.is_empty(), "{:?}", codes(&loaded));
    let tests = loaded.pipeline.unwrap().tests;
    let [case] = tests.as_slice() else { panic!() };
    let items: Vec<String> = case.given[0].items.iter().map(|i| i.span.place()).collect();
    assert_eq!(items, ["p.yaml:23:11", "p.yaml:24:11", "p.yaml:25:11"]);
    let kinds: Vec<(String, Port)> = case.expect.iter().map(|e| (e.name.clone(), e.port.clone())).collect();
    assert_eq!(kinds[1], ("per_device.late".into(), Port::Late));
    assert_eq!(kinds[2], ("readings.errors".into(), Port::Errors));
    assert!(matches!(&case.expect[2].rows, cases::Rows::Count(1)));
    assert!(matches!(&case.expect[3].rows, cases::Rows::Contains(rows) if rows.len() == 1));
}

#[test]
fn a_secret_is_read_and_missed_as_the_purpose_asks() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "s3cret\n").unwrap();
    let path = directory.path().join("my pipe.yaml");
    let write = |secret: &str| {
        let text = format!("sources:\n  a:\n    file: {{ path: \"${{file:{secret}}}\" }}\nsinks:\n{}", file("o"));
        std::fs::write(&path, text).unwrap();
    };
    let registry = Registry { sources: &[SourceKind::of::<TestIn>()], sinks: &[SinkKind::of::<TestOut>()] };
    let load = |missing| load(&path, &registry, &|_| None, missing);
    write("key");
    let pipeline = load(Severity::Error).pipeline.unwrap();
    assert_eq!(pipeline.plan.name, "my_pipe");
    let NodeKind::Source(source) = &pipeline.plan.nodes[0].kind else { panic!() };
    assert_eq!(source.options["path"], "s3cret");
    write("none");
    assert!(load(Severity::Warning).pipeline.is_some());
    assert!(load(Severity::Error).pipeline.is_none());
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry { sources: &[], sinks: &[] };
    let load = |path: &Path| load(path, &registry, &|_| None, Severity::Error).found.list[0].message.clone();
    assert!(load(directory.path()).ends_with("it is a directory"));
    assert!(load(&directory.path().join("none.yaml")).ends_with("there is no such file"));
    let large = directory.path().join("large.yaml");
    std::fs::File::create(&large).unwrap().set_len(crate::base::limit::YAML_BYTES + 1).unwrap();
    assert!(load(&large).contains("larger than 4 MiB"));
}
