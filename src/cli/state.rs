//! `millstream state`: what the steps of a pipeline keep by key.

use std::path::{Path, PathBuf};

use crate::base::limit::KEY_GROUPS;
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;
use crate::inspect::spelling::{count, counted};
use crate::plan::NodeKind;
use crate::service::open::{self, Opened};
use crate::service::spell::{Wanted, key_json, key_text, value_json};
use crate::store::rows::Item;
use crate::store::state::{Holder, StateReader};

use super::exit;
use super::load::{print, say};
use super::output::Output;
use super::state_path::{DataDirectory, Target, failed};
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
    /// The step whose rows are shown [default: how much each step keeps].
    #[arg(value_name = "STEP")]
    step: Option<String>,
    #[command(flatten)]
    data: DataDirectory,
    /// The row of one key: a text or JSON; `["a", 3]` if the key has several parts.
    #[arg(long, value_name = "KEY", requires = "step")]
    key: Option<String>,
    /// Forget the key. A pipeline that is running pauses for it.
    #[arg(long, requires = "key")]
    delete: bool,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "step")]
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
    /// `key,value` with a header.
    Csv,
}

/// Shows, exports, checks or deletes what is kept.
pub fn run(args: &Args) -> u8 {
    if let Some(Verb::Check(target)) = &args.verb {
        return check(target).unwrap_or_else(|code| code);
    }
    // Without a verb the command line has a file.
    let target = Target { file: args.file.clone().unwrap_or_default(), data: args.data.clone() };
    let done = match (&args.step, &args.key) {
        (None, _) => overview(&target),
        (Some(step), Some(key)) if args.delete => delete(&target, step, key),
        (Some(step), key) => rows(&target, step, key.as_deref(), args.format),
    };
    done.unwrap_or_else(|code| code)
}

fn check(target: &Target) -> Result<u8, u8> {
    let (pipeline, reader) = target.read()?;
    let keys = reader.check().map_err(|e| failed(&e.message))?;
    let letters = counted(reader.letters().letters, "dead letter");
    let name = &pipeline.plan.name;
    Ok(print(&format!("{name}: all in order: {} and {letters} are what was written\n", counted(keys, "key"))))
}

fn overview(target: &Target) -> Result<u8, u8> {
    let (_, reader) = target.read()?;
    let mut cells = Vec::new();
    let kept = reader.kept();
    let sizes = reader.sizes();
    for step in kept.map_or(&[][..], |kept| &kept.steps) {
        let mut keys = 0u64;
        each(&reader, &step.name, &mut |_| {
            keys += 1;
            Ok(())
        })?;
        let bytes = sizes.iter().find(|size| size.step == step.name).map_or(0, |size| size.bytes);
        let watermark = Some(Timestamp(step.watermark)).filter(|at| at.is_event_time());
        let watermark = watermark.map_or_else(|| "-".to_owned(), |at| at.to_string());
        cells.push(vec![step.name.clone(), count(keys), size(bytes), watermark]);
    }
    if cells.is_empty() {
        return Ok(print("no step keeps anything\n"));
    }
    let columns = [("step", Align::Left), ("keys", Align::Right), ("packed", Align::Right), ("watermark", Align::Left)];
    Ok(print(&table(&columns, &cells)))
}

/// Hands out the keys of a step that are there. The error was said.
fn each(reader: &StateReader, step: &str, each: &mut dyn FnMut(Item<'_>) -> Result<(), String>) -> Result<(), u8> {
    let there = &mut |row: Item<'_>| if row.value.is_some() { each(row) } else { Ok(()) };
    reader.rows(step, 0..KEY_GROUPS, there).map_err(|e| failed(&e.message))
}

fn rows(target: &Target, step: &str, key: Option<&str>, format: Format) -> Result<u8, u8> {
    let (pipeline, reader) = target.read()?;
    if !known(&reader, step) {
        let names: Vec<&str> = pipeline
            .plan
            .nodes
            .iter()
            .filter(|n| matches!(n.kind, NodeKind::Step(_)))
            .map(|n| n.name.as_str())
            .collect();
        return Err(if names.contains(&step) {
            failed(&format!("`{step}` keeps nothing"))
        } else {
            let near = match nearest(step, names.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None if names.is_empty() => String::new(),
                None => format!("; the steps are {}", names.join(", ")),
            };
            say(&format!("error: there is no step `{step}`{near}"));
            exit::USAGE
        });
    }
    let wanted = key.map(Wanted::of);
    let mut output = Output::open(None).map_err(|why| failed(&why))?;
    let mut shown = 0u64;
    let done = write_rows(format, &reader, step, wanted.as_ref(), &mut output, &mut shown);
    let code = output.end(done);
    match key {
        Some(key) if shown == 0 && code == exit::OK => {
            Err(failed(&format!("`{step}` keeps nothing for the key `{key}`")))
        }
        _ => Ok(code),
    }
}

/// Whether a step is among those that keep something, or kept something.
fn known(reader: &StateReader, step: &str) -> bool {
    let kept = reader.kept().is_some_and(|kept| kept.steps.iter().any(|row| row.name == step));
    kept || reader.sizes().iter().any(|size| size.step == step)
}

fn write_rows(
    format: Format,
    reader: &StateReader,
    step: &str,
    wanted: Option<&Wanted>,
    output: &mut Output,
    shown: &mut u64,
) -> Result<(), String> {
    if format == Format::Csv {
        output.line("key,value")?;
    }
    let read = reader.rows(step, 0..KEY_GROUPS, &mut |row| {
        let Some(value) = row.value else { return Ok(()) };
        if wanted.is_some_and(|wanted| !wanted.is(row.key)) {
            return Ok(());
        }
        *shown += 1;
        let value = value_json(value);
        output.line(&match format {
            Format::Text => format!("{}\t{value}", key_text(row.key)),
            Format::Ndjson => format!("{{\"key\":{},\"value\":{value}}}", key_json(row.key)),
            Format::Csv => format!("{},{}", csv(&key_text(row.key)), csv(&value)),
        })
    });
    read.map_err(|e| e.message)
}

/// A field of CSV.
fn csv(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn delete(target: &Target, step: &str, key: &str) -> Result<u8, u8> {
    let (_, path) = target.load()?;
    target.exists(&path)?;
    let Opened { pause: _pause, mut file } = open_to_write(&path, target, "state --delete")?;
    let wanted = Wanted::of(key);
    let mut found = Vec::new();
    let read = file.rows(step, 0..KEY_GROUPS, &mut |row| {
        if row.value.is_some() && wanted.is(row.key) {
            found.push((row.hash, row.key.to_vec()));
        }
        Ok(())
    });
    read.map_err(|e| failed(&e.message))?;
    if found.is_empty() {
        return Err(failed(&format!("`{step}` keeps nothing for the key `{key}`")));
    }
    file.forget(step, &found).map_err(|e| failed(&e.message))?;
    Ok(print(&format!("`{step}` has forgotten the key `{key}`\n")))
}

/// Opens a state that is there to change it. The error was said.
pub fn open_to_write(path: &Path, target: &Target, command: &str) -> Result<Opened, u8> {
    let holder = Holder { pipeline: target.file.display().to_string(), command: command.to_owned() };
    open::open_to_write(path, &holder).map_err(|e| failed(&e.message))
}
