//! The decoder against `serde_json` on random input; [`edits`] holds the encoder to plain trees.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value as Tree;

use super::*;
use crate::data::batch::Batch;
use crate::data::column::{Cell, Column, ColumnBuilder, Place};
use crate::data::framing::{Block, Decoded};
use crate::data::layout::{Demand, FieldId, FieldPath, Layout};
use crate::data::value::{Val, Value};
use crate::data::weave::{Pick, alike, weave};

mod edits;

pub(super) fn layout_of(paths: &[&str]) -> Layout {
    let mut layout = Layout::default();
    for path in paths {
        let path = if path.is_empty() { FieldPath::event([""; 0]) } else { FieldPath::dotted(path) };
        layout.intern(path).unwrap();
    }
    layout
}

pub(super) fn demand_of(layout: &Layout, values: &[&str], places: &[&str]) -> Demand {
    let id = |path: &&str| {
        layout.find(&if path.is_empty() { FieldPath::event([""; 0]) } else { FieldPath::dotted(path) }).unwrap()
    };
    let mut demand = Demand { body: true, ..Demand::default() };
    values.iter().for_each(|p| demand.value(id(p)));
    places.iter().for_each(|p| demand.place(id(p)));
    demand
}

fn lines(text: &str) -> Block {
    Block { bytes: text.as_bytes().to_vec(), ..Block::default() }
}

/// Whether our value says what `serde_json` read; where ours keeps the spelling theirs is a double.
fn same(ours: &Value, theirs: &Tree) -> bool {
    match (ours, theirs) {
        (Value::Null, Tree::Null) => true,
        (Value::Bool(a), Tree::Bool(b)) => a == b,
        (Value::Int(a), Tree::Number(b)) => b.as_i64() == Some(*a),
        (Value::Float(a), Tree::Number(b)) => b.is_f64() && close(*a, b.as_f64()),
        (Value::Number(a), Tree::Number(b)) => {
            b.as_i64().is_none() && (b.to_string() == *a || close(a.parse().unwrap(), b.as_f64()))
        }
        (Value::Text(a), Tree::String(b)) => a == b,
        (Value::List(a), Tree::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Tree::Object(b)) => {
            a.0.len() == b.len() && a.0.iter().zip(b).all(|((n, a), (m, b))| n == m && same(a, b))
        }
        _ => false,
    }
}

/// `serde_json` reads floats to within some units in the last place; ours are exact, which the tests of numbers hold.
fn close(ours: f64, theirs: Option<f64>) -> bool {
    theirs.is_some_and(|b| b.is_sign_negative() == ours.is_sign_negative() && (b - ours).abs() <= ours.abs() * 1e-14)
}

fn cell_value(column: &Column, row: usize) -> Option<Value> {
    (!column.is_missing(row)).then(|| column.get(row).to_value())
}

const PATHS: [&str; 6] = ["a", "b", "s", "s.f", "s.g.h", ""];

/// Every row against `serde_json`.
fn check(text: &str, decoded: &Decoded, layout: &Layout, demand: &Demand) {
    let batch = &decoded.batch;
    let raw = batch.raw.as_ref().unwrap();
    let records: Vec<&str> = text.split('\n').filter(|l| !l.trim_matches([' ', '\t', '\r']).is_empty()).collect();
    assert_eq!(decoded.records as usize, records.len(), "{text:?}");
    assert_eq!(batch.rows + decoded.refused.len(), records.len());
    for (ordinal, record) in records.iter().enumerate() {
        let start = record.as_ptr() as usize - text.as_ptr() as usize;
        assert_eq!(decoded.starts[ordinal] as usize, start);
        let row = batch.ordinals.iter().position(|o| *o as usize == ordinal);
        let (theirs, fits) = match serde_json::from_str::<Tree>(record) {
            Ok(tree) => (Some(tree), true),
            Err(error) if error.to_string().starts_with("number out of range") => (None, false),
            Err(_) => (None, true),
        };
        if !fits {
            continue;
        }
        assert_eq!(row.is_some(), theirs.is_some(), "{record:?} {:?}", decoded.refused);
        let (Some(row), Some(tree)) = (row, theirs) else { continue };
        assert_eq!(raw.row(row), record.trim_matches([' ', '\t', '\r']));
        for field in &demand.values {
            let path = &layout.path(*field).unwrap().names;
            let theirs = path.iter().try_fold(&tree, |t, name| t.get(name.as_str()));
            let ours = cell_value(batch.column(*field).unwrap(), row);
            let equal = match (&ours, theirs) {
                (None, None) => true,
                (Some(ours), Some(theirs)) => same(ours, theirs),
                _ => false,
            };
            assert!(equal, "{record:?} {path:?}: {ours:?} {theirs:?}");
        }
        for field in &demand.places {
            let name = &layout.path(*field).unwrap().names[0];
            check_place(&raw.text, &tree, name, batch.column(*field).unwrap().places[row]);
        }
    }
}

fn check_place(text: &str, tree: &Tree, name: &str, place: Place) {
    if place == Place::MISSING {
        assert_eq!(tree.get(name), None);
        return;
    }
    let theirs = tree.get(name).unwrap();
    if place != Place::REPEATED {
        let key = &text[place.start as usize..place.key_end as usize];
        assert_eq!(serde_json::from_str::<String>(key).unwrap(), name);
        let value = &text[place.value_start as usize..place.value_end as usize];
        assert_eq!(&serde_json::from_str::<Tree>(value).unwrap(), theirs);
    }
}

/// JSON text of any form, with names that are often wanted, white space, escapes and repeated names.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        any::<i64>().prop_map(|i| i.to_string()),
        (-2000i32..2000).prop_map(|i| (f64::from(i) / 8.0).to_string()),
        r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        "[a-z0-9 ]{0,20}".prop_map(|t| format!("\"{t}\"")),
        any::<String>().prop_map(|t| serde_json::to_string(&t).unwrap()),
        Just(r#""\u0041\ud83d\ude00\/\n""#.to_owned()),
    ];
    let name = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "s", "f", "g", "h", "other"]).prop_map(|n| format!("\"{n}\"")),
        1 => Just(r#""\u0061""#.to_owned()),
        1 => Just("\"ä\"".to_owned()),
    ];
    let space = || prop::sample::select(vec!["", "", "", " ", "\t "]);
    scalar.prop_recursive(4, 24, 5, move |inner| {
        let member = (name.clone(), space(), space(), inner.clone());
        prop_oneof![
            1 => (prop::collection::vec(inner, 0..4), space())
                .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},")))),
            4 => (prop::collection::vec(member, 0..5), space()).prop_map(|(members, s)| {
                let members: Vec<_> = members.iter().map(|(n, s, t, v)| format!("{n}{s}:{t}{v}")).collect();
                format!("{{{s}{}{s}}}", members.join(&format!("{s},")))
            }),
        ]
    })
}

/// A row, or one that differs from it in a byte.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), prop::sample::select(b"{}[],:\"\\0u1e.-+ \ttnx".to_vec()));
    (json(), prop::option::weighted(0.4, change)).prop_map(|(text, change)| {
        let Some((at, byte)) = change else { return text };
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        String::from_utf8(bytes).unwrap_or(text)
    })
}

/// Rows of a few shapes, one after the other in any order.
fn stream() -> impl Strategy<Value = String> {
    let event = (0u32..100_000, any::<i16>(), "[a-z\"\\\\]{0,9}", 0u8..6).prop_map(|(seq, n, text, shape)| {
        let (f, text) = (f64::from(n) / 10.0, serde_json::to_string(&text).unwrap());
        match shape {
            0 => format!(r#"{{"a":{text},"b":{f},"s":{{"f":{seq},"x":[1,{seq}]}},"n":{seq}}}"#),
            1 => format!(r#"{{"a":{text},"b":null,"s":{{"f":{seq},"x":[{{"f":1}}]}},"n":{seq}}}"#),
            2 => format!(r#"{{"b":{seq}, "a":{text}}} "#),
            3 => format!(r#"{{"a":1,"s":{{"f":{seq}}},"s":{{"g":{{"h":{text}}}}}}}"#),
            4 => format!("[{seq},{text}]\r"),
            _ => format!(r#"{{"a":{text},"b":{f}"#),
        }
    });
    let row = prop_oneof![6 => event, 2 => mutated(), 1 => Just(String::new()), 1 => Just("  ".to_owned())];
    prop::collection::vec(row, 0..40).prop_map(|rows| rows.join("\n"))
}

fn demands() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
    let values = prop::sample::subsequence(PATHS.to_vec(), 0..=PATHS.len());
    let places = prop::sample::subsequence(vec!["a", "b", "s"], 0..=3);
    (values, places)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn decodes_as_serde_json_does(text in stream(), (values, places) in demands(), cut in any::<prop::sample::Index>()) {
        let layout = layout_of(&PATHS);
        let demand = demand_of(&layout, &values, &places);
        let mut decoder = Decoder::new(&layout, &demand);
        check(&text, &decoder.decode(lines(&text)), &layout, &demand);
        // The same decoder again, cut elsewhere: what it learned changes nothing.
        let ends: Vec<usize> = text.match_indices('\n').map(|(i, _)| i + 1).collect();
        if !ends.is_empty() {
            let (front, back) = text.split_at(ends[cut.index(ends.len())]);
            check(front, &decoder.decode(lines(front)), &layout, &demand);
            check(back, &decoder.decode(lines(back)), &layout, &demand);
        }
    }

    #[test]
    fn values_read_and_write_as_serde_json_does(text in mutated()) {
        match (parse_value(&text), serde_json::from_str::<Tree>(&text)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert!(same(&ours, &theirs), "{:?} {:?}", ours, theirs);
                let mut out = Vec::new();
                write_value(&ours, &mut out);
                let again = parse_value(std::str::from_utf8(&out).unwrap()).unwrap();
                prop_assert!(same(&again, &theirs));
            }
            (Ok(_), Err(error)) => prop_assert!(error.to_string().starts_with("number out of range"), "{}: {}", text, error),
            (Err(error), theirs) => prop_assert!(theirs.is_err(), "{}: {}", text, error),
        }
    }
}

#[test]
fn depth_ends_where_serde_json_ends() {
    for depth in [126, 127, 128, 129] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let theirs = serde_json::from_str::<Tree>(&text).is_ok();
            assert_eq!(parse_value(&text).is_ok(), theirs, "{depth}");
            let layout = layout_of(&["a"]);
            for values in [&[][..], &["a"][..]] {
                let demand = demand_of(&layout, values, &[]);
                let decoded = Decoder::new(&layout, &demand).decode(lines(&format!("{text}\n{text}\n{text}")));
                assert_eq!(decoded.batch.rows == 3, theirs, "{depth}");
            }
        }
    }
}

#[test]
fn refuses_just_the_rows_that_are_wrong() {
    let layout = layout_of(&["a"]);
    let demand = demand_of(&layout, &["a"], &[]);
    let mut bytes = b"{\"a\":1}\n{\"a\":\"".to_vec();
    bytes.extend_from_slice(b"\xff\"}\n\n{\"a\":}\r\n{\"a\":3}");
    let decoded = Decoder::new(&layout, &demand).decode(Block { bytes: bytes.clone(), ..Block::default() });
    assert_eq!(decoded.batch.ordinals, [0, 3]);
    assert_eq!(decoded.records, 4);
    let refused: Vec<_> = decoded.refused.iter().map(|r| (r.ordinal, r.place.as_str())).collect();
    assert_eq!(refused, [(1, "byte 7"), (2, "byte 6")]);
    assert_eq!(decoded.refused[0].original, b"{\"a\":\"\xff\"}");
    assert_eq!(decoded.refused[1].original, b"{\"a\":}");
    assert_eq!(decoded.refused[1].reason, "this is not JSON: a value should stand here");
    assert!(matches!(decoded.batch.get(FieldId(0), 1), Val::Int(3)));
}

#[test]
fn messages_may_hold_line_ends() {
    let layout = layout_of(&["a"]);
    let demand = demand_of(&layout, &["a"], &["a"]);
    let mut decoder = Decoder::new(&layout, &demand);
    let records = ["{\n \"a\": [1,\r\n2]}\n", "{\n \"a\": [3,\r\n4]}\n", "", "{\"a\":\n", "5"];
    let ends = records.iter().scan(0, |at, r| {
        *at += r.len() as u32;
        Some(*at)
    });
    let decoded = decoder.decode(Block::from_records(records.concat().into_bytes(), ends.collect()));
    assert_eq!(decoded.batch.ordinals, [0, 1, 4]);
    assert_eq!(decoded.refused.iter().map(|r| r.ordinal).collect::<Vec<_>>(), [2, 3]);
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    Encoder::new(&layout).encode(&decoded.batch, &mut text, &mut ends);
    assert_eq!(String::from_utf8(text).unwrap(), "{  \"a\": [1,  2]}\n{  \"a\": [3,  4]}\n5\n");
    assert_eq!(ends, [17, 34, 36]);
}
