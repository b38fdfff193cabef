//! Data in a pipeline file: constants and the events of tests.

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::data::value::{Map, Value};

use super::context::Context;
use super::interpolate::interpolate;
use super::read::Read;

/// A constant with variables filled in.
pub struct Filled(pub Value);

impl Read for Filled {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        value(node, &mut |text_node| interpolate(text_node, context)).map(Filled)
    }
}

/// A value exactly as it is written.
pub fn written(node: &Node) -> Option<Value> {
    value(node, &mut |node| Some(node.clone()))
}

/// A node's value; texts pass through `text` first. `None` after a mistake.
fn value(node: &Node, text: &mut dyn FnMut(&Node) -> Option<Node>) -> Option<Value> {
    Some(match &node.data {
        Data::Null => Value::Null,
        Data::Bool(b) => Value::Bool(*b),
        Data::Int(i) => Value::Int(*i),
        Data::Float(f) => Value::Float(*f),
        Data::Text(_) => match text(node)?.data {
            Data::Text(t) => Value::Text(t.into()),
            Data::Bool(b) => Value::Bool(b),
            Data::Int(i) => Value::Int(i),
            Data::Float(f) => Value::Float(f),
            Data::Null | Data::List(_) | Data::Map(_) => Value::Null,
        },
        Data::List(items) => {
            let all: Vec<Option<Value>> = items.iter().map(|item| value(item, text)).collect();
            Value::List(std::sync::Arc::new(all.into_iter().collect::<Option<_>>()?))
        }
        Data::Map(entries) => {
            let mut map = Map(Vec::with_capacity(entries.len()));
            for entry in entries {
                map.0.push((entry.key.as_str().into(), value(&entry.value, text)?));
            }
            Value::Map(std::sync::Arc::new(map))
        }
    })
}

/// A constant as an expression writes it.
pub fn as_expression(value: &Value) -> String {
    match value {
        Value::Null => "null()".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => format!("{f:?}"),
        Value::Number(n) => n.to_string(),
        Value::Text(t) => text_literal(t),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(as_expression).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let members: Vec<String> =
                map.0.iter().map(|(name, value)| format!("{}: {}", text_literal(name), as_expression(value))).collect();
            format!("#{{{}}}", members.join(", "))
        }
    }
}

fn text_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c.is_control() => literal.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}
