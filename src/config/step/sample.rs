//! The step `sample`.

use crate::base::diag::Span;
use crate::base::tree::Node;
use crate::config::context::Context;
use crate::config::number::{Count, Rate};
use crate::config::read::{Read, keys};
use crate::data::layout::FieldPath;
use crate::plan::sample::{Sample, Share};

use super::{By, key_parts};

keys! {
    /// Lets a part of the events go on. Which ones is decided by a hash of where an event comes from (source, partition and
    /// position; of one that a step made, of all its fields), so that it is the same in every run.
    #[schemars(extend("oneOf" = [
        { "required": ["rate"] },
        { "required": ["one_in"] },
    ]))]
    pub struct SampleOptions as "sample" {
        /// The part of the events, above 0 and at most 1: `0.01` is one in a hundred.
        rate: Option<Rate>,
        /// One event in so many.
        one_in: Option<Count>,
        /// All events of one key go on, or none: a field, a list of fields, or a map of names to expressions.
        by: Option<By>,
    }
    later []
}

/// The keys of a `sample`.
pub const KEYS: [&str; 3] = ["rate", "one_in", "by"];

/// Reads a `sample`.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Sample> {
    let options = SampleOptions::read(node, key, context)?;
    let share = match (options.rate, options.one_in) {
        (Some(rate), None) => Some(Share::Rate(rate.part)),
        (None, Some(count)) => Some(Share::OneIn(count.number)),
        // What is there and wrong has been reported.
        (None, None) if node.get("rate").or(node.get("one_in")).is_some() => None,
        (rate, _) => {
            let message = match rate {
                Some(_) => "`rate` and `one_in` say the same thing",
                None => "the sample has no size",
            };
            context.error("one-size", message, key).help("write one of `rate` and `one_in`");
            None
        }
    };
    let by = key_parts(options.by, false, context);
    let mut meta = |name: &str| context.intern(FieldPath::meta(name), key);
    let identity = [meta("source")?, meta("path")?, meta("offset")?];
    Some(Sample { share: share?, by: by?, identity })
}
