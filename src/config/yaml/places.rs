//! Places: from the character positions of the YAML parser to byte ranges, and from a scalar to where its lines begin.

use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{ScalarStyle, Span as Mark};

use crate::base::diag::{SourceFile, Span};

/// Turns the parser's character positions into bytes.
pub struct Places {
    file: Arc<SourceFile>,
    /// The byte at which every 64th character begins; the rest is counted.
    every_64: Vec<usize>,
}

impl Places {
    /// For one file.
    pub fn new(file: &Arc<SourceFile>) -> Self {
        let every_64 = file.text.char_indices().step_by(64).map(|(at, _)| at).collect();
        Places { file: Arc::clone(file), every_64 }
    }

    /// The byte at which the character of this number begins.
    pub fn byte(&self, character: usize) -> usize {
        let text = &self.file.text;
        let Some(from) = self.every_64.get(character / 64).copied() else { return text.len() };
        let rest = text.get(from..).unwrap_or_default();
        rest.char_indices().nth(character % 64).map_or(text.len(), |(at, _)| from + at)
    }

    /// A range of the file.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span { file: Arc::clone(&self.file), range }
    }

    /// The bytes between the parser's marks, without white space at the end.
    pub fn range(&self, mark: &Mark) -> Range<usize> {
        let start = self.byte(mark.start.index());
        let end = self.byte(mark.end.index()).max(start);
        let text = self.file.text.get(start..end).unwrap_or_default();
        start..start + text.trim_end().len()
    }

    /// Where each line of a scalar's text begins. Exact for literal blocks and scalars on one line without escapes; of a
    /// folded scalar each line of the result begins where its first written line does.
    pub fn lines(&self, text: &str, style: ScalarStyle, mark: &Mark, range: &Range<usize>) -> Vec<usize> {
        match style {
            ScalarStyle::Literal => self.literal(text, mark, range.start),
            ScalarStyle::Folded => self.folded(text, mark, range.start),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let quote = if style == ScalarStyle::SingleQuoted { '\'' } else { '"' };
                let written = self.file.text.get(range.clone()).unwrap_or_default();
                vec![range.start + written.find(quote).map_or(0, |at| at + 1)]
            }
            ScalarStyle::Plain => {
                // A tag or an anchor may stand before the text, which itself begins with neither.
                let written = self.file.text.get(range.clone()).unwrap_or_default();
                let mut rest = written;
                while rest.starts_with(['!', '&']) {
                    rest = rest.trim_start_matches(|c: char| !c.is_whitespace()).trim_start();
                }
                vec![range.end - rest.len()]
            }
        }
    }

    /// A written line is a line of the text, less its indentation.
    fn literal(&self, text: &str, mark: &Mark, start: usize) -> Vec<usize> {
        // The mark is at the first line that is not empty; empty ones before it are part of the text.
        let empty = text.len() - text.trim_start_matches('\n').len();
        let mut at = self.line_start(start, empty);
        let mut lines = Vec::new();
        for _ in text.split('\n') {
            let line = self.line_at(at);
            let indent = mark.start.col().min(spaces(line));
            lines.push(at + indent);
            at += line.len() + 1;
        }
        lines
    }

    /// Line ends between two written lines became spaces, so a line of the text is found by its first word.
    fn folded(&self, text: &str, mark: &Mark, start: usize) -> Vec<usize> {
        let empty = text.len() - text.trim_start_matches('\n').len();
        let mut at = self.line_start(start, empty);
        let mut lines = Vec::new();
        for line in text.split('\n') {
            let mut here = at;
            while here < self.file.text.len() {
                let written = self.line_at(here);
                let next = here + written.len() + 1;
                if line.is_empty() == written.trim().is_empty() && line.trim_start().starts_with(written.trim()) {
                    break;
                }
                here = next;
            }
            if here >= self.file.text.len() {
                here = at;
            }
            let indent = mark.start.col().min(spaces(self.line_at(here)));
            lines.push((here + indent).min(self.file.text.len()));
            at = (here + self.line_at(here).len() + 1).min(self.file.text.len());
        }
        lines
    }

    /// The start of the line that is `back` lines above the one that `at` is in.
    fn line_start(&self, at: usize, back: usize) -> usize {
        let mut start = at;
        for step in 0..=back {
            let end = if step == 0 { start } else { start.saturating_sub(1) };
            start = self.file.text.get(..end).unwrap_or_default().rfind('\n').map_or(0, |i| i + 1);
        }
        start
    }

    /// The line that begins at `at`, without its end.
    fn line_at(&self, at: usize) -> &str {
        self.file.text.get(at..).unwrap_or_default().split('\n').next().unwrap_or_default()
    }
}

/// How many spaces a line begins with.
fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}
