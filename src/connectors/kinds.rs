//! Makes the entry of a list from a connector's type.

use serde::de::DeserializeOwned;

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::{Data, Node};
use crate::connector::{Checked, SinkConnector, SinkError, SinkKind, SourceConnector, SourceError, SourceKind};

/// A node without its places.
fn plain(node: &Node) -> serde_json::Value {
    match &node.data {
        Data::Null => serde_json::Value::Null,
        Data::Bool(b) => (*b).into(),
        Data::Int(i) => (*i).into(),
        Data::Float(f) => (*f).into(),
        Data::Text(t) => t.clone().into(),
        Data::List(items) => items.iter().map(plain).collect(),
        Data::Map(entries) => entries.iter().map(|e| (e.key.clone(), plain(&e.value))).collect(),
    }
}

fn decode<T: DeserializeOwned>(node: &Node, found: &mut Diagnostics) -> Option<T> {
    match serde_json::from_value(plain(node)) {
        Ok(options) => Some(options),
        Err(e) => {
            found.push(Diagnostic::error("bad-options", e.to_string(), Some(node.span.clone())));
            None
        }
    }
}

/// The entry of a source connector.
pub const fn source<T: SourceConnector>() -> SourceKind {
    SourceKind {
        name: T::NAME,
        schema: |generator| <T::Options as schemars::JsonSchema>::json_schema(generator),
        check: |node, context, found| {
            let options: T::Options = decode(node, found)?;
            T::check(&options, node, context, found);
            let bounded = T::bounded(&options);
            Some(Checked { options: serde_json::to_value(options).ok()?, bounded, templates: Vec::new() })
        },
        open: |options, context| match serde_json::from_value(options.clone()) {
            Ok(options) => T::open(options, context),
            Err(e) => Err(SourceError { message: format!("the options of `{}` do not read: {e}", T::NAME) }),
        },
    }
}

/// The entry of a sink connector.
pub const fn sink<T: SinkConnector>() -> SinkKind {
    SinkKind {
        name: T::NAME,
        schema: |generator| <T::Options as schemars::JsonSchema>::json_schema(generator),
        check: |node, context, found| {
            let options: T::Options = decode(node, found)?;
            T::check(&options, node, context, found);
            let templates = T::templates(&options);
            Some(Checked { options: serde_json::to_value(options).ok()?, bounded: false, templates })
        },
        open: |options, context| match serde_json::from_value(options.clone()) {
            Ok(options) => T::open(options, context),
            Err(e) => Err(SinkError::Fatal(format!("the options of `{}` do not read: {e}", T::NAME))),
        },
    }
}
