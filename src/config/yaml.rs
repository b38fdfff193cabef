//! YAML text to a tree of [`Node`]s that know their places.
//!
//! Events of `saphyr-parser` give the structure and the places; what a scalar means is decided as `serde_yaml` does
//! ([`scalar`]), and the whole result is held against `serde_yaml`'s own reading of the file, so that a place where the two
//! libraries understand YAML differently is an error and never a guess.

mod build;
mod places;
mod scalar;
mod syntax;

use std::sync::Arc;

use crate::base::diag::{Diagnostic, Diagnostics, SourceFile, Span};
use crate::base::limit;
use crate::base::tree::{Data, Node};

pub use scalar::resolve;

/// Reads a file. `None` when there is no tree to go on with; then `found` says why.
pub fn read(file: &Arc<SourceFile>, found: &mut Diagnostics) -> Option<Node> {
    if let Some(at) = file.text.find('\0') {
        let span = Span { file: Arc::clone(file), range: at..at + 1 };
        let what = Diagnostic::error("binary-file", "this is not a text file: it holds a zero byte", Some(span));
        found.push(what.label("a zero byte").help("name a YAML file"));
        return None;
    }
    let before = found.list.len();
    let tree = build::tree(file, found)?;
    if found.list.get(before..).is_some_and(<[Diagnostic]>::is_empty) && !agrees(file, &tree, found) {
        return None;
    }
    Some(tree)
}

/// Whether `serde_yaml` understands the text as the tree says; reports it if not.
fn agrees(file: &Arc<SourceFile>, tree: &Node, found: &mut Diagnostics) -> bool {
    let meaning = serde_yaml::from_str::<serde_yaml::Value>(&file.text).and_then(|mut value| {
        // It leaves the merges of what it has just merged in to another pass; a chain is at most as long as YAML is deep.
        for _ in 0..limit::YAML_DEPTH {
            if !merges(&value) {
                break;
            }
            value.apply_merge()?;
        }
        Ok(value)
    });
    match meaning {
        Ok(value) => match difference(tree, &value) {
            None => true,
            Some(node) => {
                let what = "YAML can be read in more than one way here";
                let what = Diagnostic::error("ambiguous-yaml", what, Some(node.span.clone()));
                found.push(what.label("this value").help("put the value in quotes, or write it in block style"));
                false
            }
        },
        Err(error) => {
            let at = error.location().map_or(0, |l| l.index().min(file.text.len()));
            let at = (0..=at).rev().find(|i| file.text.is_char_boundary(*i)).unwrap_or(0);
            found.push(syntax::explain(file, at, &error.to_string()));
            false
        }
    }
}

/// Whether a `<<` is left anywhere.
fn merges(value: &serde_yaml::Value) -> bool {
    match value {
        serde_yaml::Value::Mapping(map) => map.contains_key("<<") || map.values().any(merges),
        serde_yaml::Value::Sequence(items) => items.iter().any(merges),
        _ => false,
    }
}

/// The first place where the tree and `serde_yaml`'s value differ.
fn difference<'a>(node: &'a Node, value: &serde_yaml::Value) -> Option<&'a Node> {
    use serde_yaml::Value;
    let same = match (&node.data, value) {
        (Data::Null, Value::Null) => true,
        (Data::Bool(a), Value::Bool(b)) => a == b,
        (Data::Int(a), Value::Number(b)) => b.as_i64() == Some(*a),
        (Data::Float(a), Value::Number(b)) => b.as_f64().is_some_and(|b| *a == b || (a.is_nan() && b.is_nan())),
        (Data::Text(a), Value::String(b)) => a == b,
        (Data::List(items), Value::Sequence(values)) if items.len() == values.len() => {
            return items.iter().zip(values).find_map(|(n, v)| difference(n, v));
        }
        (Data::Map(entries), Value::Mapping(values)) if entries.len() == values.len() => {
            return entries.iter().find_map(|entry| match keyed(values, &entry.key) {
                Some(value) => difference(&entry.value, value),
                None => Some(&entry.value),
            });
        }
        _ => false,
    };
    if same { None } else { Some(node) }
}

/// The value of a key; a key that is no text (`1:`, `true:`) is found by what it means.
fn keyed<'a>(values: &'a serde_yaml::Mapping, key: &str) -> Option<&'a serde_yaml::Value> {
    values.get(key).or_else(|| values.iter().find(|(k, _)| scalar::spelled(k, key)).map(|(_, v)| v))
}

#[cfg(test)]
mod tests;
