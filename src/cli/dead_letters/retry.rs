//! `millstream dead-letters retry`: rows that nobody could take are sent again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::exit;
use crate::cli::load::print;
use crate::cli::state::open_to_write;
use crate::cli::state_path::{Target, failed};
use crate::config::Pipeline;
use crate::engine::keeper::StateKeeper;
use crate::engine::kept::{Fate, fates};
use crate::engine::lower::{Lowering, lower};
use crate::engine::retry::{Again, Outcome, Retry, refusal, refusal_of_complete, sinks_of};
use crate::inspect::spelling::counted;
use crate::plan::{Node, NodeKind, Plan};
use crate::service::open::{Opened, open_sinks};
use crate::store::state::{Filter, Letter, StateFile};

use super::Which;

/// Options of `dead-letters retry`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    which: Which,
    /// Only the one of this number; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<u64>,
    /// Only say what would come of it.
    #[arg(long)]
    dry_run: bool,
}

/// Sends dead letters again.
pub fn run(args: &Args) -> Result<u8, u8> {
    let (pipeline, path) = args.target.load()?;
    args.target.exists(&path)?;
    let Opened { pause: _pause, file } = open_to_write(&path, &args.target, "dead-letters retry")?;
    send(&pipeline, (file, &path), args).map_err(|why| failed(&why))
}

fn send(pipeline: &Pipeline, (mut file, state): (StateFile, &Path), args: &Args) -> Result<u8, String> {
    let plan = &pipeline.plan;
    let over = file.reopen();
    let Some(kept) = file.kept().filter(|kept| kept.epoch > 0) else {
        return Err("no run of the pipeline has come to a checkpoint yet; `run` it first".into());
    };
    let changed = fates(plan, kept).into_iter().find(|fate| matches!(fate.fate, Fate::Changed(_) | Fate::Gone));
    if let Some(changed) = changed.filter(|_| !over) {
        return Err(format!(
            "`{}` keeps something else now; `millstream plan` says what, and what can be done",
            changed.step
        ));
    }
    let again = Again { run: kept.run, over };
    let letters = chosen(&file, args)?;
    let (letters, refused): (Vec<Letter>, Vec<(Letter, String)>) = sorted(plan, letters, over);
    let final_rows = over && !refused.is_empty();
    let mut text = String::new();
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (letter, why) in refused {
        *reasons.entry(format!("`{}`: {why}", letter.letter.entry)).or_default() += 1;
    }
    for (why, number) in reasons {
        text.push_str(&format!("{} cannot be sent again: {why}\n", counted(number, "dead letter")));
    }
    if final_rows {
        text.push_str(&instead(plan));
    }
    if letters.is_empty() {
        text.push_str("nothing to send again\n");
        return Ok(print(&text));
    }
    let (mut keeper, resumed) = StateKeeper::open(file, plan)?;
    let Some(resumed) = resumed else { return Err("there is no run to go on with".into()) };
    let retry = Retry::feed(plan, again, &letters, &resumed.stood, &keeper)?;
    let outcome = if args.dry_run {
        retry.rehearse()?
    } else {
        // The output of a run that is over is not touched where nothing comes to it.
        let nodes = match over {
            true => sinks_of(plan, &letters),
            false => lower(plan, Lowering { shares: 1, track: false })?.sink_nodes(),
        };
        let sinks = open_sinks(pipeline, &nodes, (Some(&resumed.marks), state), &mut Vec::new())?;
        retry.commit(&resumed.stood, &mut keeper, nodes.into_iter().zip(sinks).collect())?
    };
    text.push_str(&said(outcome, args.dry_run));
    Ok(match (print(&text), outcome.dead) {
        (exit::OK, 1..) => exit::FAILED,
        (code, _) => code,
    })
}

/// What can be done about rows that can join nothing, because their run is over.
fn instead(plan: &Plan) -> String {
    let again = |node: &Node| match &node.kind {
        NodeKind::Source(source) => source.bounded && source.connector != "stdin",
        _ => true,
    };
    let export = "`dead-letters export` writes the rows, and a pipeline of their own can take them";
    match plan.nodes.iter().all(again) {
        true => format!(
            "put the pipeline right and run it again, which reads its input anew; where that would write rows twice (`mode: append`), {export}\n"
        ),
        false => format!("{export}\n"),
    }
}

fn said(outcome: Outcome, dry: bool) -> String {
    let Outcome { sent, dead, delivered, waiting } = outcome;
    let still = match waiting {
        0 => String::new(),
        _ => format!("; {} still on the way, which the next `run` goes on to send", counted(waiting, "row")),
    };
    let (sent, dead, delivered) = (counted(sent, "dead letter"), counted(dead, "row"), counted(delivered, "row"));
    match dry {
        true => format!("{sent} would be sent again: {delivered} for sinks, {dead} would be dead letters\n"),
        false => format!("{sent} sent again: {delivered} for sinks, {dead} became dead letters{still}\n"),
    }
}

fn chosen(file: &StateFile, args: &Args) -> Result<Vec<Letter>, String> {
    let mut filter = args.which.filter();
    if !args.ids.is_empty() {
        filter.ids = Some(args.ids.clone());
    }
    all(file, &filter)
}

fn all(file: &StateFile, filter: &Filter) -> Result<Vec<Letter>, String> {
    let mut letters = Vec::new();
    let read = file.each_letter(filter, &mut |letter| {
        letters.push(letter);
        Ok(())
    });
    read.map_err(|e| e.message)?;
    Ok(letters)
}

/// Those that can be sent again, and those that cannot with the reason.
fn sorted(plan: &Plan, letters: Vec<Letter>, over: bool) -> (Vec<Letter>, Vec<(Letter, String)>) {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for letter in letters {
        let why = refusal(plan, &letter);
        match why.or_else(|| refusal_of_complete(plan, &letter).filter(|_| over)) {
            None => can.push(letter),
            Some(why) => cannot.push((letter, why)),
        }
    }
    (can, cannot)
}
