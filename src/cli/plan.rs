//! `millstream plan`: what a run of a pipeline would go on from, and what it would have to forget.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::service::open::state_path;
use crate::service::plan::{Comparison, Found, Step, StepState, compare};

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

/// Says what a run would go on from. Fails if a run would refuse to.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    let compared = compare(&pipeline.plan, &state_path(&pipeline, args.data.data.as_deref()));
    let compared = match compared {
        Ok(compared) => compared,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::FAILED;
        }
    };
    let text = match args.format {
        Format::Human => human(&compared),
        Format::Json => {
            // Texts and numbers alone: this cannot fail.
            let mut text = serde_json::to_string_pretty(&compared).unwrap_or_default();
            text.push('\n');
            text
        }
    };
    match (print(&text), compared.runs()) {
        (exit::OK, false) => exit::FAILED,
        (code, _) => code,
    }
}

/// A comparison for people.
pub(super) fn human(compared: &Comparison) -> String {
    let name = &compared.pipeline;
    let Some(Found { checkpoint, made, steps, sources_gone, sinks_gone, errors_unread, .. }) = &compared.found else {
        let why = compared.because.as_deref().unwrap_or_default();
        return format!("{name}: a run begins anew: {why}\n");
    };
    let mut text = format!("{name}: a run goes on from checkpoint {checkpoint}, made {made}\n");
    for step in steps {
        text.push_str(&line(step));
        text.push('\n');
    }
    for source in sources_gone {
        text.push_str(&format!(
            "  {source}: no longer a source; where it stood is forgotten\n    confirm with --reset-state {source}\n"
        ));
    }
    for gone in sinks_gone {
        let (sink, held) = (&gone.sink, super::summary::rows(gone.rows));
        text.push_str(&format!(
            "  {sink}: no longer a sink that sends; it has {held} still to send, which would be lost\n    confirm with --reset-state {sink}\n"
        ));
    }
    for unread in errors_unread {
        let (sink, rows) = (&unread.sink, super::summary::rows(unread.rows));
        text.push_str(&format!(
            "  {sink}: nobody reads {sink}.errors any more; {rows} that it was refused and that nobody took in there become dead letters\n"
        ));
    }
    text
}

fn line(step: &Step) -> String {
    let (name, sizes) = (&step.step, sizes(step));
    match step.state {
        StepState::New => format!("  {name}: new, begins with nothing"),
        StepState::Kept => format!("  {name}: kept ({sizes})"),
        StepState::Gone => {
            format!("  {name}: no longer a step with state; it keeps {sizes}\n    reset with --reset-state {name}")
        }
        StepState::Changed => format!(
            "  {name}: means something else now; it keeps {sizes}\n    {}\n    reset with --reset-state {name}",
            step.differences.join("\n    ")
        ),
    }
}

fn sizes(step: &Step) -> String {
    let several = |n: u64, what: &str| format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" });
    let keys = several(step.keys, "key");
    if step.open_windows > 0 { format!("{keys}, {}", several(step.open_windows, "open window")) } else { keys }
}
