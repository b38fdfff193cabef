//! A reader of ticks: gathers the parts of each tick from whoever makes them, puts them in order, and, for a step with
//! state, runs its operator on one worker's share of the keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::time::TimeSpan;
use crate::connector::Encoded;
use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::layout::{Demand, FieldId};
use crate::data::weave::{self, Pick};
use crate::plan::{NodeId, Port};

use super::action::Tools;
use super::clock::Watermarks;
use super::flow::{Flow, FlowContext, FlowRunner, Parcel, weave_lines};
use super::ledger::Counted;
use super::ops::{Operator, Ranks, TickInput, TickOutput};
use super::state::partition_of;

/// What one maker sends a reader for one tick.
#[derive(Clone, Debug)]
pub struct Part {
    /// The place of its maker among the reader's, in the order written.
    pub maker: u32,
    /// Rows, if there are any.
    pub parcel: Option<Parcel>,
    /// The true place of each row when the parcel's ordinals are indexes into this.
    pub ranks: Option<Arc<Ranks>>,
}

/// Gathers the parts of ticks.
#[derive(Debug)]
pub struct Gather {
    /// How many parts make a tick.
    pub expected: usize,
    waiting: Mutex<HashMap<u64, Vec<Part>>>,
}

impl Gather {
    /// For a reader whose ticks have this many parts.
    pub fn new(expected: usize) -> Self {
        Gather { expected, waiting: Mutex::new(HashMap::new()) }
    }

    /// Adds a part; all of the tick's if it was the last.
    pub fn add(&self, sequence: u64, part: Part) -> Option<Vec<Part>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        let parts = waiting.entry(sequence).or_default();
        parts.push(part);
        if parts.len() < self.expected { None } else { waiting.remove(&sequence) }
    }
}

/// The order of all rows of a tick: by what caused them, then by who made them, then by rank.
fn order_of(parts: &[Part]) -> Vec<Pick> {
    struct Row {
        ordinal: u32,
        pick: Pick,
        index: u32,
    }
    let mut rows: Vec<Row> = Vec::new();
    for (at, part) in (0u32..).zip(parts) {
        let ordinals: &[u32] = match &part.parcel {
            Some(Parcel::Rows(batch, _)) => &batch.ordinals,
            Some(Parcel::Lines(ordinals, _)) => ordinals,
            None => &[],
        };
        for (row, index) in (0u32..).zip(ordinals) {
            let ordinal = true_ordinal(part, *index);
            rows.push(Row { ordinal, pick: Pick { part: at, row }, index: *index });
        }
    }
    let maker = |row: &Row| parts.get(row.pick.part as usize).map_or(0, |p| p.maker);
    rows.sort_by(|a, b| {
        (a.ordinal, maker(a)).cmp(&(b.ordinal, maker(b))).then_with(|| {
            if a.pick.part == b.pick.part {
                return a.pick.row.cmp(&b.pick.row);
            }
            let ranks = |row: &Row| parts.get(row.pick.part as usize).and_then(|p| p.ranks.as_deref());
            match (ranks(a), ranks(b)) {
                (Some(x), Some(y)) => x.compare(a.index, y, b.index),
                _ => std::cmp::Ordering::Equal,
            }
        })
    });
    rows.into_iter().map(|row| row.pick).collect()
}

fn true_ordinal(part: &Part, index: u32) -> u32 {
    match &part.ranks {
        Some(ranks) => ranks.list.get(index as usize).map_or(0, |rank| rank.ordinal),
        None => index,
    }
}

/// Parts of batches put into one, with true ordinals, and the hashes of its rows.
pub fn gather_rows(mut parts: Vec<Part>, tools: &mut Tools) -> (Batch, Vec<u64>) {
    parts.retain(|p| p.parcel.as_ref().is_some_and(|parcel| parcel.rows() > 0));
    if let [only] = parts.as_mut_slice()
        && let Some(Parcel::Rows(mut batch, hashes)) = only.parcel.take()
    {
        for ordinal in &mut batch.ordinals {
            *ordinal = true_ordinal(only, *ordinal);
        }
        return (batch, hashes);
    }
    let order = order_of(&parts);
    let ordinals = order.iter().map(|pick| ordinal_of(&parts, *pick)).collect();
    let (mut batches, mut hashes) = (Vec::new(), Vec::new());
    for part in parts {
        if let Some(Parcel::Rows(batch, hash)) = part.parcel {
            batches.push(batch);
            hashes.push(hash);
        }
    }
    make_alike(&mut batches, tools);
    let mut batch = weave::weave(&batches, &order);
    batch.ordinals = ordinals;
    let hash = |pick: &Pick| hashes.get(pick.part as usize).and_then(|h| h.get(pick.row as usize)).copied();
    let hashes = order.iter().filter_map(hash).collect();
    (batch, hashes)
}

/// Writes edits into the text of batches that differ in them. Only nesting past the limit makes a row unreadable, and
/// rows fail at the step that would nest them deeper: no row is lost here.
pub fn make_alike(batches: &mut [Batch], tools: &mut Tools) {
    if !weave::alike(batches) {
        for batch in batches {
            *batch = tools.reread(batch).0;
        }
    }
}

/// Parts of lines put into one.
pub fn gather_lines(mut parts: Vec<Part>) -> Encoded {
    parts.retain(|p| p.parcel.as_ref().is_some_and(|parcel| parcel.rows() > 0));
    if let [only] = parts.as_mut_slice()
        && let Some(Parcel::Lines(_, lines)) = only.parcel.take()
    {
        return lines;
    }
    let order = order_of(&parts);
    let none = Encoded::default();
    let mut lines: Vec<&Encoded> = Vec::with_capacity(parts.len());
    for part in &parts {
        lines.push(match &part.parcel {
            Some(Parcel::Lines(_, lines)) => lines,
            _ => &none,
        });
    }
    weave_lines(&lines, &order)
}

fn ordinal_of(parts: &[Part], pick: Pick) -> u32 {
    let Some(part) = parts.get(pick.part as usize) else { return 0 };
    match &part.parcel {
        Some(Parcel::Rows(batch, _)) => true_ordinal(part, batch.ordinals.get(pick.row as usize).copied().unwrap_or(0)),
        _ => 0,
    }
}

/// Which rows each of `shares` workers takes.
pub fn share(hashes: &[u64], rows: usize, shares: usize) -> Vec<Vec<u32>> {
    if shares == 1 || hashes.is_empty() {
        let mut all = vec![Vec::new(); shares];
        if let Some(first) = all.first_mut() {
            *first = (0..as_u32(rows)).collect();
        }
        return all;
    }
    let mut shared = vec![Vec::with_capacity(rows / shares + rows / 8); shares];
    for (row, hash) in (0u32..).zip(hashes) {
        if let Some(list) = shared.get_mut(partition_of(*hash, shares)) {
            list.push(row);
        }
    }
    shared
}

/// A step with state.
pub struct StageSpec {
    /// Which entry.
    pub node: NodeId,
    /// What it is made of, once a share.
    pub make: Box<dyn Fn() -> Result<Box<dyn Operator>, String> + Send + Sync>,
    /// How many shares its keys are cut into.
    pub shares: usize,
    /// What is behind it.
    pub flow: Arc<Flow>,
    /// The reader of each exit of the flow.
    pub exits: Vec<usize>,
    /// What is read of its input rows, late ones included.
    pub needed: Demand,
    /// Why late rows that nobody reads are dead letters; `None` if they are only counted.
    pub late: Option<&'static str>,
    /// How far the watermark behind it is behind its own.
    pub behind: TimeSpan,
    /// Of a join: the column that says whose a row is.
    pub side: Option<FieldId>,
}

/// One share of a step with state.
pub struct Stage {
    spec: Arc<StageSpec>,
    /// The operator.
    pub operator: Box<dyn Operator>,
    /// Runs what is behind it, and counts.
    pub runner: FlowRunner,
    /// What was counted since the last barrier.
    pub since: Counted,
    /// The barrier whose checkpoint waits for what this share has set apart.
    pub frozen: Option<u64>,
}

/// What a share of a step takes for one tick.
#[derive(Clone)]
pub struct StageInput {
    /// Ticks are numbered.
    pub sequence: u64,
    /// The whole step's input.
    pub batch: Arc<Batch>,
    /// Hashes of the rows' keys.
    pub hashes: Arc<Vec<u64>>,
    /// This share's rows.
    pub rows: Vec<u32>,
    /// The watermark along the tick.
    pub watermarks: Arc<Watermarks>,
    /// Whether state is handed out after it.
    pub barrier: bool,
}

/// How many rows steps hold.
pub fn held<'a>(stages: impl Iterator<Item = &'a Stage>) -> HashMap<NodeId, u64> {
    let mut held = HashMap::new();
    for stage in stages {
        *held.entry(stage.spec.node).or_default() += stage.operator.held();
    }
    held
}

impl Stage {
    /// A share with no state.
    pub fn new(spec: &Arc<StageSpec>, context: &Arc<FlowContext>) -> Result<Self, String> {
        Ok(Stage {
            operator: (spec.make)()?,
            runner: FlowRunner::new(&spec.flow, context),
            spec: Arc::clone(spec),
            since: Counted::default(),
            frozen: None,
        })
    }

    /// The step.
    pub fn node(&self) -> NodeId {
        self.spec.node
    }

    /// Takes a tick: what leaves at each exit, and where its rows stand.
    pub fn tick(&mut self, input: &StageInput) -> (Vec<Option<Parcel>>, Arc<Ranks>) {
        self.runner.sequence = input.sequence;
        let mut out = TickOutput::default();
        let taken =
            TickInput { batch: &input.batch, rows: &input.rows, hashes: &input.hashes, watermarks: &input.watermarks };
        self.operator.tick(&taken, &mut out);
        let mut ports = std::mem::take(&mut out.ports);
        let late: Vec<u32> = out.late.iter().map(|(row, _)| *row).collect();
        let tally = &mut self.runner.counted.of(self.spec.node).tally;
        tally.late += late.len() as u64;
        tally.dropped += out.dropped;
        tally.duplicate += out.duplicates;
        tally.absorbed += out.absorbed;
        tally.made += out.made;
        if self.runner.is_read(&Port::Late) {
            let mut batch = input.batch.select(&late);
            batch.ordinals = out.late.iter().map(|(_, rank)| *rank).collect();
            ports.push((Port::Late, batch));
        } else if !late.is_empty() {
            self.runner.late_unread(self.spec.node, (&input.batch, &late), self.spec.late, self.spec.side);
        }
        if !out.failed.is_empty()
            && let Some(errors) = self.runner.fail_root(out.failed)
        {
            ports.push(errors);
        }
        (self.runner.run(ports), Arc::new(out.ranks))
    }
}
