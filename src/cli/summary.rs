//! What a run says at its end: what went through, and what became of the rows that nobody read.

use std::path::Path;
use std::time::Duration;

use crate::base::time::Timestamp;
use crate::config::Pipeline;
use crate::engine::ledger::{Entry, Tally};
use crate::inspect::spelling;
use crate::plan::{Input, Node, NodeId, NodeKind, Operator, Plan, Port};
use crate::service::alerts;
use crate::service::alerts::known::Known;
use crate::store::rows::Imbalance;
use crate::store::state::StateReader;

use super::progress::count;

/// How much of a row that could not be processed is shown.
const SHOWN: usize = 160;

/// Rows in and out, and how long it took.
pub fn totals(plan: &Plan, entries: &[Entry], took: Duration) -> String {
    let sum = |of: fn(&NodeKind) -> bool| {
        let pairs = plan.nodes.iter().zip(entries).filter(|(n, _)| of(&n.kind));
        pairs.map(|(_, e)| e.tally.taken).sum::<u64>()
    };
    let (rows_in, rows_out) = (sum(|k| matches!(k, NodeKind::Source(_))), sum(|k| matches!(k, NodeKind::Sink(_))));
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { (rows_in as f64 / seconds) as u64 } else { 0 };
    format!("{} rows in, {} out in {seconds:.2} s ({}/s)", count(rows_in), count(rows_out), count(rate))
}

/// Rows that could not be processed or came late and that nobody read, with the first few of each entry; empty if there are
/// none.
pub fn unread(plan: &Plan, entries: &[Entry]) -> String {
    let mut text = String::new();
    for (id, (node, entry)) in (0u16..).zip(plan.nodes.iter().zip(entries)) {
        if entry.tally.dead > 0 {
            let of = |input: &Input| input.node == NodeId(id) && input.port == Port::Late;
            let late_is_read = plan.nodes.iter().flat_map(|node| &node.inputs).any(of);
            text.push_str(&of_entry(node, entry, late_is_read));
        }
    }
    text
}

/// What steps held back, a line each; empty if they held back nothing.
pub fn held_back(plan: &Plan, entries: &[Entry]) -> String {
    let mut text = String::new();
    for (node, entry) in plan.nodes.iter().zip(entries) {
        let what = match &node.kind {
            NodeKind::Step(Operator::Dedupe(_)) if entry.tally.duplicate == 1 => "1 duplicate".to_owned(),
            NodeKind::Step(Operator::Dedupe(_)) if entry.tally.duplicate > 0 => {
                format!("{} duplicates", count(entry.tally.duplicate))
            }
            NodeKind::Step(Operator::Throttle(_)) if entry.tally.dropped > 0 => rows(entry.tally.dropped),
            _ => continue,
        };
        text.push_str(&format!("`{}`: {what} held back\n", node.name));
    }
    text
}

/// Alerts of which nobody was told since then because they were too old, a line each; what cannot be read is not told.
pub fn untold(pipeline: &Pipeline, state: &Path, since: Timestamp) -> Vec<String> {
    let Some(settings) = alerts::settings(&pipeline.plan) else { return Vec::new() };
    let known = StateReader::open(state).map_err(|e| e.message).and_then(|reader| Known::open(settings, reader));
    let Ok((counts, more)) = known.map(|known| known.too_old(since)) else { return Vec::new() };
    let line = |(alert, number): (&String, &u64)| {
        let at_least = if more { "at least " } else { "" };
        let (came, them) = if *number == 1 { ("was older", "it") } else { ("were older", "them") };
        format!(
            "`{alert}`: {at_least}{} that came {came} than `notify_max_age`, and nobody was told; `millstream alerts \
             --history {}` shows {them}",
            spelling::counted(*number, "transition"),
            pipeline.plan.file
        )
    };
    counts.iter().map(line).collect()
}

/// What does not balance, for people.
pub fn imbalance(wrong: &Imbalance) -> String {
    let what = match wrong {
        Imbalance::Entry(entry, came, ended) => format!(
            "{} came into `{entry}` or were made there, {} are accounted for",
            spelling::counted(*came, "row"),
            count(*ended)
        ),
        Imbalance::Handed(entry, handed, taken) => {
            format!("{} were handed to `{entry}`, and it took in {}", spelling::counted(*handed, "row"), count(*taken))
        }
    };
    format!("error: the ledger does not balance: {what}; please report this")
}

fn of_entry(node: &Node, entry: &Entry, late_is_read: bool) -> String {
    let Tally { failed, late, dead, .. } = entry.tally;
    let late = if late_is_read { 0 } else { late.min(dead) };
    let failed = failed.min(dead - late);
    let mut what = Vec::new();
    if failed > 0 {
        let done = match &node.kind {
            NodeKind::Sink(_) => "written",
            _ => "processed",
        };
        what.push(format!("{} could not be {done} (read `{}.errors` to keep them)", rows(failed), node.name));
    }
    if late > 0 {
        let raise = match &node.kind {
            NodeKind::Step(Operator::Window(_)) => "`allow_late`",
            _ => "the source's `out_of_order`",
        };
        what.push(format!("{} came late (read `{}.late` to keep them, or raise {raise})", rows(late), node.name));
    }
    let mut text = format!("`{}`: {}\n", node.name, what.join("; "));
    for sample in &entry.samples {
        let place = if sample.place.is_empty() { String::new() } else { format!(" ({})", sample.place) };
        text.push_str(&format!("  {}{place}\n    {}\n", sample.reason, shortened(&sample.original)));
    }
    text
}

pub(super) fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{} rows", count(n)) }
}

/// One line of at most [`SHOWN`] characters.
fn shortened(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}
