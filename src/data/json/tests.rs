//! The decoder against `serde_json`, the encoder against edits of plain trees, both on random input.

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

/// An edit in plain terms.
#[derive(Clone, Debug)]
enum Plain {
    /// Path, and per row: `None` passes over, `Some(None)` removes.
    Set(&'static str, Vec<Option<Option<Tree>>>),
    Rename(&'static str, &'static str),
    Keep(Vec<&'static str>),
}

fn plain_edit(top: bool) -> impl Strategy<Value = Plain> {
    let fields = if top { vec!["a", "b", "s"] } else { vec!["a", "b", "s", "s.f", "s.g.h", ""] };
    let tree = prop_oneof![
        Just(Tree::Null),
        any::<i32>().prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
        Just(serde_json::json!({"f": 1, "g": {"h": [1.5, "x\""]}})),
    ];
    let cell = prop_oneof![1 => Just(None), 1 => Just(Some(None)), 3 => tree.prop_map(|t| Some(Some(t)))];
    let kept = if top { vec!["a", "b", "s"] } else { vec!["a", "s.f", "s.g.h", "b"] };
    prop_oneof![
        5 => (prop::sample::select(fields), prop::collection::vec(cell, 8)).prop_map(|(f, c)| Plain::Set(f, c)),
        1 => (prop::sample::select(vec!["a", "b", "s"]), prop::sample::select(vec!["a", "b", "s"]))
            .prop_map(|(a, b)| Plain::Rename(a, b)),
        1 => prop::sample::subsequence(kept, 0..=2).prop_map(Plain::Keep),
    ]
}

fn set_tree(tree: &mut Tree, path: &[&str], value: &Tree) {
    let Some((name, rest)) = path.split_first() else {
        *tree = value.clone();
        return;
    };
    if !tree.is_object() {
        *tree = serde_json::json!({});
    }
    let map = tree.as_object_mut().unwrap();
    set_tree(map.entry(*name).or_insert(serde_json::json!({})), rest, value);
}

fn remove_tree(tree: &mut Tree, path: &[&str]) {
    let (Some((name, rest)), Some(map)) = (path.split_first(), tree.as_object_mut()) else { return };
    if rest.is_empty() {
        map.shift_remove(*name);
    } else if let Some(inner) = map.get_mut(*name) {
        remove_tree(inner, rest);
    }
}

fn keep_tree(tree: &mut Tree, paths: &[Vec<&str>]) -> bool {
    if paths.iter().any(Vec::is_empty) {
        return true;
    }
    let Some(map) = tree.as_object_mut() else {
        *tree = serde_json::json!({});
        return false;
    };
    map.retain(|name, inner| {
        let inside: Vec<Vec<&str>> = paths.iter().filter(|p| p[0] == name).map(|p| p[1..].to_vec()).collect();
        !inside.is_empty() && keep_tree(inner, &inside)
    });
    !map.is_empty()
}

fn names(path: &'static str) -> Vec<&'static str> {
    if path.is_empty() { Vec::new() } else { path.split('.').collect() }
}

fn apply_plain(tree: &mut Tree, edit: &Plain, row: usize) {
    match edit {
        Plain::Set(path, cells) => match &cells[row % cells.len()] {
            None => {}
            Some(None) => remove_tree(tree, &names(path)),
            Some(Some(value)) => set_tree(tree, &names(path), value),
        },
        Plain::Rename(from, to) => {
            let Some(map) = tree.as_object_mut().filter(|m| from != to && m.contains_key(*from)) else { return };
            let renamed = std::mem::take(map)
                .into_iter()
                .filter(|(n, _)| n != to)
                .map(|(n, v)| (if n == *from { (*to).to_owned() } else { n }, v));
            *map = renamed.collect();
        }
        Plain::Keep(paths) => {
            keep_tree(tree, &paths.iter().map(|p| names(p)).collect::<Vec<_>>());
        }
    }
}

/// The edit as steps record it.
fn apply(batch: &mut Batch, layout: &Layout, edit: &Plain) {
    use crate::data::batch::Edit;
    let id = |path: &str| {
        layout.iter().find(|(_, p)| if path.is_empty() { p.names.is_empty() } else { p.to_string() == path }).unwrap().0
    };
    match edit {
        Plain::Set(path, cells) => {
            let mut builder = ColumnBuilder::default();
            let mut touched = Vec::new();
            for row in 0..batch.rows {
                let cell = &cells[row % cells.len()];
                touched.push(cell.is_some());
                match cell {
                    Some(Some(tree)) => builder.push(parse_value(&tree.to_string()).unwrap().as_val()),
                    _ => builder.push_cell(Cell::Missing),
                }
            }
            let all = touched.iter().all(|t| *t);
            batch.set(id(path), Arc::new(builder.finish()), (!all).then(|| Arc::new(touched)));
        }
        Plain::Rename(from, to) => batch.edits.push(Edit::Rename { from: id(from), to: id(to) }),
        Plain::Keep(paths) => {
            batch.edits.push(Edit::Keep { fields: paths.iter().map(|p| id(p)).collect::<Vec<_>>().into() });
        }
    }
}

fn encoded(encoder: &mut Encoder, batch: &Batch) -> Vec<String> {
    let (mut text, mut ends) = (b"before".to_vec(), Vec::new());
    encoder.encode(batch, &mut text, &mut ends);
    let mut at = 6;
    ends.iter()
        .map(|end| {
            let row = std::str::from_utf8(&text[at..*end as usize]).unwrap();
            at = *end as usize;
            row.strip_suffix('\n').unwrap().to_owned()
        })
        .collect()
}

fn rows() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        json().prop_filter("numbers beyond doubles", |t| serde_json::from_str::<Tree>(t).is_ok()),
        1..8,
    )
}

fn check_edits(rows: &[String], edits: &[Plain], made: bool) {
    let layout = layout_of(&PATHS);
    let demand = demand_of(&layout, &[], &["a", "b", "s"]);
    let mut batch = Decoder::new(&layout, &demand).decode(lines(&rows.join("\n"))).batch;
    let mut trees: Vec<Tree> = rows.iter().map(|r| serde_json::from_str(r).unwrap()).collect();
    if made {
        batch.raw = None;
        batch.columns.clear();
        trees.fill(serde_json::json!({}));
    }
    for edit in edits {
        apply(&mut batch, &layout, edit);
        trees.iter_mut().enumerate().for_each(|(row, tree)| apply_plain(tree, edit, row));
    }
    for (row, text) in encoded(&mut Encoder::new(&layout), &batch).iter().enumerate() {
        let ours: Tree = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let in_order = |t: &Tree| t.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>());
        assert_eq!(ours, trees[row], "{text}");
        assert_eq!(in_order(&ours), in_order(&trees[row]), "{text}");
        let event = event_of(&layout, &batch, row);
        assert!(same(&event, &trees[row]), "{event:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn edits_of_members_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(true), 0..5)) {
        check_edits(&rows, &edits, false);
    }

    #[test]
    fn edits_at_any_depth_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(false), 0..5)) {
        check_edits(&rows, &edits, false);
    }

    #[test]
    fn made_rows_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(false), 0..5)) {
        check_edits(&rows, &edits, true);
    }
}

/// Rows and their edits, ready to be joined.
fn edited(layout: &Layout, demand: &Demand, rows: &[String], edits: &[Plain]) -> Batch {
    let mut batch = Decoder::new(layout, demand).decode(lines(&rows.join("\n"))).batch;
    batch.times = (0..batch.rows as i64).map(crate::base::time::Timestamp).collect();
    edits.iter().for_each(|edit| apply(&mut batch, layout, edit));
    batch
}

proptest! {
    #[test]
    fn woven_batches_say_what_their_parts_say(
        first in rows(),
        second in rows(),
        edits in prop::collection::vec(plain_edit(false), 0..3),
        others in prop::option::of(prop::collection::vec(plain_edit(true), 0..3)),
        cuts in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..12),
        order in any::<bool>(),
    ) {
        let layout = layout_of(&PATHS);
        let demand = demand_of(&layout, &["a", "s", "s.f"], &["a", "b", "s"]);
        let mut batches = [
            edited(&layout, &demand, &first, &edits),
            edited(&layout, &demand, &second, others.as_deref().unwrap_or(&edits)),
        ];
        if order {
            // Rows out of order and with gaps.
            for batch in &mut batches {
                let rows: Vec<u32> = (0..batch.rows as u32).rev().filter(|r| r % 3 != 1).collect();
                *batch = batch.select(&rows);
            }
        }
        let mut encoder = Encoder::new(&layout);
        let mut decoder = Decoder::new(&layout, &demand);
        let was_alike = alike(&batches);
        if !was_alike {
            batches = batches.map(|batch| materialise(&mut encoder, &mut decoder, &batch).0);
        }
        let picks = cuts.iter().filter_map(|(part, row)| {
            let rows = batches[usize::from(*part)].rows;
            (rows > 0).then(|| Pick { part: u32::from(*part), row: row.index(rows) as u32 })
        });
        let order: Vec<Pick> = picks.collect();
        let joined = weave(&batches, &order);
        let texts = encoded(&mut encoder, &joined);
        prop_assert_eq!(joined.rows, order.len());
        for (row, pick) in order.iter().enumerate() {
            let (batch, old_row) = (&batches[pick.part as usize], pick.row as usize);
            let event = event_of(&layout, batch, old_row);
            prop_assert_eq!(&event_of(&layout, &joined, row), &event);
            prop_assert_eq!(&parse_value(&texts[row]).unwrap(), &event);
            prop_assert_eq!(joined.times[row], batch.times[old_row]);
            for field in demand.values.iter().filter(|_| was_alike) {
                prop_assert_eq!(cell_value(joined.column(*field).unwrap(), row), cell_value(batch.column(*field).unwrap(), old_row));
            }
        }
        // Materialised, columns say what the event says.
        let (fresh, _) = materialise(&mut encoder, &mut decoder, &joined);
        for row in 0..fresh.rows {
            let event = event_of(&layout, &joined, row);
            for field in &demand.values {
                let names = &layout.path(*field).unwrap().names;
                prop_assert_eq!(cell_value(fresh.column(*field).unwrap(), row), event.at(names).cloned());
            }
        }
        prop_assert_eq!(fresh.times, joined.times);
    }
}

#[test]
fn untouched_rows_leave_as_they_came() {
    let layout = layout_of(&["a"]);
    let mut encoder = Encoder::new(&layout);
    let mut decoder = Decoder::new(&layout, &Demand::default());
    let text = "{\"a\" : 1.50}\n{\"b\":[ ]}\n\n 7 \n";
    let batch = decoder.decode(lines(text)).batch;
    assert_eq!(encoded(&mut encoder, &batch), ["{\"a\" : 1.50}", "{\"b\":[ ]}", "7"]);
    assert_eq!(encoder.untouched(&batch), None);
    let front = batch.select(&[0, 1]);
    assert_eq!(encoder.untouched(&front), Some(Untouched { text: &text[..23], start: 0 }));
    assert_eq!(encoded(&mut encoder, &batch.select(&[1, 0])), ["{\"b\":[ ]}", "{\"a\" : 1.50}"]);
}
