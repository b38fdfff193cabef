//! Numbers that mean something: how many, and how large a part.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};

use super::context::Context;
use super::interpolate::interpolate;
use super::read::{Read, wrong_type};

/// A whole number above zero, with its place.
#[derive(Clone, Debug)]
pub struct Count {
    /// The number.
    pub number: u64,
    /// Its place.
    pub span: Span,
}

impl Read for Count {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        let Data::Int(number) = node.data else {
            wrong_type(&node, "a whole number", context);
            return None;
        };
        match u64::try_from(number) {
            Ok(number) if number > 0 => Some(Count { number, span: node.span }),
            _ => {
                context.error("not-positive", "this has to be a whole number above zero", &node.span);
                None
            }
        }
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

/// A part of a whole, above 0 and at most 1.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The part.
    pub part: f64,
}

impl Read for Rate {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        let rate = match node.data {
            Data::Float(rate) => rate,
            Data::Int(whole) => whole as f64,
            _ => {
                wrong_type(&node, "a number like `0.01`", context);
                return None;
            }
        };
        if rate > 0.0 && rate <= 1.0 {
            return Some(Rate { part: rate });
        }
        context
            .error("out-of-range", "this has to be above 0 and at most 1", &node.span)
            .help("`0.01` is one in a hundred");
        None
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
    }
}
