//! Functions on JSON text.

use std::sync::Arc;

use bumpalo::Bump;
use compact_str::CompactString;
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use serde_json::value::RawValue;

use super::{Function, Out, any, text};
use crate::base::limit;
use crate::data::value::{Map, Val, Value};
use crate::expr::fault::Fault;

pub(super) fn family(all: &mut Vec<Function>) {
    all.extend([
        Function {
            name: "parse_json",
            family: "json",
            signature: "parse_json(text)",
            summary: "The value that JSON text spells.",
            example: ("parse_json(\"[1, true]\")", "[1, true]"),
            arguments: &[1],
            body: parse_json,
            makes_containers: true,
        },
        Function {
            name: "to_json",
            family: "json",
            signature: "to_json(x)",
            summary: "The value as JSON text, the members of maps by name.",
            example: ("to_json([1, \"a\"])", "`[1,\"a\"]`"),
            arguments: &[1],
            body: to_json,
            makes_containers: false,
        },
    ]);
}

fn parse_json<'a>(args: &[Val<'a>], _: &'a Bump) -> Result<Out<'a>, Fault> {
    let parsed = serde_json::from_str::<&RawValue>(text(args, 0)?).map_err(|e| e.to_string());
    match parsed.and_then(|raw| read(raw, limit::JSON_DEPTH)) {
        Ok(value) => Ok(Out::Made(value)),
        Err(error) => Err(Fault::Unfit(0, format!("is not JSON: {error}"))),
    }
}

fn to_json<'a>(args: &[Val<'a>], arena: &'a Bump) -> Result<Out<'a>, Fault> {
    let value = any(args, 0).to_value();
    let made = serde_json::to_string(&Written(&value)).map_err(|e| Fault::Unfit(0, format!("has no JSON: {e}")))?;
    if made.len() > limit::SCRIPT_TEXT_BYTES {
        return Err(Fault::TooLong);
    }
    Ok(Val::Text(arena.alloc_str(&made)).into())
}

/// A value being written as JSON.
struct Written<'v>(&'v Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => to.serialize_unit(),
            Value::Bool(b) => to.serialize_bool(*b),
            Value::Int(i) => to.serialize_i64(*i),
            Value::Float(f) => to.serialize_f64(*f),
            Value::Number(number) => match RawValue::from_string(number.to_string()) {
                Ok(raw) => raw.serialize(to),
                Err(_) => to.serialize_str(number),
            },
            Value::Text(text) => to.serialize_str(text),
            Value::List(list) => {
                let mut out = to.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|v| out.serialize_element(&Written(v)))?;
                out.end()
            }
            Value::Map(map) => {
                let mut members: Vec<_> = map.0.iter().collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                let mut out = to.serialize_map(Some(members.len()))?;
                members.into_iter().try_for_each(|(name, v)| out.serialize_entry(name.as_str(), &Written(v)))?;
                out.end()
            }
        }
    }
}

/// A value from JSON text of which `depth` levels may still nest. Numbers that no integer or float holds keep their
/// spelling; of members of one name the last counts.
fn read(raw: &RawValue, depth: usize) -> Result<Value, String> {
    let text = raw.get();
    let below = || depth.checked_sub(1).ok_or_else(|| format!("it nests deeper than {}", limit::JSON_DEPTH));
    let wrong = |e: serde_json::Error| e.to_string();
    match text.as_bytes().first() {
        Some(b'{') => {
            let below = below()?;
            let members: IndexMap<CompactString, &RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let members = members.into_iter().map(|(name, raw)| Ok((name, read(raw, below)?)));
            Ok(Value::Map(Arc::new(Map(members.collect::<Result<_, String>>()?))))
        }
        Some(b'[') => {
            let below = below()?;
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let items = items.into_iter().map(|raw| read(raw, below));
            Ok(Value::List(Arc::new(items.collect::<Result<_, String>>()?)))
        }
        Some(b'"') => serde_json::from_str(text).map(Value::Text).map_err(wrong),
        Some(b't' | b'f') => Ok(Value::Bool(text == "true")),
        Some(b'n') => Ok(Value::Null),
        _ => Ok(number(text)),
    }
}

fn number(text: &str) -> Value {
    let fraction = text.bytes().any(|b| b".eE".contains(&b));
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(int), _) => Value::Int(int),
        (_, Ok(float)) if fraction && float.is_finite() => Value::Float(float),
        _ => Value::Number(text.into()),
    }
}
