//! Steps that let only so many rows of a key through in a span of event time, as pure data.
//!
//! Both keep to one rule: of the rows of a key that go on, no more than a number lie less than a span apart, in whatever
//! order they come. For `dedupe` that number is one.

use crate::base::time::TimeSpan;

use super::KeyPart;
use super::window::Late;

/// A `dedupe` step: rows of one key that go on are at least `within` apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Dedupe {
    /// The key; empty is the whole event.
    pub by: Vec<KeyPart>,
    /// A row less than this before or after one that went on is a duplicate.
    pub within: TimeSpan,
    /// What becomes of a late row when nobody reads `.late`.
    pub late: Late,
}

/// A `throttle` step: of one key, at most `limit` rows go on in any span of `per`.
#[derive(Clone, PartialEq, Debug)]
pub struct Throttle {
    /// The key; empty is all rows together.
    pub by: Vec<KeyPart>,
    /// How many rows.
    pub limit: usize,
    /// In how long.
    pub per: TimeSpan,
    /// What becomes of a late row when nobody reads `.late`.
    pub late: Late,
}

/// The port on which the rows that a `throttle` holds back can be read.
pub const THROTTLED: &str = "throttled";
