//! A step with state: runs its operator on one worker's share of the keys, and the flow behind it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::time::{TimeSpan, Timestamp};
use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::layout::{Demand, FieldId};
use crate::plan::{NodeId, Port};

use super::clock::Watermarks;
use super::flow::{Flow, FlowContext, FlowRunner};
use super::gather::Slice;
use super::ledger::Counted;
use super::ops::{Operator, Ranks, TickInput, TickOutput};
use super::parcel::Parcel;
use super::said::Said;
use super::state::partition_of;

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
    /// Rows that left in slices of the tick under way.
    left: u32,
}

/// What a share of a step takes for one tick, or for a slice of one.
#[derive(Clone)]
pub struct StageInput {
    /// Ticks are numbered.
    pub sequence: u64,
    /// Which slice of it.
    pub slice: Slice,
    /// Which share.
    pub share: u32,
    /// The whole step's input.
    pub batch: Arc<Batch>,
    /// Hashes of the rows' keys.
    pub hashes: Arc<Vec<u64>>,
    /// This share's rows.
    pub rows: Vec<u32>,
    /// The watermark along the tick.
    pub watermarks: Arc<Watermarks>,
    /// What the wall clock said, as it is told.
    pub now: Timestamp,
    /// What somebody said.
    pub said: Option<Arc<Said>>,
    /// Whether state is handed out after it.
    pub barrier: bool,
}

/// What a share of a step made of its input.
pub struct Ticked {
    /// What leaves at each exit.
    pub parcels: Vec<Option<Parcel>>,
    /// Where its rows stand.
    pub ranks: Arc<Ranks>,
    /// Whether that was all: otherwise the same input is given again, for the next slice.
    pub whole: bool,
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
            left: 0,
        })
    }

    /// The step.
    pub fn node(&self) -> NodeId {
        self.spec.node
    }

    /// Takes a tick, or goes on with one.
    pub fn tick(&mut self, input: &StageInput) -> Ticked {
        (self.runner.sequence, self.runner.before) = (input.sequence, self.left);
        let mut out = TickOutput::default();
        let StageInput { batch, rows, hashes, watermarks, .. } = input;
        let (now, said, before) = (input.now, input.said.as_deref(), input.slice.before);
        let taken = TickInput { batch, rows, hashes, watermarks, now, said, before };
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
        let whole = !out.unfinished;
        let left = self.left.saturating_add(as_u32(out.ranks.list.len()));
        self.left = if input.slice.more || !whole { left } else { 0 };
        Ticked { parcels: self.runner.run(ports), ranks: Arc::new(out.ranks), whole }
    }
}
