//! The state of an alert for one key: rows are judged in event-time order, and what comes of it are transitions.
//!
//! # What holds
//! * `for: 2m` is complete at the first row at least 2m after the first row of an unbroken run of rows in which `when`
//!   holds. A row in which it does not breaks the run, a gap does not, and a condition that reads null leaves the state as
//!   it is. `3 events` counts rows, `2 windows` windows that follow each other: a window without a row is one in which
//!   nothing held; of several rows of a window one is enough. What counted is used up when it fires or resolves.
//! * `clear_for` is the same of rows that clear: `clear_when` holds, and `when` does not. A row that says neither stays,
//!   and breaks what has begun to clear.
//! * With `sustain`, time completes a span without a row, of `for` and of `clear_for`: who reports only what changes says
//!   no more until it changes again.
//! * Levels run beside each other; the highest that fires is the severity, and the alert is resolved when none does.
//! * A key that was silent for `no_data_after` fires, whatever its levels say; the next row ends that first, and is then
//!   judged like any other. A run goes on over a silence as over any gap.
//! * While it flaps, an alert stays open: what would resolve it shows as recovering, quietly, and it resolves when nothing
//!   has changed for so long. It is told that it flaps when it fires once too often, and again only if it becomes more severe.
//! * A revision of the newest row is judged as if that row had not been judged before; what it changes is a transition of
//!   its own. Older rows are not judged.
//! * What is due at an instant happens before the rows of that instant, and no row is judged before what is due by then: how
//!   often time is told to pass does not show.

mod core;
mod flaps;
mod rules;
mod run;

use serde::{Deserialize, Serialize};

use self::core::{Core, View};
use self::flaps::Flaps;
pub use self::rules::{Flapping, Grid, Hold, Level, Rules, Window};
use crate::base::time::Timestamp;

/// What a row says of a level; `None` is what a condition that reads null says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Whether `when` holds.
    pub when: Option<bool>,
    /// Whether `clear_when` holds; of an alert without one, whether `when` does not.
    pub clear: Option<bool>,
}

/// A row with what it says.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Its event time.
    pub time: Timestamp,
    /// The window it comes from.
    pub window: Option<Window>,
    /// Whether it is a later revision of its window's row.
    pub revision: bool,
    /// What it says of each level.
    pub verdicts: &'a [Verdict],
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was judged.
    Judged,
    /// It is older than the last row that was judged, and was not.
    Older,
}

/// Where an alert stands for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum State {
    /// `when` does not hold, or has never been known to.
    #[default]
    #[serde(rename = "i")]
    Inactive,
    /// `when` holds, not yet long enough.
    #[serde(rename = "p")]
    Pending,
    /// It calls.
    #[serde(rename = "f")]
    Firing,
    /// It fires still, and has begun to clear.
    #[serde(rename = "c")]
    Recovering,
    /// It fires no more. What comes next comes as after `Inactive`.
    #[serde(rename = "r")]
    Resolved,
}

impl State {
    /// As transitions spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
            State::Recovering => "recovering",
            State::Resolved => "resolved",
        }
    }

    /// Firing or recovering.
    pub fn fires(self) -> bool {
        matches!(self, State::Firing | State::Recovering)
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
    fn is_inactive(&self) -> bool {
        *self == State::Inactive
    }
}

/// Why a transition was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// `when` holds: it began to, or for long enough.
    When,
    /// `clear_when` holds: it began to, or for long enough.
    Clear,
    /// The run that was needed broke: pending became inactive, recovering firing.
    Broken,
    /// Another level is the highest that fires.
    Level,
    /// No row came for `no_data_after`.
    NoData,
    /// A row came after that.
    Data,
    /// It fired once too often.
    Flapping,
    /// It has not changed for so long that it flaps no more.
    Calm,
    /// A revision of a row took back what the row said.
    Revised,
}

impl Reason {
    /// As transitions spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::When => "when",
            Reason::Clear => "clear",
            Reason::Broken => "broken",
            Reason::Level => "level",
            Reason::NoData => "no_data",
            Reason::Data => "data",
            Reason::Flapping => "flapping",
            Reason::Calm => "calm",
            Reason::Revised => "revised",
        }
    }
}

/// A change of what an alert shows for a key. `state` and `was` are equal where something else changed: the level, silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// What it shows now.
    pub state: State,
    /// What it showed before; `Inactive` after a resolve.
    pub was: State,
    /// The highest level that fires or, while pending, is pending; none of silence alone, and once resolved.
    pub level: Option<usize>,
    /// The level before, likewise.
    pub was_level: Option<usize>,
    /// Why.
    pub reason: Reason,
    /// The event time of the row, or the instant at which something was due; never before the transition before.
    pub at: Timestamp,
    /// The begin of the unbroken run that led here. Of silence the last row.
    pub since: Timestamp,
    /// When it fired, if it has.
    pub fired_at: Option<Timestamp>,
    /// 1, 2, … for each key.
    pub number: u64,
    /// It flaps: this is recorded, not told.
    pub quiet: bool,
    /// Made by time, before the row that is being judged if any: what was judged last is the row before.
    pub timed: bool,
}

/// Where an alert stands for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it shows.
    pub state: State,
    /// The highest level that fires or, while pending, is pending.
    pub level: Option<usize>,
    /// The begin of the run that led here or, while pending or recovering, of the one it is in.
    pub since: Option<Timestamp>,
    /// While it fires, since when.
    pub fired_at: Option<Timestamp>,
    /// Whether it has been silent for `no_data_after`.
    pub silent: bool,
    /// The time of the newest row that was judged.
    pub last: Option<Timestamp>,
    /// While pending or recovering, for what that level waits, and in how many rows or windows it held so far.
    pub waits: Option<(Hold, u32)>,
}

/// The state of an alert for one key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    #[serde(rename = "c")]
    core: Core,
    /// The core before the newest row was judged, if that can be revised.
    #[serde(default, rename = "b", skip_serializing_if = "Option::is_none")]
    before: Option<Box<Core>>,
    /// The last instant at which time alone changed something.
    #[serde(default, rename = "t", skip_serializing_if = "Option::is_none")]
    timed: Option<Timestamp>,
    /// When the last transition was made.
    #[serde(default, rename = "a", skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(default, rename = "f", skip_serializing_if = "Option::is_none")]
    fired_at: Option<Timestamp>,
    #[serde(default, rename = "n")]
    number: u64,
    #[serde(default, rename = "x", skip_serializing_if = "Option::is_none")]
    flaps: Option<Box<Flaps>>,
}

/// What made a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Row,
    Revision,
    Time,
    Calm,
}

impl Machine {
    /// Judges a row.
    pub fn judge(&mut self, rules: &Rules, row: &Judged<'_>, out: &mut Vec<Transition>) -> Outcome {
        let last = self.core.last();
        if row.revision
            && let (Some(last), Some(new)) = (last.and_then(|last| last.window), row.window)
            && rules.grid.is_same(last, new)
        {
            self.revise(rules, row, out);
            return Outcome::Judged;
        }
        if last.is_some_and(|last| row.time < last.time) {
            return Outcome::Older;
        }
        self.advance(rules, row.time, out);
        self.before = row.window.map(|_| Box::new(self.core.clone()));
        let was = self.core.view(rules);
        if self.core.speaks() {
            self.show(rules, was, row.time, By::Row, out);
        }
        let was = self.core.view(rules);
        self.core.comes(rules, row);
        self.show(rules, was, row.time, By::Row, out);
        Outcome::Judged
    }

    /// The watermark passes. The end of the input, [`Timestamp::MAX`], is no time that passes.
    pub fn advance(&mut self, rules: &Rules, watermark: Timestamp, out: &mut Vec<Transition>) {
        while let Some(now) = self.due(rules).filter(|due| *due <= watermark && watermark < Timestamp::MAX) {
            let was = self.core.view(rules);
            self.timed = self.timed.max(Some(now));
            if self.calm_at(rules) == Some(now) {
                self.calm(was, now, out);
            } else {
                self.core.passes(rules, now);
                self.show(rules, was, now, By::Time, out);
            }
        }
    }

    /// The earliest watermark at which [`Machine::advance`] does something.
    pub fn due(&self, rules: &Rules) -> Option<Timestamp> {
        self.core.due(rules).into_iter().chain(self.calm_at(rules)).min()
    }

    /// Whether it may be forgotten once no older row is let through: nothing is pending or fires, no silence would be
    /// noticed, no changes count. One that is made anew for the key counts its transitions from 1 again.
    pub fn is_idle(&self, rules: &Rules, watermark: Timestamp) -> bool {
        let calm = || match (rules.flapping, &self.flaps) {
            (Some(flapping), Some(flaps)) => flaps.is_calm(flapping, watermark),
            _ => true,
        };
        self.core.is_idle() && rules.no_data_after.is_none() && calm()
    }

    /// Whether nothing is pending, fires or recovers. What it counts of its changes may still matter.
    pub fn is_well(&self) -> bool {
        self.core.is_idle() && self.flaps.as_ref().is_none_or(|flaps| flaps.open().is_none())
    }

    /// The time of the newest row that was judged.
    pub fn last(&self) -> Option<Timestamp> {
        self.core.last().map(|last| last.time)
    }

    /// Where it stands.
    pub fn standing(&self, rules: &Rules) -> Standing {
        let view = self.shown(self.core.view(rules));
        let fired_at = self.fired_at.filter(|_| view.fires());
        let waits = self.core.waits(rules, &view);
        let (silent, last) = (view.silent, self.core.last().map(|last| last.time));
        Standing {
            state: view.state,
            level: view.level,
            since: view.clearing.or(view.since),
            fired_at,
            silent,
            last,
            waits,
        }
    }

    /// The number of its last transition; 0 of one that has made none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Judges the newest row again, from where it was judged first.
    fn revise(&mut self, rules: &Rules, row: &Judged<'_>, out: &mut Vec<Transition>) {
        let was = self.core.view(rules);
        if let Some(before) = &self.before {
            self.core = Core::clone(before);
        }
        self.pass_unseen(rules, row.time);
        self.core.speaks();
        self.core.comes(rules, row);
        if let Some(timed) = self.timed {
            self.pass_unseen(rules, timed);
        }
        self.show(rules, was, row.time, By::Revision, out);
    }

    fn pass_unseen(&mut self, rules: &Rules, until: Timestamp) {
        while let Some(now) = self.core.due(rules).filter(|due| *due <= until) {
            self.core.passes(rules, now);
        }
    }

    fn calm_at(&self, rules: &Rules) -> Option<Timestamp> {
        self.flaps.as_ref()?.calm_at(rules.flapping?)
    }

    /// What is shown of what the rows amount to: while it flaps, one that does not fire recovers.
    fn shown(&self, view: View) -> View {
        match self.flaps.as_ref().and_then(|flaps| flaps.open()) {
            Some(level) if !view.fires() => {
                let clearing = self.core.cleared(level).or_else(|| self.flaps.as_ref()?.last());
                View { state: State::Recovering, level, clearing, ..View::default() }
            }
            _ => view,
        }
    }

    /// It flaps no more.
    fn calm(&mut self, view: View, at: Timestamp, out: &mut Vec<Transition>) {
        let (was, at) = (self.shown(view), at.max(self.at.unwrap_or(at)));
        let Some(told) = self.flaps.as_mut().and_then(|flaps| flaps.close()) else { return };
        if view.fires() {
            // Its state is known; a level that it fell to quietly is not.
            let since = view.clearing.or(view.since);
            let change = Change { state: view.state, level: view.level, reason: Reason::Calm, since };
            self.push(was, change, At { at, quiet: told == view.level, timed: true }, out);
        } else {
            self.differ(was, view, at, By::Calm, false, out);
        }
    }

    /// Makes the transitions from what the rows amounted to before.
    fn show(&mut self, rules: &Rules, was: View, at: Timestamp, by: By, out: &mut Vec<Transition>) {
        let view = self.core.view(rules);
        if was == view {
            return;
        }
        let (shown, at) = (self.shown(was), at.max(self.at.unwrap_or(at)));
        let open = self.flaps.as_ref().is_some_and(|flaps| flaps.open().is_some());
        if was.fires() != view.fires()
            && let Some(flapping) = rules.flapping
        {
            self.flaps.get_or_insert_default().changed(flapping, at, view.fires(), view.level);
        }
        let worse = self.flaps.as_mut().is_some_and(|flaps| view.fires() && flaps.is_worse(view.level));
        self.differ(shown, self.shown(view), at, by, open && !worse, out);
    }

    /// Makes the transitions from one thing shown to another.
    fn differ(&mut self, was: View, now: View, at: Timestamp, by: By, quiet: bool, out: &mut Vec<Transition>) {
        let when = At { at, quiet, timed: matches!(by, By::Time | By::Calm) };
        let (state, level) = (now.state, now.level);
        let mut push = |machine: &mut Self, was: View, state: State, reason: Reason, since: Option<Timestamp>| {
            machine.push(was, Change { state, level, reason, since }, when, out);
        };
        match (was.fires(), now.fires()) {
            (false, true) => {
                self.fired_at = Some(at);
                let flaps = self.flaps.as_ref().is_some_and(|flaps| flaps.open().is_some());
                let reason = match level {
                    _ if flaps => Reason::Flapping,
                    None => Reason::NoData,
                    Some(_) => Reason::When,
                };
                push(self, was, State::Firing, reason, now.since);
                if state == State::Recovering {
                    let fired = View { state: State::Firing, ..now };
                    push(self, fired, state, Reason::Clear, now.clearing);
                }
            }
            (true, true) => {
                if let Some(reason) = still_firing(&was, &now) {
                    let since = match reason {
                        Reason::NoData => self.core.last().map(|last| last.time),
                        _ => now.clearing.or(now.since),
                    };
                    push(self, was, state, reason, since);
                }
            }
            (true, false) => {
                let (reason, since) = match by {
                    By::Calm => (Reason::Calm, self.flaps.as_ref().and_then(|flaps| flaps.last())),
                    By::Revision => (Reason::Revised, None),
                    _ if was.silent && was.level.is_none() => (Reason::Data, None),
                    _ => (Reason::Clear, self.core.cleared(was.level)),
                };
                let resolved = Change { state: State::Resolved, level: None, reason, since };
                self.push(was, resolved, when, out);
                if state == State::Pending {
                    let change = Change { state, level, reason: Reason::When, since: now.since };
                    self.push(View::default(), change, when, out);
                }
            }
            (false, false) if was.state != state => {
                let reason = match (state, by) {
                    (State::Pending, _) => Reason::When,
                    (_, By::Revision) => Reason::Revised,
                    _ => Reason::Broken,
                };
                push(self, was, state, reason, now.since);
            }
            (false, false) => {}
        }
    }

    fn push(&mut self, was: View, change: Change, when: At, out: &mut Vec<Transition>) {
        self.number += 1;
        self.at = Some(when.at);
        let Change { state, level, reason, since } = change;
        let fired = state.fires() || state == State::Resolved;
        out.push(Transition {
            state,
            was: was.state,
            level,
            was_level: was.level,
            reason,
            at: when.at,
            since: since.unwrap_or(when.at),
            fired_at: self.fired_at.filter(|_| fired),
            number: self.number,
            quiet: when.quiet,
            timed: when.timed,
        });
    }
}

/// What a transition says.
struct Change {
    state: State,
    level: Option<usize>,
    reason: Reason,
    since: Option<Timestamp>,
}

/// How it came about.
#[derive(Clone, Copy)]
struct At {
    at: Timestamp,
    quiet: bool,
    timed: bool,
}

/// Why what fires shows otherwise than before, if it does.
fn still_firing(was: &View, now: &View) -> Option<Reason> {
    Some(match (was.silent, now.silent) {
        (false, true) => Reason::NoData,
        (true, false) => Reason::Data,
        _ if was.level.is_none() && now.level.is_some() => Reason::When,
        _ if was.level != now.level => Reason::Level,
        _ if was.state == now.state => return None,
        _ if now.state == State::Recovering => Reason::Clear,
        _ => Reason::Broken,
    })
}

#[cfg(test)]
mod tests;
