//! The aggregates of a window: their names, the calls in their expressions, and the constants of the calls.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::limit::{COLLECT_VALUES, TOP_VALUES};
use crate::base::tree::{Data, Node};
use crate::data::layout::FieldId;
use crate::data::value::Value;
use crate::expr::{Aggregate, AggregateCall, AggregateOutput, Expr};
use crate::plan::KeyPart;
use crate::plan::aggregate::{Call, Function, Output};
use crate::plan::window::Bounds;

use super::context::{Context, listed};
use super::expressions;
use super::read::{Code, Named, Read, Text, wrong_type};
use super::step::field;

/// `aggregate`: names and expressions over aggregate calls.
#[derive(Clone, Debug)]
pub struct Aggregates(Vec<(Text, AggregateCode)>);

#[derive(Clone, Debug)]
struct AggregateCode(Code);

impl Read for AggregateCode {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.data, Data::Map(_)) {
            if node.get("init").is_some() || node.get("fold").is_some() {
                context.error("not-in-this-version", "aggregate `fold` is not in this version", key);
            } else {
                wrong_type(node, "an aggregate like `avg(temperature)`", context);
            }
            return None;
        }
        Code::read(node, key, context).map(AggregateCode)
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

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "description": format!("{} {}", ABOUT, listed("The aggregates are", &Function::NAMES)),
            },
        })
    }
}

/// What an editor shows of an aggregate.
const ABOUT: &str = "An expression over aggregate calls: `max(temperature) - min(temperature)`. Null and missing are \
    passed over; with no value left the result is null, a count 0. `count_if`, `any` and `all` take a condition; an event \
    for which it is neither a bool nor null goes to `.errors`. `quantile(x, 0.95)` and `median(x)` are exact up to 64 \
    numbers, beyond within 1 % of the number. `distinct(x)` is exact, up to 100,000 different values in a window; \
    `approx_distinct(x)` has a standard error of 1.6 % beyond 256. `top(x, 10)` lists the most frequent values as \
    `[{value, count}]`, exact up to 2,048 different values, beyond with counts too small by at most a 1,024th of all. \
    `collect(x, 100)` lists the first values by event time.";

/// The calls of a window and the fields made of them.
pub struct Made {
    /// Each distinct one once.
    pub calls: Vec<Call>,
    /// In the order written.
    pub outputs: Vec<(FieldId, Output)>,
}

/// Reads the aggregates of a window.
pub fn read(named: Aggregates, by: &[KeyPart], bounds: Bounds, context: &mut Context<'_>) -> Option<Made> {
    let mut calls: Vec<Call> = Vec::new();
    let mut outputs: Vec<(FieldId, Output)> = Vec::with_capacity(named.0.len());
    let mut whole = true;
    for (name, AggregateCode(code)) in named.0 {
        let field = field(&name, context).filter(|field| free(*field, &name, by, &outputs, bounds, context));
        match (field, expressions::aggregate(&code, context)) {
            (Some(field), Some(aggregate)) => match output(aggregate, &mut calls, context) {
                Some(output) => outputs.push((field, output)),
                None => whole = false,
            },
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
    } else if [bounds.start, bounds.end, bounds.revision, bounds.replaces].into_iter().any(&taken) {
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
