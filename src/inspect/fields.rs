//! What fields events have, and of what types: a `schema` from data.

use std::fmt::Write as _;

use compact_str::CompactString;
use indexmap::IndexMap;

use super::records::shown;
use super::spelling;
use crate::base::time::{parse_civil, parse_rfc3339};
use crate::data::json::write_value;
use crate::data::value::{Map, Value};
use crate::plan::schema::{Field, Kind, Schema};

/// A map with more different members than this is a table of values and not a record of fields.
pub const MEMBERS: usize = 256;
/// Maps inside one another; what lies deeper is a map of anything.
const DEPTH: usize = 16;
/// One text among so many numbers is one that differs; with more of them the field is text.
const FEW: u64 = 10;

/// What was seen of one field, or of events as a whole.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Values that are not null.
    values: u64,
    ints: u64,
    floats: u64,
    bools: u64,
    texts: u64,
    /// Texts that are RFC 3339, with or without an offset.
    times: u64,
    lists: u64,
    maps: u64,
    /// By name, in the order first seen.
    members: IndexMap<CompactString, Seen>,
    /// Whether there were too many members to keep.
    crowded: bool,
    /// The first value of each type, where another type is in the field, too: which event it is in, from 1, and what.
    firsts: Vec<(&'static str, u64, String)>,
}

/// The types that are counted by name.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) | Value::Number(_) => "float",
        Value::Text(_) => "text",
        Value::List(_) => "list",
        Value::Map(_) => "map",
    }
}

/// A value as JSON, as it is shown.
fn as_shown(value: &Value) -> String {
    let mut text = Vec::new();
    write_value(value, &mut text);
    shown(&String::from_utf8_lossy(&text))
}

impl Seen {
    /// Looks at an event, which is that record of the stream.
    pub fn look(&mut self, record: u64, value: &Value) {
        self.look_within(value, 0, record);
    }

    fn look_within(&mut self, value: &Value, depth: usize, record: u64) {
        self.values += u64::from(!matches!(value, Value::Null));
        let of = type_of(value);
        if of != "null" && self.firsts.iter().all(|(known, _, _)| *known != of) {
            // Events themselves are in no field.
            let text = if depth == 0 { String::new() } else { as_shown(value) };
            self.firsts.push((of, record, text));
        }
        match value {
            Value::Null => {}
            Value::Bool(_) => self.bools += 1,
            Value::Int(_) => self.ints += 1,
            Value::Float(_) | Value::Number(_) => self.floats += 1,
            Value::Text(text) => {
                self.texts += 1;
                // Once one was no time, nobody asks for the others.
                self.times += u64::from(self.times + 1 == self.texts && is_time(text));
            }
            Value::List(_) => self.lists += 1,
            Value::Map(map) => {
                self.maps += 1;
                self.look_inside(map, depth, record);
            }
        }
    }

    fn look_inside(&mut self, map: &Map, depth: usize, record: u64) {
        if self.crowded || depth >= DEPTH {
            self.crowded = true;
            return;
        }
        for (name, value) in &map.0 {
            if let Some(member) = self.members.get_mut(name) {
                member.look_within(value, depth + 1, record);
                continue;
            }
            if self.members.len() >= MEMBERS {
                self.crowded = true;
                self.members = IndexMap::new();
                return;
            }
            self.members.entry(name.clone()).or_default().look_within(value, depth + 1, record);
        }
    }

    /// The fields of events. `guesses` says that the reader took texts for numbers where they are spelled like some.
    /// `None` if no event was an object, or if they have too many different fields.
    pub fn schema(&self, guesses: bool) -> Option<Schema> {
        if self.crowded || self.members.is_empty() {
            return None;
        }
        let field = |(name, seen): (&CompactString, &Seen)| {
            let kind = seen.kind(guesses);
            let optional = seen.values < self.maps && kind != Kind::Any;
            (name.to_string(), Field { kind, optional })
        };
        Some(Schema { fields: self.members.iter().map(field).collect() })
    }

    /// How many of the values were objects.
    pub fn objects(&self) -> u64 {
        self.maps
    }

    fn kind(&self, guesses: bool) -> Kind {
        let only = |n: u64| n == self.values && n > 0;
        if only(self.ints) {
            Kind::Int
        } else if only(self.ints + self.floats) {
            Kind::Float
        } else if only(self.texts) && self.times == self.texts {
            Kind::Time
        } else if only(self.texts) {
            Kind::Text
        } else if only(self.bools) {
            Kind::Bool
        } else if only(self.lists) {
            Kind::List
        } else if only(self.maps) {
            Kind::Map(self.schema(guesses))
        } else if guesses && self.texts > 0 && only(self.texts + self.ints + self.floats + self.bools) {
            Kind::Text
        } else {
            Kind::Any
        }
    }
}

impl Seen {
    /// Why a field has no narrower type, where some of its values are of another than the others: how many of each, and
    /// the first of those that are fewer. Of text that a reader made of a mixture only where texts are few.
    fn mixture(&self, kind: &Kind) -> Option<String> {
        let of = |name: &str| match name {
            "bool" => self.bools,
            "int" => self.ints,
            "float" => self.floats,
            "text" => self.texts,
            "list" => self.lists,
            _ => self.maps,
        };
        let few = match kind {
            Kind::Any => self.values > 0,
            Kind::Text => self.texts < self.values && self.texts * FEW <= self.values,
            _ => false,
        };
        if !few {
            return None;
        }
        let mut types: Vec<_> =
            self.firsts.iter().map(|(name, record, first)| (of(name), *name, record, first)).collect();
        types.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        let mut parts = Vec::new();
        for (at, (count, name, record, first)) in types.into_iter().enumerate() {
            let count = spelling::count(count);
            parts.push(match at {
                0 => format!("{count} {name}"),
                _ => format!("{count} {name} (the first: {first}, row {})", spelling::count(*record)),
            });
        }
        Some(parts.join(", "))
    }
}

/// Whether a source reads it as a time without being told how.
fn is_time(text: &str) -> bool {
    let local = || parse_civil(text.as_bytes()).is_some_and(|(_, rest)| rest.is_empty());
    parse_rfc3339(text.as_bytes()).is_some() || local()
}

/// The schema as a block of a pipeline file, its key first; what was seen says in comments why a field has no narrower
/// type.
pub fn block(schema: &Schema, seen: &Seen) -> String {
    let mut text = String::from("schema:\n");
    lines(schema, seen, 1, &mut text);
    text
}

fn lines(schema: &Schema, seen: &Seen, depth: usize, text: &mut String) {
    let (indent, unseen) = ("  ".repeat(depth), Seen::default());
    for (name, field) in &schema.fields {
        let mark = if field.optional { "?" } else { "" };
        let seen = seen.members.get(name.as_str()).unwrap_or(&unseen);
        match &field.kind {
            Kind::Map(Some(members)) => {
                // The mark is part of the key.
                let key = spelling::key(name);
                let key = match (field.optional, key == *name) {
                    (false, _) => key,
                    (true, true) => format!("{key}?"),
                    (true, false) => spelling::quoted(&format!("{name}?")),
                };
                let _ = writeln!(text, "{indent}{key}:");
                lines(members, seen, depth + 1, text);
            }
            kind => {
                let why = seen.mixture(kind).map(|why| format!("  # {why}")).unwrap_or_default();
                let _ = writeln!(text, "{indent}{}: {}{mark}{why}", spelling::key(name), kind.name());
            }
        }
    }
}

/// The same for programs.
pub fn as_json(schema: &Schema) -> serde_json::Value {
    let fields = schema.fields.iter().map(|(name, field)| {
        let mark = if field.optional { "?" } else { "" };
        match &field.kind {
            Kind::Map(Some(members)) => (format!("{name}{mark}"), as_json(members)),
            kind => (name.clone(), format!("{}{mark}", kind.name()).into()),
        }
    });
    serde_json::Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::json::parse_value;

    fn of(events: &[&str], guesses: bool) -> String {
        let mut seen = Seen::default();
        events.iter().zip(1..).for_each(|(event, record)| seen.look(record, &parse_value(event).unwrap()));
        seen.schema(guesses).map_or_else(String::new, |schema| block(&schema, &seen))
    }

    #[test]
    fn types_are_the_narrowest_that_hold_every_value() {
        let events = [
            r#"{"ts":"2026-01-01T00:00:00Z","n":1,"x":1,"t":"a","m":null,"ok":true,"l":[1],"e":{},"s":{"floor":1},"on":1}"#,
            r#"{"ts":"2026-01-01T00:00:01.5Z","n":2,"x":2.5,"t":"2026-01-01T00:00:00Z","ok":false,"l":[],"e":{},"any":1}"#,
            r#"{"ts":"2026-01-01T00:00:01.5Z","n":2,"x":2.5,"t":"b","ok":false,"l":[],"e":{},"any":"x"}"#,
        ];
        insta::assert_snapshot!(of(&events, false), @r#"
        schema:
          ts: time
          "n": int
          x: float
          t: text
          m: any
          ok: bool
          l: list
          e: map
          s?:
            floor: int
          "on": int?
          any: any  # 1 int, 1 text (the first: "x", row 3)
        "#);
    }

    #[test]
    fn a_reader_that_guesses_makes_text_of_a_mixture() {
        assert_eq!(of(&[r#"{"zip":12345}"#, r#"{"zip":"0A"}"#], true), "schema:\n  zip: text\n");
        assert_eq!(
            of(&[r#"{"zip":12345}"#, r#"{"zip":"0A"}"#], false),
            "schema:\n  zip: any  # 1 int, 1 text (the first: \"0A\", row 2)\n"
        );
        let mut few = vec![r#"{"v":1}"#; 30];
        few[12] = r#"{"v":"ERR"}"#;
        let text = "schema:\n  v: text  # 29 int, 1 text (the first: \"ERR\", row 13)\n";
        assert_eq!(of(&few, true), text);
    }

    #[test]
    fn a_table_is_no_record() {
        let members: Vec<String> = (0..300).map(|i| format!("\"k{i}\":1")).collect();
        let event = format!("{{\"by_key\":{{{}}}}}", members.join(","));
        assert_eq!(of(&[&event], false), "schema:\n  by_key: map\n");
        assert_eq!(of(&["1"], false), "");
    }
}
