//! What alerts do: `alerts`, `silence`, `ack` and `why-not`; `why alert` is in [`super::why`]. What changes something does so in
//! the state, for which a run pauses.

pub mod shown;

use serde_json::Value;

use crate::alert::policy::{Command, Matcher, Policy, Settings};
use crate::base::time::{TimeSpan, Timestamp, parse_rfc3339};
use crate::config::Pipeline;
use crate::engine::run::wall_clock;
use crate::service::alerts;
use crate::store::state::Holder;

use super::exit;
use super::load::print;
use super::state_path::{Target, failed};

/// Options of `alerts`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Show what happened, the newest last, instead of what fires.
    #[arg(long)]
    history: bool,
    /// Only of this alert.
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,
    /// How much is shown of what happened.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How answers are written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// A JSON object a line.
    Ndjson,
}

/// Options of `silence`.
#[derive(clap::Args, Debug)]
pub struct SilenceArgs {
    #[command(subcommand)]
    verb: SilenceVerb,
}

#[derive(clap::Subcommand, Debug)]
enum SilenceVerb {
    /// Tell nobody of what fires and has these labels.
    Add(Add),
    /// Show the silences that hold.
    List(List),
    /// End a silence: what it kept back and still fires is told.
    Expire(Expire),
}

#[derive(clap::Args, Debug)]
struct Add {
    #[command(flatten)]
    target: Target,
    /// What labels must be: `alertname=overheating`, `device_id=~"a.*"`, `severity!=critical`.
    #[arg(value_name = "MATCHER", required = true, value_parser = Matcher::parse)]
    matchers: Vec<Matcher>,
    /// For how long.
    #[arg(long = "for", value_name = "SPAN", default_value = "2h", value_parser = TimeSpan::parse)]
    span: TimeSpan,
    /// Until when, instead.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    #[command(flatten)]
    said: Said,
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    target: Target,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Args, Debug)]
struct Expire {
    #[command(flatten)]
    target: Target,
    /// As `silence list` names it.
    #[arg(value_name = "SILENCE")]
    id: String,
    #[command(flatten)]
    said: Said,
}

/// Who says it and why.
#[derive(clap::Args, Debug)]
struct Said {
    /// Who says so.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "somebody", hide_env_values = true)]
    by: String,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

/// Options of `ack`.
#[derive(clap::Args, Debug)]
pub struct AckArgs {
    #[command(flatten)]
    which: Which,
    /// Tell it again after so long nevertheless.
    #[arg(long = "for", value_name = "SPAN", value_parser = TimeSpan::parse)]
    span: Option<TimeSpan>,
    #[command(flatten)]
    said: Said,
}

/// An alert and a key.
#[derive(clap::Args, Debug)]
pub(super) struct Which {
    #[command(flatten)]
    pub(super) target: Target,
    /// The alert.
    #[arg(value_name = "NAME")]
    pub(super) alert: String,
    /// The key: a text, or JSON: `{"device_id": "a", "site": "x"}`. Left out: the alert has none, or to acknowledge all.
    #[arg(value_name = "KEY")]
    pub(super) key: Option<String>,
}

/// Options of `why-not`.
#[derive(clap::Args, Debug)]
pub struct WhyNotArgs {
    #[command(flatten)]
    which: Which,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| "write a time as 2026-01-31T12:00:00Z".into())
}

impl Which {
    /// The key as people write it.
    pub(super) fn key(&self) -> Value {
        let text = self.key.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
    }
}

/// What the authors of a pipeline's alerts say. That it has none is said.
fn settings(pipeline: &Pipeline) -> Result<Settings, u8> {
    let found = alerts::settings(&pipeline.plan);
    found.ok_or_else(|| failed(&format!("`{}` has no alert", pipeline.plan.file)))
}

/// The policy of a pipeline as its last checkpoint has it.
pub(super) fn read(target: &Target) -> Result<(Pipeline, Policy), u8> {
    let (pipeline, reader) = target.read()?;
    let policy = alerts::read(settings(&pipeline)?, &reader).map_err(|why| failed(&why))?;
    Ok((pipeline, policy))
}

/// Does what a person asks for, in the state: the answer.
fn change(target: &Target, verb: &str, command: Command) -> Result<Value, u8> {
    let (pipeline, path) = target.load()?;
    let settings = settings(&pipeline)?;
    target.exists(&path)?;
    let holder = Holder { pipeline: target.file.display().to_string(), command: verb.to_owned() };
    alerts::change(settings, &path, &holder, command).map_err(|why| failed(&why))
}

pub(super) fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Shows what fires, or what happened.
pub fn run(args: &Args) -> u8 {
    let shown = || -> Result<u8, u8> {
        let (_, policy) = read(&args.target)?;
        let mut rows = if args.history { policy.history() } else { policy.active(wall_clock()) };
        if let Some(alert) = &args.alert {
            rows.retain(|row| shown::is_of(row, alert));
        }
        if args.history {
            rows.drain(..rows.len().saturating_sub(args.limit));
        }
        Ok(print(&match (args.format, args.history) {
            (Format::Ndjson, _) => lines(&rows),
            (Format::Text, true) => shown::history(&rows),
            (Format::Text, false) => shown::active(&rows),
        }))
    };
    shown().unwrap_or_else(|code| code)
}

/// Adds, lists and ends silences.
pub fn silence(args: &SilenceArgs) -> u8 {
    let done = || -> Result<u8, u8> {
        match &args.verb {
            SilenceVerb::List(list) => {
                let (_, policy) = read(&list.target)?;
                let rows = policy.silences(wall_clock());
                Ok(print(&if list.format == Format::Ndjson { lines(&rows) } else { shown::silences(&rows) }))
            }
            SilenceVerb::Add(add) => {
                let until = add.until.unwrap_or_else(|| wall_clock().plus(add.span));
                let (matchers, comment, by) = (add.matchers.clone(), add.said.comment.clone(), add.said.by.clone());
                let answer = change(&add.target, "silence add", Command::Silence { matchers, until, comment, by })?;
                let (id, matched) = (shown::text(&answer, "silence"), answer.get("matched").and_then(Value::as_u64));
                let matched = crate::inspect::spelling::counted(matched.unwrap_or(0), "alert");
                Ok(print(&format!("silence {id} holds until {until}; of what fires now it silences {matched}\n")))
            }
            SilenceVerb::Expire(expire) => {
                let (id, by) = (expire.id.clone(), expire.said.by.clone());
                change(&expire.target, "silence expire", Command::Expire { id, by })?;
                Ok(print(&format!("silence {} has ended\n", expire.id)))
            }
        }
    };
    done().unwrap_or_else(|code| code)
}

/// Notes that somebody knows of an alert.
pub fn ack(args: &AckArgs) -> u8 {
    let done = || -> Result<u8, u8> {
        let until = args.span.map(|span| wall_clock().plus(span));
        let key = args.which.key.as_ref().map(|_| args.which.key());
        let (by, comment) = (args.said.by.clone(), args.said.comment.clone());
        let alert = args.which.alert.clone();
        let command = Command::Acknowledge { alert, key, matchers: Vec::new(), by, comment, until };
        let answer = change(&args.which.target, "ack", command)?;
        Ok(print(&format!("{}\n", shown::acknowledged(&answer, &args.said.by))))
    };
    done().unwrap_or_else(|code| code)
}

/// Says why nobody was told.
pub fn why_not(args: &WhyNotArgs) -> u8 {
    let said = || -> Result<u8, u8> {
        let (pipeline, policy) = read(&args.which.target)?;
        known(&pipeline, &args.which.alert)?;
        let rows = policy.why_not(&args.which.alert, &args.which.key(), wall_clock());
        Ok(print(&if args.format == Format::Ndjson { lines(&rows) } else { shown::reasons(&rows) }))
    };
    said().unwrap_or_else(|code| code)
}

/// Whether there is such an alert; that there is none is said.
pub(super) fn known(pipeline: &Pipeline, alert: &str) -> Result<(), u8> {
    let names = alerts::names(&pipeline.plan);
    if names.contains(&alert) {
        return Ok(());
    }
    let near = crate::base::suggest::nearest(alert, names.iter().copied());
    let help = near.map_or_else(|| format!("the alerts are {}", names.join(", ")), |near| format!("is it `{near}`?"));
    failed(&format!("there is no alert `{alert}`; {help}"));
    Err(exit::USAGE)
}
