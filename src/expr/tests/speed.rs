//! Instructions a row takes. Ignored: run one under `valgrind --tool=callgrind` with `MILLSTREAM_BATCHES` set to two
//! numbers in turn; the difference over the rows between is the cost.

use super::harness::{analysed, batch, json};
use crate::data::column::ColumnBuilder;
use crate::data::layout::Layout;
use crate::data::value::Value;
use crate::expr::{Kind, Program, Scope, Scratch};

const ROWS: usize = 1000;

fn batches() -> usize {
    std::env::var("MILLSTREAM_BATCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn events() -> Vec<Value> {
    let event = |i: usize| {
        let status = if i.is_multiple_of(7) { "failed" } else { "ok" };
        json(&format!(r#"{{"status": "{status}", "temperature": {}.5, "device": "d{}"}}"#, i % 40, i % 10))
    };
    (0..ROWS).map(event).collect()
}

fn filter(text: &str, rhai: bool) {
    let mut layout = Layout::default();
    let expr = analysed(text, Kind::Expression, &Scope::default(), &mut layout);
    let program =
        if rhai { Program::compile_for_rhai(&expr, &layout, &[]) } else { Program::compile(&expr, &layout, &[]) };
    let (program, batch, mut scratch) = (program.unwrap(), batch(&events(), &layout), Scratch::default());
    let mut kept = 0;
    for _ in 0..batches() {
        let (mut keep, mut errors) = (Vec::with_capacity(ROWS), Vec::new());
        program.test(&batch, &mut scratch, &mut keep, &mut errors);
        kept += keep.len();
        assert!(errors.is_empty());
    }
    assert!(kept > 0);
}

#[test]
#[ignore = "measures"]
fn filter_of_two_fields() {
    filter("status == \"ok\" && temperature > 20", false);
}

#[test]
#[ignore = "measures"]
fn filter_of_two_fields_in_rhai() {
    filter("status == \"ok\" && temperature > 20", true);
}

#[test]
#[ignore = "measures"]
fn value_of_arithmetic() {
    let mut layout = Layout::default();
    let expr = analysed("temperature * 9 / 5 + 32", Kind::Expression, &Scope::default(), &mut layout);
    let program = Program::compile(&expr, &layout, &[]).unwrap();
    let (batch, mut scratch) = (batch(&events(), &layout), Scratch::default());
    for _ in 0..batches() {
        let (mut out, mut errors) = (ColumnBuilder::with_capacity(ROWS), Vec::new());
        program.evaluate(&batch, &mut scratch, &mut out, &mut errors);
        assert_eq!(out.len(), ROWS);
    }
}

fn script(text: &str, rhai: bool) {
    let mut layout = Layout::default();
    let expr = analysed(text, Kind::Script, &Scope::default(), &mut layout);
    let program =
        if rhai { Program::compile_for_rhai(&expr, &layout, &[]) } else { Program::compile(&expr, &layout, &[]) };
    let (program, batch, mut scratch) = (program.unwrap(), batch(&events(), &layout), Scratch::default());
    for _ in 0..batches() {
        let output = program.run(batch.clone(), &mut scratch, None);
        assert_eq!(output.kept.len(), ROWS);
    }
}

#[test]
#[ignore = "measures"]
fn script_of_arithmetic() {
    script("fahrenheit = temperature * 9 / 5 + 32;", false);
}

#[test]
#[ignore = "measures"]
fn script_of_arithmetic_in_rhai() {
    script("fahrenheit = temperature * 9 / 5 + 32;", true);
}
