//! `millstream notify`: tries the receivers of alerts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::diag::Severity;
use crate::base::suggest::nearest;
use crate::base::system::reason;
use crate::base::time::TimeSpan;
use crate::config::{self, Pipeline};
use crate::engine::run::{Outcome, wall_clock};
use crate::plan::alert::NOTIFIER;
use crate::plan::{Input, Node, NodeId, NodeKind, Operator, Plan, Port};
use crate::store::state::{Filter, StateReader};

use super::apart::{self, Ran, Scratch};
use super::exit;
use super::load::{load, print};
use super::state_path::failed;
use crate::service::open::REGISTRY;

/// Options of `notify`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Send a notification that is marked as a test to each receiver, and say what became of it.
    Test(Test),
}

#[derive(clap::Args, Debug)]
struct Test {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: std::path::PathBuf,
    /// Only this receiver.
    #[arg(value_name = "RECEIVER")]
    receiver: Option<String>,
    /// How long an answer is waited for.
    #[arg(long, value_name = "SPAN", default_value = "15s", value_parser = TimeSpan::parse)]
    timeout: TimeSpan,
}

/// Tries receivers.
pub fn run(args: &Args) -> u8 {
    let Verb::Test(test) = &args.verb;
    tried(test).unwrap_or_else(|code| code)
}

fn tried(test: &Test) -> Result<u8, u8> {
    let pipeline = load(&test.file, Severity::Error).ok_or(exit::USAGE)?;
    let receivers: Vec<&Node> = receivers(&pipeline.plan);
    let chosen: Vec<&Node> = match &test.receiver {
        None => receivers,
        Some(name) => {
            let names: Vec<&str> = receivers.iter().map(|node| node.name.as_str()).collect();
            let Some(one) = receivers.iter().find(|node| node.name == *name) else {
                let near = nearest(name, names.iter().copied());
                let help =
                    near.map_or_else(|| format!("they are {}", names.join(", ")), |near| format!("is it `{near}`?"));
                failed(&format!("there is no receiver `{name}`; {help}"));
                return Err(exit::USAGE);
            };
            vec![one]
        }
    };
    if chosen.is_empty() {
        return Err(failed(&format!("no alert of `{}` notifies anybody", test.file.display())));
    }
    let mut worst = exit::OK;
    for node in chosen {
        let said = match one(&pipeline, node, test.timeout.to_std()) {
            Ok(()) => format!("{}: taken\n", node.name),
            Err(why) => {
                worst = exit::FAILED;
                format!("{}: {why}\n", node.name)
            }
        };
        print(&said);
    }
    Ok(worst)
}

/// The sinks that notifications go to.
fn receivers(plan: &Plan) -> Vec<&Node> {
    let told = |input: &Input| plan.node(input.node).is_some_and(|node| node.name == NOTIFIER && is_notifier(node));
    plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Sink(_)) && node.inputs.iter().any(told)).collect()
}

fn is_notifier(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Step(Operator::Notify(_)))
}

/// Sends a sample to a receiver. The error says why it was not taken.
fn one(pipeline: &Pipeline, receiver: &Node, within: Duration) -> Result<(), String> {
    let scratch = Scratch::new()?;
    let sample = scratch.path().join("sample.ndjson");
    let row = sample_of(&pipeline.plan, &receiver.name);
    std::fs::write(&sample, format!("{row}\n")).map_err(|e| format!("the sample cannot be written: {}", reason(&e)))?;
    let mut plan = pipeline.plan.clone();
    plan.nodes =
        vec![source(&sample)?, Node { inputs: vec![Input { node: NodeId(0), port: Port::Main }], ..receiver.clone() }];
    let own = Pipeline { plan, tests: Vec::new(), directory: pipeline.directory.clone() };
    let Ran { summary, state, links } = apart::run(&own, &scratch, Some(within))?;
    let reader = StateReader::open(&state).map_err(|e| e.message)?;
    let mut refused = None;
    let read = reader.each_letter(&Filter::default(), 0, 1, &mut |letter| {
        refused = Some(letter.letter.reason.clone());
        Ok(())
    });
    read.map_err(|e| e.message)?;
    match (refused, summary.outcome) {
        (Some(why), _) => Err(format!("refused: {why}")),
        (None, Outcome::Complete) => Ok(()),
        (None, _) => {
            let within = TimeSpan(i64::try_from(within.as_micros()).unwrap_or(i64::MAX));
            let why = links.iter().find_map(|(_, link)| link.why());
            Err(format!("not taken within {within}: {}", why.as_deref().unwrap_or("no answer came")))
        }
    }
}

/// A source that reads the sample.
fn source(sample: &Path) -> Result<Node, String> {
    let path = serde_json::to_string(&sample.display().to_string()).unwrap_or_default();
    let text = format!("sources:\n  sample:\n    file: {{ path: {path} }}\nsinks:\n  nothing:\n    discard: {{}}\n");
    let loaded = config::parse(&text, "sample", Path::new("."), &REGISTRY, &|_| None, Severity::Error);
    let node = loaded.pipeline.and_then(|pipeline| pipeline.plan.nodes.into_iter().next());
    node.ok_or_else(|| "the sample cannot be read".to_owned())
}

/// A notification of the first alert of the pipeline that is marked as a test.
fn sample_of(plan: &Plan, receiver: &str) -> Value {
    let now = wall_clock();
    let settings = plan.nodes.iter().find_map(|node| match &node.kind {
        NodeKind::Step(Operator::Notify(notify)) => Some(&notify.settings),
        _ => None,
    });
    let told = settings.and_then(|settings| settings.alerts.iter().next());
    let (alert, severity) = told.map_or(("alert", "warning"), |(name, policy)| {
        (name.as_str(), policy.severities.last().map_or("warning", String::as_str))
    });
    let title = format!("Test of the receiver {receiver}: nothing is the matter");
    let body = format!("Sent by `millstream notify test` for the pipeline {}.", plan.name);
    let labels = json!({ "alertname": alert, "severity": severity, "test": "true" });
    let at = now.to_string();
    json!({
        "notification": format!("{:032x}", crate::data::hash::row_id(0, format!("{at} {receiver}").as_bytes())),
        "pipeline": plan.name, "receiver": receiver, "status": "firing", "reason": "test", "severity": severity,
        "title": title, "body": body, "group": {}, "group_key": "", "firing": 1, "resolved": 0, "omitted": 0,
        "alerts": [{
            "alert": alert, "state": "firing", "reason": "test", "severity": severity, "key": { "test": "true" },
            "labels": labels, "title": title, "body": body, "since": at, "fired_at": at, "at": at, "resolved_at": null,
            "condition": "test", "values": { "test": true }, "window_start": null, "window_end": null, "links": {},
            "fingerprint": "0000000000000000", "acknowledged_by": null,
        }],
    })
}
