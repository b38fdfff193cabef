//! The step `explode`.

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::config::context::Context;
use crate::config::read::{Keys, Read, Text, words, wrong_type};
use crate::plan::explode::Explode;

words! {
    /// What becomes of an event whose list is empty, null or missing.
    pub enum EmptyWord("value") {
        /// It is dropped, and counted. The default.
        Drop = "drop",
        /// It goes on once, without the list.
        Keep = "keep",
    }
}

/// Keys inside `explode`.
const KEYS: [&str; 3] = ["field", "as", "empty"];

/// Makes an event of each element of a list, in order; each has all other fields of the event. An element stands where the
/// list stood, also if it is a map.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExplodeOptions {
    /// The list. An event in which it is something else goes to `.errors`.
    pub field: Text,
    /// The field that takes the element, instead of the list's own.
    #[schemars(rename = "as")]
    pub to: Option<Text>,
    /// What becomes of an event whose list is empty, null or missing. Default `drop`.
    pub empty: Option<EmptyWord>,
}

/// Reads a field's name, or the options.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Explode> {
    if let Data::Text(_) = &node.data {
        let field = super::field(&Text::read(node, key, context)?, context)?;
        return Some(Explode { field, to: field, keep_empty: false });
    }
    if !matches!(node.data, Data::Map(_)) {
        wrong_type(node, "a field's name or a map", context);
        return None;
    }
    let mut keys = Keys::open(node, "explode", key, context)?;
    let field = keys.take::<Text>("field", context);
    let to = keys.take::<Option<Text>>("as", context);
    let empty = keys.take::<Option<EmptyWord>>("empty", context);
    keys.close(&KEYS, &[], context);
    let ExplodeOptions { field, to, empty } = ExplodeOptions { field: field?, to: to?, empty: empty? };
    let field = super::field(&field, context);
    let to = to.map_or(field, |to| super::field(&to, context));
    Some(Explode { field: field?, to: to?, keep_empty: empty == Some(EmptyWord::Keep) })
}

/// The schema: a field's name, or the options.
pub fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let options = generator.subschema_for::<ExplodeOptions>();
    schemars::json_schema!({ "anyOf": [{ "type": "string", "description": "The list." }, options] })
}
