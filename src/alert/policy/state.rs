//! What a run that goes on must know: rows by key, handed out as changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Policy;
use super::flow::Timer;
use super::gather::{RateKey, Waits};
use super::group::{Group, GroupId, Lane};
use super::history::Entry;
use super::instance::{Acknowledged, Fingerprint, Instance, Known};
use super::matcher::Matcher;
use super::silence::Silence;
use super::told::Told;
use crate::base::time::Timestamp;

/// What changed since the last time.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) instances: BTreeSet<Fingerprint>,
    pub(super) groups: BTreeSet<GroupId>,
    pub(super) silences: BTreeSet<u64>,
    pub(super) rates: BTreeSet<RateKey>,
    pub(super) summaries: BTreeSet<usize>,
    /// Rows that this pipeline has no use for any more.
    unwanted: Vec<Vec<u8>>,
    /// What was written of the run and of the silences last.
    run: Option<Run>,
    last_silence: Option<u64>,
}

/// Of the run as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Run {
    began: Timestamp,
    reached: Timestamp,
    order: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct InstanceRow {
    pub(super) told: Told,
    since: Timestamp,
    pending: Option<Timestamp>,
    group: Option<u128>,
    pub(super) known: Vec<(Arc<str>, Known)>,
    acknowledged: Option<Acknowledged>,
    too_old: bool,
    entry: u64,
    fired_entry: u64,
}

#[derive(Serialize, Deserialize)]
struct GroupRow {
    alert: Arc<str>,
    labels: Vec<(String, String)>,
    key: String,
    born: (Timestamp, u64),
    lanes: Vec<(Arc<str>, Lane, Option<Waits>)>,
}

#[derive(Serialize, Deserialize)]
struct SilenceRow {
    matchers: Vec<String>,
    from: Timestamp,
    until: Timestamp,
    comment: String,
    by: String,
}

/// What a row is of: the first part of its key, which is a text.
mod kind {
    pub(super) const RUN: &str = "run";
    pub(super) const COUNTER: &str = "counter";
    pub(super) const SILENCE: &str = "silence";
    pub(super) const HISTORY: &str = "history";
    /// Then the alert, if it is the rate of one, and the receiver.
    pub(super) const RATE: &str = "rate";
    pub(super) const SUMMARY: &str = "summary";
    pub(super) const GROUP: &str = "group";
    pub(super) const KEY: &str = "key";
}

fn key(kind: &str, rest: impl Display) -> Vec<u8> {
    format!("{kind}/{rest}").into_bytes()
}

/// Entries stand in order.
fn history_key(number: u64) -> Vec<u8> {
    key(kind::HISTORY, format_args!("{number:020}"))
}

/// A row that cannot be encoded, which no row of these is, is found to be unreadable by whoever wants it.
fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(value).map_err(unreadable)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(unreadable)
}

fn unreadable(why: impl Display) -> String {
    format!("the stored state of alerts cannot be read: {why}")
}

type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Policy {
    /// Rows that changed since the last call.
    pub(super) fn changed_rows(&mut self, out: &mut Rows) {
        let mut dirty = std::mem::take(&mut self.dirty);
        out.extend(dirty.unwanted.drain(..).map(|key| (key, None)));
        let run = Run { began: self.began, reached: self.reached, order: self.order };
        if dirty.run.as_ref() != Some(&run) {
            out.push((key(kind::RUN, ""), Some(bytes(&run))));
        }
        if dirty.last_silence != Some(self.silences.last) {
            out.push((key(kind::COUNTER, "silences"), Some(bytes(&self.silences.last))));
        }
        self.dirty = Dirty { run: Some(run), last_silence: Some(self.silences.last), ..Dirty::default() };
        for id in dirty.silences {
            let row = self.silences.get(id).map(|silence| bytes(&silence_row(silence)));
            out.push((key(kind::SILENCE, id), row));
        }
        for rate in dirty.rates {
            let Some(receiver) = self.receivers.get(rate.receiver) else { continue };
            let alert = rate.alert.and_then(|alert| self.alerts.get(alert)).map_or("", |alert| &alert.name);
            out.push((key(kind::RATE, format_args!("{alert}/{}", receiver.name)), self.rates.get(&rate).map(bytes)));
        }
        for receiver in dirty.summaries {
            let Some(party) = self.receivers.get(receiver) else { continue };
            out.push((key(kind::SUMMARY, &party.name), self.summaries.get(&receiver).map(bytes)));
        }
        for id in dirty.groups {
            let row = self.groups.get(&id).and_then(|group| self.group_row(group)).map(|row| bytes(&row));
            out.push((key(kind::GROUP, format_args!("{id:032x}")), row));
        }
        for who in dirty.instances {
            let row = self.instances.get(&who).map(|instance| bytes(&self.instance_row(instance)));
            out.push((key(kind::KEY, format_args!("{who:016x}")), row));
        }
        out.extend(self.history.gone.drain(..).map(|gone| (history_key(gone), None)));
        for id in std::mem::take(&mut self.history.changed) {
            out.push((history_key(id), self.history.get(id).map(bytes)));
        }
        self.history.stored = self.history.next();
    }

    fn receiver_of(&self, alert: usize, target: usize) -> Option<Arc<str>> {
        let target = self.alerts.get(alert)?.targets.get(target)?;
        self.receivers.get(target.receiver).map(|party| party.name.clone())
    }

    fn group_row(&self, group: &Group) -> Option<GroupRow> {
        let lanes = group.lanes.iter().enumerate().filter_map(|(target, lane)| {
            let waits = lane.gather.and_then(|key| Some(Waits::of(key, self.gathers.get(&key)?)));
            Some((self.receiver_of(group.alert, target)?, lane.clone(), waits))
        });
        Some(GroupRow {
            alert: self.alerts.get(group.alert)?.name.clone(),
            labels: group.labels.clone(),
            key: group.key.clone(),
            born: group.born,
            lanes: lanes.collect(),
        })
    }

    fn instance_row(&self, instance: &Instance) -> InstanceRow {
        let known = instance
            .known
            .iter()
            .enumerate()
            .filter_map(|(target, known)| Some((self.receiver_of(instance.alert, target)?, known.clone()?)));
        InstanceRow {
            told: instance.told.clone(),
            since: instance.since,
            pending: instance.pending,
            group: instance.group,
            known: known.collect(),
            acknowledged: instance.acknowledged.clone(),
            too_old: instance.too_old,
            entry: instance.entry,
            fired_entry: instance.fired_entry,
        }
    }

    /// Takes rows back. What is of an alert or a receiver that the pipeline does not have any more is left out.
    pub(super) fn restore_rows(&mut self, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let (mut instances, mut history) = (Vec::new(), BTreeMap::new());
        let (mut groups, mut counts) = (Vec::new(), Vec::new());
        for (key, row) in rows {
            let name = std::str::from_utf8(&key).map_err(unreadable)?;
            let (kind, rest) = name.split_once('/').ok_or_else(|| unreadable(format!("`{name}` is no part of it")))?;
            let known = match kind {
                kind::RUN => {
                    let run: Run = read(&row)?;
                    (self.began, self.reached, self.order) = (run.began, run.reached, run.order);
                    self.dirty.run = Some(run);
                    true
                }
                kind::COUNTER => {
                    self.silences.last = read(&row)?;
                    self.dirty.last_silence = Some(self.silences.last);
                    true
                }
                kind::SILENCE => self.restore_silence(number(rest)?, read(&row)?)?,
                kind::HISTORY => {
                    history.insert(number(rest)?, read::<Entry>(&row)?);
                    true
                }
                // What these are of is known when all keys are.
                kind::RATE | kind::SUMMARY => {
                    counts.push((key, row));
                    continue;
                }
                kind::GROUP => {
                    groups.push((key, read::<GroupRow>(&row)?));
                    continue;
                }
                kind::KEY => {
                    instances.push((key, read::<InstanceRow>(&row)?));
                    continue;
                }
                _ => return Err(unreadable(format!("`{name}` is no part of it"))),
            };
            if !known {
                self.dirty.unwanted.push(key);
            }
        }
        history.into_iter().for_each(|(number, entry)| self.history.restore(number, entry));
        self.take_in(instances.iter().map(|(_, row)| row));
        self.restore_what_is_of_alerts(counts, groups)?;
        for (key, row) in instances {
            match self.place(&row.told.alert) {
                Some(alert) => self.restore_instance(alert, row),
                None => self.dirty.unwanted.push(key),
            }
        }
        let empty = self.groups.iter().filter(|(_, group)| group.members.is_empty());
        let empty: Vec<GroupId> = empty.map(|(id, _)| *id).collect();
        for id in empty {
            self.groups.remove(&id);
            self.dirty.groups.insert(id);
        }
        self.restore_timers();
        Ok(())
    }

    /// Counts and groups; those of alerts and receivers that are gone go.
    fn restore_what_is_of_alerts(
        &mut self,
        counts: Vec<(Vec<u8>, Vec<u8>)>,
        groups: Vec<(Vec<u8>, GroupRow)>,
    ) -> Result<(), String> {
        let rest = |key: &[u8]| String::from_utf8_lossy(key).split_once('/').map(|(k, r)| (k.to_owned(), r.to_owned()));
        for (key, row) in counts {
            let Some((kind, rest)) = rest(&key) else { continue };
            if !self.restore_count(&kind, &rest, &row)? {
                self.dirty.unwanted.push(key);
            }
        }
        for (key, row) in groups {
            let Some((_, id)) = rest(&key) else { continue };
            if !self.restore_group(&id, row)? {
                self.dirty.unwanted.push(key);
            }
        }
        Ok(())
    }

    fn restore_silence(&mut self, id: u64, row: SilenceRow) -> Result<bool, String> {
        let matchers = row.matchers.iter().map(|text| Matcher::parse(text)).collect::<Result<_, _>>();
        let matchers = matchers.map_err(unreadable)?;
        let SilenceRow { from, until, comment, by, .. } = row;
        self.timers.insert((until, 0, Timer::Silence(id)));
        self.silences.all.insert(id, Silence { matchers, from, until, comment, by });
        Ok(true)
    }

    /// Whether this pipeline has what is counted.
    fn restore_count(&mut self, kind: &str, rest: &str, row: &[u8]) -> Result<bool, String> {
        let (alert, receiver) = match rest.split_once('/') {
            Some(parts) if kind == kind::RATE => parts,
            _ => ("", rest),
        };
        let place = self.place(alert);
        let receiver = self.receivers.iter().position(|party| *party.name == *receiver);
        let Some(receiver) = receiver.filter(|_| alert.is_empty() || place.is_some()) else { return Ok(false) };
        if kind == kind::SUMMARY {
            self.summaries.insert(receiver, read(row)?);
        } else {
            self.rates.insert(RateKey { receiver, alert: place }, read(row)?);
        }
        Ok(true)
    }

    fn restore_group(&mut self, id: &str, row: GroupRow) -> Result<bool, String> {
        let id = GroupId::from_str_radix(id, 16).map_err(unreadable)?;
        let Some(alert) = self.place(&row.alert) else { return Ok(false) };
        let receivers = self.alerts.get(alert).map(|a| a.targets.iter().map(|t| t.receiver).collect::<Vec<_>>());
        let mut lanes = Vec::new();
        for (target, receiver) in receivers.unwrap_or_default().into_iter().enumerate() {
            let name = self.receiver_of(alert, target);
            let stored = row.lanes.iter().find(|(known, ..)| Some(known) == name.as_ref());
            // A receiver that is new is told of what fires.
            let fresh = || Lane { due: Some(self.started), ..Lane::default() };
            let mut lane = stored.map_or_else(fresh, |(_, lane, _)| lane.clone());
            if let Some((_, _, Some(waits))) = stored {
                let (key, gather) = waits.restored(receiver, alert);
                self.timers.insert((gather.due, gather.order, Timer::Gather(key)));
                self.gathers.entry(key).or_insert(gather).lanes.insert((id, target));
                lane.gather = Some(key);
            }
            lanes.push(lane);
        }
        let GroupRow { labels, key, born, .. } = row;
        self.groups.insert(id, Group { alert, labels, key, born, members: BTreeSet::new(), lanes });
        Ok(true)
    }

    fn restore_instance(&mut self, alert: usize, row: InstanceRow) {
        let targets = self.alerts.get(alert).map_or(0, |alert| alert.targets.len());
        let known = (0..targets).map(|target| {
            let name = self.receiver_of(alert, target)?;
            row.known.iter().find(|(known, _)| *known == name).map(|(_, known)| known.clone())
        });
        let (who, labels) = (row.told.fingerprint(), row.told.all_labels());
        let InstanceRow { told, since, pending, group, acknowledged, too_old, entry, fired_entry, .. } = row;
        let known = known.collect();
        let instance =
            Instance { alert, told, labels, since, group, known, acknowledged, too_old, entry, fired_entry, pending };
        if instance.fires() {
            self.inhibitions.add(&self.alerts, who, &instance);
        }
        if too_old {
            self.old.insert((alert, who));
        }
        if let Some(until) = instance.acknowledged.as_ref().and_then(|known| known.until) {
            self.timers.insert((until, 0, Timer::Acknowledged(who)));
        }
        if let Some(group) = instance.group.and_then(|id| self.groups.get_mut(&id)) {
            group.members.insert(who);
        }
        self.instances.insert(who, instance);
    }

    fn restore_timers(&mut self) {
        for (id, group) in &self.groups {
            for (target, lane) in group.lanes.iter().enumerate() {
                if let Some(due) = lane.due {
                    self.timers.insert((due, lane.order, Timer::Lane(*id, target)));
                }
            }
        }
        // What nobody is to be told of any more, because its receivers are gone, goes when it is next looked at.
        let over = self.instances.iter().filter(|(_, instance)| instance.is_over());
        let over: Vec<Fingerprint> = over.map(|(who, _)| *who).collect();
        over.into_iter().for_each(|who| self.settle(who, self.began));
    }

    /// Whether a row outlives a run that came to its end.
    pub(super) fn row_outlives(key: &[u8]) -> bool {
        let kinds = [kind::COUNTER, kind::SILENCE, kind::HISTORY];
        let kind = key.split(|byte| *byte == b'/').next().unwrap_or_default();
        kinds.iter().any(|outlives| outlives.as_bytes() == kind)
    }
}

fn silence_row(silence: &Silence) -> SilenceRow {
    SilenceRow {
        matchers: silence.matchers.iter().map(Matcher::to_string).collect(),
        from: silence.from,
        until: silence.until,
        comment: silence.comment.clone(),
        by: silence.by.clone(),
    }
}
