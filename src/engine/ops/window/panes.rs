//! Windows that are fixed by time alone, over shared panes ([`super::grid`]): a row is added to the one pane it falls into;
//! a window that closes merges its panes key by key ([`closing`]).

mod closing;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use crate::data::column::as_u32;
use crate::data::layout::FieldId;
use crate::engine::ops::{Reached, TickInput};
use crate::engine::state::{Decoded, Decoder, Load, StateError, StateRows, encode_to};

use super::WindowSpec;
use super::accumulate::{Accumulators, Stored};
use super::blocks::Blocks;
use super::decoded::{decoder, rows_of};
use super::early::{EarlyPanes, StoredChange};
use super::emit::{Cause, Emission, Emitter};
use super::frozen::Encode;
use super::grid::{Grid, Pane};
use super::keys::{Found, Key, KeyColumns, Keys};
use closing::Advancing;

/// The panes of a key with their slots, ascending.
type KeyPanes = SmallVec<[(i64, u32); 1]>;

/// A pane that holds rows.
struct Filled {
    pane: Pane,
    /// The keys that have a slot there.
    keys: Vec<u32>,
}

/// What is stored for a key.
#[derive(Serialize, Deserialize)]
struct KeyState<P = Vec<(i64, Vec<Stored>)>> {
    panes: P,
    revisions: Vec<(i64, u32)>,
    #[serde(default)]
    early: Vec<StoredChange>,
}

/// The panes of a key, stored as a list of starts with values.
struct StoredPanes<'a>(&'a KeyPanes, &'a Accumulators);

impl Serialize for StoredPanes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(start, slot)| (*start, self.1.store(*slot))))
    }
}

/// What is known of keys beside where their panes lie: none of it changes before the key is noted as changed.
struct Contents {
    accumulators: Accumulators,
    /// How often a window of a key was emitted again, by window end and key; only above 0.
    revisions: BTreeMap<i64, HashMap<u32, u32>>,
    early: Option<EarlyPanes>,
}

impl Encode<KeyPanes> for Contents {
    fn encode(&self, id: u32, panes: &KeyPanes, out: &mut Vec<u8>) -> Result<(), StateError> {
        let panes = StoredPanes(panes, &self.accumulators);
        let revisions = self.revisions.iter().filter_map(|(end, keys)| keys.get(&id).map(|n| (*end, *n))).collect();
        let early = self.early.as_ref().map(|early| early.of_key(id)).unwrap_or_default();
        encode_to(&KeyState { panes, revisions, early }, out)
    }
}

/// Rows of one window that leave together.
struct Leaving {
    cause: Cause,
    /// When: its end, or the point of an early row.
    at: i64,
    start: i64,
    end: i64,
    revision: Option<u32>,
    early: bool,
}

/// The state of a step whose windows are fixed by time.
pub(super) struct Panes {
    grid: Grid,
    allow_late: i64,
    blocks: Option<Blocks>,
    key_fields: Vec<FieldId>,
    keys: Keys<KeyPanes>,
    contents: Contents,
    /// Panes that hold rows, by start.
    filled: BTreeMap<i64, Filled>,
    /// Nothing happens before the watermark reaches this.
    next_event: i64,
    watermark: i64,
    /// Rows resolved to slots and not yet added.
    pending: Vec<(u32, u32)>,
    cached: Pane,
    advancing: Option<Box<Advancing>>,
    reached: Reached,
}

impl Panes {
    pub const DECODER: Decoder = decoder::<KeyState>;

    pub fn new(spec: &WindowSpec, grid: Grid, accumulators: Accumulators) -> Self {
        let early = spec.early.map(EarlyPanes::new);
        Panes {
            // The parts of a fold are merged by an expression, which may fail, and only where its answer is asked for.
            blocks: Blocks::of(&grid).filter(|_| !accumulators.folds()),
            grid,
            allow_late: spec.allow_late.0,
            key_fields: spec.key.clone(),
            keys: Keys::new(spec.track),
            contents: Contents { accumulators, revisions: BTreeMap::new(), early },
            filled: BTreeMap::new(),
            next_event: i64::MAX,
            watermark: i64::MIN,
            pending: Vec::new(),
            cached: Pane::NONE,
            advancing: None,
            reached: Reached::default(),
        }
    }

    /// False if there is more to leave.
    pub fn tick(&mut self, input: &TickInput<'_>, emitter: &mut Emitter) -> bool {
        if !self.go_on(emitter) {
            return false;
        }
        let columns = KeyColumns::of(input.batch, &self.key_fields);
        self.set_watermark(input.watermarks.start.0);
        let (reached, all) = (std::mem::take(&mut self.reached), &input.watermarks.steps);
        let mut steps = all.get(reached.step..).unwrap_or_default().iter().peekable();
        for (index, row) in (reached.row..).zip(input.rows.get(reached.row..).unwrap_or_default()) {
            let at = *row as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((step, watermark)) = steps.next_if(|(step, _)| *step < ordinal) {
                if !self.advance(*step, watermark.0, input, emitter) {
                    self.reached = Reached { row: index, step: all.len() - steps.len() };
                    return false;
                }
            }
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            if !self.cached.holds(time) {
                self.cached = self.locate(time);
            }
            let cause = Cause { ordinal, turn: input.turn_of(*row) };
            if self.gone(&self.cached) <= self.watermark {
                emitter.late(cause, *row);
                continue;
            }
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            if self.contents.accumulators.folds()
                && !self.prepare(cause, *row, self.keys.find(&columns, at, hash), input, emitter)
            {
                continue;
            }
            let id = self.keys.find_or_add(&columns, at, hash);
            if self.cached.first_window_end <= self.watermark {
                self.revise(cause, *row, id, input, emitter);
            } else {
                let slot = self.slot(id);
                self.pending.push((*row, slot));
                if self.contents.accumulators.folds() {
                    self.flush(input);
                }
            }
            if let Some(early) = &mut self.contents.early
                && let Some(point) = early.changed(&self.cached, id, self.watermark)
            {
                self.next_event = self.next_event.min(point);
            }
        }
        while let Some((step, watermark)) = steps.next() {
            if !self.advance(*step, watermark.0, input, emitter) {
                self.reached = Reached { row: input.rows.len(), step: all.len() - steps.len() };
                return false;
            }
        }
        self.flush(input);
        true
    }

    /// The watermark at which something happens next.
    pub fn next_event(&self) -> Option<i64> {
        Some(self.next_event).filter(|at| *at != i64::MAX)
    }

    fn set_watermark(&mut self, to: i64) {
        // The first tick after a restart brings the watermark that the state was stored at.
        self.watermark = self.watermark.max(to);
    }

    /// The pane that an instant is in.
    fn locate(&self, time: i64) -> Pane {
        // A calendar is slow to ask.
        if matches!(self.grid, Grid::Calendar(_))
            && let Some((_, filled)) = self.filled.range(..=time).next_back()
            && filled.pane.holds(time)
        {
            return filled.pane;
        }
        self.grid.pane_of(time)
    }

    /// When a pane's last window takes no more rows.
    #[inline]
    fn gone(&self, pane: &Pane) -> i64 {
        pane.last_window_end.saturating_add(self.allow_late)
    }

    /// The slot of a key in the cached pane.
    #[inline]
    fn slot(&mut self, id: u32) -> u32 {
        let pane = self.cached;
        if let Some(blocks) = &mut self.blocks {
            blocks.changed(id, pane.start, &mut self.contents.accumulators);
        }
        let Some(entry) = self.keys.change(id, &self.contents) else { return 0 };
        for (start, slot) in entry.data.iter().rev() {
            if *start == pane.start {
                return *slot;
            }
            if *start < pane.start {
                break;
            }
        }
        let slot = self.contents.accumulators.allocate();
        let at = entry.data.iter().rposition(|(start, _)| *start < pane.start).map_or(0, |i| i + 1);
        entry.data.insert(at, (pane.start, slot));
        self.fill(pane, id);
        slot
    }

    /// A key has a slot in a pane.
    fn fill(&mut self, pane: Pane, id: u32) {
        let filled = self.filled.entry(pane.start).or_insert_with(|| Filled { pane, keys: Vec::new() });
        filled.keys.push(id);
        if filled.keys.len() == 1 {
            // It makes something happen when a window of it closes, or its last window takes no more rows.
            let gone = self.gone(&pane);
            let event = self.grid.next_end(&pane, self.watermark).unwrap_or(gone).min(gone);
            self.next_event = self.next_event.min(event);
        }
    }

    /// Computes the folds of a row that falls into the cached pane; false if one fails, and with it the row.
    fn prepare(
        &mut self,
        cause: Cause,
        row: u32,
        known: Option<u32>,
        input: &TickInput<'_>,
        emitter: &mut Emitter,
    ) -> bool {
        let panes = known.and_then(|id| self.keys.get(id)).map_or(&[][..], |e| &e.data);
        let slot = panes.iter().find(|(start, _)| *start == self.cached.start).map(|(_, slot)| *slot);
        let prepared = self.contents.accumulators.prepare(input.batch, row, slot.as_slice());
        let fits = prepared.is_ok();
        if let Err(error) = prepared {
            emitter.failed(cause, input.batch, error);
        }
        fits
    }

    fn flush(&mut self, input: &TickInput<'_>) {
        if !self.pending.is_empty() {
            self.contents.accumulators.add(input.batch, &self.pending);
            self.pending.clear();
        }
    }

    /// Adds a row to a pane that closed windows share, and emits those windows again.
    fn revise(&mut self, cause: Cause, row: u32, id: u32, input: &TickInput<'_>, emitter: &mut Emitter) {
        self.flush(input);
        let pane = self.cached;
        let mut emitted_before = Vec::new();
        let mut next = self.grid.next_end(&pane, self.watermark.saturating_sub(self.allow_late));
        while let Some(end) = next.filter(|end| *end <= self.watermark) {
            emitted_before.push((end, !self.window_slots(id, self.grid.start_of(end), end).is_empty()));
            next = self.grid.next_end(&pane, end);
        }
        let slot = self.slot(id);
        self.contents.accumulators.add(input.batch, &[(row, slot)]);
        for (end, before) in emitted_before {
            let revision = before.then(|| {
                let count = self.contents.revisions.entry(end).or_default().entry(id).or_insert(0);
                *count += 1;
                *count
            });
            let window = Leaving { cause, at: end, start: self.grid.start_of(end), end, revision, early: false };
            self.emit(&window, &[id], emitter);
        }
    }

    /// The panes of a key in a window, in order of time.
    fn window_slots(&self, id: u32, start: i64, end: i64) -> &[(i64, u32)] {
        between(self.keys.get(id).map_or(&[][..], |e| &e.data), start, end)
    }

    /// Emits a window's rows: one for each of these keys that has something in it.
    fn emit(&mut self, window: &Leaving, ids: &[u32], emitter: &mut Emitter) {
        let (mut keys, mut groups, mut slots): (Vec<u32>, Vec<Range<u32>>, Vec<u32>) = Default::default();
        for id in ids {
            let from = as_u32(slots.len());
            let panes = self.keys.get(*id).map_or(&[][..], |e| &e.data);
            let panes = between(panes, window.start, window.end);
            match &mut self.blocks {
                Some(blocks) => {
                    blocks.parts(*id, panes, (window.start, window.end), &mut self.contents.accumulators, &mut slots);
                }
                None => slots.extend(panes.iter().map(|(_, slot)| *slot)),
            }
            let to = as_u32(slots.len());
            if to > from {
                keys.push(*id);
                groups.push(from..to);
            }
        }
        let emission = Emission {
            cause: window.cause,
            at: window.at,
            time: window.at.saturating_sub(1),
            early: window.early,
            start: window.start,
            end: window.end,
            keys: &keys,
            groups: &groups,
            slots: &slots,
            revision: window.revision,
            replaces: &[],
        };
        emitter.emit(&emission, &self.keys, &self.contents.accumulators);
    }

    pub fn accumulators(&mut self) -> &mut Accumulators {
        &mut self.contents.accumulators
    }

    pub fn load(&self) -> Load {
        self.keys.load()
    }

    pub fn held(&self) -> u64 {
        self.contents.accumulators.held()
    }

    pub fn freeze(&mut self) {
        self.keys.freeze();
    }

    pub fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        self.keys.slice(keys, &self.contents)
    }

    pub fn expect(&mut self, keys: usize) {
        self.keys.expect(keys);
    }

    pub fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        rows_of(rows)?.into_iter().try_for_each(|(found, key, state)| self.put_back(found, key, state))
    }

    fn put_back(&mut self, found: Found, key: Key, state: KeyState) -> Result<(), StateError> {
        let mut panes = KeyPanes::with_capacity(state.panes.len());
        for (start, stored) in &state.panes {
            let slot = self.contents.accumulators.load(stored);
            panes.push((*start, slot.ok_or_else(|| StateError::unreadable("other aggregates"))?));
        }
        let id = self.keys.put_back(found, key, panes);
        for (start, _) in state.panes {
            // What the pane makes happen is known when the watermark is: until then anything may.
            self.fill(self.locate(start), id);
            self.next_event = i64::MIN;
        }
        for change in state.early {
            if let Some(early) = &mut self.contents.early {
                early.restore(id, change);
            }
        }
        for (end, count) in state.revisions {
            self.contents.revisions.entry(end).or_default().insert(id, count);
        }
        Ok(())
    }
}

/// The panes of a key that begin in a stretch of time.
fn between(panes: &[(i64, u32)], start: i64, end: i64) -> &[(i64, u32)] {
    let from = panes.partition_point(|(pane, _)| *pane < start);
    let to = panes.partition_point(|(pane, _)| *pane < end);
    panes.get(from..to).unwrap_or_default()
}
