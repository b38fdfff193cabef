//! Windows of so many events of a key, in the order in which they arrive.
//!
//! No event is late: a window takes whatever arrives, and leaves with its last event. Its bounds are the least and the
//! greatest event time among its events, both included, and the row's event time is the greatest: a row is never behind the
//! event that made it leave, so whoever reads it finds it late only if that event was.
//!
//! What is left at the end of the input leaves then, in order of the windows' ends. Such a window may have waited for long;
//! its row's event time is then where the watermark stood before that, so that it is not late for whoever reads it.

use serde::{Deserialize, Serialize};

use crate::base::limit::CLOSED_KEYS;
use crate::base::time::Timestamp;
use crate::data::layout::FieldId;
use crate::engine::ops::{Reached, TickInput};
use crate::engine::state::{Decoded, Decoder, Load, StateError, StateRows, encode_to};

use super::WindowSpec;
use super::accumulate::{Accumulators, Stored};
use super::decoded::{decoder, rows_of};
use super::emit::{Cause, Emission, Emitter};
use super::frozen::Encode;
use super::keys::{KeyColumns, Keys};
use super::ordered::Order;

/// The window of a key; one without events has no slot yet.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    events: u64,
    first: i64,
    last: i64,
    slot: u32,
}

/// A window as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredCount<V = Vec<Stored>> {
    events: u64,
    first: i64,
    last: i64,
    values: V,
}

impl Encode<Open> for Accumulators {
    fn encode(&self, _: u32, open: &Open, out: &mut Vec<u8>) -> Result<(), StateError> {
        let Open { events, first, last, slot } = *open;
        encode_to(&StoredCount { events, first, last, values: self.store(slot) }, out)
    }
}

/// The state of a step with windows of so many events.
pub(super) struct Counts {
    size: u64,
    key_fields: Vec<FieldId>,
    accumulators: Accumulators,
    keys: Keys<Open>,
    watermark: i64,
    /// Rows resolved to slots and not yet added.
    pending: Vec<(u32, u32)>,
    ending: Option<Ending>,
    reached: Reached,
}

/// What is left at the end of the input, on its way.
struct Ending {
    cause: Cause,
    /// Where the watermark was handed on before.
    after: i64,
    /// Keys that are not in the order yet.
    keys: std::vec::IntoIter<u32>,
    /// In which they leave, and how many of them have.
    order: Order,
    gone: usize,
}

impl Counts {
    pub const DECODER: Decoder = decoder::<StoredCount>;

    pub fn new(spec: &WindowSpec, size: u64, accumulators: Accumulators) -> Self {
        Counts {
            size,
            key_fields: spec.key.clone(),
            accumulators,
            keys: Keys::unordered(spec.track),
            watermark: i64::MIN,
            pending: Vec::new(),
            ending: None,
            reached: Reached::default(),
        }
    }

    /// False if there is more to leave.
    pub fn tick(&mut self, input: &TickInput<'_>, emitter: &mut Emitter) -> bool {
        if !self.go_on(emitter) {
            return false;
        }
        let reached = std::mem::take(&mut self.reached);
        self.rows(input.rows.get(reached.row..).unwrap_or_default(), input, emitter);
        self.watermark = self.watermark.max(input.watermarks.start.0);
        for (index, (step, to)) in input.watermarks.steps.iter().enumerate().skip(reached.step) {
            if *to == Timestamp::MAX {
                self.end(Cause { ordinal: *step, turn: input.turn_after(*step) });
            }
            self.watermark = self.watermark.max(to.0);
            if !self.go_on(emitter) {
                self.reached = Reached { row: input.rows.len(), step: index + 1 };
                return false;
            }
        }
        true
    }

    fn rows(&mut self, rows: &[u32], input: &TickInput<'_>, emitter: &mut Emitter) {
        let columns = KeyColumns::of(input.batch, &self.key_fields);
        for row in rows {
            let at = *row as usize;
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            let cause = Cause { ordinal, turn: input.turn_of(*row) };
            if self.accumulators.folds() {
                // What came before is in its slot, so that this row's folds go on from there.
                self.flush(input);
                let open = self.keys.find(&columns, at, hash).and_then(|id| self.keys.get(id)).map(|e| e.data.slot);
                if let Err(error) = self.accumulators.prepare(input.batch, *row, open.as_slice()) {
                    emitter.failed(cause, input.batch, error);
                    continue;
                }
            }
            let id = self.keys.find_or_add(&columns, at, hash);
            let Some(entry) = self.keys.change(id, &self.accumulators) else { continue };
            let open = &mut entry.data;
            if open.events == 0 {
                *open = Open { events: 0, first: time, last: time, slot: self.accumulators.allocate() };
            }
            open.events += 1;
            open.first = open.first.min(time);
            open.last = open.last.max(time);
            self.pending.push((*row, open.slot));
            if open.events >= self.size {
                self.flush(input);
                self.leave(cause, id, i64::MIN, emitter);
            }
        }
        self.flush(input);
    }

    fn flush(&mut self, input: &TickInput<'_>) {
        if !self.pending.is_empty() {
            self.accumulators.add(input.batch, &self.pending);
            self.pending.clear();
        }
    }

    /// The end of the input: what is left leaves.
    fn end(&mut self, cause: Cause) {
        let keys = self.keys.ids().into_iter();
        self.ending = Some(Ending { cause, after: self.watermark, keys, order: Order::default(), gone: 0 });
    }

    /// Goes on with what leaves at the end: puts so many keys in order, then lets so many leave; false if there is more.
    fn go_on(&mut self, emitter: &mut Emitter) -> bool {
        let Some(mut ending) = self.ending.take() else { return true };
        let last = |id: u32| self.keys.get(id).map_or(i64::MIN, |e| e.data.last);
        let compare = |a: u32, b: u32| last(a).cmp(&last(b)).then_with(|| self.keys.order(a, b));
        if ending.keys.len() > 0 {
            ending.keys.by_ref().take(CLOSED_KEYS).for_each(|id| ending.order.add(id, &compare));
            if ending.keys.len() > 0 {
                self.ending = Some(ending);
                return false;
            }
            ending.order.begin(0, &compare);
        }
        let leaving = ending.order.get(ending.gone, CLOSED_KEYS, &compare).to_vec();
        for id in &leaving {
            self.leave(ending.cause, *id, ending.after, emitter);
        }
        if leaving.len() == CLOSED_KEYS {
            ending.gone += leaving.len();
            self.ending = Some(ending);
        }
        self.ending.is_none()
    }

    /// Emits a key's window and forgets the key; `after` is where the watermark has been handed on.
    fn leave(&mut self, cause: Cause, id: u32, after: i64, emitter: &mut Emitter) {
        let Some(open) = self.keys.get(id).map(|e| e.data) else { return };
        let emission = Emission {
            cause,
            at: open.last,
            time: open.last.max(after),
            early: false,
            start: open.first,
            end: open.last,
            keys: &[id],
            groups: std::slice::from_ref(&(0..1)),
            slots: &[open.slot],
            revision: None,
            replaces: &[],
        };
        emitter.emit(&emission, &self.keys, &self.accumulators);
        self.keys.remove(id, &self.accumulators);
        self.accumulators.release(open.slot);
    }

    pub fn accumulators(&mut self) -> &mut Accumulators {
        &mut self.accumulators
    }

    pub fn load(&self) -> Load {
        self.keys.load()
    }

    pub fn held(&self) -> u64 {
        self.accumulators.held()
    }

    pub fn freeze(&mut self) {
        self.keys.freeze();
    }

    pub fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        self.keys.slice(keys, &self.accumulators)
    }

    pub fn expect(&mut self, keys: usize) {
        self.keys.expect(keys);
    }

    pub fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        for (found, key, StoredCount { events, first, last, values }) in rows_of::<StoredCount>(rows)? {
            let slot = self.accumulators.load(&values).ok_or_else(|| StateError::unreadable("other aggregates"))?;
            self.keys.put_back(found, key, Open { events, first, last, slot });
        }
        Ok(())
    }
}
