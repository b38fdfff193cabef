//! Answers to people: what is active, why somebody was told, and why not.

use serde_json::{Map, Value, json};

use super::Policy;
use super::history::{Fate, Outcome};
use super::instance::{Fingerprint, Instance};
use super::look::View;
use super::told::{Stage, text_of};
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;

/// Keys that are looked through for one that somebody may have meant.
const SEARCHED: usize = 1_000;

impl Policy {
    /// The place of an alert among the alerts.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        // Those that are gone from the pipeline stand behind its own.
        let own = self.alerts.len() - self.gone;
        let found = self.alerts.get(..own)?.binary_search_by(|alert| alert.name.as_ref().cmp(name)).ok();
        found.or_else(|| self.alerts.iter().skip(own).position(|alert| *alert.name == *name).map(|at| own + at))
    }

    pub(super) fn no_alert(&self, name: &str) -> String {
        let names = || self.alerts.iter().map(|alert| alert.name.as_ref());
        match nearest(name, names()) {
            Some(near) => format!("there is no alert `{name}`; is it `{near}`?"),
            None => {
                let known: Vec<String> = names().map(|name| format!("`{name}`")).collect();
                format!("there is no alert `{name}`; the pipeline has {}", known.join(", "))
            }
        }
    }

    /// Whether an instance is of a key, as people write it: an object of its fields, or the value of the only one. What
    /// reads the same is the same: on a command line `7` is as good as `"7"`.
    pub(super) fn is_key(&self, _who: Fingerprint, instance: &Instance, key: &Value) -> bool {
        is_written(&instance.told.key, key)
    }

    pub(super) fn no_key<'a>(&self, alert: &str, key: &Value, known: impl Iterator<Item = &'a Instance>) -> String {
        let mut known: Vec<String> = known.take(SEARCHED).map(|instance| written(&instance.told.key)).collect();
        known.sort();
        let wanted = key.as_object().map_or_else(|| text_of(key), written);
        match (nearest(&wanted, known.iter().map(String::as_str)), known.first()) {
            (Some(near), _) => format!("`{alert}` does not fire for `{wanted}`; is it `{near}`?"),
            (None, Some(first)) => format!("`{alert}` does not fire for `{wanted}`; it does for `{first}`"),
            (None, None) => format!("`{alert}` does not fire for `{wanted}`, nor for any other key"),
        }
    }

    /// An instance as people name it.
    pub(super) fn spelled(&self, who: Fingerprint) -> Option<String> {
        let instance = self.instances.get(&who)?;
        let alert = self.alerts.get(instance.alert)?;
        let key = written(&instance.told.key);
        Some(if key.is_empty() { alert.name.to_string() } else { format!("{} {key}", alert.name) })
    }

    /// What is not inactive.
    pub(super) fn active_rows(&self, now: Timestamp) -> Vec<Value> {
        let mut active: Vec<(&Fingerprint, &Instance)> = self.instances.iter().collect();
        active.sort_by(|(_, a), (_, b)| a.alert.cmp(&b.alert).then_with(|| a.told.key_order(&b.told)));
        active.into_iter().map(|(who, instance)| self.active_row(*who, instance, now)).collect()
    }

    fn active_row(&self, who: Fingerprint, instance: &Instance, now: Timestamp) -> Value {
        let told = &instance.told;
        let state = if instance.pending.is_some() { Stage::Pending } else { told.state };
        let labels: Map<String, Value> =
            instance.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let targets = 0..instance.known.len();
        let receivers: Vec<Value> = targets.map(|target| self.standing(who, instance, target, now)).collect();
        json!({
            "alert": told.alert,
            "key": told.key,
            "state": state.word(),
            "severity": told.severity,
            "reason": told.reason,
            "since": instance.pending.unwrap_or(instance.since).to_string(),
            "fired_at": told.fired_at.map(|at| at.to_string()),
            "at": told.at.to_string(),
            "title": told.title,
            "labels": labels,
            "fingerprint": format!("{who:016x}"),
            "acknowledged_by": instance.acknowledged.as_ref().map(|by| &by.by),
            "receivers": receivers,
        })
    }

    /// What a receiver knows, and what it is not told and why.
    fn standing(&self, who: Fingerprint, instance: &Instance, target: usize, now: Timestamp) -> Value {
        let mut row = Map::new();
        row.insert("receiver".to_owned(), json!(self.name_of(instance, target)));
        if let Some(known) = instance.known.get(target).and_then(Option::as_ref) {
            row.insert("told_at".to_owned(), json!(known.when.to_string()));
            row.insert("severity".to_owned(), json!(known.severity));
            row.insert("notification".to_owned(), json!(format!("{:032x}", known.notification)));
        }
        if let Some(reason) = self.reason(who, instance, target, now) {
            row.insert("not_told".to_owned(), json!(reason.fate.word()));
            row.extend(reason.until.map(|until| ("until".to_owned(), json!(until.to_string()))));
            row.extend(reason.by.map(|by| ("by".to_owned(), json!(by))));
        }
        Value::Object(row)
    }

    fn name_of(&self, instance: &Instance, target: usize) -> Option<&str> {
        let target = self.alerts.get(instance.alert)?.targets.get(target)?;
        self.receivers.get(target.receiver).map(|party| party.name.as_ref())
    }

    /// Why a target is not told of what an instance does now.
    fn reason(&self, who: Fingerprint, instance: &Instance, target: usize, now: Timestamp) -> Option<Outcome> {
        match self.view(who, instance, target, now) {
            View::Held(hold) => Some(self.outcome_of(&hold, instance)),
            View::News(_) => {
                let group = self.groups.get(&instance.group?)?;
                let lane = group.lanes.get(target)?;
                let due = lane.due.or_else(|| self.gathers.get(&lane.gather?).map(|gather| gather.due));
                // What was recorded when it was looked at last says what it waits for.
                let recorded = self.history.get(instance.entry).and_then(|e| e.fate(self.name_of(instance, target)?));
                let fate = recorded.unwrap_or(Fate::Grouped);
                Some(Outcome::until(fate, due.filter(|due| *due > Timestamp::MIN)))
            }
            View::Known | View::Unwanted | View::Nothing => None,
        }
    }

    /// Why the receivers of an alert were not told of a key.
    pub(super) fn why_not_rows(&self, alert: &str, key: &Value, now: Timestamp) -> Vec<Value> {
        let Some(place) = self.place(alert) else { return vec![answer(None, "not_known", self.no_alert(alert))] };
        let of_alert = || self.instances.iter().filter(|(_, instance)| instance.alert == place);
        let Some((who, instance)) = of_alert().find(|(who, instance)| self.is_key(**who, instance, key)) else {
            return vec![self.not_active(alert, key, of_alert().map(|(_, instance)| instance))];
        };
        let mut rows = Vec::new();
        if let Some(since) = instance.pending {
            let text = format!("it is pending since {since}: `when` holds, but not for as long as `for` asks");
            rows.push(answer(None, "pending", text));
        }
        if self.alerts.get(place).is_some_and(|alert| alert.targets.is_empty()) {
            rows.push(answer(None, "no_receiver", format!("`{alert}` notifies nobody: its `notify` is empty")));
        }
        for target in 0..instance.known.len() {
            let name = self.name_of(instance, target);
            if let Some(reason) = self.reason(*who, instance, target, now) {
                let text = self.sentence(&reason, instance);
                let mut row = answer(name, reason.fate.word(), text);
                row["until"] = json!(reason.until.map(|until| until.to_string()));
                row["by"] = json!(reason.by);
                rows.push(row);
            } else if let Some(known) = instance.known.get(target).and_then(Option::as_ref) {
                let text = format!("it was told at {} in notification {:032x}", known.when, known.notification);
                rows.push(answer(name, "told", text));
            }
        }
        rows
    }

    fn not_active<'a>(&self, alert: &str, key: &Value, active: impl Iterator<Item = &'a Instance>) -> Value {
        let was = self.history.entries().rev().find_map(|entry| entry.state_of(alert, key));
        match was {
            Some((state, at, reason)) => {
                let text = format!("it is not active: it became {} at {at} (`{reason}`)", state.word());
                answer(None, "inactive", text)
            }
            None => {
                let text = format!("`when` never held for it, as far as is known; {}", self.no_key(alert, key, active));
                answer(None, "not_known", text)
            }
        }
    }

    fn sentence(&self, reason: &Outcome, instance: &Instance) -> String {
        let until = reason.until.map_or_else(String::new, |until| format!(" until {until}"));
        let by = reason.by.as_deref().unwrap_or("something");
        match reason.fate {
            Fate::Grouped => format!("it waits for its group{until}"),
            Fate::StartUp => format!("it waits for the summary of the start{until}"),
            Fate::Rate => format!("it waits for the rate to have room{until}"),
            Fate::Muted => format!("it is muted{until}"),
            Fate::Silenced => format!("silence {by} holds{until}"),
            Fate::Inhibited => format!("`{by}` fires and inhibits it"),
            Fate::Acknowledged => format!("{by} has acknowledged it{until}"),
            Fate::TooOld => {
                format!(
                    "it is older than `notify_max_age`: {}; it is told if it still fires near the present",
                    instance.told.at
                )
            }
            Fate::NotTaken => format!("no route takes severity `{}`", instance.told.severity),
            Fate::Sent | Fate::Over | Fate::Overtaken => "it is about to be told".to_owned(),
        }
    }

    /// The transitions of a key and what was told of it.
    pub(super) fn explained(&self, alert: &str, key: &Value) -> Vec<Value> {
        let mut who = None;
        for entry in self.history.entries() {
            who = who.or_else(|| entry.key_of(alert, key));
        }
        let Some(who) = who else { return Vec::new() };
        self.history.entries().filter(|entry| entry.is_of(who)).map(|entry| entry.shown()).collect()
    }
}

fn answer(receiver: Option<&str>, reason: &str, text: String) -> Value {
    json!({ "receiver": receiver, "reason": reason, "text": text })
}

/// Whether a key is what somebody wrote.
pub(super) fn is_written(key: &Map<String, Value>, written: &Value) -> bool {
    match written {
        Value::Object(fields) => {
            let same = |(name, value): (&String, &Value)| key.get(name).is_some_and(|k| text_of(k) == text_of(value));
            fields.len() == key.len() && fields.iter().all(same)
        }
        single => key.len() == 1 && key.values().all(|value| text_of(value) == text_of(single)),
    }
}

/// A key as people write it.
fn written(key: &Map<String, Value>) -> String {
    let mut values = key.values();
    match (values.next(), values.next()) {
        (None, _) => String::new(),
        (Some(single), None) => text_of(single),
        _ => Value::Object(key.clone()).to_string(),
    }
}
