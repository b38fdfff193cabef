//! The notification policy of a pipeline: of each transition of each key, who is told, when and in which notification.
//!
//! It sees no clock: whoever calls says what time it is, the wall clock of a live run or the virtual one of a test. What it
//! is told in the same order at the same times makes the same notifications with the same ids.
//!
//! # What holds
//! * A receiver is told that something fires when it fires, and again when its severity is another one, when it fires anew
//!   and after `repeat_every`. It is told that it is over if it was told that it fires, once. To a receiver that is not
//!   told of a severity, an alert that falls to it is over.
//! * A key stays in the group in which it fired until it is over. A notification of a group has all that fires in it and
//!   is not silenced or inhibited, and what is over since the last one.
//! * What fires and is over before its group is told is not told at all; what fires again before somebody was told that it
//!   was over is told as a new firing.
//! * *Silenced*, *inhibited*, *muted*: it is told when that ends and it still fires, once. That something is over is told
//!   in spite of silences and inhibitions, so that nobody is left with an open incident; mute times it waits for.
//! * *Acknowledged*: it is not told of, nor repeated, until its severity is another one or it fires anew. That it is over is
//!   told.
//! * *Too old*: what fires longer ago than `notify_max_age` is recorded and not told, unless it still fires when the stream
//!   comes that close to the present. That something is over is told however old it is.
//! * *Rate*, *start*: what is held back is told in one summary. If it is of one group only, it is told as that.
//! * *Removed*: what fires of an alert that is gone from the pipeline, or whose state was forgotten, is over.
//! * What is quiet (it flaps) is recorded and not told.
//! * An id is made from the run, the receiver, the group, the transition that made the group, and a count. A replay makes
//!   the same ids, and a group that comes again makes others.

mod alerts;
pub mod command;
mod flow;
mod gather;
mod group;
mod history;
mod inhibit;
mod instance;
mod look;
pub mod matcher;
pub mod mute;
mod removed;
mod row;
mod send;
pub mod settings;
mod silence;
mod state;
pub mod told;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

pub use command::Command;
pub use matcher::Matcher;
pub use mute::MuteTime;
pub use row::Why;
pub use settings::{AlertPolicy, Inhibit, Rate, Receiver, Route, Settings};
pub use told::{Stage, Told};

use crate::base::time::Timestamp;
use alerts::Alert;
use flow::{Pace, Timer};
use gather::{Gather, GatherKey, RateKey, Sent};
use group::{Group, GroupId};
use history::{Entry, History};
use inhibit::Inhibitions;
use instance::{Fingerprint, Instance};
use silence::Silences;
use state::Dirty;

/// What one receiver is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Notification {
    /// Its number in [`Settings::receivers`].
    pub receiver: usize,
    /// The same after a replay.
    pub id: u128,
    /// The notification row.
    pub row: Value,
}

/// Somebody who is told.
#[derive(Debug)]
struct Party {
    name: Arc<str>,
    rate: Option<Rate>,
}

/// The policy at work.
#[derive(Debug)]
pub struct Policy {
    pipeline: String,
    receivers: Vec<Party>,
    alerts: Vec<Alert>,
    /// When the run began, before it was interrupted if it was.
    began: Timestamp,
    /// When it began or went on.
    started: Timestamp,
    /// How far event time has come.
    reached: Timestamp,
    /// Whether the input has ended.
    ended: bool,
    instances: BTreeMap<Fingerprint, Instance>,
    groups: BTreeMap<GroupId, Group>,
    /// What happens when; of one time in the order in which it was planned.
    timers: BTreeSet<(Timestamp, u64, Timer)>,
    /// Counts what was planned.
    order: u64,
    gathers: BTreeMap<GatherKey, Gather>,
    rates: BTreeMap<RateKey, Sent>,
    /// How many summaries each receiver was sent.
    summaries: BTreeMap<usize, u64>,
    inhibitions: Inhibitions,
    silences: Silences,
    /// What was too old when it came, and fires.
    old: BTreeSet<(usize, Fingerprint)>,
    /// How many of the alerts, the last ones, the pipeline has no more: they are there to tell that they are over.
    gone: usize,
    history: History,
    dirty: Dirty,
}

impl Policy {
    /// A policy for a run that begins. If the run goes on where one stopped, [`Policy::restore`] follows.
    pub fn new(settings: Settings, started: Timestamp) -> Policy {
        let alerts = Alert::all(&settings, started);
        let party = |receiver: Receiver| Party { name: receiver.name.into(), rate: receiver.rate };
        Policy {
            pipeline: settings.pipeline,
            receivers: settings.receivers.into_iter().map(party).collect(),
            inhibitions: Inhibitions::new(&alerts),
            alerts,
            began: started,
            started,
            reached: Timestamp::MIN,
            ended: false,
            instances: BTreeMap::new(),
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            order: 0,
            gathers: BTreeMap::new(),
            rates: BTreeMap::new(),
            summaries: BTreeMap::new(),
            silences: Silences::default(),
            old: BTreeSet::new(),
            gone: 0,
            history: History::default(),
            dirty: Dirty::default(),
        }
    }

    /// Takes a transition, and adds what leaves at once. Of an alert that is not among the settings nothing is kept.
    pub fn take(&mut self, told: Told, now: Timestamp, out: &mut Vec<Notification>) {
        self.pass(now, out);
        let Some(alert) = self.place(&told.alert) else { return };
        self.judge(alert, told, now);
        self.catch_up(now);
        self.pass(now, out);
    }

    /// Time passes: adds what is due. Does nothing the second time at one `now`.
    pub fn pass(&mut self, now: Timestamp, out: &mut Vec<Notification>) {
        while let Some((_, _, timer)) = self.timers.first().copied().filter(|(due, _, _)| *due <= now) {
            self.timers.pop_first();
            match timer {
                Timer::Lane(group, target) => self.serve(group, target, now, out),
                Timer::Gather(key) => self.release(key, now, out),
                Timer::Silence(id) => self.expire(id, "silence_ended", "", now),
                Timer::Acknowledged(who) => self.unacknowledge(who, now),
            }
        }
    }

    /// The next time at which [`Policy::pass`] does something.
    pub fn due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _, _)| *due)
    }

    /// Event time has come to `watermark`. Without it, only transitions show that a stream has come close to the present, and
    /// what was too old to be told and still fires is not told before the next one.
    pub fn reached(&mut self, watermark: Timestamp, now: Timestamp, out: &mut Vec<Notification>) {
        if watermark > self.reached && watermark.is_event_time() {
            self.reached = watermark;
            if !self.old.is_empty() {
                self.catch_up(now);
                self.pass(now, out);
            }
        }
    }

    /// How far event time has come.
    pub fn reached_until(&self) -> Timestamp {
        self.reached
    }

    /// What was too old is told where the stream has come close enough to the present.
    fn catch_up(&mut self, now: Timestamp) {
        // Whether it is depends on the alert alone: keys that are not told yet are not looked at one by one.
        let alerts = (0..self.alerts.len()).filter(|alert| self.is_timely(*alert, now));
        let timely = alerts.flat_map(|alert| self.old.range((alert, 0)..=(alert, Fingerprint::MAX)).copied());
        let timely: Vec<(usize, Fingerprint)> = timely.collect();
        for (alert, who) in timely {
            self.old.remove(&(alert, who));
            if let Some(instance) = self.instances.get_mut(&who) {
                instance.too_old = false;
                self.dirty.instances.insert(who);
            }
            self.consider(who, now, Pace::AtOnce);
        }
    }

    /// The input has ended for good: what waits for others or for a rate leaves now. What is muted or too old does not, but
    /// for what is over.
    pub fn end(&mut self, now: Timestamp, out: &mut Vec<Notification>) {
        self.pass(now, out);
        self.ended = true;
        let timers: Vec<Timer> = self.timers.iter().map(|(_, _, timer)| *timer).collect();
        for timer in timers {
            match timer {
                Timer::Lane(group, target) => self.serve(group, target, now, out),
                Timer::Gather(key) => self.release(key, now, out),
                Timer::Silence(_) | Timer::Acknowledged(_) => {}
            }
        }
    }

    /// Does what a person asks for, and says what it did; what leaves because of it does so at the next [`Policy::pass`]. The
    /// error is a sentence.
    pub fn command(&mut self, command: Command, now: Timestamp) -> Result<Value, String> {
        self.obey(command, now)
    }

    /// State rows that changed since the last call, as keys, which are texts, with their values, or without one if
    /// they are gone.
    pub fn changes(&mut self, out: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        self.changed_rows(out);
    }

    /// Takes up the state of a run that goes on, or what outlived one that came to its end.
    pub fn restore(&mut self, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        self.restore_rows(rows)
    }

    /// What fired of alerts whose state is gone, or that the pipeline has not any more, is over: whoever was told of it is
    /// told so. After [`Policy::restore`]; `reset` are alerts that it still has.
    pub fn remove(&mut self, reset: &[Arc<str>], now: Timestamp) {
        self.remove_alerts(reset, now);
    }

    /// Whether a state row outlives a run that came to its end: history and silences do.
    pub fn outlives(key: &[u8]) -> bool {
        Self::row_outlives(key)
    }

    /// What is not inactive, a row each, by alert and key.
    pub fn active(&self, now: Timestamp) -> Vec<Value> {
        self.active_rows(now)
    }

    /// Silences that hold, a row each.
    pub fn silences(&self, now: Timestamp) -> Vec<Value> {
        let hold = self.silences.all.iter().filter(|(_, silence)| now < silence.until);
        hold.map(|(id, silence)| silence.shown(*id)).collect()
    }

    /// What happened, a row each, the oldest first; of one alert, if it is named.
    pub fn history(&self, alert: Option<&str>) -> Vec<Value> {
        match alert {
            Some(alert) => self.history.of_alert(alert).map(Entry::shown).collect(),
            None => self.history.entries().map(Entry::shown).collect(),
        }
    }

    /// By alert, how many transitions that came since then were too old to be told; and whether the history goes back so far.
    pub fn too_old(&self, since: Timestamp) -> (BTreeMap<String, u64>, bool) {
        (self.history.too_old(since), self.history.reaches(since))
    }

    /// Why the receivers of an alert were not told of a key: a row for each reason, with `receiver`, `reason` and `text`.
    pub fn why_not(&self, alert: &str, key: &Value, now: Timestamp) -> Vec<Value> {
        self.why_not_rows(alert, key, now)
    }

    /// The transitions of a key and what was told whom, the oldest first.
    pub fn explain(&self, alert: &str, key: &Value) -> Vec<Value> {
        self.explained(alert, key)
    }
}

#[cfg(test)]
mod tests;
