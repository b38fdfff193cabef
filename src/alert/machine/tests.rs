//! One timeline for each sentence of the contract.
//!
//! An input is `TIME VERDICTS` with a verdict for each level: `+` `when` holds, `-` `clear_when` does, `=` neither, `!` both,
//! `?` null, `n` null and clear, `c` not and null. A time is in minutes, or `wN` the window of one minute that begins at minute
//! N, `rN` its revision, `sN..M` the window from N to M; `to N` lets the watermark pass.

use super::*;
use crate::base::time::TimeSpan;

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
