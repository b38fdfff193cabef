//! Entries of `steps`.

pub mod dedupe;
pub mod explode;
pub mod join;
pub mod lookup;
pub mod parse;
pub mod sample;
pub mod throttle;
pub mod validate;

use crate::base::diag::Span;
use crate::base::tree::{Data, Entry, Node};
use crate::data::layout::{FieldId, FieldPath, Root};
use crate::expr::Expr;
use crate::plan::pace::THROTTLED;
use crate::plan::{KeyPart, NodeKind, Operator};

use super::context::Context;
use super::document::{self, Kinds, check_name};
use super::graph::{self, Draft, Family, Ports};
use super::read::{Code, Duration, Keys, Named, OneOrMany, Read, Text, wrong_type};
use super::values::as_expression;
use super::{expressions, values, window};

/// Kinds of this version.
pub const KINDS: [&str; 16] = [
    "filter", "script", "set", "keep", "drop", "rename", "parse", "explode", "validate", "route", "dedupe", "throttle",
    "sample", "join", "lookup", "window",
];
/// Kinds of later versions.
const LATER: [&str; 3] = ["top", "pattern", "anomaly"];
/// What steps are called elsewhere.
const ELSEWHERE: [(&str, &[&str]); 26] = [
    ("map", &["set", "script"]),
    ("transform", &["set", "script"]),
    ("mutate", &["set", "script"]),
    ("add", &["set"]),
    ("assign", &["set"]),
    ("select", &["keep"]),
    ("project", &["keep"]),
    ("remove", &["drop"]),
    ("omit", &["drop"]),
    ("where", &["filter"]),
    ("group_by", &["window"]),
    ("groupby", &["window"]),
    ("group", &["window"]),
    ("aggregate", &["window"]),
    ("reduce", &["window"]),
    ("flatten", &["explode"]),
    ("unnest", &["explode"]),
    ("unwind", &["explode"]),
    ("flat_map", &["explode", "script"]),
    ("deduplicate", &["dedupe"]),
    ("distinct", &["dedupe"]),
    ("unique", &["dedupe"]),
    ("enrich", &["lookup"]),
    ("branch", &["route"]),
    ("switch", &["route"]),
    ("rate_limit", &["throttle"]),
];
/// Keys beside the kind of a step.
pub const SHARED: [&str; 3] = ["from", "description", "on_error"];
/// Keys beside `script`.
const BESIDE_SCRIPT: [&str; 3] = ["by", "state_ttl", "ports"];

/// Reads an entry.
pub fn read(entry: &Entry, context: &mut Context<'_>) -> Draft {
    let mut draft = Draft::new(entry, Family::Step, Ports { errors: true, late: false, named: None });
    let shared = [&SHARED[..], &BESIDE_SCRIPT[..]].concat();
    let kinds = Kinds { kinds: &KINDS, later: &LATER, shared: &shared, elsewhere: &ELSEWHERE };
    draft.from = graph::from(entry, context);
    let Some((mut keys, kind)) = document::open(entry, Family::Step, &kinds, context) else { return draft };
    keys.skip("from");
    (draft.description, draft.on_error) = document::shared(&mut keys, context);
    draft.ports.named = Some(Vec::new());
    let operator = if kind.value.data == Data::Null {
        let message = format!("`{}` has no value", kind.key);
        context.error("missing-value", message, &kind.key_span);
        draft.ports.named = None;
        None
    } else {
        operator(kind, &mut keys, &mut draft, context)
    };
    let mut known: Vec<&str> = SHARED.iter().copied().chain([kind.key.as_str()]).collect();
    if kind.key == "script" {
        known.extend(BESIDE_SCRIPT);
    } else {
        misplaced(&kind.key, &mut keys, context);
    }
    keys.close(&known, &[], context);
    draft.kind = operator.map(NodeKind::Step);
    draft
}

/// Reports keys that stand beside a kind but belong inside it, or beside `script`.
fn misplaced(kind: &str, keys: &mut Keys<'_>, context: &mut Context<'_>) {
    for entry in keys.entries() {
        let key = entry.key.as_str();
        let help = if inside(kind).contains(&key) {
            format!("it belongs inside `{kind}`: indent `{key}` below it")
        } else if BESIDE_SCRIPT.contains(&key) {
            format!("`{key}` belongs to `script`")
        } else {
            continue;
        };
        keys.skip(key);
        context.error("misplaced-key", format!("`{key}` has no meaning beside `{kind}`"), &entry.key_span).help(help);
    }
}

/// The keys inside a kind.
fn inside(kind: &str) -> &'static [&'static str] {
    match kind {
        "window" => &window::KEYS,
        "dedupe" => &dedupe::KEYS,
        "join" => &join::KEYS,
        "sample" => &sample::KEYS,
        "throttle" => &throttle::KEYS,
        _ => &[],
    }
}

fn operator(kind: &Entry, keys: &mut Keys<'_>, draft: &mut Draft, context: &mut Context<'_>) -> Option<Operator> {
    let (node, key) = (&kind.value, &kind.key_span);
    match kind.key.as_str() {
        "filter" => {
            let code = Code::read(node, key, context)?;
            expressions::expression(&code, context).map(|condition| Operator::Filter { condition })
        }
        "script" => script(kind, keys, draft, context),
        "set" => set(node, context),
        "keep" => fields(node, key, context).map(|fields| Operator::Keep { fields }),
        "drop" => fields(node, key, context).map(|fields| Operator::Drop { fields }),
        "rename" => rename(node, key, context),
        "parse" => parse::read(node, key, context).map(Operator::Parse),
        "explode" => explode::read(node, key, context).map(Operator::Explode),
        "validate" => validate::read(node, key, context).map(Operator::Validate),
        "route" => route(node, key, draft, context),
        "dedupe" => {
            draft.ports.late = true;
            dedupe::read(node, key, context).map(Operator::Dedupe)
        }
        "throttle" => {
            draft.ports.late = true;
            draft.ports.named = Some(vec![THROTTLED.to_owned()]);
            throttle::read(node, key, context).map(Operator::Throttle)
        }
        "sample" => sample::read(node, key, context).map(Operator::Sample),
        "join" => {
            draft.ports.late = true;
            join::read(node, key, draft, context).map(Operator::Join)
        }
        "lookup" => lookup::read(node, key, context).map(Operator::Lookup),
        _ => {
            // Windows that go by the order of arrival take whatever arrives.
            draft.ports.late = node.get("count").is_none();
            window::read(node, key, context).map(Operator::Window)
        }
    }
}

fn script(kind: &Entry, keys: &mut Keys<'_>, draft: &mut Draft, context: &mut Context<'_>) -> Option<Operator> {
    let by = keys.take::<Option<By>>("by", context).and_then(|by| key_parts(by, false, context));
    let ttl_place = keys.entries().iter().find(|e| e.key == "state_ttl").map(|e| e.key_span.clone());
    let state_ttl = match keys.take::<Option<Duration>>("state_ttl", context) {
        Some(Some(ttl)) => ttl.positive("`state_ttl`", context).map(Some),
        other => other.map(|_| None),
    };
    if let (Some(place), true) = (ttl_place, by.as_ref().is_some_and(Vec::is_empty)) {
        context
            .error("missing-key", "`state_ttl` needs `by`", &place)
            .help("a script has state only for the keys of `by`");
    }
    let ports = keys.take::<Option<OneOrMany<Text>>>("ports", context).and_then(|ports| port_names(ports, context));
    draft.ports.named = ports.clone();
    if !matches!(kind.value.data, Data::Text(_)) {
        wrong_type(&kind.value, "a script", context);
        return None;
    }
    let code = Code::read(&kind.value, &kind.key_span, context)?;
    let (by, ports) = (by?, ports?);
    let script = expressions::script(&code, !by.is_empty(), &ports, context);
    Some(Operator::Script { script: script?, by, state_ttl: state_ttl?, ports })
}

fn port_names(ports: Option<OneOrMany<Text>>, context: &mut Context<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut whole = true;
    for port in ports.map_or_else(Vec::new, |p| p.0) {
        whole &= port_name(&port, &names, "port", context);
        names.push(port.text);
    }
    whole.then_some(names)
}

/// Whether a name can be that of a port; reports it if not.
fn port_name(name: &Text, others: &[String], what: &str, context: &mut Context<'_>) -> bool {
    if matches!(name.text.as_str(), "errors" | "late") {
        let message = format!("`{}` cannot be the name of a {what}", name.text);
        context
            .error("bad-name", message, &name.span)
            .help("`.errors` and `.late` are ports that steps have of themselves");
        return false;
    }
    if others.contains(&name.text) {
        context.error("duplicate-name", format!("the {what} `{}` is named twice", name.text), &name.span);
        return false;
    }
    check_name(&name.text, &name.span, what, context)
}

/// A value of `set`: text is an expression, anything else a constant.
struct Assigned(Code);

impl Read for Assigned {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if let Data::Text(_) = node.data {
            return Code::read(node, key, context).map(Assigned);
        }
        if node.data == Data::Null && node.span.range.is_empty() {
            context.error("missing-value", "the field has no value", key).help("write `null` to set it to null");
            return None;
        }
        let text = values::written(node).map(|value| as_expression(&value))?;
        Some(Assigned(Code { text, origin: node.origin() }))
    }
}

fn set(node: &Node, context: &mut Context<'_>) -> Option<Operator> {
    let named = Named::<Assigned>::read(node, &node.span, context)?;
    if named.0.is_empty() {
        context.error("missing-value", "`set` names no field", &node.span);
        return None;
    }
    let mut fields = Vec::with_capacity(named.0.len());
    let mut whole = true;
    for (name, Assigned(code)) in named.0 {
        let field = field(&name, context);
        match (field, expressions::expression(&code, context)) {
            (Some(field), Some(expr)) => fields.push((field, expr)),
            _ => whole = false,
        }
    }
    whole.then_some(Operator::Set { fields })
}

/// The number of a field that is written as a path; reports what is no path.
pub fn field(name: &Text, context: &mut Context<'_>) -> Option<FieldId> {
    if name.text.split('.').any(str::is_empty) {
        let message = format!("`{}` is not a field", name.text);
        context.error("bad-field", message, &name.span).help("write a field's name, or a path like `site.floor`");
        return None;
    }
    context.intern(FieldPath::dotted(&name.text), &name.span)
}

/// The fields of `keep` and `drop`, each once.
fn fields(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Vec<FieldId>> {
    let names = OneOrMany::<Text>::read(node, key, context)?;
    if names.0.is_empty() {
        context.error("missing-value", "this list of fields is empty", &node.span);
        return None;
    }
    let mut fields = Vec::with_capacity(names.0.len());
    let mut whole = true;
    for name in &names.0 {
        match field(name, context) {
            Some(id) if fields.contains(&id) => {
                context.error("duplicate-name", format!("the field `{}` is named twice", name.text), &name.span);
                whole = false;
            }
            Some(id) => fields.push(id),
            None => whole = false,
        }
    }
    whole.then_some(fields)
}

fn rename(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Operator> {
    let named = Named::<Text>::read(node, key, context)?;
    let mut fields: Vec<(FieldId, FieldId)> = Vec::with_capacity(named.0.len());
    let mut whole = true;
    for (old, new) in named.0 {
        let (Some(from), Some(to)) = (field(&old, context), field(&new, context)) else {
            whole = false;
            continue;
        };
        if fields.iter().any(|(_, other)| *other == to) {
            context.error("duplicate-name", format!("two fields are renamed to `{}`", new.text), &new.span);
            whole = false;
        }
        fields.push((from, to));
    }
    if fields.is_empty() && whole {
        context.error("missing-value", "`rename` names no field", &node.span).help("write `old_name: new_name`");
        return None;
    }
    whole.then_some(Operator::Rename { fields })
}

fn route(node: &Node, key: &Span, draft: &mut Draft, context: &mut Context<'_>) -> Option<Operator> {
    // The branches are known even where a condition is wrong, so that who reads them is not reported as well.
    draft.ports.named = match &node.data {
        Data::Map(entries) => Some(entries.iter().map(|e| e.key.clone()).collect()),
        _ => None,
    };
    let named = Named::<Code>::read(node, key, context)?;
    if named.0.is_empty() {
        context.error("missing-value", "`route` has no branch", &node.span).help("write `branch_name: condition`");
        return None;
    }
    let mut branches: Vec<(String, Expr)> = Vec::with_capacity(named.0.len());
    let mut whole = true;
    for (name, code) in named.0 {
        whole &= port_name(&name, &[], "branch", context);
        match expressions::expression(&code, context) {
            Some(condition) => branches.push((name.text, condition)),
            None => whole = false,
        }
    }
    whole.then_some(Operator::Route { branches })
}

/// `by`: a field, a list of fields, or a map of names to expressions.
#[derive(Clone, Debug)]
pub enum By {
    /// Fields.
    Paths(Vec<Code>),
    /// Names and expressions.
    Named(Vec<(Text, Code)>),
}

impl Read for By {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            Data::Map(_) => Named::read(node, key, context).map(|named| By::Named(named.0)),
            _ => OneOrMany::read(node, key, context).map(|many| By::Paths(many.0)),
        }
    }
}

impl schemars::JsonSchema for By {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "By".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::By").into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let code = generator.subschema_for::<Code>();
        schemars::json_schema!({
            "description": "The key: a field, a list of fields, or a map of names to expressions: `{ hour: date(ts) }`.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": code },
            ],
        })
    }
}

/// The parts of a key. Those of a window are `written` back into its rows and so need a field to go to.
pub fn key_parts(by: Option<By>, written: bool, context: &mut Context<'_>) -> Option<Vec<KeyPart>> {
    let mut parts: Vec<KeyPart> = Vec::new();
    let mut whole = true;
    let pieces = match by {
        None => Vec::new(),
        Some(By::Paths(codes)) => codes.into_iter().map(|code| (None, code)).collect(),
        Some(By::Named(named)) => named.into_iter().map(|(name, code)| (Some(name), code)).collect(),
    };
    for (name, code) in pieces {
        let place = name.as_ref().map_or(&code.origin.span, |n| &n.span).clone();
        let Some(part) = key_part(name, code, written, context) else {
            whole = false;
            continue;
        };
        if parts.iter().any(|other| other.field == part.field) {
            context.error("duplicate-field", "this field is in the key twice", &place);
            whole = false;
        }
        parts.push(part);
    }
    whole.then_some(parts)
}

fn key_part(name: Option<Text>, code: Code, written: bool, context: &mut Context<'_>) -> Option<KeyPart> {
    let expr = expressions::expression(&code, context)?;
    if let Some(name) = name {
        return field(&name, context).map(|field| KeyPart { field, expr });
    }
    let path = expr.as_path();
    let root = path.and_then(|id| context.layout.path(id)).map(|path| path.root);
    match (path, root) {
        (Some(field), Some(Root::Event)) => Some(KeyPart { field, expr }),
        (Some(field), Some(Root::Meta)) if !written => Some(KeyPart { field, expr }),
        _ => {
            let (text, span) = (code.text.trim(), &code.origin.span);
            context
                .error("key-without-name", "this part of the key is not a field of the event, so it needs a name", span)
                .help(format!("give it one: `by: {{ name: {} }}`", super::eaten::quoted(text)));
            None
        }
    }
}
