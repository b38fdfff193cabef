//! Events as JSON in, results out, both ways of running side by side.

use std::sync::Arc;

use crate::base::diag::Diagnostics;
use crate::base::tree::Origin;
use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::layout::{Layout, Root};
use crate::data::value::{Map, Value};
use crate::expr::functions::Out;
use crate::expr::{Expr, Kind, Mode, Program, Scope, Scratch, ScriptOutput, analyse};

/// A value from JSON text.
pub fn json(text: &str) -> Value {
    let arena = bumpalo::Bump::new();
    let function = crate::expr::functions::functions().iter().find(|f| f.name == "parse_json").unwrap();
    match (function.body)(&[crate::data::value::Val::Text(text)], &arena) {
        Ok(Out::Made(value)) => value,
        Ok(Out::Val(value)) => value.to_value(),
        Err(fault) => panic!("{text}: {fault:?}"),
    }
}

/// JSON text of a value.
pub fn spelled(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => zmij::Buffer::new().format(*f).to_string(),
        Value::Number(n) => n.to_string(),
        Value::Text(t) => serde_json::to_string(t.as_str()).unwrap(),
        Value::List(items) => format!("[{}]", list(items.iter().map(spelled).collect())),
        Value::Map(map) => {
            let member =
                |(name, v): &(compact_str::CompactString, Value)| format!("{:?}:{}", name.as_str(), spelled(v));
            format!("{{{}}}", list(map.0.iter().map(member).collect()))
        }
    }
}

/// A batch of events with a column for every field of the layout.
pub fn batch(events: &[Value], layout: &Layout) -> Batch {
    let mut batch = Batch { rows: events.len(), ..Batch::default() };
    batch.ordinals = (0..events.len() as u32).collect();
    batch.times = vec![crate::base::time::Timestamp(0); events.len()];
    for (field, path) in layout.iter() {
        let mut column = ColumnBuilder::default();
        for event in events {
            let found = match path.root {
                Root::Event => event.at(&path.names),
                Root::Meta => event.at(&["__meta".into()]).and_then(|m| m.at(&path.names)),
                Root::Computed => event.at(&["__computed".into()]).and_then(|m| m.at(&path.names)),
            };
            match found {
                Some(value) => column.push(value.as_val()),
                None => column.push_cell(Cell::Missing),
            }
        }
        batch.put(field, Arc::new(column.finish()));
    }
    batch
}

/// Analyses text that must be right.
pub fn analysed(text: &str, kind: Kind, scope: &Scope<'_>, layout: &mut Layout) -> Expr {
    let mut found = Diagnostics::default();
    let expr = analyse(text, &Origin::detached("test", text), kind, scope, layout, &mut found);
    expr.unwrap_or_else(|| panic!("{text}: {:?}", found.list.iter().map(|d| &d.message).collect::<Vec<_>>()))
}

/// The diagnostics of text: code, message, `line:column`, help.
pub fn problems(text: &str, kind: Kind, scope: &Scope<'_>) -> Vec<(String, String, String, String)> {
    let mut found = Diagnostics::default();
    analyse(text, &Origin::detached("test", text), kind, scope, &mut Layout::default(), &mut found);
    let list = found.list.iter().map(|d| {
        let (line, column) = d.span.as_ref().unwrap().line_column();
        (d.code.to_string(), d.message.clone(), format!("{line}:{column}"), d.help.clone().unwrap_or_default())
    });
    list.collect()
}

/// A result as text: JSON, `missing`, or `error: reason at place`.
pub fn shown(value: Result<Option<Value>, &RowError>) -> String {
    match value {
        Ok(Some(value)) => spelled(&value),
        Ok(None) => "missing".into(),
        Err(error) => format!("error: {} at {}", error.reason, error.place),
    }
}

/// The values of an expression for events, compiled (if it can be) and in Rhai.
pub fn values(text: &str, events: &[Value], vars: &[(String, Value)]) -> (Option<Vec<String>>, Vec<String>) {
    let mut layout = Layout::default();
    let scope = Scope { vars, ..Scope::default() };
    let expr = analysed(text, Kind::Expression, &scope, &mut layout);
    let batch = batch(events, &layout);
    let one = |program: Program| {
        let (mut out, mut errors) = (ColumnBuilder::default(), Vec::new());
        let mut scratch = Scratch { event_of: Some(event_of(events)), ..Scratch::default() };
        program.evaluate(&batch, &mut scratch, &mut out, &mut errors);
        let column = out.finish();
        let shown = (0..events.len()).map(|row| match errors.iter().find(|e| e.row as usize == row) {
            Some(error) => shown(Err(error)),
            None if column.is_missing(row) => shown(Ok(None)),
            None => shown(Ok(Some(column.get(row).to_value()))),
        });
        shown.collect::<Vec<_>>()
    };
    let compiled = (expr.mode == Mode::Compiled).then(|| one(Program::compile(&expr, &layout, vars).unwrap()));
    (compiled, one(Program::compile_for_rhai(&expr, &layout, vars).unwrap()))
}

/// The rows of a batch for which a condition holds, and the errors of others, compiled (if it can be) and in Rhai.
pub fn conditions(text: &str, events: &[Value], vars: &[(String, Value)]) -> (Option<Vec<String>>, Vec<String>) {
    let mut layout = Layout::default();
    let expr = analysed(text, Kind::Expression, &Scope { vars, ..Scope::default() }, &mut layout);
    let batch = batch(events, &layout);
    let one = |program: Program| {
        let (mut keep, mut errors) = (Vec::new(), Vec::new());
        let mut scratch = Scratch { event_of: Some(event_of(events)), ..Scratch::default() };
        program.test(&batch, &mut scratch, &mut keep, &mut errors);
        let kept = keep.iter().map(|row| format!("{row} kept"));
        kept.chain(errors.iter().map(|e| format!("{} {}", e.row, shown(Err(e))))).collect::<Vec<_>>()
    };
    let compiled = (expr.mode == Mode::Compiled).then(|| one(Program::compile(&expr, &layout, vars).unwrap()));
    (compiled, one(Program::compile_for_rhai(&expr, &layout, vars).unwrap()))
}

/// The value of an expression for one event; both ways must agree.
pub fn value(text: &str, event: &str) -> String {
    let (compiled, rhai) = values(text, &[json(event)], &[]);
    if let Some(compiled) = &compiled {
        assert_eq!(compiled, &rhai, "{text} on {event}: compiled against Rhai");
    }
    rhai.into_iter().next().unwrap()
}

/// The source of whole events for batches made by [`batch`].
pub fn event_of(events: &[Value]) -> crate::expr::EventOf {
    let events = events.to_vec();
    Arc::new(move |batch: &Batch, row: usize| {
        batch.ordinals.get(row).and_then(|o| events.get(*o as usize)).cloned().unwrap_or(Value::Null)
    })
}

/// The event of a row after a batch's edits, as an encoder would write it.
pub fn edited(event: &Value, batch: &Batch, row: usize, layout: &Layout) -> Value {
    let mut event = event.clone();
    for edit in &batch.edits {
        let crate::data::batch::Edit::Set { field, column, touched } = edit else { panic!("only writes") };
        if touched.as_ref().is_some_and(|t| !t[row]) {
            continue;
        }
        let names = &layout.path(*field).unwrap().names;
        let value = (!column.is_missing(row)).then(|| column.get(row).to_value());
        event = put(event, names, value);
    }
    event
}

fn put(into: Value, names: &[compact_str::CompactString], value: Option<Value>) -> Value {
    let Some((first, rest)) = names.split_first() else { return value.unwrap() };
    let mut map = match into {
        Value::Map(map) => Map::clone(&map),
        _ => Map::default(),
    };
    if rest.is_empty() {
        match value {
            Some(value) => map.insert(first, value),
            None => drop(map.remove(first)),
        }
    } else {
        let inner = map.get(first).cloned().unwrap_or(Value::Null);
        map.insert(first, put(inner, rest, value));
    }
    Value::Map(Arc::new(map))
}

/// What a script makes of an event: the event, `dropped`, or an error; with what it emitted before.
pub fn outcome(output: &ScriptOutput, events: &[Value], layout: &Layout) -> Vec<String> {
    let rows = (0..events.len() as u32).map(|row| {
        let mut lines: Vec<String> = Vec::new();
        for sent in output.emitted.iter().filter(|e| e.row == row) {
            lines.push(format!("{}< {}", sent.port.clone().unwrap_or_default(), spelled(&sent.value)));
        }
        if let Some(error) = output.errors.iter().find(|e| e.row == row) {
            lines.push(shown(Err(error)));
        } else if let Some(at) = output.kept.iter().position(|k| *k == row) {
            lines.push(spelled(&edited(&events[row as usize], &output.batch, at, layout)));
        } else {
            lines.push("dropped".into());
        }
        lines.join(" | ")
    });
    rows.collect()
}

/// What a script makes of events, both ways.
pub fn scripts(text: &str, events: &[Value]) -> (Option<Vec<String>>, Vec<String>) {
    let mut layout = Layout::default();
    let ports = ["alarms".to_string()];
    let expr = analysed(text, Kind::Script, &Scope { ports: &ports, ..Scope::default() }, &mut layout);
    let one = |program: Program| {
        let mut scratch = Scratch { event_of: Some(event_of(events)), ..Scratch::default() };
        let output = program.run(batch(events, &layout), &mut scratch, None);
        outcome(&output, events, &layout)
    };
    let compiled = (expr.mode == Mode::Compiled).then(|| one(Program::compile(&expr, &layout, &[]).unwrap()));
    (compiled, one(Program::compile_for_rhai(&expr, &layout, &[]).unwrap()))
}

/// What a script makes of one event; both ways must agree.
pub fn script(text: &str, event: &str) -> String {
    let (compiled, rhai) = scripts(text, &[json(event)]);
    if let Some(compiled) = &compiled {
        assert_eq!(compiled, &rhai, "{text} on {event}: compiled against Rhai");
    }
    rhai.into_iter().next().unwrap()
}
