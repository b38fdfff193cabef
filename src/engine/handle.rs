//! A view on a running job, and the means to stop it. Looking takes each lock by itself and for no longer than a tick does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::diag::Diagnostic;
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;
use crate::plan::NodeId;

use super::action::Action;
use super::gate::Gate;
use super::job::{Job, lock};
use super::ledger::Entry;
use super::lower::{Reader, ReaderKind};
use super::observed::{
    Checkpoints, EntryCounts, HeldBackBy, Histogram, Observed, PartitionStanding, SinkStanding, StepStanding, shown,
};
use super::partition::Partition;
use super::run::steady_clock;
use super::shared::{Shared, Slot};
use super::state::Load;
use super::tap::Tap;

/// A view on a running job, and the means to stop it.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Asks the run to stop: sources stop, what was read goes through, nothing closes.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Asks the run to come to its end now: sources stop as on [`Handle::stop`], and what was read goes through as if there
    /// had never been more. Windows close, sinks make their output final. The next run begins anew, but reads live sources on
    /// from where they stood.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Sources read nothing until [`Handle::resume`]: whoever sends is held back. Everything else goes on: windows that are open
    /// stay open, sinks deliver, what goes by the clock goes on.
    pub fn pause(&self) {
        self.shared.pause(true);
    }

    /// Sources read on.
    pub fn resume(&self) {
        self.shared.pause(false);
    }

    /// Opens a tap: rows that leave a source or a step, or come to a sink, as they pass, one in `every`. The error says why not.
    pub fn tap(&self, entry: &str, every: u64) -> Result<Tap, String> {
        let context = &self.shared.job.graph.context;
        let own = || (0u16..).map(NodeId).zip(&context.entries).filter(|(_, info)| info.part_of.is_none());
        let Some((node, _)) = own().find(|(_, info)| info.name == entry) else {
            let near = nearest(entry, own().map(|(_, info)| info.name.as_str()));
            let help = near.map_or_else(String::new, |near| format!("; is it `{near}`?"));
            return Err(format!("there is no source, step or sink `{entry}`{help}"));
        };
        context.taps.open(node, every)
    }

    /// All that is to be seen of the run at this moment. Numbers of different parts of it may be some ticks apart.
    pub fn observe(&self) -> Observed {
        let shared = &self.shared;
        let (partitions, steps, sinks) = (self.partitions(), self.steps(), self.sinks());
        Observed {
            entries: self.counts(),
            partitions,
            steps,
            sinks,
            checkpoints: shared.checkpoints.known(),
            blocks_waiting: lock(&shared.queue).maps.len(),
            watermark: shown(self.watermark()),
        }
    }

    /// Counts by node of the plan.
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.job.ledger.entries()
    }

    /// Expressions that read fields which none of the first events had, if [`Handle::take_warnings`] has not told of them.
    pub fn missing_fields(&self) -> Vec<Diagnostic> {
        let untold = self.shared.job.graph.watches.iter().filter(|watch| !watch.was_told());
        untold.flat_map(|watch| watch.warnings()).collect()
    }

    /// What is to be said of such expressions while the run goes on, told or not.
    pub fn missing_so_far(&self) -> Vec<String> {
        self.shared.job.graph.watches.iter().flat_map(|watch| watch.so_far()).map(|found| in_a_line(&found)).collect()
    }

    /// What went wrong with tables and sources, and what expressions read that no event has, without ending the run, since this
    /// was last asked.
    pub fn take_warnings(&self) -> Vec<String> {
        let graph = &self.shared.job.graph;
        let behind_steps = graph.readers.iter().filter_map(|reader| match &reader.kind {
            ReaderKind::Stage(spec, _) => Some(&spec.flow),
            ReaderKind::Sink(_) => None,
        });
        let flows = graph.sources.iter().map(|source| &source.spec.flow).chain(behind_steps);
        let lookups = flows.flat_map(|flow| &flow.nodes).filter_map(|node| match &node.action {
            Action::Lookup(lookup) => Some(lookup),
            _ => None,
        });
        let of_sources = std::mem::take(&mut *lock(&self.shared.warnings));
        let missing = graph.watches.iter().flat_map(|watch| watch.take_so_far()).map(|found| in_a_line(&found));
        let of_tables = lookups.flat_map(|lookup| lookup.take_warnings());
        of_sources.into_iter().chain(of_tables).chain(missing).collect()
    }

    /// What is known of its checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        self.shared.checkpoints.known()
    }

    /// The least watermark of any step.
    pub fn watermark(&self) -> Timestamp {
        self.shared.job.watermark()
    }

    /// What the engine has put in front of an entry is part of it.
    pub fn counts(&self) -> Vec<EntryCounts> {
        let entries = &self.shared.job.graph.context.entries;
        let counted = entries.iter().zip(self.shared.job.ledger.tallies()).filter(|(entry, _)| entry.part_of.is_none());
        counted.map(|(entry, tally)| EntryCounts { entry: entry.name.clone(), tally }).collect()
    }

    fn partitions(&self) -> Vec<PartitionStanding> {
        let shared = &self.shared;
        let held: Vec<bool> = lock(&shared.leave).iter().map(|leave| *leave <= 0).collect();
        let connected: Vec<bool> = lock(&shared.polled).iter().map(|polled| polled.link.is_up()).collect();
        let gate = lock(&shared.job.gate);
        let standing = |index: usize| {
            // What comes back to a sink is no source of the pipeline.
            let p = gate.partitions.get(index).filter(|p| p.spec.after.is_none())?;
            let is = |flags: &[bool]| flags.get(index).copied().unwrap_or_default();
            Some(PartitionStanding {
                source: shared.job.name_of_source(p.spec.source),
                partition: p.spec.name.clone(),
                greatest: shown(p.greatest),
                watermark: shown(p.watermark()),
                idle: p.idle,
                ended: p.ended,
                held: !p.ended && is(&held),
                connected: is(&connected),
            })
        };
        gate.latest().into_iter().filter_map(standing).collect()
    }

    fn steps(&self) -> Vec<StepStanding> {
        let (job, mut of_readers) = (&self.shared.job, HashMap::new());
        for slot in &lock(&self.shared.queue).slots {
            let none = (Timestamp::MAX, 0, 0, Load::default());
            let (reached, ticks, held, load) = of_readers.entry(slot.reader).or_insert(none);
            *reached = slot.reached.min(*reached);
            *ticks += slot.waiting.len() + usize::from(slot.is_busy());
            *held += slot.held;
            *load = *load + slot.load;
        }
        let (gate, now) = (lock(&job.gate), steady_clock());
        let standing = |(index, reader): (usize, &Reader)| {
            let ReaderKind::Stage(_, set) = &reader.kind else { return None };
            let (reached, ticks_waiting, held, load) = of_readers.get(&index).copied()?;
            let passed = if gate.rests { gate.shown(*set, now).minus(reader.behind) } else { Timestamp::MIN };
            let reached = reached.max(passed);
            Some(StepStanding {
                step: job.name_of_node(reader.node),
                watermark: shown(reached),
                held_back_by: gate.holder(*set).map(|p| HeldBackBy {
                    source: job.name_of_source(p.spec.source),
                    partition: p.spec.name.clone(),
                    watermark: shown(p.watermark()),
                }),
                idle: gate.is_idle(*set),
                ticks_waiting,
                held,
                keys: load.keys,
                bytes: load.bytes,
            })
        };
        job.graph.readers.iter().enumerate().filter_map(standing).collect()
    }

    fn sinks(&self) -> Vec<SinkStanding> {
        let job = &self.shared.job;
        let sinks = lock(&self.shared.sinks);
        let standing = sinks.iter().filter_map(|slot| {
            let behind = &slot.behind;
            // Ticks that came before others of which they are not the next.
            let early: usize = slot.waiting.values().map(|(_, lines, ..)| lines.ends.len()).sum();
            Some(SinkStanding {
                sink: job.name_of_node(job.graph.readers.get(slot.reader)?.node),
                ticks_waiting: behind.ticks.load(Ordering::Relaxed) + slot.waiting.len(),
                rows_waiting: behind.rows.load(Ordering::Relaxed) + early as u64,
                full: behind.full.load(Ordering::Relaxed),
                held: behind.held.load(Ordering::Relaxed),
                latency: Histogram::of(&behind.latency),
            })
        });
        standing.collect()
    }
}

/// What was found, with its place and how it is mended, in one line.
fn in_a_line(found: &Diagnostic) -> String {
    let place = found.span.as_ref().map_or_else(String::new, |span| format!("{}: ", span.place()));
    let help = found.help.iter().map(|help| format!("; {help}")).collect::<String>();
    format!("{place}{}{help}", found.message)
}

impl Slot {
    /// Whether a worker has it, or it has more of a tick to do.
    pub(super) fn is_busy(&self) -> bool {
        self.stage.is_none() || self.under_way.is_some()
    }
}

impl Job {
    pub(super) fn name_of_node(&self, node: NodeId) -> String {
        self.graph.context.entries.get(node.index()).map(|entry| entry.name.clone()).unwrap_or_default()
    }

    fn name_of_source(&self, source: usize) -> String {
        self.graph.sources.get(source).map(|source| source.spec.name.clone()).unwrap_or_default()
    }

    /// The least watermark of any step, for showing progress.
    pub fn watermark(&self) -> Timestamp {
        let (gate, now) = (lock(&self.gate), steady_clock());
        (0..self.graph.sets.len()).map(|set| gate.shown(set, now)).min().unwrap_or(Timestamp::MIN)
    }

    /// The watermark that a step goes on from.
    pub(super) fn reached(&self, reader: usize) -> Timestamp {
        match self.graph.readers.get(reader) {
            Some(Reader { kind: ReaderKind::Stage(_, set), behind, .. }) => {
                lock(&self.gate).reached.at(*set).minus(*behind)
            }
            _ => Timestamp::MIN,
        }
    }
}

impl Gate {
    /// The partition that holds the watermark of a set back, if one does.
    fn holder(&self, set: usize) -> Option<&Partition> {
        self.standing.holder(set).and_then(|index| self.partitions.get(index))
    }

    /// Whether all partitions of a set that have not ended are idle.
    fn is_idle(&self, set: usize) -> bool {
        self.standing.holder(set).is_none() && self.of_set(set).any(|(_, p)| p.idle && !p.ended)
    }
}
