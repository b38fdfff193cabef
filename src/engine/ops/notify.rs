//! Tells receivers of the transitions of alerts, by the policy of [`crate::alert::policy`]. It goes by the wall clock, which
//! comes with ticks as an input; in virtual time by event time and silence. Its rows are notifications, each at the port of
//! its receiver.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::alert::policy::{Notification, Policy, Settings, Stage, Told};
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::data::column::as_u32;
use crate::data::framing::Block;
use crate::data::hash::hash_key;
use crate::data::layout::{Demand, Layout};
use crate::data::value::Val;
use crate::engine::action::Tools;
use crate::engine::flow::Failed;
use crate::engine::said::Said;
use crate::engine::state::{Decode, Decoded, Decoder, Item, State, StateError, StateRow, StateRows, decode, encode_to};
use crate::plan::Port;
use crate::store::rows::Origin;

use super::{Due, Operator, Rank, TickInput, TickOutput};

/// The policy as the engine runs it.
#[derive(Clone)]
pub struct NotifySpec {
    /// What the authors of alerts say.
    pub settings: Settings,
    /// Whether time is that of the events.
    pub virtual_time: bool,
}

/// The operator.
pub struct NotifyStep {
    spec: NotifySpec,
    policy: Policy,
    /// What was kept, until it is known what time it is.
    kept: Vec<KeptRow>,
    /// Alerts whose state did not come back with it: what fired of them is over.
    removed: Vec<Arc<str>>,
    tools: Tools,
    /// What time it is.
    now: Timestamp,
    /// What the tick before said of it.
    told: Option<Timestamp>,
    /// Whether the input has ended.
    ended: bool,
    /// Whether it knows anything: of a run that only makes its output final, it was given nothing.
    knows: bool,
    /// Changed rows that are not handed out.
    frozen: Option<Vec<Changed>>,
}

/// A row of the policy's state.
type KeptRow = (Vec<u8>, Vec<u8>);

/// The same as it changed: its key, and what is kept, if it is not gone.
type Changed = (Vec<u8>, Option<Vec<u8>>);

/// A transition as its row says it.
#[derive(Deserialize)]
struct Row {
    alert: Arc<str>,
    key: Map<String, Value>,
    state: String,
    was: String,
    severity: Arc<str>,
    reason: Arc<str>,
    at: String,
    since: String,
    fired_at: Option<String>,
    title: String,
    body: Option<String>,
    labels: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
    condition: Arc<str>,
    window_start: Option<String>,
    window_end: Option<String>,
    values: Value,
    number: u64,
    quiet: bool,
}

impl NotifyStep {
    /// With no state; `needed` is what is read of its output.
    pub fn new(spec: &NotifySpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        NotifyStep {
            policy: Policy::new(spec.settings.clone(), Timestamp::MIN),
            kept: Vec::new(),
            removed: Vec::new(),
            tools: Tools::new(layout, needed),
            now: Timestamp::MIN,
            told: None,
            ended: false,
            knows: false,
            frozen: None,
            spec: spec.clone(),
        }
    }

    /// Time goes on to here: what it brings about happens at its own instant.
    fn pass(&mut self, to: Timestamp, made: &mut Vec<Notification>) {
        while let Some(due) = self.policy.due().filter(|due| *due <= to) {
            let before = made.len();
            self.policy.pass(due, made);
            if self.policy.due() == Some(due) && made.len() == before {
                break;
            }
        }
        self.now = self.now.max(to);
    }

    /// What the clock of a tick says.
    fn tell(&mut self, clock: Timestamp, made: &mut Vec<Notification>) {
        let Some(before) = self.told.replace(clock) else {
            let now = if self.spec.virtual_time { self.now } else { clock };
            self.policy = Policy::new(self.spec.settings.clone(), now);
            // It was read before.
            let _ = self.policy.restore(std::mem::take(&mut self.kept).into_iter());
            // In virtual time it is what it was, which is as far as events have come.
            let now = if self.spec.virtual_time { now.max(self.policy.reached_until()) } else { now };
            self.policy.remove(&std::mem::take(&mut self.removed), now);
            return self.pass(now, made);
        };
        match self.spec.virtual_time {
            false => self.pass(clock, made),
            // Before the first event there is nothing that silence could add to.
            true if self.now == Timestamp::MIN => {}
            true => self.pass(Timestamp(self.now.0.saturating_add(clock.0.saturating_sub(before.0).max(0))), made),
        }
    }
}

/// Reads a transition. The error says what is missing.
fn read(text: &[u8]) -> Result<Told, String> {
    let row: Row = serde_json::from_slice(text).map_err(|e| format!("this is no transition: {e}"))?;
    let time = |text: &str| parse_rfc3339(text.as_bytes()).ok_or_else(|| format!("`{text}` is no time"));
    let stage = |word: &str| Stage::parse(word).ok_or_else(|| format!("`{word}` is no state of an alert"));
    let window = match (&row.window_start, &row.window_end) {
        (Some(start), Some(end)) => Some((time(start)?, time(end)?)),
        _ => None,
    };
    Ok(Told {
        state: stage(&row.state)?,
        was: stage(&row.was)?,
        at: time(&row.at)?,
        since: time(&row.since)?,
        fired_at: row.fired_at.as_deref().map(time).transpose()?,
        values: row.values.to_string(),
        body: row.body.unwrap_or_default(),
        labels: row.labels.into_iter().collect(),
        links: row.links.into_iter().collect(),
        alert: row.alert,
        key: row.key,
        severity: row.severity,
        reason: row.reason,
        number: row.number,
        quiet: row.quiet,
        title: row.title,
        condition: row.condition,
        window,
    })
}

/// Notifications of a tick, with the places of what caused them, and when they were made.
#[derive(Default)]
struct Leaving {
    made: Vec<(Notification, u32, Timestamp)>,
}

impl Leaving {
    fn add(&mut self, rank: Rank, now: Timestamp, made: &mut Vec<Notification>, out: &mut TickOutput) {
        for notification in made.drain(..) {
            out.ranks.list.push(rank);
            self.made.push((notification, as_u32(out.ranks.list.len() - 1), now));
        }
    }

    /// As rows, by receiver.
    fn finish(self, step: &mut NotifyStep, out: &mut TickOutput) {
        out.made += self.made.len() as u64;
        for (number, receiver) in step.spec.settings.receivers.iter().enumerate() {
            let (mut text, mut ends, mut places, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (notification, place, now) in self.made.iter().filter(|(made, ..)| made.receiver == number) {
                text.extend_from_slice(notification.row.to_string().as_bytes());
                ends.push(as_u32(text.len()));
                places.push(*place);
                times.push(*now);
            }
            if ends.is_empty() {
                continue;
            }
            let mut batch = step.tools.decoder.decode(Block::from_records(text, ends)).batch;
            batch.times = batch.ordinals.iter().filter_map(|row| times.get(*row as usize).copied()).collect();
            batch.ordinals = batch.ordinals.iter().filter_map(|row| places.get(*row as usize).copied()).collect();
            out.ports.push((Port::Named(receiver.name.clone()), batch));
        }
    }
}

impl NotifyStep {
    /// The watermark goes on.
    fn reach(&mut self, watermark: Timestamp, made: &mut Vec<Notification>) {
        if !watermark.is_event_time() {
            return;
        }
        if self.spec.virtual_time {
            self.pass(watermark, made);
        }
        self.policy.reached(watermark, self.now, made);
    }

    /// Somebody says something.
    fn hear(&mut self, said: &Said, made: &mut Vec<Notification>) {
        self.knows = true;
        said.obey(|command, at| self.policy.command(command, at));
        // What was kept back may leave now.
        self.pass(self.now, made);
    }

    /// Takes a row. The error says why it cannot.
    fn take(&mut self, row: &[u8], made: &mut Vec<Notification>) -> Result<(), String> {
        let told = read(row)?;
        if self.spec.virtual_time {
            self.pass(told.at, made);
        }
        self.knows = true;
        self.policy.take(told, self.now, made);
        Ok(())
    }
}

impl Operator for NotifyStep {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let (mut leaving, mut made) = (Leaving::default(), Vec::new());
        let first = Rank { ordinal: 0, turn: 0, at: i64::MIN, end: i64::MIN, key: u32::MAX };
        self.tell(input.now, &mut made);
        if let Some(said) = input.said {
            self.hear(said, &mut made);
        }
        // A run that goes on stands where it stood.
        self.reach(input.watermarks.start, &mut made);
        leaving.add(first, self.now, &mut made, out);
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        if input.batch.rows > 0 {
            self.tools.encoder.encode(input.batch, &mut text, &mut ends);
        }
        let mut steps = input.watermarks.steps.iter().peekable();
        let mut start = 0usize;
        for (row, end) in (0u32..).zip(&ends) {
            let own = text.get(start..(*end as usize).saturating_sub(1)).unwrap_or_default();
            start = *end as usize;
            let ordinal = input.batch.ordinals.get(row as usize).copied().unwrap_or(0);
            while let Some((step, to)) = steps.next_if(|(step, _)| *step < ordinal) {
                self.reach(*to, &mut made);
                let rank = Rank { ordinal: *step, turn: input.turn_after(*step), ..first };
                leaving.add(rank, self.now, &mut made, out);
            }
            let rank = Rank { ordinal, turn: input.turn_of(row), ..first };
            match self.take(own, &mut made) {
                Ok(()) => {
                    leaving.add(rank, self.now, &mut made, out);
                    out.absorbed += 1;
                }
                Err(reason) => {
                    out.ranks.list.push(rank);
                    let ordinal = as_u32(out.ranks.list.len() - 1);
                    let time = input.batch.times.get(row as usize).copied().unwrap_or(Timestamp::MIN);
                    let (place, original) = (String::new(), own.to_vec());
                    let origin = Origin::Row;
                    out.failed.push(Failed { ordinal, time, reason, place, origin, header: None, original });
                }
            }
        }
        for (step, to) in steps {
            self.reach(*to, &mut made);
            let rank = Rank { ordinal: *step, turn: input.turn_after(*step), ..first };
            leaving.add(rank, self.now, &mut made, out);
        }
        if input.watermarks.end() == Timestamp::MAX && !std::mem::replace(&mut self.ended, true) {
            self.policy.end(self.now, &mut made);
            let rank = Rank { ordinal: u32::MAX, turn: u32::MAX, ..first };
            leaving.add(rank, self.now, &mut made, out);
        }
        leaving.finish(self, out);
    }

    fn due(&self) -> Due {
        let at = self.policy.due().unwrap_or(Timestamp::MAX);
        match self.spec.virtual_time {
            true => Due { watermark: at, ..Due::NEVER },
            false => Due { clock: at, ..Due::NEVER },
        }
    }

    fn outlives_input(&self) -> bool {
        true
    }

    fn state(&mut self) -> &mut dyn State {
        self
    }
}

impl State for NotifyStep {
    fn freeze(&mut self) {
        let mut changed = Vec::new();
        // Otherwise what was kept would be written over by one who knows nothing of it.
        if self.knows {
            self.policy.changes(&mut changed);
        }
        self.frozen = Some(changed);
    }

    fn slice(&mut self, _: usize) -> Result<Option<StateRows>, StateError> {
        let Some(changed) = self.frozen.take() else { return Ok(None) };
        let rows: Result<StateRows, StateError> =
            changed.into_iter().map(|(key, value)| state_row(&key, value)).collect();
        rows.map(Some)
    }

    fn expect(&mut self, _: usize) {}

    fn beside(&mut self, kept: &dyn Fn(&str) -> bool) {
        let alerts = self.spec.settings.alerts.keys().filter(|name| !kept(name));
        self.removed = alerts.map(|name| Arc::from(name.as_str())).collect();
    }

    fn decoder(&self) -> Decoder {
        || Box::new(Kept(Vec::new()))
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        let rows = rows.downcast::<Vec<KeptRow>>();
        let rows = rows.map_err(|_| StateError::unreadable("it is of another kind of step"))?;
        self.knows = true;
        self.kept.extend(*rows);
        let mut policy = Policy::new(self.spec.settings.clone(), Timestamp::MIN);
        policy.restore(self.kept.iter().cloned()).map_err(StateError::unreadable)
    }
}

/// A row of the policy's state as it is kept.
pub fn state_row(key: &[u8], value: Option<Vec<u8>>) -> Result<StateRow, StateError> {
    let name = String::from_utf8_lossy(key).into_owned();
    let hash = hash_key(&[Val::Text(&name)]);
    let mut written = Vec::new();
    encode_to(&[crate::data::value::Value::Text(name.as_str().into())][..], &mut written)?;
    Ok(StateRow { hash, key: written, value })
}

/// The policy's own name of a row that is kept.
pub fn name_of(key: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<crate::data::value::Value> = decode(key).ok()?;
    match parts.into_iter().next()? {
        crate::data::value::Value::Text(name) => Some(name.as_bytes().to_vec()),
        _ => None,
    }
}

/// Whether a row that is kept outlives a run that came to its end.
pub fn outlives(key: &[u8]) -> bool {
    name_of(key).is_some_and(|name| Policy::outlives(&name))
}

/// Rows of the policy as they were kept.
struct Kept(Vec<KeptRow>);

impl Decode for Kept {
    fn row(&mut self, row: Item<'_>) -> Result<(), StateError> {
        let Some(value) = row.value else { return Ok(()) };
        let Some(name) = name_of(row.key) else { return Err(StateError::unreadable("a key is no text")) };
        self.0.push((name, value.to_vec()));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Decoded {
        Box::new(self.0)
    }
}
