//! The machine against the model, and against itself.

use proptest::prelude::*;

use super::model::{Kept, Line, Model};
use super::*;

/// What comes to a machine.
#[derive(Clone, Debug)]
enum Input {
    Row(Row),
    Revision(Vec<char>),
    /// The watermark passes by so many seconds.
    Pass(i64),
}

#[derive(Clone, Debug)]
struct Row {
    /// Seconds after the watermark; less than none is late.
    after: i64,
    verdicts: Vec<char>,
}

fn holds(windows: bool) -> impl Strategy<Value = Hold> {
    let some = (1u32..5).prop_flat_map(|of| (1..=of, Just(of)));
    prop_oneof![
        2 => Just(Hold::None),
        3 => (1i64..5).prop_map(|n| Hold::Lasting(TimeSpan(n * MINUTE))),
        3 => some.prop_map(move |(wanted, of)| {
            if windows { Hold::Windows { wanted, of } } else { Hold::Events { wanted, of } }
        }),
    ]
}

fn rules(windows: bool) -> impl Strategy<Value = Rules> {
    let level = (holds(windows), holds(windows));
    let level = level.prop_map(|(hold, clear_hold)| Level { name: "level".to_owned(), hold, clear_hold });
    let span = |n: i64| TimeSpan(n * MINUTE);
    let flapping = (1u32..5, 2i64..12).prop_map(move |(changes, n)| Flapping { changes, within: span(n) });
    let silent = (2i64..9).prop_map(span);
    let parts = (prop::collection::vec(level, 1..4), any::<bool>());
    (parts, prop::option::of(silent), prop::option::of(flapping)).prop_map(
        move |((levels, sustain), no_data_after, flapping)| Rules {
            levels,
            sustain,
            no_data_after,
            flapping,
            grid: Grid::Step(span(1)),
        },
    )
}

fn verdicts() -> impl Strategy<Value = Vec<char>> {
    // Mostly the same for each level, so that runs are long enough.
    let one = prop::sample::select("++++----=!?nc".chars().collect::<Vec<_>>());
    prop_oneof![
        2 => one.clone().prop_map(|c| vec![c; 3]),
        1 => prop::collection::vec(one, 3),
    ]
}

fn inputs(revised: bool, late: bool) -> impl Strategy<Value = Vec<Input>> {
    let row = (if late { -2i64..4 } else { 0i64..4 }, verdicts());
    let input = prop_oneof![
        8 => row.prop_map(|(after, verdicts)| Input::Row(Row { after, verdicts })),
        2 => (0i64..400).prop_map(Input::Pass),
        if revised { 2 } else { 0 } => verdicts().prop_map(Input::Revision),
    ];
    prop::collection::vec(input, 1..24)
}

/// A machine with what it is told, and the clock of its stream.
struct Told<'r> {
    rules: &'r Rules,
    machine: Machine,
    watermark: i64,
    window: Option<(i64, i64)>,
    last: i64,
    windows: bool,
}

impl<'r> Told<'r> {
    fn new(rules: &'r Rules, windows: bool) -> Self {
        Told { rules, machine: Machine::default(), watermark: 0, window: None, last: 0, windows }
    }

    /// The next row: none is older than the last; some are of the last window again.
    fn next(&mut self, row: &Row) -> Kept {
        let verdicts = row.verdicts.iter().copied().map(verdict).collect();
        if self.windows {
            let number = self.window.map_or(0, |(start, _)| start / MINUTE) + row.after.max(0);
            self.window = Some((number * MINUTE, (number + 1) * MINUTE));
            self.last = self.last.max((number + 1) * MINUTE - 1);
        } else {
            self.last = self.last.max(self.watermark + row.after * MINUTE / 2);
        }
        Kept { time: self.last, window: self.window, verdicts, passed: 0 }
    }

    fn judge(&mut self, row: &Kept, revision: bool, out: &mut Vec<Transition>) {
        let window = row.window.map(|(start, end)| (Timestamp(start), Timestamp(end)));
        let judged = Judged { time: Timestamp(row.time), window, revision, verdicts: &row.verdicts };
        assert_eq!(self.machine.judge(self.rules, &judged, out), Outcome::Judged);
    }

    /// Time passes, and the machine is stored and read.
    fn pass(&mut self, out: &mut Vec<Transition>) {
        self.machine.advance(self.rules, Timestamp(self.watermark), out);
        assert!(self.machine.due(self.rules).is_none_or(|due| due.0 > self.watermark));
        let stored = rmp_serde::to_vec_named(&self.machine).unwrap();
        self.machine = rmp_serde::from_slice(&stored).unwrap();
    }
}

fn agrees(rules: &Rules, windows: bool, inputs: &[Input]) -> Result<(), TestCaseError> {
    let (mut told, mut model, mut out) = (Told::new(rules, windows), Model::new(rules), Vec::new());
    for input in inputs {
        match input {
            Input::Row(row) => {
                let row = told.next(row);
                told.judge(&row, false, &mut out);
                model.row(row);
            }
            Input::Revision(verdicts) => {
                let Some(last) = model.rows.last().cloned() else { continue };
                let verdicts: Vec<Verdict> = verdicts.iter().copied().map(verdict).collect();
                told.judge(&Kept { verdicts: verdicts.clone(), ..last }, true, &mut out);
                model.revise(verdicts);
            }
            Input::Pass(seconds) => told.watermark += seconds * 1_000_000,
        }
        told.pass(&mut out);
        model.pass(told.watermark);
        let lines: Vec<Line> = out.iter().map(|t| (t.at.0, t.state, t.level, t.quiet)).collect();
        prop_assert_eq!(&lines, &model.lines);
        let standing = told.machine.standing(rules);
        let (state, level, since) = model.seen.shown();
        if !model.flaps(told.watermark) {
            prop_assert_eq!((standing.state, standing.level), (state, level));
            prop_assert_eq!(standing.since.map(|since| since.0), since);
        }
    }
    holds_together(&out)
}

/// What is true of any transitions of a key.
fn holds_together(out: &[Transition]) -> Result<(), TestCaseError> {
    let (mut state, mut at, mut fired_at) = (State::Inactive, i64::MIN, None);
    for (number, t) in (1..).zip(out) {
        prop_assert_eq!(t.number, number);
        prop_assert_eq!(t.was, state);
        prop_assert!(at <= t.at.0 && t.since <= t.at);
        if t.state.fires() && !t.was.fires() {
            prop_assert_eq!(t.state, State::Firing);
            fired_at = Some(t.at);
        }
        let ever = t.state.fires() || t.state == State::Resolved;
        prop_assert_eq!(t.fired_at, fired_at.filter(|_| ever));
        prop_assert_eq!(t.state == State::Resolved, t.was.fires() && !t.state.fires());
        (state, at) = (if t.state == State::Resolved { State::Inactive } else { t.state }, t.at.0);
    }
    Ok(())
}

proptest! {
    #[test]
    fn rows_are_judged_as_the_model_does(rules in rules(false), inputs in inputs(false, true)) {
        agrees(&rules, false, &inputs)?;
    }

    #[test]
    fn windows_and_their_revisions_are_judged_as_the_model_does(rules in rules(true), inputs in inputs(true, false)) {
        agrees(&rules, true, &inputs)?;
    }

    /// How often time is told to pass does not show, nor does forgetting an idle key, but in its numbers.
    #[test]
    fn neither_the_pace_of_time_nor_forgetting_shows(rules in rules(false), inputs in inputs(false, false)) {
        let (mut often, mut seldom) = (Told::new(&rules, false), Told::new(&rules, false));
        let (mut forgets, mut outs) = (Told::new(&rules, false), [const { Vec::new() }; 3]);
        for input in &inputs {
            match input {
                Input::Row(row) => {
                    let row = often.next(row);
                    // In event-time order: the watermark is not beyond a row that comes.
                    for (told, out) in [&mut often, &mut seldom, &mut forgets].into_iter().zip(&mut outs) {
                        told.judge(&row, false, out);
                    }
                }
                Input::Pass(seconds) => often.watermark += seconds * 1_000_000,
                Input::Revision(_) => {}
            }
            forgets.watermark = often.watermark;
            often.pass(&mut outs[0]);
            forgets.pass(&mut outs[2]);
            if forgets.machine.is_idle(&rules, Timestamp(forgets.watermark)) {
                forgets.machine = Machine::default();
            }
        }
        seldom.watermark = often.watermark;
        seldom.pass(&mut outs[1]);
        let shown = |out: &[Transition]| {
            out.iter().map(|t| (t.at, t.state, t.was, t.reason, t.since, t.fired_at, t.quiet)).collect::<Vec<_>>()
        };
        prop_assert_eq!(&outs[0], &outs[1]);
        prop_assert_eq!(shown(&outs[0]), shown(&outs[2]));
    }
}
