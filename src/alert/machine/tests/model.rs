//! A plain model of the machine: it keeps every row of a key, and works out each state from all of them anew.

use super::*;

/// A row as the model keeps it.
#[derive(Clone)]
pub struct Kept {
    pub time: i64,
    pub window: Option<(i64, i64)>,
    pub verdicts: Vec<Verdict>,
    /// What time had made of the key before it came.
    pub passed: i64,
}

impl Kept {
    fn before(&self) -> i64 {
        self.time.max(self.passed)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Waits,
    Fires,
}

/// What the rows say of one level.
#[derive(Clone, PartialEq, Debug)]
struct Leveled {
    phase: Phase,
    /// The begin of the run under way.
    run: Option<i64>,
    /// Of the run that made it fire.
    fired: Option<i64>,
}

/// The evidence of the rows from `start` on.
fn evidence(rows: &[Kept], level: usize, phase: Phase) -> Vec<Option<bool>> {
    let say = |row: &Kept| {
        let Verdict { when, clear } = row.verdicts[level];
        match phase {
            Phase::Waits => when,
            Phase::Fires if when == Some(true) => Some(false),
            Phase::Fires => clear,
        }
    };
    rows.iter().map(say).collect()
}

/// Rows or windows that count, each with whether it held and when it first did.
fn slots(rows: &[Kept], said: &[Option<bool>], hold: &Hold) -> Vec<(bool, i64)> {
    let told = rows.iter().zip(said);
    if !matches!(hold, Hold::Windows { .. }) {
        return told.filter_map(|(row, said)| said.map(|held| (held, row.time))).collect();
    }
    let mut slots: Vec<(i64, Vec<(bool, i64)>)> = Vec::new();
    for (row, said) in told {
        let number = row.window.unwrap().0.div_euclid(MINUTE);
        while slots.last().is_some_and(|(last, _)| last + 1 < number) {
            let next = slots.last().unwrap().0 + 1;
            slots.push((next, vec![(false, 0)]));
        }
        if slots.last().is_none_or(|(last, _)| *last < number) {
            slots.push((number, Vec::new()));
        }
        slots.last_mut().unwrap().1.extend(said.map(|held| (held, row.time)));
    }
    let merged = |rows: &[(bool, i64)]| rows.iter().find(|(held, _)| *held).or(rows.first()).copied();
    slots.iter().filter_map(|(_, rows)| merged(rows)).collect()
}

/// Whether the slots hold often enough; if so since when.
fn enough(slots: &[(bool, i64)], wanted: u32, of: u32) -> Option<i64> {
    let newest = &slots[slots.len().saturating_sub(of as usize)..];
    let held: Vec<i64> = newest.iter().filter(|(held, _)| *held).map(|(_, at)| *at).collect();
    (held.len() >= wanted as usize).then(|| held[0])
}

/// Of a span the first of the unbroken run.
fn begin_of_span(slots: &[(bool, i64)]) -> Option<i64> {
    slots.iter().rev().take_while(|(held, _)| *held).last().map(|(_, at)| *at)
}

/// The begin of the run under way: more rows that hold are put behind, until there are enough before it would be enough
/// without what has been.
fn begin(slots: &[(bool, i64)], hold: &Hold) -> Option<i64> {
    match *hold {
        Hold::None => None,
        Hold::Lasting(_) => begin_of_span(slots),
        Hold::Events { wanted, of } | Hold::Windows { wanted, of } => (1..wanted).find_map(|more| {
            let mut longer = slots.to_vec();
            longer.extend((0..more).map(|_| (true, i64::MAX)));
            enough(&longer, wanted, of).filter(|at| *at < i64::MAX)
        }),
    }
}

/// Whether the newest row completes it.
fn completes(rows: &[Kept], said: &[Option<bool>], hold: &Hold) -> Option<i64> {
    if said.last() != Some(&Some(true)) {
        return None;
    }
    let now = rows.last().unwrap().time;
    let slots = slots(rows, said, hold);
    match *hold {
        Hold::None => Some(now),
        Hold::Lasting(span) => begin_of_span(&slots).filter(|since| since + span.0 <= now),
        Hold::Events { wanted, of } | Hold::Windows { wanted, of } => enough(&slots, wanted, of),
    }
}

/// One level after all rows, and after time has passed until `now`.
fn leveled(rules: &Rules, rows: &[Kept], level: usize, now: Option<i64>) -> Leveled {
    let holds = &rules.levels[level];
    let (mut phase, mut start, mut fired) = (Phase::Waits, 0, None);
    let hold = |phase| if phase == Phase::Waits { &holds.hold } else { &holds.clear_hold };
    let run = |phase, rows: &[Kept]| begin(&slots(rows, &evidence(rows, level, phase), hold(phase)), hold(phase));
    let flip = |phase: &mut Phase, fired: &mut Option<i64>, since: i64| {
        (*phase, *fired) = if *phase == Phase::Waits { (Phase::Fires, Some(since)) } else { (Phase::Waits, None) };
    };
    for i in 0..=rows.len() {
        let until = rows.get(i).map(|row| row.before()).or(now);
        if let (true, Hold::Lasting(span), Some(since)) = (rules.sustain, hold(phase), run(phase, &rows[start..i]))
            && until.is_some_and(|until| since + span.0 <= until)
        {
            flip(&mut phase, &mut fired, since);
            start = i;
        }
        let Some(seen) = rows.get(start..=i) else { break };
        if let Some(since) = completes(seen, &evidence(seen, level, phase), hold(phase)) {
            flip(&mut phase, &mut fired, since);
            start = i + 1;
        }
    }
    Leveled { phase, run: run(phase, &rows[start..]), fired }
}

/// What the rows amount to.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    levels: Vec<Leveled>,
    silent: bool,
    last: i64,
}

impl Seen {
    fn of(rules: &Rules, rows: &[Kept], now: Option<i64>) -> Seen {
        let levels = (0..rules.levels.len()).map(|level| leveled(rules, rows, level, now)).collect();
        let last = rows.last().map_or(0, |row| row.time);
        let due = rules.no_data_after.filter(|_| !rows.is_empty()).map(|span| last + span.0);
        let silent = due.zip(now).is_some_and(|(due, now)| due <= now);
        Seen { levels, silent, last }
    }

    fn level(&self) -> Option<usize> {
        self.levels.iter().rposition(|level| level.phase == Phase::Fires)
    }

    fn fires(&self) -> bool {
        self.silent || self.level().is_some()
    }

    /// State, level and since.
    pub fn shown(&self) -> (State, Option<usize>, Option<i64>) {
        let fired: Vec<&Leveled> = self.levels.iter().filter(|level| level.phase == Phase::Fires).collect();
        let top = fired.last();
        if self.silent || fired.iter().any(|level| level.run.is_none()) {
            return (State::Firing, self.level(), top.map_or(Some(self.last), |level| level.fired));
        }
        if let Some(top) = top {
            return (State::Recovering, self.level(), top.run);
        }
        match self.levels.iter().rposition(|level| level.run.is_some()) {
            Some(level) => (State::Pending, Some(level), self.levels.iter().filter_map(|level| level.run).min()),
            None => (State::Inactive, None, None),
        }
    }
}

/// A change of firing.
#[derive(Clone, Copy)]
struct Edge {
    at: i64,
    level: Option<usize>,
    fires: bool,
}

/// Whether it flaps after these changes, and the level it had when it fired last.
fn flaps(rules: &Rules, edges: &[Edge], now: i64) -> Option<Option<usize>> {
    let Flapping { changes, within } = rules.flapping?;
    let (mut open, mut last) = (None, i64::MIN / 2);
    for (i, edge) in edges.iter().enumerate() {
        open = open.filter(|_| edge.at < last + within.0);
        let count = edges[..=i].iter().filter(|e| e.at > edge.at - within.0).count();
        if edge.fires && (open.is_some() || count > changes as usize) {
            open = Some(edge.level);
        }
        last = edge.at;
    }
    open.filter(|_| now < last + within.0)
}

/// What is shown, in order: when, the state, the level, and whether it is quiet.
pub type Line = (i64, State, Option<usize>, bool);

pub struct Model<'r> {
    rules: &'r Rules,
    pub rows: Vec<Kept>,
    pub seen: Seen,
    /// The last instant at which time changed something, since the newest row and ever.
    applied: Option<i64>,
    timed: Option<i64>,
    pub at: i64,
    edges: Vec<Edge>,
    /// How many of them there were when it became calm last.
    calmed: usize,
    /// While it flaps, the level that was told.
    told: Option<usize>,
    pub lines: Vec<Line>,
}

impl<'r> Model<'r> {
    pub fn new(rules: &'r Rules) -> Self {
        let seen = Seen::of(rules, &[], None);
        let (rows, edges, lines) = (Vec::new(), Vec::new(), Vec::new());
        Model { rules, rows, seen, applied: None, timed: None, at: i64::MIN, edges, calmed: 0, told: None, lines }
    }

    fn shown(&self, now: i64) -> (State, Option<usize>) {
        match flaps(self.rules, &self.edges, now) {
            Some(level) if !self.seen.fires() => (State::Recovering, level),
            _ => (self.seen.shown().0, self.seen.shown().1),
        }
    }

    /// Another state of things at `at`.
    fn change(&mut self, seen: Seen, at: i64) {
        let at = at.max(self.at);
        let (was, was_silent) = (self.shown(at), self.seen.silent);
        let open = flaps(self.rules, &self.edges, at).is_some();
        let turned = seen.fires() != self.seen.fires();
        self.seen = seen;
        if turned {
            self.edges.push(Edge { at, level: self.seen.level(), fires: self.seen.fires() });
        } else if let (true, Some(edge)) = (self.seen.fires(), self.edges.last_mut()) {
            edge.level = self.seen.level();
        }
        let now = self.shown(at);
        let level = now.0.fires() && was.1 != now.1;
        if was.0 != now.0 || level || was_silent != self.seen.silent && was.0.fires() {
            let worse = self.seen.fires() && self.seen.level() > self.told;
            if !open || worse {
                self.told = self.seen.level();
            }
            self.tell(was.0, now, at, open && !worse);
        }
    }

    fn tell(&mut self, was: State, (state, level): (State, Option<usize>), at: i64, quiet: bool) {
        self.at = at;
        if was.fires() && !state.fires() {
            self.lines.push((at, State::Resolved, None, quiet));
            if state == State::Inactive {
                return;
            }
        }
        if !was.fires() && state == State::Recovering {
            self.lines.push((at, State::Firing, level, quiet));
        }
        self.lines.push((at, state, level, quiet));
    }

    /// Every instant at which time may do something.
    fn instants(&self) -> Vec<i64> {
        let spans = self.rules.levels.iter().flat_map(|level| [level.hold, level.clear_hold]);
        let spans = spans.filter_map(|hold| if let Hold::Lasting(span) = hold { Some(span) } else { None });
        let spans: Vec<i64> = spans.chain(self.rules.no_data_after).map(|span| span.0).collect();
        let within = self.rules.flapping.map_or(0, |flapping| flapping.within.0);
        let mut instants: Vec<i64> = self.rows.iter().flat_map(|r| spans.iter().map(|s| r.time + s)).collect();
        instants.extend(self.edges.iter().map(|edge| edge.at + within));
        instants.sort_unstable();
        instants.dedup();
        instants
    }

    pub fn pass(&mut self, until: i64) {
        loop {
            let after = self.applied;
            let mut later = self.instants();
            later.retain(|i| after.is_none_or(|a| *i > a));
            // Calm has an end of its own, also where a revision has set the time of all else.
            later.extend(self.calm().map(|(at, _)| at));
            later.sort_unstable();
            let Some(now) = later.into_iter().filter(|i| *i <= until).find(|now| self.acts(*now)) else { return };
            (self.applied, self.timed) = (after.max(Some(now)), self.timed.max(Some(now)));
        }
    }

    /// While it flaps: when it is calm, and the level it had when it fired last.
    fn calm(&self) -> Option<(i64, Option<usize>)> {
        let last = self.edges.last().filter(|_| self.edges.len() > self.calmed)?;
        Some((last.at + self.rules.flapping?.within.0, flaps(self.rules, &self.edges, last.at)?))
    }

    /// What is due at an instant; whether anything was.
    fn acts(&mut self, now: i64) -> bool {
        let calm = self.calm().filter(|(at, _)| *at == now);
        if let Some((_, level)) = calm {
            let (state, fell, _) = self.seen.shown();
            let was = if self.seen.fires() { state } else { State::Recovering };
            let quiet = self.seen.fires() && self.told == level;
            self.tell(was, (state, fell), now.max(self.at), quiet);
            self.calmed = self.edges.len();
        }
        let seen = Seen::of(self.rules, &self.rows, Some(now));
        let differs = self.applied.is_none_or(|applied| now > applied) && seen != self.seen;
        if differs {
            self.change(seen, now);
        }
        differs || calm.is_some()
    }

    pub fn row(&mut self, row: Kept) {
        self.pass(row.time);
        let spoken = Seen { silent: false, ..self.seen.clone() };
        self.change(spoken, row.time);
        let time = row.time;
        self.rows.push(Kept { passed: self.timed.unwrap_or(i64::MIN), ..row });
        self.applied = None;
        self.change(Seen::of(self.rules, &self.rows, None), time);
    }

    pub fn revise(&mut self, verdicts: Vec<Verdict>) {
        let row = self.rows.last_mut().unwrap();
        row.verdicts = verdicts;
        let (time, timed) = (row.time, self.timed);
        self.applied = timed;
        self.change(Seen::of(self.rules, &self.rows, timed), time);
    }

    /// Whether it flaps.
    pub fn flaps(&self, now: i64) -> bool {
        flaps(self.rules, &self.edges, now.max(self.at)).is_some()
    }
}
