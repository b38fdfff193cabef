//! Checkpoints that are being gathered: what was handed out at barriers and is not durable yet, by tick.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::connector::Prepared;
use crate::plan::NodeId;

use super::epoch::Epoch;
use super::job::lock;
use super::ledger::Counted;
use super::state::StateRows;

/// What was handed out at one barrier.
#[derive(Default)]
struct Gathering {
    epoch: Epoch,
    /// Shares of steps that have set apart what changed and not handed it in yet.
    open: usize,
}

/// All that is gathered.
#[derive(Default)]
pub(super) struct Epochs {
    gathering: Mutex<BTreeMap<u64, Gathering>>,
}

impl Epochs {
    /// A barrier is on its way; `epoch` is what is known before it comes to any step.
    pub(super) fn begin(&self, sequence: u64, epoch: Epoch) {
        lock(&self.gathering).insert(sequence, Gathering { epoch, open: 0 });
    }

    /// A barrier came to a share of a step, which holds so many rows and will hand in what changed, if it is `open`.
    pub(super) fn cut(&self, sequence: u64, node: NodeId, (counted, held): (Counted, u64), open: bool) {
        let mut gathering = lock(&self.gathering);
        let of_tick = gathering.entry(sequence).or_default();
        of_tick.epoch.counted.add(counted);
        *of_tick.epoch.held.entry(node).or_default() += held;
        of_tick.open += usize::from(open);
    }

    /// What changed in a share of a step until a barrier.
    pub(super) fn hand_in(&self, sequence: u64, step: &str, rows: StateRows) {
        let mut gathering = lock(&self.gathering);
        let of_tick = gathering.entry(sequence).or_default();
        if !rows.is_empty() {
            of_tick.epoch.steps.entry(step.to_owned()).or_default().append(rows);
        }
        of_tick.open = of_tick.open.saturating_sub(1);
    }

    /// What a sink handed out at a barrier, and what became of its rows.
    pub(super) fn mark(&self, sequence: u64, sink: NodeId, prepared: Prepared, counted: Counted) {
        let mut gathering = lock(&self.gathering);
        let epoch = &mut gathering.entry(sequence).or_default().epoch;
        epoch.take_mark(sink, prepared, counted);
    }

    /// Whether all shares that a barrier has come to have handed in what changed until then.
    pub(super) fn is_whole(&self, sequence: u64) -> bool {
        lock(&self.gathering).range(..=sequence).all(|(_, of_tick)| of_tick.open == 0)
    }

    /// What was handed out at barriers up to one that has gone through everything.
    pub(super) fn take(&self, sequence: u64) -> Epoch {
        let mut gathering = lock(&self.gathering);
        let later = gathering.split_off(&(sequence + 1));
        let through = std::mem::replace(&mut *gathering, later);
        drop(gathering);
        let mut whole = Epoch::default();
        through.into_values().for_each(|of_tick| whole.follow(of_tick.epoch));
        whole
    }
}
