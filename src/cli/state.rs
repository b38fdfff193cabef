//! `millstream state`: what the steps of a pipeline keep by key; the same beside a run and as `ctl state`.

mod beside;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::inspect::spelling::{count, counted};
use crate::service::open::{self, Opened};
use crate::service::spell::key_of_json;
use crate::service::states::{Checked, Each, StepKept, line};
use crate::store::state::Holder;

use super::exit;
use super::load::print;
use super::output::{Output, Unread};
use super::state_path::{Beside, DataDirectory, Target, failed};
use super::table::{Align, size, table};

/// Options of `state`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// A pipeline file.
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    data: DataDirectory,
}

/// What is wanted of a state.
#[derive(clap::Args, Debug)]
pub struct What {
    /// The step whose rows are shown [default: how much each step keeps].
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// The row of one key: a text or JSON; `["a", 3]` if the key has several parts.
    #[arg(long, value_name = "KEY", requires = "step")]
    key: Option<String>,
    /// Forget the key. A pipeline that is running pauses for it.
    #[arg(long, requires = "key")]
    delete: bool,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Read everything and say whether it is what was written.
    Check(Target),
}

/// How rows are written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Key and value, a line each.
    Text,
    /// A JSON object a line: `{"key": […], "value": …}`.
    Ndjson,
    /// A JSON list of such objects.
    Json,
    /// `key,value` with a header.
    Csv,
}

/// Who has the state of a pipeline. Errors that are codes were said.
pub trait States<Of> {
    /// The steps that keep something.
    fn steps(&self, of: &Of) -> Result<Vec<StepKept>, u8>;
    /// Hands out the keys of a step, or one of them.
    fn rows(&self, of: &Of, step: &str, key: Option<&str>, each: Each<'_>) -> Result<(), Unread>;
    /// Forgets a key: whether anything was kept for it.
    fn forget(&self, of: &Of, step: &str, key: &str) -> Result<bool, u8>;
    /// Reads everything.
    fn check(&self, of: &Of) -> Result<Checked, u8>;
}

/// Shows, exports, checks or deletes what is kept.
pub fn run(args: &Args) -> u8 {
    if let Some(Verb::Check(target)) = &args.verb {
        let load = || target.load().map(|(pipeline, _)| pipeline.plan.name);
        return load().and_then(|name| check(&name, target, &Beside)).unwrap_or_else(|code| code);
    }
    // Without a verb the command line has a file.
    let target = Target { file: args.file.clone().unwrap_or_default(), data: args.data.clone() };
    answer(&args.what, &target, &Beside)
}

/// Shows, exports or deletes what is kept.
pub(super) fn answer<Of>(what: &What, of: &Of, states: &dyn States<Of>) -> u8 {
    let done = match (&what.step, &what.key) {
        (None, _) => overview(of, what.format, states),
        (Some(step), Some(key)) if what.delete => delete(of, (step, key), states),
        (Some(step), key) => rows(of, (step, key.as_deref()), what.format, states),
    };
    done.unwrap_or_else(|code| code)
}

/// Reads everything, and says that it is in order.
pub(super) fn check<Of>(name: &str, of: &Of, states: &dyn States<Of>) -> Result<u8, u8> {
    let Checked { keys, letters } = states.check(of)?;
    let (keys, letters) = (counted(keys, "key"), counted(letters, "dead letter"));
    Ok(print(&format!("{name}: all in order: {keys} and {letters} are what was written\n")))
}

fn overview<Of>(of: &Of, format: Format, states: &dyn States<Of>) -> Result<u8, u8> {
    let steps = states.steps(of)?;
    let keys = |step: &StepKept| step.keys.unwrap_or(0);
    let written = match format {
        Format::Text if steps.is_empty() => "no step keeps anything\n".to_owned(),
        Format::Text => {
            let cells = |step: &StepKept| {
                let watermark = step.watermark.clone().unwrap_or_else(|| "-".to_owned());
                vec![step.step.clone(), count(keys(step)), size(step.bytes), watermark]
            };
            let names =
                [("step", Align::Left), ("keys", Align::Right), ("packed", Align::Right), ("watermark", Align::Left)];
            table(&names, &steps.iter().map(cells).collect::<Vec<_>>())
        }
        Format::Csv => {
            let row = |step: &StepKept| {
                let watermark = step.watermark.as_deref().unwrap_or_default();
                format!("{},{},{},{watermark}\n", csv(&step.step), keys(step), step.bytes)
            };
            format!("step,keys,bytes,watermark\n{}", steps.iter().map(row).collect::<String>())
        }
        Format::Ndjson => super::output::Format::Ndjson.rows(&as_json(&steps), |_| String::new()),
        Format::Json => super::output::Format::Json.rows(&as_json(&steps), |_| String::new()),
    };
    Ok(print(&written))
}

fn as_json(steps: &[StepKept]) -> Vec<Value> {
    steps.iter().map(|step| json!(step)).collect()
}

fn rows<Of>(of: &Of, (step, key): (&str, Option<&str>), format: Format, states: &dyn States<Of>) -> Result<u8, u8> {
    let mut output = Output::open(None).map_err(|why| failed(&why))?;
    let mut shown = 0u64;
    let mut write = |key: &str, value: &str| {
        let first = shown == 0;
        shown += 1;
        match format {
            Format::Text => output.line(&format!("{}\t{value}", key_of_json(key))),
            Format::Ndjson => output.line(&line(key, value)),
            Format::Json => {
                output.text(if first { "[\n" } else { ",\n" })?;
                output.text(&line(key, value))
            }
            Format::Csv => {
                if first {
                    output.line("key,value")?;
                }
                output.line(&format!("{},{}", csv(&key_of_json(key)), csv(value)))
            }
        }
    };
    let read = match states.rows(of, step, key, &mut write) {
        Err(Unread::Said(code)) => return Err(code),
        Err(Unread::Why(why)) => Err(why),
        Ok(()) => Ok(()),
    };
    let nothing = key.filter(|_| shown == 0 && read.is_ok());
    let ended = read.and_then(|()| match format {
        _ if nothing.is_some() => Ok(()),
        Format::Json if shown == 0 => output.line("[]"),
        Format::Json => output.line("\n]"),
        Format::Csv if shown == 0 => output.line("key,value"),
        _ => Ok(()),
    });
    let code = output.end(ended);
    match nothing {
        Some(key) if code == exit::OK => Err(failed(&format!("`{step}` keeps nothing for the key `{key}`"))),
        _ => Ok(code),
    }
}

/// A field of CSV.
fn csv(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn delete<Of>(of: &Of, (step, key): (&str, &str), states: &dyn States<Of>) -> Result<u8, u8> {
    match states.forget(of, step, key)? {
        true => Ok(print(&format!("`{step}` has forgotten the key `{key}`\n"))),
        false => Err(failed(&format!("`{step}` keeps nothing for the key `{key}`"))),
    }
}

/// Opens a state that is there to change it. The error was said.
pub fn open_to_write(path: &Path, target: &Target, command: &str) -> Result<Opened, u8> {
    let holder = Holder { pipeline: target.file.display().to_string(), command: command.to_owned() };
    open::open_to_write(path, &holder).map_err(|e| failed(&e.message))
}
