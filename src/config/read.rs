//! Reading maps by their keys so that one run shows every mistake: [`Keys`] hands out values, counts what was taken and
//! reports the rest. The macros [`keys!`] and [`words!`] declare a map's keys or a word's choices once; the reader and the
//! JSON Schema both come from that.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Entry, Node, Origin};

use super::context::{Context, Unknown};
use super::interpolate::interpolate;

/// What can be read from a node of the file.
pub trait Read: Sized {
    /// Reads it. `None` after a mistake, which has been reported. `key` is the place of the key that the value belongs to.
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self>;

    /// What stands for it when its key is not there; `None` if the key has to be.
    fn absent() -> Option<Self> {
        None
    }

    /// What stands for it after a mistake in it, so that the rest of its map is still checked; `None` if nothing can.
    fn failed() -> Option<Self> {
        Self::absent()
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        T::read(node, key, context).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for Box<T> {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        T::read(node, key, context).map(Box::new)
    }
}

/// The entries of a map, taken one by one.
pub struct Keys<'n> {
    entries: &'n [Entry],
    taken: Vec<bool>,
    /// Keys that have to be there and are not.
    missing: Vec<String>,
    /// What the map is called in messages: `window`.
    name: String,
    /// The place of the key that the map belongs to.
    place: Span,
}

impl<'n> Keys<'n> {
    /// Opens a map; nothing at all counts as an empty one. Reports what is no map.
    pub fn open(node: &'n Node, name: &str, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let entries: &[Entry] = match &node.data {
            Data::Map(entries) => entries,
            Data::Null => &[],
            _ => {
                wrong_type(node, "a map", context);
                return None;
            }
        };
        let taken = vec![false; entries.len()];
        Some(Keys { entries, taken, missing: Vec::new(), name: name.to_owned(), place: key.clone() })
    }

    /// Every entry, taken or not.
    pub fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    /// The entry of a key, which is then taken.
    pub fn entry(&mut self, key: &str) -> Option<&'n Entry> {
        let at = self.entries.iter().position(|e| e.key == key)?;
        if let Some(taken) = self.taken.get_mut(at) {
            *taken = true;
        }
        self.entries.get(at)
    }

    /// Reads the value of a key. One that is missing is reported when the map is closed.
    pub fn take<T: Read>(&mut self, key: &str, context: &mut Context<'_>) -> Option<T> {
        let Some(entry) = self.entry(key) else {
            let absent = T::absent();
            if absent.is_none() {
                self.missing.push(key.to_owned());
            }
            return absent;
        };
        if entry.value.data == Data::Null {
            let message = format!("`{key}` has no value");
            context
                .error("missing-value", message, &entry.key_span)
                .help("write a value after the colon, or leave the key out");
            return None;
        }
        T::read(&entry.value, &entry.key_span, context)
    }

    /// Marks keys as taken without reading them: their family has been reported already.
    pub fn skip(&mut self, key: &str) {
        self.entry(key);
    }

    /// Reports every entry that nobody took and every key that is missing, but not one that was only misspelt.
    pub fn close(self, known: &[&str], later: &[&str], context: &mut Context<'_>) {
        let place = if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
        let what = Unknown { code: "unknown-key", noun: "key", place: &place, listing: "the keys here are" };
        let mut meant = Vec::new();
        for (entry, _) in self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken) {
            context.unknown(&what, &entry.key, &entry.key_span, known, later);
            meant.extend(nearest(&entry.key, known.iter().copied()));
        }
        for key in self.missing.iter().filter(|key| !meant.contains(&key.as_str())) {
            let message = format!("`{}` needs `{key}`", self.name);
            context.error("missing-key", message, &self.place).label(format!("`{key}` is missing"));
        }
    }
}

/// Reports a value of the wrong kind.
pub fn wrong_type(node: &Node, wanted: &str, context: &mut Context<'_>) {
    let message = format!("expected {wanted}, found {}", node.kind());
    context.error("wrong-type", message, &node.span);
}

/// Declares a map's keys: a struct with doc comments, from which its reader and its schema are made. `later` lists keys of
/// later versions; `as` gives a key a name that Rust keeps for itself.
macro_rules! keys {
    (@name $field:ident) => {
        stringify!($field)
    };
    (@name $field:ident $word:literal) => {
        $word
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident as $called:literal {
            $( $(#[$field_meta:meta])* $field:ident $(as $word:literal)? : $kind:ty, )*
        }
        later [ $($later:literal),* ]
    ) => {
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$field_meta])* $(#[schemars(rename = $word)])? pub $field: $kind, )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::base::tree::Node,
                key: &$crate::base::diag::Span,
                context: &mut $crate::config::context::Context<'_>,
            ) -> Option<Self> {
                let mut keys = $crate::config::read::Keys::open(node, $called, key, context)?;
                $( let $field = keys
                    .take::<$kind>($crate::config::read::keys!(@name $field $($word)?), context)
                    .or_else(<$kind as $crate::config::read::Read>::failed); )*
                keys.close(&[ $( $crate::config::read::keys!(@name $field $($word)?) ),* ], &[ $($later),* ], context);
                Some(Self { $( $field: $field?, )* })
            }
        }
    };
}

/// Declares the words that a value may be: an enum with doc comments, from which its reader and its schema are made.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident ($noun:literal) {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
        $vis enum $name {
            $( $(#[$variant_meta])* #[schemars(rename = $word)] $variant, )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::base::tree::Node,
                key: &$crate::base::diag::Span,
                context: &mut $crate::config::context::Context<'_>,
            ) -> Option<Self> {
                let word = <$crate::config::read::Text as $crate::config::read::Read>::read(node, key, context)?;
                match word.text.as_str() {
                    $( $word => Some(Self::$variant), )*
                    other => {
                        let what = $crate::config::context::Unknown {
                            code: "unknown-value",
                            noun: $noun,
                            place: "",
                            listing: "it is one of",
                        };
                        context.unknown(&what, other, &word.span, &[ $($word),* ], &[]);
                        None
                    }
                }
            }
        }
    };
}

pub(crate) use {keys, words};

/// A plain text, variables filled in, with its place.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Its place.
    pub span: Span,
}

impl Read for Text {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        match node.data {
            Data::Text(text) => Some(Text { text, span: node.span }),
            _ => {
                wrong_type(&node, "text", context);
                None
            }
        }
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Read for bool {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        match node.data {
            Data::Bool(value) => Some(value),
            _ => {
                wrong_type(&node, "`true` or `false`", context);
                None
            }
        }
    }
}

/// A span of time with its place: `10s`, `1h30m`.
#[derive(Clone, Debug)]
pub struct Duration {
    /// How long.
    pub length: TimeSpan,
    /// Its place.
    pub span: Span,
}

impl Duration {
    /// Reports a length that is zero or less.
    pub fn positive(&self, what: &str, context: &mut Context<'_>) -> Option<TimeSpan> {
        if self.length > TimeSpan::ZERO {
            return Some(self.length);
        }
        context.error("not-positive", format!("{what} has to be longer than zero"), &self.span);
        None
    }

    /// Reports a length below zero.
    pub fn not_negative(&self, what: &str, context: &mut Context<'_>) -> Option<TimeSpan> {
        if self.length >= TimeSpan::ZERO {
            return Some(self.length);
        }
        context.error("negative", format!("{what} cannot be negative"), &self.span);
        None
    }
}

impl Read for Duration {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            Data::Int(number) => number.to_string(),
            Data::Float(number) => number.to_string(),
            _ => {
                wrong_type(&node, "a duration like `10s`", context);
                return None;
            }
        };
        match TimeSpan::parse(&text) {
            Ok(length) => Some(Duration { length, span: node.span }),
            Err(reason) => {
                let (message, help) = reason.split_once("; ").unwrap_or((&reason, ""));
                context.error("bad-duration", message, &node.span).help(help);
                None
            }
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::Duration").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of time: `500ms`, `10s`, `1m`, `2h`, `1d`, `1h30m`.",
            "pattern": r"^(0|-?([0-9]+(us|µs|ms|s|m|h|d))+|.*\$\{.*)$",
            "examples": ["10s", "1m", "1h30m"],
        })
    }
}

/// The text of an expression or a script, with where its lines stand.
#[derive(Clone, Debug)]
pub struct Code {
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

impl Read for Code {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            // `filter: true` and `limit: 30` are expressions too.
            Data::Bool(_) | Data::Int(_) | Data::Float(_) => {
                node.span.file.text.get(node.span.range.clone()).unwrap_or_default().to_owned()
            }
            Data::Null if node.span.range.is_empty() => {
                context.error("missing-value", "an expression is missing here", key);
                return None;
            }
            Data::Null | Data::List(_) | Data::Map(_) => {
                wrong_type(node, "an expression", context);
                return None;
            }
        };
        Some(Code { text, origin: node.origin() })
    }
}

impl JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::Expression").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "boolean", "number"],
            "description": "An expression in Rhai in which the event's fields are variables: `status == \"ok\" && temperature > 20`. \
                Put it in quotes where YAML would take it apart: in `{…}` and `[…]`, before ` #` and `: `, and when it begins with a quote, a bracket or `!`. \
                To ask which of two values of different kinds is greater, as of the text `\"ERR\"` and the number 6, is an error of the event; `==` and `!=` can be asked of any, and what is missing or null is neither less nor greater.",
        })
    }
}

/// A value or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            // All are read before one that failed counts, so that every mistake is reported.
            Data::List(items) => {
                let all: Vec<Option<T>> = items.iter().map(|item| T::read(item, key, context)).collect();
                all.into_iter().collect::<Option<Vec<T>>>().map(OneOrMany)
            }
            _ => T::read(node, key, context).map(|one| OneOrMany(vec![one])),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A map of names that the author chooses, in order, each with its place.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<(Text, T)>);

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            wrong_type(node, "a map", context);
            return None;
        };
        let _ = key;
        let mut all = Vec::with_capacity(entries.len());
        let mut whole = true;
        for entry in entries {
            let name = Text { text: entry.key.clone(), span: entry.key_span.clone() };
            match T::read(&entry.value, &entry.key_span, context) {
                Some(value) => all.push((name, value)),
                None => whole = false,
            }
        }
        whole.then_some(Named(all))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}
