//! What connectors promise about events when a run is interrupted, as data.

use serde::{Deserialize, Serialize};

/// What a source does about events whose effect a crash undid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// They are still there, and read again.
    #[default]
    Seek,
    /// They are in the journal, and read from it again; whoever sent them was answered only when they were.
    Journal,
    /// They are in the journal when they are taken; until then nobody sends them again.
    Taken,
    /// They are gone.
    None,
}

/// How often a row that leaves by a sink has an effect there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Once, whatever happens.
    Once,
    /// At least once: after a crash those since the last checkpoint come again.
    Repeats,
}

/// What a sink promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// How often a row has an effect.
    pub effect: Effect,
    /// Why, in a sentence that begins with a verb: the sink is its subject.
    pub why: String,
    /// What would make it stronger, if anything, in a sentence.
    pub stronger: Option<String>,
    /// Whether rows leave before a checkpoint holds what they were made of.
    pub early: bool,
    /// Whether rows can join its output when the run is complete: nothing of it is final.
    pub grows: bool,
}

impl Promise {
    /// Each row has its effect once, and not before a checkpoint holds it.
    pub fn once(why: &str) -> Self {
        Promise { effect: Effect::Once, why: why.to_owned(), stronger: None, early: false, grows: false }
    }

    /// The same of a sink whose output is never final.
    #[must_use]
    pub fn grows(self) -> Self {
        Promise { grows: true, ..self }
    }
}
