//! `alert`: the state machine of each key, and what is told of its transitions to whom.

use super::{KeyPart, Template};
use crate::alert::machine::Rules;
use crate::alert::policy::Settings;
use crate::data::layout::FieldId;
use crate::expr::Expr;

/// The state machines of an alert.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// One machine a key; empty: one for all rows.
    pub by: Vec<KeyPart>,
    /// The conditions of each level of [`Rules`].
    pub levels: Vec<Conditions>,
    /// How machines go on.
    pub rules: Rules,
    /// Whether rows are judged as they come instead of by event time.
    pub by_arrival: bool,
    /// Keys at most; the rows of others fail.
    pub max_keys: usize,
    /// Whether the key that is well and has been quiet for longest makes room for another one.
    pub forgets_quiet: bool,
    /// What is said of a transition.
    pub says: Says,
    /// What windows write into their rows.
    pub window: WindowFields,
}

/// The conditions of a level.
#[derive(Clone, PartialEq, Debug)]
pub struct Conditions {
    /// When it is so.
    pub when: Expr,
    /// When it is over; `None`: when it is not so.
    pub clear: Option<Expr>,
}

/// Texts that are made of the row that was judged.
#[derive(Clone, PartialEq, Debug)]
pub struct Says {
    /// One line; `None`: the name of the alert and the key.
    pub title: Option<Template>,
    /// More.
    pub body: Option<Template>,
    /// Beside those that every alert has.
    pub labels: Vec<(String, Template)>,
    /// Where to look.
    pub links: Vec<(String, Template)>,
}

impl Says {
    /// Every template.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let named = self.labels.iter().chain(&self.links).map(|(_, template)| template);
        self.title.iter().chain(&self.body).chain(named)
    }
}

/// The fields that windows write beside their aggregates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WindowFields {
    /// `window_start`.
    pub start: FieldId,
    /// `window_end`.
    pub end: FieldId,
    /// `window_revision`.
    pub revision: FieldId,
    /// `window_early`.
    pub early: FieldId,
}

/// What is told of the transitions of all alerts of a pipeline, and whom.
#[derive(Clone, PartialEq, Debug)]
pub struct Notify {
    /// The policy; its receivers are the ports.
    pub settings: Settings,
    /// Whether time is that of the events, as in tests, and not the wall clock.
    pub virtual_time: bool,
}

/// The name of the entry that tells receivers of alerts; no author can write it.
pub const NOTIFIER: &str = "notifications";
/// The name that a transition has for the window's levels without `levels`.
pub const DEFAULT_SEVERITY: &str = "warning";
