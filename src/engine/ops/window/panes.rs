//! Tumbling and sliding windows over shared panes.
//!
//! Time is cut into panes, the largest pieces that every window is made of. A row is added to the one pane it falls
//! into; a window that closes merges its panes key by key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::base::time::TimeSpan;
use crate::data::column::as_u32;
use crate::data::layout::FieldId;
use crate::data::value::Value;
use crate::engine::ops::TickInput;
use crate::engine::state::{StateError, StateRow, decode, encode};

use super::WindowSpec;
use super::accumulate::{Accumulators, Stored};
use super::emit::{Cause, Emission, Emitter};
use super::keys::{Key, KeyColumns, Keys};

/// The panes of a key with their slots, ascending.
type KeyPanes = SmallVec<[(i64, u32); 1]>;

/// The windows' geometry, all in microseconds.
#[derive(Clone, Copy, Debug)]
struct Grid {
    size: i64,
    every: i64,
    offset: i64,
    pane: i64,
    allow_late: i64,
}

/// A pane with the windows that cover it.
#[derive(Clone, Copy, Debug)]
struct Pane {
    start: i64,
    end: i64,
    first_window_end: i64,
    last_window_end: i64,
}

impl Grid {
    fn pane_of(&self, time: i64) -> Pane {
        let start = floor_to(time, self.pane, self.offset);
        let last_window_start = floor_to(start, self.every, self.offset);
        // The first window that ends after the pane's start.
        let first_window_end = floor_to(start.saturating_sub(self.size), self.every, self.offset)
            .saturating_add(self.every)
            .saturating_add(self.size);
        Pane {
            start,
            end: start.saturating_add(self.pane),
            first_window_end,
            last_window_end: last_window_start.saturating_add(self.size),
        }
    }

    /// The first window end above `after` among those that cover the pane.
    fn next_end(&self, pane: &Pane, after: i64) -> Option<i64> {
        let mut end = pane.first_window_end;
        if end <= after {
            let steps = (after - end) / self.every + 1;
            end = end.saturating_add(steps.saturating_mul(self.every));
        }
        (end <= pane.last_window_end).then_some(end)
    }
}

fn floor_to(time: i64, step: i64, offset: i64) -> i64 {
    time.saturating_sub(offset).div_euclid(step).saturating_mul(step).saturating_add(offset)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// What is stored for a key.
#[derive(Serialize, Deserialize)]
struct KeyState {
    panes: Vec<(i64, Vec<Stored>)>,
    revisions: Vec<(i64, u32)>,
}

/// The state of a tumbling or sliding window step.
pub(super) struct Panes {
    grid: Grid,
    key_fields: Vec<FieldId>,
    accumulators: Accumulators,
    keys: Keys<KeyPanes>,
    /// Pane starts that hold rows, with the number of keys that have a slot there.
    filled: BTreeMap<i64, u32>,
    /// How often a window of a key was emitted again, by window end and key; only above 0.
    revisions: BTreeMap<i64, HashMap<u32, u32>>,
    /// Nothing happens before the watermark reaches this.
    next_event: i64,
    watermark: i64,
    /// Rows resolved to slots and not yet added.
    pending: Vec<(u32, u32)>,
    cached: Pane,
}

impl Panes {
    pub fn new(
        spec: &WindowSpec,
        size: TimeSpan,
        every: TimeSpan,
        offset: TimeSpan,
        accumulators: Accumulators,
    ) -> Self {
        let (size, every) = (size.0.max(1), every.0.max(1));
        let pane = greatest_common_divisor(size, every);
        let grid = Grid { size, every, offset: offset.0.rem_euclid(every), pane, allow_late: spec.allow_late.0 };
        Panes {
            grid,
            key_fields: spec.key.clone(),
            accumulators,
            keys: Keys::new(spec.track),
            filled: BTreeMap::new(),
            revisions: BTreeMap::new(),
            next_event: i64::MAX,
            watermark: i64::MIN,
            pending: Vec::new(),
            cached: Pane { start: 0, end: 0, first_window_end: 0, last_window_end: 0 },
        }
    }

    pub fn tick(&mut self, input: &TickInput<'_>, emitter: &mut Emitter) {
        let columns = KeyColumns::of(input.batch, &self.key_fields);
        self.set_watermark(input.watermarks.start.0);
        let mut steps = input.watermarks.steps.iter().peekable();
        for row in input.rows {
            let at = *row as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((step, watermark)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.advance(*step, watermark.0, input, emitter);
            }
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            if time < self.cached.start || time >= self.cached.end {
                self.cached = self.grid.pane_of(time);
            }
            let cause = Cause { ordinal, turn: row.saturating_mul(2).saturating_add(1) };
            if self.cached.last_window_end.saturating_add(self.grid.allow_late) <= self.watermark {
                emitter.late(cause, *row);
                continue;
            }
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            if self.accumulators.folds()
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
                if self.accumulators.folds() {
                    self.flush(input);
                }
            }
        }
        for (step, watermark) in steps {
            self.advance(*step, watermark.0, input, emitter);
        }
        self.flush(input);
    }

    fn set_watermark(&mut self, to: i64) {
        // The first tick after a restart brings the watermark that the state was stored at.
        self.watermark = self.watermark.max(to);
    }

    /// The slot of a key in the cached pane.
    #[inline]
    fn slot(&mut self, id: u32) -> u32 {
        let pane = self.cached;
        let Some(entry) = self.keys.change(id) else { return 0 };
        for (start, slot) in entry.data.iter().rev() {
            if *start == pane.start {
                return *slot;
            }
            if *start < pane.start {
                break;
            }
        }
        let slot = self.accumulators.allocate();
        let at = entry.data.iter().rposition(|(start, _)| *start < pane.start).map_or(0, |i| i + 1);
        entry.data.insert(at, (pane.start, slot));
        self.fill(pane);
        slot
    }

    fn fill(&mut self, pane: Pane) {
        let count = self.filled.entry(pane.start).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.next_event = self.next_event.min(self.event_of(&pane));
        }
    }

    /// When the pane next makes something happen: a window of it closes, or its last window takes no more rows.
    fn event_of(&self, pane: &Pane) -> i64 {
        let gone = pane.last_window_end.saturating_add(self.grid.allow_late);
        self.grid.next_end(pane, self.watermark).unwrap_or(gone).min(gone)
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
        let prepared = self.accumulators.prepare(input.batch, row, slot.as_slice());
        let fits = prepared.is_ok();
        if let Err(error) = prepared {
            emitter.failed(cause, input.batch, error);
        }
        fits
    }

    fn flush(&mut self, input: &TickInput<'_>) {
        if !self.pending.is_empty() {
            self.accumulators.add(input.batch, &self.pending);
            self.pending.clear();
        }
    }

    /// Adds a row to a pane that closed windows share, and emits those windows again.
    fn revise(&mut self, cause: Cause, row: u32, id: u32, input: &TickInput<'_>, emitter: &mut Emitter) {
        self.flush(input);
        let pane = self.cached;
        let mut end = pane.first_window_end;
        let mut emitted_before = Vec::new();
        while end <= self.watermark && end <= pane.last_window_end {
            if end.saturating_add(self.grid.allow_late) > self.watermark {
                emitted_before.push((end, self.window_slots(id, end).next().is_some()));
            }
            end = end.saturating_add(self.grid.every);
        }
        let slot = self.slot(id);
        self.accumulators.add(input.batch, &[(row, slot)]);
        for (end, before) in emitted_before {
            let revision = before.then(|| {
                let count = self.revisions.entry(end).or_default().entry(id).or_insert(0);
                *count += 1;
                *count
            });
            let slots: Vec<u32> = self.window_slots(id, end).collect();
            emitter.emit(
                &Emission {
                    cause,
                    start: end.saturating_sub(self.grid.size),
                    end,
                    keys: &[id],
                    groups: std::slice::from_ref(&(0..as_u32(slots.len()))),
                    slots: &slots,
                    revision,
                    replaces: &[],
                },
                &self.keys,
                &self.accumulators,
            );
        }
    }

    /// The slots of a key in the window that ends at `end`, in order of time.
    fn window_slots(&self, id: u32, end: i64) -> impl Iterator<Item = u32> + '_ {
        let start = end.saturating_sub(self.grid.size);
        let panes = self.keys.get(id).map_or(&[][..], |e| &e.data);
        panes.iter().filter(move |(pane, _)| *pane >= start && *pane < end).map(|(_, slot)| *slot)
    }

    /// Moves the watermark: closes windows in order of their ends, then forgets what takes no more rows.
    fn advance(&mut self, ordinal: u32, to: i64, input: &TickInput<'_>, emitter: &mut Emitter) {
        let from = self.watermark;
        if to <= from {
            return;
        }
        if to < self.next_event {
            self.watermark = to;
            return;
        }
        self.flush(input);
        let mut ends = BTreeSet::new();
        for start in self.filled.keys() {
            let pane = self.grid.pane_of(*start);
            let mut next = self.grid.next_end(&pane, from);
            while let Some(end) = next.filter(|end| *end <= to) {
                ends.insert(end);
                next = self.grid.next_end(&pane, end);
            }
        }
        let rows_before = input.batch.ordinals.partition_point(|o| *o <= ordinal);
        let cause = Cause { ordinal, turn: as_u32(rows_before).saturating_mul(2) };
        for end in ends {
            self.close(cause, end, emitter);
        }
        self.watermark = to;
        self.forget();
        let panes: Vec<Pane> = self.filled.keys().map(|start| self.grid.pane_of(*start)).collect();
        self.next_event = panes.iter().map(|pane| self.event_of(pane)).min().unwrap_or(i64::MAX);
    }

    fn close(&mut self, cause: Cause, end: i64, emitter: &mut Emitter) {
        let (mut ids, mut groups, mut slots): (Vec<u32>, Vec<Range<u32>>, Vec<u32>) = Default::default();
        let start = end.saturating_sub(self.grid.size);
        let order = self.keys.in_order().to_vec();
        for id in order {
            let from = as_u32(slots.len());
            let panes = self.keys.get(id).map_or(&[][..], |e| &e.data);
            slots.extend(panes.iter().filter(|(pane, _)| *pane >= start && *pane < end).map(|(_, slot)| *slot));
            let to = as_u32(slots.len());
            if to > from {
                ids.push(id);
                groups.push(from..to);
            }
        }
        let emission =
            Emission { cause, start, end, keys: &ids, groups: &groups, slots: &slots, revision: None, replaces: &[] };
        emitter.emit(&emission, &self.keys, &self.accumulators);
    }

    /// Drops panes whose last window takes no more rows, and keys without panes.
    fn forget(&mut self) {
        let gone: Vec<i64> = self
            .filled
            .keys()
            .copied()
            .take_while(|start| {
                let pane = self.grid.pane_of(*start);
                pane.last_window_end.saturating_add(self.grid.allow_late) <= self.watermark
            })
            .collect();
        let (allow_late, watermark) = (self.grid.allow_late, self.watermark);
        self.revisions.retain(|end, _| end.saturating_add(allow_late) > watermark);
        let Some(last) = gone.last().copied() else { return };
        for start in gone {
            self.filled.remove(&start);
        }
        for id in self.keys.in_order().to_vec() {
            if self.keys.get(id).and_then(|e| e.data.first()).is_none_or(|(start, _)| *start > last) {
                continue;
            }
            let Some(entry) = self.keys.change(id) else { continue };
            let count = entry.data.iter().take_while(|(start, _)| *start <= last).count();
            for (_, slot) in entry.data.drain(..count) {
                self.accumulators.release(slot);
            }
            if entry.data.is_empty() {
                self.keys.remove(id);
            }
        }
    }

    pub fn changes(&mut self) -> Result<Vec<StateRow>, StateError> {
        let (accumulators, revisions) = (&self.accumulators, &self.revisions);
        self.keys.state_rows(|id, entry| {
            let panes = entry.data.iter().map(|(start, slot)| (*start, accumulators.store(*slot))).collect();
            let of_key = revisions.iter().filter_map(|(end, keys)| keys.get(&id).map(|n| (*end, *n)));
            encode(&KeyState { panes, revisions: of_key.collect() })
        })
    }

    pub fn restore(&mut self, row: &StateRow) -> Result<(), StateError> {
        let Some(value) = &row.value else { return Ok(()) };
        let parts: Vec<Value> = decode(&row.key)?;
        let state: KeyState = decode(value)?;
        let id = self.keys.add(row.hash, Key::of(parts));
        for (start, stored) in state.panes {
            let slot = self.accumulators.load(&stored).ok_or_else(|| StateError::unreadable("other aggregates"))?;
            if let Some(entry) = self.keys.change(id) {
                entry.data.push((start, slot));
            }
            // What the pane makes happen is known when the watermark is: until then anything may.
            self.fill(self.grid.pane_of(start));
            self.next_event = i64::MIN;
        }
        for (end, count) in state.revisions {
            self.revisions.entry(end).or_default().insert(id, count);
        }
        // What was just read back is not a change.
        self.keys.take_changes();
        Ok(())
    }
}
