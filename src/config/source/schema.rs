//! `schema` of a source.

use schemars::{JsonSchema, Schema as JsonSchemaOf, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::tree::{Data, Entry, Node};
use crate::config::context::{Context, Unknown};
use crate::config::interpolate::interpolate;
use crate::config::read::{Read, wrong_type};
use crate::data::format::Csv;
use crate::plan::schema::{Field, Kind, Schema};

/// What the same is called elsewhere.
const ELSEWHERE: [(&str, &str); 22] = [
    ("string", "text"),
    ("str", "text"),
    ("varchar", "text"),
    ("char", "text"),
    ("integer", "int"),
    ("int64", "int"),
    ("int32", "int"),
    ("long", "int"),
    ("bigint", "int"),
    ("number", "float"),
    ("double", "float"),
    ("decimal", "float"),
    ("real", "float"),
    ("boolean", "bool"),
    ("timestamp", "time"),
    ("datetime", "time"),
    ("date", "time"),
    ("array", "list"),
    ("object", "map"),
    ("dict", "map"),
    ("json", "any"),
    ("null", "any"),
];

/// What the events of a source hold.
#[derive(Clone, Debug)]
pub struct SchemaIn(pub Schema);

impl Read for SchemaIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        fields(node, key, context).map(SchemaIn)
    }
}

fn fields(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Schema> {
    let Data::Map(entries) = &node.data else {
        wrong_type(node, "a map of fields and their types", context);
        return None;
    };
    if entries.is_empty() {
        context.error("missing-value", "this `schema` has no field", key).help("write `temperature: float`");
        return None;
    }
    let mut fields: Vec<(String, Field)> = Vec::with_capacity(entries.len());
    let mut whole = true;
    for entry in entries {
        // `site?: { … }`: a map that may be missing has no other place for the mark.
        let bare = entry.key.strip_suffix('?').filter(|_| matches!(entry.value.data, Data::Map(_)));
        let name = bare.unwrap_or(&entry.key);
        if fields.iter().any(|(other, _)| other == name) {
            let message = format!("the field `{name}` is described twice");
            context.error("duplicate-key", message, &entry.key_span).help("keep one of the two");
            whole = false;
            continue;
        }
        match field(&entry.value, &entry.key_span, context) {
            Some(field) => {
                fields.push((name.to_owned(), Field { optional: field.optional || bare.is_some(), ..field }));
            }
            None => whole = false,
        }
    }
    whole.then_some(Schema { fields })
}

fn field(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Field> {
    let node = interpolate(node, context)?;
    match &node.data {
        Data::Map(_) => {
            let members = fields(&node, key, context)?;
            Some(Field { kind: Kind::Map(Some(members)), optional: false })
        }
        Data::Text(written) => named(written, &node.span, context),
        Data::Null => {
            let text = node.span.file.text.get(node.span.range.clone()).unwrap_or_default();
            let report = context.error("missing-value", "a field needs a type", key);
            if text.is_empty() {
                report.help("write one after the colon, such as `float`, or `any`");
            } else {
                report.help("a field that may be null is of a type all the same: `float?`, or `any`");
            }
            None
        }
        _ => {
            wrong_type(&node, "the name of a type, such as `float`", context);
            None
        }
    }
}

/// `int`, `int?`.
fn named(written: &str, span: &Span, context: &mut Context<'_>) -> Option<Field> {
    let (name, optional) = match written.strip_suffix('?') {
        Some(name) => (name.trim_end(), true),
        None => (written, false),
    };
    if let Some((_, kind)) = Kind::NAMES.iter().find(|(known, _)| *known == name) {
        return Some(Field { kind: kind.clone(), optional });
    }
    let lower = name.to_lowercase();
    let same = ELSEWHERE.iter().find(|(other, _)| *other == lower).map(|(_, own)| *own);
    let same = same.or_else(|| Kind::NAMES.iter().find(|(own, _)| *own == lower).map(|(own, _)| *own));
    if let Some(own) = same {
        let mark = if optional { "?" } else { "" };
        let message = format!("unknown type `{name}`");
        context.error("unknown-type", message, span).help(format!("write `{own}{mark}`"));
        return None;
    }
    let what = Unknown { code: "unknown-type", noun: "type", place: "", listing: "the types are" };
    context.unknown(&what, name, span, &Kind::NAMES.map(|(name, _)| name), &[]);
    None
}

/// Reports fields that CSV cannot bring: lists and maps, columns that it does not have, numbers where all is left as text.
pub fn fits(schema: &Schema, csv: &Csv, node: &Node, context: &mut Context<'_>) {
    let Data::Map(entries) = &node.data else { return };
    for (name, field) in &schema.fields {
        let own = |e: &&Entry| e.key == *name || e.key.strip_suffix('?') == Some(name);
        let Some(Entry { key_span: span, .. }) = entries.iter().find(own) else { continue };
        let what = field.kind.name();
        if let Some(columns) = csv.columns.as_ref().filter(|columns| !columns.contains(name)) {
            let report = context.error("unknown-field", format!("`columns` names no column `{name}`"), span);
            let near = nearest(name, columns.iter().map(String::as_str));
            drop(near.map(|near| report.help(format!("did you mean `{near}`?"))));
        } else if matches!(field.kind, Kind::List | Kind::Map(_)) {
            let message = format!("`{name}` cannot be a {what}: the fields of CSV are text, numbers and bools");
            context.error("impossible-types", message, span).help("write `text`; a step can take it apart");
        } else if matches!(field.kind, Kind::Int | Kind::Float | Kind::Bool) && !csv.infer {
            let message = format!("`{name}` is text and no {what}: `infer: false` leaves every field as it is spelled");
            context.error("impossible-types", message, span).help("write `text`, or leave `infer: false` out");
        } else if matches!(field.kind, Kind::Int | Kind::Float | Kind::Bool) && csv.as_text.contains(name) {
            let message = format!("`{name}` is text and no {what}: the format says that the column stays text");
            context.error("impossible-types", message, span).help("write `text`");
        }
    }
}

impl JsonSchema for SchemaIn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventSchema".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::EventSchema").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaOf {
        let inner = generator.subschema_for::<SchemaIn>();
        let names = Kind::NAMES.map(|(name, _)| name);
        let all: Vec<String> = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}?")]).collect();
        json_schema!({
            "description": "Every field that events have, with its type: `int`, `float`, `text`, `bool`, `time`, `list`, \
                `map` or `any`; `int?` may be missing or null. A map of fields is a map with just these members, which \
                `name?:` makes optional. `check` finds with it fields that do not exist and comparisons that never hold. \
                It is a promise and changes nothing at run time: an event that breaks it is processed as ever. \
                `millstream infer FILE` writes one from data.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "anyOf": [
                    { "type": "string", "enum": all },
                    { "type": "string", "pattern": "\\$\\{" },
                    inner,
                ],
            },
        })
    }
}
