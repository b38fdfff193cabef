//! Expressions and scripts, written into a pipeline and run over a few events.

use std::sync::OnceLock;

use millstream::data::json::parse_value;
use millstream::engine::rehearse::{Given, rehearse};
use millstream::plan::{Input, NodeId, Port};

use crate::pipelines::load;

const EVENTS: [&str; 6] = [
    r#"{"ts":1,"a":1,"b":2.5,"text":"é x","list":[1,"2",null],"map":{"x":{"y":-1}},"ok":true}"#,
    r#"{"ts":2,"a":9223372036854775807,"b":-0.0,"text":"","list":[],"map":{},"ok":false}"#,
    r#"{"ts":3,"a":null,"b":1e308,"text":"2026-01-01T00:00:00Z","list":{"a":1},"map":[1]}"#,
    r#"{"ts":4,"a":"1","b":99999999999999999999999,"text":"10.0.0.1","list":"x","map":{"x":1},"ok":null}"#,
    r#"{"ts":5,"a":-9223372036854775808,"b":0.1,"text":"a=1 b=\"2\"","list":[[1],{"x":2}],"map":{"x":{"y":"z"}},"ok":1}"#,
    "5",
];

fn given() -> &'static [(usize, Vec<Given>)] {
    static GIVEN: OnceLock<Vec<(usize, Vec<Given>)>> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let events = EVENTS.iter().map(|text| Given::Event(parse_value(text).expect("JSON")));
        vec![(0, events.collect())]
    })
}

/// Runs steps, JSON in YAML, over the events.
fn run(steps: &str) {
    let text = format!(
        "name: f\nsources: {{ in: {{ file: {{ path: in }}, time: {{ field: ts }} }} }}\nsteps:\n  s: {steps}\nsinks: {{ out: {{ discard: {{}} }} }}\n"
    );
    let Some(pipeline) = load(&text).pipeline else { return };
    let watched =
        [vec![Input { node: NodeId(1), port: Port::Main }], vec![Input { node: NodeId(1), port: Port::Errors }]];
    let ran = rehearse(&pipeline.plan, given(), &watched).expect("it runs");
    for line in ran.outputs.iter().flatten() {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok(), "{line}");
    }
}

/// The text as YAML reads it back.
fn quoted(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok().filter(|text| text.len() <= 2 << 10)?;
    Some(serde_json::Value::from(text).to_string())
}

/// An expression in one of the places that have them.
pub fn expression(data: &[u8]) {
    let Some(text) = quoted(data) else { return };
    match data.len() % 4 {
        0 => run(&format!("{{ filter: {text} }}")),
        1 => run(&format!("{{ window: {{ tumbling: 2s, by: {{ k: {text} }}, aggregate: {{ n: count() }} }} }}")),
        2 => run(&format!("{{ window: {{ tumbling: 2s, aggregate: {{ n: {text} }} }} }}")),
        _ => run(&format!("{{ set: {{ a: {text}, map.x: {text} }} }}")),
    }
}

/// A script, with and without state.
pub fn script(data: &[u8]) {
    let Some(text) = quoted(data) else { return };
    match data.len() % 2 {
        0 => run(&format!("{{ script: {text} }}")),
        _ => run(&format!("{{ script: {text}, by: ok }}")),
    }
}
