//! Making notifications: of one group, or of what was held back.

use std::cmp::Reverse;

use super::gather::{GatherKey, RateKey, count, free_at};
use super::group::GroupId;
use super::history::{Fate, Outcome};
use super::instance::Known;
use super::look::{Look, Seen};
use super::row::{Head, Item, Why, render};
use super::{Notification, Policy};
use crate::base::time::{TimeSpan, Timestamp};
use crate::data::hash::row_id;

/// What is told of one group to one target.
type Part = (GroupId, usize, Look);

impl Policy {
    /// What this must wait in, if it must, and until when.
    pub(super) fn gather_for(
        &self,
        alert: usize,
        target: usize,
        look: &Look,
        now: Timestamp,
    ) -> Option<(GatherKey, Timestamp)> {
        if self.ended {
            return None;
        }
        let written = self.alerts.get(alert)?;
        let receiver = written.targets.get(target)?.receiver;
        // What was due before the run went on is late, and not of its first time.
        if written.policy.startup_grace > TimeSpan::ZERO && look.fires_anew && now < written.grace {
            return Some((GatherKey::Grace { receiver, end: written.grace }, written.grace));
        }
        let (key, free) = self.full(receiver, None, now).or_else(|| self.full(receiver, Some(alert), now))?;
        Some((GatherKey::Rate(key), free))
    }

    /// Whether a rate has no room, and when it has again.
    fn full(&self, receiver: usize, alert: Option<usize>, now: Timestamp) -> Option<(RateKey, Timestamp)> {
        let key = RateKey { receiver, alert };
        Some((key, free_at(self.rate(key)?, self.rates.get(&key)?, now)?))
    }

    pub(super) fn rate(&self, key: RateKey) -> Option<super::Rate> {
        match key.alert {
            None => self.receivers.get(key.receiver)?.rate,
            Some(alert) => self.alerts.get(alert)?.policy.rate,
        }
    }

    fn counted(&mut self, receiver: usize, alert: Option<usize>, now: Timestamp) {
        let key = RateKey { receiver, alert };
        if let Some(rate) = self.rate(key) {
            count(rate, self.rates.entry(key).or_default(), now);
            self.dirty.rates.insert(key);
        }
    }

    /// Tells one group.
    pub(super) fn send(
        &mut self,
        id: GroupId,
        target: usize,
        look: Look,
        why: Why,
        now: Timestamp,
        out: &mut Vec<Notification>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(lane) = group.lanes.get_mut(target) else { return };
        lane.number += 1;
        let (number, alert, born) = (lane.number, group.alert, group.born);
        let Some(receiver) = self.alerts.get(alert).and_then(|a| a.targets.get(target)).map(|t| t.receiver) else {
            return;
        };
        let Some(party) = self.receivers.get(receiver) else { return };
        // Nothing of the clock: what is told again after a crash, or in another run over the same events, is the same.
        let place = format!("{}\0{}\0{}\0{}\0{}\0{number}", self.pipeline, party.name, group.key, born.0.0, born.1);
        let notification = row_id(1, place.as_bytes());
        let (labels, key) = (group.labels.clone(), group.key.clone());
        let head = Head {
            id: notification,
            pipeline: &self.pipeline,
            receiver: &party.name,
            why,
            group: &labels,
            group_key: &key,
        };
        let parts = [(id, target, look)];
        let row = render(&head, &self.items(&parts));
        self.history.notification(&head, &row, &parts[0].2.seen, now);
        out.push(Notification { receiver, id: notification, row });
        self.counted(receiver, None, now);
        self.counted(receiver, Some(alert), now);
        self.told(parts, notification, now);
    }

    /// Tells what was held back together; of one group alone, as that.
    pub(super) fn release(&mut self, key: GatherKey, now: Timestamp, out: &mut Vec<Notification>) {
        let Some(gather) = self.gathers.remove(&key) else { return };
        let mut parts: Vec<Part> = Vec::new();
        for (id, target) in gather.lanes {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(lane) = group.lanes.get_mut(target) else { continue };
            lane.gather = None;
            let (alert, sent) = (group.alert, lane.sent);
            let mut look = self.look(id, target, now);
            self.clean(&mut look, target, now);
            let every = self.repeat_every(alert).filter(|_| look.repeats);
            let again = every.zip(sent).is_some_and(|(every, sent)| sent.plus(every) <= now);
            let muted = self.alerts.get_mut(alert).and_then(|alert| alert.muted(now)).is_some();
            let waits = self.gather_for(alert, target, &look, now).is_some();
            if (look.why.is_none() && !again) || muted || waits {
                // It says itself what it waits for now, if for anything.
                self.serve(id, target, now, out);
            } else {
                parts.push((id, target, look));
            }
        }
        if parts.len() > 1 {
            self.summarise(key.receiver(), parts, now, out);
        } else if let Some((id, target, look)) = parts.pop() {
            let why = look.why.unwrap_or(Why::Repeat);
            self.send(id, target, look, why, now, out);
        }
    }

    fn summarise(&mut self, receiver: usize, mut parts: Vec<Part>, now: Timestamp, out: &mut Vec<Notification>) {
        // Of what was told already, only what is told again.
        for (_, _, look) in parts.iter_mut().filter(|(_, _, look)| look.why.is_some()) {
            look.seen.retain(|seen| seen.news.is_some());
        }
        let mut alerts: Vec<usize> = parts.iter().filter_map(|(id, _, _)| Some(self.groups.get(id)?.alert)).collect();
        alerts.sort_unstable();
        alerts.dedup();
        let Some(party) = self.receivers.get(receiver) else { return };
        let number = self.summaries.entry(receiver).or_default();
        *number += 1;
        let first = parts.first().and_then(|(id, _, _)| self.groups.get(id));
        let first = first.map_or_else(String::new, |g| format!("{}\0{}\0{}", g.key, g.born.0.0, g.born.1));
        let place = format!("{}\0{}\0{first}\0{number}", self.pipeline, party.name);
        let notification = row_id(2, place.as_bytes());
        let group_key = match alerts.as_slice() {
            [alert] => self.alerts.get(*alert).map_or_else(String::new, |alert| alert.name.to_string()),
            _ => self.pipeline.clone(),
        };
        let head = Head {
            id: notification,
            pipeline: &self.pipeline,
            receiver: &party.name,
            why: Why::Summary,
            group: &[],
            group_key: &group_key,
        };
        let row = render(&head, &self.items(&parts));
        let seen: Vec<Seen> = parts.iter().flat_map(|(_, _, look)| look.seen.iter().copied()).collect();
        self.history.notification(&head, &row, &seen, now);
        out.push(Notification { receiver, id: notification, row });
        self.dirty.summaries.insert(receiver);
        self.counted(receiver, None, now);
        alerts.into_iter().for_each(|alert| self.counted(receiver, Some(alert), now));
        self.told(parts, notification, now);
    }

    /// The alerts of a notification: news first, what fires before what is over, the most severe first, then the oldest.
    fn items(&self, parts: &[Part]) -> Vec<Item<'_>> {
        let all = parts.iter().flat_map(|(_, target, look)| look.seen.iter().map(move |seen| (*target, seen)));
        let mut items: Vec<(bool, Item<'_>)> = all
            .filter_map(|(target, seen)| {
                let instance = self.instances.get(&seen.who)?;
                let known = instance.known.get(target).and_then(Option::as_ref);
                let severity = match known {
                    Some(known) if !seen.fires => &known.severity,
                    _ => &instance.told.severity,
                };
                let rank = self.alerts.get(instance.alert).map_or(0, |alert| alert.rank(severity));
                let item = Item {
                    told: &instance.told,
                    fires: seen.fires,
                    severity,
                    rank,
                    since: instance.since,
                    acknowledged_by: instance.acknowledged.as_ref().map(|by| by.by.as_str()),
                };
                Some((seen.news.is_none(), item))
            })
            .collect();
        let order = |(known, item): &(bool, Item<'_>)| (*known, !item.fires, Reverse(item.rank), item.told.at);
        items.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.1.told.key_order(b.1.told)));
        items.into_iter().map(|(_, item)| item).collect()
    }

    /// The receiver knows now.
    fn told(&mut self, parts: impl IntoIterator<Item = Part>, notification: u128, now: Timestamp) {
        for (id, target, look) in parts {
            let group = self.groups.get(&id).map(|group| group.alert);
            for seen in look.seen.iter().filter(|seen| seen.news.is_some()) {
                let Some(instance) = self.instances.get_mut(&seen.who) else { continue };
                let entry = instance.entry;
                let (fired_at, severity) = (instance.told.fired_at, instance.told.severity.clone());
                let of = group.and_then(|alert| self.alerts.get(alert)).and_then(|alert| alert.targets.get(target));
                let resolves = of.is_some_and(|target| target.resolves(&severity));
                let known = seen.fires.then_some(Known { fired_at, severity, when: now, notification, resolves });
                if let Some(place) = instance.known.get_mut(target) {
                    *place = known;
                }
                self.dirty.instances.insert(seen.who);
                let outcome = Outcome { notification: Some(notification), ..Outcome::new(Fate::Sent) };
                self.note(seen.who, entry, target, outcome, now);
                self.settle(seen.who, now);
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let alert = group.alert;
            if let Some(lane) = group.lanes.get_mut(target) {
                lane.sent = Some(now);
            }
            self.dirty.groups.insert(id);
            let again = self.repeat_every(alert).filter(|_| look.repeats).map(|every| now.plus(every));
            self.set_due(id, target, again);
        }
    }
}
