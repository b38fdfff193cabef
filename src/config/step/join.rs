//! The step `join`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Node, Origin};
use crate::config::context::{Context, listed};
use crate::config::document::check_name;
use crate::config::expressions;
use crate::config::graph::{Draft, From, Reference};
use crate::config::read::{Code, Duration, Keys, Named, OneOrMany, Read, Text, keys, words};
use crate::config::window::{LateWord, late};
use crate::data::layout::{FieldId, Root};
use crate::expr::Expr;
use crate::plan::join::{Join, Kind, Side};

use super::field;

keys! {
    /// Puts events of two inputs together that have one key and are close in event time. A row has a field for each side,
    /// `{orders: …, payments: …}`, and the later of the two times.
    pub struct JoinOptions as "join" {
        /// The left side: a name or `name.port`, whose name is also the field that holds its event. `{ field: name }` gives
        /// the field another name.
        left: SideOf,
        /// The right side.
        right: SideOf,
        /// What both sides have in common: a field, a list of fields, or `{ left: id, right: order_id }`. Null and missing
        /// match nothing.
        on: Option<On>,
        /// How far apart two events may be, before and after, both bounds included: `5m`. `{ before: 1m, after: 5m }` lets the
        /// right one be up to 1m before the left one and up to 5m after it. `window` joins rows of windows that begin and end
        /// together.
        within: Within,
        /// Which events leave without a match: none (`inner`, the default), those of the left side (`left`), or all (`full`).
        /// Such a row has null for the other side and its own event time. It comes once, when the watermark rules a match
        /// out; steps behind it have a watermark that is as much behind.
        kind as "type": Option<TypeWord>,
        /// The fields of a row and what they are made of, instead of a field for each side: `amount: payments.amount`. What has
        /// no value is null.
        select: Option<Named<Code>>,
        /// What becomes of a late event when nobody reads the step's `.late`: one that comes when the watermark has ruled out
        /// every match. Default `dead_letter`.
        late: Option<LateWord>,
    }
    later []
}

words! {
    /// Which events leave without a match.
    pub enum TypeWord("type of join") {
        /// None. The default.
        Inner = "inner",
        /// Those of the left side.
        Left = "left",
        /// All.
        Full = "full",
    }
}

/// The keys of a `join`.
pub const KEYS: [&str; 7] = ["left", "right", "on", "within", "type", "select", "late"];

/// One side: what is read and the field that holds it.
#[derive(Clone, Debug)]
pub struct SideOf {
    field: Text,
    reference: Reference,
}

impl Read for SideOf {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if let Data::Map(_) = &node.data {
            let named = Named::<Text>::read(node, key, context)?;
            let [(field, name)] = <[(Text, Text); 1]>::try_from(named.0)
                .map_err(|_| {
                    context
                        .error("wrong-type", "a side of a join is one input", &node.span)
                        .help("write its name, or `{ field: name }`");
                })
                .ok()?;
            check_name(&field.text, &field.span, "side of a join", context).then_some(())?;
            return Some(SideOf { field, reference: Reference::new(name) });
        }
        if let Data::List(_) = &node.data {
            context
                .error("wrong-type", "a side of a join is one input, this is a list", &node.span)
                .help("merge them first, in a step that reads them all");
            return None;
        }
        let name = Text::read(node, key, context)?;
        let reference = Reference::new(name.clone());
        Some(SideOf { field: Text { text: reference.label().to_owned(), span: name.span }, reference })
    }
}

impl JsonSchema for SideOf {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JoinSide".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1, "maxProperties": 1 },
            ],
        })
    }
}

/// What both sides have in common.
#[derive(Clone, Debug)]
pub struct On {
    left: Vec<Code>,
    right: Vec<Code>,
    span: Span,
}

impl Read for On {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let span = node.span.clone();
        if !matches!(node.data, Data::Map(_)) {
            let both = OneOrMany::<Code>::read(node, key, context)?.0;
            return Some(On { left: both.clone(), right: both, span });
        }
        let mut keys = Keys::open(node, "on", key, context)?;
        let left = keys.take::<OneOrMany<Code>>("left", context);
        let right = keys.take::<OneOrMany<Code>>("right", context);
        keys.close(&["left", "right"], &[], context);
        Some(On { left: left?.0, right: right?.0, span })
    }
}

impl JsonSchema for On {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JoinOn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let codes = generator.subschema_for::<OneOrMany<Code>>();
        let of = |side: &str| {
            let about =
                format!("The key of the {side} side: a field, an expression over its events, or a list of them.");
            let mut own = codes.clone();
            own.insert("description".to_owned(), about.into());
            own
        };
        let (left, right) = (of("left"), of("right"));
        json_schema!({
            "anyOf": [
                codes,
                {
                    "type": "object",
                    "properties": { "left": left, "right": right },
                    "required": ["left", "right"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// How far apart two events may be.
#[derive(Clone, Debug)]
pub enum Within {
    /// A span, or one before and one after.
    Spans {
        /// How long before the left event the right one may be.
        before: Option<Duration>,
        /// How long after the left event the right one may be.
        after: Option<Duration>,
    },
    /// Rows of windows that begin and end together.
    Window(Origin),
}

impl Read for Within {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            Data::Map(_) => {
                let mut keys = Keys::open(node, "within", key, context)?;
                let before = keys.take::<Option<Duration>>("before", context);
                let after = keys.take::<Option<Duration>>("after", context);
                keys.close(&["before", "after"], &[], context);
                let (before, after) = (before?, after?);
                if before.is_none() && after.is_none() {
                    context
                        .error("missing-value", "`within` names no bound", &node.span)
                        .help("write `{ before: 1m, after: 5m }` or one of them; the other is then 0s");
                    return None;
                }
                Some(Within::Spans { before, after })
            }
            Data::Text(text) if text == "window" => Some(Within::Window(node.origin())),
            _ => {
                let both = Duration::read(node, key, context)?;
                Some(Within::Spans { before: Some(both.clone()), after: Some(both) })
            }
        }
    }

    fn failed() -> Option<Self> {
        Some(Within::Spans { before: None, after: None })
    }
}

impl JsonSchema for Within {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JoinWithin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Duration>();
        let of = |word: &str| {
            let about = format!("How long {word} the left event the right one may be. Default `0s`.");
            json_schema!({ "description": about, "allOf": [span] })
        };
        let (before, after) = (of("before"), of("after"));
        json_schema!({
            "anyOf": [
                { "const": "window" },
                span,
                {
                    "type": "object",
                    "properties": { "before": before, "after": after },
                    "minProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// Reads a `join`, and what it reads into the draft.
pub fn read(node: &Node, key: &Span, draft: &mut Draft, context: &mut Context<'_>) -> Option<Join> {
    if !matches!(draft.from, From::Default) {
        context
            .error("misplaced-key", "a `join` reads `left` and `right`, so `from` has no meaning", &draft.span)
            .help("take `from` out");
    }
    draft.from = From::Broken;
    let options = JoinOptions::read(node, key, context)?;
    draft.from = From::Sides(vec![options.left.reference.clone(), options.right.reference.clone()]);
    let names = [&options.left.field, &options.right.field];
    let apart = names[0].text != names[1].text;
    if !apart {
        let message = format!("both sides would be the field `{}`", names[1].text);
        let help = format!("give one of them another name: `right: {{ other: {} }}`", names[1].text);
        context.error("duplicate-name", message, &names[1].span).help(help);
    }
    let on = on(&options, key, context);
    let within = within(&options.within, context);
    let select = match &options.select {
        None => Some(Vec::new()),
        Some(select) => self::select(select, [&names[0].text, &names[1].text], key, context),
    };
    let [left, right] = on?;
    let [before, after] = within?;
    let side = |name: &Text, on| Side { name: name.text.clone(), on };
    apart.then_some(())?;
    Some(Join {
        left: side(names[0], left),
        right: side(names[1], right),
        before,
        after,
        windows: matches!(options.within, Within::Window(_)),
        kind: match options.kind {
            Some(TypeWord::Left) => Kind::Left,
            Some(TypeWord::Full) => Kind::Full,
            Some(TypeWord::Inner) | None => Kind::Inner,
        },
        select: select?,
        late: late(options.late),
    })
}

/// The keys of both sides.
fn on(options: &JoinOptions, key: &Span, context: &mut Context<'_>) -> Option<[Vec<Expr>; 2]> {
    let window = match &options.within {
        Within::Window(origin) => Some(origin),
        Within::Spans { .. } => None,
    };
    let mut sides = [Vec::new(), Vec::new()];
    match (&options.on, window) {
        (None, None) => {
            context
                .error("missing-key", "`join` needs `on`", key)
                .help("name what both sides have in common: `on: id` or `on: { left: id, right: order_id }`");
            return None;
        }
        (None, Some(_)) => {}
        (Some(on), _) => {
            if on.left.len() != on.right.len() || on.left.is_empty() {
                let (left, right) = (on.left.len(), on.right.len());
                let message = format!("the left side has {left} parts of the key, the right side {right}");
                context.error("wrong-arguments", message, &on.span).help("name as many on both sides, one at least");
                return None;
            }
            for (side, codes) in sides.iter_mut().zip([&on.left, &on.right]) {
                side.extend(codes.iter().map(|code| expressions::expression(code, context)));
            }
        }
    }
    if let Some(origin) = window {
        for name in ["window_start", "window_end"] {
            let code = Code { text: name.to_owned(), origin: origin.clone() };
            sides.iter_mut().for_each(|side| side.push(expressions::expression(&code, context)));
        }
    }
    let [left, right] = sides.map(|side| side.into_iter().collect::<Option<Vec<Expr>>>());
    Some([left?, right?])
}

/// How far before and after a left event a right one may be.
fn within(within: &Within, context: &mut Context<'_>) -> Option<[TimeSpan; 2]> {
    match within {
        // A window's row has the time just before its end.
        Within::Window(_) => Some([TimeSpan::ZERO; 2]),
        Within::Spans { before, after } => {
            let mut spans = [TimeSpan::ZERO; 2];
            // One span for both is reported once.
            let same = matches!((before, after), (Some(b), Some(a)) if a.span == b.span);
            for (span, (given, name)) in spans.iter_mut().zip([(before, "`before`"), (after, "`after`")]) {
                if let Some(given) = given {
                    *span = given.not_negative(if same { "`within`" } else { name }, context)?;
                }
            }
            Some(spans)
        }
    }
}

/// The fields of a row. Expressions see the sides and nothing else.
fn select(
    select: &Named<Code>,
    sides: [&str; 2],
    key: &Span,
    context: &mut Context<'_>,
) -> Option<Vec<(FieldId, Expr)>> {
    if select.0.is_empty() {
        context.error("missing-value", "`select` names no field", key).help("write `field: expression`");
        return None;
    }
    let mut fields: Vec<(FieldId, Expr)> = Vec::with_capacity(select.0.len());
    let mut whole = true;
    for (name, code) in &select.0 {
        let field = field(name, context).filter(|field| free(*field, name, &fields, context));
        let expr = expressions::expression(code, context).filter(|expr| sees_sides(expr, sides, context));
        match (field, expr) {
            (Some(field), Some(expr)) => fields.push((field, expr)),
            _ => whole = false,
        }
    }
    whole.then_some(fields)
}

/// Whether no other field holds this one or lies inside it; reports it if so.
fn free(field: FieldId, name: &Text, others: &[(FieldId, Expr)], context: &mut Context<'_>) -> bool {
    let path = context.layout.path(field).cloned();
    let taken = |other: FieldId| {
        let overlaps = path.as_ref().zip(context.layout.path(other)).is_some_and(|(a, b)| a.overlaps(b));
        other == field || overlaps
    };
    let free = !others.iter().any(|(other, _)| taken(*other));
    if !free {
        let message = format!("`{}` would overwrite another field of `select`", name.text);
        context.error("duplicate-field", message, &name.span).help("give it another name");
    }
    free
}

/// Whether an expression reads only fields of the two sides; reports it if not.
fn sees_sides(expr: &Expr, sides: [&str; 2], context: &mut Context<'_>) -> bool {
    let foreign = expr.reads.iter().filter_map(|field| context.layout.path(*field)).find(|path| match path.root {
        Root::Event => path.names.first().is_some_and(|name| !sides.contains(&name.as_str())),
        Root::Meta => true,
        Root::Computed => false,
    });
    let Some(foreign) = foreign.map(ToString::to_string) else { return true };
    let message = format!("`{foreign}` is a field of neither side");
    let [left, right] = sides;
    let help = match foreign.starts_with("meta.") {
        true => "a row of a join has no metadata; write it into a field before".to_owned(),
        false => listed("write", &[&format!("{left}.{foreign}")]) + &format!(" or `{right}.{foreign}`"),
    };
    context.error("unknown-field", message, &expr.origin.span).help(help);
    false
}
