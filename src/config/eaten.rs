//! Expressions that YAML takes apart without a word: recognised, put together again, and shown in their quoted form.

use std::ops::Range;
use std::sync::Arc;

use crate::base::diag::{Diagnostic, Diagnostics, Span};
use crate::base::tree::{Data, Entry, Node};

/// A text as YAML takes it whole.
pub fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) { format!("'{}'", text.replace('\'', "''")) } else { format!("\"{text}\"") }
}

/// `!flag`: YAML reads a tag.
pub fn tag(span: &Span, written: &str) -> Diagnostic {
    Diagnostic::error("expression-as-tag", "YAML reads what begins with `!` as a tag", Some(span.clone()))
        .help(format!("put the expression in quotes: {}", quoted(written)))
}

/// `{{ x }}` without quotes: YAML reads a map in a map. Gives the text that was meant.
pub fn braces(node: &Node, found: &mut Diagnostics) -> Option<String> {
    let written = node.span.file.text.get(node.span.range.clone())?;
    if !written.starts_with("{{") {
        return None;
    }
    let what = Diagnostic::error("unquoted-template", "YAML reads `{{` as a map in a map", Some(node.span.clone()));
    found.push(what.help(format!("put the text in quotes: {}", quoted(written))));
    Some(written.to_owned())
}

/// `[round(x, 2)]`: the items of a flow list that are one expression become one again.
pub fn join_items(items: &mut Vec<Node>, found: &mut Diagnostics) {
    let ends: Vec<usize> = items.iter().map(|n| n.span.range.end).collect();
    let mut at = 0;
    while at < items.len() {
        let Some(count) = items.get(at).and_then(|first| joined(first, ends.get(at + 1..).unwrap_or_default())) else {
            at += 1;
            continue;
        };
        let Some(end) = ends.get(at + count).copied() else { return };
        if let Some(first) = items.get_mut(at) {
            rejoin(first, end, None, found);
        }
        // The joined items are gone; `ends` is by old position, so stop at the first expression of a list.
        items.drain(at + 1..=at + count);
        return;
    }
}

/// `{ q: quantile(x, 0.9) }`: the entries of a flow map that are one expression become one again.
pub fn join_entries(entries: &mut Vec<Entry>, found: &mut Diagnostics) {
    let ends: Vec<usize> = entries.iter().map(|e| e.value.span.range.end.max(e.key_span.range.end)).collect();
    let mut at = 0;
    while at < entries.len() {
        let rest = ends.get(at + 1..).unwrap_or_default();
        let Some(count) = entries.get(at).and_then(|first| joined(&first.value, rest)) else {
            at += 1;
            continue;
        };
        let Some(end) = ends.get(at + count).copied() else { return };
        if let Some(first) = entries.get_mut(at) {
            let key = first.key.clone();
            rejoin(&mut first.value, end, Some(&key), found);
        }
        entries.drain(at + 1..=at + count);
        return;
    }
}

/// How many of the pieces that follow belong to the expression that begins with `first`, judged by their ends.
fn joined(first: &Node, ends: &[usize]) -> Option<usize> {
    let text = &first.span.file.text;
    let written = text.get(first.span.range.clone())?;
    if first.as_text() != Some(written) || balance(written) == Balance::Whole || !like_an_expression(written) {
        return None;
    }
    let whole = |end: &usize| text.get(first.span.range.start..*end).is_some_and(|t| balance(t) == Balance::Whole);
    ends.iter().position(whole).map(|i| i + 1)
}

/// Plain text may hold a bracket or a quote too; a call or a comparison makes it an expression.
fn like_an_expression(text: &str) -> bool {
    let called = text.match_indices('(').any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    called || ["==", "!=", "<", ">", "&&", "||", "+"].iter().any(|operator| text.contains(operator))
}

fn rejoin(node: &mut Node, end: usize, key: Option<&str>, found: &mut Diagnostics) {
    let file = Arc::clone(&node.span.file);
    let range = node.span.range.start..end;
    let Some(text) = file.text.get(range.clone()) else { return };
    node.span = Span { file: Arc::clone(&file), range };
    node.data = Data::Text(text.to_owned());
    let form = key.map_or_else(|| quoted(text), |key| format!("{key}: {}", quoted(text)));
    let what = "YAML takes this expression apart at the comma";
    let what = Diagnostic::error("expression-cut-at-comma", what, Some(node.span.clone()));
    found.push(what.help(format!("put it in quotes, or on a line of its own: {form}")));
}

/// Whether an expression's brackets and quotes are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// All closed.
    Whole,
    /// A bracket is open, or closed without having been opened.
    Brackets,
    /// A string is open.
    Quote,
}

/// Judges the brackets and quotes of an expression's text.
pub fn balance(text: &str) -> Balance {
    let mut depth = 0i32;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '`' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            },
        }
        if depth < 0 {
            return Balance::Brackets;
        }
    }
    match (quote, depth) {
        (Some(_), _) => Balance::Quote,
        (None, 0) => Balance::Whole,
        _ => Balance::Brackets,
    }
}

/// What a comment on the same line cut off an expression: the place of the comment, without its line end.
pub fn comment_after(span: &Span) -> Option<Range<usize>> {
    let text = &span.file.text;
    let written = text.get(span.range.clone())?;
    if written.starts_with(['"', '\'', '|', '>']) {
        return None;
    }
    let rest = text.get(span.range.end..)?.split('\n').next()?.trim_end();
    let hash = rest.find(" #")?;
    rest.get(..hash)?.trim().is_empty().then(|| span.range.end + hash + 1..span.range.end + rest.len())
}

/// The report on an expression whose rest became a comment, if `span` is one that looks cut.
pub fn cut_by_comment(span: &Span) -> Option<Diagnostic> {
    let comment = comment_after(span)?;
    let text = &span.file.text;
    if balance(text.get(span.range.clone())?) == Balance::Whole {
        return None;
    }
    let meant = text.get(span.range.start..comment.end)?;
    let place = Span { file: Arc::clone(&span.file), range: comment };
    Some(
        Diagnostic::error("expression-cut-by-comment", "YAML reads ` #` as the beginning of a comment", Some(place))
            .label("not part of the expression")
            .help(format!("put the expression in quotes: {}", quoted(meant))),
    )
}

/// A line that YAML could not read because of the expression in it: the expression's range in the line and its quoted form.
pub fn unreadable(line: &str) -> Option<(Range<usize>, String)> {
    let content = line.trim_start().trim_start_matches("- ").trim_start();
    let key_start = line.len() - content.len();
    let colon = content.find(": ")?;
    let key = content.get(..colon)?;
    if key.is_empty() || key.contains(['"', '\'', '#', '{', '[']) {
        return None;
    }
    let value = content.get(colon + 2..)?;
    let value_start = key_start + colon + 2 + (value.len() - value.trim_start().len());
    let value = value.trim();
    if value.is_empty() || value.starts_with(['|', '#']) {
        return None;
    }
    let range = value_start..value_start + value.len();
    if let Some((condition, branches)) = value.split_once(" ? ")
        && let Some((yes, no)) = branches.split_once(" : ")
    {
        let meant = format!("if {} {{ {} }} else {{ {} }}", condition.trim(), yes.trim(), no.trim());
        return Some((range, format!("{key}: {}", quoted(&meant))));
    }
    if value.starts_with(['[', '{']) && balance(value) != Balance::Whole {
        return None;
    }
    let strange = value.contains(": ") || value.starts_with(['"', '\'', '[', '{', '*', '&', '%', '@', '`', '!']);
    (strange && !closed(value)).then(|| (range, format!("{key}: {}", quoted(value))))
}

/// Where a variable stands without quotes inside a flow map or list.
pub fn variable_in_brackets(line: &str) -> Option<Range<usize>> {
    let open = line.find(['{', '['])?;
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '$' && at > open && line.get(at + 1..).is_some_and(|rest| rest.starts_with('{')) => {
                let end = line.get(at..)?.find('}')?;
                return Some(at..at + end + 1);
            }
            None => {}
        }
    }
    None
}

/// Where a line's value begins with a bracket that is not closed on the line.
pub fn open_bracket(line: &str) -> Option<usize> {
    let at = line.find(": ")? + 2;
    let value = line.get(at..)?.trim_start();
    (value.starts_with(['[', '{']) && balance(value) == Balance::Brackets).then(|| line.len() - value.len())
}

/// Whether a value that begins with a quote or a bracket also ends with its partner, so that it is YAML's own.
fn closed(value: &str) -> bool {
    let partner = match value.chars().next() {
        Some('"') => '"',
        Some('\'') => '\'',
        Some('[') => ']',
        Some('{') => '}',
        _ => return false,
    };
    let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    value.len() > 1 && value.ends_with(partner) && !(matches!(partner, '"' | '\'') && inner.contains(partner))
}
