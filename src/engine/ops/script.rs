//! A script with `by`: a map of state for each key, kept across events and restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::time::TimeSpan;
use crate::data::layout::{Demand, FieldId, Layout};
use crate::data::value::{Map, Value};
use crate::engine::action::{Causes, Outcome, Tools, in_order, weave_emitted};
use crate::engine::flow::Failed;
use crate::engine::state::{Decoded, Decoder, Load, State, StateError, StateRows};
use crate::expr::{KeyedState, Program};
use crate::store::rows::Origin;

use super::window::decoded::{decoder, rows_of};
use super::window::frozen::Plain;
use super::window::keys::{KeyColumns, Keys};
use super::{Due, Operator, Rank, TickInput, TickOutput};

/// A script step with state as the engine runs it.
#[derive(Clone)]
pub struct ScriptSpec {
    /// What runs.
    pub program: Program,
    /// The columns of the key's parts.
    pub key: Vec<FieldId>,
    /// How long a key's state outlives its last event.
    pub ttl: Option<TimeSpan>,
    /// Whether changes are noted for snapshots.
    pub track: bool,
}

/// What is kept for a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    state: Value,
    /// The greatest event time, microseconds.
    last: i64,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { state: Value::Map(Arc::new(Map::default())), last: i64::MIN }
    }
}

/// The operator of a script with `by`.
pub struct KeyedScript {
    spec: ScriptSpec,
    layout: Arc<Layout>,
    keys: Keys<Kept>,
    tools: Tools,
    watermark: i64,
}

/// The states of the rows of one tick.
struct Rows<'a> {
    keys: &'a mut Keys<Kept>,
    /// For each row its key, event time, and the watermark before it.
    rows: &'a [(u32, i64, i64)],
    ttl: Option<TimeSpan>,
}

impl KeyedState for Rows<'_> {
    fn get(&mut self, row: usize) -> Value {
        let fresh = || Kept::default().state;
        let Some((id, _, watermark)) = self.rows.get(row) else { return fresh() };
        let Some(kept) = self.keys.get(*id).map(|e| &e.data) else { return fresh() };
        let idle = self.ttl.is_some_and(|ttl| kept.last.saturating_add(ttl.0) <= *watermark);
        if idle { fresh() } else { kept.state.clone() }
    }

    fn put(&mut self, row: usize, state: Value) {
        let Some((id, time, _)) = self.rows.get(row) else { return };
        if let Some(entry) = self.keys.change(*id, &Plain) {
            entry.data.state = state;
            entry.data.last = entry.data.last.max(*time);
        }
    }
}

impl KeyedScript {
    /// With no state; `needed` is what is read of its output.
    pub fn new(spec: &ScriptSpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        KeyedScript {
            keys: Keys::new(spec.track),
            tools: Tools::new(layout, needed),
            layout: Arc::clone(layout),
            spec: spec.clone(),
            watermark: i64::MIN,
        }
    }

    /// The key, time and watermark of each row.
    fn rows(&mut self, input: &TickInput<'_>) -> Vec<(u32, i64, i64)> {
        let columns = KeyColumns::of(input.batch, &self.spec.key);
        let mut steps = input.watermarks.steps.iter().peekable();
        self.watermark = self.watermark.max(input.watermarks.start.0);
        let mut rows = Vec::with_capacity(input.rows.len());
        for row in input.rows {
            let at = *row as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((_, to)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.watermark = self.watermark.max(to.0);
            }
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            let time = input.batch.times.get(at).map_or(i64::MIN, |t| t.0);
            rows.push((self.keys.find_or_add(&columns, at, hash), time, self.watermark));
        }
        self.watermark = self.watermark.max(input.watermarks.end().0);
        rows
    }

    /// Drops states that nobody will see again. They would read as fresh anyway, so when this runs does not matter.
    fn forget(&mut self) {
        let Some(ttl) = self.spec.ttl else { return };
        for id in self.keys.in_order(0, usize::MAX).to_vec() {
            let idle = |k: &Kept| k.last.saturating_add(ttl.0) <= self.watermark;
            if self.keys.get(id).is_some_and(|e| idle(&e.data)) {
                self.keys.remove(id, &Plain);
            }
        }
    }
}

impl Operator for KeyedScript {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let before = self.watermark;
        let rows = self.rows(input);
        let mut batch = input.batch.select(input.rows);
        let mut ordinals = Vec::with_capacity(input.rows.len());
        for (index, row) in (0u32..).zip(input.rows) {
            let ordinal = batch.ordinals.get(index as usize).copied().unwrap_or(0);
            let turn = input.turn_of(*row);
            out.ranks.list.push(Rank { ordinal, turn, at: i64::MIN, end: i64::MIN, key: u32::MAX });
            ordinals.push(index);
        }
        batch.ordinals.clone_from(&ordinals);
        let times = batch.times.clone();
        if batch.rows > 0 {
            let kept = batch.clone();
            let mut states = Rows { keys: &mut self.keys, rows: &rows, ttl: self.spec.ttl };
            let ran = self.spec.program.run(batch, &mut self.tools.scratch, Some(&mut states));
            let causes = Causes { ordinals: &ordinals, times: &times };
            let mut outcome = Outcome { errors: ran.errors, dropped: ran.dropped, ..Outcome::default() };
            weave_emitted(ran.batch, ran.kept, ran.emitted, &causes, &mut self.tools, &mut outcome);
            in_order(&mut outcome.errors);
            for error in outcome.errors {
                out.failed.push(Failed {
                    ordinal: error.row,
                    time: times.get(error.row as usize).copied().unwrap_or(crate::base::time::Timestamp::MIN),
                    reason: error.reason,
                    place: error.place,
                    origin: Origin::Row,
                    header: None,
                    original: self.tools.text_of(&self.layout, &kept, error.row).into_bytes(),
                });
            }
            out.dropped = outcome.dropped;
            out.made = outcome.made;
            out.ports = outcome.ports;
        }
        // Only now and then: looking at every key costs as much as a tick.
        let quarter = self.spec.ttl.map_or(i64::MAX, |ttl| (ttl.0 / 4).max(1));
        if self.watermark.div_euclid(quarter) != before.div_euclid(quarter) {
            self.forget();
        }
    }

    fn due(&self) -> Due {
        let quarter = self.spec.ttl.filter(|_| !self.keys.is_empty()).map(|ttl| (ttl.0 / 4).max(1));
        Due::at(quarter.map(|quarter| self.watermark.saturating_add(quarter)))
    }

    fn load(&self) -> Load {
        self.keys.load()
    }

    fn state(&mut self) -> &mut dyn State {
        self
    }
}

impl State for KeyedScript {
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
        decoder::<Kept>
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        for (found, key, kept) in rows_of::<Kept>(rows)? {
            self.keys.put_back(found, key, kept);
        }
        Ok(())
    }
}
