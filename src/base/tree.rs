//! A parsed configuration file in which every node knows its place. `config` makes it from YAML; whoever owns a kind of
//! entry (a connector, a step) decodes its own options from it and so reports mistakes at their exact place, without
//! knowing YAML.

use std::sync::Arc;

use super::diag::{SourceFile, Span};

/// A value of a configuration file and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value's place.
    pub span: Span,
    /// The value.
    pub data: Data,
    /// For a scalar of several lines: where each of its lines begins in the file, so that a position inside a script
    /// finds its place. One element for a scalar on one line.
    pub lines: Arc<Vec<usize>>,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nothing was written, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text, after interpolation.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys in order; a key stands once.
    Map(Vec<Entry>),
}

/// A key of a map with its place, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's place.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// Text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What the value is called in messages.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a bool",
            Data::Int(_) => "an integer",
            Data::Float(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// Where expression text in this scalar begins, for [`Origin`].
    pub fn origin(&self) -> Origin {
        Origin { span: self.span.clone(), lines: Arc::clone(&self.lines) }
    }
}

/// Where an expression or a script stands in its file, so that its line 3, column 7 has a place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The whole scalar.
    pub span: Span,
    /// Where each line of the text begins, bytes from the file's start.
    pub lines: Arc<Vec<usize>>,
}

impl Origin {
    /// Text that stands in no file: a test, a default. Its places are `name:line:column` of the text itself.
    pub fn detached(name: &str, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let file = Arc::new(SourceFile { name: name.into(), text: text.into() });
        Origin { span: Span { file, range: 0..text.len() }, lines: Arc::new(starts) }
    }

    /// The place in the file of a position in the text: line and column from 1, the column in characters. `len` is the
    /// number of bytes to mark.
    pub fn at(&self, line: usize, column: usize, len: usize) -> Span {
        let text = &self.span.file.text;
        let Some(start) = self.lines.get(line.saturating_sub(1)).copied() else { return self.span.clone() };
        let rest = text.get(start..).unwrap_or_default();
        let line_text = rest.split('\n').next().unwrap_or_default();
        let into = line_text.char_indices().nth(column.saturating_sub(1)).map_or(line_text.len(), |(i, _)| i);
        let from = start + into;
        let to = (from + len).min(start + line_text.len()).max(from);
        Span { file: Arc::clone(&self.span.file), range: from..to }
    }
}
