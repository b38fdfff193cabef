//! How a connector's file becomes a line of the registry: its options are decoded, checked and, when it is opened, taken
//! again from what the plan holds.

use serde::de::DeserializeOwned;

use crate::base::decode::decode;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Replay;
use crate::base::tree::Node;

use super::{
    CheckContext, Checked, Reach, SinkConnector, SinkError, SinkKind, SourceConnector, SourceError, SourceKind,
};

impl SourceKind {
    /// The registry's line for a source connector.
    pub const fn of<T: SourceConnector>() -> Self {
        SourceKind {
            name: T::NAME,
            schema: <T::Options as schemars::JsonSchema>::json_schema,
            json: T::JSON,
            check: check_source::<T>,
            reach: |options| {
                taken::<T::Options>(options, T::NAME).map(|options| T::reach(&options)).unwrap_or_default()
            },
            open: |options, context| match taken::<T::Options>(options, T::NAME) {
                Ok(options) => T::open(options, context),
                Err(message) => Err(SourceError { message }),
            },
        }
    }
}

impl SinkKind {
    /// The registry's line for a sink connector.
    pub const fn of<T: SinkConnector>() -> Self {
        SinkKind {
            name: T::NAME,
            schema: <T::Options as schemars::JsonSchema>::json_schema,
            json: T::JSON,
            check: check_sink::<T>,
            reach: |options| {
                taken::<T::Options>(options, T::NAME).map(|options| T::reach(&options)).unwrap_or_default()
            },
            open: |options, context| match taken::<T::Options>(options, T::NAME) {
                Ok(options) => T::open(options, context),
                Err(message) => Err(SinkError::Fatal(message)),
            },
        }
    }
}

fn check_source<T: SourceConnector>(node: &Node, context: &CheckContext, found: &mut Diagnostics) -> Option<Checked> {
    let options: T::Options = decode(node, T::NAME, found)?;
    let reach = T::reach(&options);
    // Before anything is looked at: what is not to be reached is not told about either.
    let may = may_reach(&reach, node, context, found);
    let mut own = Diagnostics::default();
    if may {
        T::check(&options, node, context, &mut own);
    }
    let right = may && !own.has_errors();
    found.list.append(&mut own.list);
    let (bounded, replay) = (T::bounded(&options), T::replay(&options));
    right.then(|| held(&options, node, T::NAME, found)).flatten().map(|options| Checked {
        options,
        bounded,
        json: T::JSON,
        templates: Vec::new(),
        paths: false,
        timed: false,
        sends: false,
        replay,
        promise: None,
    })
}

fn check_sink<T: SinkConnector>(node: &Node, context: &CheckContext, found: &mut Diagnostics) -> Option<Checked> {
    let options: T::Options = decode(node, T::NAME, found)?;
    let reach = T::reach(&options);
    // Before anything is looked at: what is not to be reached is not told about either.
    let may = may_reach(&reach, node, context, found);
    let mut own = Diagnostics::default();
    if may {
        T::check(&options, node, context, &mut own);
    }
    let right = may && !own.has_errors();
    found.list.append(&mut own.list);
    let (templates, timed) = (T::templates(&options), T::timed(&options));
    let promise = Some(T::promise(&options));
    right.then(|| held(&options, node, T::NAME, found)).flatten().map(|options| Checked {
        options,
        bounded: false,
        json: T::JSON,
        templates,
        paths: T::PATHS,
        timed,
        sends: T::SENDS,
        replay: Replay::default(),
        promise,
    })
}

/// Reports what a connector would reach and may not.
fn may_reach(reach: &Reach, node: &Node, context: &CheckContext, found: &mut Diagnostics) -> bool {
    let refused = context.allowed.as_ref().and_then(|allowed| allowed.refuses(&context.directory, reach));
    let Some((why, help)) = refused else { return true };
    found.push(Diagnostic::error("not-allowed", why, Some(node.span.clone())).help(help));
    false
}

/// Options as a plan holds them.
fn held<T: serde::Serialize>(
    options: &T,
    node: &Node,
    name: &str,
    found: &mut Diagnostics,
) -> Option<serde_json::Value> {
    serde_json::to_value(options)
        .map_err(|error| {
            let message = format!("the options of `{name}` cannot be kept: {error}");
            found.push(Diagnostic::error("bad-value", message, Some(node.span.clone())));
        })
        .ok()
}

/// Options as the connector takes them, from a plan.
fn taken<T: DeserializeOwned>(options: &serde_json::Value, name: &str) -> Result<T, String> {
    T::deserialize(options).map_err(|error| format!("the options of `{name}` do not fit this version: {error}"))
}
