//! What happened, bounded: each transition with what became of it for each receiver, each notification, and what people
//! asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::instance::Fingerprint;
use super::look::Seen;
use super::row::Head;
use super::told::{Stage, Told, shorten, shortened};
use super::why::is_written;
use crate::base::limit;
use crate::base::time::Timestamp;

/// Bytes of the row that was judged, as the history keeps it.
const VALUES: usize = 1 << 10;
/// Bytes of a title.
const TITLE: usize = 256;
/// Keys of which a notification's entry knows that it told of them.
const KEYS: usize = 100;

/// What it is called that somebody knows of an alert.
pub(super) const ACKNOWLEDGE: &str = "acknowledge";

/// What became of a transition, for a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    Sent,
    Grouped,
    StartUp,
    Rate,
    Muted,
    Silenced,
    Inhibited,
    Acknowledged,
    TooOld,
    NotTaken,
    /// It was over before it was told.
    Over,
    /// The key had come to something else before it was told.
    Overtaken,
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Fate::Sent => "sent",
            Fate::Grouped => "grouped",
            Fate::StartUp => "startup_grace",
            Fate::Rate => "rate",
            Fate::Muted => "muted",
            Fate::Silenced => "silenced",
            Fate::Inhibited => "inhibited",
            Fate::Acknowledged => "acknowledged",
            Fate::TooOld => "too_old",
            Fate::NotTaken => "no_route",
            Fate::Over => "over",
            Fate::Overtaken => "overtaken",
        }
    }

    /// Whether it may yet be told.
    fn waits(self) -> bool {
        matches!(self, Fate::Grouped | Fate::StartUp | Fate::Rate | Fate::Muted)
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    #[serde(rename = "r")]
    pub(super) receiver: Arc<str>,
    #[serde(rename = "f")]
    pub(super) fate: Fate,
    #[serde(rename = "t")]
    pub(super) at: Timestamp,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) notification: Option<u128>,
}

impl Outcome {
    pub(super) fn new(fate: Fate) -> Self {
        let receiver = Arc::from("");
        Outcome { receiver, fate, at: Timestamp::MIN, until: None, by: None, notification: None }
    }

    pub(super) fn until(fate: Fate, until: Option<Timestamp>) -> Self {
        Outcome { until, ..Self::new(fate) }
    }

    fn shown(&self) -> Value {
        let mut row = Map::new();
        row.insert("receiver".into(), json!(self.receiver));
        row.insert("outcome".into(), json!(self.fate.word()));
        row.insert("at".into(), json!(self.at.to_string()));
        row.extend(self.until.map(|until| ("until".into(), json!(until.to_string()))));
        row.extend(self.by.as_ref().map(|by| ("by".into(), json!(by))));
        row.extend(self.notification.map(|id| ("notification".into(), json!(format!("{id:032x}")))));
        Value::Object(row)
    }
}

/// An entry, with the time that it was when it was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "t")]
    time: Timestamp,
    #[serde(rename = "k")]
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "t")]
    Transition(Box<Transition>),
    #[serde(rename = "n")]
    Notification(Box<Sent>),
    #[serde(rename = "p")]
    Person(Box<Person>),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Transition {
    alert: Arc<str>,
    key: String,
    who: Fingerprint,
    state: Stage,
    was: Stage,
    severity: Arc<str>,
    reason: Arc<str>,
    number: u64,
    at: Timestamp,
    since: Timestamp,
    quiet: bool,
    title: String,
    condition: Arc<str>,
    values: String,
    outcomes: Vec<Outcome>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Sent {
    id: u128,
    receiver: String,
    group_key: String,
    /// The members of the row that say what it was.
    says: String,
    keys: Vec<Fingerprint>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Person {
    what: String,
    by: String,
    comment: String,
    about: String,
    until: Option<Timestamp>,
}

/// A transition to something that fires.
pub(super) struct Firing<'a> {
    pub(super) at: Timestamp,
    /// When it came.
    pub(super) came: Timestamp,
    pub(super) severity: &'a str,
    pub(super) outcomes: &'a [Outcome],
}

impl Entry {
    /// When it was made.
    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    /// What fires by it, if it is a transition to that.
    pub(super) fn firing(&self) -> Option<Firing<'_>> {
        let Kind::Transition(t) = &self.kind else { return None };
        let firing = Firing { at: t.at, came: self.time, severity: &t.severity, outcomes: &t.outcomes };
        t.state.fires().then_some(firing)
    }

    /// Which key of an alert it is a transition of.
    fn who_of(&self, alert: &str) -> Option<Fingerprint> {
        let Kind::Transition(t) = &self.kind else { return None };
        (*t.alert == *alert).then_some(t.who)
    }

    /// The alert of which somebody was not told for its age.
    fn too_old(&self) -> Option<&str> {
        let Kind::Transition(t) = &self.kind else { return None };
        t.outcomes.iter().any(|outcome| outcome.fate == Fate::TooOld).then_some(&*t.alert)
    }

    fn size(&self) -> usize {
        200 + match &self.kind {
            Kind::Transition(t) => {
                t.key.len() + t.title.len() + t.values.len() + t.condition.len() + 80 * t.outcomes.len()
            }
            Kind::Notification(n) => n.group_key.len() + n.says.len() + 8 * n.keys.len(),
            Kind::Person(p) => p.about.len() + p.comment.len() + p.by.len(),
        }
    }

    /// Whether it has to do with a key.
    pub(super) fn is_of(&self, who: Fingerprint) -> bool {
        match &self.kind {
            Kind::Transition(transition) => transition.who == who,
            Kind::Notification(sent) => sent.keys.contains(&who),
            Kind::Person(_) => false,
        }
    }

    /// What became of it for a receiver.
    pub(super) fn fate(&self, receiver: &str) -> Option<Fate> {
        let Kind::Transition(transition) = &self.kind else { return None };
        transition.outcomes.iter().find(|outcome| *outcome.receiver == *receiver).map(|outcome| outcome.fate)
    }

    /// Whether it waits to be told to a receiver.
    pub(super) fn waits(&self, receiver: &str) -> bool {
        self.fate(receiver).is_some_and(Fate::waits)
    }

    /// The key that somebody wrote, if this is a transition of it.
    pub(super) fn key_of(&self, alert: &str, key: &Value) -> Option<Fingerprint> {
        let Kind::Transition(transition) = &self.kind else { return None };
        let Value::Object(fields) = parsed(&transition.key) else { return None };
        (*transition.alert == *alert && is_written(&fields, key)).then_some(transition.who)
    }

    /// What that key came to, when, and why.
    pub(super) fn state_of(&self, alert: &str, key: &Value) -> Option<(Stage, Timestamp, &str)> {
        self.key_of(alert, key)?;
        let Kind::Transition(transition) = &self.kind else { return None };
        Some((transition.state, transition.at, &transition.reason))
    }

    /// For people and scripts: `time`, `what` and what belongs to it.
    pub(super) fn shown(&self) -> Value {
        let time = self.time.to_string();
        match &self.kind {
            Kind::Transition(t) => json!({
                "time": time, "what": "transition", "alert": t.alert, "key": parsed(&t.key), "state": t.state.word(),
                "was": t.was.word(), "severity": t.severity, "reason": t.reason, "number": t.number,
                "at": t.at.to_string(), "since": t.since.to_string(), "quiet": t.quiet, "title": t.title,
                "condition": t.condition, "values": parsed(&t.values),
                "told": t.outcomes.iter().map(Outcome::shown).collect::<Vec<_>>(),
            }),
            Kind::Notification(n) => {
                let mut row = json!({
                    "time": time, "what": "notification", "notification": format!("{:032x}", n.id),
                    "receiver": n.receiver, "group_key": n.group_key,
                });
                if let (Value::Object(row), Value::Object(says)) = (&mut row, parsed(&n.says)) {
                    row.extend(says);
                }
                row
            }
            Kind::Person(p) => json!({
                "time": time, "what": p.what, "by": p.by, "comment": p.comment, "about": p.about,
                "until": p.until.map(|until| until.to_string()),
            }),
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The entries, numbered.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// The number of the first.
    first: u64,
    bytes: usize,
    pub(super) changed: BTreeSet<u64>,
    /// Numbers of those that went and may be stored.
    pub(super) gone: Vec<u64>,
    /// All below were handed out to be stored.
    pub(super) stored: u64,
}

impl History {
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those of an alert: its transitions, what was told of them, and who has acknowledged it.
    pub(super) fn of_alert<'a>(&'a self, alert: &'a str) -> impl Iterator<Item = &'a Entry> {
        let keys: BTreeSet<Fingerprint> = self.entries.iter().filter_map(|entry| entry.who_of(alert)).collect();
        self.entries.iter().filter(move |entry| match &entry.kind {
            Kind::Transition(transition) => *transition.alert == *alert,
            Kind::Notification(sent) => sent.keys.iter().any(|who| keys.contains(who)),
            // `hot {"device":"a"}`, or `hot, 3 keys`.
            Kind::Person(person) => {
                let rest = person.about.strip_prefix(alert).filter(|_| person.what == ACKNOWLEDGE);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
            }
        })
    }

    /// By alert, how many transitions that came since then were too old to be told, as far as they are remembered.
    pub(super) fn too_old(&self, since: Timestamp) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let old = self.entries.iter().rev().take_while(|entry| entry.time >= since).filter_map(Entry::too_old);
        old.for_each(|alert| *counts.entry(alert.to_owned()).or_default() += 1);
        counts
    }

    /// Whether all that came since then is remembered.
    pub(super) fn reaches(&self, since: Timestamp) -> bool {
        self.first == 0 || self.entries.front().is_some_and(|entry| entry.time < since)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The number of the next one.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Takes entries back, which come in the order of their numbers.
    pub(super) fn restore(&mut self, number: u64, entry: Entry) {
        if self.entries.is_empty() {
            self.first = number;
        }
        // Entries are found by their numbers: what lies before one that is missing goes.
        if number != self.next() {
            self.gone.extend(self.first..self.next());
            self.entries.clear();
            self.bytes = 0;
            self.first = number;
        }
        self.bytes += entry.size();
        self.entries.push_back(entry);
        self.stored = self.next();
    }

    fn push(&mut self, time: Timestamp, kind: Kind) -> u64 {
        let (number, entry) = (self.next(), Entry { time, kind });
        self.bytes += entry.size();
        self.entries.push_back(entry);
        self.changed.insert(number);
        while self.entries.len() > limit::ALERT_HISTORY || self.bytes > limit::ALERT_HISTORY_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.size());
            self.changed.remove(&self.first);
            if self.first < self.stored {
                self.gone.push(self.first);
            }
            self.first += 1;
        }
        number
    }

    /// A key came to another state.
    pub(super) fn transition(&mut self, told: &Told, who: Fingerprint, now: Timestamp) -> u64 {
        let mut title = told.title.clone();
        shorten(&mut title, TITLE);
        let values = if told.values.len() > VALUES { shortened(&told.values, VALUES) } else { told.values.clone() };
        let transition = Transition {
            alert: told.alert.clone(),
            key: Value::Object(told.key.clone()).to_string(),
            who,
            state: told.state,
            was: told.was,
            severity: told.severity.clone(),
            reason: told.reason.clone(),
            number: told.number,
            at: told.at,
            since: told.since,
            quiet: told.quiet,
            title,
            condition: told.condition.clone(),
            values,
            outcomes: Vec::new(),
        };
        self.push(now, Kind::Transition(Box::new(transition)))
    }

    /// A receiver was told.
    pub(super) fn notification(&mut self, head: &Head<'_>, row: &Value, seen: &[Seen], now: Timestamp) {
        let says = ["status", "reason", "severity", "title", "firing", "resolved", "omitted"];
        let says: Map<String, Value> = says.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
        let sent = Sent {
            id: head.id,
            receiver: head.receiver.to_owned(),
            group_key: head.group_key.to_owned(),
            says: shortened(&Value::Object(says).to_string(), VALUES),
            keys: seen.iter().take(KEYS).map(|seen| seen.who).collect(),
        };
        self.push(now, Kind::Notification(Box::new(sent)));
    }

    /// A person asked for something, or what a person asked for came to its end.
    pub(super) fn person(
        &mut self,
        what: &str,
        by: &str,
        comment: &str,
        about: String,
        until: Option<Timestamp>,
        now: Timestamp,
    ) {
        let (what, by, comment) = (what.to_owned(), by.to_owned(), comment.to_owned());
        self.push(now, Kind::Person(Box::new(Person { what, by, comment, about, until })));
    }

    /// What became of a transition for a receiver; what was known before counts no more.
    pub(super) fn outcome(&mut self, number: u64, outcome: Outcome) {
        let Some(transition) = self.get_transition(number) else { return };
        let mut more = 0;
        match transition.outcomes.iter_mut().find(|known| known.receiver == outcome.receiver) {
            Some(known) => *known = outcome,
            None => {
                transition.outcomes.push(outcome);
                more = 80;
            }
        }
        self.bytes += more;
        self.changed.insert(number);
    }

    /// Nobody will be told of a transition who was not yet.
    pub(super) fn overtaken(&mut self, number: u64, fate: Fate, now: Timestamp) {
        let Some(transition) = self.get_transition(number) else { return };
        let mut changed = false;
        for outcome in transition.outcomes.iter_mut().filter(|outcome| outcome.fate.waits()) {
            *outcome = Outcome { receiver: outcome.receiver.clone(), at: now, ..Outcome::new(fate) };
            changed = true;
        }
        if changed {
            self.changed.insert(number);
        }
    }

    fn get_transition(&mut self, number: u64) -> Option<&mut Transition> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        match &mut self.entries.get_mut(place)?.kind {
            Kind::Transition(transition) => Some(transition),
            _ => None,
        }
    }
}
