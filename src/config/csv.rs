//! The format `csv`: its dialects.

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::data::format::{Csv, CsvWrite};
use crate::data::layout::FieldPath;

use super::context::Context;
use super::read::{OneOrMany, Read, Text, keys, words};

keys! {
    /// How CSV is read. A byte order mark, blank lines and CRLF do no harm. A quote opens only at the very start of a
    /// value. A record with more fields than the header, or fewer, cannot be read and goes to the source's `.errors`.
    pub struct CsvIn as "csv" {
        /// The character between fields. Default `,`; a tab is written `tab`.
        delimiter: Option<Text>,
        /// The character around fields that hold a delimiter or a line end; doubled inside it stands for itself. Default
        /// `"`. With `none` a quote is a character like any other.
        quote: Option<Text>,
        /// Inside quotes, the character that takes what follows it as it stands, as in `"say \"hi\""`. Default none.
        escape: Option<Text>,
        /// Lines that begin with this character are passed over, also before the header. Default none.
        comment: Option<Text>,
        /// Whether the first record of each file holds the field names. Default `true`, unless `columns` names them.
        header: Option<bool>,
        /// The field names, of files without a header.
        columns: Option<OneOrMany<Text>>,
        /// Whether `20.5` becomes a number, `true` a bool and an empty field null; otherwise all is text. Default `true`.
        infer: Option<bool>,
        /// Columns that stay text whatever they hold: `[zip, phone]`.
        as_text: Option<OneOrMany<Text>>,
        /// Spellings of null beside the empty field, quoted: `["NA", "-"]`. They hold for every column.
        nulls: Option<OneOrMany<Text>>,
        /// Whether spaces and tabs at both ends of a value are taken off. Default `false`.
        trim: Option<bool>,
        /// What becomes of records with fewer fields than the header. Default `refuse`.
        short_records: Option<ShortRecords>,
    }
    later []
}

words! {
    /// What becomes of CSV records with fewer fields than the header.
    pub enum ShortRecords ("way with short records") {
        /// They go to the source's `.errors`.
        Refuse = "refuse",
        /// The event lacks the fields that the record lacks.
        Fill = "fill",
    }
}

keys! {
    /// How CSV is written. A value is quoted when it holds a delimiter, a quote or a line end, and when it is a text that
    /// would read as null; lists and objects are written as JSON.
    pub struct CsvOut as "csv" {
        /// The fields to write, in order; `site.floor` is a field inside a map.
        columns: OneOrMany<Text>,
        /// The character between fields. Default `,`; a tab is written `tab`.
        delimiter: Option<Text>,
        /// The character around fields that hold a delimiter or a line end. Default `"`.
        quote: Option<Text>,
        /// Whether every value is quoted but null. Default `false`: those that need it.
        quote_all: Option<bool>,
        /// What null and missing become. Default nothing.
        null_as: Option<Text>,
        /// Whether a new file begins with the names of its columns. Default `true`.
        header: Option<bool>,
        /// How a record ends. Default `lf`.
        line_end: Option<LineEnd>,
    }
    later []
}

words! {
    /// How a line ends.
    pub enum LineEnd ("line end") {
        /// A line feed.
        Lf = "lf",
        /// A carriage return and a line feed, as RFC 4180 has it.
        Crlf = "crlf",
    }
}

impl CsvIn {
    /// Reads the options of a source's format, if it has any; `node` is the format, `place` its name.
    pub fn resolve(options: Option<&Node>, node: &Node, place: &Span, context: &mut Context<'_>) -> Option<Csv> {
        let empty = Node { data: Data::Null, ..node.clone() };
        let csv = CsvIn::read(options.unwrap_or(&empty), place, context)?;
        let special = Special { delimiter: csv.delimiter, quote: csv.quote, escape: csv.escape, comment: csv.comment };
        let characters = special.resolve(context);
        let columns = csv.columns.map(|c| column_names(c, context));
        match (csv.header, &columns) {
            (Some(true), Some(_)) => {
                let message = "`columns` is for files without a header, and `header` is true";
                context.error("header-and-columns", message, place).help("leave one of the two out");
                return None;
            }
            (Some(false), None) => {
                let message = "without a header the fields need names";
                context.error("missing-key", message, place).help("name them: `columns: [time, device_id, value]`");
                return None;
            }
            _ => {}
        }
        let columns = columns.unwrap_or(Some(Vec::new()))?;
        let infer = csv.infer.unwrap_or(true);
        if let Some(first) = csv
            .as_text
            .iter()
            .flat_map(|c| &c.0)
            .find(|c| !infer || (!columns.is_empty() && !columns.contains(&c.text)))
        {
            let message = if infer {
                format!("there is no column `{}`", first.text)
            } else {
                "with `infer: false` every column is text".to_owned()
            };
            context.error("bad-column", message, &first.span).help("leave it out of `as_text`");
            return None;
        }
        let texts = |texts: Option<OneOrMany<Text>>| texts.into_iter().flat_map(|t| t.0).map(|t| t.text).collect();
        Some(Csv {
            columns: (!columns.is_empty()).then_some(columns),
            infer,
            as_text: texts(csv.as_text),
            nulls: texts(csv.nulls),
            trim: csv.trim.unwrap_or(false),
            fill: csv.short_records == Some(ShortRecords::Fill),
            ..characters?
        })
    }
}

impl CsvOut {
    /// Reads the options of a sink's format; `place` is its name.
    pub fn resolve(options: Option<&Node>, place: &Span, context: &mut Context<'_>) -> Option<Csv> {
        let Some(options) = options else {
            context
                .error("missing-key", "`csv` needs `columns` where it is written", place)
                .help("say which fields to write, in order: `format: { csv: { columns: [device_id, temperature] } }`");
            return None;
        };
        let csv = CsvOut::read(options, place, context)?;
        let none = csv.quote.as_ref().filter(|q| q.text == "none").map(|q| q.span.clone());
        let special = Special { delimiter: csv.delimiter, quote: csv.quote, escape: None, comment: None };
        let characters = special.resolve(context);
        if let Some(span) = none {
            let message = "without quotes a value that holds a delimiter could not be written";
            context
                .error("bad-delimiter", message, &span)
                .help("leave `quote` out: values are quoted only where they need it");
            return None;
        }
        for column in &csv.columns.0 {
            context.intern(FieldPath::dotted(&column.text), &column.span)?;
        }
        let write = CsvWrite {
            header: csv.header.unwrap_or(true),
            quote_all: csv.quote_all.unwrap_or(false),
            crlf: csv.line_end == Some(LineEnd::Crlf),
        };
        let columns = Some(column_names(csv.columns, context)?);
        let nulls = csv.null_as.into_iter().map(|t| t.text).collect();
        Some(Csv { columns, nulls, write, ..characters? })
    }
}

/// The characters that mean something in a dialect.
struct Special {
    delimiter: Option<Text>,
    quote: Option<Text>,
    escape: Option<Text>,
    comment: Option<Text>,
}

const KEYS: [&str; 4] = ["delimiter", "quote", "escape", "comment"];

impl Special {
    /// A dialect that has them, each another one.
    fn resolve(self, context: &mut Context<'_>) -> Option<Csv> {
        let mut csv = Csv::PLAIN;
        let mut whole = true;
        let mut take = |key: &'static str, text: Option<Text>| -> Option<(u8, Span)> {
            let text = text?;
            let byte = one_byte(key, &text, context);
            whole &= byte.is_some();
            byte.map(|byte| (byte, text.span))
        };
        let delimiter = take("delimiter", self.delimiter);
        let unquoted = self.quote.as_ref().is_some_and(|q| q.text == "none");
        let quote = if unquoted { None } else { take("quote", self.quote) };
        let (escape, comment) = (take("escape", self.escape), take("comment", self.comment));
        csv.delimiter = delimiter.as_ref().map_or(csv.delimiter, |(byte, _)| *byte);
        csv.quote = if unquoted { None } else { quote.as_ref().map(|(byte, _)| *byte).or(csv.quote) };
        (csv.escape, csv.comment) = (escape.as_ref().map(|e| e.0), comment.as_ref().map(|c| c.0));
        let given = [delimiter, quote, escape, comment].map(|given| given.map(|(_, span)| span));
        let all = [Some(csv.delimiter), csv.quote, csv.escape, csv.comment];
        for (at, (key, byte)) in KEYS.iter().zip(all).enumerate().filter(|(_, (_, byte))| byte.is_some()) {
            let same = KEYS.iter().zip(all).zip(&given).take(at).find(|((_, b), _)| *b == byte);
            let Some(((other, _), span)) = same else { continue };
            if let Some(span) = given.get(at).and_then(Option::as_ref).or(span.as_ref()) {
                let message = format!("`{other}` and `{key}` are the same character");
                context.error("bad-delimiter", message, span);
                whole = false;
            }
        }
        whole.then_some(csv)
    }
}

pub fn one_byte(key: &str, text: &Text, context: &mut Context<'_>) -> Option<u8> {
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
