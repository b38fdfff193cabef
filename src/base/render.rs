//! Diagnostics as text: excerpts for people, JSON for programs, annotations for GitHub's review page.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use super::diag::{Diagnostic, Diagnostics, Severity, Span};

/// For whom diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// People: excerpts with the place marked.
    Human {
        /// Whether to colour them: only for a terminal that wants it.
        colour: bool,
    },
    /// Programs: one JSON object.
    Json,
    /// GitHub's workflow commands, one line for each diagnostic.
    Github,
}

/// All diagnostics, each ending in a line end.
pub fn render(found: &Diagnostics, style: Style) -> String {
    match style {
        Style::Human { colour } => human(found, colour),
        Style::Json => json(found),
        Style::Github => found.list.iter().map(github).collect(),
    }
}

/// How many errors and warnings there are, in words: `2 errors and 1 warning`; `None` when there is nothing.
pub fn count(found: &Diagnostics) -> Option<String> {
    let count = |severity| found.list.iter().filter(|d| d.severity == severity).count();
    let words = |n: usize, noun: &str| match n {
        0 => None,
        1 => Some(format!("1 {noun}")),
        n => Some(format!("{n} {noun}s")),
    };
    match (words(count(Severity::Error), "error"), words(count(Severity::Warning), "warning")) {
        (Some(errors), Some(warnings)) => Some(format!("{errors} and {warnings}")),
        (one, other) => one.or(other),
    }
}

fn human(found: &Diagnostics, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in &found.list {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
        let mut group = annotate_snippets::Group::with_title(title);
        if let Some(span) = &diagnostic.span {
            group = group.element(excerpt(span, &diagnostic.label));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    text
}

/// The line that a span begins in, with the part of the span that lies in it marked.
fn excerpt<'s>(span: &'s Span, label: &'s str) -> Snippet<'s, annotate_snippets::Annotation<'s>> {
    let text = &span.file.text;
    let start = floor(text, span.range.start);
    let line_start = text.get(..start).unwrap_or_default().rfind('\n').map_or(0, |i| i + 1);
    let line = text.get(line_start..).unwrap_or_default().split('\n').next().unwrap_or_default();
    let end = floor(text, span.range.end).clamp(start, line_start + line.trim_end().len().max(start - line_start));
    let mark = AnnotationKind::Primary.span(start - line_start..end - line_start);
    let mark = if label.is_empty() { mark } else { mark.label(label) };
    Snippet::source(line).line_start(span.line_column().0).path(span.file.name.as_str()).annotation(mark)
}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

#[derive(Serialize)]
struct Item<'a> {
    severity: &'static str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

fn place(span: &Span) -> Place<'_> {
    let (line, column) = span.line_column();
    let end = Span { file: span.file.clone(), range: span.range.end..span.range.end };
    let (end_line, end_column) = end.line_column();
    Place { file: &span.file.name, line, column, end_line, end_column }
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn json(found: &Diagnostics) -> String {
    let count = |severity| found.list.iter().filter(|d| d.severity == severity).count();
    let item = |d: &'_ Diagnostic| -> serde_json::Value {
        let item = Item {
            severity: severity(d),
            code: d.code,
            message: &d.message,
            place: d.span.as_ref().map(place),
            label: &d.label,
            help: d.help.as_deref(),
        };
        serde_json::to_value(item).unwrap_or_default()
    };
    let items: Vec<serde_json::Value> = found.list.iter().map(item).collect();
    let mut text = serde_json::json!({
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "diagnostics": items,
    })
    .to_string();
    text.push('\n');
    text
}

/// A workflow command: `::error file=…,line=…::message`.
fn github(diagnostic: &Diagnostic) -> String {
    let mut line = format!("::{}", severity(diagnostic));
    let mut separator = ' ';
    if let Some(span) = &diagnostic.span {
        let at = place(span);
        let file = property(at.file);
        let _ = write!(line, " file={file},line={},col={}", at.line, at.column);
        if at.line == at.end_line && at.end_column > at.column {
            let _ = write!(line, ",endColumn={}", at.end_column);
        }
        separator = ',';
    }
    let _ = write!(line, "{separator}title={}::{}", property(diagnostic.code), data(&diagnostic.message));
    if let Some(help) = &diagnostic.help {
        let _ = write!(line, "%0A{}", data(help));
    }
    line.push('\n');
    line
}

/// A command's text, with what would end it escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A command's property, with what would end it escaped.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::diag::SourceFile;

    fn found() -> Diagnostics {
        let file = Arc::new(SourceFile { name: "a,b.yaml".into(), text: "é: {\n  x: 5%\n".into() });
        let span = |range| Some(Span { file: Arc::clone(&file), range });
        let list = vec![
            Diagnostic::error("unknown-key", "unknown key `é`", span(0..2)).label("here").help("leave it\nout"),
            Diagnostic::warning("odd", "100% odd", span(4..13)),
            Diagnostic::error("unreadable-file", "cannot be read", None),
        ];
        Diagnostics { list }
    }

    #[test]
    fn people_see_an_excerpt() {
        insta::assert_snapshot!(render(&found(), Style::Human { colour: false }));
        assert_eq!(count(&found()).as_deref(), Some("2 errors and 1 warning"));
        assert!(render(&found(), Style::Human { colour: true }).contains('\u{1b}'));
    }

    #[test]
    fn programs_see_json_and_commands() {
        insta::assert_snapshot!(render(&found(), Style::Json));
        insta::assert_snapshot!(render(&found(), Style::Github));
    }
}
