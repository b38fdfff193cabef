//! One value of an event, owned ([`Value`]) or borrowed ([`Val`]), and the one order and equality that keys, windows
//! and outputs agree on.

use std::cmp::Ordering;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A JSON-like value that owns what it holds. Cloning is cheap: containers are shared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Value {
    /// JSON's null.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A finite double.
    Float(f64),
    /// A number as it was spelled, because neither an `i64` nor a finite double holds it. Passed on, never computed with.
    Number(CompactString),
    /// Text.
    Text(CompactString),
    /// A list.
    List(Arc<Vec<Value>>),
    /// An object; members keep their order.
    Map(Arc<Map>),
}

/// The members of an object in order; a name stands once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Map(pub Vec<(CompactString, Value)>);

impl Map {
    /// A member's value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Sets a member where it stands, or last if it is new.
    pub fn insert(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }
}

/// A value that borrows, as expressions see it. A missing field and null are both [`Val::Unit`].
#[derive(Clone, Copy, Debug)]
pub enum Val<'a> {
    /// Rhai's `()`: missing or null.
    Unit,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// A list, a map, or a number beyond 64 bits.
    Big(&'a Value),
}

impl Value {
    /// Whether there are more than `limit` lists and maps inside one another.
    pub fn nests_beyond(&self, limit: usize) -> bool {
        let below = |inner: &Value| limit.checked_sub(1).is_none_or(|limit| inner.nests_beyond(limit));
        match self {
            Value::List(items) => limit == 0 || items.iter().any(below),
            Value::Map(map) => limit == 0 || map.0.iter().any(|(_, value)| below(value)),
            _ => false,
        }
    }
}

impl Value {
    /// Borrowed.
    pub fn as_val(&self) -> Val<'_> {
        match self {
            Value::Null => Val::Unit,
            Value::Bool(b) => Val::Bool(*b),
            Value::Int(i) => Val::Int(*i),
            Value::Float(f) => Val::Float(*f),
            Value::Text(t) => Val::Text(t),
            Value::Number(_) | Value::List(_) | Value::Map(_) => Val::Big(self),
        }
    }

    /// The value at a path inside this one.
    pub fn at(&self, names: &[CompactString]) -> Option<&Value> {
        names.iter().try_fold(self, |value, name| match value {
            Value::Map(map) => map.get(name),
            _ => None,
        })
    }
}

impl Val<'_> {
    /// An owned copy; unit becomes null.
    pub fn to_value(self) -> Value {
        match self {
            Val::Unit => Value::Null,
            Val::Bool(b) => Value::Bool(b),
            Val::Int(i) => Value::Int(i),
            Val::Float(f) => Value::Float(f),
            Val::Text(t) => Value::Text(t.into()),
            Val::Big(v) => v.clone(),
        }
    }

    /// Where the kind stands in the order null < false < true < numbers < text < lists < objects.
    fn rank(self) -> u8 {
        match self {
            Val::Unit => 0,
            Val::Bool(_) => 1,
            Val::Int(_) | Val::Float(_) => 2,
            Val::Text(_) => 3,
            Val::Big(Value::Number(_)) => 2,
            Val::Big(Value::List(_)) => 4,
            Val::Big(_) => 5,
        }
    }

    /// What the kind is called in messages.
    pub fn kind(self) -> &'static str {
        match self {
            Val::Unit => "null",
            Val::Bool(_) => "a bool",
            Val::Int(_) => "an integer",
            Val::Float(_) => "a float",
            Val::Text(_) => "text",
            Val::Big(Value::Number(_)) => "a number beyond 64 bits",
            Val::Big(Value::List(_)) => "a list",
            Val::Big(_) => "a map",
        }
    }
}

/// Orders an integer and a double by their exact values. A NaN, which no event holds, is above every number.
pub fn compare_int_float(int: i64, float: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63, exact
    if float.is_nan() || float >= LIMIT {
        return Ordering::Less;
    }
    if float < -LIMIT {
        return Ordering::Greater;
    }
    // In range, so the cast only cuts the fraction.
    let whole = float as i64;
    int.cmp(&whole).then_with(|| {
        if float.fract() > 0.0 {
            Ordering::Less
        } else if float.fract() < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    })
}

/// The order of keys and outputs: null < false < true < numbers by exact value < text by code point < lists < objects.
/// Numbers beyond 64 bits stand among the numbers by their nearest double, then by spelling.
pub fn compare(a: Val<'_>, b: Val<'_>) -> Ordering {
    match (a, b) {
        (Val::Bool(x), Val::Bool(y)) => x.cmp(&y),
        (Val::Int(x), Val::Int(y)) => x.cmp(&y),
        (Val::Float(x), Val::Float(y)) => x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan())),
        (Val::Int(x), Val::Float(y)) => compare_int_float(x, y),
        (Val::Float(x), Val::Int(y)) => compare_int_float(y, x).reverse(),
        (Val::Text(x), Val::Text(y)) => x.cmp(y),
        (Val::Big(x), Val::Big(y)) => compare_big(x, y),
        (Val::Big(Value::Number(x)), y) if y.rank() == 2 => compare_spelled(x, y),
        (x, Val::Big(Value::Number(y))) if x.rank() == 2 => compare_spelled(y, x).reverse(),
        _ => a.rank().cmp(&b.rank()),
    }
}

/// A number beyond 64 bits against one within: its sign or its size decides, never a tie.
fn compare_spelled(spelled: &str, other: Val<'_>) -> Ordering {
    let nearest = spelled.parse::<f64>().unwrap_or(f64::INFINITY);
    let other = match other {
        Val::Int(i) => i as f64,
        Val::Float(f) => f,
        _ => 0.0,
    };
    nearest.partial_cmp(&other).unwrap_or(Ordering::Greater).then(Ordering::Greater)
}

fn compare_big(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let by_size = x.parse::<f64>().ok().partial_cmp(&y.parse::<f64>().ok()).unwrap_or(Ordering::Equal);
            by_size.then_with(|| x.cmp(y))
        }
        (Value::List(x), Value::List(y)) => {
            let unequal = x.iter().zip(y.iter()).map(|(p, q)| compare(p.as_val(), q.as_val())).find(|o| o.is_ne());
            unequal.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (Value::Map(x), Value::Map(y)) => {
            // Objects are equal whatever the order of their members, so members are compared by name.
            let sorted = |m: &'_ Map| {
                let mut members: Vec<_> = m.0.clone();
                members.sort_by(|p, q| p.0.cmp(&q.0));
                members
            };
            let (x, y) = (sorted(x), sorted(y));
            let unequal = x
                .iter()
                .zip(y.iter())
                .map(|(p, q)| p.0.cmp(&q.0).then_with(|| compare(p.1.as_val(), q.1.as_val())))
                .find(|o| o.is_ne());
            unequal.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        _ => a.as_val().rank().cmp(&b.as_val().rank()),
    }
}

/// Equal in the sense of [`compare`]: `1` and `1.0` are, `1` and `"1"` are not.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        compare(self.as_val(), other.as_val()).is_eq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_exact_value() {
        assert_eq!(compare(Val::Int(9_007_199_254_740_993), Val::Float(9_007_199_254_740_992.0)), Ordering::Greater);
        assert_eq!(compare(Val::Int(41), Val::Float(41.0)), Ordering::Equal);
        assert_eq!(compare(Val::Float(-0.5), Val::Int(0)), Ordering::Less);
        assert_eq!(compare(Val::Int(-1), Val::Float(-0.5)), Ordering::Less);
        assert_eq!(compare(Val::Int(i64::MAX), Val::Float(9_223_372_036_854_775_808.0)), Ordering::Less);
        assert_eq!(compare(Val::Text("1"), Val::Int(1)), Ordering::Greater);
        assert_eq!(std::mem::size_of::<Value>(), 32);
    }
}
