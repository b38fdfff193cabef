//! One timeline for each sentence of the contract.
//!
//! An input is `TIME VERDICTS` with a verdict for each level: `+` `when` holds, `-` `clear_when` does, `=` neither, `!` both,
//! `?` null, `n` null and clear, `c` not and null. A time is in minutes, or `wN` the window of one minute that begins at minute
//! N, `rN` its revision, `sN..M` the window from N to M; `to N` lets the watermark pass.

use super::*;
use crate::base::time::TimeSpan;

mod changes;
mod model;
mod properties;

const MINUTE: i64 = 60_000_000;

pub(super) fn verdict(c: char) -> Verdict {
    let (when, clear) = match c {
        '+' => (Some(true), Some(false)),
        '-' => (Some(false), Some(true)),
        '=' => (Some(false), Some(false)),
        '!' => (Some(true), Some(true)),
        'n' => (None, Some(true)),
        'c' => (Some(false), None),
        _ => (None, None),
    };
    Verdict { when, clear }
}

fn minutes(text: &str) -> Timestamp {
    Timestamp((text.parse::<f64>().unwrap() * MINUTE as f64) as i64)
}

fn level(name: &str, hold: &str, clear_hold: &str) -> Level {
    let read = |text| Hold::parse(text).unwrap();
    Level { name: name.to_owned(), hold: read(hold), clear_hold: read(clear_hold) }
}

/// An alert with one level, on tumbling windows of a minute where it has windows.
fn alert(hold: &str, clear_hold: &str) -> Rules {
    let levels = vec![level("critical", hold, clear_hold)];
    let grid = Grid::Step(TimeSpan(MINUTE));
    Rules { levels, sustain: false, no_data_after: None, flapping: None, grid }
}

fn step(machine: &mut Machine, rules: &Rules, input: &str, out: &mut Vec<Transition>) -> Outcome {
    let (when, verdicts) = input.split_once(' ').unwrap();
    if when == "to" {
        machine.advance(rules, minutes(verdicts), out);
        return Outcome::Judged;
    }
    let verdicts: Vec<Verdict> = verdicts.chars().map(verdict).collect();
    let revision = when.starts_with('r') || when.starts_with('R');
    let window = when.strip_prefix(['w', 'r']).map(|n| (minutes(n), minutes(n).plus(TimeSpan(MINUTE))));
    let range = when.strip_prefix(['s', 'R']).and_then(|range| range.split_once(".."));
    let window = window.or(range.map(|(from, to)| (minutes(from), minutes(to))));
    let time = window.map_or_else(|| minutes(when), |(_, end)| Timestamp(end.0 - 1));
    machine.judge(rules, &Judged { time, window, revision, verdicts: &verdicts }, out)
}

/// Times in minutes; of a window the last instant shows as its end.
fn shown(at: Timestamp) -> String {
    format!("{}", (at.0 as f64 / MINUTE as f64 * 1000.0).round() / 1000.0)
}

fn spell(rules: &Rules, t: &Transition) -> String {
    let name = |level: Option<usize>| level.map_or("none", |level| &rules.levels[level].name).to_owned();
    let levels = match (rules.levels.len(), t.was_level == t.level) {
        (1, _) => String::new(),
        (_, true) => format!(" {}", name(t.level)),
        _ => format!(" {}>{}", name(t.was_level), name(t.level)),
    };
    let quiet = if t.quiet { " quiet" } else { "" };
    let (at, since) = (shown(t.at), shown(t.since));
    format!("{at}: {}>{} {}{levels} since {since}{quiet}", t.was.as_str(), t.state.as_str(), t.reason.as_str())
}

/// The transitions that inputs make; the machine is stored and read between any two.
fn run(rules: &Rules, inputs: &str) -> Vec<String> {
    let (mut machine, mut out) = (Machine::default(), Vec::new());
    for input in inputs.split(',').map(str::trim) {
        assert_eq!(step(&mut machine, rules, input, &mut out), Outcome::Judged, "{input}");
        let stored = rmp_serde::to_vec_named(&machine).unwrap();
        assert_eq!(rmp_serde::from_slice::<Machine>(&stored).unwrap(), machine);
    }
    let numbers: Vec<u64> = out.iter().map(|t| t.number).collect();
    assert_eq!(numbers, (1..=out.len() as u64).collect::<Vec<_>>());
    out.iter().map(|t| spell(rules, t)).collect()
}

#[test]
fn without_for_the_first_row_fires_and_the_first_that_clears_resolves() {
    let rules = alert("0s", "0s");
    assert_eq!(
        run(&rules, "0 -, 1 +, 2 +, 3 -, 4 -"),
        ["1: inactive>firing when since 1", "3: firing>resolved clear since 3"]
    );
    // And from the start again.
    assert_eq!(run(&rules, "0 +, 1 -, 2 +").last().unwrap(), "2: inactive>firing when since 2");
}

#[test]
fn a_span_is_complete_at_the_first_row_that_is_so_long_after_the_first() {
    let rules = alert("2m", "0s");
    let fires = ["0: inactive>pending when since 0", "2: pending>firing when since 0"];
    assert_eq!(run(&rules, "0 +, 1 +, 2 +"), fires);
    assert_eq!(run(&rules, "0 +, 1.9 +, 3.5 +").last().unwrap(), "3.5: pending>firing when since 0");
    // With windows of a minute at the third.
    assert_eq!(run(&rules, "w0 +, w1 +, w2 +").last().unwrap(), "3: pending>firing when since 1");
    assert_eq!(run(&rules, "w0 +, w1 +").len(), 1);
}

#[test]
fn a_row_in_which_when_does_not_hold_breaks_the_run() {
    let rules = alert("2m", "0s");
    let broken =
        ["0: inactive>pending when since 0", "1: pending>inactive broken since 1", "2: inactive>pending when since 2"];
    assert_eq!(run(&rules, "0 +, 1 -, 2 +, 3 +"), broken);
    assert_eq!(run(&rules, "0 +, 1 -, 2 +, 3 +, 4 +").last().unwrap(), "4: pending>firing when since 2");
}

#[test]
fn a_gap_breaks_no_run_of_a_span() {
    let rules = alert("2m", "0s");
    assert_eq!(run(&rules, "0 +, 90 +").last().unwrap(), "90: pending>firing when since 0");
    assert_eq!(run(&rules, "w0 +, w7 +").last().unwrap(), "8: pending>firing when since 1");
}

#[test]
fn a_condition_that_reads_null_leaves_the_state_as_it_is() {
    let span = alert("2m", "0s");
    // Pending: the run neither ends nor is it complete. Firing: nothing.
    let rows = "0 +, 1 ?, 2 ?, 3 +, 4 ?, 5 c, 6 -";
    let fires =
        ["0: inactive>pending when since 0", "3: pending>firing when since 0", "6: firing>resolved clear since 6"];
    assert_eq!(run(&span, rows), fires);
    // A null row is no event that counts, and no window that is missing.
    assert_eq!(run(&alert("2 events", "0s"), "0 +, 1 ?, 2 +").last().unwrap(), "2: pending>firing when since 0");
    assert_eq!(run(&alert("2 windows", "0s"), "w0 +, w1 ?, w2 +").last().unwrap(), "3: pending>firing when since 1");
    // What `clear_when` says counts where `when` reads null; a null row does not end what has begun to clear.
    let clear = alert("0s", "2m");
    let resolved = [
        "0: inactive>firing when since 0",
        "1: firing>recovering clear since 1",
        "3: recovering>resolved clear since 1",
    ];
    assert_eq!(run(&clear, "0 +, 1 n, 2 ?, 3 n"), resolved);
}

#[test]
fn windows_count_when_they_follow_each_other() {
    let rules = alert("2 windows", "0s");
    let fires = ["1: inactive>pending when since 1", "2: pending>firing when since 1"];
    assert_eq!(run(&rules, "w0 +, w1 +"), fires);
    // One is missing: what was is broken, and the run begins with the row.
    assert_eq!(run(&rules, "w0 +, w2 +"), ["1: inactive>pending when since 1"]);
    assert_eq!(run(&rules, "w0 +, w2 +, w3 +").last().unwrap(), "4: pending>firing when since 3");
    // Sliding windows of ten minutes follow each other by the minute.
    assert_eq!(run(&rules, "s0..10 +, s1..11 +").len(), 2);
    assert_eq!(run(&rules, "s0..10 +, s2..12 +").len(), 1);
    // Days follow each other by their ends, sessions always.
    let touching = Rules { grid: Grid::Touching, ..rules.clone() };
    assert_eq!(run(&touching, "s0..24 +, s24..47 +").len(), 2);
    assert_eq!(run(&touching, "s0..24 +, s47..71 +").len(), 1);
    let sessions = Rules { grid: Grid::Each, ..rules };
    assert_eq!(run(&sessions, "s0..3 +, s50..53 +").len(), 2);
}

#[test]
fn a_window_of_several_rows_counts_once_and_one_of_them_is_enough() {
    let rules = alert("2 windows", "0s");
    assert_eq!(run(&rules, "w0 +, w0 +, w0 +").len(), 1);
    for second in ["w1 +, w1 -", "w1 -, w1 +"] {
        let fired = run(&rules, &format!("w0 -, w0 +, {second}"));
        assert!(
            fired.iter().any(|t| t.starts_with("2: ") && t.contains(">firing when since 1")),
            "{second}: {fired:?}"
        );
    }
}

#[test]
fn events_count_rows_and_some_of_many_may_fail() {
    let three = alert("3 events", "0s");
    assert_eq!(run(&three, "0 +, 1 +, 1 +").last().unwrap(), "1: pending>firing when since 0");
    assert_eq!(run(&three, "0 +, 1 +, 2 -, 3 +, 4 +").last().unwrap(), "3: inactive>pending when since 3");
    let some = alert("2 of 3 events", "0s");
    assert_eq!(run(&some, "0 +, 1 -, 2 +").last().unwrap(), "2: pending>firing when since 0");
    // The third row after one that held is the last with which it counts.
    let over =
        ["0: inactive>pending when since 0", "2: pending>inactive broken since 2", "3: inactive>pending when since 3"];
    assert_eq!(run(&some, "0 +, 1 -, 2 -, 3 +"), over);
    // A window without a row is one in which it did not hold.
    let windows = alert("2 of 3 windows", "0s");
    assert_eq!(run(&windows, "w0 +, w2 +").last().unwrap(), "3: pending>firing when since 1");
    assert_eq!(run(&windows, "w0 +, w3 +"), ["1: inactive>pending when since 1"]);
}

#[test]
fn sustain_lets_time_complete_a_span_without_a_row() {
    let door = Rules { sustain: true, ..alert("5m", "2m") };
    let rows = "0 +, to 4, to 5, 20 -, to 21, to 30";
    let opened = [
        "0: inactive>pending when since 0",
        "5: pending>firing when since 0",
        "20: firing>recovering clear since 20",
        "22: recovering>resolved clear since 20",
    ];
    assert_eq!(run(&door, rows), opened);
    // However time was told to pass: what is due comes before the row, one at that very instant too.
    assert_eq!(run(&door, "0 +, 20 -, to 30"), opened);
    assert_eq!(run(&door, "0 +, 5 -, to 6")[1..2], opened[1..2]);
    // Without it, time alone completes nothing, and the end of the input is no time that passes.
    assert_eq!(run(&alert("5m", "0s"), "0 +, to 60").len(), 1);
    let (mut machine, mut out) = (Machine::default(), Vec::new());
    step(&mut machine, &door, "0 +", &mut out);
    machine.advance(&door, Timestamp::MAX, &mut out);
    assert_eq!((out.len(), machine.due(&door)), (1, Some(minutes("5"))));
}

#[test]
fn between_the_two_conditions_it_stays_and_of_both_when_wins() {
    let rules = alert("0s", "0s");
    assert_eq!(
        run(&rules, "0 =, 1 +, 2 =, 3 !, 4 -"),
        ["1: inactive>firing when since 1", "4: firing>resolved clear since 4"]
    );
    assert_eq!(run(&rules, "0 !"), ["0: inactive>firing when since 0"]);
}

#[test]
fn clear_for_is_held_as_for_is() {
    let rules = alert("0s", "2m");
    let rows = "0 +, 1 -, 2 =, 3 -, 4 +, 5 -, 6 -, 7 -";
    let seen = [
        "0: inactive>firing when since 0",
        "1: firing>recovering clear since 1",
        "2: recovering>firing broken since 0",
        "3: firing>recovering clear since 3",
        "4: recovering>firing broken since 0",
        "5: firing>recovering clear since 5",
        "7: recovering>resolved clear since 5",
    ];
    assert_eq!(run(&rules, rows), seen);
    let windows = alert("0s", "2 windows");
    assert_eq!(run(&windows, "w0 +, w1 -, w2 -").last().unwrap(), "3: recovering>resolved clear since 2");
    assert_eq!(run(&windows, "w0 +, w1 -, w3 -").len(), 2);
    assert_eq!(
        run(&alert("0s", "2 of 3 events"), "0 +, 1 -, 2 +, 3 -").last().unwrap(),
        "3: recovering>resolved clear since 1"
    );
}

fn two_levels() -> Rules {
    let levels = vec![level("warning", "0s", "0s"), level("critical", "2m", "1m")];
    Rules { levels, ..alert("0s", "0s") }
}

#[test]
fn the_highest_level_that_fires_is_the_severity_and_falling_to_a_lower_one_is_no_resolve() {
    let rows = "0 +-, 1 ++, 3 ++, 4 +-, 5 +-, 6 --";
    let seen = [
        "0: inactive>firing when none>warning since 0",
        "3: firing>firing level warning>critical since 1",
        "5: firing>firing level critical>warning since 0",
        "6: firing>resolved clear warning>none since 6",
    ];
    assert_eq!(run(&two_levels(), rows), seen);
    // Both at one row are one transition; so is the end of both.
    let both = Rules { levels: vec![level("warning", "0s", "0s"), level("critical", "0s", "0s")], ..two_levels() };
    let seen = ["0: inactive>firing when none>critical since 0", "1: firing>resolved clear critical>none since 1"];
    assert_eq!(run(&both, "0 ++, 1 --"), seen);
    // It recovers when each level that fired does.
    let seen = [
        "0: inactive>firing when none>warning since 0",
        "2: firing>firing level warning>critical since 0",
        "3: firing>recovering clear critical since 3",
        "4: recovering>resolved clear critical>none since 3",
    ];
    assert_eq!(run(&two_levels(), "0 ++, 2 ++, 3 --, 4 --"), seen);
}

#[test]
fn a_level_that_only_waits_is_no_firing() {
    let levels = vec![level("warning", "9m", "0s"), level("critical", "0s", "0s")];
    let seen = [
        "0: inactive>firing when none>critical since 0",
        "1: firing>resolved clear critical>none since 1",
        "1: inactive>pending when none>warning since 0",
    ];
    assert_eq!(run(&Rules { levels, ..two_levels() }, "0 ++, 1 +-"), seen);
}
