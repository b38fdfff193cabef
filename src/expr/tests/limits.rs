//! Faults of rows in our words, limits, state, and the table of functions.

use std::collections::BTreeMap;

use super::harness::{analysed, batch, json, outcome, script, spelled, value, values};
use crate::data::layout::Layout;
use crate::data::value::Value;
use crate::expr::{KeyedState, Kind, Program, Scope, Scratch, functions};

#[test]
fn faults_name_what_the_author_wrote() {
    let event = r#"{"a": 7, "zero": 0, "t": "warm", "n": null, "max": 9223372036854775807, "huge": 1e308, "big": 123456789012345678901234567890, "list": [1]}"#;
    let cases = [
        ("temperature * 9", "`temperature` is missing or null, so `temperature * 9` has no value at test:1:13"),
        ("n + 1", "`n` is missing or null, so `n + 1` has no value at test:1:3"),
        ("t + n", "`n` is missing or null, so `t + n` has no value at test:1:3"),
        ("site.floor + 1", "`site.floor` is missing or null, so `site.floor + 1` has no value at test:1:12"),
        ("t * 2", "`t` is text, so `t * 2` has no value at test:1:3"),
        ("a + list", "`list` is a list, so `a + list` has no value at test:1:3"),
        ("a / zero", "`a / zero` divides by zero: `zero` is 0 at test:1:3"),
        ("a % zero", "`a % zero` divides by zero: `zero` is 0 at test:1:3"),
        ("a / (zero * 1.0)", "`a / (zero * 1.0)` divides by zero: `zero * 1.0` is 0 at test:1:3"),
        ("div(a, zero)", "`div(a, zero)` divides by zero: `zero` is 0 at test:1:1"),
        ("max + 1", "the result of `max + 1` does not fit a 64-bit integer at test:1:5"),
        ("huge * 10", "the result of `huge * 10` is too large for a float at test:1:6"),
        ("sqrt(-a)", "the result of `sqrt(-a)` is not a number at test:1:1"),
        ("big + 1", "`big` is a number beyond 64 bits, so `big + 1` has no value at test:1:5"),
        ("a && t == \"x\"", "`a` is an integer, where a bool is needed at test:1:1"),
        ("n || a > 1", "`n` is missing or null, where a bool is needed at test:1:1"),
        ("!t", "`t` is text, so `!t` has no value at test:1:1"),
        ("-t", "`t` is text, so `-t` has no value at test:1:1"),
        ("upper(gone)", "`gone` is missing or null, so `upper(gone)` has no value at test:1:1"),
        ("gone.upper()", "`gone` is missing or null, so `gone.upper()` has no value at test:1:6"),
        ("`at ${gone}`", "`gone` is missing or null, so `${gone}` has no value at test:1:6"),
        ("if a { 1 } else { 2 }", "`a` is an integer, where a bool is needed at test:1:4"),
        ("year(t)", "`t` is \"warm\", which is not a time like `2026-01-01T00:00:10Z` at test:1:1"),
        ("list[5]", "element 5 does not exist: the list has 1 at test:1:6"),
        ("[1, 2].map(|x| x + gone)", "`gone` is missing or null, so `x + gone` has no value at test:1:18"),
        ("repeat(t, 1000000)", "the text that `repeat(t, 1000000)` makes is longer than 1048576 bytes at test:1:1"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, event), format!("error: {expected}"), "{text}");
    }
}

#[test]
fn a_condition_must_be_a_bool() {
    let events = [json(r#"{"a": 7}"#), json(r#"{"a": true}"#), json("{}"), json(r#"{"a": false}"#)];
    for text in ["a", "a ?? ()", "if true { a }"] {
        let mut layout = Layout::default();
        let expr = analysed(text, Kind::Expression, &Scope::default(), &mut layout);
        let batch = batch(&events, &layout);
        let run = |program: Program| {
            let (mut keep, mut errors) = (Vec::new(), Vec::new());
            program.test(&batch, &mut Scratch::default(), &mut keep, &mut errors);
            (keep, errors)
        };
        let compiled = run(Program::compile(&expr, &layout, &[]).unwrap());
        assert_eq!(compiled, run(Program::compile_for_rhai(&expr, &layout, &[]).unwrap()), "{text}");
        assert_eq!(compiled.0, [1], "{text}");
        assert_eq!(compiled.1.iter().map(|e| e.row).collect::<Vec<_>>(), [0, 2], "{text}");
        assert!(compiled.1[0].reason.ends_with("is an integer, where a bool is needed"), "{:?}", compiled.1);
    }
}

#[test]
fn scripts_that_never_end_or_grow_are_errors_of_their_event() {
    let event = r#"{"a": 7}"#;
    let cases = [
        (
            "loop { }",
            "error: the script took more than 1000000 operations for one event; a loop in it may have no end at test:1:6",
        ),
        (
            "let t = \"x\"; loop { t += t; }",
            "error: the text that `t += t` makes is longer than 1048576 bytes at test:1:23",
        ),
        ("let l = []; loop { l.push(1); }", "error: a list or map grew beyond 10000 elements at test:1:22"),
        (
            "fn f(x) { f(x) } f(1)",
            "error: calls nest deeper than 32; a function may call itself without end at test:1:18",
        ),
        ("loop { emit(#{x: a}); }", "error: the script emitted more than 10000 events at test:1:8"),
        ("throw \"too hot\"", "error: the script threw: too hot at test:1:1"),
        ("a = |x| x;", "error: `a` was given a function, which no event holds at test:1:1"),
        ("a = 0..5;", "error: `a` was given a range, which no event holds at test:1:1"),
    ];
    for (text, expected) in cases {
        assert_eq!(script(text, event), expected, "{text}");
    }
}

/// State in memory; every row has the key of its field `k`.
struct Kept {
    keys: Vec<String>,
    states: BTreeMap<String, Value>,
}

impl KeyedState for Kept {
    fn get(&mut self, row: usize) -> Value {
        self.states.get(&self.keys[row]).cloned().unwrap_or(Value::Null)
    }

    fn put(&mut self, row: usize, state: Value) {
        self.states.insert(self.keys[row].clone(), state);
    }
}

#[test]
fn state_is_kept_for_each_key() {
    let events: Vec<Value> = [
        r#"{"k": "x", "v": 1}"#,
        r#"{"k": "y", "v": 2}"#,
        r#"{"k": "x", "v": 3}"#,
        r#"{"k": "x"}"#,
        r#"{"k": "x", "v": 0}"#,
    ]
    .map(json)
    .to_vec();
    let text = "state.sum = (state.sum ?? 0) + v; state.deep.n = v; if v == 0 { drop() } total = state.sum;";
    let mut layout = Layout::default();
    let expr = analysed(text, Kind::Script, &Scope { state: true, ..Scope::default() }, &mut layout);
    assert!(expr.uses_state);
    let program = Program::compile(&expr, &layout, &[]).unwrap();
    let keys = events.iter().map(|e| spelled(&e.at(&["k".into()]).unwrap().clone())).collect();
    let mut kept = Kept { keys, states: BTreeMap::new() };
    let output = program.run(batch(&events, &layout), &mut Scratch::default(), Some(&mut kept));
    let expected = [
        r#"{"k":"x","v":1,"total":1}"#,
        r#"{"k":"y","v":2,"total":2}"#,
        r#"{"k":"x","v":3,"total":4}"#,
        "error: `v` is missing or null, so `(state.sum ?? 0) + v` has no value at test:1:30",
        "dropped",
    ];
    assert_eq!(outcome(&output, &events, &layout), expected);
    let states: Vec<String> = kept.states.values().map(spelled).collect();
    assert_eq!(states, [r#"{"deep":{"n":0},"sum":4}"#, r#"{"deep":{"n":2},"sum":2}"#]);
    assert_eq!((output.dropped, output.kept), (1, vec![0, 1, 2]));
}

#[test]
fn every_function_does_what_its_example_says() {
    for function in functions() {
        let (text, expected) = function.example;
        let (compiled, rhai) = values(text, &[Value::Null], &[]);
        let (_, wanted) = values(expected, &[Value::Null], &[]);
        assert_eq!(rhai, wanted, "{text}");
        if let Some(compiled) = compiled {
            assert_eq!(compiled, wanted, "{text}");
        }
        assert!(function.signature.starts_with(&format!("{}(", function.name)), "{}", function.signature);
        assert!(function.summary.ends_with('.'), "{}", function.summary);
    }
}

#[test]
fn constants_of_the_pipeline() {
    let vars = [
        ("limit".to_string(), Value::Int(3)),
        ("names".to_string(), json(r#"["a", "b"]"#)),
        ("at".to_string(), json(r#"{"x": 1}"#)),
    ];
    for (text, expected) in
        [("vars.limit + a", "10"), ("\"b\" in vars.names", "true"), ("vars.at.x", "1"), ("vars.at", "{\"x\":1}")]
    {
        let (compiled, rhai) = values(text, &[json(r#"{"a": 7}"#)], &vars);
        assert_eq!(
            (compiled.unwrap_or_default().concat().as_str(), rhai.concat().as_str()),
            (expected, expected),
            "{text}"
        );
    }
}
