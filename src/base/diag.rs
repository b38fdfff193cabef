//! Diagnostics: what is wrong in a pipeline file, where, and how to mend it.

use std::ops::Range;
use std::sync::Arc;

/// A file's text with its name, so that a position can be shown as an excerpt.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As the user named it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a file: a range of bytes. Expressions carry one so that an error at run time still names its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file that the range is in.
    pub file: Arc<SourceFile>,
    /// Bytes from the file's start; an empty range is a point.
    pub range: Range<usize>,
}

impl Span {
    /// Line and column of the start, both from 1, the column in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = self.range.start.min(self.file.text.len());
        let before = self.file.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    /// `file:line:column`.
    pub fn place(&self) -> String {
        let (line, column) = self.line_column();
        format!("{}:{line}:{column}", self.file.name)
    }
}

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// The pipeline runs, perhaps not as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code, `kebab-case`, for scripts and searches: `unknown-key`, `bad-duration`.
    pub code: &'static str,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where; `None` when no place fits (a file that cannot be read).
    pub span: Option<Span>,
    /// What stands at the place, shown beside the excerpt; may be empty.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, span: Option<Span>) -> Self {
        Diagnostic { severity: Severity::Error, code, message: message.into(), span, label: String::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Option<Span>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message, span) }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what stands at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// All that was found; checking goes on after an error so that one run shows everything.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// In the order found.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Whether anything found keeps the pipeline from running.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// In order of place, each once.
    pub fn sort(&mut self) {
        let key = |d: &Diagnostic| d.span.as_ref().map(|s| (s.file.name.clone(), s.range.start));
        self.list.sort_by_key(key);
        self.list.dedup();
    }
}
