//! Formats whose records are lines of text: `text`, `logfmt`, `regex`, `grok` and `key_value`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::tree::{Data, Node, Origin};
use crate::config::context::{Context, listed};
use crate::config::read::{Code, Named, OneOrMany, Read, Text, keys, words};
use crate::data::format::{self, Alternative, CaptureKind, Format, Pattern};
use crate::data::formats::grok::grok;
use crate::data::formats::pattern::{self, PatternError};

keys! {
    /// A record is a line of text.
    pub struct TextIn as "text" {
        /// The field that takes the line. Default `message`.
        field: Option<Text>,
    }
    later []
}

keys! {
    /// `name=value` parted by white space; values with white space stand in double quotes. A name alone is `true`, of a
    /// name that stands twice the last value counts.
    pub struct LogfmtIn as "logfmt" {
        /// Whether an unquoted `20.5` becomes a number, `true` a bool and nothing at all null; otherwise all is text. What
        /// stands in quotes is always text. Default `true`.
        infer: Option<bool>,
    }
    later []
}

keys! {
    /// Pairs with separators of your choice. White space around names and values is passed over; of a name that stands
    /// twice the last value counts.
    pub struct KeyValueIn as "key_value" {
        /// Between pairs. Default: white space, as much as there is.
        pair_separator: Option<Text>,
        /// Between a name and its value. Default `=`.
        value_separator: Option<Text>,
        /// The character around names and values that hold separators; a backslash before it keeps it from closing.
        /// Default `"`.
        quote: Option<Text>,
        /// Whether an unquoted `20.5` becomes a number, `true` a bool and nothing at all null; otherwise all is text.
        /// Default `true`.
        infer: Option<bool>,
    }
    later []
}

/// A regular expression or a grok pattern, as it is written: nothing is filled in.
#[derive(Clone, Debug)]
pub struct PatternText {
    text: String,
    origin: Origin,
}

impl Read for PatternText {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        Code::read(node, key, context).map(|code| PatternText { text: code.text, origin: code.origin })
    }
}

impl JsonSchema for PatternText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PatternText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

words! {
    /// What a captured text is read as.
    pub enum CaptureWord("type") {
        /// A whole number.
        Int = "int",
        /// A number.
        Float = "float",
        /// `true` or `false`.
        Bool = "bool",
        /// Text, as it stands. The default.
        Text = "text",
    }
}

keys! {
    /// Lines that fit a regular expression; its named groups, `(?<status>[0-9]+)`, become fields. A name with dots is a
    /// path. The expression may match anywhere in the line: `^` and `$` tie it to the ends. A group that took no part has
    /// no field.
    pub struct RegexIn as "regex" {
        /// The expression, or several of which the first that fits counts.
        pattern: OneOrMany<PatternText>,
        /// For fields that are not to be text, what they are: `status: int`.
        types: Option<Named<CaptureWord>>,
    }
    later []
}

keys! {
    /// Lines that fit a grok pattern: `%{IP:client} %{WORD:method} %{INT:status:int}`. A field is a path; its type is
    /// `int`, `float`, `bool` or `text`, the default. The pattern may match anywhere in the line.
    pub struct GrokIn as "grok" {
        /// The pattern, or several of which the first that fits counts.
        pattern: OneOrMany<PatternText>,
        /// Patterns of your own, by name: `ORDER: "[A-Z]{2}[0-9]+"`. They may name others and come before the known ones.
        patterns: Option<Named<PatternText>>,
    }
    later []
}

const REGEX: &str = "Lines that fit a regular expression, whose named groups become fields: the expression, a list of them, or its options.";
const GROK: &str =
    "Lines that fit a grok pattern, whose named pieces become fields: the pattern, a list of them, or its options.";

/// The formats of this file that have options, with the schemas of those.
pub fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
    let patterns =
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    let or_patterns =
        |about: &str, options: Schema| json_schema!({ "description": about, "anyOf": [patterns.clone(), options] });
    let regex = generator.subschema_for::<RegexIn>();
    let grok = generator.subschema_for::<GrokIn>();
    vec![
        ("text", generator.subschema_for::<TextIn>()),
        ("logfmt", generator.subschema_for::<LogfmtIn>()),
        ("regex", or_patterns(REGEX, regex)),
        ("grok", or_patterns(GROK, grok)),
        ("key_value", generator.subschema_for::<KeyValueIn>()),
    ]
}

/// Reads the options of one of these formats; `whole` is the value of `format`, `place` that of its name.
pub fn read(
    name: &'static str,
    options: Option<&Node>,
    whole: &Node,
    place: &Span,
    context: &mut Context<'_>,
) -> Option<Format> {
    let empty = Node { data: Data::Null, ..whole.clone() };
    match name {
        "text" => {
            let field = TextIn::read(options.unwrap_or(&empty), place, context)?.field;
            let field = field.map_or_else(|| "message".to_owned(), |f| f.text);
            Some(Format::Text(format::Text { field }))
        }
        "logfmt" => {
            let infer = LogfmtIn::read(options.unwrap_or(&empty), place, context)?.infer;
            Some(Format::Logfmt(format::Logfmt { infer: infer.unwrap_or(true) }))
        }
        "key_value" => key_value(KeyValueIn::read(options.unwrap_or(&empty), place, context)?, context),
        _ => {
            let Some(options) = options else {
                let example =
                    if name == "grok" { "%{IP:client} %{INT:status:int}" } else { "^(?<level>[A-Z]+) (?<text>.*)$" };
                context
                    .error("missing-key", format!("`{name}` needs a pattern"), place)
                    .help(format!("write it after the name: `format: {{ {name}: '{example}' }}`"));
                return None;
            };
            if name == "grok" { read_grok(options, place, context) } else { read_regex(options, place, context) }
        }
    }
}

fn key_value(options: KeyValueIn, context: &mut Context<'_>) -> Option<Format> {
    let KeyValueIn { pair_separator, value_separator, quote, infer } = options;
    let quote = quote.map_or(Some(b'"'), |quote| crate::config::csv::one_byte("quote", &quote, context));
    let mut whole = true;
    for (key, separator) in [("pair_separator", &pair_separator), ("value_separator", &value_separator)] {
        if let Some(empty) = separator.as_ref().filter(|s| s.text.is_empty()) {
            context.error("bad-separator", format!("`{key}` is empty"), &empty.span);
            whole = false;
        }
    }
    let pair = pair_separator.as_ref().map_or(" ", |s| s.text.as_str());
    let value = value_separator.as_ref().map_or("=", |s| s.text.as_str());
    let blank = value.trim_ascii().is_empty() && pair.trim_ascii().is_empty();
    if let (true, Some(place)) =
        (whole && (pair == value || blank), value_separator.as_ref().or(pair_separator.as_ref()))
    {
        let message = "pairs and values have the same separator, so nothing tells them apart";
        context.error("bad-separator", message, &place.span);
        whole = false;
    }
    let quote = quote.filter(|_| whole)?;
    let (pair_separator, value_separator) = (pair.to_owned(), value.to_owned());
    Some(Format::KeyValue(format::KeyValue { pair_separator, value_separator, quote, infer: infer.unwrap_or(true) }))
}

fn read_regex(options: &Node, place: &Span, context: &mut Context<'_>) -> Option<Format> {
    let RegexIn { pattern, types } = match &options.data {
        Data::Map(_) => RegexIn::read(options, place, context)?,
        _ => RegexIn { pattern: OneOrMany::read(options, place, context)?, types: None },
    };
    let mut alternatives = checked(&pattern, pattern::regex, context)?;
    let mut whole = true;
    for (name, word) in types.map_or_else(Vec::new, |t| t.0) {
        let kind = match word {
            CaptureWord::Int => CaptureKind::Int,
            CaptureWord::Float => CaptureKind::Float,
            CaptureWord::Bool => CaptureKind::Bool,
            CaptureWord::Text => CaptureKind::Text,
        };
        let captures = alternatives.iter_mut().flat_map(|a| &mut a.captures);
        let mut found = false;
        for capture in captures.filter(|c| c.path.join(".") == name.text) {
            capture.kind = kind;
            found = true;
        }
        if !found {
            whole = false;
            let known: Vec<String> = alternatives.iter().flat_map(|a| &a.captures).map(|c| c.path.join(".")).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = match nearest(&name.text, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => listed("its groups are", &known),
            };
            let message = format!("the pattern has no group `{}`", name.text);
            context.error("unknown-group", message, &name.span).help(help);
        }
    }
    whole.then_some(Format::Pattern(Pattern { language: "regex", alternatives }))
}

fn read_grok(options: &Node, place: &Span, context: &mut Context<'_>) -> Option<Format> {
    let GrokIn { pattern, patterns } = match &options.data {
        Data::Map(_) => GrokIn::read(options, place, context)?,
        _ => GrokIn { pattern: OneOrMany::read(options, place, context)?, patterns: None },
    };
    let mut own: Vec<(String, String)> = Vec::new();
    let mut whole = true;
    for (name, pattern) in patterns.iter().flat_map(|p| &p.0) {
        if !name.text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`{}` cannot be the name of a pattern", name.text);
            context.error("bad-name", message, &name.span).help("letters, digits and `_` make a name: `ORDER_ID`");
            whole = false;
        }
        own.push((name.text.clone(), pattern.text.clone()));
    }
    // Each of the author's patterns is looked at by itself, so that a mistake in it is reported where it stands.
    for (_, pattern) in patterns.iter().flat_map(|p| &p.0) {
        if let Err(error) = crate::data::formats::grok::check(&pattern.text, &own) {
            report(error, pattern, context);
            whole = false;
        }
    }
    if !whole {
        return None;
    }
    let alternatives = checked(&pattern, |text| grok(text, &own), context)?;
    Some(Format::Pattern(Pattern { language: "grok", alternatives }))
}

/// Each pattern, read; all mistakes are reported.
fn checked(
    patterns: &OneOrMany<PatternText>,
    read: impl Fn(&str) -> Result<Alternative, PatternError>,
    context: &mut Context<'_>,
) -> Option<Vec<Alternative>> {
    let one = |pattern: &PatternText| read(&pattern.text).map_err(|error| report(error, pattern, context)).ok();
    let all: Vec<Option<Alternative>> = patterns.0.iter().map(one).collect();
    all.into_iter().collect()
}

fn report(error: PatternError, pattern: &PatternText, context: &mut Context<'_>) {
    let span = match &error.range {
        Some(range) => place_in(pattern, range),
        None => pattern.origin.span.clone(),
    };
    let report = context.error("bad-pattern", error.reason, &span);
    if let Some(help) = error.help {
        report.help(help);
    }
}

/// The place in the file of a range of a pattern.
fn place_in(pattern: &PatternText, range: &std::ops::Range<usize>) -> Span {
    let before = pattern.text.get(..range.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    pattern.origin.at(line, column, range.len())
}
