//! The step `validate`.

use crate::base::diag::Span;
use crate::base::limit::SCHEMA_BYTES;
use crate::base::tree::{Data, Node};
use crate::config::context::Context;
use crate::config::read::{Read, Text, wrong_type};
use crate::config::values;
use crate::data::json;
use crate::data::validate::{Schema, SchemaError};
use crate::plan::validate::Validate;

/// Reads a file's path, or a schema in place.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Validate> {
    match &node.data {
        Data::Text(_) => from_file(&Text::read(node, key, context)?, context),
        Data::Map(_) => in_place(node, context),
        _ => {
            wrong_type(node, "a file's path or a JSON Schema", context);
            None
        }
    }
}

fn from_file(path: &Text, context: &mut Context<'_>) -> Option<Validate> {
    if !context.may_read(&path.text, &path.span) {
        return None;
    }
    let full = context.directory.join(&path.text);
    context.files.push(full.clone());
    let schema = match text_of(&full) {
        Ok(text) => text,
        Err(reason) => {
            let message = format!("`{}` cannot be read: {reason}", path.text);
            context
                .error("schema-file", message, &path.span)
                .help("the path is relative to the pipeline file; a schema can also stand here in place");
            return None;
        }
    };
    match Schema::compile(&schema) {
        Ok(_) => Some(Validate { schema, file: Some(path.text.clone()) }),
        Err(SchemaError { reason, pointer }) => {
            let at = if pointer.is_empty() { String::new() } else { format!(" at `{pointer}`") };
            context.error("bad-schema", format!("`{}` is no JSON Schema{at}: {reason}", path.text), &path.span);
            None
        }
    }
}

fn text_of(path: &std::path::Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > SCHEMA_BYTES {
        return Err(format!("it has {size} bytes, more than the {SCHEMA_BYTES} that a schema may have"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// A schema in the pipeline: YAML that says what JSON would.
fn in_place(node: &Node, context: &mut Context<'_>) -> Option<Validate> {
    let mut text = Vec::new();
    json::write_value(&values::written(node)?, &mut text);
    let schema = String::from_utf8(text).unwrap_or_default();
    match Schema::compile(&schema) {
        Ok(_) => Some(Validate { schema, file: None }),
        Err(SchemaError { reason, pointer }) => {
            context.error("bad-schema", format!("this is no JSON Schema: {reason}"), &place_of(&pointer, node).span);
            None
        }
    }
}

/// What a JSON pointer leads to, as far as it can be followed.
fn place_of<'n>(pointer: &str, node: &'n Node) -> &'n Node {
    let mut at = node;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        let inner = match &at.data {
            Data::List(items) => name.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => at.get(&name),
        };
        let Some(inner) = inner else { break };
        at = inner;
    }
    at
}

/// The schema of its value.
pub fn schema() -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [
            { "type": "string", "description": "A file that holds the schema as JSON." },
            { "type": "object", "description": "The schema itself." },
        ],
    })
}
