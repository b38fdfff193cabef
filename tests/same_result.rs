//! Same input, same result: random pipelines over random rows of several sources give every sink the same bytes however
//! blocks and ticks are cut, keys are shared and runs are restarted, from whichever checkpoint, and no row is lost on the way.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod support;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use support::live;
use support::{Feed, Input, beyond, keys, run_from_every_epoch, run_inputs};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

/// One kind of step: its body, ports beside the main one, and whether each row taken leaves as exactly one of the counts.
struct Kind {
    body: &'static str,
    ports: &'static [&'static str],
    balances: bool,
}

const fn stateless(body: &'static str) -> Kind {
    Kind { body, ports: &["errors"], balances: true }
}

const KINDS: &[Kind] = &[
    stateless("filter: v > 0"),
    stateless("filter: v + 1 > 0 || key == \"a\""),
    stateless("set: { w: v * 2, site.level: key, v: v }"),
    stateless("script: |\n      w = v + 1;\n      if v > 10 { big = true; }"),
    stateless(
        "script: |\n      let s = 0;\n      for i in 0..3 { s += i; }\n      t = s + v;\n      m = #{ a: [1, key] };",
    ),
    stateless("script: |\n      if v == 3 { drop(); }\n      event[\"odd name\"] = v;\n      site = ();"),
    stateless("keep: [ts, key, v, site.floor]"),
    stateless("drop: [site, w]"),
    stateless("rename: { v: value, ts: at }"),
    Kind { body: "route:\n      hot: v > 20\n      cold: v < -20", ports: &["errors", "hot", "cold"], balances: true },
    Kind {
        body: "script: |\n      if v < 0 { emit(#{ key: key, v: -v, n: 1 }); }\n      if v < -5 { emit(\"zeta\", #{ v: v }); }\n      if v % 2 == 0 { emit(\"alpha\", event); }\n      if v == 7 { drop(); }\n    ports: [zeta, alpha]",
        ports: &["errors", "zeta", "alpha"],
        balances: false,
    },
    stateless(
        "script: |\n      if state.n == () { state.n = 0; }\n      state.n = state.n + 1;\n      seen = state.n;\n    by: key\n    state_ttl: 5s",
    ),
    Kind {
        body: "script: |\n      if state.sum == () { state.sum = 0; }\n      state.sum += v;\n      if state.sum > 20 { emit(#{ key: key, v: state.sum }); state.sum = 0; drop(); }\n      if v < 0 { emit(\"below\", #{ v: v, key: key }); }\n    by: [key, site.floor]\n    ports: below",
        ports: &["errors", "below"],
        balances: false,
    },
    Kind { body: "dedupe:\n      by: key\n      within: 5s", ports: &["errors", "late"], balances: true },
    Kind { body: "dedupe: { within: 6s }", ports: &["errors", "late"], balances: true },
    Kind {
        body: "dedupe:\n      by: { k: v % 3, floor: site.floor }\n      within: 3s",
        ports: &["errors", "late"],
        balances: true,
    },
    Kind {
        body: "throttle:\n      by: key\n      limit: 2\n      per: 4s",
        ports: &["errors", "late", "throttled"],
        balances: true,
    },
    stateless("sample: { rate: 0.5 }"),
    stateless("sample:\n      one_in: 2\n      by: { k: v % 5 }"),
    // A join reads two outputs, or one twice.
    Kind {
        body: "join:\n      left: { l: LEFT }\n      right: { r: RIGHT }\n      on: [key, site.floor]\n      within: { before: 2s, after: 1s }\n      select: { ts: l.ts, key: l.key, v: r.v, site.floor: l.site.floor }",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "join:\n      left: { l: LEFT }\n      right: { r: RIGHT }\n      on: { left: v % 3, right: v % 4 }\n      within: { after: 3s }\n      type: left",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "join:\n      left: { l: LEFT }\n      right: { r: RIGHT }\n      on: key\n      within: 2s\n      type: full\n      select: { key: \"if l.key == () { r.key } else { l.key }\", v: l.v - r.v }",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "join:\n      left: { l: LEFT }\n      right: { r: RIGHT }\n      on: key\n      within: window\n      type: full",
        ports: &["errors", "late"],
        balances: false,
    },
    stateless("script: |\n      items = [v, key, #{ sku: key, n: v }];"),
    stateless("explode: items"),
    stateless("explode:\n      field: m.a\n      as: site.item\n      empty: keep"),
    stateless(
        "parse:\n      field: key\n      format:\n        regex: '^(?<letter>[a-z])$|^(?<digit>[0-9])$'\n      keep: true",
    ),
    stateless("parse: { field: key, format: { text: { field: v } } }"),
    stateless("parse: { field: note, format: text, into: site.note }"),
    stateless(
        "validate:\n      required: [v]\n      properties:\n        v: { type: integer }\n        site: { properties: { floor: { maximum: 0 } } }",
    ),
    Kind {
        body: "window:\n      tumbling: 7s\n      by: key\n      allow_late: 4s\n      aggregate:\n        n: count()\n        v: sum(v)\n        last: last(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      sliding: { size: 9s, every: 3s }\n      aggregate:\n        n: count()\n        v: max(v) - min(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      sliding: { size: 6s, every: 4s }\n      by: key\n      allow_late: 3s\n      aggregate:\n        v: median(v)\n        high: count_if(v > 3)\n        different: distinct(site)\n        nearly: approx_distinct(v)\n        often: top(v, 2)\n        early: collect(v, 3)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      session: { gap: 3s }\n      by: key\n      allow_late: 2s\n      aggregate:\n        n: count()\n        v:\n          fold: { init: 0, each: acc + v, merge: a + b }",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      sliding: { size: 8s, every: 2s }\n      aggregate:\n        n: count()\n        v: { fold: { init: 0, each: acc + v, merge: a + b } }",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      session: { gap: 4s }\n      by: [key, site.floor]\n      allow_late: 3s\n      aggregate:\n        n: count()\n        v: avg(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      count: 3\n      by: key\n      aggregate:\n        n: count()\n        v: sum(v)\n        ts: max(ts)",
        ports: &["errors"],
        balances: false,
    },
    Kind {
        body: "window:\n      calendar: { every: hour, zone: Asia/Kolkata }\n      by: key\n      allow_late: 3s\n      aggregate:\n        n: count()\n        v: first(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      sliding: { size: 9s, every: 3s }\n      by: key\n      allow_late: 5s\n      emit: { every: 2s }\n      aggregate:\n        n: count()\n        v: max(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      session: { gap: 3s, max: 8s }\n      by: key\n      allow_late: 4s\n      emit: { every: 2s }\n      aggregate:\n        n: count()\n        v: last(v)",
        ports: &["errors", "late"],
        balances: false,
    },
    Kind {
        body: "window:\n      tumbling: 6s\n      by: key\n      allow_late: 5s\n      emit: once\n      aggregate:\n        n: count()\n        v: sum(v)",
        ports: &["errors", "late"],
        balances: false,
    },
];

/// A step: its kind and what it reads.
type Step = (usize, Index, Option<Index>);

/// Outputs that exist so far, and whether their rows have event times.
fn pick<'a>(outputs: &'a [String], index: &Index) -> &'a str {
    let timed: Vec<&String> = outputs.iter().filter(|o| !o.ends_with(".errors")).collect();
    timed[index.index(timed.len())]
}

/// The pipeline: every output of every step has a sink of its own, and two sinks read several.
fn yaml(steps: &[Step], merged: &[Index], out_of_order: &[i64; 3]) -> (String, Vec<String>) {
    let mut text = String::from("name: t\nsources:\n");
    for (name, seconds, format) in
        [("a", out_of_order[0], ""), ("b", out_of_order[1], ""), ("c", out_of_order[2], "    format: csv\n")]
    {
        text += &format!(
            "  {name}:\n    file: {{ path: none }}\n{format}    time: {{ field: ts, format: unix, out_of_order: {seconds}s }}\n"
        );
    }
    let mut outputs: Vec<String> = ["a", "b", "c", "a.errors", "c.errors"].map(String::from).to_vec();
    text += "steps:\n";
    for (number, (kind, first, second)) in steps.iter().enumerate() {
        let kind = &KINDS[*kind];
        let first = pick(&outputs, first);
        let second = second.as_ref().map(|s| pick(&outputs, s)).filter(|s| *s != first);
        if kind.body.contains("LEFT") {
            let body = kind.body.replace("LEFT", first).replace("RIGHT", second.unwrap_or(first));
            text += &format!("  s{number}:\n    {body}\n");
        } else {
            let from = second.map_or_else(|| first.to_owned(), |second| format!("[{first}, {second}]"));
            text += &format!("  s{number}:\n    from: {from}\n    {}\n", kind.body);
        }
        outputs.push(format!("s{number}"));
        outputs.extend(kind.ports.iter().map(|port| format!("s{number}.{port}")));
    }
    text += "sinks:\n";
    for (number, output) in outputs.iter().enumerate() {
        text += &format!("  o{number}:\n    from: {output}\n    discard: {{}}\n");
    }
    let mut several: Vec<&str> = merged.iter().map(|i| outputs[i.index(outputs.len())].as_str()).collect();
    several.sort_unstable();
    several.dedup();
    let several = several.join(", ");
    text += &format!("  all:\n    from: [{several}]\n    discard: {{}}\n");
    outputs.push(format!("[{several}]"));
    (text, outputs)
}

/// What a row holds beside its time.
#[derive(Clone, Debug)]
enum Row {
    Event { step: i64, back: i64, key: Option<Value>, value: Option<Value>, floor: Option<i64> },
    Broken(&'static str),
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        8 => (-40i64..40).prop_map(|v| Some(json!(v))),
        2 => (-40i64..40).prop_map(|v| Some(json!(v as f64 + 0.5))),
        1 => Just(Some(json!("x"))),
        1 => Just(Some(Value::Null)),
        1 => Just(None),
    ];
    let event = (0i64..4, 0i64..12, keys(), value, prop::option::of(0i64..2))
        .prop_map(|(step, back, key, value, floor)| Row::Event { step, back, key, value, floor });
    let broken =
        prop::sample::select(vec!["{\"ts\":", "17", "{\"v\": 1}", "{\"ts\": \"soon\", \"v\": 2}", "{\"v\":1}}", "[]"]);
    prop_oneof![12 => event, 1 => broken.prop_map(Row::Broken)]
}

fn lines(rows: &[Row], csv: bool) -> Vec<String> {
    let mut base = BASE;
    let text = |value: &Option<Value>| match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut line = |row: &Row| match row {
        Row::Broken(text) => (*text).to_owned(),
        Row::Event { step, back, key, value, floor } => {
            base += step;
            if csv {
                return format!("{},{},{},\"{}\"", base - back, text(key), text(value), "x\"\"y");
            }
            let mut event = Map::new();
            event.insert("ts".into(), json!(base - back));
            event.extend(key.clone().map(|k| ("key".to_owned(), k)));
            event.extend(value.clone().map(|v| ("v".to_owned(), v)));
            event.extend(floor.map(|f| ("site".to_owned(), json!({ "floor": f, "name": "n" }))));
            Value::Object(event).to_string()
        }
    };
    rows.iter().map(&mut line).collect()
}

/// By partition its source's number and its rows, fewer than `most`.
fn partitions(most: usize) -> impl Strategy<Value = Vec<(usize, Vec<Row>)>> {
    let rows = move || prop::collection::vec(row(), 0..most);
    let several = move || prop::collection::vec(rows(), 1..3);
    (several(), several(), rows()).prop_map(|(a, b, c)| {
        let a = a.into_iter().map(|rows| (0, rows));
        let b = b.into_iter().map(|rows| (1, rows));
        a.chain(b).chain([(2, c)]).collect()
    })
}

fn inputs(partitions: &[(usize, Vec<Row>)], out_of_order: &[i64; 3]) -> Vec<Input> {
    let header = || ["ts", "key", "v", "note"].map(String::from).to_vec();
    let input = |(number, (source, rows)): (usize, &(usize, Vec<Row>))| Input {
        source: *source,
        name: format!("p{number}"),
        rows: lines(rows, *source == 2),
        out_of_order: out_of_order[*source],
        header: (*source == 2).then(header),
    };
    partitions.iter().enumerate().map(input).collect()
}

fn step() -> impl Strategy<Value = Step> {
    (0..KINDS.len(), any::<Index>(), prop::option::of(any::<Index>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn however_it_is_cut_shared_and_restarted(
        steps in prop::collection::vec(step(), 1..7),
        merged in prop::collection::vec(any::<Index>(), 2..6),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(25),
        block in 1usize..12,
        target in 1u32..30,
        shares in prop::sample::select(vec![1usize, 2, 4]),
        restarts in prop::collection::vec(0usize..40, 0..3),
        beyond in beyond(),
    ) {
        let (yaml, outputs) = yaml(&steps, &merged, &out_of_order);
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
        balanced(&steps, &inputs, &plain, &yaml)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn from_whichever_checkpoint_it_goes_on(
        steps in prop::collection::vec(step(), 1..5),
        merged in prop::collection::vec(any::<Index>(), 2..4),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(10),
        block in 1usize..5,
        target in 1u32..12,
        shares in [1usize..4, 1usize..4],
        slice in 0usize..3,
    ) {
        let (yaml, outputs) = yaml(&steps, &merged, &out_of_order);
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
        merged in prop::collection::vec(any::<Index>(), 2..5),
        out_of_order in [0i64..8, 0i64..8, 0i64..8],
        partitions in partitions(12),
        (before, after) in (live::events(), live::events_after()),
        block in [1usize..5, 1usize..5],
        target in [1u32..12, 1u32..12],
        shares in [1usize..4, 1usize..4],
    ) {
        let (yaml, outputs) = yaml(&steps, &merged, &out_of_order);
        let inputs = inputs(&partitions, &out_of_order);
        let feed = |i: usize| Feed { block: block[i], target: target[i], shares: shares[i], restarts: vec![], beyond: (0, 0) };
        let ran = live::crash_and_go_on(&yaml, &inputs, (&before, &after), (&feed(0), &feed(1)));
        for (name, (given, again)) in outputs.iter().zip(&ran) {
            prop_assert!(again.starts_with(given), "the sink of {}: {}\nthen {}\n{}", name, given, again, yaml);
        }
    }
}

/// Every row taken is counted once, whatever became of it.
fn balanced(steps: &[Step], inputs: &[Input], ran: &support::Ran, yaml: &str) -> Result<(), TestCaseError> {
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
    // A sink writes a line for each row it takes: none of these fails.
    let sinks = ran.counts.iter().filter(|(name, _)| name.starts_with('o') || name == "all");
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
