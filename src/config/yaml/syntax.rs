//! What a YAML parser could not read, said so that an author of pipelines can mend it: nine times in ten an expression
//! that wants quotes, or a tab.

use std::sync::Arc;

use crate::base::diag::{Diagnostic, SourceFile, Span};
use crate::config::eaten;

/// Explains a parser's error at a byte of the file.
pub fn explain(file: &Arc<SourceFile>, at: usize, reason: &str) -> Diagnostic {
    let span = |range| Some(Span { file: Arc::clone(file), range });
    let lines = around(&file.text, at);
    for (start, line) in &lines {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line.get(..indent).and_then(|i| i.find('\t')) {
            let tab = start + tab;
            return Diagnostic::error("tab-indent", "a line is indented with a tab", span(tab..tab + 1))
                .label("a tab")
                .help("YAML is indented with spaces");
        }
    }
    if reason.contains("unknown anchor") {
        let written = file.text.get(at..).unwrap_or_default();
        let end = at + written.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(written.len());
        let name = file.text.get(at..end).unwrap_or_default();
        return Diagnostic::error("unknown-anchor", format!("`{name}` stands for nothing above it"), span(at..end))
            .help(format!("what begins with `*` is an alias in YAML; text is put in quotes: {}", eaten::quoted(name)));
    }
    for (start, line) in &lines {
        if let Some((value, form)) = eaten::unreadable(line) {
            let range = start + value.start..start + value.end;
            return Diagnostic::error(
                "unquoted-expression",
                "YAML cannot read this expression without quotes",
                span(range),
            )
            .help(format!("write it as: {form}"));
        }
    }
    for (start, line) in &lines {
        if let Some(variable) = eaten::variable_in_brackets(line) {
            let written = line.get(variable.clone()).unwrap_or_default();
            let range = start + variable.start..start + variable.end;
            let what = "inside `{…}` and `[…]` a variable needs quotes";
            return Diagnostic::error("unquoted-variable", what, span(range)).help(format!(
                "write \"{written}\", which is always text, or put the key on a line of its own, where `{written}` may be a number"
            ));
        }
        if let Some(bracket) = eaten::open_bracket(line) {
            let at = start + bracket;
            return Diagnostic::error("yaml-syntax", "this bracket is not closed", span(at..at + 1))
                .help("close it on the same line, or write the value in block style");
        }
    }
    let end = file.text.get(at..).and_then(|t| t.chars().next()).map_or(at, |c| at + c.len_utf8());
    let newline = file.text.get(at..end) == Some("\n");
    let reason = sentence(reason);
    Diagnostic::error("yaml-syntax", format!("this is not YAML: {reason}"), span(at..if newline { at } else { end }))
        .help(
            "indent with spaces, two for each level; a text with `: `, ` #` or a bracket at its start is put in quotes",
        )
}

/// The line that `at` is in and the one above it, which is where the mistake often is: the nearer first.
fn around(text: &str, at: usize) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut at = at.min(text.len());
    for _ in 0..2 {
        let start = text.get(..at).unwrap_or_default().rfind('\n').map_or(0, |i| i + 1);
        let line = text.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default();
        lines.push((start, line.trim_end_matches('\r')));
        if start == 0 {
            break;
        }
        at = start - 1;
    }
    lines
}

/// The parser's reason without its own account of the place.
fn sentence(reason: &str) -> &str {
    let end = reason.find(" at line ").or_else(|| reason.find(", at ")).unwrap_or(reason.len());
    reason.get(..end).unwrap_or(reason).trim_end_matches('.')
}
