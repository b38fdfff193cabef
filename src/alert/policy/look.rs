//! How an alert stands to one of its receivers: what there is to tell, or what keeps it back.

use super::Policy;
use super::group::GroupId;
use super::instance::{Fingerprint, Instance};
use super::row::Why;
use crate::base::time::Timestamp;

/// One key as one receiver should see it.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// The receiver does not know.
    News(Why),
    /// It knows that this fires.
    Known,
    /// It is over, and the receiver does not want to be told so.
    Unwanted,
    /// It is not told, for a reason.
    Held(Hold),
    /// There is nothing to tell.
    Nothing,
}

/// What keeps something that fires from being told.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Hold {
    /// This silence does.
    Silenced(u64),
    /// This does, because it fires.
    Inhibited(Fingerprint),
    /// Somebody knows.
    Acknowledged,
    /// It was too old when it came.
    TooOld,
    /// No route takes its severity.
    NotTaken,
}

/// A group as one receiver should see it.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) seen: Vec<Seen>,
    pub(super) unwanted: Vec<Fingerprint>,
    /// What waited to be told, and is kept back now.
    pub(super) held: Vec<(Fingerprint, Hold)>,
    /// The reason of a notification, if there is news.
    pub(super) why: Option<Why>,
    /// Whether something that fires is news.
    pub(super) fires_anew: bool,
    /// Whether something fires that the receiver knows of and nobody acknowledged.
    pub(super) repeats: bool,
}

/// What a notification has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) who: Fingerprint,
    /// Whether it fires, for this receiver.
    pub(super) fires: bool,
    pub(super) news: Option<Why>,
}

impl Look {
    /// Leaves out what fires anew: nobody is to be told of it.
    pub(super) fn without_new_firings(&mut self) {
        self.seen.retain(|seen| !seen.fires || seen.news.is_none());
        self.fires_anew = false;
        self.why = self.seen.iter().filter_map(|seen| seen.news).max();
    }
}

impl Policy {
    /// How a key stands to the target at a place of its alert.
    pub(super) fn view(&self, who: Fingerprint, instance: &Instance, target: usize, now: Timestamp) -> View {
        let Some(alert) = self.alerts.get(instance.alert) else { return View::Nothing };
        let Some(receiver) = alert.targets.get(target) else { return View::Nothing };
        let known = instance.known.get(target).and_then(Option::as_ref);
        let severity = &instance.told.severity;
        if !instance.fires() || !receiver.takes(severity) {
            // For one that is not told of this severity it is over, too.
            return match known {
                Some(known) if receiver.resolves(&known.severity) => View::News(Why::Resolved),
                Some(_) => View::Unwanted,
                None if instance.fires() => View::Held(Hold::NotTaken),
                None => View::Nothing,
            };
        }
        let same_firing = known.is_some_and(|known| known.fired_at == instance.told.fired_at);
        let same = same_firing && known.is_some_and(|known| known.severity == *severity);
        if instance.too_old && !same {
            return View::Held(Hold::TooOld);
        }
        if let Some(silence) = self.silences.of(instance, now) {
            return View::Held(Hold::Silenced(silence));
        }
        if let Some(source) = self.inhibitions.of(&self.alerts, who, instance) {
            return View::Held(Hold::Inhibited(source));
        }
        match (same, &instance.acknowledged) {
            (true, _) => View::Known,
            (false, Some(_)) => View::Held(Hold::Acknowledged),
            (false, None) if same_firing => View::News(Why::Changed),
            (false, None) => View::News(Why::New),
        }
    }

    /// A group as the target at this place should see it.
    pub(super) fn look(&self, group: GroupId, target: usize, now: Timestamp) -> Look {
        let mut look = Look::default();
        let alert = self.groups.get(&group).and_then(|group| self.alerts.get(group.alert));
        let receiver = alert.and_then(|alert| self.receivers.get(alert.targets.get(target)?.receiver));
        let receiver = receiver.map_or("", |party| &party.name);
        let members = self.groups.get(&group).into_iter().flat_map(|group| &group.members);
        for who in members.copied() {
            let Some(instance) = self.instances.get(&who) else { continue };
            match self.view(who, instance, target, now) {
                View::News(why) => {
                    let fires = why != Why::Resolved;
                    look.fires_anew |= fires;
                    look.repeats |= fires;
                    look.why = look.why.max(Some(why));
                    look.seen.push(Seen { who, fires, news: Some(why) });
                }
                View::Known => {
                    look.repeats |= instance.acknowledged.is_none();
                    look.seen.push(Seen { who, fires: true, news: None });
                }
                View::Unwanted => look.unwanted.push(who),
                View::Held(hold) => {
                    if self.history.get(instance.entry).is_some_and(|entry| entry.waits(receiver)) {
                        look.held.push((who, hold));
                    }
                }
                View::Nothing => {}
            }
        }
        look
    }
}
