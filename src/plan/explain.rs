//! A plan in words: what each entry does, what its edges carry, what runs compiled and what in Rhai, where rows are
//! exchanged by key, and what whoever runs it can count on.

mod alert;
mod join;
mod lookup;
mod pace;
mod parse;

use std::fmt::Write as _;

use super::aggregate::Output;
use super::graph::{kind_word, numbered, readers};
use super::window::{Emit, Late, Shape, Window};
use super::{KeyPart, Node, NodeId, NodeKind, OnError, Operator, Plan, Port, Sink, Source};
use crate::base::time::TimeSpan;
use crate::data::format::TimeFormat;
use crate::data::layout::{Demand, FieldId, Layout, Root};
use crate::expr::{Expr, Mode};

/// What the rows of an output must carry for its readers.
pub type Carried<'a> = &'a dyn Fn(NodeId, &Port) -> Demand;

/// Explains a plan. `carried` tells what the readers of an output need of its rows.
pub fn explain(plan: &Plan, carried: Carried<'_>) -> String {
    let mut text = format!("Pipeline `{}`, {}\n", plan.name, plan.file);
    if let Some(description) = &plan.description {
        let _ = writeln!(text, "{}", description.trim_end());
    }
    let mut heading = "";
    for (id, node) in numbered(plan) {
        let own = match node.kind {
            NodeKind::Source(_) => "Sources",
            NodeKind::Step(Operator::Alert(_) | Operator::Notify(_)) => "Sinks",
            NodeKind::Step(_) => "Steps",
            NodeKind::Sink(_) => "Sinks",
        };
        if own != heading {
            let _ = write!(text, "\n{own}\n");
            heading = own;
        }
        let _ = writeln!(text, "  {}: {}", node.name, kind_word(&node.kind));
        for line in entry(plan, id, node, carried) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let _ = write!(text, "\nWhat holds\n");
    for line in guarantees(plan) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// What there is to say of one entry, a line each.
pub fn entry(plan: &Plan, id: NodeId, node: &Node, carried: Carried<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(node.description.as_ref().map(|d| d.trim_end().to_owned()));
    if !node.inputs.is_empty() {
        let name = |input: &super::Input| {
            let from = plan.nodes.get(input.node.index()).map_or("", |n| n.name.as_str());
            format!("{from}{}", input.port)
        };
        lines.push(format!("reads {}", node.inputs.iter().map(name).collect::<Vec<_>>().join(", ")));
    }
    match &node.kind {
        NodeKind::Source(source) => of_source(source, &mut lines),
        NodeKind::Step(Operator::Lookup(lookup)) => lookup::of_lookup(lookup, plan, &mut lines),
        NodeKind::Step(operator) => of_step(operator, &plan.layout, &mut lines),
        NodeKind::Sink(sink) => of_sink(sink, &mut lines),
    }
    if !matches!(node.kind, NodeKind::Sink(_)) {
        carries(plan, id, carried, &mut lines);
    }
    lines.push(errors(plan, id, node));
    lines
}

fn of_source(source: &Source, lines: &mut Vec<String>) {
    let end = if source.bounded { "ends by itself" } else { "goes on until it is stopped" };
    let what = if source.rows { "rows, each an event".into() } else { parse::format_words(&source.format) };
    lines.push(format!("reads {what}, {end}"));
    lines.extend(source.schema.as_ref().map(|schema| format!("events hold {schema}")));
    let Some(time) = &source.time else {
        lines.push("event time is the time of arrival".into());
        return;
    };
    let zone = if time.zone == "UTC" { String::new() } else { format!(", in {} where it has no offset", time.zone) };
    let disorder = match time.out_of_order {
        TimeSpan::ZERO => "in order".to_owned(),
        span => format!("up to {span} out of order"),
    };
    lines.push(match &time.field {
        Some(field) => {
            format!("event time from `{}`, {}{zone}; {disorder}", one_line(&field.text), time_words(&time.format))
        }
        None => format!("event time is when a row arrives; {disorder}"),
    });
    if !source.bounded {
        lines.push(format!("a partition that is silent for {} no longer holds windows open", time.idle_after));
    }
    if let Some(most) = time.max_future {
        lines.push(format!("an event more than {most} ahead of the clock is an error"));
    }
}

fn of_sink(sink: &Sink, lines: &mut Vec<String>) {
    lines.push(format!("writes {}, in the order of the rows", parse::format_words(&sink.format)));
    lines.extend(sink.line.iter().map(|t| format!("a line is `{}`", one_line(&t.text))));
    lines.extend(sink.templates.iter().map(|t| format!("the row decides `{}`", t.text)));
}

fn of_step(operator: &Operator, layout: &Layout, lines: &mut Vec<String>) {
    match operator {
        Operator::Filter { condition } => {
            lines.push(format!("passes rows on where `{}`", one_line(&condition.text)));
            lines.push(format!("runs {}", mode(condition)));
        }
        Operator::Script { script, by, state_ttl, ports } => {
            lines.push(format!("does `{}`", one_line(&script.text)));
            if !script.writes.is_empty() {
                lines.push(format!("writes {}", names(layout, &script.writes)));
            }
            lines.push(format!("runs {}", mode(script)));
            if !ports.is_empty() {
                lines.push(format!("may send rows to {}", ports.join(", ")));
            }
            if !by.is_empty() {
                let ttl = state_ttl.map_or_else(String::new, |ttl| format!(", forgotten {ttl} after its last event"));
                lines.push(format!("keeps a state for each {}{ttl}", key(by)));
                lines.push(exchange(by));
            }
        }
        Operator::Set { fields } => {
            for (field, expr) in fields {
                lines.push(format!("sets {} to `{}`, {}", names(layout, &[*field]), one_line(&expr.text), mode(expr)));
            }
        }
        Operator::Keep { fields } => lines.push(format!("keeps {} and nothing else", names(layout, fields))),
        Operator::Drop { fields } => lines.push(format!("takes out {}", names(layout, fields))),
        Operator::Rename { fields } => {
            for (from, to) in fields {
                lines.push(format!("calls {} {}", names(layout, &[*from]), names(layout, &[*to])));
            }
        }
        Operator::Parse(parse) => parse::parse(parse, layout, lines),
        Operator::Explode(explode) => parse::explode(explode, layout, lines),
        Operator::Validate(validate) => parse::validate(validate, lines),
        Operator::Route { branches } => {
            for (branch, condition) in branches {
                lines.push(format!("to {branch} where `{}`, {}", one_line(&condition.text), mode(condition)));
            }
            lines.push("what no branch takes goes on".into());
        }
        Operator::Join(join) => join::join(join, layout, lines),
        Operator::Tag(_) => {}
        Operator::Dedupe(dedupe) => pace::dedupe(dedupe, lines),
        Operator::Throttle(throttle) => pace::throttle(throttle, lines),
        Operator::Sample(sample) => pace::sample(sample, lines),
        Operator::Window(window) => of_window(window, layout, lines),
        Operator::Alert(alert) => alert::alert(alert, lines),
        Operator::Notify(notify) => alert::notify(notify, lines),
        // Said with the whole plan at hand.
        Operator::Lookup(_) => {}
    }
}

fn of_window(window: &Window, layout: &Layout, lines: &mut Vec<String>) {
    let shifted = |offset: TimeSpan| {
        if offset == TimeSpan::ZERO { String::new() } else { format!(", shifted by {offset}") }
    };
    let shape = match &window.shape {
        Shape::Tumbling { size, offset } => format!("windows of {size}, one after the other{}", shifted(*offset)),
        Shape::Sliding { size, every, offset } => {
            format!("windows of {size}, a new one every {every}{}", shifted(*offset))
        }
        Shape::Session { gap, max: None } => format!("sessions: runs of events at most {gap} apart"),
        Shape::Session { gap, max: Some(max) } => {
            format!("sessions: runs of events at most {gap} apart, none longer than {max}")
        }
        Shape::Count { events: 1 } => "windows of one event".to_owned(),
        Shape::Count { events } => format!("windows of {events} events in order of arrival"),
        Shape::Calendar { every, zone } => format!("windows by the {} on the clocks of {zone}", every.word()),
    };
    let groups =
        if window.by.is_empty() { "all rows together".to_owned() } else { format!("for each {}", key(&window.by)) };
    lines.push(format!("{shape}; {groups}"));
    for (field, output) in &window.outputs {
        lines.push(format!("{} is {}", names(layout, &[*field]), output_words(window, output)));
    }
    expression_modes(window.row_expressions(), lines);
    leaves(window, lines);
    if !window.by.is_empty() {
        lines.push(exchange(&window.by));
    }
}

/// When the rows of a window leave.
fn leaves(window: &Window, lines: &mut Vec<String>) {
    let late = window.allow_late;
    if matches!(window.shape, Shape::Count { .. }) {
        lines.push("a row leaves with its window's last event; at the end of the input what is left".into());
        return;
    }
    if window.holds_back() > TimeSpan::ZERO {
        lines.push(format!("a row leaves {late} after its window's end, and no other after it"));
        lines.push(format!("its readers' watermark is {late} behind, so that this is not late for them"));
        return;
    }
    if let Emit::Every(every) = window.emit {
        lines.push(format!("an early row leaves every {every} inside a window that changed"));
    }
    lines.push("a row leaves when the watermark reaches its window's end".into());
    if window.emit != Emit::Once && late > TimeSpan::ZERO {
        lines.push(format!("for {late} after that a late event makes a revised row"));
    }
}

fn output_words(window: &Window, output: &Output) -> String {
    match output {
        Output::Expr(expr) => format!("`{}`", one_line(&expr.text)),
        Output::Call(index) => match window.calls.get(*index) {
            None => "an aggregate".into(),
            Some(call) => {
                let argument = call.argument.as_ref().map(|e| one_line(&e.text)).unwrap_or_default();
                one_line(&call.function.call(&argument))
            }
        },
    }
}

/// A key in words: `device_id`, `device_id and site.floor`.
fn key(by: &[KeyPart]) -> String {
    by.iter().map(|part| format!("`{}`", one_line(&part.expr.text))).collect::<Vec<_>>().join(" and ")
}

fn exchange(by: &[KeyPart]) -> String {
    format!("rows are exchanged here: those of one {} meet on one worker", key(by))
}

/// Those of a step's expressions that do not run compiled.
fn expression_modes<'a>(expressions: impl Iterator<Item = &'a Expr>, lines: &mut Vec<String>) {
    let slow = expressions.filter(|e| e.mode != Mode::Compiled);
    lines.extend(slow.map(|e| format!("`{}` runs {}", one_line(&e.text), mode(e))));
}

/// How an expression runs, and why it does not run compiled.
fn mode(expr: &Expr) -> String {
    match &expr.mode {
        Mode::Compiled => "compiled".into(),
        Mode::Rhai { reason, line, column } => {
            format!("in Rhai because of {reason} ({})", expr.origin.at(*line, *column, 1).place())
        }
    }
}

fn carries(plan: &Plan, id: NodeId, carried: Carried<'_>, lines: &mut Vec<String>) {
    let mut ports: Vec<&Port> = readers(plan, id).into_iter().map(|(port, _)| port).collect();
    ports.dedup();
    for port in ports.into_iter().filter(|port| **port != Port::Errors) {
        let demand = carried(id, port);
        let mut parts: Vec<String> = Vec::new();
        let read: Vec<String> = carried_fields(plan, &demand).iter().map(|name| format!("`{name}`")).collect();
        if !read.is_empty() {
            parts.push(read.join(", "));
        }
        if demand.body {
            parts.push("the whole row".into());
        }
        let what = if parts.is_empty() { "that there is a row".into() } else { parts.join(", ") };
        let through = if *port == Port::Main { String::new() } else { format!(" through {port}") };
        lines.push(format!("carries{through} {what}"));
    }
}

/// The fields that must be read for a demand, as an author writes them. Computed columns are a step's own affair.
pub fn carried_fields(plan: &Plan, demand: &Demand) -> Vec<String> {
    let paths = demand.values.iter().filter_map(|field| plan.layout.path(*field));
    paths.filter(|path| path.root != Root::Computed).map(ToString::to_string).collect()
}

fn errors(plan: &Plan, id: NodeId, node: &Node) -> String {
    let who = |wanted: &Port| {
        let found = readers(plan, id).into_iter().filter(|(port, _)| *port == wanted);
        let names = found.filter_map(|(_, reader)| plan.nodes.get(reader.index())).map(|n| n.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let errors = match (who(&Port::Errors), node.on_error) {
        (readers, _) if !readers.is_empty() => format!("go to {readers}"),
        (_, OnError::Fail) => "end the run".into(),
        (_, OnError::DeadLetter) => "become dead letters".into(),
        (_, OnError::Drop) => "are counted and dropped".into(),
    };
    let late = match &node.kind {
        NodeKind::Step(operator) => operator.late(),
        _ => None,
    };
    if matches!(&node.kind, NodeKind::Sink(sink) if sink.identity.is_some()) {
        return format!("rows that fail, or are refused, {errors}");
    }
    let Some(late) = late else { return format!("rows that fail {errors}") };
    let late = match (who(&Port::Late), late) {
        (readers, _) if !readers.is_empty() => format!("go to {readers}"),
        (_, Late::DeadLetter) => "become dead letters".into(),
        (_, Late::Drop) => "are counted and dropped".into(),
    };
    format!("rows that come too late {late}; rows that fail {errors}")
}

fn guarantees(plan: &Plan) -> Vec<String> {
    let sources = || plan.nodes.iter().filter_map(|n| if let NodeKind::Source(s) = &n.kind { Some(s) } else { None });
    let mut lines = Vec::new();
    let bounded = plan.is_bounded();
    let timed = sources().all(|s| s.time.is_some());
    lines.push(match (bounded, timed) {
        (true, true) => "The same input gives the same output, byte for byte, with any number of workers.".into(),
        (true, false) => {
            "Rows leave in the same order with any number of workers; times of arrival differ from run to run.".into()
        }
        _ => "Live input meets in order of arrival; from there on results do not depend on the number of workers."
            .to_owned(),
    });
    lines.extend(lookup::holds(plan));
    let dedupes = |n: &Node| matches!(n.kind, NodeKind::Step(Operator::Dedupe(_)));
    let duplicate = if plan.nodes.iter().any(dedupes) { "a duplicate, " } else { "" };
    lines.push(format!(
        "Every row is passed on, filtered, late, {duplicate}an error or part of a window; the run's end counts them."
    ));
    lines.push(if bounded {
        "The run ends by itself: all windows are closed first.".into()
    } else {
        "The run goes on until it is stopped; stopping closes no window.".into()
    });
    let exchanged = numbered(plan).filter(|(_, n)| match &n.kind {
        NodeKind::Step(operator) => operator.shares_keys(),
        _ => false,
    });
    let exchanged: Vec<&str> = exchanged.map(|(_, n)| n.name.as_str()).collect();
    if !exchanged.is_empty() {
        lines.push(format!(
            "Workers share the keys of {}; everything before is shared by blocks of input.",
            exchanged.join(", ")
        ));
    }
    lines
}

fn time_words(format: &TimeFormat) -> String {
    match format {
        TimeFormat::Auto => "RFC 3339 or a Unix time".into(),
        TimeFormat::Rfc3339 => "RFC 3339".into(),
        TimeFormat::Unix => "Unix seconds".into(),
        TimeFormat::UnixMs => "Unix milliseconds".into(),
        TimeFormat::UnixUs => "Unix microseconds".into(),
        TimeFormat::UnixNs => "Unix nanoseconds".into(),
        TimeFormat::Pattern(pattern) => format!("written as `{pattern}`"),
    }
}

fn names(layout: &Layout, fields: &[FieldId]) -> String {
    let shown = fields.iter().filter_map(|f| layout.path(*f)).map(|path| format!("`{path}`"));
    shown.collect::<Vec<_>>().join(", ")
}

/// A text on one line: of several the first, and that there are more.
pub fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { format!("{first} …") } else { first }
}
