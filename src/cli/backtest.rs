//! `millstream run --backtest`: what alerts would have told, and whom, had they seen recorded events. Nobody is told, nothing
//! is written, and the state of the pipeline is left alone.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::diag::Severity;
use crate::base::suggest::nearest;
use crate::base::system::reason;
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::config::{self, Pipeline};
use crate::inspect::spelling::counted;
use crate::plan::alert::NOTIFIER;
use crate::plan::{Input, Node, NodeKind, Operator, Plan, Port, Sink, Source};

use super::alerts::shown::text;
use super::apart::{self, Scratch};
use super::exit;
use super::load::{print, say};
use super::table::{Align, shortened, table};
use crate::service::open::REGISTRY;

/// Options of a backtest.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Say what alerts would have told over recorded events; nobody is told, and no output is written.
    #[arg(long)]
    pub backtest: bool,
    /// Only what would have been told of this time or later. What was before is read all the same: windows and `for` need it.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "backtest")]
    from: Option<Timestamp>,
    /// Only what would have been told of before this time.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "backtest")]
    to: Option<Timestamp>,
    /// Read the events of a source from a file; live sources need one. May be given several times.
    #[arg(long, value_name = "SOURCE=FILE", requires = "backtest")]
    recorded: Vec<String>,
    /// Write notifications as JSON objects, a line each.
    #[arg(long, requires = "backtest")]
    ndjson: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| "write a time as 2026-01-31T12:00:00Z".into())
}

/// How much of a title is shown.
const SHOWN: usize = 80;

/// Runs the backtest of a pipeline: the exit code. The error is a sentence.
pub fn run(pipeline: &Pipeline, options: &Options) -> Result<u8, String> {
    let scratch = Scratch::new()?;
    let out = scratch.path().join("told.ndjson");
    let mut plan = pipeline.plan.clone();
    recorded(&mut plan, &options.recorded)?;
    let Some(number) = plan.nodes.iter().position(|node| node.name == NOTIFIER) else {
        return Err(format!("`{}` has no alert", plan.file));
    };
    let Some(NodeKind::Step(Operator::Notify(notify))) = plan.nodes.get_mut(number).map(|node| &mut node.kind) else {
        return Err(format!("`{}` has no alert", plan.file));
    };
    notify.virtual_time = true;
    // What is old by the clock is what this is about.
    notify.settings.alerts.values_mut().for_each(|policy| policy.notify_max_age = None);
    let ports: Vec<String> = notify.settings.receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let (nothing, written) = (sink("discard: {}")?, sink(&format!("file: {{ path: {} }}", quoted(&out)))?);
    for node in &mut plan.nodes {
        if matches!(node.kind, NodeKind::Sink(_)) {
            node.kind = NodeKind::Sink(nothing.clone());
        }
    }
    let id = crate::plan::NodeId(u16::try_from(number).unwrap_or(u16::MAX));
    let inputs = ports.into_iter().map(|name| Input { node: id, port: Port::Named(name) }).collect();
    plan.nodes.push(Node {
        name: "told".to_owned(),
        description: None,
        place: String::new(),
        inputs,
        on_error: Default::default(),
        kind: NodeKind::Sink(written),
    });
    let own = Pipeline { plan, tests: Vec::new(), directory: pipeline.directory.clone() };
    apart::run(&own, &scratch, None)?;
    let told = match std::fs::read_to_string(&out) {
        Ok(told) => told,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(format!("what was told cannot be read: {}", reason(&e))),
    };
    let rows: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let rows: Vec<Value> = rows.into_iter().filter(|row| options.holds(row)).collect();
    if options.ndjson {
        print(&rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        return Ok(exit::OK);
    }
    print(&shown(&rows));
    say(&format!("{}: {} would have been sent", pipeline.plan.name, counted(rows.len() as u64, "notification")));
    Ok(exit::OK)
}

impl Options {
    /// Whether a notification is of the time that is asked for.
    fn holds(&self, row: &Value) -> bool {
        let Some(at) = last(row) else { return true };
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// The newest transition that a notification tells.
fn last(row: &Value) -> Option<Timestamp> {
    let alerts = row.get("alerts").and_then(Value::as_array)?;
    alerts.iter().filter_map(|alert| parse_rfc3339(text(alert, "at").as_bytes())).max()
}

fn shown(rows: &[Value]) -> String {
    let cell = |row: &Value| {
        let at = last(row).map_or_else(String::new, |at| at.to_string());
        let named = ["receiver", "status", "reason", "severity"].map(|name| text(row, name));
        let [receiver, status, why, severity] = named;
        vec![at, receiver, status, why, severity, shortened(&text(row, "title"), SHOWN)]
    };
    let names = ["at", "receiver", "status", "reason", "severity", "title"];
    table(&names.map(|name| (name, Align::Left)), &rows.iter().map(cell).collect::<Vec<_>>())
}

fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.display().to_string()).unwrap_or_default()
}

/// The nodes of a pipeline of a source and a sink.
fn nodes(source: &str, sink: &str) -> Result<Vec<Node>, String> {
    let text = format!("sources:\n  recorded:\n    {source}\nsinks:\n  told:\n    {sink}\n");
    let loaded = config::parse(&text, "backtest", Path::new("."), &REGISTRY, &|_| None, Severity::Error);
    loaded.pipeline.map(|pipeline| pipeline.plan.nodes).ok_or_else(|| format!("`{source}` cannot be read"))
}

fn sink(written: &str) -> Result<Sink, String> {
    let made = nodes("stdin: {}", written)?.into_iter().find_map(|node| match node.kind {
        NodeKind::Sink(sink) => Some(sink),
        _ => None,
    });
    made.ok_or_else(|| format!("`{written}` cannot be written"))
}

/// Sources read recorded events instead.
fn recorded(plan: &mut Plan, written: &[String]) -> Result<(), String> {
    for given in written {
        let (name, path) = given.split_once('=').ok_or_else(|| format!("`{given}` is not `SOURCE=FILE`"))?;
        let path = std::path::absolute(PathBuf::from(path)).map_err(|e| format!("`{path}`: {}", reason(&e)))?;
        let file = nodes(&format!("file: {{ path: {} }}", quoted(&path)), "discard: {}")?;
        let file = file.into_iter().find_map(|node| match node.kind {
            NodeKind::Source(source) => Some(source),
            _ => None,
        });
        let names: Vec<String> = plan.nodes.iter().filter(|n| is_source(n)).map(|node| node.name.clone()).collect();
        let node = plan.nodes.iter_mut().find(|node| node.name == name);
        let Some((NodeKind::Source(source), Some(file))) = node.map(|node| &mut node.kind).zip(Some(file)) else {
            let near = nearest(name, names.iter().map(String::as_str));
            let help = near.map_or_else(|| format!("they are {}", names.join(", ")), |near| format!("is it `{near}`?"));
            return Err(format!("there is no source `{name}`; {help}"));
        };
        let Source { connector, options, bounded, replay, .. } = file;
        (source.connector, source.options, source.bounded, source.replay) = (connector, options, bounded, replay);
        source.time.iter_mut().for_each(|time| time.max_future = None);
    }
    let live = plan.nodes.iter().find(|node| matches!(&node.kind, NodeKind::Source(source) if !source.bounded));
    match live {
        Some(node) => Err(format!(
            "the source `{0}` is live, and a backtest has an end: name what was recorded of it, `--recorded {0}=FILE`",
            node.name
        )),
        None => Ok(()),
    }
}

fn is_source(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Source(_))
}
