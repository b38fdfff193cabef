//! What the events of a source hold, as its author promises it: `schema:`.
//!
//! A schema is a promise, not a validator. It lets checking find fields that do not exist and comparisons that cannot
//! hold; at run time nothing looks at it. An event that breaks it is processed like any other: a field that is not
//! listed is passed on and can be read through `event`, a field of another kind is what it is.

use crate::data::format::Format;
use crate::data::formats::combined_log;
use crate::expr::types::{At, Kinds, Type};

/// The fields of an event or of a map inside it, in the order written. There are no others.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Schema {
    /// Name and type.
    pub fields: Vec<(String, Field)>,
}

/// One field.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// What its values are.
    pub kind: Kind,
    /// Whether it may be missing or null.
    pub optional: bool,
}

/// What the values of a field are.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Whole numbers. JSON does not tell 20 from 20.0, so expressions take it for any number.
    Int,
    /// Numbers.
    Float,
    /// Text.
    Text,
    /// `true` and `false`.
    Bool,
    /// Times, as text or as numbers.
    Time,
    /// Lists of anything.
    List,
    /// Maps: of anything, or with just these members.
    Map(Option<Schema>),
    /// Values of more than one kind.
    Any,
}

impl Kind {
    /// Every kind that has a name, with it. `map` names maps of anything.
    pub const NAMES: [(&'static str, Kind); 8] = [
        ("int", Kind::Int),
        ("float", Kind::Float),
        ("text", Kind::Text),
        ("bool", Kind::Bool),
        ("time", Kind::Time),
        ("list", Kind::List),
        ("map", Kind::Map(None)),
        ("any", Kind::Any),
    ];

    /// What an author calls it; a map with members is written as one.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Map(_) => "map",
            kind => Self::NAMES.iter().find(|(_, k)| k == kind).map_or("any", |(name, _)| name),
        }
    }
}

/// As it is written on one line: `device: text, site: { floor: int? }`.
impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, field)) in self.fields.iter().enumerate() {
            let (comma, mark) = (if at > 0 { ", " } else { "" }, if field.optional { "?" } else { "" });
            match &field.kind {
                Kind::Map(Some(members)) => write!(f, "{comma}{name}{mark}: {{ {members} }}")?,
                kind => write!(f, "{comma}{name}: {}{mark}", kind.name())?,
            }
        }
        Ok(())
    }
}

/// What is known of the records of a format, whoever wrote them.
pub fn records(format: &Format) -> Type {
    let any = || Kinds::TEXT | Kinds::NUMBER | Kinds::BOOL | Kinds::MISSING;
    match format {
        Format::Text(text) => Type::map([(text.field.as_str().into(), Type::of(Kinds::TEXT))]),
        Format::CombinedLog => Type::map(combined_log::FIELDS.map(|name| (name.into(), Type::of(any())))),
        Format::Pattern(pattern) => {
            let mut row = Type::map([]);
            for capture in pattern.alternatives.iter().flat_map(|alternative| &alternative.captures) {
                row.set(&capture.path, Type::of(any()));
                // A map none of whose members was found is not there.
                for depth in 1..capture.path.len() {
                    let around = capture.path.get(..depth).unwrap_or_default();
                    if let At::Value(of) = row.at(around) {
                        row.set(around, of.or_missing());
                    }
                }
            }
            row
        }
        Format::Csv(csv) => match &csv.columns {
            Some(columns) => Type::map(columns.iter().map(|name| (name.as_str().into(), Type::of(any())))),
            None => Type::of(Kinds::MAP),
        },
        Format::Logfmt(_) | Format::KeyValue(_) => Type::of(Kinds::MAP),
        Format::Json | Format::MessagePack | Format::Line => Type::any(),
    }
}

impl Schema {
    /// What is known of the events of a source that reads this format.
    pub fn events(&self, format: &Format) -> Type {
        // A reader of CSV takes `007` in a text column for a number, and an empty field for null; others may do so too.
        let guesses = |name: &String| match format {
            Format::Json | Format::MessagePack => false,
            Format::Csv(csv) => csv.infer && !csv.as_text.contains(name),
            _ => true,
        };
        Type::map(self.fields.iter().map(|(name, field)| (name.as_str().into(), field.values(guesses(name)))))
    }
}

impl Field {
    fn values(&self, guesses: bool) -> Type {
        let kinds = match &self.kind {
            Kind::Map(Some(schema)) => {
                let map = Type::map(schema.fields.iter().map(|(name, f)| (name.as_str().into(), f.values(false))));
                return if self.optional { map.or_missing() } else { map };
            }
            Kind::Int | Kind::Float => Kinds::NUMBER,
            Kind::Text if guesses => Kinds::TEXT | Kinds::NUMBER | Kinds::BOOL | Kinds::MISSING,
            Kind::Text => Kinds::TEXT,
            Kind::Bool => Kinds::BOOL,
            Kind::Time => Kinds::TEXT | Kinds::NUMBER,
            Kind::List => Kinds::LIST,
            Kind::Map(None) => Kinds::MAP,
            Kind::Any => return Type::any(),
        };
        let values = Type::of(kinds);
        if self.optional { values.or_missing() } else { values }
    }
}
