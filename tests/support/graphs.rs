//! Random pipelines over random rows of several sources: steps of every kind, and alerts that tell receivers.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use super::{Input, keys};

/// 2026-01-01T00:00:00Z in seconds.
pub const BASE: i64 = 1_767_225_600;

/// One kind of step: its body, ports beside the main one, and whether each row taken leaves as exactly one of the counts.
pub struct Kind {
    body: &'static str,
    ports: &'static [&'static str],
    pub balances: bool,
}

const fn stateless(body: &'static str) -> Kind {
    Kind { body, ports: &["errors"], balances: true }
}

pub const KINDS: &[Kind] = &[
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

/// Alerts: what they are made of. `2 windows` is asked only of what reads a window.
const ALERTS: &[&str] = &[
    "by: { k: key }\n      when: v > 10\n      for: 3s\n      clear_when: v < 0\n      clear_for: 2s\n      repeat_every: 5s\n      notify: [r0]",
    "by: { k: key }\n      when: v > 5\n      for: 4s\n      clear_for: 2s\n      sustain: true\n      group_by: [k]\n      group_wait: 3s\n      group_interval: 7s\n      title: \"{{ v }}\"\n      notify: [r0, r1]",
    "by: { k: key, floor: site.floor }\n      levels:\n        warning: { when: v > 5, clear_when: v < -5 }\n        critical: { when: v > 20, for: 2 events }\n      group_by: []\n      group_wait: 2s\n      group_interval: 4s\n      repeat_every: 9s\n      notify: [{ receiver: r0, severities: critical }, { receiver: r1, resolved: false }]",
    "by: { k: key }\n      no_data_after: 6s\n      notify: [r1]",
    "by: { k: v % 3 }\n      when: v > 0\n      for: 2 events\n      no_data_after: 4s\n      flapping: { changes: 2, within: 8s }\n      max_keys: 3\n      notify: [r1]",
    "by: { k: key }\n      when: n >= 1\n      for: 2 windows\n      clear_for: 1 of 2 windows\n      rate: { count: 2, per: 6s }\n      notify: [r0, { receiver: r1, resolved: false }]",
    "by: { k: key }\n      when: v > 0\n      order: arrival\n      for: 2 of 3 events\n      inhibited_by: { alert: x0, equal: k }\n      mute: { times: \"00:00-00:01\" }\n      labels: { floor: \"{{ site }}\" }\n      notify: [r0]",
];

/// An alert: its kind and what it reads.
pub type Alert = (usize, Index);

/// A step: its kind and what it reads.
pub type Step = (usize, Index, Option<Index>);

/// Outputs that exist so far, and whether their rows have event times.
fn pick<'a>(outputs: &'a [String], index: &Index) -> &'a str {
    let timed: Vec<&String> = outputs.iter().filter(|o| !o.ends_with(".errors")).collect();
    timed[index.index(timed.len())]
}

/// The pipeline: every output of every step and every alert has a sink of its own, and one sink reads several.
pub fn yaml(steps: &[Step], alerts: &[Alert], merged: &[Index], out_of_order: &[i64; 3]) -> (String, Vec<String>) {
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
    let read = outputs.clone();
    outputs.push(format!("[{several}]"));
    for (number, (kind, from)) in alerts.iter().enumerate() {
        let from = pick(&read, from);
        let of = from.strip_prefix('s').and_then(|step| steps.get(step.parse::<usize>().ok()?));
        let windows = of.is_some_and(|(kind, ..)| KINDS[*kind].body.starts_with("window:\n      tumbling"));
        let body = ALERTS[*kind].replace(" windows", if windows { " windows" } else { " events" });
        text += &format!("  x{number}:\n    from: {from}\n    alert:\n      {body}\n");
        for (sink, port) in [("t", ""), ("e", ".errors")] {
            text += &format!("  {sink}{number}:\n    from: x{number}{port}\n    discard: {{}}\n");
            outputs.push(format!("x{number}{port}"));
        }
    }
    // Receivers become sinks in the order in which alerts name them.
    let told = alerts.iter().flat_map(|(kind, _)| ["r0", "r1"].into_iter().filter(|r| ALERTS[*kind].contains(r)));
    let mut receivers: Vec<&str> = Vec::new();
    for receiver in told {
        if !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    if !receivers.is_empty() {
        text += "receivers:\n";
    }
    for receiver in receivers {
        text += &format!("  {receiver}: {{ discard: {{}} }}\n");
        outputs.push(receiver.to_owned());
    }
    (text, outputs)
}

/// What a row holds beside its time.
#[derive(Clone, Debug)]
pub enum Row {
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
pub fn partitions(most: usize) -> impl Strategy<Value = Vec<(usize, Vec<Row>)>> {
    let rows = move || prop::collection::vec(row(), 0..most);
    let several = move || prop::collection::vec(rows(), 1..3);
    (several(), several(), rows()).prop_map(|(a, b, c)| {
        let a = a.into_iter().map(|rows| (0, rows));
        let b = b.into_iter().map(|rows| (1, rows));
        a.chain(b).chain([(2, c)]).collect()
    })
}

pub fn inputs(partitions: &[(usize, Vec<Row>)], out_of_order: &[i64; 3]) -> Vec<Input> {
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

pub fn step() -> impl Strategy<Value = Step> {
    (0..KINDS.len(), any::<Index>(), prop::option::of(any::<Index>()))
}

/// Alerts over what there is.
pub fn alerts() -> impl Strategy<Value = Vec<Alert>> {
    prop::collection::vec((0..ALERTS.len(), any::<Index>()), 0..4)
}
