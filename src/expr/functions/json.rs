//! Functions on JSON text and on what it holds, maps and lists.

use std::sync::Arc;

use bumpalo::Bump;
use compact_str::CompactString;
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use serde_json::value::RawValue;

use super::{Function, Out, Return, any, function, list, optional, text, truth};
use crate::base::limit;
use crate::data::value::{Map, Val, Value};
use crate::expr::fault::Fault;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "parse_json(text)",
            "The value that JSON text spells.",
            ("parse_json(\"[1, true]\")", "[1, true]"),
            parse_json,
        )
        .lists(),
        function(
            "to_json(x)",
            "The value as JSON text, the members of maps by name.",
            ("to_json([1, \"a\"])", "`[1,\"a\"]`"),
            to_json,
        ),
        function("is_json(text)", "Whether a text is JSON.", ("is_json(\"{\")", "false"), |a, _| {
            truth(parsed(text(a, 0)?).is_ok())
        }),
        function(
            "get_path(x, path, default?)",
            "The value at a path of members and numbers of elements (negative from the end) with dots between; the default, or `()`, where there is none or null.",
            ("get_path(#{a: [#{b: 7}]}, \"a.0.b\")", "7"),
            get_path,
        ),
        function(
            "merge(a, b)",
            "A map with the members of both; where both have one, that of `b`, but maps are merged in turn.",
            ("merge(#{a: #{x: 1}}, #{a: #{y: 2}})", "#{a: #{x: 1, y: 2}}"),
            merge,
        )
        .lists(),
        function(
            "keys(map)",
            "The names of a map's members, by name.",
            ("keys(#{b: 1, a: 2})", "[\"a\", \"b\"]"),
            |a, _| list(sorted(map(a, 0)?).into_iter().map(|(name, _)| Value::Text(name.clone())).collect()),
        )
        .lists(),
        function(
            "values(map)",
            "The values of a map's members, by name.",
            ("values(#{b: 1, a: 2})", "[2, 1]"),
            |a, _| list(sorted(map(a, 0)?).into_iter().map(|(_, value)| value.clone()).collect()),
        )
        .lists(),
        function(
            "flatten(map, between?)",
            "A map of one level: members of maps inside are named with their path, dots (or `between`) in it.",
            ("flatten(#{site: #{floor: 3}})", "#{\"site.floor\": 3}"),
            flatten,
        )
        .lists(),
    ]
}

/// The value of JSON text.
fn parsed(text: &str) -> Result<Value, String> {
    let raw = serde_json::from_str::<&RawValue>(text).map_err(|e| e.to_string())?;
    read(raw, limit::JSON_DEPTH)
}

fn parse_json<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    parsed(text(args, 0)?).map(Out::Made).map_err(|why| Fault::Unfit(0, format!("is not JSON: {why}")))
}

fn map<'a>(args: &[Val<'a>], i: usize) -> Result<&'a Arc<Map>, Fault> {
    match any(args, i) {
        Val::Big(Value::Map(map)) => Ok(map),
        other => Err(Fault::of(i, other)),
    }
}

/// A map's members by name, which is how Rhai keeps them.
fn sorted(map: &Map) -> Vec<&(CompactString, Value)> {
    let mut members: Vec<_> = map.0.iter().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members
}

fn get_path<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let step = |value: Val<'a>, name: &str| match value {
        Val::Big(Value::Map(map)) => map.get(name).map_or(Val::Unit, Value::as_val),
        Val::Big(Value::List(items)) => {
            let number = name.parse::<i64>().ok();
            let distance = |n: i64| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
            let at = number.and_then(|n| if n < 0 { items.len().checked_sub(distance(n)) } else { Some(distance(n)) });
            at.and_then(|at| items.get(at)).map_or(Val::Unit, Value::as_val)
        }
        _ => Val::Unit,
    };
    let found = text(args, 1)?.split('.').fold(any(args, 0), step);
    Ok(if matches!(found, Val::Unit) { any(args, 2) } else { found }.into())
}

fn merge<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let merged = merged(map(args, 0)?, map(args, 1)?);
    if merged.0.len() > limit::SCRIPT_CONTAINER_ITEMS {
        return Err(Fault::Other(format!("the map would have more than {} members", limit::SCRIPT_CONTAINER_ITEMS)));
    }
    Ok(Out::Made(Value::Map(Arc::new(merged))))
}

/// Both maps hold values of events, whose depth is bounded.
fn merged(a: &Map, b: &Map) -> Map {
    let mut all: IndexMap<CompactString, Value> = a.0.iter().cloned().collect();
    for (name, value) in &b.0 {
        let value = match (all.get(name), value) {
            (Some(Value::Map(old)), Value::Map(new)) => Value::Map(Arc::new(merged(old, new))),
            _ => value.clone(),
        };
        all.insert(name.clone(), value);
    }
    Map(all.into_iter().collect())
}

fn flatten<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let between = optional(args, 1)?.unwrap_or(".");
    let mut all = IndexMap::new();
    flattened(map(args, 0)?, "", between, &mut all)?;
    Ok(Out::Made(Value::Map(Arc::new(Map(all.into_iter().collect())))))
}

fn flattened(map: &Map, above: &str, between: &str, all: &mut IndexMap<CompactString, Value>) -> Result<(), Fault> {
    for (name, value) in &map.0 {
        let path = if above.is_empty() { name.to_string() } else { format!("{above}{between}{name}") };
        match value {
            Value::Map(inner) if !inner.0.is_empty() => flattened(inner, &path, between, all)?,
            value => drop(all.insert(path.into(), value.clone())),
        }
        if all.len() > limit::SCRIPT_CONTAINER_ITEMS {
            let most = limit::SCRIPT_CONTAINER_ITEMS;
            return Err(Fault::Other(format!("the map would have more than {most} members")));
        }
    }
    Ok(())
}

fn to_json<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let value = any(args, 0).to_value();
    let made = serde_json::to_string(&Written(&value)).map_err(|e| Fault::Unfit(0, format!("has no JSON: {e}")))?;
    super::made(&made, arena)
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
