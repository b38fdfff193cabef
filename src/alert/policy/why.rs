//! Answers to people: what is active, why somebody was told, and why not.

use serde_json::{Map, Value, json};

use super::Policy;
use super::history::{Entry, Fate, Firing, Outcome};
use super::instance::{Fingerprint, Instance};
use super::look::View;
use super::told::{Stage, text_of};
use crate::base::suggest::nearest;
use crate::base::time::{TimeSpan, Timestamp};

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
            return self.not_active(place, key, of_alert().map(|(_, instance)| instance));
        };
        let mut rows = Vec::new();
        if let Some(since) = instance.pending {
            let text = format!("it is pending since {since}: `when` holds, but not for as long as `for` asks");
            rows.push(answer(None, "pending", text));
        }
        if self.alerts.get(place).is_some_and(|alert| alert.targets.is_empty()) {
            rows.push(no_receiver(alert));
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

    fn not_active<'a>(&self, place: usize, key: &Value, active: impl Iterator<Item = &'a Instance>) -> Vec<Value> {
        let Some(alert) = self.alerts.get(place) else { return Vec::new() };
        let of_key = || self.history.entries().rev().filter(|entry| entry.key_of(&alert.name, key).is_some());
        let Some((state, at, reason)) = of_key().find_map(|entry| entry.state_of(&alert.name, key)) else {
            let no_key = self.no_key(&alert.name, key, active);
            let text = format!("`when` never held for it, as far as is known; {no_key}");
            return vec![answer(None, "not_known", text)];
        };
        let text = format!("it is not active: it became {} at {at} (`{reason}`)", state.word());
        let mut rows = vec![answer(None, "inactive", text)];
        if alert.targets.is_empty() {
            rows.push(no_receiver(&alert.name));
        }
        // What became of its last firing is what somebody wants to know who was not told of it.
        let mut firings = of_key().skip(1).map_while(Entry::firing).filter(|_| state == Stage::Resolved);
        if let Some(firing) = firings.find(|firing| !firing.outcomes.is_empty()) {
            rows.extend(firing.outcomes.iter().map(|outcome| {
                let text = format!("it fired at {}: {}", firing.at, self.past(outcome, &firing, place));
                answer(Some(&outcome.receiver), outcome.fate.word(), text)
            }));
        }
        rows
    }

    /// What became of a firing that is over.
    fn past(&self, outcome: &Outcome, firing: &Firing<'_>, place: usize) -> String {
        let until = outcome.until.map_or_else(String::new, |until| format!(" until {until}"));
        let by = outcome.by.as_deref().unwrap_or("something");
        match outcome.fate {
            Fate::Sent => match outcome.notification {
                Some(id) => format!("it was told at {} in notification {id:032x}", outcome.at),
                None => format!("it was told at {}", outcome.at),
            },
            Fate::TooOld => {
                format!("it was not told, for {}", self.age(place, firing.at, Some(firing.came)))
            }
            Fate::Silenced => format!("silence {by} held{until}"),
            Fate::Inhibited => format!("`{by}` fired and inhibited it"),
            Fate::Acknowledged => format!("{by} had acknowledged it{until}"),
            Fate::Muted => format!("it was muted{until}"),
            Fate::NotTaken => format!("no route takes severity `{}`", firing.severity),
            Fate::Grouped | Fate::StartUp | Fate::Rate | Fate::Over => "it was over before it was told".to_owned(),
            Fate::Overtaken => "it had come to something else before it was told".to_owned(),
        }
    }

    /// By how much something was too old to be told when it came, and what can be done about it.
    fn age(&self, place: usize, at: Timestamp, came: Option<Timestamp>) -> String {
        let most = self.alerts.get(place).and_then(|alert| alert.policy.notify_max_age);
        let most = most.map_or_else(String::new, |most| format!(" ({most})"));
        let later = match came {
            Some(came) => {
                let seconds = came.0.saturating_sub(at.0).max(0) / 1_000_000;
                format!("it came at {came}, {} after its time, {at}", TimeSpan::seconds(seconds))
            }
            None => format!("its time is {at}"),
        };
        format!(
            "{later}, which is older than `notify_max_age`{most}: such transitions are recorded and not told, unless \
             `notify_max_age` of the alert is greater"
        )
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
                let came = self.history.get(instance.entry).map(Entry::time);
                let why = self.age(instance.alert, instance.told.at, came);
                format!("{why}, or it still fires when the stream comes that close to the present")
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

fn no_receiver(alert: &str) -> Value {
    answer(None, "no_receiver", format!("`{alert}` notifies nobody: its `notify` is empty"))
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
