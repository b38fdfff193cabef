//! The step `dedupe`.

use crate::base::diag::Span;
use crate::base::tree::Node;
use crate::config::context::Context;
use crate::config::read::{Duration, Read, keys};
use crate::config::window::{LateWord, late};
use crate::plan::pace::Dedupe;

use super::{By, key_parts};

keys! {
    /// Holds back events that repeat one before them. Of one key, those that go on are at least `within` apart in event
    /// time, in whatever order they come. Duplicates are counted.
    pub struct DedupeOptions as "dedupe" {
        /// What tells events apart: a field, a list of fields, or a map of names to expressions. Without it two events are
        /// the same when all their fields are equal, in any order. Null and missing are one key like any other.
        by: Option<By>,
        /// An event less than this before or after one that went on is a duplicate; at exactly this it goes on. A duplicate
        /// does not renew it. An event that is this far or further behind the watermark is late: whether it repeats another
        /// is no longer known.
        within: Duration,
        /// What becomes of a late event when nobody reads the step's `.late`. Default `dead_letter`.
        late: Option<LateWord>,
    }
    later []
}

/// The keys of a `dedupe`.
pub const KEYS: [&str; 3] = ["by", "within", "late"];

/// Reads a `dedupe`.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Dedupe> {
    let options = DedupeOptions::read(node, key, context)?;
    let within = options.within.positive("`within`", context);
    let by = key_parts(options.by, false, context);
    Some(Dedupe { by: by?, within: within?, late: late(options.late) })
}
