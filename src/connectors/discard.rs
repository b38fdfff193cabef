//! Sink `discard`: takes rows and keeps nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::diag::Diagnostics;
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Encoded, End, OpenContext, Prepared, Reach, Sink, SinkConnector, SinkError,
};

/// The sink `discard`.
pub struct DiscardSink;

/// Takes rows and keeps nothing: for a port whose rows are wanted nowhere, and for measuring.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Options {}

impl SinkConnector for DiscardSink {
    const NAME: &'static str = "discard";
    type Options = Options;

    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }

    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}

    fn promise(_: &Options) -> Promise {
        Promise::once("keeps nothing").grows()
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(_: Options, _: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Discard))
    }
}

struct Discard;

impl Sink for Discard {
    fn deliver<'a>(&'a mut self, _: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn finish(&mut self, _: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async { Ok(Prepared::default()) })
    }
}
