//! What people ask for: silences, and that something is known.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::flow::{Pace, Timer};
use super::history::ACKNOWLEDGE;
use super::instance::{Acknowledged, Fingerprint, Instance};
use super::matcher::Matcher;
use super::told::shorten;
use super::{Command, Policy};
use crate::base::limit;
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;

/// Nobody is told of what fires and matches.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Silence {
    pub(super) matchers: Vec<Matcher>,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) comment: String,
    pub(super) by: String,
}

impl Silence {
    fn holds(&self, instance: &Instance) -> bool {
        self.matchers.iter().all(|matcher| matcher.holds(|name| instance.label(name)))
    }

    /// Its matchers as a text.
    pub(super) fn about(&self) -> String {
        self.matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn shown(&self, id: u64) -> Value {
        let matchers: Vec<String> = self.matchers.iter().map(Matcher::to_string).collect();
        json!({
            "silence": name(id),
            "matchers": matchers,
            "from": self.from.to_string(),
            "until": self.until.to_string(),
            "comment": self.comment,
            "by": self.by,
        })
    }
}

/// As people name it.
pub(super) fn name(id: u64) -> String {
    format!("s{id}")
}

/// The silences that hold, by number.
#[derive(Debug, Default)]
pub(super) struct Silences {
    pub(super) all: BTreeMap<u64, Silence>,
    /// The number of the last one that was made.
    pub(super) last: u64,
}

impl Silences {
    pub(super) fn get(&self, id: u64) -> Option<&Silence> {
        self.all.get(&id)
    }

    /// What silences an instance: of several the one that holds longest.
    pub(super) fn of(&self, instance: &Instance, now: Timestamp) -> Option<u64> {
        let hold = self.all.iter().filter(|(_, silence)| now < silence.until && silence.holds(instance));
        hold.max_by_key(|(_, silence)| silence.until).map(|(id, _)| *id)
    }
}

impl Policy {
    /// Does what a person asks for.
    pub(super) fn obey(&mut self, command: Command, now: Timestamp) -> Result<Value, String> {
        match command {
            Command::Silence { matchers, until, comment, by } => {
                let silence = Silence { matchers, from: now, until, comment: bounded(comment), by: bounded(by) };
                self.silence(silence, now)
            }
            Command::Expire { id, by } => {
                let number = id.strip_prefix('s').unwrap_or(&id).parse().ok();
                let Some(number) = number.filter(|number| self.silences.all.contains_key(number)) else {
                    return Err(self.no_silence(&id));
                };
                self.expire(number, "expire", &bounded(by), now);
                Ok(json!({ "silence": name(number) }))
            }
            Command::Acknowledge { alert, key, matchers, by, comment, until } => {
                let found = self.find(&alert, key.as_ref(), &matchers)?;
                if until.is_some_and(|until| until <= now) {
                    return Err("it would end before it begins; write a time that is still to come".to_owned());
                }
                let known = Acknowledged { by: bounded(by), comment: bounded(comment), at: now, until };
                Ok(self.acknowledge(&alert, &found, &known, now))
            }
        }
    }

    fn silence(&mut self, silence: Silence, now: Timestamp) -> Result<Value, String> {
        if silence.until <= now {
            return Err("a silence must end after it begins; write a time that is still to come".to_owned());
        }
        if silence.matchers.is_empty() {
            return Err("a silence needs a matcher; write one like `alertname=overheating`".to_owned());
        }
        if silence.matchers.iter().all(Matcher::holds_without) {
            return Err(
                "every matcher holds for labels that are not there, so all alerts would be silenced; add one like \
                        `alertname=overheating`"
                    .to_owned(),
            );
        }
        if silence.matchers.len() > limit::SILENCE_MATCHERS {
            return Err(format!("a silence has at most {} matchers; make several", limit::SILENCE_MATCHERS));
        }
        if self.silences.all.len() >= limit::SILENCES {
            return Err(format!("there are {} silences already; let some expire", limit::SILENCES));
        }
        self.silences.last += 1;
        let id = self.silences.last;
        let matched = self.instances.values().filter(|instance| instance.fires() && silence.holds(instance)).count();
        let (by, comment) = (&silence.by, &silence.comment);
        self.history.person("silence", by, comment, silence.about(), Some(silence.until), now);
        self.timers.insert((silence.until, 0, Timer::Silence(id)));
        self.silences.all.insert(id, silence);
        self.dirty.silences.insert(id);
        Ok(json!({ "silence": name(id), "matched": matched }))
    }

    /// A silence ends: what it kept back and still fires is told.
    pub(super) fn expire(&mut self, id: u64, what: &str, by: &str, now: Timestamp) {
        let Some(silence) = self.silences.all.remove(&id) else { return };
        self.timers.remove(&(silence.until, 0, Timer::Silence(id)));
        self.history.person(what, by, &silence.comment, format!("{}: {}", name(id), silence.about()), None, now);
        self.dirty.silences.insert(id);
        let held = self.instances.iter().filter(|(_, instance)| instance.fires() && silence.holds(instance));
        let held: Vec<Fingerprint> = held.map(|(who, _)| *who).collect();
        held.into_iter().for_each(|who| self.consider(who, now, Pace::AtOnce));
    }

    fn no_silence(&self, id: &str) -> String {
        let names: Vec<String> = self.silences.all.keys().map(|id| name(*id)).collect();
        match (names.first(), nearest(id, names.iter().map(String::as_str))) {
            (None, _) => format!("there is no silence `{id}`: none holds"),
            (_, Some(near)) => format!("there is no silence `{id}`; is it `{near}`?"),
            (Some(first), None) => format!("there is no silence `{id}`; one that holds is `{first}`"),
        }
    }

    /// What fires of an alert, by key or by matchers.
    fn find(&self, alert: &str, key: Option<&Value>, matchers: &[Matcher]) -> Result<Vec<Fingerprint>, String> {
        let place = self.place(alert).ok_or_else(|| self.no_alert(alert))?;
        let wanted = |who: &Fingerprint, instance: &Instance| {
            let is_key = key.is_none_or(|key| self.is_key(*who, instance, key));
            instance.fires() && is_key && matchers.iter().all(|m| m.holds(|name| instance.label(name)))
        };
        let of_alert = self.instances.iter().filter(|(_, instance)| instance.alert == place);
        let found: Vec<Fingerprint> = of_alert.filter(|(who, i)| wanted(who, i)).map(|(who, _)| *who).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let fires = self.instances.values().filter(|instance| instance.alert == place && instance.fires());
        match key {
            Some(key) => Err(self.no_key(alert, key, fires)),
            None if matchers.is_empty() => Err(format!("`{alert}` does not fire")),
            None => Err(format!("nothing of `{alert}` that fires matches")),
        }
    }

    fn acknowledge(&mut self, alert: &str, found: &[Fingerprint], known: &Acknowledged, now: Timestamp) -> Value {
        let mut keys = Vec::new();
        for who in found {
            let Some(instance) = self.instances.get_mut(who) else { continue };
            if let Some(until) = instance.acknowledged.as_ref().and_then(|before| before.until) {
                self.timers.remove(&(until, 0, Timer::Acknowledged(*who)));
            }
            instance.acknowledged = Some(known.clone());
            self.dirty.instances.insert(*who);
            if let Some(until) = known.until {
                self.timers.insert((until, 0, Timer::Acknowledged(*who)));
            }
            if keys.len() < limit::NOTIFICATION_ALERTS {
                keys.push(Value::Object(instance.told.key.clone()));
            }
            // What waits to be told of it waits no more.
            let (entry, targets) = (instance.entry, instance.known.len());
            for target in 0..targets {
                let Some(instance) = self.instances.get(who) else { continue };
                if let super::look::View::Held(hold) = self.view(*who, instance, target, now) {
                    let outcome = self.outcome_of(&hold, instance);
                    self.note(*who, entry, target, outcome, now);
                }
            }
        }
        let shown = match keys.as_slice() {
            [key] => format!("{alert} {key}"),
            _ => format!("{alert}, {} keys", found.len()),
        };
        self.history.person(ACKNOWLEDGE, &known.by, &known.comment, shown, known.until, now);
        json!({ "acknowledged": found.len(), "alert": alert, "keys": keys })
    }

    /// It was known for long enough: it is told again.
    pub(super) fn unacknowledge(&mut self, who: Fingerprint, now: Timestamp) {
        let Some(instance) = self.instances.get_mut(&who) else { return };
        let until = instance.acknowledged.as_ref().and_then(|known| known.until);
        if until.is_none_or(|until| until > now) {
            return;
        }
        instance.acknowledged = None;
        self.dirty.instances.insert(who);
        self.consider(who, now, Pace::AtOnce);
    }
}

fn bounded(mut text: String) -> String {
    shorten(&mut text, limit::MATCHER_BYTES);
    text
}
