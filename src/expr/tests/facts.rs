//! What an analysis finds: fields, paths, how a text runs; and what follows from it when it runs.

use std::sync::Arc;

use super::harness::{analysed, batch, edited, event_of, json, spelled, value};
use crate::base::diag::Diagnostics;
use crate::base::tree::Origin;
use crate::data::column::ColumnBuilder;
use crate::data::layout::{FieldId, FieldPath, Layout};
use crate::data::value::Value;
use crate::expr::{AggregateOutput, Expr, Kind, Mode, Program, Scope, Scratch, analyse, analyse_aggregate};

fn expr(text: &str, kind: Kind) -> (Expr, Layout) {
    let mut layout = Layout::default();
    let expr = analysed(text, kind, &Scope { state: true, ..Scope::default() }, &mut layout);
    (expr, layout)
}

fn names(list: &[FieldId], layout: &Layout) -> Vec<String> {
    list.iter().map(|f| layout.path(*f).unwrap().to_string()).collect()
}

#[test]
fn fields_are_free_variables() {
    let cases: [(&str, &[&str], &[&str]); 13] = [
        ("a = b + site.floor;", &["b", "site.floor"], &["a"]),
        ("a += 1;", &["a"], &["a"]),
        ("let x = a; x += 1; b = x;", &["a"], &["b"]),
        ("event[\"odd one\"] = event.a;", &["a"], &["odd one"]),
        ("tags.push(a);", &["tags", "a"], &["tags"]),
        ("a = tags[0]; b = tags.len();", &["tags"], &["a", "b"]),
        ("let f = |x| x + limit; a = f.call(1);", &["limit"], &["a"]),
        ("a = tags.map(|x| x + n); b = tags.filter(|y| y > a);", &["tags", "n", "a"], &["a", "b"]),
        ("fn f(x) { x * 2 } a = f(b);", &["b"], &["a"]),
        ("for x in list { total += x; }", &["list", "total"], &["total"]),
        ("a = meta.path;", &["meta.path"], &["a"]),
        ("site.floor = 1; a = site;", &["site"], &["site", "a"]),
        ("let k = \"x\"; event[k] = a; b = 1;", &[], &["b", "event"]),
    ];
    for (text, reads, writes) in cases {
        let (expr, layout) = expr(text, Kind::Script);
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let expected = |list: &[&str]| sorted(list.iter().map(ToString::to_string).collect());
        assert_eq!(sorted(names(&expr.reads, &layout)), expected(reads), "{text}");
        assert_eq!(sorted(names(&expr.writes, &layout)), expected(writes), "{text}");
    }
}

#[test]
fn a_path_alone_shares_its_column() {
    for (text, path) in [
        ("site.floor", Some("site.floor")),
        ("event[\"odd one\"]", Some("odd one")),
        ("a + 1", None),
        ("event", None),
        ("a.len()", None),
    ] {
        let (expr, layout) = expr(text, Kind::Expression);
        let found = expr.as_path().map(|f| layout.path(f).unwrap().to_string());
        assert_eq!(found.as_deref(), path, "{text}");
        assert_eq!(Program::compile(&expr, &layout, &[]).unwrap().column_of(), expr.as_path(), "{text}");
    }
}

#[test]
fn what_runs_in_rhai_is_said() {
    let cases = [
        ("for x in list { a = x; }", "a loop", 1),
        ("let f = |x| x;", "a closure", 9),
        ("switch a { 1 => 2 }", "`switch`", 1),
        ("a = [1];", "a list", 5),
        ("a = split(b, \",\");", "the function `split`", 5),
        ("state.n = 1;", "`state`", 1),
        ("a = event.keys();", "`event` as a whole", 5),
        ("a = to_json(event);", "`event` as a whole", 13),
    ];
    for (text, reason, column) in cases {
        let (expr, _) = expr(text, Kind::Script);
        assert_eq!(expr.mode, Mode::Rhai { reason: reason.into(), line: 1, column }, "{text}");
    }
    assert_eq!(expr("if a > 1 { b = upper(c) } else { drop() }", Kind::Script).0.mode, Mode::Compiled);
}

#[test]
fn the_whole_event_is_read_as_it_is() {
    let event = r#"{"b": 1, "a": {"z": null, "y": [1, null]}}"#;
    assert_eq!(value("to_json(event.a)", event), r#""{\"y\":[1,null],\"z\":null}""#);
    assert_eq!(value("event.contains(\"b\") && !event.contains(\"c\")", event), "true");
    assert_eq!(value("event.keys().len() + b", event), "3");
}

#[test]
fn overlapping_columns_follow_a_write() {
    let events = [json(r#"{"site": {"name": "x", "floor": {"n": 1}}}"#), json(r#"{"site": 5}"#), json("{}")];
    let mut layout = Layout::default();
    let expr = analysed("if a != 1 { site.floor = 7; }", Kind::Script, &Scope::default(), &mut layout);
    let (outer, inner) = (layout.intern(FieldPath::dotted("site")), layout.intern(FieldPath::dotted("site.floor.n")));
    let program = Program::compile(&expr, &layout, &[]).unwrap();
    let output = program.run(batch(&events, &layout), &mut Scratch::default(), None).batch;
    for (row, event) in events.iter().enumerate() {
        let after = edited(event, &output, row, &layout);
        let site = output.get(outer.unwrap(), row).to_value();
        assert_eq!(Some(&site), after.at(&["site".into()]), "{}", spelled(&site));
        assert!(output.column(inner.unwrap()).unwrap().is_missing(row));
    }
}

#[test]
fn the_output_of_an_aggregate_reads_computed_columns() {
    let (mut layout, mut found) = (Layout::default(), Diagnostics::default());
    let text = "max( t ) - min(t) > 2 && count() ?? 0 == 3";
    let origin = Origin::detached("test", text);
    let functions = ["count", "min", "max"];
    let aggregate = analyse_aggregate(text, &origin, &Scope::default(), &functions, &mut layout, &mut found);
    let aggregate = aggregate.unwrap_or_else(|| panic!("{found:?}"));
    let AggregateOutput::Expr(expr) = &aggregate.output else { panic!() };
    let events = [
        json(r#"{"__computed": {"max( t )": 9, "min(t)": 4, "count()": 3}}"#),
        json(r#"{"__computed": {"max( t )": 9, "count()": 1}}"#),
    ];
    let batch = batch(&events, &layout);
    for program in [Program::compile(expr, &layout, &[]), Program::compile_for_rhai(expr, &layout, &[])] {
        let (mut out, mut errors) = (ColumnBuilder::default(), Vec::new());
        program.unwrap().evaluate(&batch, &mut Scratch::default(), &mut out, &mut errors);
        assert_eq!(out.finish().get(0).to_value(), Value::Bool(true));
        let words: Vec<String> = errors.iter().map(|e| format!("{} {}", e.place, e.reason)).collect();
        assert_eq!(words, ["test:1:10 `min(t)` is null, so `max(t) - min(t)` has no value"]);
    }
}

#[test]
fn text_that_is_too_long_is_refused() {
    for text in ["1 + ".repeat(5000) + "1", format!("a = {};", "(".repeat(3000)), "a = 1; ".repeat(20_000)] {
        let mut found = Diagnostics::default();
        let origin = Origin::detached("test", &text);
        assert!(analyse(&text, &origin, Kind::Script, &Scope::default(), &mut Layout::default(), &mut found).is_none());
        assert!(found.has_errors());
    }
    let long = "a + ".repeat(100) + "1";
    assert_eq!(value(&long, r#"{"a": 1}"#), "101");
}

#[test]
fn programs_are_shared_by_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let (expr, layout) = expr("a > 1", Kind::Expression);
    shared(&Program::compile(&expr, &layout, &[]).unwrap());
    let events = [Value::Null];
    let _: Arc<_> = event_of(&events);
}
