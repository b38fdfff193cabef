//! Silence, revisions and flapping.

use super::*;

fn silent_after(span: i64, rules: Rules) -> Rules {
    Rules { no_data_after: Some(TimeSpan(span * MINUTE)), ..rules }
}

#[test]
fn a_silent_key_fires_and_the_next_row_ends_that() {
    let rules = silent_after(5, alert("0s", "0s"));
    let seen = ["5: inactive>firing no_data since 0", "9: firing>resolved data since 9"];
    assert_eq!(run(&rules, "0 -, to 4, to 5, to 8, 9 -"), seen);
    assert_eq!(run(&rules, "0 -, 4 -, to 8"), [""; 0]);
    // The row is then judged like any other, and silence begins anew.
    let seen =
        ["5: inactive>firing no_data since 0", "9: firing>resolved data since 9", "9: inactive>firing when since 9"];
    assert_eq!(run(&rules, "0 -, to 7, 9 +"), seen);
    // A row without values is a row.
    assert_eq!(run(&rules, "0 -, 4 ?, to 8"), [""; 0]);
    // What comes so late proves the silence, however time was told to pass.
    assert_eq!(run(&rules, "0 -, 9 -").len(), 2);
}

#[test]
fn what_fires_already_stays_and_tells_of_the_silence() {
    let rules = silent_after(5, alert("0s", "0s"));
    let seen = [
        "0: inactive>firing when since 0",
        "5: firing>firing no_data since 0",
        "6: firing>firing data since 0",
        "6: firing>resolved clear since 6",
    ];
    assert_eq!(run(&rules, "0 +, to 5, 6 -"), seen);
}

#[test]
fn a_run_goes_on_over_a_silence() {
    let rules = silent_after(5, alert("8m", "0s"));
    let seen = [
        "0: inactive>pending when since 0",
        "5: pending>firing no_data since 0",
        "8: firing>resolved data since 8",
        "8: inactive>pending when since 0",
        "8: pending>firing when since 0",
    ];
    assert_eq!(run(&rules, "0 +, to 6, 8 +"), seen);
}

#[test]
fn a_row_older_than_the_last_is_not_judged() {
    let rules = alert("0s", "0s");
    let (mut machine, mut out) = (Machine::default(), Vec::new());
    assert_eq!(step(&mut machine, &rules, "5 -", &mut out), Outcome::Judged);
    let before = machine.clone();
    assert_eq!(step(&mut machine, &rules, "4 +", &mut out), Outcome::Older);
    // Nor is a revision of a window that is not the newest.
    assert_eq!(step(&mut machine, &rules, "w6 -", &mut out), Outcome::Judged);
    assert_eq!(step(&mut machine, &rules, "r5 +", &mut out), Outcome::Older);
    assert_eq!(
        (out.len(), before.core.last().map(|l| l.time), machine.core.last().map(|l| l.time)),
        (0, Some(minutes("5")), Some(Timestamp(minutes("7").0 - 1)))
    );
    // At the same time it is.
    assert_eq!(step(&mut machine, &rules, "w6 +", &mut out), Outcome::Judged);
    assert_eq!(out.len(), 1);
}

#[test]
fn a_revision_of_the_newest_row_is_judged_as_if_the_first_had_not_been() {
    let rules = alert("2 windows", "0s");
    // Counted once, and the window before still counts.
    assert_eq!(run(&rules, "w0 +, r0 +, r0 +").len(), 1);
    assert_eq!(run(&rules, "w0 +, w1 -, r1 +").last().unwrap(), "2: inactive>firing when since 1");
    // What it takes back is a transition of its own.
    let seen =
        ["1: inactive>pending when since 1", "2: pending>firing when since 1", "2: firing>resolved revised since 2"];
    assert_eq!(run(&rules, "w0 +, w1 +, r1 -"), seen);
    assert_eq!(run(&rules, "w0 +, r0 -").last().unwrap(), "1: pending>inactive revised since 1");
    // A revision of a row that never came is a row.
    assert_eq!(run(&rules, "w0 +, r1 +").len(), 2);
    // A session that took in the one before and grew.
    let sessions = Rules { grid: Grid::Each, ..alert("2 windows", "0s") };
    assert_eq!(run(&sessions, "s5..8 +, R3..9 +, R3..12 +").len(), 1);
    assert_eq!(run(&sessions, "s5..8 +, s9..12 +").len(), 2);
}

#[test]
fn what_time_completed_is_completed_again_after_a_revision() {
    let rules = Rules { sustain: true, ..alert("5m", "0s") };
    let seen = ["1: inactive>pending when since 1", "6: pending>firing when since 1"];
    assert_eq!(run(&rules, "w0 +, to 7, r0 +, to 8"), seen);
    // Not before it fired.
    assert_eq!(run(&rules, "w0 +, to 7, r0 -").last().unwrap(), "6: firing>resolved revised since 6");
}

fn flapping(changes: u32, within: i64) -> Rules {
    Rules { flapping: Some(Flapping { changes, within: TimeSpan(within * MINUTE) }), ..alert("0s", "0s") }
}

#[test]
fn what_flaps_stays_open_and_quiet_until_it_is_calm() {
    let seen = [
        "0: inactive>firing when since 0",
        "1: firing>resolved clear since 1",
        "2: inactive>firing when since 2",
        "3: firing>resolved clear since 3",
        "4: inactive>firing flapping since 4",
        "5: firing>recovering clear since 5 quiet",
        "6: recovering>firing broken since 6 quiet",
        "7: firing>recovering clear since 7 quiet",
        "17: recovering>resolved calm since 7",
        "18: inactive>firing when since 18",
    ];
    assert_eq!(run(&flapping(4, 10), "0 +, 1 -, 2 +, 3 -, 4 +, 5 -, 6 +, 7 -, to 17, 18 +"), seen);
    // So many changes in a longer time are none.
    assert!(run(&flapping(4, 4), "0 +, 1 -, 2 +, 3 -, 4 +, 5 -, 6 +").iter().all(|t| !t.contains("flapping")));
}

#[test]
fn what_fires_when_it_is_calm_goes_on_firing() {
    let seen = [
        "2: inactive>firing flapping since 2",
        "3: firing>recovering clear since 3 quiet",
        "4: recovering>firing broken since 4 quiet",
        "14: firing>firing calm since 4 quiet",
        "20: firing>resolved clear since 20",
    ];
    assert_eq!(run(&flapping(2, 10), "0 +, 1 -, 2 +, 3 -, 4 +, to 15, 20 -")[2..], seen);
}

#[test]
fn while_it_flaps_only_worse_is_told() {
    let rules = Rules { levels: vec![level("warning", "0s", "0s"), level("critical", "0s", "0s")], ..flapping(2, 10) };
    let seen = [
        "2: inactive>firing flapping none>warning since 2",
        "3: firing>firing level warning>critical since 3",
        "4: firing>firing level critical>warning since 2 quiet",
        "5: firing>firing level warning>critical since 5 quiet",
        "6: firing>firing level critical>warning since 2 quiet",
        "12: firing>firing calm warning since 2",
    ];
    assert_eq!(run(&rules, "0 +-, 1 --, 2 +-, 3 ++, 4 +-, 5 ++, 6 +-, to 12")[2..], seen);
}

#[test]
fn what_may_be_forgotten_is_idle() {
    let rules = alert("2 events", "0s");
    let idle = |rules: &Rules, inputs: &str, at: &str| {
        let (mut machine, mut out) = (Machine::default(), Vec::new());
        inputs.split(", ").for_each(|input| {
            step(&mut machine, rules, input, &mut out);
        });
        machine.is_idle(rules, minutes(at))
    };
    assert!(idle(&rules, "0 -", "0"));
    assert!(!idle(&rules, "0 +", "0"));
    assert!(idle(&rules, "0 +, 1 -", "1"));
    assert!(!idle(&rules, "0 +, 1 +", "1"));
    assert!(idle(&rules, "0 +, 1 +, 2 -", "2"));
    assert!(!idle(&silent_after(5, rules.clone()), "0 -", "0"));
    let changes = flapping(4, 10);
    assert!(!idle(&changes, "0 +, 1 -", "10"));
    assert!(idle(&changes, "0 +, 1 -", "11"));
}

#[test]
fn a_state_is_small() {
    let bytes = |inputs: &str| {
        let (mut machine, mut out) = (Machine::default(), Vec::new());
        inputs.split(", ").for_each(|input| {
            step(&mut machine, &alert("2m", "0s"), input, &mut out);
        });
        rmp_serde::to_vec_named(&machine).unwrap().len()
    };
    assert!(bytes("10 -") < 32, "{}", bytes("10 -"));
    assert!(bytes("10 +") < 64, "{}", bytes("10 +"));
    assert!(bytes("10 +, 20 +") < 64, "{}", bytes("10 +, 20 +"));
}
