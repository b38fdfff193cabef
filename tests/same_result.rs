//! Same input, same result: random pipelines over random rows of several sources give every sink the same bytes however
//! blocks and ticks are cut, keys are shared and runs are restarted, from whichever checkpoint, and no row is lost on the way.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod support;

use proptest::prelude::*;
use proptest::sample::Index;

use support::graphs::{Alert, BASE, KINDS, Step, alerts, inputs, partitions, step, yaml};
use support::live;
use support::{Feed, Input, beyond, run_from_every_epoch, run_inputs};

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn however_it_is_cut_shared_and_restarted(
        steps in prop::collection::vec(step(), 1..7),
        alerts in alerts(),
        merged in prop::collection::vec(any::<Index>(), 2..6),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(25),
        block in 1usize..12,
        target in 1u32..30,
        shares in prop::sample::select(vec![1usize, 2, 4]),
        restarts in prop::collection::vec(0usize..40, 0..3),
        beyond in beyond(),
    ) {
        let (yaml, outputs) = yaml(&steps, &alerts, &merged, &out_of_order);
        let inputs = inputs(&partitions, &out_of_order);
        let plain = run_inputs(&yaml, &inputs, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        let cut = run_inputs(&yaml, &inputs, &Feed { block, target, shares, restarts: vec![], beyond: (0, 0) });
        for ((name, one), other) in outputs.iter().zip(&plain.outputs).zip(&cut.outputs) {
            prop_assert_eq!(one, other, "the sink of {}\n{}", name, yaml);
        }
        prop_assert_eq!(&plain.counts, &cut.counts, "{}", yaml);
        let again = run_inputs(&yaml, &inputs, &Feed { block, target, shares, restarts, beyond });
        for ((name, one), other) in outputs.iter().zip(&plain.outputs).zip(&again.outputs) {
            prop_assert_eq!(one, other, "restarted: the sink of {}\n{}", name, yaml);
        }
        prop_assert_eq!(&plain.counts, &again.counts, "restarted: {}", yaml);
        prop_assert_eq!(&plain.left, &again.left, "restarted: {}", yaml);
        balanced((&steps, &alerts), &inputs, &plain, &yaml)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn from_whichever_checkpoint_it_goes_on(
        steps in prop::collection::vec(step(), 1..5),
        alerts in alerts(),
        merged in prop::collection::vec(any::<Index>(), 2..4),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(10),
        block in 1usize..5,
        target in 1u32..12,
        shares in [1usize..4, 1usize..4],
        slice in 0usize..3,
    ) {
        let (yaml, outputs) = yaml(&steps, &alerts, &merged, &out_of_order);
        let inputs = inputs(&partitions, &out_of_order);
        let plain = run_inputs(&yaml, &inputs, &Feed { block: 1000, target: 1000, shares: 1, restarts: vec![], beyond: (0, 0) });
        let feed = Feed { block, target, shares: shares[0], restarts: vec![], beyond: (1, slice) };
        for (epoch, ran) in run_from_every_epoch(&yaml, &inputs, &feed, shares[1]).iter().enumerate() {
            for ((name, one), other) in outputs.iter().zip(&plain.outputs).zip(&ran.outputs) {
                prop_assert_eq!(one, other, "from checkpoint {}: the sink of {}\n{}", epoch, name, yaml);
            }
            prop_assert_eq!(&plain.counts, &ran.counts, "from checkpoint {}: {}", epoch, yaml);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn live_inputs_meet_again_as_they_met(
        steps in prop::collection::vec(step(), 1..6),
        alerts in alerts(),
        merged in prop::collection::vec(any::<Index>(), 2..5),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(12),
        (before, after) in (live::events(), live::events_after()),
        block in [1usize..5, 1usize..5],
        target in [1u32..12, 1u32..12],
        shares in [1usize..4, 1usize..4],
    ) {
        let (yaml, outputs) = yaml(&steps, &alerts, &merged, &out_of_order);
        let inputs = inputs(&partitions, &out_of_order);
        let feed = |i: usize| Feed { block: block[i], target: target[i], shares: shares[i], restarts: vec![], beyond: (0, 0) };
        let ran = live::crash_and_go_on(&yaml, &inputs, (&before, &after), (&feed(0), &feed(1)));
        for (name, (given, again)) in outputs.iter().zip(&ran) {
            prop_assert!(again.starts_with(given), "the sink of {}: {}\nthen {}\n{}", name, given, again, yaml);
        }
    }
}

/// Every row taken is counted once, whatever became of it.
fn balanced(
    (steps, alerts): (&[Step], &[Alert]),
    inputs: &[Input],
    ran: &support::Ran,
    yaml: &str,
) -> Result<(), TestCaseError> {
    let count = |name: &str| ran.counts.iter().find(|(n, _)| n == name).map(|(_, tally)| *tally).expect("an entry");
    for (source, name) in ["a", "b", "c"].iter().enumerate() {
        let rows: usize = inputs.iter().filter(|i| i.source == source).map(|i| i.rows.len()).sum();
        let tally = count(name);
        prop_assert_eq!(tally.taken, rows as u64, "{}", name);
        prop_assert_eq!(tally.taken, tally.passed + tally.failed, "{}", name);
    }
    for (number, (kind, ..)) in steps.iter().enumerate() {
        let tally = count(&format!("s{number}"));
        if KINDS[*kind].balances {
            let counted = tally.passed + tally.filtered + tally.dropped + tally.failed + tally.late + tally.duplicate;
            prop_assert_eq!(tally.taken + tally.made, counted, "s{}: {:?}\n{}", number, tally, yaml);
        }
        // All its ports are read, and what leaves by them is what it passed on.
        prop_assert_eq!(tally.dead, 0);
        let left = ran.left.iter().find(|(n, _)| *n == format!("s{number}")).map(|(_, rows)| *rows);
        prop_assert_eq!(left, Some(tally.passed), "s{}: {:?}\n{}", number, tally, yaml);
    }
    // Each row of an alert ends somewhere, and its transitions are all told.
    for number in 0..alerts.len() {
        let tally = count(&format!("x{number}"));
        prop_assert_eq!(tally.dead, 0);
        let left = ran.left.iter().find(|(n, _)| *n == format!("x{number}")).map(|(_, rows)| *rows);
        prop_assert_eq!(left, Some(tally.passed), "x{}: {:?}\n{}", number, tally, yaml);
    }
    // A sink writes a line for each row it takes: none of these fails.
    let others = |name: &str| name.starts_with(['a', 'b', 'c', 's', 'x', 'n']) && name != "all";
    let sinks = ran.counts.iter().filter(|(name, _)| !others(name));
    for ((name, tally), text) in sinks.zip(&ran.outputs) {
        prop_assert_eq!(tally.taken, text.lines().count() as u64, "{}\n{}", name, yaml);
    }
    Ok(())
}

/// A value of lists in lists.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn a_row_whose_emitted_event_cannot_be_read_again_fails_as_a_whole() {
    let script = "if v < 3 { emit(#{ v: v, box: #{ it: event } }); }\n      if v == 2 { drop(); }";
    for by in ["", "    by: v\n"] {
        let yaml = format!(
            "name: t\nsources:\n  a: {{ file: {{ path: none }}, time: {{ field: ts, format: unix }} }}\nsteps:\n  s:\n    script: |\n      {script}\n{by}sinks:\n  out: {{ from: s, discard: {{}} }}\n  wrong: {{ from: s.errors, discard: {{}} }}\n"
        );
        let row = |v: usize, depth: usize| format!("{{\"ts\":{},\"v\":{v},\"deep\":{}}}", BASE, nested(depth));
        let rows = vec![row(1, 3), row(1, 126), row(2, 126), row(3, 126), row(2, 3), row(1, 4)];
        let input = Input { source: 0, name: "p".into(), rows: rows.clone(), out_of_order: 0, header: None };
        let ran =
            run_inputs(&yaml, &[input], &Feed { block: 10, target: 10, shares: 1, restarts: vec![], beyond: (0, 0) });
        // Maps of a script have their members in the order of names.
        let made = |v: usize, depth: usize| {
            format!("{{\"box\":{{\"it\":{{\"deep\":{},\"ts\":{BASE},\"v\":{v}}}}},\"v\":{v}}}", nested(depth))
        };
        let expected = [made(1, 3), rows[0].clone(), rows[3].clone(), made(2, 3), made(1, 4), rows[5].clone()];
        assert_eq!(ran.outputs[0].lines().collect::<Vec<_>>(), expected);
        assert_eq!(ran.outputs[1].lines().count(), 2);
        let tally = ran.counts[1].1;
        assert_eq!((tally.taken, tally.failed, tally.dropped), (6, 2, 1));
    }
}

#[test]
fn rows_that_became_too_deep_are_not_lost_where_ways_meet() {
    // The two ways change rows differently, so that their texts must be written anew where they meet.
    let yaml = "name: t
sources:
  a: { file: { path: none }, time: { field: ts, format: unix } }
  b: { file: { path: none }, time: { field: ts, format: unix } }
steps:
  wrapped: { from: a, set: { v: \"#{ a: #{ b: deep } }\" } }
  marked: { from: b, set: { mark: 1 } }
  counts:
    from: [wrapped, marked]
    script: |
      if state.n == () { state.n = 0; }
      state.n += 1;
      n = state.n;
    by: key
sinks:
  out: { from: counts, discard: {} }
  wrong: { from: [wrapped.errors, counts.errors], discard: {} }
";
    let row = |ts: i64, depth: usize| format!("{{\"ts\":{},\"key\":\"k{ts}\",\"deep\":{}}}", BASE + ts, nested(depth));
    let input = |source: usize, rows: Vec<String>| Input {
        source,
        name: format!("p{source}"),
        rows,
        out_of_order: 0,
        header: None,
    };
    for depth in 122..127 {
        let inputs = [input(0, vec![row(1, 3), row(3, depth), row(5, 3)]), input(1, vec![row(2, 3), row(4, 3)])];
        let run = |block: usize, target: u32| {
            run_inputs(yaml, &inputs, &Feed { block, target, shares: 2, restarts: vec![], beyond: (0, 0) }).outputs
        };
        let whole = run(10, 10);
        let failed = usize::from(depth > 124);
        assert_eq!((whole[0].lines().count(), whole[1].lines().count()), (5 - failed, failed), "{whole:?}");
        assert_eq!(whole, run(1, 1));
    }
}

#[test]
fn what_lies_around_a_kept_member_is_what_is_left_of_it() {
    let yaml = "name: t
sources:
  a: { file: { path: none }, time: { field: ts, format: unix } }
steps:
  kept: { keep: [ts, site.floor] }
  told: { set: { all: site } }
sinks:
  out: { from: told, discard: {} }
";
    let row = format!("{{\"ts\":{BASE},\"site\":{{\"floor\":1,\"name\":\"n\"}}}}");
    let input = Input { source: 0, name: "p".into(), rows: vec![row], out_of_order: 0, header: None };
    let ran = run_inputs(yaml, &[input], &Feed { block: 10, target: 10, shares: 1, restarts: vec![], beyond: (0, 0) });
    let expected = format!("{{\"ts\":{BASE},\"site\":{{\"floor\":1}},\"all\":{{\"floor\":1}}}}\n");
    assert_eq!(ran.outputs[0], expected);
}
