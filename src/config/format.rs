//! `format` of sources and sinks.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::data::format::Format;

use super::context::{Context, Unknown};
use super::csv::{CsvIn, CsvOut};
use super::read::{Read, Text, wrong_type};

/// Formats of this version.
const FORMATS: [&str; 2] = ["json", "csv"];
/// Formats of later versions.
const LATER: [&str; 8] = ["text", "logfmt", "regex", "grok", "combined_log", "key_value", "msgpack", "raw"];

/// `format` of a source.
#[derive(Clone, Debug)]
pub struct FormatIn(pub Format);

/// `format` of a sink.
#[derive(Clone, Debug)]
pub struct FormatOut(pub Format);

impl Read for FormatIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (name, options, place) = choice(node, key, context)?;
        if name == "json" {
            return no_options(options, context).then_some(FormatIn(Format::Json));
        }
        CsvIn::resolve(options, node, &place, context).map(|csv| FormatIn(Format::Csv(Box::new(csv))))
    }
}

impl Read for FormatOut {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (name, options, place) = choice(node, key, context)?;
        if name == "json" {
            return no_options(options, context).then_some(FormatOut(Format::Json));
        }
        CsvOut::resolve(options, &place, context).map(|csv| FormatOut(Format::Csv(Box::new(csv))))
    }
}

/// A format's name, its options and the place of the name: `json`, `csv` or `{ csv: { … } }`.
fn choice<'n>(node: &'n Node, key: &Span, context: &mut Context<'_>) -> Option<(&'static str, Option<&'n Node>, Span)> {
    let (name, options, place) = match &node.data {
        Data::Text(_) => {
            let text = Text::read(node, key, context)?;
            (text.text, None, text.span)
        }
        Data::Map(entries) => match entries.as_slice() {
            [only] => (only.key.clone(), Some(&only.value), only.key_span.clone()),
            _ => {
                context
                    .error("one-kind", "a format is one name with its options", &node.span)
                    .help("write `format: csv` or `format: { csv: { delimiter: \";\" } }`");
                return None;
            }
        },
        _ => {
            wrong_type(node, "the name of a format", context);
            return None;
        }
    };
    let known = FORMATS.iter().find(|f| **f == name).copied();
    if known.is_none() {
        let what = Unknown { code: "unknown-format", noun: "format", place: "", listing: "the formats are" };
        context.unknown(&what, &name, &place, &FORMATS, &LATER);
    }
    Some((known?, options, place))
}

/// JSON has nothing to set.
fn no_options(options: Option<&Node>, context: &mut Context<'_>) -> bool {
    let Some(Node { data: Data::Map(entries), .. }) = options else { return true };
    for entry in entries {
        let message = format!("unknown key `{}`: `json` has no options", entry.key);
        context.error("unknown-key", message, &entry.key_span).help("write `format: json`");
    }
    entries.is_empty()
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator, plain: &[&str]) -> Schema {
    let csv = generator.subschema_for::<T>();
    json_schema!({
        "anyOf": [
            { "type": "string", "enum": plain },
            {
                "type": "object",
                "properties": { "csv": csv },
                "required": ["csv"],
                "additionalProperties": false,
            },
        ],
    })
}

impl JsonSchema for FormatIn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SourceFormat".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::SourceFormat").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::<CsvIn>(generator, &FORMATS)
    }
}

impl JsonSchema for FormatOut {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SinkFormat".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::SinkFormat").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::<CsvOut>(generator, &["json"])
    }
}
