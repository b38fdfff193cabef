//! What the rows of a key amount to: each level with a state of its own, and what they show together.

use serde::{Deserialize, Serialize};

use super::rules::{Hold, Level, Rules, Window};
use super::run::Run;
use super::{Judged, State, Verdict};
use crate::base::time::Timestamp;

/// A level of one key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct LevelState {
    /// `Inactive`, `Pending`, `Firing` or `Recovering`.
    #[serde(default, rename = "s", skip_serializing_if = "State::is_inactive")]
    state: State,
    /// On the way to firing how far `when` has come, then how far clearing has.
    #[serde(default, rename = "r", skip_serializing_if = "is_empty")]
    run: Run,
    /// The begin of the run of `when` that made it fire.
    #[serde(default, rename = "b", skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// The begin of the run that cleared it last.
    #[serde(default, rename = "e", skip_serializing_if = "Option::is_none")]
    cleared: Option<Timestamp>,
}

fn is_empty(run: &Run) -> bool {
    *run == Run::default()
}

impl LevelState {
    fn fires(&self) -> bool {
        self.state.fires()
    }

    /// What it waits for: `for`, or once it fires `clear_for`.
    fn hold<'r>(&self, level: &'r Level) -> &'r Hold {
        if self.fires() { &level.clear_hold } else { &level.hold }
    }

    fn comes(&mut self, level: &Level, verdict: Verdict, time: Timestamp, (missing, again): (u32, bool)) {
        let hold = self.hold(level);
        self.run.comes(hold, missing, again);
        let held = match (self.fires(), verdict.when) {
            (false, held) => held,
            // Both hold: `when` wins.
            (true, Some(true)) => Some(false),
            (true, _) => verdict.clear,
        };
        match held {
            Some(true) => match self.run.holds(hold, time) {
                Some(since) => self.turn(since),
                None => self.progress(hold),
            },
            Some(false) => {
                self.run.fails(hold);
                self.progress(hold);
            }
            None => self.progress(hold),
        }
    }

    /// The state follows from whether the run has begun.
    fn progress(&mut self, hold: &Hold) {
        self.state = match (self.fires(), self.run.since(hold).is_some()) {
            (false, false) => State::Inactive,
            (false, true) => State::Pending,
            (true, false) => State::Firing,
            (true, true) => State::Recovering,
        };
    }

    /// What it waited for has come, after a run that began at `since`.
    fn turn(&mut self, since: Timestamp) {
        if self.fires() {
            self.state = State::Inactive;
            (self.since, self.cleared) = (None, Some(since));
        } else {
            self.state = State::Firing;
            (self.since, self.cleared) = (Some(since), None);
        }
        self.run = Run::default();
    }
}

/// The newest row of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Last {
    /// Its time.
    #[serde(rename = "t")]
    pub time: Timestamp,
    /// Its window.
    #[serde(default, rename = "w", skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// What a key amounts to, by its rows alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Core {
    #[serde(default, rename = "l", skip_serializing_if = "Vec::is_empty")]
    levels: Vec<LevelState>,
    #[serde(default, rename = "t", skip_serializing_if = "Option::is_none")]
    last: Option<Last>,
    /// Whether it has been silent for `no_data_after`.
    #[serde(default, rename = "q", skip_serializing_if = "std::ops::Not::not")]
    silent: bool,
}

/// What a key shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// `Firing` too while it is silent.
    pub state: State,
    /// The highest level that fires; none of silence alone; while pending the highest that is.
    pub level: Option<usize>,
    /// Whether it has been silent for `no_data_after`.
    pub silent: bool,
    /// The begin of the run that led to firing, or while pending of the one it is in. Of silence alone the last row.
    pub since: Option<Timestamp>,
    /// While recovering, the begin of the run it is in.
    pub clearing: Option<Timestamp>,
}

impl View {
    /// Firing or recovering.
    pub fn fires(&self) -> bool {
        self.state.fires()
    }
}

impl Core {
    /// The newest row.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// Rows are there again. Whether it was silent.
    pub fn speaks(&mut self) -> bool {
        std::mem::take(&mut self.silent)
    }

    /// Judges a row that is not older than the last.
    pub fn comes(&mut self, rules: &Rules, row: &Judged<'_>) {
        let last = self.last.and_then(|last| last.window).zip(row.window);
        let place = last.map_or((0, false), |(last, new)| (rules.grid.missing(last, new), last.0 == new.0));
        self.levels.resize_with(rules.levels.len(), LevelState::default);
        for ((state, level), verdict) in self.levels.iter_mut().zip(&rules.levels).zip(row.verdicts) {
            state.comes(level, *verdict, row.time, place);
        }
        self.last = Some(Last { time: row.time, window: row.window });
    }

    /// When time alone changes something next.
    pub fn due(&self, rules: &Rules) -> Option<Timestamp> {
        let complete = |(state, level): (&LevelState, &Level)| state.run.complete_at(state.hold(level));
        let sustained = self.levels.iter().zip(&rules.levels).filter(|_| rules.sustain).filter_map(complete).min();
        let silent = match (self.last, rules.no_data_after) {
            (Some(last), Some(span)) if !self.silent => Some(last.time.plus(span)),
            _ => None,
        };
        sustained.into_iter().chain(silent).min()
    }

    /// Does what is due at `now`.
    pub fn passes(&mut self, rules: &Rules, now: Timestamp) {
        for (state, level) in self.levels.iter_mut().zip(&rules.levels).filter(|_| rules.sustain) {
            let hold = *state.hold(level);
            if state.run.complete_at(&hold).is_some_and(|at| at <= now)
                && let Some(since) = state.run.since(&hold)
            {
                state.turn(since);
            }
        }
        if let (Some(last), Some(span)) = (self.last, rules.no_data_after) {
            self.silent |= last.time.plus(span) <= now;
        }
    }

    /// What the levels show together.
    pub fn view(&self, rules: &Rules) -> View {
        let levels = || self.levels.iter().zip(&rules.levels);
        let highest = |state: State| self.levels.iter().rposition(|level| level.state == state);
        let fired = highest(State::Firing).max(highest(State::Recovering));
        let (state, level) = match (self.silent || highest(State::Firing).is_some(), fired, highest(State::Pending)) {
            (true, fired, _) => (State::Firing, fired),
            (_, Some(fired), _) => (State::Recovering, Some(fired)),
            (.., Some(pending)) => (State::Pending, Some(pending)),
            _ => (State::Inactive, None),
        };
        let since = match (state, level) {
            (State::Pending, _) => levels().filter_map(|(state, level)| state.run.since(&level.hold)).min(),
            (_, Some(level)) => self.levels.get(level).and_then(|state| state.since),
            _ if self.silent => self.last.map(|last| last.time),
            _ => None,
        };
        let clearing = level.filter(|_| state == State::Recovering).and_then(|level| levels().nth(level));
        let clearing = clearing.and_then(|(state, level)| state.run.since(&level.clear_hold));
        View { state, level, silent: self.silent, since, clearing }
    }

    /// For what the level that is shown waits, and in how many rows or windows it held so far.
    pub fn waits(&self, rules: &Rules, shown: &View) -> Option<(Hold, u32)> {
        if !matches!(shown.state, State::Pending | State::Recovering) {
            return None;
        }
        let (state, level) = self.levels.iter().zip(&rules.levels).nth(shown.level?)?;
        Some((*state.hold(level), state.run.count()))
    }

    /// The begin of the run that cleared a level.
    pub fn cleared(&self, level: Option<usize>) -> Option<Timestamp> {
        self.levels.get(level?).and_then(|state| state.cleared)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        !self.silent && self.levels.iter().all(|level| level.state == State::Inactive)
    }
}
