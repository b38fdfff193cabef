//! `millstream status`: how far a pipeline is, and what became of its rows.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::time::{TimeSpan, Timestamp};
use crate::config::Pipeline;
use crate::engine::keeper::TURNS;
use crate::inspect::spelling::count;
use crate::plan::NodeKind;
use crate::store::control;
use crate::store::rows::{Imbalance, LedgerRow, PartitionRow, Status, imbalances};
use crate::store::state::{Held, Kept, StateReader};

use super::exit;
use super::links::shown as connections;
use super::load::print;
use super::state_path::{Target, failed};
use super::summary::imbalance;
use super::table::{Align, size, table};
use crate::service::links;

/// Options of `status`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How it is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Tables for people.
    Text,
    /// One JSON object.
    Json,
}

/// Shows how far the pipeline is. The exit code is [`exit::FAILED`] if its ledger does not balance.
pub fn run(args: &Args) -> u8 {
    let (pipeline, path) = match args.target.load() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let shown = Shown { pipeline: &pipeline, path: &path, held: StateReader::held(&path) };
    let reader = match path.exists() {
        false => None,
        true => match StateReader::open(&path) {
            Ok(reader) => Some(reader),
            Err(error) => return failed(&error.message),
        },
    };
    let state = reader.as_ref().and_then(|reader| Some((reader, reader.kept()?)));
    let written = match args.format {
        Format::Text => print(&shown.text(state)),
        Format::Json => print(&format!("{}\n", shown.json(state))),
    };
    let balances = state.is_none_or(|(_, kept)| shown.imbalances(kept).is_empty());
    if balances { written } else { written.max(exit::FAILED) }
}

/// What is shown.
struct Shown<'a> {
    pipeline: &'a Pipeline,
    path: &'a Path,
    held: Option<Held>,
}

/// Where sources stand; where it is written how live inputs met is nobody's business but the engine's.
fn partitions(kept: &Kept) -> impl Iterator<Item = &PartitionRow> {
    kept.partitions.iter().filter(|row| (row.source.as_str(), row.name.as_str()) != TURNS)
}

impl Shown<'_> {
    fn text(&self, state: Option<(&StateReader, &Kept)>) -> String {
        let (name, path) = (&self.pipeline.plan.name, self.path.display());
        let held = self.held.as_ref().map_or_else(|| "nobody has it open".to_owned(), |held| format!("open: {held}"));
        let Some((reader, kept)) = state else {
            return format!("{name}: never ran\nstate: {path}; {held}\n");
        };
        let (file, log) = reader.file_bytes();
        let mut text = format!("{name}: {}\n", self.how_far(kept));
        text.push_str(&format!("state: {path}, {} and {} of log; {held}\n", size(file), size(log)));
        if partitions(kept).next().is_some() {
            text.push_str(&format!("\n{}", self.partitions(kept)));
        }
        if !kept.ledger.is_empty() {
            text.push_str(&format!("\n{}", ledger(&self.ledger_rows(kept))));
            self.imbalances(kept).iter().for_each(|wrong| text.push_str(&format!("{}\n", imbalance(wrong))));
        }
        let links = self.links();
        if !links.is_empty() {
            text.push_str(&format!("\n{}", connections(&links)));
        }
        let steps = steps(reader, kept);
        if !steps.is_empty() {
            text.push_str(&format!("\n{steps}"));
        }
        text.push_str(&format!("\n{}\n", letters(reader)));
        text
    }

    /// The connections of a run that goes on.
    fn links(&self) -> Vec<links::Told> {
        let line = self.held.as_ref().and_then(|_| control::links(self.path));
        line.map(|line| links::read(&line)).unwrap_or_default()
    }

    fn how_far(&self, kept: &Kept) -> String {
        let what = match kept.status {
            Status::Running if self.held.is_none() => "ended unexpectedly; `run` goes on",
            Status::Running => "runs",
            Status::Stopped => "stopped; `run` goes on",
            Status::Finishing => "all input taken, its output not yet final; `run` goes on",
            Status::Complete => "complete; the next `run` starts afresh",
            Status::Failed => "failed; `run` goes on",
        };
        let at = Timestamp(kept.committed);
        format!("{what} (run {}, checkpoint {}, {at})", count(kept.run), count(kept.epoch))
    }

    fn partitions(&self, kept: &Kept) -> String {
        let rows: Vec<Vec<String>> = partitions(kept).map(|row| self.partition(row)).collect();
        let columns = [
            ("source", Align::Left),
            ("partition", Align::Left),
            ("position", Align::Right),
            ("greatest event time", Align::Left),
            ("watermark", Align::Left),
            ("ended", Align::Left),
        ];
        table(&columns, &rows)
    }

    fn partition(&self, row: &PartitionRow) -> Vec<String> {
        let name = if row.name.is_empty() { "-" } else { &row.name };
        let ended = if row.ended { "yes" } else { "no" };
        let times = [time(row.greatest), time(self.watermark(row))];
        let [greatest, watermark] = times.map(|time| time.unwrap_or_else(|| "-".to_owned()));
        vec![row.source.clone(), name.to_owned(), count(row.position), greatest, watermark, ended.to_owned()]
    }

    /// The ledger in the order of the pipeline's file; entries that are not there any more stand last.
    fn ledger_rows<'k>(&self, kept: &'k Kept) -> Vec<&'k LedgerRow> {
        let nodes = &self.pipeline.plan.nodes;
        let mut rows: Vec<&LedgerRow> = kept.ledger.iter().collect();
        rows.sort_by_key(|row| nodes.iter().position(|node| node.name == row.entry).unwrap_or(nodes.len()));
        rows
    }

    /// What does not balance.
    fn imbalances(&self, kept: &Kept) -> Vec<Imbalance> {
        let nodes = &self.pipeline.plan.nodes;
        let kind = |entry: &str| nodes.iter().find(|node| node.name == entry).map(|node| &node.kind);
        // An entry that is gone from the file may have been a source; it is complete as it is.
        imbalances(&kept.ledger, &kept.handed, &|entry| matches!(kind(entry), None | Some(NodeKind::Source(_))))
    }

    /// The watermark of a partition, as the pipeline's file has its source now.
    fn watermark(&self, row: &PartitionRow) -> i64 {
        let out_of_order = |kind: &NodeKind| match kind {
            NodeKind::Source(source) => source.time.as_ref().map(|time| time.out_of_order),
            _ => None,
        };
        let node = self.pipeline.plan.nodes.iter().find(|node| node.name == row.source);
        let span = node.and_then(|node| out_of_order(&node.kind)).unwrap_or(TimeSpan::ZERO);
        Timestamp(row.greatest).minus(span).0
    }

    fn json(&self, state: Option<(&StateReader, &Kept)>) -> Value {
        let mut all = json!({
            "pipeline": self.pipeline.plan.name,
            "state": self.path.display().to_string(),
            "held_by": self.held,
            "status": null,
        });
        let (Some(all_members), Some((reader, kept))) = (all.as_object_mut(), state) else { return all };
        let (file, log) = reader.file_bytes();
        let partition = |row: &PartitionRow| {
            json!({
                "source": row.source, "partition": row.name, "stream": row.stream, "position": row.position,
                "greatest": time(row.greatest), "watermark": time(self.watermark(row)), "ended": row.ended,
            })
        };
        let (totals, wrong) = (reader.letters(), self.imbalances(kept));
        let members = json!({
            "status": kept.status, "run": kept.run, "epoch": kept.epoch, "program": kept.program,
            "started": time(kept.started), "committed": time(kept.committed),
            "file_bytes": file, "log_bytes": log,
            "partitions": partitions(kept).map(partition).collect::<Vec<_>>(),
            "ledger": self.ledger_rows(kept).into_iter().map(|row| ledger_json(row, kept, &wrong)).collect::<Vec<_>>(),
            "connections": self.links(),
            "steps": steps_json(reader, kept),
            "dead_letters": { "letters": totals.letters, "bytes": totals.bytes, "let_go": totals.let_go },
        });
        if let Value::Object(members) = members {
            all_members.extend(members);
        }
        all
    }
}

/// An instant that can be written; a watermark before every event and one at the end of everything cannot.
fn time(at: i64) -> Option<String> {
    Some(Timestamp(at)).filter(|at| at.is_event_time()).map(|at| at.to_string())
}

/// What became of rows, by the names of the ledger.
type Column = (&'static str, fn(&LedgerRow) -> u64);

const LEDGER: [Column; 11] = [
    ("taken", |row| row.taken),
    ("made", |row| row.made),
    ("passed", |row| row.passed),
    ("filtered", |row| row.filtered),
    ("dropped", |row| row.dropped),
    ("duplicate", |row| row.duplicate),
    ("failed", |row| row.failed),
    ("late", |row| row.late),
    ("dead", |row| row.dead),
    ("absorbed", |row| row.absorbed),
    ("held", |row| row.held),
];

/// The columns that are not zero everywhere.
fn ledger(rows: &[&LedgerRow]) -> String {
    let is_shown = |(name, of): &&Column| matches!(*name, "taken" | "passed") || rows.iter().any(|row| of(row) > 0);
    let shown: Vec<&Column> = LEDGER.iter().filter(is_shown).collect();
    let mut columns = vec![("entry", Align::Left)];
    columns.extend(shown.iter().map(|(name, _)| (*name, Align::Right)));
    let cells = |row: &&LedgerRow| {
        let counts = shown.iter().map(|(_, of)| count(of(row)));
        std::iter::once(row.entry.clone()).chain(counts).collect()
    };
    table(&columns, &rows.iter().map(cells).collect::<Vec<Vec<String>>>())
}

fn ledger_json(row: &LedgerRow, kept: &Kept, wrong: &[Imbalance]) -> Value {
    let of_entry = kept.handed.iter().filter(|handed| handed.entry == row.entry);
    let handed: Map<String, Value> = of_entry.map(|handed| (handed.input.clone(), json!(handed.rows))).collect();
    let is_wrong = |wrong: &Imbalance| match wrong {
        Imbalance::Entry(entry, ..) | Imbalance::Handed(entry, ..) => *entry == row.entry,
    };
    let counts = LEDGER.iter().map(|(name, of)| ((*name).to_owned(), json!(of(row))));
    let all = [("entry".to_owned(), json!(row.entry)), ("balances".to_owned(), json!(!wrong.iter().any(is_wrong)))];
    let all = all.into_iter().chain(counts).chain([("handed".to_owned(), Value::Object(handed))]);
    Value::Object(all.collect())
}

/// What steps keep: the steps that the last checkpoint knows.
fn steps(reader: &StateReader, kept: &Kept) -> String {
    let sizes = reader.sizes();
    let row = |step: &crate::store::rows::StepRow| {
        let bytes = sizes.iter().find(|size| size.step == step.name).map_or(0, |size| size.bytes);
        vec![step.name.clone(), size(bytes), time(step.watermark).unwrap_or_else(|| "-".to_owned())]
    };
    if kept.steps.is_empty() {
        return String::new();
    }
    let columns = [("step", Align::Left), ("state", Align::Right), ("watermark", Align::Left)];
    table(&columns, &kept.steps.iter().map(row).collect::<Vec<_>>())
}

fn steps_json(reader: &StateReader, kept: &Kept) -> Vec<Value> {
    let sizes = reader.sizes();
    let step = |step: &crate::store::rows::StepRow| {
        let found = sizes.iter().find(|size| size.step == step.name);
        let (chunks, bytes) = found.map_or((0, 0), |size| (size.chunks, size.bytes));
        json!({ "step": step.name, "watermark": time(step.watermark), "chunks": chunks, "bytes": bytes })
    };
    kept.steps.iter().map(step).collect()
}

fn letters(reader: &StateReader) -> String {
    let totals = reader.letters();
    let mut text = match totals.letters {
        0 => "dead letters: none".to_owned(),
        letters => format!("dead letters: {} ({})", count(letters), size(totals.bytes)),
    };
    if totals.let_go > 0 {
        text.push_str(&format!("; {} let go: they were too many or too old", count(totals.let_go)));
    }
    text
}
