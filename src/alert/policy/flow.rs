//! From a transition to what is due: keys come into groups, and groups are looked at when their time has come.

use std::collections::BTreeSet;

use super::gather::{Gather, GatherKey};
use super::group::{Group, GroupId};
use super::history::{Fate, Outcome};
use super::instance::{Fingerprint, Instance};
use super::look::{Hold, Look, View};
use super::row::Why;
use super::told::{Stage, Told};
use super::{Notification, Policy};
use crate::base::time::{TimeSpan, Timestamp};

/// What happens at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// A group is looked at for one target.
    Lane(GroupId, usize),
    /// What was held back is told together.
    Gather(GatherKey),
    /// A silence ends.
    Silence(u64),
    /// What was acknowledged is told again.
    Acknowledged(Fingerprint),
}

/// Whether the first of a group waits for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    Wait,
    /// It fires already, and was only kept back.
    AtOnce,
}

impl Policy {
    /// What a transition makes of what is known of its key.
    pub(super) fn judge(&mut self, alert: usize, mut told: Told, now: Timestamp) {
        told.cut();
        let who = told.fingerprint();
        self.reached = self.reached.max(told.at);
        let before = self.instances.remove(&who);
        let mut freed = BTreeSet::new();
        let waits = before.as_ref().is_some_and(|before| before.known.iter().any(Option::is_some));
        let instance = match before {
            // What somebody must still be told of stays as it was.
            Some(mut before) if waits && matches!(told.state, Stage::Pending | Stage::Inactive) => {
                before.pending = (told.state == Stage::Pending).then_some(told.since);
                self.history.transition(&told, who, now);
                before
            }
            before => self.succeed(alert, who, told, before, &mut freed, now),
        };
        let fires = instance.fires();
        let old = (alert, who);
        if instance.too_old {
            self.old.insert(old)
        } else {
            self.old.remove(&old)
        };
        self.instances.insert(who, instance);
        self.dirty.instances.insert(who);
        if fires {
            self.assign(who);
        }
        self.consider(who, now, Pace::Wait);
        self.settle(who, now);
        freed.into_iter().for_each(|who| self.consider(who, now, Pace::AtOnce));
    }

    fn succeed(
        &mut self,
        alert: usize,
        who: Fingerprint,
        mut told: Told,
        before: Option<Instance>,
        freed: &mut BTreeSet<Fingerprint>,
        now: Timestamp,
    ) -> Instance {
        let entry = self.history.transition(&told, who, now);
        let (fires, fired) = (told.state.fires(), before.as_ref().filter(|before| before.fires()));
        if let Some(before) = &before {
            if (told.quiet && fires && before.fires()) || (!fires && told.severity.is_empty()) {
                told.severity = before.told.severity.clone();
            }
            told.fired_at = told.fired_at.or(before.told.fired_at);
        }
        let goes_on = fired.is_some_and(|before| before.told.fired_at == told.fired_at);
        let same = goes_on && fired.is_some_and(|before| before.told.severity == told.severity);
        let since = before.as_ref().map_or(told.since, |before| before.since);
        let targets = self.alerts.get(alert).map_or(0, |alert| alert.targets.len());
        let labels = told.all_labels();
        let mut instance = Instance {
            alert,
            labels,
            since: if fires && !goes_on { told.since } else { since },
            pending: (told.state == Stage::Pending).then_some(told.since),
            group: before.as_ref().and_then(|before| before.group),
            known: before.as_ref().map_or_else(|| vec![None; targets], |before| before.known.clone()),
            acknowledged: None,
            too_old: fires && !same && !self.is_timely(alert, now),
            entry,
            fired_entry: if fires { entry } else { before.as_ref().map_or(entry, |before| before.fired_entry) },
            told,
        };
        if let Some(before) = fired.filter(|_| fires) {
            self.history.overtaken(before.entry, Fate::Overtaken, now);
        }
        if same && let Some(before) = fired {
            instance.too_old = before.too_old;
            instance.acknowledged = before.acknowledged.clone();
        }
        let unchanged = fired.is_some_and(|b| fires && b.labels == instance.labels && same);
        if !unchanged {
            if let Some(before) = fired {
                self.inhibitions.remove(&self.alerts, who, before, freed);
            }
            if fires {
                self.inhibitions.add(&self.alerts, who, &instance);
            }
        }
        instance
    }

    /// Whether the stream has come close enough to the present for what fires to be told.
    pub(super) fn is_timely(&self, alert: usize, now: Timestamp) -> bool {
        let age = self.alerts.get(alert).and_then(|alert| alert.policy.notify_max_age);
        age.is_none_or(|age| now.minus(age) <= self.reached)
    }

    /// Puts what fires into its group.
    fn assign(&mut self, who: Fingerprint) {
        let Some(instance) = self.instances.get_mut(&who) else { return };
        let Some(alert) = self.alerts.get(instance.alert) else { return };
        if instance.group.is_some_and(|group| self.groups.contains_key(&group)) {
            return;
        }
        let (id, group) = Group::of(alert, instance);
        instance.group = Some(id);
        self.groups.entry(id).or_insert(group).members.insert(who);
        self.dirty.groups.insert(id);
    }

    /// Looks at a key anew: receivers that should be told of it will be.
    pub(super) fn consider(&mut self, who: Fingerprint, now: Timestamp, pace: Pace) {
        let Some(instance) = self.instances.get(&who) else { return };
        let Some(group) = instance.group else { return };
        for target in 0..instance.known.len() {
            let Some(instance) = self.instances.get(&who) else { return };
            let entry = instance.entry;
            match self.view(who, instance, target, now) {
                View::News(_) => {
                    let due = self.schedule(group, target, now, pace);
                    if due.is_some_and(|due| due > now) {
                        self.note(who, entry, target, Outcome::until(Fate::Grouped, due), now);
                    }
                }
                View::Known => {
                    self.schedule_repeat(group, target);
                }
                View::Held(hold) => {
                    let outcome = self.outcome_of(&hold, instance);
                    self.note(who, entry, target, outcome, now);
                }
                View::Unwanted => self.forget(who, target),
                View::Nothing => {}
            }
        }
    }

    /// A receiver that does not want to be told that something is over knows of it no more.
    pub(super) fn forget(&mut self, who: Fingerprint, target: usize) {
        if let Some(known) = self.instances.get_mut(&who).and_then(|instance| instance.known.get_mut(target)) {
            *known = None;
            self.dirty.instances.insert(who);
        }
    }

    pub(super) fn outcome_of(&self, hold: &Hold, instance: &Instance) -> Outcome {
        match hold {
            Hold::Silenced(id) => {
                let until = self.silences.get(*id).map(|silence| silence.until);
                Outcome { by: Some(super::silence::name(*id)), ..Outcome::until(Fate::Silenced, until) }
            }
            Hold::Inhibited(by) => Outcome { by: self.spelled(*by), ..Outcome::new(Fate::Inhibited) },
            Hold::Acknowledged => {
                let by = instance.acknowledged.as_ref();
                let until = by.and_then(|by| by.until);
                Outcome { by: by.map(|by| by.by.clone()), ..Outcome::until(Fate::Acknowledged, until) }
            }
            Hold::TooOld => Outcome::new(Fate::TooOld),
            Hold::NotTaken => Outcome::new(Fate::NotTaken),
        }
    }

    /// Records what became of a transition for a target.
    pub(super) fn note(&mut self, who: Fingerprint, entry: u64, target: usize, mut outcome: Outcome, now: Timestamp) {
        let Some(instance) = self.instances.get(&who) else { return };
        let target = self.alerts.get(instance.alert).and_then(|alert| alert.targets.get(target));
        let Some(receiver) = target.and_then(|target| self.receivers.get(target.receiver)) else { return };
        outcome.receiver = receiver.name.clone();
        outcome.at = now;
        self.history.outcome(entry, outcome);
    }

    /// A key of which nothing more is to be done goes, and its group with the last one.
    pub(super) fn settle(&mut self, who: Fingerprint, now: Timestamp) {
        let Some(instance) = self.instances.get(&who).filter(|instance| instance.is_over()) else { return };
        self.history.overtaken(instance.entry, Fate::Over, now);
        self.history.overtaken(instance.fired_entry, Fate::Over, now);
        let group = instance.group;
        if let Some(acknowledged) = &instance.acknowledged
            && let Some(until) = acknowledged.until
        {
            self.timers.remove(&(until, 0, Timer::Acknowledged(who)));
        }
        self.instances.remove(&who);
        self.dirty.instances.insert(who);
        let Some(id) = group else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members.remove(&who);
        if group.members.is_empty() {
            for (target, lane) in group.lanes.iter().enumerate() {
                if let Some(due) = lane.due {
                    self.timers.remove(&(due, lane.order, Timer::Lane(id, target)));
                }
                if let Some(key) = lane.gather
                    && let Some(gather) = self.gathers.get_mut(&key)
                {
                    gather.lanes.remove(&(id, target));
                    if gather.lanes.is_empty() {
                        self.timers.remove(&(gather.due, gather.order, Timer::Gather(key)));
                        self.gathers.remove(&key);
                    }
                }
            }
            self.groups.remove(&id);
            self.dirty.groups.insert(id);
        }
    }

    /// Sees to it that a group is looked at for a target, as soon as its pace allows. Says when that is.
    fn schedule(&mut self, id: GroupId, target: usize, now: Timestamp, pace: Pace) -> Option<Timestamp> {
        let group = self.groups.get(&id)?;
        let policy = &self.alerts.get(group.alert)?.policy;
        let lane = group.lanes.get(target)?;
        if let Some(gather) = lane.gather {
            return self.gathers.get(&gather).map(|gather| gather.due);
        }
        let earliest = match lane.sent {
            _ if self.ended => now,
            Some(sent) => sent.plus(policy.group_interval).max(now),
            None if pace == Pace::Wait => now.plus(policy.group_wait),
            None => now,
        };
        match lane.due {
            Some(due) if due <= earliest => Some(due),
            _ => {
                self.set_due(id, target, Some(earliest));
                Some(earliest)
            }
        }
    }

    /// What a receiver knows of is told again in time.
    fn schedule_repeat(&mut self, id: GroupId, target: usize) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(lane) = group.lanes.get(target) else { return };
        if lane.due.is_none()
            && lane.gather.is_none()
            && let (Some(sent), Some(every)) = (lane.sent, self.repeat_every(group.alert))
        {
            self.set_due(id, target, Some(sent.plus(every)));
        }
    }

    pub(super) fn repeat_every(&self, alert: usize) -> Option<TimeSpan> {
        self.alerts.get(alert)?.policy.repeat_every.filter(|every| *every > TimeSpan::ZERO)
    }

    pub(super) fn set_due(&mut self, id: GroupId, target: usize, due: Option<Timestamp>) {
        let lane = self.groups.get_mut(&id).and_then(|group| group.lanes.get_mut(target));
        let Some(lane) = lane else { return };
        if let Some(before) = lane.due {
            self.timers.remove(&(before, lane.order, Timer::Lane(id, target)));
        }
        lane.due = due;
        if let Some(due) = due {
            self.order += 1;
            lane.order = self.order;
            self.timers.insert((due, lane.order, Timer::Lane(id, target)));
        }
        self.dirty.groups.insert(id);
    }

    /// Looks at a group for a target: tells what there is to tell, or says when it is looked at again.
    pub(super) fn serve(&mut self, id: GroupId, target: usize, now: Timestamp, out: &mut Vec<Notification>) {
        self.set_due(id, target, None);
        let mut look = self.look(id, target, now);
        self.clean(&mut look, target, now);
        let Some((alert, sent)) = self.groups.get(&id).and_then(|g| Some((g.alert, g.lanes.get(target)?.sent))) else {
            return;
        };
        let every = self.repeat_every(alert).filter(|_| look.repeats);
        let again = every.zip(sent).map(|(every, sent)| sent.plus(every));
        let why = look.why.or_else(|| again.is_some_and(|again| again <= now).then_some(Why::Repeat));
        let Some(why) = why else {
            self.set_due(id, target, again);
            return;
        };
        if let Some(until) = self.alerts.get_mut(alert).and_then(|alert| alert.muted(now)) {
            if !self.ended {
                self.set_due(id, target, Some(until));
                self.note_news(&look, target, &Outcome::until(Fate::Muted, Some(until)), now);
                return;
            }
            self.note_news(&look, target, &Outcome::until(Fate::Muted, Some(until)), now);
            look.without_new_firings();
            if look.why.is_none() {
                return;
            }
        }
        match self.gather_for(alert, target, &look, now) {
            Some((key, due)) => {
                let fate = if matches!(key, GatherKey::Grace { .. }) { Fate::StartUp } else { Fate::Rate };
                self.note_news(&look, target, &Outcome::until(fate, Some(due)), now);
                self.join(id, target, key, due);
            }
            None => self.send(id, target, look, why, now, out),
        }
    }

    /// Does what a look found apart from what there is to tell.
    pub(super) fn clean(&mut self, look: &mut Look, target: usize, now: Timestamp) {
        for (who, hold) in look.held.drain(..) {
            let Some(instance) = self.instances.get(&who) else { continue };
            let (entry, outcome) = (instance.entry, self.outcome_of(&hold, instance));
            self.note(who, entry, target, outcome, now);
        }
        for who in look.unwanted.drain(..) {
            self.forget(who, target);
            self.settle(who, now);
        }
    }

    fn note_news(&mut self, look: &Look, target: usize, outcome: &Outcome, now: Timestamp) {
        for seen in look.seen.iter().filter(|seen| seen.news.is_some()) {
            if let Some(entry) = self.instances.get(&seen.who).map(|instance| instance.entry) {
                self.note(seen.who, entry, target, outcome.clone(), now);
            }
        }
    }

    fn join(&mut self, id: GroupId, target: usize, key: GatherKey, due: Timestamp) {
        let Some(lane) = self.groups.get_mut(&id).and_then(|group| group.lanes.get_mut(target)) else { return };
        lane.gather = Some(key);
        let gather = self.gathers.entry(key).or_insert_with(|| {
            self.order += 1;
            self.timers.insert((due, self.order, Timer::Gather(key)));
            Gather { lanes: BTreeSet::new(), due, order: self.order }
        });
        gather.lanes.insert((id, target));
        self.dirty.groups.insert(id);
    }
}
