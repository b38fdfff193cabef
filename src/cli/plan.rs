//! `millstream plan`: what a run of a pipeline would go on from, and what it would have to forget.

use std::path::PathBuf;

use serde_json::json;

use crate::base::diag::Severity;
use crate::config::Pipeline;
use crate::engine::kept::{Fate, Size, StepFate, fates, sinks_gone, size, sources_gone};
use crate::service::open::state_path;
use crate::store::rows::Status;
use crate::store::state::{Kept, StateReader};

use super::exit;
use super::load::{load, print, say};
use super::progress::count;
use super::state_path::DataDirectory;

/// Options of `plan`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    data: DataDirectory,
    /// How it is said.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// How a plan is said.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// A step with what becomes of its state and how much that is.
struct Line {
    of: StepFate,
    size: Size,
}

impl Line {
    /// Whether a run refuses to go on because of it.
    fn is_lost(&self) -> bool {
        matches!(self.of.fate, Fate::Changed(_) | Fate::Gone)
    }

    fn sizes(&self) -> String {
        let several = |n: u64, what: &str| format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" });
        let keys = several(self.size.keys, "key");
        if self.size.windows > 0 { format!("{keys}, {}", several(self.size.windows, "open window")) } else { keys }
    }

    fn text(&self) -> String {
        let name = &self.of.step;
        match &self.of.fate {
            Fate::New => format!("  {name}: new, begins with nothing"),
            Fate::Kept => format!("  {name}: kept ({})", self.sizes()),
            Fate::Gone => format!(
                "  {name}: no longer a step with state; it keeps {}\n    reset with --reset-state {name}",
                self.sizes()
            ),
            Fate::Changed(lines) => format!(
                "  {name}: means something else now; it keeps {}\n    {}\n    reset with --reset-state {name}",
                self.sizes(),
                lines.join("\n    ")
            ),
        }
    }
}

/// Says what a run would go on from. Fails if a run would refuse to.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    match compare(&pipeline, args) {
        Ok((text, true)) => print(&text),
        Ok((text, false)) => match print(&text) {
            exit::OK => exit::FAILED,
            code => code,
        },
        Err(why) => {
            say(&format!("error: {why}"));
            exit::FAILED
        }
    }
}

/// The answer, and whether a run would go on.
fn compare(pipeline: &Pipeline, args: &Args) -> Result<(String, bool), String> {
    let path = state_path(pipeline, args.data.data.as_deref());
    let name = &pipeline.plan.name;
    let begins = |why: &str| match args.format {
        Format::Human => format!("{name}: a run begins anew: {why}\n"),
        Format::Json => pretty(&json!({ "pipeline": name, "resumes": false, "because": why })),
    };
    if !path.exists() {
        return Ok((begins(&format!("there is no state `{}`", path.display())), true));
    }
    let reader = StateReader::open(&path).map_err(|e| e.message)?;
    let Some(kept) = reader.kept().filter(|kept| kept.epoch > 0) else {
        return Ok((begins("no checkpoint was made"), true));
    };
    if kept.status == Status::Complete {
        return Ok((begins("the last run came to its end"), true));
    }
    let mut lines = Vec::new();
    for of in fates(&pipeline.plan, kept) {
        let meaning = kept.steps.iter().find(|step| step.name == of.step).map(|step| step.meaning.as_str());
        let size = meaning.map_or(Ok(Size::default()), |meaning| size(&reader, &of.step, meaning))?;
        lines.push(Line { of, size });
    }
    let gone = sources_gone(&pipeline.plan, kept);
    let unsent = sinks_gone(&pipeline.plan, kept);
    let goes_on = gone.is_empty() && unsent.is_empty() && !lines.iter().any(Line::is_lost);
    let lost = Lost { sources: gone, sinks: unsent };
    let text = match args.format {
        Format::Human => human(name, kept, &lines, &lost),
        Format::Json => machine(name, kept, &lines, &lost, goes_on),
    };
    Ok((text, goes_on))
}

/// What else would be lost.
struct Lost {
    /// Sources with where they stood.
    sources: Vec<String>,
    /// Sinks with rows that they have still to send.
    sinks: Vec<(String, u64)>,
}

fn human(name: &str, kept: &Kept, lines: &[Line], lost: &Lost) -> String {
    let at = crate::base::time::Timestamp(kept.committed);
    let mut text = format!("{name}: a run goes on from checkpoint {}, made {at}\n", kept.epoch);
    for line in lines {
        text.push_str(&line.text());
        text.push('\n');
    }
    for source in &lost.sources {
        text.push_str(&format!(
            "  {source}: no longer a source; where it stood is forgotten\n    confirm with --reset-state {source}\n"
        ));
    }
    for (sink, held) in &lost.sinks {
        text.push_str(&format!(
            "  {sink}: no longer a sink that sends; it has {} still to send, which would be lost\n    confirm with --reset-state {sink}\n",
            super::summary::rows(*held)
        ));
    }
    text
}

/// JSON over several lines.
fn pretty(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn machine(name: &str, kept: &Kept, lines: &[Line], lost: &Lost, goes_on: bool) -> String {
    let step = |line: &Line| {
        let (fate, differences) = match &line.of.fate {
            Fate::Kept => ("kept", Vec::new()),
            Fate::New => ("new", Vec::new()),
            Fate::Gone => ("gone", Vec::new()),
            Fate::Changed(lines) => ("changed", lines.clone()),
        };
        json!({
            "step": line.of.step, "state": fate, "differences": differences,
            "keys": line.size.keys, "open_windows": line.size.windows,
        })
    };
    pretty(&json!({
        "pipeline": name, "resumes": true, "accepted": goes_on, "checkpoint": kept.epoch,
        "steps": lines.iter().map(step).collect::<Vec<_>>(), "sources_gone": lost.sources,
        "sinks_gone": lost.sinks.iter().map(|(sink, held)| json!({ "sink": sink, "rows": held })).collect::<Vec<_>>(),
    }))
}
