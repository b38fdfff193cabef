//! Events against a JSON Schema.
//!
//! The draft is the one that the schema's `$schema` names, 2020-12 without it. `format` is checked where the draft knows
//! it. References lead only inside the schema: nothing is fetched. Patterns run in time linear in the text.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};

use crate::base::limit::VIOLATIONS;
use crate::data::json;
use crate::data::value::Value;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// What is wrong, one sentence.
    pub reason: String,
    /// Where in the schema, as a JSON pointer.
    pub pointer: String,
}

/// What an event does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    /// The first few, each with its place in the event.
    pub reason: String,
    /// The place of the first, as a JSON pointer; empty for the event itself.
    pub pointer: String,
}

impl Schema {
    /// Compiles the JSON text of a schema.
    pub fn compile(text: &str) -> Result<Schema, SchemaError> {
        let schema: serde_json::Value = serde_json::from_str(text)
            .map_err(|e| SchemaError { reason: format!("this is not JSON: {e}"), pointer: String::new() })?;
        if !schema.is_object() && !schema.is_boolean() {
            let reason = "a schema is a map of what has to hold".to_owned();
            return Err(SchemaError { reason, pointer: String::new() });
        }
        let options =
            jsonschema::options().offline().should_validate_formats(true).with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| {
            let reason = match error.kind() {
                ValidationErrorKind::Referencing(_) => {
                    format!("{}: references lead only inside the schema, nothing is fetched", short(&error.to_string()))
                }
                _ => short(&error.to_string()),
            };
            SchemaError { reason, pointer: error.instance_path().to_string() }
        })?;
        Ok(Schema { validator })
    }

    /// Whether an event, given as JSON text that was scanned before, fits.
    pub fn check(&self, event: &str) -> Result<(), Violations> {
        let event =
            serde_json::from_str(event).unwrap_or_else(|_| clamped(&json::parse_value(event).unwrap_or(Value::Null)));
        if self.validator.is_valid(&event) {
            return Ok(());
        }
        let mut errors = self.validator.iter_errors(&event);
        let mut pointer = None;
        let mut parts = Vec::with_capacity(VIOLATIONS);
        for error in errors.by_ref().take(VIOLATIONS) {
            let at = error.instance_path().to_string();
            let what = short(&error.to_string());
            parts.push(if at.is_empty() { what } else { format!("`{at}`: {what}") });
            pointer.get_or_insert(at);
        }
        let more = errors.count();
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        Err(Violations {
            reason: format!("does not fit the schema: {}", parts.join("; ")),
            pointer: pointer.unwrap_or_default(),
        })
    }
}

/// A value with numbers that no double holds brought to the nearest that one does: what a schema says of them does not
/// change by that.
fn clamped(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Float(f) => (*f).into(),
        Value::Number(spelled) => {
            let nearest = spelled.parse::<f64>().unwrap_or_default().clamp(f64::MIN, f64::MAX);
            nearest.into()
        }
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(clamped).collect(),
        Value::Map(map) => map.0.iter().map(|(name, value)| (name.to_string(), clamped(value))).collect(),
    }
}

/// A message without the value it may quote in full.
fn short(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: &str, event: &str) -> Result<(), (String, String)> {
        Schema::compile(schema).unwrap().check(event).map_err(|v| (v.reason, v.pointer))
    }

    #[test]
    fn violations_have_their_places_and_are_few() {
        let schema = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"items":{"items":{"properties":{"qty":{"minimum":1}}}}}}"#;
        assert_eq!(said(schema, r#"{"id":1,"items":[{"qty":1.5}],"big":1e999,"other":null}"#), Ok(()));
        let expected = "does not fit the schema: `/id`: \"x\" is not of type \"integer\"; `/items/1/qty`: 0 is less than the minimum of 1";
        assert_eq!(said(schema, r#"{"id":"x","items":[{"qty":2},{"qty":0}]}"#), Err((expected.into(), "/id".into())));
        let missing = said(schema, "{}").unwrap_err();
        assert_eq!(missing, ("does not fit the schema: \"id\" is a required property".into(), String::new()));
        let items = vec![r#"{"qty":0}"#; 20].join(",");
        let many = said(schema, &format!("{{\"id\":1,\"items\":[{items}]}}")).unwrap_err();
        assert!(many.0.ends_with("; and 15 more"), "{}", many.0);
        assert!(
            said(r#"{"properties":{"a":{"maxLength":1}}}"#, &format!("{{\"a\":\"{}\"}}", "x".repeat(10_000)))
                .unwrap_err()
                .0
                .len()
                < 400
        );
        assert!(said(r#"{"properties":{"a":{"type":"number","maximum":9}}}"#, r#"{"a":1e999}"#).is_err());
        assert!(said(r#"{"properties":{"a":{"format":"date-time"}}}"#, r#"{"a":"soon"}"#).is_err());
        assert_eq!(said("true", "5"), Ok(()));
    }

    #[test]
    fn schemas_that_cannot_be_used_say_why() {
        let wrong = |text: &str| Schema::compile(text).unwrap_err();
        assert!(wrong("{").reason.starts_with("this is not JSON"));
        assert_eq!(wrong("[]").reason, "a schema is a map of what has to hold");
        assert_eq!(wrong(r#"{"properties":{"a":{"type":"integr"}}}"#).pointer, "/properties/a/type");
        assert!(wrong(r#"{"$ref":"https://example.com/schema.json"}"#).reason.contains("example.com"));
        assert!(wrong(r##"{"$ref":"#/definitions/none"}"##).reason.contains("none"));
        assert!(Schema::compile(r#"{"pattern":"(a"}"#).is_err());
    }

    #[test]
    fn schemas_that_lead_back_to_themselves_end() {
        let tree = r##"{"type":"object","properties":{"child":{"$ref":"#"},"n":{"type":"integer"}}}"##;
        let deep = format!("{}{{\"n\":\"x\"}}{}", "{\"child\":".repeat(100), "}".repeat(100));
        assert!(said(tree, &deep).unwrap_err().1.ends_with("/n"));
    }
}
