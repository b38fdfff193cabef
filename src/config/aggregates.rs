//! The aggregates of a window: their names, the calls in their expressions, and the constants of the calls.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::limit::{COLLECT_VALUES, TOP_VALUES};
use crate::base::tree::{Data, Node};
use crate::data::layout::{FieldId, FieldPath, Root};
use crate::data::value::Value;
use crate::expr::{Aggregate, AggregateCall, AggregateOutput, Expr};
use crate::plan::KeyPart;
use crate::plan::aggregate::{Call, Fold, Function, Output};
use crate::plan::window::{Bounds, Shape};

use super::context::{Context, listed};
use super::expressions;
use super::read::{Code, Named, Read, Text, keys, wrong_type};
use super::step::field;
use super::values;

/// `aggregate`: names and expressions over aggregate calls.
#[derive(Clone, Debug)]
pub struct Aggregates(Vec<(Text, AggregateCode)>);

/// What is written below the name of an aggregate.
#[derive(Clone, Debug)]
enum AggregateCode {
    Calls(Code),
    Fold(FoldOptions, Span),
}

keys! {
    /// An aggregate that is written as a map.
    struct FoldAggregate as "aggregate" {
        /// Its expressions.
        fold: FoldOptions,
    }
    later []
}

keys! {
    /// A value that is carried from event to event of a window, in order of arrival: what none of the aggregates computes.
    /// It sees every event; one for which `each` fails goes to `.errors` and belongs to no window.
    pub struct FoldOptions as "fold" {
        /// The value before the first event, an expression without fields: `0`.
        init: Init,
        /// The value after an event, made of the event's fields and the value before it, which is called `acc`:
        /// `if load > acc { load } else { acc }`.
        each: Code,
        /// The value of two parts of a window, made of those of the earlier part `a` and the later part `b`. Sliding and
        /// session windows need it: they are put together from parts.
        merge: Option<Code>,
    }
    later []
}

/// The first value of a fold. What YAML takes for a list or a map is shown as an expression.
#[derive(Clone, Debug)]
pub struct Init(Code);

impl Read for Init {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if let (Data::List(_) | Data::Map(_), Some(value)) = (&node.data, values::written(node)) {
            let message = format!("expected an expression, found {}", node.kind());
            let help = format!("put it in quotes: '{}'", values::as_expression(&value));
            context.error("wrong-type", message, &node.span).help(help);
            return None;
        }
        Code::read(node, key, context).map(Init)
    }
}

impl JsonSchema for Init {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Init".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Code>()
    }
}

impl Read for AggregateCode {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if !matches!(&node.data, Data::Map(_)) {
            return Code::read(node, key, context).map(AggregateCode::Calls);
        }
        if node.get("fold").is_none() && (node.get("init").is_some() || node.get("each").is_some()) {
            let help = "indent them below `fold:`";
            context.error("missing-key", "`init`, `each` and `merge` belong to a `fold`", key).help(help);
            return None;
        }
        if node.get("fold").is_none() {
            wrong_type(node, "an aggregate like `avg(temperature)` or a `fold`", context);
            return None;
        }
        FoldAggregate::read(node, key, context).map(|aggregate| AggregateCode::Fold(aggregate.fold, key.clone()))
    }
}

impl Read for Aggregates {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        Named::read(node, key, context).map(|named| Aggregates(named.0))
    }

    fn failed() -> Option<Self> {
        Some(Aggregates(Vec::new()))
    }
}

impl JsonSchema for Aggregates {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Aggregates".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fold = generator.subschema_for::<FoldAggregate>();
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "description": format!("{} {}", ABOUT, listed("The aggregates are", &Function::NAMES)),
                "anyOf": [{ "type": "string" }, fold],
            },
        })
    }
}

/// What an editor shows of an aggregate.
const ABOUT: &str = "An expression over aggregate calls: `max(temperature) - min(temperature)`. Null and missing are \
    passed over; with no value left the result is null, a count 0. An event goes to `.errors` where the condition of \
    `count_if`, `any` or `all` is neither a bool nor null, or the argument of `sum`, `avg`, `stddev`, `variance`, `median` or \
    `quantile` neither a 64-bit number nor null. `quantile(x, 0.95)` and `median(x)` are exact up to 64 \
    numbers, beyond within 1 % of the number. `distinct(x)` is exact, up to 100,000 different values in a window; \
    `approx_distinct(x)` has a standard error of 1.6 % beyond 256. `top(x, 10)` lists the most frequent values as \
    `[{value, count}]`, exact up to 2,048 different values, beyond with counts too small by at most a 1,024th of all. \
    `collect(x, 100)` lists the first values by event time, at most 16 MiB of them. What none of them computes is a `fold`.";

/// The calls of a window and the fields made of them.
pub struct Made {
    /// Each distinct one once.
    pub calls: Vec<Call>,
    /// In the order written.
    pub outputs: Vec<(FieldId, Output)>,
}

/// Reads the aggregates of a window.
pub fn read(
    named: Aggregates,
    by: &[KeyPart],
    bounds: Bounds,
    shape: Option<&Shape>,
    context: &mut Context<'_>,
) -> Option<Made> {
    let mut calls: Vec<Call> = Vec::new();
    let mut outputs: Vec<(FieldId, Output)> = Vec::with_capacity(named.0.len());
    let mut whole = true;
    for (name, code) in named.0 {
        let field = field(&name, context).filter(|field| free(*field, &name, by, &outputs, bounds, context));
        let output = match code {
            AggregateCode::Calls(code) => {
                expressions::aggregate(&code, context).and_then(|aggregate| output(aggregate, &mut calls, context))
            }
            AggregateCode::Fold(options, key) => fold(&options, &name, &key, shape, context).map(|call| {
                calls.push(call);
                Output::Call(calls.len() - 1)
            }),
        };
        match (field, output) {
            (Some(field), Some(output)) => outputs.push((field, output)),
            _ => whole = false,
        }
    }
    whole.then_some(Made { calls, outputs })
}

/// Whether no other field of the row is this one, holds it or lies inside it; reports it if so.
fn free(
    field: FieldId,
    name: &Text,
    by: &[KeyPart],
    outputs: &[(FieldId, Output)],
    bounds: Bounds,
    context: &mut Context<'_>,
) -> bool {
    let path = context.layout.path(field).cloned();
    let taken = |other: FieldId| {
        let overlaps = path.as_ref().zip(context.layout.path(other)).is_some_and(|(a, b)| a.overlaps(b));
        other == field || overlaps
    };
    let by_whom = if by.iter().any(|part| taken(part.field)) {
        "a field of `by`"
    } else if bounds.all().into_iter().any(&taken) {
        "a field that every window writes"
    } else if outputs.iter().any(|(other, _)| taken(*other)) {
        "another aggregate"
    } else {
        return true;
    };
    let message = format!("the aggregate `{}` would overwrite {by_whom}", name.text);
    context.error("duplicate-field", message, &name.span).help("give it another name");
    false
}

/// Adds an aggregate's calls to those of the step, each distinct one once.
fn output(aggregate: Aggregate, calls: &mut Vec<Call>, context: &mut Context<'_>) -> Option<Output> {
    let mut places = Vec::with_capacity(aggregate.calls.len());
    let functions: Vec<Option<Function>> = aggregate.calls.iter().map(|call| function(call, context)).collect();
    for (call, function) in aggregate.calls.into_iter().zip(functions) {
        let (function, argument) = (function?, call.argument);
        let same = |other: &Call| {
            let same_argument = other.argument.as_ref().map(|a| &a.text) == argument.as_ref().map(|a| &a.text);
            other.function == function && same_argument && other.result == call.result
        };
        let place = calls.iter().position(same).unwrap_or(calls.len());
        if place == calls.len() {
            calls.push(Call { function, argument, result: call.result });
        }
        places.push(place);
    }
    match aggregate.output {
        AggregateOutput::Call(index) => places.get(index).copied().map(Output::Call),
        AggregateOutput::Expr(expr) => Some(Output::Expr(expr)),
    }
}

/// Reads a fold.
fn fold(
    options: &FoldOptions,
    name: &Text,
    key: &Span,
    shape: Option<&Shape>,
    context: &mut Context<'_>,
) -> Option<Call> {
    let init = expressions::expression(&options.init.0, context);
    let init = init.and_then(|expr| expressions::constant(&expr, "init", context));
    let each = expressions::named(&options.each, &[Fold::ACCUMULATOR], context);
    let merge = match &options.merge {
        Some(code) => expressions::named(code, &[Fold::EARLIER, Fold::LATER], context)
            .filter(|expr| reads_no_event(expr, context))
            .map(Some),
        None => merged_from_parts(shape, key, context).then_some(None),
    };
    // A name that no other aggregate of the step has, nor a call.
    let path = FieldPath { root: Root::Computed, names: vec![format!("fold {}", name.text).into()] };
    let result = context.intern(path, &name.span)?;
    let fold = Fold { init: init?, each: each?, merge: merge? };
    Some(Call { function: Function::Fold(Box::new(fold)), argument: None, result })
}

/// Whether windows of a shape do without `merge`; reports it if not.
fn merged_from_parts(shape: Option<&Shape>, key: &Span, context: &mut Context<'_>) -> bool {
    let why = match shape {
        Some(Shape::Sliding { .. }) => "sliding windows are put together from parts that they share",
        Some(Shape::Session { .. }) => "an event between two sessions makes them one",
        _ => return true,
    };
    let example = "`merge: a + b`, where `a` and `b` are the values of two parts, the earlier first";
    context
        .error("missing-key", format!("the fold needs `merge` here: {why}"), key)
        .help(format!("write it as {example}"));
    false
}

/// Whether `merge` reads nothing but its two values; reports it if not.
fn reads_no_event(expr: &Expr, context: &mut Context<'_>) -> bool {
    let path = |field: &FieldId| context.layout.path(*field).filter(|path| path.root != Root::Computed);
    let read = expr.reads.iter().find_map(path).map(ToString::to_string);
    let Some(read) = read.or_else(|| expr.whole_event.then(|| "event".to_owned())) else { return true };
    let message = format!("`merge` sees two values, `a` and `b`, and no event: there is no `{read}`");
    context.error("merge-reads-event", message, &expr.origin.span);
    false
}

/// The function of a call with its constants; reports arguments that it does not take.
fn function(call: &AggregateCall, context: &mut Context<'_>) -> Option<Function> {
    let name = call.function.as_str();
    let count = usize::from(call.argument.is_some()) + call.extra.len();
    let (least, most, takes, usage) = match name {
        "count" => (0, 1, "none or one", "count(x)"),
        "count_if" | "any" | "all" => (1, 1, "one, a condition", ""),
        "quantile" => (2, 2, "two", "quantile(x, 0.95)"),
        "top" => (2, 2, "two", "top(x, 10)"),
        "collect" => (2, 2, "two", "collect(x, 100)"),
        _ => (1, 1, "one", ""),
    };
    if count < least || count > most {
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("`{name}` has {count} argument{plural} and takes {takes}");
        let argument = if takes == "one, a condition" { "x > 20" } else { "x" };
        let usage = if usage.is_empty() { format!("write `{name}({argument})`") } else { format!("write `{usage}`") };
        context.error("wrong-arguments", message, &call.span).help(usage);
        return None;
    }
    let Some(constant) = call.extra.first() else {
        return Function::PLAIN.iter().find(|(plain, _)| *plain == name).map(|(_, function)| function.clone());
    };
    let value = expressions::constant(constant, name, context)?;
    match name {
        "top" => whole(&value, constant, TOP_VALUES, "`n` of `top(x, n)`", context).map(Function::Top),
        "collect" => whole(&value, constant, COLLECT_VALUES, "the limit of `collect`", context).map(Function::Collect),
        _ => part(&value, constant, context).map(Function::Quantile),
    }
}

/// A whole number from 1 up to a limit.
fn whole(value: &Value, constant: &Expr, limit: u32, what: &str, context: &mut Context<'_>) -> Option<u32> {
    let number = match value {
        Value::Int(number) => u32::try_from(*number).ok().filter(|n| (1..=limit).contains(n)),
        _ => None,
    };
    if number.is_none() {
        let message = format!("{what} is a whole number from 1 to {limit}, this is {}", spelled(value));
        context.error("bad-argument", message, &constant.origin.span);
    }
    number
}

/// A number from 0 to 1.
fn part(value: &Value, constant: &Expr, context: &mut Context<'_>) -> Option<f64> {
    let number = match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        _ => f64::NAN,
    };
    if (0.0..=1.0).contains(&number) {
        return Some(number);
    }
    let message = format!("`q` of `quantile(x, q)` is a number from 0 to 1, this is {}", spelled(value));
    let report = context.error("bad-argument", message, &constant.origin.span);
    if (1.0..=100.0).contains(&number) {
        report.help(format!("for the {number}th percentile write {}", number / 100.0));
    }
    None
}

fn spelled(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => other.as_val().kind().to_owned(),
    }
}
