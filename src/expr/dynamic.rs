//! Values as Rhai holds them, and back.
//!
//! Rhai has one empty value, `()`. Two more stand beside it: [`Null`], which a script writes with `null()` and which a
//! written field holds that is null, and [`Untouched`], which a field holds that is only written, until it is. Every
//! operator and function takes [`Null`] for `()`.

use compact_str::CompactString;
use rhai::{Dynamic, FnPtr, ImmutableString};
use std::sync::Arc;

use crate::data::value::{Map, Val, Value};

/// JSON's null, where it must be told from a missing value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Null;

/// The value of a field that nothing reads, before a script writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untouched;

/// A number that neither an integer nor a float holds, as it was spelled.
#[derive(Clone, Debug)]
pub(super) struct BigNumber(pub CompactString);

/// A borrowed value as Rhai holds it; containers are copied.
pub(super) fn from_val(value: Val<'_>) -> Dynamic {
    match value {
        Val::Unit => Dynamic::UNIT,
        Val::Bool(b) => Dynamic::from_bool(b),
        Val::Int(i) => Dynamic::from_int(i),
        Val::Float(f) => Dynamic::from_float(f),
        Val::Text(text) => Dynamic::from(ImmutableString::from(text)),
        Val::Big(value) => from_value(value),
    }
}

/// An owned value as Rhai holds it. Nulls inside lists and maps become [`Null`], so that they come back as they were.
pub(super) fn from_value(value: &Value) -> Dynamic {
    let inner = |v: &Value| match v {
        Value::Null => Dynamic::from(Null),
        other => from_value(other),
    };
    match value {
        Value::Number(number) => Dynamic::from(BigNumber(number.clone())),
        Value::List(list) => Dynamic::from_array(list.iter().map(inner).collect()),
        Value::Map(map) => Dynamic::from_map(map.0.iter().map(|(name, v)| (name.clone(), inner(v))).collect()),
        other => from_val(other.as_val()),
    }
}

/// What Rhai holds as a value of ours. A member that is `()` is no member; an element that is `()` is null. The error
/// says what cannot be in an event.
pub(super) fn to_value(value: &Dynamic) -> Result<Value, &'static str> {
    if value.is_unit() || value.is::<Null>() {
        return Ok(Value::Null);
    }
    if let Ok(i) = value.as_int() {
        return Ok(Value::Int(i));
    }
    if let Ok(f) = value.as_float() {
        return if f.is_finite() { Ok(Value::Float(f)) } else { Err("a float that is not finite") };
    }
    if let Ok(b) = value.as_bool() {
        return Ok(Value::Bool(b));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::Text(CompactString::from(text.as_str())));
    }
    if let Ok(c) = value.as_char() {
        return Ok(Value::Text(CompactString::from(c.encode_utf8(&mut [0; 4]) as &str)));
    }
    if let Ok(list) = value.as_array_ref() {
        return list.iter().map(to_value).collect::<Result<Vec<_>, _>>().map(|l| Value::List(Arc::new(l)));
    }
    if let Ok(map) = value.as_map_ref() {
        let kept = map.iter().filter(|(_, v)| !v.is_unit() && !v.is::<Untouched>());
        let members = kept.map(|(name, v)| to_value(v).map(|v| (name.clone(), v)));
        return members.collect::<Result<Vec<_>, _>>().map(|m| Value::Map(Arc::new(Map(m))));
    }
    match value.read_lock::<BigNumber>() {
        Some(number) => Ok(Value::Number(number.0.clone())),
        None => Err(odd_kind(value)),
    }
}

/// What a value is called that no event holds.
pub(super) fn odd_kind(value: &Dynamic) -> &'static str {
    if value.is::<FnPtr>() {
        "a function"
    } else if value.is::<std::ops::Range<i64>>() || value.is::<std::ops::RangeInclusive<i64>>() {
        "a range"
    } else {
        "a value that no event holds"
    }
}

/// An argument of a native call, held so that it can be borrowed.
pub(super) enum Held {
    /// Needs no store.
    Plain(Val<'static>),
    /// Text.
    Text(ImmutableString),
    /// A list, a map, a big number, a character.
    Owned(Value),
    /// Nothing an event holds: a function, a range.
    Odd(&'static str),
}

impl Held {
    /// Takes what a native call was given.
    pub(super) fn new(value: &Dynamic) -> Held {
        if let Ok(i) = value.as_int() {
            Held::Plain(Val::Int(i))
        } else if let Ok(f) = value.as_float() {
            Held::Plain(Val::Float(f))
        } else if let Ok(text) = value.as_immutable_string_ref() {
            Held::Text(text.clone())
        } else if let Ok(b) = value.as_bool() {
            Held::Plain(Val::Bool(b))
        } else if value.is_unit() || value.is::<Null>() {
            Held::Plain(Val::Unit)
        } else {
            to_value(value).map_or_else(Held::Odd, Held::Owned)
        }
    }

    /// Borrowed; the error is the kind of what no operation takes.
    pub(super) fn view(&self) -> Result<Val<'_>, &'static str> {
        match self {
            Held::Plain(val) => Ok(*val),
            Held::Text(text) => Ok(Val::Text(text.as_str())),
            Held::Owned(value) => Ok(value.as_val()),
            Held::Odd(kind) => Err(kind),
        }
    }
}

/// Whether a script's value is the one a field had: same kind, same value, same spelling of a float's bits.
pub(super) fn same(old: Val<'_>, new: &Value) -> bool {
    match (old, new) {
        (Val::Unit, Value::Null) => true,
        (Val::Bool(a), Value::Bool(b)) => a == *b,
        (Val::Int(a), Value::Int(b)) => a == *b,
        (Val::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Val::Text(a), Value::Text(b)) => a == b.as_str(),
        (Val::Big(a), b) => same_deep(a, b),
        _ => false,
    }
}

fn same_deep(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| same_deep(x, y)),
        (Value::Map(a), Value::Map(b)) => {
            a.0.len() == b.0.len() && a.0.iter().all(|(name, x)| b.get(name).is_some_and(|y| same_deep(x, y)))
        }
        (Value::Number(_) | Value::List(_) | Value::Map(_), _) => false,
        (plain, other) => same(plain.as_val(), other),
    }
}

/// Gives the members of a map back the order they had; new ones come last, by name.
pub(super) fn in_old_order(old: &Value, new: Value) -> Value {
    match (old, new) {
        (Value::Map(old), Value::Map(new)) => {
            let mut rest = Arc::try_unwrap(new).unwrap_or_else(|shared| Map::clone(&shared));
            let mut members = Vec::with_capacity(rest.0.len());
            for (name, before) in &old.0 {
                if let Ok(at) = rest.0.binary_search_by(|(n, _)| n.as_str().cmp(name.as_str()))
                    && let Some((name, after)) = rest.0.get_mut(at)
                {
                    members.push((name.clone(), in_old_order(before, std::mem::replace(after, Value::Null))));
                }
            }
            let is_new = |name: &CompactString| old.get(name).is_none();
            members.extend(rest.0.into_iter().filter(|(name, _)| is_new(name)));
            Value::Map(Arc::new(Map(members)))
        }
        (Value::List(old), Value::List(new)) => {
            let new = Arc::try_unwrap(new).unwrap_or_else(|shared| Vec::clone(&shared));
            let mut before = old.iter();
            let items = new.into_iter().map(|item| match before.next() {
                Some(before) => in_old_order(before, item),
                None => item,
            });
            Value::List(Arc::new(items.collect()))
        }
        (_, new) => new,
    }
}
