//! The join: rows of two sides that have one key and are close in event time.
//!
//! A row is matched with what is kept of the other side when it comes, and is kept itself until the watermark rules out
//! that a row which is not late could match it. Then a side whose rows may leave without a match lets it go, at its own
//! time. A row that comes when it would be let go at once is late. What is kept of a row is its text.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::limit::JOIN_ROWS;
use crate::base::time::{TimeSpan, Timestamp};
use crate::data::column::as_u32;
use crate::data::layout::{Demand, FieldId, Layout};
use crate::data::value::Val;
use crate::engine::action::Tools;
use crate::engine::actions::join::is_right;
use crate::engine::flow::Failed;
use crate::engine::missing::Watch;
use crate::engine::state::{Decoded, Decoder, Load, State, StateError, StateRows};
use crate::expr::Program;
use crate::store::rows::Origin;

use super::window::decoded::{decoder, rows_of};
use super::window::frozen::Plain;
use super::window::keys::{KeyColumns, Keys};
use super::{Due, Operator, Rank, TickInput, TickOutput};

mod rows;

use rows::JoinedRows;

/// A join as the engine runs it.
#[derive(Clone)]
pub struct JoinSpec {
    /// The column that says whose row it is.
    pub side: FieldId,
    /// The columns of the key's parts.
    pub key: Vec<FieldId>,
    /// The fields that hold the rows, left and right.
    pub names: [String; 2],
    /// How long before a left row a right one may be.
    pub before: TimeSpan,
    /// How long after a left row a right one may be.
    pub after: TimeSpan,
    /// By side: whether rows leave without a match.
    pub outer: [bool; 2],
    /// The fields of a row, if it is not one for each side.
    pub select: Option<Select>,
    /// Whether changes are noted for snapshots.
    pub track: bool,
}

/// The fields that a join's rows are made of.
#[derive(Clone)]
pub struct Select {
    /// Field and value.
    pub fields: Vec<(FieldId, Program)>,
    /// What the values read.
    pub needed: Demand,
    /// Whether rows are read again because later readers name paths inside or around the fields.
    pub refresh: bool,
    /// By side: what looks for fields that its rows never have.
    pub watches: [Arc<Watch>; 2],
}

/// A row that waits for a match.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Microseconds.
    time: i64,
    text: Box<str>,
    matched: bool,
}

/// What is kept for a key, by side: rows by time, of equal times in order of arrival.
type Sides = [VecDeque<Kept>; 2];

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// The operator.
pub struct JoinStep {
    spec: JoinSpec,
    keys: Keys<Sides>,
    /// When a row of a key is let go. One entry a row.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    watermark: i64,
    rows: JoinedRows,
    tools: Tools,
    /// Rows that wait.
    held: u64,
}

impl JoinStep {
    /// With no state; `needed` is what is read of its output.
    pub fn new(spec: &JoinSpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        JoinStep {
            keys: Keys::unordered(spec.track),
            timers: BinaryHeap::new(),
            watermark: i64::MIN,
            rows: JoinedRows::new(spec, layout, needed),
            tools: Tools::new(layout, needed),
            held: 0,
            spec: spec.clone(),
        }
    }

    /// The first watermark that rules out a match for a row: a later row is not before the watermark.
    fn gone(&self, side: usize, time: i64) -> i64 {
        let span = if side == LEFT { self.spec.after } else { self.spec.before };
        time.saturating_add(span.0).saturating_add(1)
    }

    /// The earliest and the latest time of rows of the other side that match a row.
    fn bounds(&self, side: usize, time: i64) -> (i64, i64) {
        let (before, after) = (self.spec.before.0, self.spec.after.0);
        match side {
            LEFT => (time.saturating_sub(before), time.saturating_add(after)),
            _ => (time.saturating_sub(after), time.saturating_add(before)),
        }
    }

    /// Takes a row that is not late and has a key.
    fn row(&mut self, id: u32, side: usize, time: i64, text: &str, rank: Rank, out: &mut TickOutput) {
        let (earliest, latest) = self.bounds(side, time);
        let gone = self.gone(side, time);
        let Some(entry) = self.keys.change(id, &Plain) else { return };
        let [left, right] = &mut entry.data;
        let (own, others) = if side == LEFT { (left, right) } else { (right, left) };
        if own.len() >= JOIN_ROWS {
            let name = self.spec.names.get(side).map_or("", String::as_str);
            let reason = format!("`{name}` has {JOIN_ROWS} rows of this key that wait for a match, which is the limit");
            let place = place(rank, out);
            let origin = if side == LEFT { Origin::Left } else { Origin::Right };
            out.failed.push(Failed {
                ordinal: place,
                time: Timestamp(time),
                reason,
                place: String::new(),
                origin,
                header: None,
                original: text.as_bytes().to_vec(),
            });
            return;
        }
        let first = others.partition_point(|other| other.time < earliest);
        let beyond = others.partition_point(|other| other.time <= latest);
        for other in others.range_mut(first..beyond.max(first)) {
            other.matched = true;
            let pair = if side == LEFT { [Some(text), Some(&*other.text)] } else { [Some(&*other.text), Some(text)] };
            self.rows.add(pair, time.max(other.time), place(rank, out));
        }
        let at = own.partition_point(|kept| kept.time <= time);
        own.insert(at, Kept { time, text: text.into(), matched: beyond > first });
        self.held += 1;
        self.timers.push(Reverse((gone, id)));
    }

    /// Moves the watermark on and lets rows go, those that leave without a match by the instant that rules a match out, then
    /// by key, side and time.
    fn advance(&mut self, ordinal: u32, to: i64, input: &TickInput<'_>, out: &mut TickOutput) {
        if to <= self.watermark {
            return;
        }
        self.watermark = to;
        let turn = input.turn_after(ordinal);
        let mut due: Vec<u32> = Vec::new();
        while let Some(Reverse((at, _))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= to) {
            due.clear();
            while let Some(Reverse((_, id))) = self.timers.peek().copied().filter(|Reverse((other, _))| *other == at) {
                self.timers.pop();
                due.push(id);
            }
            due.sort_unstable();
            due.dedup();
            due.sort_by(|a, b| self.keys.order(*a, *b));
            for id in &due {
                self.let_go(*id, at, Rank { ordinal, turn, at, end: at, key: u32::MAX }, out);
            }
        }
    }

    /// Lets the rows of a key go whose time has come.
    fn let_go(&mut self, id: u32, at: i64, rank: Rank, out: &mut TickOutput) {
        for side in [LEFT, RIGHT] {
            let outer = self.spec.outer.get(side).copied().unwrap_or_default();
            loop {
                let front = self.keys.get(id).and_then(|e| e.data.get(side)).and_then(VecDeque::front);
                if front.is_none_or(|kept| self.gone(side, kept.time) > at) {
                    break;
                }
                let entry = self.keys.change(id, &Plain);
                let Some(kept) = entry.and_then(|e| e.data.get_mut(side)).and_then(VecDeque::pop_front) else { break };
                self.held -= 1;
                out.absorbed += 1;
                if outer && !kept.matched {
                    let key = self.keys.get(id).map(|e| &e.key);
                    let rank = Rank { key: self.rows.key(key), ..rank };
                    self.rows.add(alone(side, &kept.text), kept.time, place(rank, out));
                }
            }
        }
        if self.keys.get(id).is_some_and(|e| e.data.iter().all(VecDeque::is_empty)) {
            self.keys.remove(id, &Plain);
        }
    }
}

/// A row without a match.
fn alone(side: usize, text: &str) -> [Option<&str>; 2] {
    if side == LEFT { [Some(text), None] } else { [None, Some(text)] }
}

/// Notes where the next output row stands.
fn place(rank: Rank, out: &mut TickOutput) -> u32 {
    out.ranks.list.push(rank);
    as_u32(out.ranks.list.len() - 1)
}

/// The texts of a share's rows as they are now.
fn texts(tools: &mut Tools, input: &TickInput<'_>) -> (String, Vec<u32>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    if input.rows.len() == input.batch.rows {
        tools.encoder.encode(input.batch, &mut text, &mut ends);
    } else {
        // Only text and edits are written; what else is read of the rows stays where it is.
        tools.encoder.encode(&input.batch.select(input.rows), &mut text, &mut ends);
    }
    // What is written is made of texts.
    (String::from_utf8(text).unwrap_or_default(), ends)
}

impl Operator for JoinStep {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let columns = KeyColumns::of(input.batch, &self.spec.key);
        let (text, ends) = if input.rows.is_empty() { Default::default() } else { texts(&mut self.tools, input) };
        // Nothing happens where a watermark is taken up again: what it rules out is gone.
        self.watermark = self.watermark.max(input.watermarks.start.0);
        let mut steps = input.watermarks.steps.iter().peekable();
        let mut start = 0usize;
        for (row, end) in input.rows.iter().zip(&ends) {
            let at = *row as usize;
            let own = text.get(start..(*end as usize).saturating_sub(1)).unwrap_or_default();
            start = *end as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((step, to)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.advance(*step, to.0, input, out);
            }
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            let side = if is_right(input.batch, self.spec.side, at) { RIGHT } else { LEFT };
            let rank = Rank { ordinal, turn: input.turn_of(*row), at: i64::MIN, end: i64::MIN, key: u32::MAX };
            if self.gone(side, time) <= self.watermark {
                let place = place(rank, out);
                out.late.push((*row, place));
            } else if self.spec.key.iter().any(|f| matches!(input.batch.get(*f, at), Val::Unit)) {
                // Null and missing match nothing, so there is nothing to wait for.
                out.absorbed += 1;
                if self.spec.outer.get(side).copied().unwrap_or_default() {
                    self.rows.add(alone(side, own), time, place(rank, out));
                }
            } else {
                let id = self.keys.find_or_add(&columns, at, input.hashes.get(at).copied().unwrap_or(0));
                self.row(id, side, time, own, rank, out);
            }
        }
        for (step, to) in steps {
            self.advance(*step, to.0, input, out);
        }
        self.rows.finish(out);
    }

    fn held(&self) -> u64 {
        self.held
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

impl State for JoinStep {
    fn freeze(&mut self) {
        self.keys.freeze();
    }

    fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        self.keys.slice(keys, &Plain)
    }

    fn expect(&mut self, keys: usize) {
        self.keys.expect(keys);
    }

    fn decoder(&self) -> Decoder {
        decoder::<Sides>
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        for (found, key, sides) in rows_of::<Sides>(rows)? {
            let rows = [LEFT, RIGHT].into_iter().zip(&sides);
            let gone = rows.flat_map(|(side, rows)| rows.iter().map(move |kept| (side, kept.time)));
            let gone: Vec<i64> = gone.map(|(side, time)| self.gone(side, time)).collect();
            self.held += gone.len() as u64;
            let id = self.keys.put_back(found, key, sides);
            self.timers.extend(gone.into_iter().map(|at| Reverse((at, id))));
        }
        Ok(())
    }
}
