//! `format` of sources and sinks.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::data::format::{Csv, Format};
use crate::data::layout::FieldPath;

use super::context::{Context, Unknown};
use super::read::{OneOrMany, Read, Text, keys, wrong_type};

/// Formats of this version.
const FORMATS: [&str; 2] = ["json", "csv"];
/// Formats of later versions.
const LATER: [&str; 8] = ["text", "logfmt", "regex", "grok", "combined_log", "key_value", "msgpack", "raw"];

keys! {
    /// How CSV is read.
    pub struct CsvIn as "csv" {
        /// The character between fields. Default `,`.
        delimiter: Option<Text>,
        /// The character around fields that hold a delimiter or a line end. Default `"`.
        quote: Option<Text>,
        /// Whether the first record of each file holds the field names. Default `true`, unless `columns` names them.
        header: Option<bool>,
        /// The field names, of files without a header.
        columns: Option<OneOrMany<Text>>,
        /// Whether `20.5` becomes a number, `true` a bool and an empty field null; otherwise all is text. Default `true`.
        infer: Option<bool>,
    }
    later []
}

keys! {
    /// How CSV is written. Every file begins with a header.
    pub struct CsvOut as "csv" {
        /// The fields to write, in order; `site.floor` is a field inside a map.
        columns: OneOrMany<Text>,
        /// The character between fields. Default `,`.
        delimiter: Option<Text>,
        /// The character around fields that hold a delimiter or a line end. Default `"`.
        quote: Option<Text>,
    }
    later []
}

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
        let empty = Node { data: Data::Null, ..node.clone() };
        let csv = CsvIn::read(options.unwrap_or(&empty), &place, context)?;
        let (delimiter, quote) = dialect(csv.delimiter, csv.quote, context)?;
        let columns = csv.columns.map(|c| column_names(c, context));
        match (csv.header, &columns) {
            (Some(true), Some(_)) => {
                let message = "`columns` is for files without a header, and `header` is true";
                context.error("header-and-columns", message, &place).help("leave one of the two out");
                return None;
            }
            (Some(false), None) => {
                let message = "without a header the fields need names";
                context.error("missing-key", message, &place).help("name them: `columns: [time, device_id, value]`");
                return None;
            }
            _ => {}
        }
        let columns = columns.unwrap_or(Some(Vec::new()))?;
        let columns = (!columns.is_empty()).then_some(columns);
        Some(FormatIn(Format::Csv(Csv { delimiter, quote, columns, infer: csv.infer.unwrap_or(true) })))
    }
}

impl Read for FormatOut {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (name, options, place) = choice(node, key, context)?;
        if name == "json" {
            return no_options(options, context).then_some(FormatOut(Format::Json));
        }
        let Some(options) = options else {
            context
                .error("missing-key", "`csv` needs `columns` where it is written", &place)
                .help("say which fields to write, in order: `format: { csv: { columns: [device_id, temperature] } }`");
            return None;
        };
        let csv = CsvOut::read(options, &place, context)?;
        let (delimiter, quote) = dialect(csv.delimiter, csv.quote, context)?;
        for column in &csv.columns.0 {
            context.intern(FieldPath::dotted(&column.text), &column.span)?;
        }
        let columns = Some(column_names(csv.columns, context)?);
        Some(FormatOut(Format::Csv(Csv { delimiter, quote, columns, infer: false })))
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

fn dialect(delimiter: Option<Text>, quote: Option<Text>, context: &mut Context<'_>) -> Option<(u8, u8)> {
    let delimiter_span = delimiter.as_ref().map(|d| d.span.clone());
    let delimiter = delimiter.map_or(Some(b','), |d| one_byte("delimiter", &d, context));
    let quote = quote.map_or(Some(b'"'), |q| one_byte("quote", &q, context));
    let (delimiter, quote) = (delimiter?, quote?);
    if let (true, Some(span)) = (delimiter == quote, delimiter_span) {
        context.error("bad-delimiter", "`delimiter` and `quote` are the same character", &span);
        return None;
    }
    Some((delimiter, quote))
}

fn one_byte(key: &str, text: &Text, context: &mut Context<'_>) -> Option<u8> {
    match text.text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(*byte),
        b"\\t" | b"tab" => Some(b'\t'),
        _ => {
            let message = format!("`{key}` has to be one ASCII character that is no line end");
            context.error("bad-delimiter", message, &text.span).help("a tab is written \"\\t\"");
            None
        }
    }
}

/// Column names, each once.
fn column_names(columns: OneOrMany<Text>, context: &mut Context<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(columns.0.len());
    let mut whole = true;
    for column in columns.0 {
        if names.contains(&column.text) {
            context.error("duplicate-name", format!("the column `{}` is named twice", column.text), &column.span);
            whole = false;
        } else {
            names.push(column.text);
        }
    }
    whole.then_some(names)
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
