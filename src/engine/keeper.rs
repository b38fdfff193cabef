//! Keeps a run's checkpoints in its state database, and knows what a run goes on from.

mod returned;
mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use crate::base::limit::KEY_GROUPS;
use crate::base::time::Timestamp;
use crate::connector::Marks;
use crate::plan::alert::NOTIFIER;
use crate::plan::{Node, NodeId, NodeKind, Operator, Plan, Port, meaning::meaning};
use crate::store::rows::{
    Cause, Commit, DeadLetter, HandedRow, Imbalance, Item, LedgerRow, PartitionRow, StateRow, Status, StepRow,
    imbalances,
};
use crate::store::state::{Lock, StateFile};

use super::epoch::{Epoch, Keeper, Kept, Part, ReturnedRows, Stood};
use super::ledger::{Counted, Tally};
use super::ops::notify::outlives;
use super::partition::PartitionState;
use super::run::wall_clock;
use super::turn_log::Written;
use returned::Returning;
use rows::{dead_letter, ledger_row, stood_of, tally_of, turns_row};

/// A run's state on disk.
pub struct StateKeeper {
    file: StateFile,
    /// Names of all nodes.
    entries: Vec<String>,
    /// Names of the sources, by index; then those that stand for what comes back to sinks.
    sources: Vec<String>,
    returning: Vec<Returning>,
    /// Rows that came back to sinks and that nobody takes in any more, by sink: they have become dead letters.
    unread: Vec<(String, u64)>,
    /// Steps with state: name and meaning.
    steps: Vec<(String, String)>,
    /// What became of rows since the run began, by node.
    totals: Vec<Tally>,
    held: Vec<u64>,
    /// By node and input: rows that were handed to it since the run began.
    handed: Vec<BTreeMap<String, u64>>,
    /// Dead letters that the next commit takes away.
    sent_again: Vec<u64>,
    /// Where partitions stood at the last commit.
    partitions: HashMap<(String, String), PartitionRow>,
    /// All input was taken: whatever ends the run now, the next one must not take up what steps kept before that.
    finishing: bool,
    /// It was taken in an earlier process: this one reads nothing.
    only_finishes: bool,
}

/// The input of rows that were dead letters and are sent again.
const AGAIN: &str = "(again)";
/// The input of rows that an older version took in, which did not count who handed them.
const BEFORE: &str = "(before)";

/// How the row of the turns of live inputs is found: no source is called that.
pub const TURNS: (&str, &str) = ("", "turns");

/// Begins a run: what alerts have told and the silences of people stay, and where live sources stood if the run before was
/// drained; all else of it goes.
pub fn begin(file: &mut StateFile, plan: &Plan) -> Result<(), String> {
    let mut stood = file.left().to_vec();
    stood.retain(|row| live(plan).any(|name| name == row.source));
    begin_from(file, plan, stood)
}

/// The names of sources that never end by themselves.
fn live(plan: &Plan) -> impl Iterator<Item = &str> {
    let live = |node: &&Node| matches!(&node.kind, NodeKind::Source(source) if !source.bounded);
    plan.nodes.iter().filter(live).map(|node| node.name.as_str())
}

/// Begins a run, without looking at where sources stood.
pub fn begin_anew(file: &mut StateFile, plan: &Plan) -> Result<(), String> {
    begin_from(file, plan, Vec::new())
}

fn begin_from(file: &mut StateFile, plan: &Plan, stood: Vec<PartitionRow>) -> Result<(), String> {
    let told = |node: &Node| matches!(&node.kind, NodeKind::Step(Operator::Notify(_)));
    let mut left: Vec<StateRow> = Vec::new();
    if plan.nodes.iter().any(told) {
        let mut keep = |row: Item<'_>| {
            let Some(value) = row.value.filter(|_| outlives(row.key)) else { return Ok(()) };
            let (key, value) = (row.key.to_vec(), Some(value.to_vec()));
            left.push(StateRow { hash: row.hash, key, value });
            Ok(())
        };
        file.rows(NOTIFIER, 0..KEY_GROUPS, &mut keep).map_err(|e| e.message)?;
    }
    file.begin(wall_clock().0, stood).map_err(|e| e.message)?;
    if left.is_empty() { Ok(()) } else { file.put(NOTIFIER, &left.into_iter().collect()).map_err(|e| e.message) }
}

/// What a run goes on from.
pub struct Resumed {
    /// Where its input stood.
    pub stood: Stood,
    /// What each sink remembers.
    pub marks: HashMap<String, BTreeMap<String, String>>,
    /// The number of the last checkpoint.
    pub epoch: u64,
    /// Whether all input was taken.
    pub finishing: bool,
}

impl StateKeeper {
    /// Goes on with the run that the file holds, or begins one. The error is for whoever runs the pipeline.
    pub fn open(file: StateFile, plan: &Plan) -> Result<(Self, Option<Resumed>), String> {
        let names = |of: fn(&NodeKind) -> bool| plan.nodes.iter().filter(move |n| of(&n.kind)).map(|n| n.name.clone());
        let mut sources: Vec<String> = names(|kind| matches!(kind, NodeKind::Source(_))).collect();
        let returning = plan.returning();
        let back = |id: &NodeId| plan.node(*id).map(|node| format!("{}{}", node.name, Port::Errors));
        sources.extend(returning.iter().filter_map(back));
        let steps = plan.nodes.iter().filter_map(|node| Some((node.name.clone(), meaning(plan, node)?.to_string())));
        let mut keeper = StateKeeper {
            entries: plan.nodes.iter().map(|node| node.name.clone()).collect(),
            steps: steps.collect(),
            totals: vec![Tally::default(); plan.nodes.len()],
            held: vec![0; plan.nodes.len()],
            handed: vec![BTreeMap::new(); plan.nodes.len()],
            sent_again: Vec::new(),
            partitions: HashMap::new(),
            sources,
            returning: returning.into_iter().map(|node| Returning { node, next: 0 }).collect(),
            unread: Vec::new(),
            finishing: false,
            only_finishes: false,
            file,
        };
        let resumed = keeper.resume();
        keeper.come_back(resumed.is_some())?;
        if resumed.is_none() {
            begin(&mut keeper.file, plan)?;
            let left = keeper.file.left().iter();
            keeper.partitions = left.map(|row| ((row.source.clone(), row.name.clone()), row.clone())).collect();
        }
        Ok((keeper, resumed))
    }

    /// What a run that begins has of an earlier one, if that has left something: where live sources stood, or what alerts have
    /// told.
    pub fn left(&self) -> Option<Stood> {
        let rows = self.file.left();
        let partitions: Vec<PartitionState> = rows.iter().filter_map(|row| stood_of(&self.sources, row)).collect();
        let left = self.file.size(NOTIFIER) > 0 || !partitions.is_empty();
        left.then(|| Stood { partitions, begins: true, ..Stood::default() })
    }

    fn resume(&mut self) -> Option<Resumed> {
        // Before the first checkpoint nothing has left.
        let kept = self.file.kept().filter(|kept| kept.epoch > 0)?;
        let mut stood = Stood::default();
        for row in &kept.partitions {
            self.partitions.insert((row.source.clone(), row.name.clone()), row.clone());
            if (row.source.as_str(), row.name.as_str()) == TURNS {
                stood.turns = Written::of_text(&row.stream, row.position);
                continue;
            }
            // A source that is gone from the pipeline takes its partitions with it.
            stood.partitions.extend(stood_of(&self.sources, row));
        }
        stood.watermarks = kept.steps.iter().map(|step| (step.name.clone(), Timestamp(step.watermark))).collect();
        for row in &kept.ledger {
            let Some(node) = self.entries.iter().position(|name| *name == row.entry) else { continue };
            if let (Some(total), Some(held)) = (self.totals.get_mut(node), self.held.get_mut(node)) {
                (*total, *held) = (tally_of(row), row.held);
            }
            if let Some(handed) = self.handed.get_mut(node).filter(|_| kept.handed.is_empty() && row.taken > 0) {
                handed.insert(BEFORE.to_owned(), row.taken);
            }
        }
        for row in &kept.handed {
            let node = self.entries.iter().position(|name| *name == row.entry);
            if let Some(handed) = node.and_then(|node| self.handed.get_mut(node)) {
                handed.insert(row.input.clone(), row.rows);
            }
        }
        let mut marks: HashMap<String, BTreeMap<String, String>> = HashMap::new();
        for mark in &kept.marks {
            marks.entry(mark.sink.clone()).or_default().insert(mark.key.clone(), mark.value.clone());
        }
        self.finishing = kept.status == Status::Finishing;
        self.only_finishes = self.finishing;
        Some(Resumed { stood, marks, epoch: kept.epoch, finishing: self.finishing })
    }

    fn partitions(
        &mut self,
        states: Vec<PartitionState>,
        turns: Option<Written>,
    ) -> (Vec<PartitionRow>, Vec<(String, String)>) {
        let mut moved = Vec::new();
        let mut there = HashSet::new();
        let rows = states.into_iter().map(|state| PartitionRow {
            source: self.sources.get(state.source).cloned().unwrap_or_default(),
            name: state.name,
            stream: state.stream.to_string(),
            position: state.position,
            greatest: state.greatest.0,
            ended: state.ended,
        });
        for row in rows.chain(turns.map(turns_row)).collect::<Vec<_>>() {
            let key = (row.source.clone(), row.name.clone());
            if self.partitions.get(&key) != Some(&row) {
                self.partitions.insert(key.clone(), row.clone());
                moved.push(row);
            }
            there.insert(key);
        }
        // Nothing is read any more while output becomes final; where it stood then counts for the next run.
        let goes = |key: &&(String, String)| !self.only_finishes && !there.contains(*key);
        let gone: Vec<_> = self.partitions.keys().filter(goes).cloned().collect();
        for key in &gone {
            self.partitions.remove(key);
        }
        (moved, gone)
    }

    /// Notes how far the run is, and what became of rows of sinks.
    fn mark(&mut self, status: Status, epoch: Option<Epoch>) -> Result<(), String> {
        let (mut dead_letters, mut marks, mut returned) = (Vec::new(), Vec::new(), Vec::new());
        let epoch_given = epoch.is_some();
        if let Some(epoch) = epoch {
            dead_letters = self.count(epoch.counted);
            self.hold(epoch.held);
            marks = self.marks(epoch.marks);
            returned = self.returned(epoch.returned);
        }
        // What an epoch counted that could not be kept is not part of any checkpoint.
        let settled = epoch_given.then(|| self.ledger());
        let Some(kept) = self.file.kept() else { return Ok(()) };
        let ledger = settled.unwrap_or_else(|| kept.ledger.clone());
        let commit = Commit {
            status,
            partitions: Vec::new(),
            gone: Vec::new(),
            steps: kept.steps.clone(),
            changes: Vec::new(),
            marks,
            ledger,
            handed: Vec::new(),
            dead_letters,
            sent_again: Vec::new(),
            returned,
            taken_in: Vec::new(),
            now: wall_clock().0,
        };
        self.file.commit(&commit).map_err(|e| e.message)
    }

    /// Takes in what was counted; its dead letters.
    fn count(&mut self, counted: Counted) -> Vec<DeadLetter> {
        let mut dead_letters = Vec::new();
        for (node, entry) in counted.into_entries() {
            if let Some(total) = self.totals.get_mut(node.index()) {
                total.add(&entry.tally);
            }
            for (from, port, rows) in entry.handed {
                self.hand(node, from, &port, rows);
            }
            let mut letters = entry.letters;
            letters.sort_by_key(|letter| letter.order);
            let name = self.name(node);
            dead_letters.extend(letters.into_iter().map(|letter| dead_letter(&name, letter)));
        }
        dead_letters
    }

    fn hold(&mut self, held: HashMap<NodeId, u64>) {
        for (node, held) in held {
            if let Some(place) = self.held.get_mut(node.index()) {
                *place = held;
            }
        }
    }

    fn marks(&self, marks: Vec<(NodeId, Marks)>) -> Vec<(String, String, Option<String>)> {
        let mut all = Vec::new();
        for (node, of_sink) in marks {
            let sink = self.name(node);
            all.extend(of_sink.into_iter().map(|(key, value)| (sink.clone(), key, value)));
        }
        all
    }

    fn name(&self, node: NodeId) -> String {
        self.entries.get(node.index()).cloned().unwrap_or_default()
    }

    fn ledger(&self) -> Vec<LedgerRow> {
        let rows = self.entries.iter().zip(&self.totals).zip(&self.held);
        rows.map(|((entry, tally), held)| ledger_row(entry, tally, *held)).collect()
    }

    /// Sources were handed nothing.
    fn handed(&self) -> Vec<HandedRow> {
        let mut rows = Vec::new();
        for (entry, handed) in self.entries.iter().zip(&self.handed).filter(|(entry, _)| !self.sources.contains(entry))
        {
            let row =
                |(input, rows): (&String, &u64)| HandedRow { entry: entry.clone(), input: input.clone(), rows: *rows };
            rows.extend(handed.iter().map(row));
        }
        rows
    }

    /// Notes rows that an output has handed to a node; what is none of the pipeline's nodes has dead letters.
    fn hand(&mut self, node: NodeId, from: NodeId, port: &Port, rows: u64) {
        let input = self.entries.get(from.index()).map_or_else(|| AGAIN.to_owned(), |name| format!("{name}{port}"));
        if let Some(handed) = self.handed.get_mut(node.index()) {
            let sum = handed.entry(input).or_default();
            *sum = sum.wrapping_add(rows);
        }
    }

    /// Dead letters are sent again: the entry that refused them is as if they had not come yet, and the next commit takes
    /// them away. Those of an earlier run come without a cause: they are not in this one's ledger.
    pub fn withdraw(&mut self, node: NodeId, letters: &[(u64, Option<Cause>)]) {
        if let Some(total) = self.totals.get_mut(node.index()) {
            for cause in letters.iter().filter_map(|(_, cause)| *cause) {
                let count = if cause == Cause::Late { &mut total.late } else { &mut total.failed };
                *count = count.saturating_sub(1);
                total.taken = total.taken.saturating_sub(1);
                total.dead = total.dead.saturating_sub(1);
            }
        }
        // They are handed to it once more in what the next commit counts.
        let counted = letters.iter().filter(|(_, cause)| cause.is_some()).count() as u64;
        if let Some(handed) = self.handed.get_mut(node.index()) {
            let again = handed.entry(AGAIN.to_owned()).or_default();
            *again = again.wrapping_sub(counted);
        }
        self.sent_again.extend(letters.iter().map(|(id, _)| *id));
    }

    /// Closes the state and keeps its lock.
    pub fn close(self) -> Lock {
        self.file.close()
    }

    /// What does not balance in what became of the rows since the run began.
    pub fn imbalances(&self) -> Vec<Imbalance> {
        imbalances(&self.ledger(), &self.handed(), &|entry| self.sources.iter().any(|name| name == entry))
    }
}

impl Kept for StateKeeper {
    fn size(&self, step: &str) -> u64 {
        self.file.size(step)
    }

    fn part(&self, step: &str, groups: Range<u64>) -> Result<Part<'_>, String> {
        let part = self.file.part(step, groups).map_err(|e| e.message)?;
        Ok(Box::new(move |each| part.rows(each).map_err(|e| e.message)))
    }
}

impl Keeper for StateKeeper {
    fn commit(&mut self, epoch: Epoch, status: Status) -> Result<(), String> {
        self.finishing |= status == Status::Finishing;
        let status = if self.finishing { Status::Finishing } else { status };
        let dead_letters = self.count(epoch.counted);
        self.held.iter_mut().for_each(|held| *held = 0);
        self.hold(epoch.held);
        let watermark = |name: &str| epoch.watermarks.get(name).map_or(i64::MIN, |at| at.0);
        let step = |(name, meaning): &(String, String)| StepRow {
            name: name.clone(),
            meaning: meaning.clone(),
            watermark: watermark(name),
        };
        let steps = self.steps.iter().map(step).collect();
        let marks = self.marks(epoch.marks);
        let (returned, taken_in) = (self.returned(epoch.returned), self.taken_in(&epoch.partitions));
        let (partitions, gone) = self.partitions(epoch.partitions, epoch.turns);
        let changes = epoch.steps.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
        let (ledger, handed) = (self.ledger(), self.handed());
        let sent_again = std::mem::take(&mut self.sent_again);
        let now = wall_clock().0;
        let commit = Commit {
            status,
            partitions,
            gone,
            steps,
            changes,
            marks,
            ledger,
            handed,
            dead_letters,
            sent_again,
            returned,
            taken_in,
            now,
        };
        self.file.commit(&commit).map_err(|e| e.message)
    }

    fn returned_end(&self, sink: NodeId) -> u64 {
        self.returning.iter().find(|of| of.node == sink).map_or(0, |of| of.next)
    }

    fn returned_rows(&self, sink: NodeId) -> Result<Option<Box<dyn ReturnedRows>>, String> {
        self.returned_reader(sink)
    }

    fn complete(&mut self) -> Result<(), String> {
        self.mark(Status::Complete, None)
    }

    fn settle(&mut self, epoch: Epoch, status: Status) -> Result<(), String> {
        self.mark(if self.finishing { Status::Finishing } else { status }, Some(epoch))
    }

    fn restored(&mut self, held: &HashMap<NodeId, u64>) {
        let nodes = self.totals.iter_mut().zip(&mut self.held).enumerate();
        for (index, (total, before)) in nodes {
            let now = u16::try_from(index).ok().and_then(|index| held.get(&NodeId(index))).copied();
            // What a sink holds is its own.
            let Some(now) = now else { continue };
            total.dropped += before.saturating_sub(now);
            *before = now;
        }
    }

    fn failed(&mut self) {
        // It has failed already; that the state does not say so leads nobody astray.
        let _ = self.mark(if self.finishing { Status::Finishing } else { Status::Failed }, None);
    }

    fn tidy(&mut self, budget: Duration) -> Result<bool, String> {
        self.file.compact(budget).map_err(|e| e.message)
    }
}
