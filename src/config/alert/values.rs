//! Values that only alerts have: how long something holds, templates, labels, how many keys.

use crate::alert::machine::Hold;
use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::config::context::Context;
use crate::config::number::Count;
use crate::config::read::{OneOrMany, Read, Text, keys, words};

/// How long a condition has to hold.
#[derive(Clone, Debug)]
pub struct HoldText {
    pub(super) hold: Hold,
}

impl Read for HoldText {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let text = Text::read(node, key, context)?;
        match Hold::parse(&text.text) {
            Ok(hold) => Some(HoldText { hold }),
            Err(why) => {
                let (message, help) = why.split_once("; ").unwrap_or((&why, ""));
                context.error("bad-hold", message, &text.span).help(help);
                None
            }
        }
    }
}

impl schemars::JsonSchema for HoldText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hold".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::Hold").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "How long: a span of time (`2m`), rows (`3 events`, `2 of 5 events`) or windows (`2 windows`, `2 of 3 windows`).",
            "examples": ["2m", "2 windows", "3 events", "2 of 3 windows"],
        })
    }
}

/// Text that may be a template, as it is written.
#[derive(Clone, Debug)]
pub struct TemplateText(pub Text);

impl Read for TemplateText {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            Data::Text(text) if text.contains("{{") || text.contains("{%") => {
                if text.contains("${") {
                    let message = "variables are not filled in where the text is a template";
                    let report = context.error("variable-in-template", message, &node.span);
                    report.help("use `vars` in a `set` step, or leave one of the two out of this text");
                    return None;
                }
                Some(TemplateText(Text { text: text.clone(), span: node.span.clone() }))
            }
            _ => Text::read(node, key, context).map(TemplateText),
        }
    }
}

impl schemars::JsonSchema for TemplateText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TemplateText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// Names of labels, possibly none.
#[derive(Clone, Debug)]
pub struct Labels(pub Vec<Text>);

impl Read for Labels {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.data, Data::List(items) if items.is_empty()) {
            return Some(Labels(Vec::new()));
        }
        OneOrMany::<Text>::read(node, key, context).map(|many| Labels(many.0))
    }
}

impl schemars::JsonSchema for Labels {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

keys! {
    /// How many keys there may be, and what becomes of the row of one more.
    pub struct KeyLimit as "max_keys" {
        /// Keys at most.
        keys: Count,
        /// What happens beyond that. Default `refuse`.
        beyond: Option<BeyondWord>,
    }
    later []
}

words! {
    /// What becomes of a row of a further key.
    pub enum BeyondWord("value") {
        /// It is an error.
        Refuse = "refuse",
        /// The key that is well and has brought no row for longest is forgotten for it; never one that is pending, fires or
        /// recovers. Where there is none, the row is an error.
        ForgetQuiet = "forget_quiet",
    }
}

/// `max_keys`: a number, or a map that says what happens beyond it.
#[derive(Clone, Debug)]
pub struct MaxKeys {
    pub(super) keys: usize,
    pub(super) forgets: bool,
}

impl Read for MaxKeys {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let (count, beyond) = match &node.data {
            Data::Map(_) => KeyLimit::read(node, key, context).map(|limit| (limit.keys, limit.beyond))?,
            _ => (Count::read(node, key, context)?, None),
        };
        let keys = usize::try_from(count.number).unwrap_or(usize::MAX);
        Some(MaxKeys { keys, forgets: matches!(beyond, Some(BeyondWord::ForgetQuiet)) })
    }
}

impl schemars::JsonSchema for MaxKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxKeys".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (count, limit) = (generator.subschema_for::<Count>(), generator.subschema_for::<KeyLimit>());
        schemars::json_schema!({ "anyOf": [count, limit] })
    }
}
