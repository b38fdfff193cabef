//! `millstream ctl`: speaks to a `serve` that runs, here or elsewhere. What can be done beside a run, about alerts, dead
//! letters and states, is done here with the same words.

mod alerts;
mod letters;
mod states;

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::service::client::{Client, Failure};

use super::exit;
use super::load::{print, say};
use super::progress::count;
use super::table::{Align, table};
use super::{alerts as of_alerts, dead_letters, why};

/// Options of `ctl`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where `serve` listens.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:7070",
        env = "MILLSTREAM_URL",
        hide_env_values = true,
        global = true
    )]
    url: String,
    /// A token, where one is needed.
    #[arg(long, value_name = "TOKEN", env = "MILLSTREAM_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Certificates that vouch for the server's, PEM, besides those of the system.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Show all pipelines and how they go.
    List,
    /// Show everything about a pipeline, as JSON.
    Show(Id),
    /// Run a pipeline, also one that waits or is complete.
    Start(Id),
    /// Stop a pipeline at a checkpoint, until it is started.
    Stop(Id),
    /// Let a pipeline read nothing for now; everything else goes on.
    Pause(Id),
    /// Let a pipeline read on.
    Resume(Id),
    /// Let a pipeline come to its end: it reads no more, windows close, everything is delivered. A start after it begins anew,
    /// alerts that fire included, and reads sources that never end on from where they stood. To go on later, `stop` it.
    Drain(Id),
    /// Read a pipeline's file again.
    Reload {
        #[command(flatten)]
        of: Id,
        /// A step or source whose state may be forgotten; may be given several times.
        #[arg(long, value_name = "NAME")]
        reset_state: Vec<String>,
    },
    /// Show what a run of a file would go on from, and what it would have to forget; nothing changes.
    Plan {
        #[command(flatten)]
        of: Id,
        /// A pipeline file [default: the one that is there].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Put a pipeline there from a file, and run it.
    Put {
        /// What it is called there [default: the file's name].
        #[arg(long, value_name = "NAME")]
        id: Option<String>,
        /// A pipeline file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Stop a pipeline and remove its file; its state stays.
    Delete(Id),
    /// Show what alerts fire, and what they did.
    Alerts(of_alerts::Args<Id>),
    /// Keep alerts from being told.
    Silence(of_alerts::SilenceArgs<Id>),
    /// Say that somebody knows of an alert: it is not told again until it is worse or over.
    Ack(of_alerts::AckArgs<Id>),
    /// Say why something is as it is.
    Why(why::Args<Id>),
    /// Say why nobody was told of an alert.
    WhyNot(of_alerts::WhyNotArgs<Id>),
    /// Look at the rows that nobody could take.
    DeadLetters(dead_letters::Args<Id>),
    /// Show what the steps of a pipeline keep by key.
    State(states::Args),
    /// Show rows as they pass an entry, until interrupted.
    Tap {
        #[command(flatten)]
        of: Id,
        /// A source, step or sink.
        #[arg(value_name = "ENTRY")]
        entry: String,
        /// Only rows for which this holds: `temperature > 30`.
        #[arg(long = "where", value_name = "EXPRESSION")]
        condition: Option<String>,
        /// One row in so many.
        #[arg(long, value_name = "N")]
        every: Option<u64>,
        /// End after so many.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Show what the log tells, or change it.
    Log {
        /// What it is to tell: `info`, `millstream=info,millstream::connectors=debug`.
        #[arg(value_name = "LEVELS")]
        levels: Option<String>,
    },
    /// Ask for anything of the API.
    Api {
        /// `GET`, `POST`, `PUT` or `DELETE`.
        #[arg(value_name = "METHOD")]
        method: String,
        /// As `/api/v1/pipelines`.
        #[arg(value_name = "PATH")]
        path: String,
        /// What is sent.
        #[arg(value_name = "BODY")]
        body: Option<String>,
    },
}

/// Which pipeline.
#[derive(clap::Args, Debug)]
pub struct Id {
    /// A pipeline, by its file without `.yaml`.
    #[arg(id = "pipeline", value_name = "PIPELINE")]
    id: String,
}

/// Does what is asked for.
pub fn run(args: &Args) -> u8 {
    let client = Client::new(&args.url, args.token.as_deref(), args.ca.as_deref());
    let client = match client {
        Ok(client) => client,
        Err(why) => return super::state_path::failed(&why),
    };
    match done(&client, &args.verb) {
        Ok(code) => code,
        Err(failure) => refused(&failure),
    }
}

/// Says why it was not done: the exit code.
fn refused(failure: &Failure) -> u8 {
    say(&format!("error: {failure}"));
    exit::FAILED
}

/// An answer of another version, perhaps.
fn unlike(path: &str) -> Failure {
    Failure(format!("{path} did not answer as this version of the program expects; is `serve` another one?"))
}

/// Reads an answer of a kind.
fn read<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, u8> {
    let text = client.text("GET", path, None).map_err(|why| refused(&why))?;
    serde_json::from_str(&text).map_err(|_| refused(&unlike(path)))
}

/// Parameters of a request that are said.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    let query = query.finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

fn of(id: &Id, more: &str) -> String {
    format!("/api/v1/pipelines/{}{more}", encoded(&id.id))
}

/// A text as a part of a path.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

fn done(client: &Client, verb: &Verb) -> Result<u8, Failure> {
    let nothing = json!({});
    let answer = match verb {
        Verb::List => return Ok(print(&listed(&client.json("GET", "/api/v1/pipelines", None)?))),
        Verb::Show(id) => client.json("GET", &of(id, ""), None)?,
        Verb::Start(id) => return told(&client.json("POST", &of(id, "/start"), Some(&nothing))?),
        Verb::Stop(id) => return told(&client.json("POST", &of(id, "/stop"), Some(&nothing))?),
        Verb::Pause(id) => return told(&client.json("POST", &of(id, "/pause"), Some(&nothing))?),
        Verb::Resume(id) => return told(&client.json("POST", &of(id, "/resume"), Some(&nothing))?),
        Verb::Drain(id) => return told(&client.json("POST", &of(id, "/drain"), Some(&nothing))?),
        Verb::Reload { of: id, reset_state } => {
            let body = json!({ "reset": reset_state.join(",") });
            let answer = client.json("POST", &of(id, "/reload"), Some(&body))?;
            return Ok(print(&format!("{}: {}\n", id.id, text(&answer, "result"))));
        }
        Verb::Plan { of: id, file } => {
            let text = file.as_deref().map_or_else(|| Ok(String::new()), text_of)?;
            let answer = client.text("POST", &of(id, "/plan"), Some(&text))?;
            serde_json::from_str(&answer).unwrap_or_default()
        }
        Verb::Put { id, file } => return put(client, id.as_ref(), file),
        Verb::Delete(id) => {
            client.json("DELETE", &of(id, ""), None)?;
            return Ok(print(&format!("{} is removed; its state stays\n", id.id)));
        }
        Verb::Alerts(args) => return Ok(of_alerts::run(args, client)),
        Verb::Silence(args) => return Ok(of_alerts::silence(args, client)),
        Verb::Ack(args) => return Ok(of_alerts::ack(args, client)),
        Verb::Why(args) => return Ok(why::run(args, client)),
        Verb::WhyNot(args) => return Ok(of_alerts::why_not(args, client)),
        Verb::State(args) => return Ok(states::run(args, client)),
        Verb::DeadLetters(args) => return Ok(dead_letters::run(args, client)),
        Verb::Tap { of: id, entry, condition, every, limit } => {
            let [every, limit] = [every, limit].map(|number| number.map(|n| n.to_string()));
            let asked = [("where", condition.as_deref()), ("every", every.as_deref()), ("limit", limit.as_deref())];
            return tap(client, &of(id, &format!("/tap/{}{}", encoded(entry), query(&asked))));
        }
        Verb::Log { levels: None } => client.json("GET", "/api/v1/log", None)?,
        Verb::Log { levels: Some(levels) } => client.json("PUT", "/api/v1/log", Some(&json!({ "levels": levels })))?,
        Verb::Api { method, path, body } => {
            return Ok(print(&client.text(&method.to_uppercase(), path, body.as_deref())?));
        }
    };
    // What came as JSON can be written as such.
    Ok(print(&format!("{}\n", serde_json::to_string_pretty(&answer).unwrap_or_default())))
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn told(done: &Value) -> Result<u8, Failure> {
    Ok(print(&format!("{}: {}\n", text(done, "id"), text(done, "phase"))))
}

fn listed(all: &Value) -> String {
    let columns = [
        ("pipeline", Align::Left),
        ("does", Align::Left),
        ("rows/s", Align::Right),
        ("taken", Align::Right),
        ("late", Align::Right),
        ("dead", Align::Right),
        ("lag", Align::Right),
        ("why", Align::Left),
    ];
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), count);
    let row = |of: &Value| {
        let decimal = |name: &str| of.get(name).and_then(Value::as_f64);
        vec![
            text(of, "id").to_owned(),
            text(of, "phase").to_owned(),
            decimal("rate").map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            number(of, "taken"),
            number(of, "late"),
            number(of, "dead"),
            decimal("lag").map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1} s")),
            text(of, "why").lines().next().unwrap_or("-").to_owned(),
        ]
    };
    match all.as_array().filter(|all| !all.is_empty()) {
        Some(all) => table(&columns, &all.iter().map(row).collect::<Vec<_>>()),
        None => "there are no pipelines\n".to_owned(),
    }
}

/// The text of a pipeline's file.
fn text_of(file: &std::path::Path) -> Result<String, Failure> {
    let cannot = |e: std::io::Error| {
        Failure(format!("`{}` cannot be read: {}", file.display(), crate::base::system::reason(&e)))
    };
    std::fs::read_to_string(file).map_err(cannot)
}

fn put(client: &Client, id: Option<&String>, file: &std::path::Path) -> Result<u8, Failure> {
    let text_of_file = text_of(file)?;
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = id.unwrap_or(&stem);
    let path = format!("/api/v1/pipelines/{}", encoded(id));
    let answer = client.text("PUT", &path, Some(&text_of_file))?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    Ok(print(&format!("{id}: {}\n", text(&answer, "result"))))
}

/// Writes rows as they come. Whoever reads no more has seen enough.
fn tap(client: &Client, path: &str) -> Result<u8, Failure> {
    client.events(path, &mut |event, data| {
        if event != "row" {
            return true;
        }
        let mut out = anstream::stdout();
        writeln!(out, "{data}").and_then(|()| out.flush()).is_ok()
    })?;
    Ok(exit::OK)
}
