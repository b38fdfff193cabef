//! `millstream why`: why an alert was told, why a window is open; the same as `ctl why`, where a `serve` is asked.

use crate::base::time::Timestamp;
use crate::engine::observed::HeldBackBy;
use crate::inspect::spelling::counted;
use crate::service::why::{NoAnswer, OpenWindow, WindowAnswer, window};

use super::alerts::{Alerts, Which, why};
use super::exit;
use super::load::{print, say};
use super::output::Format;
use super::state_path::{Beside, Target, failed};

/// Windows that are shown to people.
const SHOWN: usize = 10;

/// Options of `why`.
#[derive(clap::Args, Debug)]
pub struct Args<Of: clap::Args> {
    #[command(subcommand)]
    verb: Verb<Of>,
}

#[derive(clap::Subcommand, Debug)]
enum Verb<Of: clap::Args> {
    /// What led to an alert: the rows, the condition, the steps before it, and who was told.
    Alert(Alert<Of>),
    /// Whether a window is open for a key, what is in it, who holds the watermark back, and when it will close.
    Window(OfKey<Of>),
}

#[derive(clap::Args, Debug)]
struct Alert<Of: clap::Args> {
    #[command(flatten)]
    which: Which<Of>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A key of a window step.
#[derive(clap::Args, Debug)]
pub struct OfKey<Of: clap::Args> {
    #[command(flatten)]
    pub(super) of: Of,
    /// The window step.
    #[arg(value_name = "STEP")]
    pub(super) step: String,
    /// The key: a text or JSON; `["a", 3]` if it has several parts. Left out: the step has none.
    #[arg(value_name = "KEY", default_value = "[]", hide_default_value = true)]
    pub(super) key: String,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Who knows of the windows of a pipeline.
pub trait Windows<Of: clap::Args> {
    /// What is known of those of a key. The error was said: it is an exit code.
    fn window(&self, asked: &OfKey<Of>) -> Result<WindowAnswer, u8>;
}

/// Says why something is as it is, from the state of the last checkpoint.
pub fn run<Of: clap::Args, Whom: Alerts<Of> + Windows<Of>>(args: &Args<Of>, whom: &Whom) -> u8 {
    let said = match &args.verb {
        Verb::Alert(args) => why(&args.which, args.format, whom),
        Verb::Window(args) => whom.window(args).map(|answer| print(&args.format.one(&answer, text))),
    };
    said.unwrap_or_else(|code| code)
}

impl Windows<Target> for Beside {
    fn window(&self, asked: &OfKey<Target>) -> Result<WindowAnswer, u8> {
        let (pipeline, reader) = asked.of.read()?;
        let answer = window(&pipeline, &reader, (&asked.step, &asked.key), None);
        answer.map_err(|why| match why {
            NoAnswer::Asked(why) => {
                say(&format!("error: {why}"));
                exit::USAGE
            }
            NoAnswer::State(why) => failed(&why),
        })
    }
}

/// The answer for people.
fn text(answer: &WindowAnswer) -> String {
    let mut text = heading(answer);
    for open in answer.windows.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", of_open(open)));
    }
    let rest = answer.windows.len().saturating_sub(SHOWN);
    if rest > 0 || answer.more {
        let more = if answer.more { "more than " } else { "" };
        text.push_str(&format!("  and {more}{rest} others\n"));
    }
    for why in &answer.refused {
        text.push_str(&format!("  one would not leave: {why}\n"));
    }
    if answer.ended {
        text.push_str("all input has ended: nothing closes any more\n");
        return text;
    }
    match answer.events_missing {
        Some(missing) if !answer.windows.is_empty() => {
            text.push_str(&format!("it closes with {}, or when all input ends\n", counted(missing, "more event")));
        }
        Some(_) => {}
        None => text.push_str(&format!("{}{}", clock(answer), closes(answer))),
    }
    text
}

fn heading(answer: &WindowAnswer) -> String {
    let WindowAnswer { step, checkpoint, .. } = answer;
    let of = if answer.key == "[]" { String::new() } else { format!(" for `{}`", answer.key) };
    if answer.windows.is_empty() {
        let why = match answer.kept {
            true => "; those that have closed still take late events, which would make them leave again",
            false => "; nothing came since its last one closed",
        };
        return format!("`{step}` has no open window{of}{why} (checkpoint of {checkpoint})\n");
    }
    let more = if answer.more { "more than " } else { "" };
    let (windows, events) = (counted(answer.windows.len() as u64, "open window"), counted(answer.events, "event"));
    format!("`{step}` has {more}{windows}{of}, of {events} (checkpoint of {checkpoint})\n")
}

fn of_open(open: &OpenWindow) -> String {
    format!("{} to {}: {}", open.start, open.end, open.row.get())
}

/// Where the watermark is and who holds it there.
fn clock(answer: &WindowAnswer) -> String {
    let at = answer.watermark.as_ref().map_or_else(|| "not set yet".to_owned(), |at| format!("at {at}"));
    match &answer.held_back_by {
        Some(by) => format!("the watermark is {at}; {} holds it back\n", partition(by)),
        None => {
            format!("the watermark is {at}; nobody holds it back: it goes on with the clock while the pipeline runs\n")
        }
    }
}

fn partition(by: &HeldBackBy) -> String {
    let name = if by.partition.is_empty() { String::new() } else { format!(" ({})", by.partition) };
    let at = by.watermark.map_or_else(|| ", which has brought nothing yet,".to_owned(), |_: Timestamp| String::new());
    format!("`{}`{name}{at}", by.source)
}

/// What the next window to close waits for.
fn closes(answer: &WindowAnswer) -> String {
    let Some(OpenWindow { closes_at: Some(at), event_needed, .. }) = answer.windows.first() else {
        return String::new();
    };
    let first = if answer.windows.len() > 1 { "the first" } else { "it" };
    match (&answer.held_back_by, event_needed) {
        (Some(by), Some(needed)) => format!(
            "{first} closes when the watermark reaches {at}: with an event of `{}` of {needed} or later, when it falls idle, or ends\n",
            by.source
        ),
        _ => format!("{first} closes when the watermark reaches {at}\n"),
    }
}
