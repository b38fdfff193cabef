//! Stored keys and values as people read and write them.

use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::data::hash::hash_key;
use crate::data::json::{parse_value, write_value};
use crate::data::msgpack;
use crate::data::value::{Val, Value, compare};
use crate::store::rows::key_group;

/// The parts of a stored key.
fn parts(key: &[u8]) -> Option<Vec<Value>> {
    rmp_serde::from_slice(key).ok()
}

fn json(value: &Value) -> String {
    let mut text = Vec::new();
    write_value(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A key as a JSON list of its parts.
pub fn key_json(key: &[u8]) -> String {
    match parts(key) {
        Some(parts) => format!("[{}]", parts.iter().map(json).collect::<Vec<_>>().join(",")),
        None => stored(key),
    }
}

/// A key that [`key_json`] wrote as it is written on the command line: a single part as it is, several as a list.
pub fn key_of_json(key: &str) -> String {
    match serde_json::from_str::<Vec<&RawValue>>(key).as_deref() {
        Ok([part]) => match serde_json::from_str::<String>(part.get()) {
            Ok(text) if !text.chars().any(char::is_control) => text,
            _ => part.get().to_owned(),
        },
        _ => key.to_owned(),
    }
}

/// A stored value as JSON on one line.
pub fn value_json(value: &[u8]) -> String {
    let text = stored(value);
    match serde_json::from_str::<Json>(&text) {
        Ok(value) => plain(value, false).to_string(),
        Err(_) => text,
    }
}

/// MessagePack as JSON; what JSON cannot say (a number that is not finite) as its bytes.
fn stored(bytes: &[u8]) -> String {
    msgpack::as_json(bytes).unwrap_or_else(|_| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{\"messagepack\":\"{digits}\"}}")
    })
}

/// Values of events are stored with their kind, `{"Int": 3}`; people read `3`. `inside` is whether this is part of one.
fn plain(value: Json, inside: bool) -> Json {
    match value {
        Json::String(word) if inside && word == "Null" => Json::Null,
        Json::Array(items) => Json::Array(items.into_iter().map(|item| plain(item, inside)).collect()),
        Json::Object(members) if members.len() == 1 => {
            let mut members = members.into_iter();
            members.next().map_or(Json::Null, |(name, value)| of_kind(name, value))
        }
        Json::Object(members) => Json::Object(members.into_iter().map(|(name, v)| (name, plain(v, false))).collect()),
        other => other,
    }
}

/// The only member of an object: the kind of a value and the value, or a field.
fn of_kind(name: String, value: Json) -> Json {
    match (name.as_str(), value) {
        ("Bool" | "Int" | "Float" | "Text", value) => value,
        ("Number", Json::String(spelled)) => serde_json::from_str(&spelled).unwrap_or(Json::String(spelled)),
        ("List", value) => plain(value, true),
        ("Map", Json::Array(members)) => Json::Object(members.into_iter().filter_map(member).collect()),
        (_, value) => Json::Object(std::iter::once((name, plain(value, false))).collect()),
    }
}

/// A member of a stored map: a pair.
fn member(pair: Json) -> Option<(String, Json)> {
    let Json::Array(pair) = pair else { return None };
    let mut pair = pair.into_iter();
    match (pair.next(), pair.next()) {
        (Some(Json::String(name)), Some(value)) => Some((name, plain(value, true))),
        _ => None,
    }
}

/// A key that is looked for.
pub struct Wanted {
    text: String,
    value: Option<Value>,
}

impl Wanted {
    /// As it was written: a text, or JSON.
    pub fn of(text: &str) -> Wanted {
        Wanted { text: text.to_owned(), value: parse_value(text).ok() }
    }

    /// The groups that the key may be kept in.
    pub fn groups(&self) -> Vec<u64> {
        let one = |value: Val<'_>| key_group(hash_key(&[value]));
        let mut groups = vec![one(Val::Text(&self.text))];
        groups.extend(self.value.as_ref().map(|value| one(value.as_val())));
        if let Some(Value::List(parts)) = &self.value {
            groups.push(key_group(hash_key(&parts.iter().map(Value::as_val).collect::<Vec<_>>())));
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Whether a stored key is the one. Numbers are one key however they are spelled.
    pub fn is(&self, key: &[u8]) -> bool {
        let Some(parts) = parts(key) else { return false };
        let same = |a: &Value, b: &Value| compare(a.as_val(), b.as_val()).is_eq();
        match (parts.as_slice(), &self.value) {
            ([Value::Text(text)], _) if *text == self.text => true,
            ([part], Some(value)) if same(part, value) => true,
            (parts, Some(Value::List(list))) => {
                parts.len() == list.len() && parts.iter().zip(list.iter()).all(|(a, b)| same(a, b))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::encode;

    fn key(json: &str) -> Vec<u8> {
        let Ok(Value::List(parts)) = parse_value(json) else { panic!("{json}") };
        encode(&&*parts).unwrap()
    }

    #[test]
    fn keys_are_found_as_they_are_written() {
        for (stored, written) in [
            ("[\"a\"]", "a"),
            ("[\"a\"]", "\"a\""),
            ("[\"a\"]", "[\"a\"]"),
            ("[3]", "3.0"),
            ("[null]", "null"),
            ("[\"a\",3]", "[\"a\", 3]"),
            ("[\"3\"]", "3"),
            ("[]", "[]"),
        ] {
            assert!(Wanted::of(written).is(&key(stored)), "{stored} {written}");
            let parts: Vec<Value> = parts(&key(stored)).unwrap();
            let group = key_group(hash_key(&parts.iter().map(Value::as_val).collect::<Vec<_>>()));
            assert!(Wanted::of(written).groups().contains(&group), "{stored} {written}");
        }
        for (stored, written) in [("[\"a\",3]", "a"), ("[3]", "\"3\""), ("[\"a\"]", "b"), ("[]", "")] {
            assert!(!Wanted::of(written).is(&key(stored)), "{stored} {written}");
        }
        let text = |stored: &str| key_of_json(&key_json(&key(stored)));
        assert_eq!([text("[\"a b\"]"), text("[3.5]"), text("[]")], ["a b", "3.5", "[]"]);
        assert_eq!(text("[\"a\\n\"]"), "\"a\\n\"");
        assert_eq!(key_json(&key("[\"a\",null,{\"x\":1}]")), "[\"a\",null,{\"x\":1}]");
    }

    #[test]
    fn values_of_events_are_shown_as_they_were() {
        let event = parse_value("{\"a\":null,\"b\":[1,\"x\",2.5,true],\"c\":{}}").unwrap();
        assert_eq!(value_json(&encode(&event).unwrap()), "{\"a\":null,\"b\":[1,\"x\",2.5,true],\"c\":{}}");
        let fields: std::collections::BTreeMap<&str, i64> = [("count", 3)].into_iter().collect();
        assert_eq!(value_json(&encode(&fields).unwrap()), "{\"count\":3}");
        assert_eq!(value_json(&encode(&f64::NAN).unwrap()), "{\"messagepack\":\"cb7ff8000000000000\"}");
    }
}
