//! Decodes options from a positioned tree with `serde`, so that whoever owns them needs no more than a struct: every
//! mistake becomes a diagnostic at the exact place of the key or the value it is in.
//!
//! `serde` stops at the first mistake. To show all of them, [`decode`] takes the entry that was wrong out of the map and
//! decodes what is left, until nothing is wrong or nothing is left to take out.

use std::fmt;
use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::diag::{Diagnostic, Diagnostics, Span};
use super::suggest::nearest;
use super::tree::{Data, Entry, Node};

/// Decodes options. `name` is what they are called in messages (the kind key), `key` that key's place. `None` after a
/// mistake, which has been reported.
pub fn decode<T: DeserializeOwned>(node: &Node, name: &str, found: &mut Diagnostics) -> Option<T> {
    let mut left = node.clone();
    let (mut removed, mut missing): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut stands_in = false;
    loop {
        let mistake = match T::deserialize(Place { node: &left }) {
            Ok(value) if removed.is_empty() && missing.is_empty() => return Some(value),
            Ok(_) => break,
            Err(mistake) => mistake,
        };
        let whole = mistake.span.as_ref().is_none_or(|span| *span == node.span);
        if let (What::Missing(field), true) = (&mistake.what, whole) {
            // What is missing because it was misspelt, or taken out, is no second mistake.
            if !removed.contains(field) {
                missing.push(field.clone());
            }
            let Some(with) = with_stand_in::<T>(&left, field) else { break };
            (left, stands_in) = (with, true);
            continue;
        }
        // What does not go together with a value that only stands in is no mistake of the author's.
        if whole && stands_in {
            break;
        }
        if let What::UnknownKey { name, known } = &mistake.what {
            removed.extend(nearest(name, known.iter().copied()).map(str::to_owned));
        }
        let mut diagnostic = mistake.diagnostic(node, name);
        if let (What::WrongType { .. }, true, Data::Text(_)) = (&mistake.what, whole, &node.data) {
            diagnostic = diagnostic.help(as_map::<T>(node, name));
        }
        found.push(diagnostic);
        let place = mistake.span.map(|span| span.range);
        let Data::Map(entries) = &mut left.data else { break };
        let wrong = |e: &Entry| {
            let inside =
                e.value.span.range.start.min(e.key_span.range.start)..e.value.span.range.end.max(e.key_span.range.end);
            place.as_ref().is_some_and(|p| inside.start <= p.start && p.end <= inside.end)
        };
        let Some(at) = entries.iter().position(wrong) else { break };
        removed.push(entries.remove(at).key);
    }
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        let (keys, are) = (names(&missing), if missing.len() == 1 { "is" } else { "are" });
        let diagnostic = Diagnostic::error("missing-key", format!("`{name}` needs {keys}"), Some(node.span.clone()));
        found.push(diagnostic.label(format!("{keys} {are} missing")));
    }
    None
}

/// The options with a value for one that is missing, so that `serde` goes on to the next: the first of some values that
/// the option takes.
fn with_stand_in<T: DeserializeOwned>(options: &Node, field: &str) -> Option<Node> {
    let entries = match &options.data {
        Data::Map(entries) if entries.iter().all(|entry| entry.key != field) => entries.as_slice(),
        Data::Null => &[],
        _ => return None,
    };
    let texts = ["x", "10s", "http://localhost"].map(|text| Data::Text(text.into()));
    let others = [Data::Int(1), Data::Bool(true), Data::List(Vec::new()), Data::Map(Vec::new())];
    let nowhere = Span { range: usize::MAX..usize::MAX, ..options.span.clone() };
    texts.into_iter().chain(others).find_map(|data| {
        let value = Node { span: nowhere.clone(), data, lines: Arc::clone(&options.lines) };
        let stand_in = Entry { key: field.to_owned(), key_span: nowhere.clone(), value };
        let with = Data::Map(entries.iter().cloned().chain([stand_in]).collect());
        let with = Node { data: with, ..options.clone() };
        let refused =
            T::deserialize(Place { node: &with }).is_err_and(|mistake| mistake.span.as_ref() == Some(&nowhere));
        (!refused).then_some(with)
    })
}

/// How options are written as a map, where a text stands in their place: it is mostly the one that has to be there.
fn as_map<T: DeserializeOwned>(node: &Node, name: &str) -> String {
    let mut options = Node { data: Data::Map(Vec::new()), ..node.clone() };
    let mut needed: Vec<String> = Vec::new();
    while let Err(Mistake { what: What::Missing(field), .. }) = T::deserialize(Place { node: &options }) {
        let with = with_stand_in::<T>(&options, &field);
        needed.push(field);
        let Some(with) = with else { break };
        options = with;
    }
    let takes_text = |entry: &Entry| matches!(entry.value.data, Data::Text(_));
    match (needed.as_slice(), &options.data) {
        ([], _) => format!("no option has to be there: write `{name}: {{}}`"),
        ([only], Data::Map(entries)) if entries.iter().any(takes_text) => {
            format!("write `{name}: {{ {only}: {} }}`", written(node))
        }
        (several, _) => {
            let options: Vec<String> = several.iter().map(|field| format!("{field}: …")).collect();
            format!("write `{name}: {{ {} }}`", options.join(", "))
        }
    }
}

/// A text as it stands in the file, so that it can stand in a map on one line. Never its value, which may be a secret
/// that a variable stands for.
fn written(node: &Node) -> String {
    let text = node.span.file.text.get(node.span.range.clone()).unwrap_or_default();
    let quoted = text.starts_with(['"', '\'']);
    match text {
        _ if text.is_empty() || text.contains('\n') => "…".to_owned(),
        _ if !quoted && text.contains([',', '{', '}', '[', ']']) => format!("'{}'", text.replace('\'', "''")),
        _ => text.to_owned(),
    }
}

/// A mistake found while decoding.
#[derive(Debug)]
struct Mistake {
    what: What,
    /// Where; filled in by the innermost node that the mistake passes.
    span: Option<Span>,
}

#[derive(Debug)]
enum What {
    Custom(String),
    WrongType { wanted: String, is: String },
    UnknownKey { name: String, known: &'static [&'static str] },
    UnknownValue { name: String, known: &'static [&'static str] },
    Missing(String),
    Twice(String),
}

impl Mistake {
    fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    fn diagnostic(&self, node: &Node, name: &str) -> Diagnostic {
        let span = Some(self.span.clone().unwrap_or_else(|| node.span.clone()));
        let error = |code, message: String| Diagnostic::error(code, message, span.clone());
        let choice = |name: &str, known: &[&str], intro: &str| match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{intro} {}", names(known)),
        };
        match &self.what {
            What::Custom(message) => {
                let (message, help) = message.split_once("; ").unwrap_or((message, ""));
                let diagnostic = error("bad-value", message.trim_end_matches('.').to_owned());
                if help.is_empty() { diagnostic } else { diagnostic.help(help) }
            }
            What::WrongType { wanted, is } => error("wrong-type", format!("expected {wanted}, found {is}")),
            What::UnknownKey { name: key, known } => error("unknown-key", format!("unknown key `{key}` in `{name}`"))
                .help(choice(key, known, "the keys here are")),
            What::UnknownValue { name: value, known } => {
                error("unknown-value", format!("unknown value `{value}`")).help(choice(value, known, "it is one of"))
            }
            What::Missing(key) => {
                error("missing-key", format!("`{name}` needs `{key}`")).label(format!("`{key}` is missing"))
            }
            What::Twice(key) => error("duplicate-key", format!("the key `{key}` stands twice")),
        }
    }
}

fn names(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Mistake {}

impl From<What> for Mistake {
    fn from(what: What) -> Self {
        Mistake { what, span: None }
    }
}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        What::Custom(message.to_string()).into()
    }

    fn invalid_type(is: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        What::WrongType { wanted: plain(&wanted.to_string()), is: described(&is) }.into()
    }

    fn invalid_value(is: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        What::WrongType { wanted: plain(&wanted.to_string()), is: described(&is) }.into()
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        What::UnknownKey { name: name.to_owned(), known }.into()
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        What::UnknownValue { name: name.to_owned(), known }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        What::Missing(name.to_owned()).into()
    }

    fn duplicate_field(name: &'static str) -> Self {
        What::Twice(name.to_owned()).into()
    }
}

/// What `serde` wants, in an author's words; it speaks of Rust's types.
fn plain(wanted: &str) -> String {
    match wanted {
        "a string" | "a borrowed string" | "string" => "text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") || other == "a map" || other.starts_with("map") => "a map".to_owned(),
        other if other.starts_with("enum ") || other.starts_with("variant ") => "one of its names".to_owned(),
        other => other.to_owned(),
    }
}

fn described(is: &de::Unexpected<'_>) -> String {
    match is {
        de::Unexpected::Bool(_) => "a bool",
        // Secrets are text, so text is never shown; numbers say what is wrong with them.
        de::Unexpected::Unsigned(n) => return format!("the number {n}"),
        de::Unexpected::Signed(n) => return format!("the number {n}"),
        de::Unexpected::Float(n) => return format!("the number {n}"),
        de::Unexpected::Str(_) | de::Unexpected::Char(_) | de::Unexpected::Bytes(_) => "text",
        de::Unexpected::Unit | de::Unexpected::Option => "nothing",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a map",
        _ => "something else",
    }
    .to_owned()
}

/// A node as something to decode from.
#[derive(Clone, Copy)]
struct Place<'n> {
    node: &'n Node,
}

impl<'n> Place<'n> {
    fn finish<V>(self, result: Result<V, Mistake>) -> Result<V, Mistake> {
        result.map_err(|mistake| mistake.at(&self.node.span))
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.node.data {
            Data::Null => visitor.visit_unit(),
            Data::Bool(b) => visitor.visit_bool(*b),
            Data::Int(i) if *i >= 0 => visitor.visit_u64(i.unsigned_abs()),
            Data::Int(i) => visitor.visit_i64(*i),
            Data::Float(f) => visitor.visit_f64(*f),
            Data::Text(t) => visitor.visit_str(t),
            Data::List(items) => visitor.visit_seq(Items(items.iter())),
            Data::Map(entries) => visitor.visit_map(Members { entries: entries.iter(), value: None }),
        }
    }
}

impl<'de> de::Deserializer<'de> for Place<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.finish(self.any(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node.data {
            Data::Null => self.finish(visitor.visit_none()),
            _ => self.finish(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        self.finish(visitor.visit_newtype_struct(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.node.data {
            // `stdin:` with nothing after it is all defaults.
            Data::Null => self.finish(visitor.visit_map(Members { entries: [].iter(), value: None })),
            _ => self.finish(self.any(visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let result = match &self.node.data {
            Data::Text(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Data::Map(entries) => match entries.as_slice() {
                [only] => visitor.visit_enum(Variant(only)),
                _ => Err(What::Custom("expected one name with its options".to_owned()).into()),
            },
            _ => Err(What::WrongType { wanted: "a name".to_owned(), is: self.node.kind().to_owned() }.into()),
        };
        self.finish(result)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        self.0.next().map(|node| seed.deserialize(Place { node })).transpose()
    }
}

struct Members<'n> {
    entries: std::slice::Iter<'n, Entry>,
    value: Option<&'n Entry>,
}

impl<'de> de::MapAccess<'de> for Members<'_> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Mistake> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mistake| mistake.at(&entry.key_span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        match self.value.take() {
            Some(entry) => {
                let node = &entry.value;
                let result = seed.deserialize(Place { node });
                // A value that was left out has no place of its own.
                result.map_err(|m| if node.span.range.is_empty() { m.at(&entry.key_span) } else { m })
            }
            None => Err(What::Custom("a value without a key".to_owned()).into()),
        }
    }
}

struct Variant<'n>(&'n Entry);

impl<'de, 'n> de::EnumAccess<'de> for Variant<'n> {
    type Error = Mistake;
    type Variant = Place<'n>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Place<'n>), Mistake> {
        let name: StrDeserializer<'_, Mistake> = self.0.key.as_str().into_deserializer();
        let variant = seed.deserialize(name).map_err(|mistake| mistake.at(&self.0.key_span))?;
        Ok((variant, Place { node: &self.0.value }))
    }
}

impl<'de> de::VariantAccess<'de> for Place<'_> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        match self.node.data {
            Data::Null => Ok(()),
            _ => Err(Mistake::from(What::Custom("this name takes no options".to_owned())).at(&self.node.span)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mistake> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.finish(self.any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Mistake> {
        de::Deserializer::deserialize_struct(self, "", &[], visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::base::diag::SourceFile;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Options {
        path: String,
        #[serde(default)]
        retries: u8,
        level: Option<Level>,
        #[serde(default)]
        tags: Vec<String>,
        inner: Option<Inner>,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        on: bool,
        every: Every,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(try_from = "String")]
    struct Every(i64);

    impl TryFrom<String> for Every {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            crate::base::time::TimeSpan::parse(&text).map(|s| Every(s.0))
        }
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Level {
        Low,
        High(u8),
        Custom { name: String },
    }

    /// A tree of `key: value` lines; deeper maps as Rust closures would only hide what is tested.
    fn node(file: &Arc<SourceFile>, data: Data, written: &str) -> Node {
        let start = file.text.find(written).unwrap();
        let span = Span { file: Arc::clone(file), range: start..start + written.len() };
        Node { lines: Arc::new(vec![start]), span, data }
    }

    fn entry(file: &Arc<SourceFile>, key: &str, value: Node) -> Entry {
        let start = file.text.find(&format!("{key}:")).unwrap();
        let key_span = Span { file: Arc::clone(file), range: start..start + key.len() };
        Entry { key: key.into(), key_span, value }
    }

    fn found(text: &str, make: impl Fn(&Arc<SourceFile>) -> Vec<Entry>) -> (Option<Options>, Vec<String>) {
        let file = Arc::new(SourceFile { name: "t".into(), text: text.into() });
        let map = node(&file, Data::Map(make(&file)), text);
        let mut found = Diagnostics::default();
        let options = decode(&map, "thing", &mut found);
        let said = |d: &Diagnostic| {
            let span = d.span.as_ref().unwrap();
            let marked = span.file.text.get(span.range.clone()).unwrap();
            format!("{} `{}` {} [{}]", d.code, marked.replace('\n', "|"), d.message, d.help.clone().unwrap_or_default())
        };
        (options, found.list.iter().map(said).collect())
    }

    #[test]
    fn what_is_right_is_decoded() {
        let (options, said) = found("path: x\nlevel: 5\ntags: y\ninner: 1s", |f| {
            let high = node(
                f,
                Data::Map(vec![Entry { key: "high".into(), ..entry(f, "level", node(f, Data::Int(5), "5")) }]),
                "5",
            );
            let on = Entry { key: "on".into(), ..entry(f, "inner", node(f, Data::Bool(true), "1s")) };
            let every = Entry { key: "every".into(), ..entry(f, "inner", node(f, Data::Text("1s".into()), "1s")) };
            vec![
                entry(f, "path", node(f, Data::Text("x".into()), "x")),
                entry(f, "level", high),
                entry(f, "tags", node(f, Data::List(vec![node(f, Data::Text("y".into()), "y")]), "y")),
                entry(f, "inner", node(f, Data::Map(vec![on, every]), "1s")),
            ]
        });
        assert_eq!(said, Vec::<String>::new());
        let options = options.unwrap();
        assert_eq!((options.path.as_str(), options.level, options.retries), ("x", Some(Level::High(5)), 0));
        assert_eq!(options.inner, Some(Inner { on: true, every: Every(1_000_000) }));
    }

    #[test]
    fn all_mistakes_are_found_at_their_places() {
        let (options, said) = found("pth: x\nretries: 300\nlevel: hihg\ntags: 5\ninner: 10", |f| {
            let every = Entry { key: "every".into(), ..entry(f, "inner", node(f, Data::Text("10".into()), "10")) };
            let on = Entry { key: "on".into(), ..entry(f, "inner", node(f, Data::Bool(true), "10")) };
            vec![
                entry(f, "pth", node(f, Data::Text("x".into()), "x")),
                entry(f, "retries", node(f, Data::Int(300), "300")),
                entry(f, "level", node(f, Data::Text("hihg".into()), "hihg")),
                entry(f, "tags", node(f, Data::List(vec![node(f, Data::Int(5), "5")]), "5")),
                entry(f, "inner", node(f, Data::Map(vec![on, every]), "10")),
            ]
        });
        assert_eq!(options, None);
        insta::assert_snapshot!(said.join("\n"));
    }
}
