//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `$${` in plain option strings. Works on the parsed tree, so a value
//! can never add YAML of its own; expressions, scripts and templates are left alone.

use crate::base::diag::{Severity, Span};
use crate::base::tree::{Data, Entry, Node};

use super::context::Context;
use super::yaml;

/// What stands for a secret that is missing where that is only a warning.
const MISSING: &str = "missing-secret";
/// Bytes of a secret's file; more is not a secret but the wrong file.
const SECRET_BYTES: u64 = 1 << 20;

/// A text node with its variables filled in; others as they are. A value that is just one `${…}` without quotes is typed
/// as YAML would type it. `None` after a mistake, which has been reported.
pub fn interpolate(node: &Node, context: &mut Context<'_>) -> Option<Node> {
    let Data::Text(text) = &node.data else { return Some(node.clone()) };
    if !text.contains("${") {
        return Some(node.clone());
    }
    let filled = fill(node, text, context)?;
    let unquoted = node.span.file.text.get(node.span.range.clone()) == Some(text);
    let alone = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
    let data =
        if unquoted && alone { yaml::resolve(&filled).unwrap_or(Data::Text(filled)) } else { Data::Text(filled) };
    Some(Node { data, ..node.clone() })
}

/// A whole tree of options with its variables filled in. Texts with `{{` are templates and stay as they are.
pub fn interpolate_all(node: &Node, context: &mut Context<'_>) -> Option<Node> {
    let data = match &node.data {
        Data::List(items) => {
            let all: Vec<Option<Node>> = items.iter().map(|item| interpolate_all(item, context)).collect();
            Data::List(all.into_iter().collect::<Option<_>>()?)
        }
        Data::Map(entries) => {
            let all: Vec<Option<Entry>> = entries
                .iter()
                .map(|e| interpolate_all(&e.value, context).map(|value| Entry { value, ..e.clone() }))
                .collect();
            Data::Map(all.into_iter().collect::<Option<_>>()?)
        }
        Data::Text(text) if text.contains("{{") => {
            if text.contains("${") {
                let message = "variables are not filled in where the text is a template";
                context
                    .error("variable-in-template", message, &node.span)
                    .help("leave either the `${…}` or the `{{ … }}` out of this text");
                return None;
            }
            return Some(node.clone());
        }
        _ => return interpolate(node, context),
    };
    Some(Node { data, ..node.clone() })
}

fn fill(node: &Node, text: &str, context: &mut Context<'_>) -> Option<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    let mut whole = true;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        filled.push_str(before);
        let position = text.len() - from.len();
        let Some(end) = from.find('}') else {
            let span = place(node, text, position, from.len());
            context
                .error("bad-variable", "`${` is not closed", &span)
                .help("write `${NAME}`, or `$${` for the characters themselves");
            return None;
        };
        let span = place(node, text, position, end + 1);
        match value(from.get(2..end).unwrap_or_default(), &span, context) {
            Some(value) => filled.push_str(&value),
            None => whole = false,
        }
        rest = from.get(end + 1..).unwrap_or_default();
    }
    filled.push_str(rest);
    whole.then_some(filled)
}

/// The place in the file of a part of a text, if it is written there as it is; else the whole text's.
fn place(node: &Node, text: &str, at: usize, len: usize) -> Span {
    let start = node.lines.first().copied().unwrap_or(node.span.range.start);
    let file = &node.span.file;
    let range = start + at..start + at + len;
    if file.text.get(range.clone()).is_some() && file.text.get(range.clone()) == text.get(at..at + len) {
        Span { file: std::sync::Arc::clone(file), range }
    } else {
        node.span.clone()
    }
}

fn value(inside: &str, span: &Span, context: &mut Context<'_>) -> Option<String> {
    if let Some(path) = inside.strip_prefix("file:") {
        return secret(path.trim(), span, context);
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let first = name.chars().next();
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !letters || first.is_none_or(|c| c.is_ascii_digit()) {
        let message = format!("`{name}` is not the name of an environment variable");
        context
            .error("bad-variable", message, span)
            .help("write `${NAME}`, `${NAME:-default}` or `${file:PATH}`; `$${` writes `${`");
        return None;
    }
    if !context.may_know(name, span) {
        return None;
    }
    let set = (context.env)(name);
    match (set, default) {
        // As in a shell, an empty variable counts as missing where there is a default.
        (Some(set), default) if !set.is_empty() || default.is_none() => Some(set),
        (_, Some(default)) => Some(default.to_owned()),
        (_, None) => {
            let message = format!("the environment variable `{name}` is not set");
            let help = format!("set it, or give a default: `${{{name}:-…}}`");
            match context.missing_secret {
                // Who only looks does not need what a secret is in, as with its file.
                Severity::Warning => {
                    context.warning("missing-variable", message, span).help(help);
                    Some(MISSING.to_owned())
                }
                Severity::Error => {
                    context.error("missing-variable", message, span).help(help);
                    None
                }
            }
        }
    }
}

fn secret(path: &str, span: &Span, context: &mut Context<'_>) -> Option<String> {
    if !context.may_read(path, span) {
        return None;
    }
    let full = context.directory.join(path);
    context.files.push(full.clone());
    let read = std::fs::metadata(&full).and_then(|about| {
        if about.len() > SECRET_BYTES {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        std::fs::read_to_string(&full)
    });
    match read {
        Ok(text) => Some(text.trim_end_matches(['\n', '\r']).to_owned()),
        Err(error) => {
            let message = format!("the secret's file `{path}` cannot be read: {}", reason(&error));
            let error = context.missing_secret == Severity::Error;
            let help = "put the file there; its path is relative to the pipeline file";
            if error {
                context.error("missing-secret", message, span).help(help);
                None
            } else {
                context.warning("missing-secret", message, span).help(help);
                Some(MISSING.to_owned())
            }
        }
    }
}

/// An I/O error without its number.
pub fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        std::io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => error.to_string(),
    }
}
