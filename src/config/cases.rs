//! `tests`: events that sources are given and rows that entries then have to pass on.

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Entry, Node};
use crate::data::value::Value;
use crate::plan::pace::THROTTLED;
use crate::plan::{self, NodeId, NodeKind, Operator, Port};

use super::context::{Context, Unknown, listed};
use super::read::{Duration, Keys, Read, Text, wrong_type};
use super::values;

/// A test of a pipeline.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it shows.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// What the sources are given, in the order written.
    pub given: Vec<Given>,
    /// What entries have to pass on.
    pub expect: Vec<Expectation>,
}

/// What one source is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The source.
    pub source: NodeId,
    /// In this order.
    pub items: Vec<Item>,
}

/// One thing that a source is given.
#[derive(Clone, Debug)]
pub struct Item {
    /// What.
    pub what: What,
    /// Where it is written.
    pub span: Span,
}

/// What a source can be given.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An event, as if it had been decoded: `{ device_id: a, temperature: 20 }`.
    Event(Value),
    /// A record as it would be read, for the source's format to decode: `raw: '{"a"'`; of MessagePack in Base64.
    Raw(String),
    /// Silence: the clock moves on by this much: `advance: 5m`.
    Advance(TimeSpan),
}

/// What one output has to be.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Whose output. Of a sink: what it takes.
    pub node: NodeId,
    /// Which of its outputs.
    pub port: Port,
    /// As it is written: `per_minute.late`.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// The rows.
    pub rows: Rows,
}

/// Rows that are expected. A row matches when it has the fields that are named here with equal values; others are free.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// These, all of them and in this order.
    Exactly(Vec<Value>),
    /// So many.
    Count(u64),
    /// These in any order, perhaps among others.
    Contains(Vec<Value>),
}

/// Reads `tests`. `nodes` are those of the plan; without them, after a mistake in the graph, only the form is checked.
pub fn read(section: &Entry, nodes: Option<&[plan::Node]>, context: &mut Context<'_>) -> Vec<TestCase> {
    let items = match &section.value.data {
        Data::List(items) => items,
        Data::Null => return Vec::new(),
        _ => {
            wrong_type(&section.value, "a list of tests", context);
            return Vec::new();
        }
    };
    let cases: Vec<TestCase> = items.iter().filter_map(|item| case(item, nodes, context)).collect();
    for (at, case) in cases.iter().enumerate() {
        if cases.iter().take(at).any(|earlier| earlier.name == case.name) {
            let message = format!("two tests are named `{}`", case.name);
            context.error("duplicate-name", message, &case.span).help("give one of them another name");
        }
    }
    cases
}

fn case(node: &Node, nodes: Option<&[plan::Node]>, context: &mut Context<'_>) -> Option<TestCase> {
    let mut keys = Keys::open(node, "test", &node.span, context)?;
    let name = keys.take::<Text>("name", context);
    let mut given = Vec::new();
    let mut expect = Vec::new();
    for key in ["given", "expect"] {
        match keys.entry(key) {
            Some(entry) => match &entry.value.data {
                Data::Map(entries) if key == "given" => {
                    given.extend(entries.iter().filter_map(|e| self::given(e, nodes, context)));
                }
                Data::Map(entries) => expect.extend(entries.iter().filter_map(|e| expectation(e, nodes, context))),
                Data::Null => {}
                _ => wrong_type(&entry.value, "a map of names", context),
            },
            None => {
                let report = context.error("missing-key", format!("a test needs `{key}`"), &node.span);
                report.label(format!("`{key}` is missing"));
            }
        }
    }
    keys.close(&["name", "given", "expect"], &[], context);
    let name = name?;
    Some(TestCase { name: name.text, span: name.span, given, expect })
}

fn given(entry: &Entry, nodes: Option<&[plan::Node]>, context: &mut Context<'_>) -> Option<Given> {
    let items = match &entry.value.data {
        Data::List(items) => items.as_slice(),
        _ => {
            context.error(
                "wrong-type",
                format!("expected a list of events, found {}", entry.value.kind()),
                &entry.value.span,
            );
            return None;
        }
    };
    let items: Vec<Option<Item>> = items.iter().map(|node| item(node, context)).collect();
    let nodes = nodes?;
    let sources = || nodes.iter().filter(|n| matches!(n.kind, NodeKind::Source(_))).map(|n| n.name.as_str());
    let Some(source) = find(&entry.key, nodes).filter(|(_, n)| matches!(n.kind, NodeKind::Source(_))) else {
        let known: Vec<&str> = sources().collect();
        let what = Unknown { code: "unknown-name", noun: "source", place: "", listing: "the sources are" };
        context.unknown(&what, &entry.key, &entry.key_span, &known, &[]);
        return None;
    };
    Some(Given { source: source.0, items: items.into_iter().collect::<Option<_>>()? })
}

/// An event, or a map whose only key is `raw` or `advance`.
fn item(node: &Node, context: &mut Context<'_>) -> Option<Item> {
    let what = match &node.data {
        Data::Map(entries) => match entries.as_slice() {
            [only] if only.key == "raw" => match &only.value.data {
                Data::Text(text) => What::Raw(text.clone()),
                _ => {
                    wrong_type(&only.value, "the record as text", context);
                    return None;
                }
            },
            [only] if only.key == "advance" => {
                let duration = Duration::read(&only.value, &only.key_span, context)?;
                What::Advance(duration.positive("`advance`", context)?)
            }
            _ => What::Event(values::written(node)?),
        },
        Data::Null => {
            context.error("missing-value", "an event is missing here", &node.span);
            return None;
        }
        _ => What::Event(values::written(node)?),
    };
    Some(Item { what, span: node.span.clone() })
}

fn expectation(entry: &Entry, nodes: Option<&[plan::Node]>, context: &mut Context<'_>) -> Option<Expectation> {
    let rows = rows(&entry.value, context);
    let (node, port) = output(entry, nodes?, context)?;
    Some(Expectation { node, port, name: entry.key.clone(), span: entry.key_span.clone(), rows: rows? })
}

fn rows(node: &Node, context: &mut Context<'_>) -> Option<Rows> {
    let list = |node: &Node, context: &mut Context<'_>| -> Option<Vec<Value>> {
        let Data::List(items) = &node.data else {
            wrong_type(node, "a list of rows", context);
            return None;
        };
        items.iter().map(values::written).collect()
    };
    let Data::Map(entries) = &node.data else { return list(node, context).map(Rows::Exactly) };
    match entries.as_slice() {
        [only] if only.key == "count" => match only.value.data {
            Data::Int(count) if count >= 0 => Some(Rows::Count(count.unsigned_abs())),
            _ => {
                wrong_type(&only.value, "a number of rows", context);
                None
            }
        },
        [only] if only.key == "contains" => list(&only.value, context).map(Rows::Contains),
        _ => {
            let message = "expected a list of rows, `count` or `contains`";
            context
                .error("wrong-type", message, &node.span)
                .help("write `[{ … }, { … }]`, `{ count: 2 }` or `{ contains: [{ … }] }`");
            None
        }
    }
}

/// The output that a name like `per_minute.late` means.
fn output(entry: &Entry, nodes: &[plan::Node], context: &mut Context<'_>) -> Option<(NodeId, Port)> {
    let (name, port) = match entry.key.split_once('.') {
        Some((name, port)) => (name, Some(port)),
        None => (entry.key.as_str(), None),
    };
    let Some((id, node)) = find(name, nodes) else {
        let known: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
        let what = Unknown { code: "unknown-name", noun: "entry", place: "", listing: "the entries are" };
        context.unknown(&what, name, &entry.key_span, &known, &[]);
        return None;
    };
    let Some(port) = port else { return Some((id, Port::Main)) };
    let ports = ports(node);
    if let Some((_, port)) = ports.iter().find(|(name, _)| name == port) {
        return Some((id, port.clone()));
    }
    let known: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
    let help = match nearest(port, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => listed(&format!("the ports of `{name}` are"), &known),
    };
    context.error("unknown-port", format!("unknown port `{port}` of `{name}`"), &entry.key_span).help(help);
    None
}

fn find<'p>(name: &str, nodes: &'p [plan::Node]) -> Option<(NodeId, &'p plan::Node)> {
    (0u16..).map(NodeId).zip(nodes).find(|(_, node)| node.name == name)
}

/// The ports of a node by name.
fn ports(node: &plan::Node) -> Vec<(String, Port)> {
    let errors = ("errors".to_owned(), Port::Errors);
    let named = |names: &mut dyn Iterator<Item = &String>| -> Vec<(String, Port)> {
        names.map(|name| (name.clone(), Port::Named(name.clone()))).collect()
    };
    let late = match &node.kind {
        NodeKind::Step(operator) if operator.late().is_some() => Some(("late".to_owned(), Port::Late)),
        _ => None,
    };
    let own = match &node.kind {
        NodeKind::Step(Operator::Throttle(_)) => named(&mut std::iter::once(&THROTTLED.to_owned())),
        NodeKind::Step(Operator::Route { branches }) => named(&mut branches.iter().map(|(name, _)| name)),
        NodeKind::Step(Operator::Script { ports, .. }) => named(&mut ports.iter()),
        _ => Vec::new(),
    };
    std::iter::once(errors).chain(late).chain(own).collect()
}
