//! The step `throttle`.

use crate::base::diag::Span;
use crate::base::limit::THROTTLE_ROWS;
use crate::base::tree::Node;
use crate::config::context::Context;
use crate::config::number::Count;
use crate::config::read::{Duration, Read, keys};
use crate::config::window::{LateWord, late};
use crate::plan::pace::Throttle;

use super::{By, key_parts};

keys! {
    /// Lets at most `limit` events of a key go on in any span of `per`, in event time and in whatever order they come. Those
    /// beyond that are held back: they are counted and gone, or read as `name.throttled`.
    pub struct ThrottleOptions as "throttle" {
        /// The key: a field, a list of fields, or a map of names to expressions. Without it all events count together.
        by: Option<By>,
        /// How many events.
        limit: Count,
        /// In how long: two events that are just this far apart do not count together. An event that is this far or further
        /// behind the watermark is late.
        per: Duration,
        /// What becomes of a late event when nobody reads the step's `.late`. Default `dead_letter`.
        late: Option<LateWord>,
    }
    later []
}

/// The keys of a `throttle`.
pub const KEYS: [&str; 4] = ["by", "limit", "per", "late"];

/// Reads a `throttle`.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Throttle> {
    let options = ThrottleOptions::read(node, key, context)?;
    let per = options.per.positive("`per`", context);
    let limit = limit(&options.limit, context);
    let by = key_parts(options.by, false, context);
    Some(Throttle { by: by?, limit: limit?, per: per?, late: late(options.late) })
}

fn limit(count: &Count, context: &mut Context<'_>) -> Option<usize> {
    let limit = usize::try_from(count.number).ok().filter(|n| *n <= THROTTLE_ROWS);
    if limit.is_none() {
        let message = format!("`limit` is at most {THROTTLE_ROWS}: the times of so many events are kept for each key");
        context.error("too-many-events", message, &count.span).help("make `limit` and `per` smaller alike");
    }
    limit
}
