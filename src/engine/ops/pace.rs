//! `dedupe` and `throttle`: of the rows of a key that go on, no more than a number lie less than a span apart.
//!
//! What is kept of a key is the event times of the rows that went on. A row is judged against those around it, before and
//! after, so that the rule holds in whatever order rows come. One that is a whole span behind the watermark cannot be
//! judged any more and is late; what only such rows could meet is forgotten.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smallvec::SmallVec;

use crate::base::time::TimeSpan;
use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::layout::FieldId;
use crate::engine::state::{Decoded, Decoder, Load, State, StateError, StateRows, encode_to};
use crate::plan::Port;

use super::window::decoded::{decoder, rows_of};
use super::window::frozen::Encode;
use super::window::keys::{KeyColumns, Keys};
use super::{Due, Operator, Rank, TickInput, TickOutput};

/// Such a step as the engine runs it.
#[derive(Clone, Debug)]
pub struct PaceSpec {
    /// The columns of the key's parts.
    pub key: Vec<FieldId>,
    /// How many rows of a key may be less than `span` apart.
    pub limit: usize,
    /// Two rows that are just this far apart do not meet.
    pub span: TimeSpan,
    /// What becomes of the others.
    pub held: Held,
    /// Whether changes are noted for snapshots.
    pub track: bool,
}

/// What becomes of rows that do not go on.
#[derive(Clone, Debug)]
pub enum Held {
    /// They are counted as duplicates.
    Duplicate,
    /// They are counted as dropped.
    Dropped,
    /// They leave by this port.
    Port(Port),
}

/// The event times of a key's rows that went on, ascending, in microseconds.
type Times = SmallVec<[i64; 2]>;

/// How they are stored.
struct Code;

impl Encode<Times> for Code {
    fn encode(&self, _: u32, times: &Times, out: &mut Vec<u8>) -> Result<(), StateError> {
        encode_to(times.as_slice(), out)
    }
}

/// The operator.
pub struct Pace {
    spec: PaceSpec,
    keys: Keys<Times>,
    /// When the earliest time of a key may be forgotten. One entry a time that is kept.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    watermark: i64,
}

impl Pace {
    /// With no state.
    pub fn new(spec: &PaceSpec) -> Self {
        Pace { keys: Keys::unordered(spec.track), spec: spec.clone(), timers: BinaryHeap::new(), watermark: i64::MIN }
    }

    fn keep(&mut self, id: u32, time: i64) {
        self.timers.push(Reverse((gone(time, self.spec.span), id)));
        if let Some(entry) = self.keys.change(id, &Code) {
            let at = entry.data.partition_point(|kept| *kept <= time);
            entry.data.insert(at, time);
        }
    }

    /// Forgets what no row can meet any more. Nothing that is still judged depends on when this runs.
    fn forget(&mut self) {
        let mut due: Vec<u32> = Vec::new();
        while let Some(Reverse((at, id))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= self.watermark)
        {
            self.timers.pop();
            debug_assert!(at <= self.watermark);
            due.push(id);
        }
        due.sort_unstable();
        due.dedup();
        for id in due {
            let limit = self.watermark;
            let twice = self.spec.span.0.saturating_mul(2);
            let Some(entry) = self.keys.change(id, &Code) else { continue };
            let gone = entry.data.partition_point(|time| time.saturating_add(twice) <= limit);
            entry.data.drain(..gone);
            if entry.data.is_empty() {
                self.keys.remove(id, &Code);
            }
        }
    }
}

/// When no row that is not late can meet a row of this time: such a row is less than one span behind the watermark, and
/// meets what is less than another span before it.
fn gone(time: i64, span: TimeSpan) -> i64 {
    time.saturating_add(span.0).saturating_add(span.0)
}

/// Whether a row of this time may go on beside those that did: of no `limit + 1` neighbours the first and the last would
/// be less than `span` apart.
fn fits(times: &[i64], time: i64, limit: usize, span: i64) -> bool {
    let at = times.partition_point(|kept| *kept <= time);
    // As if it stood among them.
    let get = |index: usize| match index.cmp(&at) {
        std::cmp::Ordering::Less => times.get(index).copied(),
        std::cmp::Ordering::Equal => Some(time),
        std::cmp::Ordering::Greater => times.get(index - 1).copied(),
    };
    // Of neighbours that hold the row; in order of time, that is one group.
    let Some(last_first) = times.len().checked_sub(limit) else { return true };
    (at.saturating_sub(limit)..=at.min(last_first)).all(|first| match (get(first), get(first + limit)) {
        (Some(first), Some(last)) => last.saturating_sub(first) >= span,
        _ => true,
    })
}

/// Lets rows leave by a port, if there are any.
fn leave(port: Port, rows: &[(u32, u32)], input: &Batch, out: &mut TickOutput) {
    if rows.is_empty() {
        return;
    }
    let mut batch = if rows.len() == input.rows {
        input.clone()
    } else {
        input.select(&rows.iter().map(|(row, _)| *row).collect::<Vec<u32>>())
    };
    batch.ordinals = rows.iter().map(|(_, place)| *place).collect();
    out.ports.push((port, batch));
}

impl Operator for Pace {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let columns = KeyColumns::of(input.batch, &self.spec.key);
        let mut steps = input.watermarks.steps.iter().peekable();
        self.watermark = self.watermark.max(input.watermarks.start.0);
        // Rows of the input with their places among the ranks.
        let mut passed: Vec<(u32, u32)> = Vec::with_capacity(input.rows.len());
        let mut held: Vec<(u32, u32)> = Vec::new();
        for row in input.rows {
            let at = *row as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((_, to)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.watermark = self.watermark.max(to.0);
            }
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            let place = as_u32(out.ranks.list.len());
            let rank = Rank { ordinal, turn: input.turn_of(*row), at: i64::MIN, end: i64::MIN, key: u32::MAX };
            if time.saturating_add(self.spec.span.0) <= self.watermark {
                out.late.push((*row, place));
                out.ranks.list.push(rank);
                continue;
            }
            let id = self.keys.find_or_add(&columns, at, input.hashes.get(at).copied().unwrap_or(0));
            let times = self.keys.get(id).map_or(&[][..], |e| &e.data);
            if fits(times, time, self.spec.limit, self.spec.span.0) {
                self.keep(id, time);
                passed.push((*row, place));
                out.ranks.list.push(rank);
                continue;
            }
            match self.spec.held {
                Held::Duplicate => out.duplicates += 1,
                Held::Dropped => out.dropped += 1,
                Held::Port(_) => {
                    held.push((*row, place));
                    out.ranks.list.push(rank);
                }
            }
        }
        self.watermark = self.watermark.max(input.watermarks.end().0);
        self.forget();
        leave(Port::Main, &passed, input.batch, out);
        if let Held::Port(port) = &self.spec.held {
            leave(port.clone(), &held, input.batch, out);
        }
    }

    fn due(&self) -> Due {
        Due::at(self.timers.peek().map(|Reverse((at, _))| *at))
    }

    fn load(&self) -> Load {
        self.keys.load()
    }

    fn state(&mut self) -> &mut dyn State {
        self
    }
}

impl State for Pace {
    fn freeze(&mut self) {
        self.keys.freeze();
    }

    fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        self.keys.slice(keys, &Code)
    }

    fn expect(&mut self, keys: usize) {
        self.keys.expect(keys);
    }

    fn decoder(&self) -> Decoder {
        decoder::<Vec<i64>>
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        for (found, key, mut times) in rows_of::<Vec<i64>>(rows)? {
            times.sort_unstable();
            let id = self.keys.put_back(found, key, Times::from_slice(&times));
            self.timers.extend(times.iter().map(|time| Reverse((gone(*time, self.spec.span), id))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_fits_where_no_span_holds_more_than_the_limit() {
        assert!(fits(&[], 5, 1, 10));
        assert!(!fits(&[0], 9, 1, 10));
        assert!(fits(&[0], 10, 1, 10));
        assert!(!fits(&[10], 1, 1, 10));
        assert!(fits(&[10], 0, 1, 10));
        assert!(fits(&[0, 4], 10, 2, 10));
        assert!(!fits(&[0, 4], 9, 2, 10));
        // Between others: 4, 7 and 11 would be within ten.
        assert!(!fits(&[0, 4, 11, 20], 7, 2, 10));
        assert!(!fits(&[5, 5], 5, 2, 10));
        assert!(fits(&[5], 5, 2, 10));
    }
}
