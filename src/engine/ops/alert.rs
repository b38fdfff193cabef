//! The state machines of an alert, one a key ([`crate::alert::machine`]), fed with rows in the order of event time.
//!
//! A row waits until the watermark has reached its time; then it is judged, so that the order in which rows come does not
//! matter. What time alone brings about (a condition that lasts, a key that falls silent) happens at its own instant when the
//! watermark passes it, and not at the end of the input. The step's rows are transitions.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::alert::machine::{Judged, Machine, Outcome, Rules, Standing, Transition, Verdict};
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::data::batch::{Batch, RowError};
use crate::data::column::{Column, ColumnBuilder, as_u32};
use crate::data::layout::{Demand, FieldId, Layout};
use crate::data::value::Val;
use crate::engine::action::Tools;
use crate::engine::flow::Failed;
use crate::engine::state::{Decoded, Decoder, Load, State, StateError, StateRows, decode};
use crate::expr::Program;
use crate::plan::alert::WindowFields;
use crate::store::rows::Origin;

use super::window::decoded::{decoder, rows_of};
use super::window::frozen::Plain;
use super::window::keys::{KeyColumns, Keys};
use super::{Due, Operator, Rank, TickInput, TickOutput};

mod room;
mod rows;

use room::Quiet;
use rows::{About, TransitionRows};
pub use rows::{Saying, Text};

/// An alert as the engine runs it.
#[derive(Clone)]
pub struct AlertSpec {
    /// The columns of the key's parts.
    pub key: Vec<FieldId>,
    /// By level, the conditions.
    pub levels: Vec<[Option<Condition>; 2]>,
    /// How machines go on.
    pub rules: Rules,
    /// Whether rows are judged as they come.
    pub by_arrival: bool,
    /// Keys at most.
    pub max_keys: usize,
    /// Whether the key that is well and has been quiet for longest makes room for another one.
    pub forgets_quiet: bool,
    /// What windows write into their rows.
    pub window: WindowFields,
    /// What is said of transitions.
    pub saying: Arc<Saying>,
    /// Whether changes are noted for snapshots.
    pub track: bool,
}

/// A condition of a level.
#[derive(Clone)]
pub struct Condition {
    /// What is computed.
    pub program: Program,
    /// If one of these is null or missing, it says nothing.
    pub reads: Vec<FieldId>,
}

/// A row that the watermark has not reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Microseconds.
    time: i64,
    text: Box<str>,
    /// By level, what [`Verdict`] has.
    says: Says,
    window: Option<(i64, i64)>,
    revision: bool,
}

/// What the conditions of each level say of a row.
type Says = Vec<(Option<bool>, Option<bool>)>;

/// What is kept for a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct OfKey {
    machine: Machine,
    /// By time, of equal times in order of arrival.
    waiting: VecDeque<Kept>,
    /// The row that was judged last, where it may be asked for.
    last: Option<Box<str>>,
    /// When it is looked at whether it can be forgotten: a while after the last row of which that was noted.
    #[serde(skip)]
    looked_at: i64,
}

/// What is kept for a key, for whoever asks.
pub struct KeptKey {
    /// Where its machine stands.
    pub standing: Standing,
    /// The times of its rows that the watermark has not reached, the earliest first.
    pub waiting: Vec<Timestamp>,
}

/// Reads what was kept for a key of an alert with these rules.
pub fn kept_key(value: &[u8], rules: &Rules) -> Result<KeptKey, StateError> {
    let of: OfKey = decode(value)?;
    let waiting = of.waiting.iter().map(|kept| Timestamp(kept.time)).collect();
    Ok(KeptKey { standing: of.machine.standing(rules), waiting })
}

/// How long after its last row a key is forgotten of which nothing is known but that all is well, in microseconds.
const FORGOTTEN_AFTER: i64 = 86_400_000_000;

/// The operator.
pub struct AlertStep {
    spec: AlertSpec,
    keys: Keys<OfKey>,
    /// Which keys can make room for others, where they do.
    quiet: Option<Quiet>,
    /// When something may happen to a key: a row is reached, or a time has come. Some have become void since.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    watermark: i64,
    tools: Tools,
    rows: TransitionRows,
    transitions: Vec<Transition>,
    held: u64,
}

/// The end of time, where a watermark stands when all input has ended.
const END: i64 = Timestamp::MAX.0;

impl AlertStep {
    /// With no state; `needed` is what is read of its output.
    pub fn new(spec: &AlertSpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        AlertStep {
            keys: Keys::unordered(spec.track),
            quiet: spec.forgets_quiet.then(Quiet::default),
            timers: BinaryHeap::new(),
            watermark: i64::MIN,
            tools: Tools::new(layout, needed),
            rows: TransitionRows::new(&spec.saying, layout, needed),
            transitions: Vec::new(),
            held: 0,
            spec: spec.clone(),
        }
    }

    /// Judges a row of a key, and hands its transitions on.
    fn judge(&mut self, id: u32, kept: Kept, rank: Rank, out: &mut TickOutput) {
        let bounds = kept.window.map(|(start, end)| (Timestamp(start), Timestamp(end)));
        let Some(entry) = self.keys.change(id, &Plain) else { return };
        let verdicts: SmallVec<[Verdict; 2]> =
            kept.says.iter().map(|(when, clear)| Verdict { when: *when, clear: *clear }).collect();
        let judged =
            Judged { time: Timestamp(kept.time), window: bounds, revision: kept.revision, verdicts: &verdicts };
        let judgement = entry.data.machine.judge(&self.spec.rules, &judged, &mut self.transitions);
        if judgement == Outcome::Older {
            return self.list(id);
        }
        // What time brought about before this row is about the row before.
        let noted = entry.data.looked_at > kept.time;
        let asked = !entry.data.machine.is_idle(&self.spec.rules, Timestamp(self.watermark));
        let about = About { text: &kept.text, window: bounds };
        let last = std::mem::replace(&mut entry.data.last, asked.then(|| kept.text.clone()));
        let before = About { text: last.as_deref().unwrap_or_default(), window: None };
        self.hand_on(id, [&before, &about], rank, out);
        self.expect(id);
        self.list(id);
        if !noted {
            self.look(id, kept.time);
        }
    }

    /// Notes whether a key can make room for another.
    fn list(&mut self, id: u32) {
        let Some(quiet) = &mut self.quiet else { return };
        let entry = self.keys.get(id).filter(|e| e.data.waiting.is_empty() && e.data.machine.is_well());
        quiet.note(id, entry.and_then(|entry| entry.data.machine.last()).map(|last| last.0));
    }

    /// Whether there is room for a further key; makes some if it may.
    fn has_room(&mut self) -> bool {
        while self.keys.len() >= self.spec.max_keys {
            let Some(quiet) = &mut self.quiet else { return false };
            let (keys, rules, now) = (&self.keys, &self.spec.rules, Timestamp(self.watermark));
            let may = |id| keys.get(id).is_some_and(|entry| entry.data.machine.is_idle(rules, now));
            let Some(id) = quiet.longest(may, |a, b| keys.order(a, b).is_lt()) else { return false };
            quiet.note(id, None);
            self.keys.remove(id, &Plain);
        }
        self.tidy_timers();
        true
    }

    /// Keys that come and go leave timers behind, which are void: they go where they are more than those that count.
    fn tidy_timers(&mut self) {
        if self.timers.len() < 8 * self.keys.len().max(1_000) {
            return;
        }
        let counts = |Reverse((at, id)): &Reverse<(i64, u32)>| {
            self.keys.get(*id).is_some_and(|entry| {
                let of = &entry.data;
                let due = of.machine.due(&self.spec.rules).is_some_and(|due| due.0 == *at);
                due || of.looked_at == *at || of.waiting.iter().any(|kept| kept.time == *at)
            })
        };
        self.timers = self.timers.iter().filter(|timer| counts(timer)).copied().collect();
    }

    /// Notes when time alone will do something to a key.
    fn expect(&mut self, id: u32) {
        let due = self.keys.get(id).and_then(|entry| entry.data.machine.due(&self.spec.rules));
        self.timers.extend(due.map(|at| Reverse((at.0, id))));
    }

    /// Makes rows of the transitions of a key.
    fn hand_on(&mut self, id: u32, [timed, judged]: [&About<'_>; 2], rank: Rank, out: &mut TickOutput) {
        let Some(entry) = self.keys.get(id).filter(|_| !self.transitions.is_empty()) else {
            self.transitions.clear();
            return;
        };
        for transition in self.transitions.drain(..) {
            out.ranks.list.push(Rank { key: self.rows.key(&entry.key), ..rank });
            let place = as_u32(out.ranks.list.len() - 1);
            let about = if transition.timed { timed } else { judged };
            self.rows.add(&transition, &self.spec.rules, entry.key.parts(), about, place);
        }
    }

    /// Moves the watermark on: what it reaches is judged and what it passes happens, by instant, then by key.
    fn advance(&mut self, ordinal: u32, to: i64, input: &TickInput<'_>, out: &mut TickOutput) {
        if to <= self.watermark {
            return;
        }
        let passed = std::mem::replace(&mut self.watermark, to);
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
                let rank = Rank { ordinal, turn, at, end: at, key: u32::MAX };
                self.reach(*id, at, (to == END, passed), rank, out);
            }
        }
    }

    /// An instant has come for a key.
    fn reach(&mut self, id: u32, at: i64, (ended, passed): (bool, i64), rank: Rank, out: &mut TickOutput) {
        loop {
            let front = self.keys.get(id).and_then(|entry| entry.data.waiting.front());
            if front.is_none_or(|kept| kept.time > at) {
                break;
            }
            let entry = self.keys.change(id, &Plain);
            let Some(kept) = entry.and_then(|entry| entry.data.waiting.pop_front()) else { break };
            self.held -= 1;
            out.absorbed += 1;
            self.judge(id, kept, rank, out);
        }
        // The end of the input is no time that passes.
        if ended || self.forgets(id, at, passed) {
            return;
        }
        let due = self.keys.get(id).and_then(|entry| entry.data.machine.due(&self.spec.rules));
        if due.is_none_or(|due| due.0 > at) {
            return;
        }
        let Some(entry) = self.keys.change(id, &Plain) else { return };
        entry.data.machine.advance(&self.spec.rules, Timestamp(at), &mut self.transitions);
        let last = entry.data.last.clone().unwrap_or_default();
        let about = About { text: &last, window: None };
        self.hand_on(id, [&about, &about], rank, out);
        self.expect(id);
        self.list(id);
    }

    /// Forgets a key if this is the instant at which its last row is old enough, and if nothing is known of it but that all
    /// is well: whether it was. If something is, it stays until it has had another row. So when a key is forgotten does not
    /// depend on when a run was interrupted; `passed` is how far the watermark was before.
    fn forgets(&mut self, id: u32, at: i64, passed: i64) -> bool {
        let Some(entry) = self.keys.get(id).filter(|entry| entry.data.looked_at == at) else { return false };
        let OfKey { machine, waiting, .. } = &entry.data;
        let last = machine.last().map_or(i64::MIN, |last| last.0);
        if last.saturating_add(FORGOTTEN_AFTER) > at {
            self.look(id, last);
            return false;
        }
        let forgotten = at > passed && waiting.is_empty() && machine.is_idle(&self.spec.rules, Timestamp(at));
        if forgotten {
            self.keys.remove(id, &Plain);
            if let Some(quiet) = &mut self.quiet {
                quiet.note(id, None);
            }
        }
        forgotten
    }

    /// Notes when to look whether a key can be forgotten whose last row was at this time.
    fn look(&mut self, id: u32, last: i64) {
        let at = last.saturating_add(FORGOTTEN_AFTER);
        if let Some(entry) = self.keys.change(id, &Plain) {
            entry.data.looked_at = at;
            self.timers.push(Reverse((at, id)));
        }
    }

    /// What the conditions say of the rows, a list a row; `None` of a row that one of them failed on.
    fn verdicts(&mut self, batch: &Batch) -> (Vec<Says>, Vec<RowError>) {
        let mut all: Vec<Says> = vec![Says::new(); batch.rows];
        let mut errors: Vec<RowError> = Vec::new();
        for level in &self.spec.levels {
            let columns = level.each_ref().map(|condition| {
                let condition = condition.as_ref()?;
                let mut builder = ColumnBuilder::with_capacity(batch.rows);
                let mut failed = Vec::new();
                condition.program.evaluate(batch, &mut self.tools.scratch, &mut builder, &mut failed);
                failed.retain(|error| !silent(condition, batch, error.row as usize));
                errors.append(&mut failed);
                Some((condition, builder.finish()))
            });
            for (row, verdicts) in all.iter_mut().enumerate() {
                let [when, clear] = columns.each_ref().map(|said| said.as_ref().and_then(|said| of(said, batch, row)));
                let clear = if columns[1].is_some() { clear } else { when.map(|when| !when) };
                verdicts.push((when, clear));
            }
        }
        errors.sort_by_key(|error| error.row);
        errors.dedup_by_key(|error| error.row);
        (all, errors)
    }

    /// Why a row of a further key fails.
    fn full(&self) -> String {
        let most = self.spec.max_keys;
        let well = if self.spec.forgets_quiet { ", and none of them is well and done with" } else { "" };
        format!(
            "the alert has {most} keys, which is the limit{well}; raise `max_keys`, or choose a key with fewer values"
        )
    }

    /// The window of a row, if it is one's.
    fn window(&self, batch: &Batch, row: usize) -> Option<(i64, i64)> {
        let bound = |field: FieldId| match batch.get(field, row) {
            Val::Text(text) => parse_rfc3339(text.as_bytes()).map(|at| at.0),
            _ => None,
        };
        Some((bound(self.spec.window.start)?, bound(self.spec.window.end)?))
    }
}

/// Whether a condition says nothing of a row: something that it reads is not there.
fn silent(condition: &Condition, batch: &Batch, row: usize) -> bool {
    condition.reads.iter().any(|field| matches!(batch.get(*field, row), Val::Unit))
}

fn of((condition, column): &(&Condition, Column), batch: &Batch, row: usize) -> Option<bool> {
    match column.get(row) {
        Val::Bool(so) if !silent(condition, batch, row) => Some(so),
        _ => None,
    }
}

/// The texts of a share's rows.
fn texts(tools: &mut Tools, input: &Batch) -> (String, Vec<u32>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    tools.encoder.encode(input, &mut text, &mut ends);
    // What is written is made of texts.
    (String::from_utf8(text).unwrap_or_default(), ends)
}

impl Operator for AlertStep {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let batch = input.batch;
        let columns = KeyColumns::of(batch, &self.spec.key);
        let (text, ends) = if batch.rows == 0 { Default::default() } else { texts(&mut self.tools, batch) };
        let (verdicts, errors) = if batch.rows == 0 { Default::default() } else { self.verdicts(batch) };
        let mut errors = errors.into_iter().peekable();
        self.watermark = self.watermark.max(input.watermarks.start.0);
        let mut steps = input.watermarks.steps.iter().peekable();
        let mut start = 0usize;
        for ((row, end), says) in (0u32..).zip(&ends).zip(verdicts) {
            let at = row as usize;
            let own = text.get(start..(*end as usize).saturating_sub(1)).unwrap_or_default();
            start = *end as usize;
            let ordinal = batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((step, to)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.advance(*step, to.0, input, out);
            }
            let Some(time) = batch.times.get(at).map(|t| t.0) else { continue };
            let rank = Rank { ordinal, turn: input.turn_of(row), at: i64::MIN, end: i64::MIN, key: u32::MAX };
            // One of a row that is not judged must not stand before those of the rows behind it.
            let failed = errors.next_if(|error| error.row == row);
            if matches!(batch.get(self.spec.window.early, at), Val::Bool(true)) {
                out.dropped += 1;
                continue;
            }
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            let known = self.keys.find(&columns, at, hash);
            let reason = match failed {
                Some(error) => Some((error.reason, error.place)),
                None if known.is_none() && !self.has_room() => Some((self.full(), String::new())),
                None => None,
            };
            if let Some((reason, place)) = reason {
                out.ranks.list.push(rank);
                let (ordinal, original) = (as_u32(out.ranks.list.len() - 1), own.as_bytes().to_vec());
                let time = Timestamp(time);
                out.failed.push(Failed { ordinal, time, reason, place, origin: Origin::Row, header: None, original });
                continue;
            }
            let id = known.unwrap_or_else(|| self.keys.find_or_add(&columns, at, hash));
            let revision = matches!(batch.get(self.spec.window.revision, at), Val::Int(revision) if revision > 0);
            let window = self.window(batch, at);
            let kept = Kept { time, text: own.into(), says, window, revision };
            if self.spec.by_arrival || time <= self.watermark {
                out.absorbed += 1;
                self.judge(id, kept, rank, out);
            } else if let Some(entry) = self.keys.change(id, &Plain) {
                let place = entry.data.waiting.partition_point(|other| other.time <= time);
                entry.data.waiting.insert(place, kept);
                self.held += 1;
                self.timers.push(Reverse((time, id)));
                self.list(id);
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

impl State for AlertStep {
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
        decoder::<OfKey>
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        for (found, key, mut of_key) in rows_of::<OfKey>(rows)? {
            let looked_at = of_key.machine.last().map(|last| last.0.saturating_add(FORGOTTEN_AFTER));
            of_key.looked_at = looked_at.unwrap_or_default();
            self.held += of_key.waiting.len() as u64;
            let times: Vec<i64> = of_key.waiting.iter().map(|kept| kept.time).collect();
            let id = self.keys.put_back(found, key, of_key);
            self.timers.extend(times.into_iter().map(|at| Reverse((at, id))));
            AlertStep::expect(self, id);
            self.list(id);
            self.timers.extend(looked_at.map(|at| Reverse((at, id))));
        }
        Ok(())
    }
}
