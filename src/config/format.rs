//! `format` of sources and sinks, and of the step `parse`.

mod records;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::data::format::{Format, Logfmt};

use super::context::{Context, Unknown};
use super::csv::{CsvIn, CsvOut};
use super::read::{Read, Text, wrong_type};

/// Formats that are read in this version.
const READ: [&str; 9] = ["json", "csv", "text", "logfmt", "regex", "grok", "combined_log", "key_value", "msgpack"];
/// Formats that are read in later versions.
const READ_LATER: [&str; 1] = ["raw"];
/// Formats that are written in this version.
const WRITTEN: [&str; 5] = ["json", "csv", "text", "logfmt", "msgpack"];
/// Formats that are written in later versions.
const WRITTEN_LATER: [&str; 1] = ["raw"];

/// `format` of a source.
#[derive(Clone, Debug)]
pub struct FormatIn(pub Format);

/// `format` of a sink.
#[derive(Clone, Debug)]
pub struct FormatOut {
    /// The format.
    pub format: Format,
    /// Of `text`: what makes a line.
    pub line: Option<Text>,
}

impl From<Format> for FormatOut {
    fn from(format: Format) -> Self {
        FormatOut { format, line: None }
    }
}

/// What makes a line where `text` is written without a template.
const LINE: &str = "{{ message }}";

impl Read for FormatIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (name, options, place) = choice(node, key, &READ, &READ_LATER, context)?;
        match name {
            "json" | "combined_log" | "msgpack" => {
                let format = match name {
                    "json" => Format::Json,
                    "msgpack" => Format::MessagePack,
                    _ => Format::CombinedLog,
                };
                return no_options(name, options, context).then_some(FormatIn(format));
            }
            "csv" => {}
            _ => return records::read(name, options, node, &place, context).map(FormatIn),
        }
        CsvIn::resolve(options, node, &place, context).map(|csv| FormatIn(Format::Csv(Box::new(csv))))
    }
}

impl Read for FormatOut {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (name, options, place) = choice(node, key, &WRITTEN, &WRITTEN_LATER, context)?;
        let format = match name {
            "csv" => Format::Csv(Box::new(CsvOut::resolve(options, &place, context)?)),
            "text" => {
                let line = match options {
                    Some(written) => line(written, context)?,
                    None => Text { text: LINE.to_owned(), span: place },
                };
                return Some(FormatOut { format: Format::Line, line: Some(line) });
            }
            _ if !no_options(name, options, context) => return None,
            "logfmt" => Format::Logfmt(Logfmt { infer: true }),
            "msgpack" => Format::MessagePack,
            _ => Format::Json,
        };
        Some(format.into())
    }
}

/// The template of a line, whose own line end comes by itself.
fn line(written: &Node, context: &mut Context<'_>) -> Option<Text> {
    if let Data::Map(_) = &written.data {
        context
            .error("wrong-type", "`text` takes a template of the line", &written.span)
            .help("write `format: { text: \"{{ device_id }} {{ value }}\" }`");
        return None;
    }
    let Text { mut text, span } = Text::read(written, &written.span, context)?;
    text.truncate(text.strip_suffix('\n').unwrap_or(&text).len());
    Some(Text { text, span })
}

/// A format's name, its options and the place of the name: `json`, `csv` or `{ csv: { … } }`.
fn choice<'n>(
    node: &'n Node,
    key: &Span,
    formats: &[&'static str],
    later: &[&str],
    context: &mut Context<'_>,
) -> Option<(&'static str, Option<&'n Node>, Span)> {
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
    let known = formats.iter().find(|f| **f == name).copied();
    if known.is_none() {
        let what = Unknown { code: "unknown-format", noun: "format", place: "", listing: "the formats are" };
        context.unknown(&what, &name, &place, formats, later);
    }
    Some((known?, options, place))
}

/// A format that has nothing to set.
fn no_options(name: &str, options: Option<&Node>, context: &mut Context<'_>) -> bool {
    let Some(Node { data: Data::Map(entries), .. }) = options else { return true };
    for entry in entries {
        let message = format!("unknown key `{}`: `{name}` has no options", entry.key);
        context.error("unknown-key", message, &entry.key_span).help(format!("write `format: {name}`"));
    }
    entries.is_empty()
}

/// A format's name, or a map of its name to its options.
fn schema(plain: &[&str], options: &[(&str, Schema)]) -> Schema {
    let properties: serde_json::Map<String, serde_json::Value> =
        options.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone().to_value())).collect();
    json_schema!({
        "anyOf": [
            { "type": "string", "enum": plain },
            {
                "type": "object",
                "properties": properties,
                "minProperties": 1,
                "maxProperties": 1,
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
        let plain: Vec<&str> = READ.into_iter().filter(|name| !matches!(*name, "regex" | "grok")).collect();
        let mut options = vec![("csv", generator.subschema_for::<CsvIn>())];
        options.extend(records::schemas(generator));
        schema(&plain, &options)
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
        let line = json_schema!({
            "description": "A line made by a template: `{{ time }} {{ site.floor }}`, with filters as in paths. Without one the \
                field `message`. A row that lacks a field of it cannot be written, unless `default` says what stands for \
                it: `{{ note | default('-') }}`. Line ends in values are written as they are.",
            "type": "string",
        });
        schema(&WRITTEN, &[("csv", generator.subschema_for::<CsvOut>()), ("text", line)])
    }
}
