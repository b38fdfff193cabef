//! A job: a graph with its gate, its readers and its counts. It knows what work there is and how pieces of work feed each
//! other, but owns no thread: [`super::run`] drives it with workers, [`super::direct`] step by step in virtual time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::base::fault;
use crate::base::limit::SLICE_KEYS;
use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{Encoded, Prepared};
use crate::data::column::as_u32;
use crate::plan::NodeId;

use super::action::Tools;
use super::clock::Watermarks;
use super::epoch::{Epoch, Resume, Stood};
use super::epochs::Epochs;
use super::gate::{Gate, Tick};
use super::gather::{Gather, Gathered, Part, Slice, gather_lines, gather_rows};
use super::ledger::{Counted, Ledger, Total};
use super::lower::{Graph, ReaderKind};
use super::map::{MapInput, Mapper};
use super::parcel::Parcel;
use super::partition::{Arrival, Mapped, PartitionSpec, PartitionState};
use super::refused;
use super::said::Said;
use super::stage::{Stage, StageInput, Ticked, share};
use super::state::StateRow;
use super::turn_log::TurnLog;

/// A mutex whose data stays usable when a thread that held it panicked: the panic itself ends the run.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Something that can be done now.
pub enum Ready {
    /// A share of a step takes a slice of a tick; those of one share are done in sequence.
    Stage {
        /// Index of the reader.
        reader: usize,
        /// Which share.
        share: usize,
        /// What it takes.
        input: StageInput,
    },
    /// A sink takes lines; slices of ticks are delivered in sequence.
    Sink {
        /// Index of the reader.
        reader: usize,
        /// Number of the tick.
        sequence: u64,
        /// Which slice of it.
        slice: Slice,
        /// What it takes.
        lines: Encoded,
        /// Whether the sink is asked afterwards what it has to remember.
        barrier: bool,
        /// One past the turn that has to be durable before these rows may leave; 0 if they leave with a checkpoint.
        written: u64,
    },
}

/// What is known of a tick under way.
pub struct TickInfo {
    watermarks: Vec<Arc<Watermarks>>,
    /// After it, state was handed out.
    pub barrier: bool,
    /// Nothing comes after it.
    pub last: bool,
    /// All input was taken.
    pub complete: bool,
    /// Partitions whose readers may read on when the tick is done.
    pub used: Vec<usize>,
    written: u64,
    now: Timestamp,
    /// All input was taken but for what comes back to sinks.
    pub only_returns: bool,
    said: Option<Arc<Said>>,
    /// Pieces of work left.
    left: AtomicUsize,
}

/// Everything that a job keeps, cut at one point of the stream.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// Where the input stood.
    pub stood: Stood,
    /// Rows by step; of one key the last counts.
    pub steps: BTreeMap<String, Vec<StateRow>>,
    /// What became of rows since the run began, by the node's index.
    #[serde(skip)]
    pub ledger: BTreeMap<usize, Total>,
}

/// A job.
pub struct Job {
    /// What it runs.
    pub graph: Graph,
    /// What became of its rows.
    pub ledger: Ledger,
    pub(super) gate: Mutex<Gate>,
    /// Where the gate's turns are written down, if anything leaves that depends on them.
    pub(super) turn_log: Option<TurnLog>,
    gathers: Vec<Gather>,
    /// For putting parts with different edits together, by reader.
    pub(super) tools: Vec<Mutex<Tools>>,
    /// For counting parts of blocks, by source; made when first needed.
    recounters: Mutex<Vec<Mapper>>,
    pub(super) ticks: Mutex<HashMap<u64, Arc<TickInfo>>>,
    /// Tells the clock that something has come.
    pub(super) stirred: Notify,
    /// Pieces of work of every tick: shares of steps and sinks.
    pieces: usize,
    /// Bytes of dead letters since the last checkpoint.
    letters: AtomicUsize,
    /// What was handed out at barriers.
    epochs: Epochs,
    /// Keys that a share encodes for a checkpoint between two ticks.
    slice_keys: usize,
    /// The tick from which on nothing that a sink is refused comes back to it: all input was taken then.
    pub(super) returns_before: AtomicU64,
}

impl Job {
    /// A job over these partitions; ticks are cut at `target` rows.
    pub fn new(graph: Graph, partitions: Vec<PartitionSpec>, target: u32, now: Timestamp) -> Self {
        // Partitions that take turns may be cut inside a block.
        let meet = partitions.iter().filter(|p| p.bounded && p.timed).count() > 1;
        graph.sources.iter().for_each(|s| s.spec.recounts.store(meet && graph.context.letters, Ordering::Relaxed));
        let mut gate = Gate::new(partitions, graph.sets.clone(), target, now);
        if graph.clocked {
            gate.tell_time();
        }
        let shares = |reader: usize| match graph.readers.get(reader).map(|r| &r.kind) {
            Some(ReaderKind::Stage(spec, _)) => spec.shares,
            _ => 1,
        };
        let gathers = graph.readers.iter().map(|r| {
            let expected = r.sources.len() + r.stages.iter().map(|s| shares(*s)).sum::<usize>();
            Gather::new(expected)
        });
        let gathers = gathers.collect();
        let tools = graph.readers.iter().map(|r| Mutex::new(Tools::new(&graph.context.layout, &r.needed)));
        Job {
            gate: Mutex::new(gate),
            turn_log: None,
            gathers,
            tools: tools.collect(),
            ticks: Mutex::new(HashMap::new()),
            stirred: Notify::new(),
            pieces: (0..graph.readers.len()).map(shares).sum(),
            recounters: Mutex::new(Vec::new()),
            letters: AtomicUsize::new(0),
            epochs: Epochs::default(),
            slice_keys: SLICE_KEYS,
            returns_before: AtomicU64::new(0),
            ledger: Ledger::new(graph.context.entries.len()),
            graph,
        }
    }

    /// Goes on from a snapshot: where partitions stood. Shares take their state in [`super::restore`].
    pub fn restore(&self, from: &Resume<'_>) {
        let mut reached = vec![Timestamp::MIN; self.graph.sets.len()];
        for (name, set) in self.sets() {
            if let (Some(at), Some(place)) = (from.stood.watermarks.get(name), reached.get_mut(set)) {
                *place = *at;
            }
        }
        let written = from.stood.turns.as_ref().filter(|_| self.turn_log.is_some());
        let point = written.map(|written| written.point.clone()).unwrap_or_default();
        lock(&self.gate).restore(&from.stood.partitions, &reached, &point);
    }

    /// The steps with state by name, and the number of the watermark of each.
    fn sets(&self) -> impl Iterator<Item = (&str, usize)> {
        self.graph.readers.iter().filter_map(|reader| match &reader.kind {
            ReaderKind::Stage(spec, set) => {
                self.graph.context.entries.get(spec.node.index()).map(|e| (e.name.as_str(), *set))
            }
            ReaderKind::Sink(_) => None,
        })
    }

    /// A share of a step, without state.
    pub fn stage(&self, reader: usize) -> Result<Stage, String> {
        match self.graph.readers.get(reader).map(|r| &r.kind) {
            Some(ReaderKind::Stage(spec, _)) => Stage::new(spec, &self.graph.context),
            _ => Err("a sink has no state".to_owned()),
        }
    }

    /// The name of the step that a share is of.
    pub fn name_of(&self, stage: &Stage) -> &str {
        self.graph.context.entries.get(stage.node().index()).map_or("", |e| e.name.as_str())
    }

    /// A mapper for each source.
    pub fn mappers(&self) -> Result<Vec<Mapper>, String> {
        let mapper = |s: &super::lower::SourcePart| Mapper::new(&s.spec, &self.graph.context);
        self.graph.sources.iter().map(mapper).collect()
    }

    /// Maps a block and passes it through the gate; returns what can be done then, or why the run must end.
    pub fn map(&self, mapper: &mut Mapper, at: (usize, u64), input: MapInput) -> Result<Vec<Ready>, String> {
        let now = input.now;
        let mapped = mapper.map(input);
        self.count(&lock(&mapped.counted));
        if let Some(failure) = mapper.runner.failure.take() {
            return Err(failure);
        }
        Ok(self.arrive(at, Arrival::Block(Arc::new(mapped)), now))
    }

    fn count(&self, counted: &Counted) {
        self.ledger.add(counted);
        let bytes = counted.letter_bytes();
        if bytes > 0 {
            self.letters.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes of dead letters that wait for a checkpoint, roughly.
    pub fn letters(&self) -> usize {
        self.letters.load(Ordering::Relaxed)
    }

    /// Takes what a partition brought.
    pub fn arrive(&self, (partition, number): (usize, u64), arrival: Arrival, now: Timestamp) -> Vec<Ready> {
        let mut gate = lock(&self.gate);
        // What comes is judged by the time that has passed without it.
        let mut ready = if std::mem::take(&mut gate.rests) {
            let passed = self.write(gate.pass_time(now, &mut |at, parts| self.join(at, parts)).into_iter().collect());
            self.stirred.notify_one();
            self.start(passed)
        } else {
            Vec::new()
        };
        gate.tell_when_it_comes(now);
        gate.arrive(partition, number, arrival, now);
        ready.extend(self.go_on(gate));
        ready
    }

    /// Cuts the ticks that can be cut.
    fn go_on(&self, mut gate: MutexGuard<'_, Gate>) -> Vec<Ready> {
        let ticks = self.write(gate.ticks(&mut |at, parts| self.join(at, parts)));
        drop(gate);
        self.start(ticks)
    }

    /// Cuts the ticks that wait for nothing: of a job without partitions the last one.
    pub fn pass_end(&self) -> Vec<Ready> {
        self.go_on(lock(&self.gate))
    }

    /// Where partitions stand now.
    pub fn partitions(&self) -> Vec<PartitionState> {
        lock(&self.gate).states()
    }

    /// Asks every step and sink for what it keeps after what was taken so far: the number of the tick at which they are
    /// asked. `None` if nothing happened since the last time, unless it is `forced`.
    pub fn barrier(&self, forced: bool) -> Option<(u64, Vec<Ready>)> {
        let mut gate = lock(&self.gate);
        let tick = gate.barrier(forced, &mut |at, parts| self.join(at, parts))?;
        let tick = self.write(vec![tick]).pop()?;
        drop(gate);
        let sequence = tick.sequence;
        Some((sequence, self.start(vec![tick])))
    }

    /// Ends the run without an end of input: nothing closes.
    pub fn stop(&self) -> Vec<Ready> {
        let mut gate = lock(&self.gate);
        let tick = gate.stop(&mut |at, parts| self.join(at, parts));
        let ticks = self.write(tick.into_iter().collect());
        drop(gate);
        self.start(ticks)
    }

    /// Ends the run as if all input had ended after what has come.
    pub fn drain(&self) -> Vec<Ready> {
        let mut gate = lock(&self.gate);
        gate.drain();
        self.go_on(gate)
    }

    /// A share of a step takes a slice of a tick, or goes on with one that it is not through with: what can be done then, and
    /// whether it is through.
    pub fn tick(&self, reader: usize, stage: &mut Stage, input: &StageInput) -> Result<(Vec<Ready>, bool), String> {
        let Ticked { parcels, ranks, whole } = stage.tick(input);
        self.count(&stage.runner.counted);
        stage.since.add(std::mem::take(&mut stage.runner.counted));
        if let Some(failure) = stage.runner.failure.take() {
            return Err(failure);
        }
        let mut ready = Vec::new();
        let Some(ReaderKind::Stage(spec, _)) = self.graph.readers.get(reader).map(|r| &r.kind) else {
            return Ok((ready, whole));
        };
        let more = input.slice.more || !whole;
        if input.barrier && !more {
            self.cut(spec.node, stage, input.sequence)?;
        }
        let maker = u32::try_from(self.graph.sources.len() + reader).unwrap_or(u32::MAX);
        let mut parcels = parcels.into_iter();
        for exit in &spec.exits {
            let (parcel, ranks) = (parcels.next().flatten(), Some(Arc::clone(&ranks)));
            let part = Part { maker: (maker, input.share), parcel, ranks, more };
            self.add(*exit, input.sequence, part, &mut ready);
        }
        Ok((ready, whole))
    }

    /// A barrier has come to a share of a step: what changed until now is set apart, and a first slice of it is encoded,
    /// which is mostly all.
    fn cut(&self, node: NodeId, stage: &mut Stage, sequence: u64) -> Result<(), String> {
        let info = lock(&self.ticks).get(&sequence).cloned();
        let (last, complete) = info.map_or((false, false), |info| (info.last, info.complete));
        // What is left at the end of everything is mostly of no use to anybody.
        let kept = !complete || stage.operator.outlives_input();
        if kept {
            // The last barrier of a run does not wait until the one before it is durable.
            self.finish(stage)?;
            stage.operator.state().freeze();
            stage.frozen = Some(sequence);
        }
        self.epochs.cut(sequence, node, (std::mem::take(&mut stage.since), stage.operator.held()), kept);
        if last && kept { self.finish(stage) } else { self.slice(stage).map(|_| ()) }
    }

    /// A share encodes some of what it has set apart, if there is something; true if that was the last of it.
    pub fn slice(&self, stage: &mut Stage) -> Result<bool, String> {
        if self.slice_keys == 0 { Ok(false) } else { self.encode(stage, self.slice_keys) }
    }

    /// A share encodes all that it has set apart.
    pub fn finish(&self, stage: &mut Stage) -> Result<(), String> {
        while stage.frozen.is_some() {
            self.encode(stage, usize::MAX)?;
        }
        Ok(())
    }

    fn encode(&self, stage: &mut Stage, keys: usize) -> Result<bool, String> {
        let Some(sequence) = stage.frozen else { return Ok(false) };
        fault::point("checkpoint.slice");
        let Some(rows) = stage.operator.state().slice(keys).map_err(|e| e.message)? else { return Ok(false) };
        stage.frozen = None;
        self.epochs.hand_in(sequence, self.name_of(stage), rows);
        Ok(true)
    }

    /// Encodes so many keys at a barrier and after each tick until all are; with 0 none.
    pub fn slice_by(&mut self, keys: usize) {
        self.slice_keys = keys;
    }

    /// A piece of a tick's work is done; the tick, if it was the last piece.
    pub fn done(&self, sequence: u64) -> Option<Arc<TickInfo>> {
        let mut ticks = lock(&self.ticks);
        let info = ticks.get(&sequence)?;
        if info.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        ticks.remove(&sequence)
    }

    /// What a sink handed out at a barrier. The error ends the run: its rows were refused, and it is not to go on then.
    pub fn mark(&self, sequence: u64, sink: NodeId, mut prepared: Prepared) -> Result<(), String> {
        let returns = sequence < self.returns_before.load(Ordering::Acquire);
        let counted = refused::count(&self.graph.context, (sequence, sink), returns, &mut prepared)?;
        self.ledger.add(&counted);
        self.epochs.mark(sequence, sink, prepared, counted);
        Ok(())
    }

    /// What was handed out at barriers up to one that has gone through everything.
    pub fn take_epoch(&self, sequence: u64) -> Epoch {
        self.letters.store(0, Ordering::Relaxed);
        self.epochs.take(sequence)
    }

    /// Whether all that was set apart up to a barrier that has gone through everything is handed in.
    pub fn is_whole(&self, sequence: u64) -> bool {
        self.epochs.is_whole(sequence)
    }

    /// What became of records up to a barrier: of whole blocks, and of the parts of those that it fell into.
    fn counted(&self, mut whole: Counted, parts: Vec<(usize, Arc<Mapped>, Range<u32>)>) -> Counted {
        let mut recounters = lock(&self.recounters);
        if recounters.is_empty() && !parts.is_empty() {
            // Mappers of this job could be made before.
            *recounters = self.mappers().unwrap_or_default();
        }
        for (source, block, records) in parts {
            if let (Some(mapper), Some(decoded)) = (recounters.get_mut(source), &block.decoded) {
                whole.add(mapper.recount(decoded, records));
            }
        }
        whole
    }

    /// Hands ticks to their readers.
    pub(super) fn start(&self, ticks: Vec<Tick>) -> Vec<Ready> {
        let mut ready = Vec::new();
        for tick in ticks {
            let info = TickInfo {
                watermarks: tick.watermarks.into_iter().flatten().map(Arc::new).collect(),
                barrier: tick.barrier.is_some(),
                last: tick.last,
                complete: tick.complete,
                used: tick.used,
                written: tick.written,
                now: tick.now.unwrap_or(Timestamp::MIN),
                only_returns: tick.only_returns,
                said: tick.said,
                left: AtomicUsize::new(self.pieces),
            };
            if tick.complete {
                self.returns_before.store(tick.sequence, Ordering::Release);
            }
            if let Some(cut) = tick.barrier {
                let reached = |set: usize| info.watermarks.get(set).map(|along| along.end());
                let watermarks = self.sets().filter_map(|(name, set)| Some((name.to_owned(), reached(set)?))).collect();
                let counted = self.counted(cut.counted, cut.parts);
                let turns = self.turn_log.as_ref().map(|log| log.written(cut.turns, Some(cut.arrival)));
                let epoch = Epoch {
                    partitions: cut.partitions,
                    turns,
                    watermarks,
                    counted,
                    spent: cut.spent,
                    ..Epoch::default()
                };
                self.epochs.begin(tick.sequence, epoch);
            }
            lock(&self.ticks).insert(tick.sequence, Arc::new(info));
            let mut parcels: HashMap<usize, Vec<Option<Parcel>>> = tick.parcels.into_iter().collect();
            for (index, source) in self.graph.sources.iter().enumerate() {
                let mut of_source = parcels.remove(&index).unwrap_or_default().into_iter();
                let maker = u32::try_from(index).unwrap_or(u32::MAX);
                for exit in &source.exits {
                    let part = Part { maker: (maker, 0), parcel: of_source.next().flatten(), ranks: None, more: false };
                    self.add(*exit, tick.sequence, part, &mut ready);
                }
            }
        }
        ready
    }

    fn add(&self, reader: usize, sequence: u64, part: Part, ready: &mut Vec<Ready>) {
        let Some(gathered) = self.gathers.get(reader).and_then(|g| g.add(sequence, part)) else { return };
        let Gathered { parts, slice, ordinals } = gathered;
        let Some(spec) = self.graph.readers.get(reader) else { return };
        match &spec.kind {
            ReaderKind::Sink(_) => {
                let info = lock(&self.ticks).get(&sequence).cloned();
                let barrier = !slice.more && info.as_ref().is_some_and(|info| info.barrier);
                let written = info.filter(|_| spec.early).map_or(0, |info| info.written);
                ready.push(Ready::Sink { reader, sequence, slice, lines: gather_lines(parts), barrier, written });
            }
            ReaderKind::Stage(stage, set) => {
                let info = lock(&self.ticks).get(&sequence).cloned();
                let (Some(info), Some(tools)) = (info, self.tools.get(reader)) else { return };
                let (batch, hashes) = gather_rows(parts, &mut lock(tools));
                let still = || Arc::new(Watermarks::still(Timestamp::MIN));
                let mut watermarks = info.watermarks.get(*set).cloned().unwrap_or_else(still);
                if slice.number > 0 || slice.more {
                    watermarks = Arc::new(watermarks.within(ordinals));
                }
                let watermarks =
                    if spec.behind > TimeSpan::ZERO { Arc::new(watermarks.behind(spec.behind)) } else { watermarks };
                let shared = share(&hashes, batch.rows, stage.shares);
                let (batch, hashes) = (Arc::new(batch), Arc::new(hashes));
                for (index, rows) in shared.into_iter().enumerate() {
                    let input = StageInput {
                        sequence,
                        slice,
                        share: as_u32(index),
                        batch: Arc::clone(&batch),
                        hashes: Arc::clone(&hashes),
                        rows,
                        watermarks: Arc::clone(&watermarks),
                        now: info.now,
                        said: info.said.clone(),
                        barrier: info.barrier,
                    };
                    ready.push(Ready::Stage { reader, share: index, input });
                }
            }
        }
    }
}
