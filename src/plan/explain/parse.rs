//! `parse`, `explode` and `validate` in words.

use crate::data::format::{Format, Pattern};
use crate::data::layout::Layout;
use crate::plan::explode::Explode;
use crate::plan::parse::Parse;
use crate::plan::validate::Validate;

use super::{names, one_line};

/// What is read of the records of a source or a text.
pub fn format_words(format: &Format) -> String {
    match format {
        Format::Json => "JSON, a value a line".into(),
        Format::Csv(_) => "CSV".into(),
        Format::Text(text) => format!("lines of text as `{}`", text.field),
        Format::Logfmt(_) => "logfmt, `name=value` a line".into(),
        Format::Pattern(pattern) => format!("lines that fit {}", pattern_words(pattern)),
        Format::CombinedLog => "lines of a web server's access log".into(),
        Format::KeyValue(_) => "pairs of names and values, a record a line".into(),
        Format::MessagePack => "MessagePack, one value after the other".into(),
        Format::Line => "lines of a template".into(),
    }
}

fn pattern_words(pattern: &Pattern) -> String {
    match pattern.alternatives.as_slice() {
        [only] => format!("the {} pattern `{}`", pattern.language, one_line(&only.written)),
        several => format!("one of {} {} patterns", several.len(), pattern.language),
    }
}

pub fn parse(parse: &Parse, layout: &Layout, lines: &mut Vec<String>) {
    let format = match &parse.format {
        Format::Json => "JSON".to_owned(),
        Format::Csv(_) => "CSV".to_owned(),
        Format::Text(text) => format!("text for `{}`", text.field),
        Format::Logfmt(_) => "logfmt".to_owned(),
        Format::Pattern(pattern) => pattern_words(pattern),
        Format::CombinedLog => "a line of a web server's access log".to_owned(),
        Format::KeyValue(_) => "pairs of names and values".to_owned(),
        Format::MessagePack => "MessagePack".to_owned(),
        Format::Line => "a line of a template".to_owned(),
    };
    let field = names(layout, &[parse.field]);
    lines.push(format!("reads {field} as {format}"));
    lines.push(match parse.into {
        Some(into) => format!("puts what it finds into {}", names(layout, &[into])),
        None => "puts the fields it finds into the event, over those of the same name".into(),
    });
    lines.push(if parse.keep { format!("{field} stays") } else { format!("{field} goes") });
}

pub fn explode(explode: &Explode, layout: &Layout, lines: &mut Vec<String>) {
    let field = names(layout, &[explode.field]);
    lines.push(format!("makes an event of each element of {field}, in order"));
    if explode.to != explode.field {
        lines.push(format!("an element becomes {}, and {field} goes", names(layout, &[explode.to])));
    }
    lines.push(match explode.keep_empty {
        true => format!("an event without elements goes on without {field}"),
        false => "an event without elements is dropped".into(),
    });
}

pub fn validate(validate: &Validate, lines: &mut Vec<String>) {
    lines.push(match &validate.file {
        Some(file) => format!("passes rows on that fit the JSON Schema in {file}; others fail"),
        None => "passes rows on that fit its JSON Schema; others fail".into(),
    });
}
