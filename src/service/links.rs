//! The connections of a run: from the process that has them to whoever asks, as one line of JSON.

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;
use crate::connector::Link;

/// The connections of a run, by entry.
pub type Links = Vec<(String, Link)>;

/// A connection as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Told {
    /// The source or sink.
    pub entry: String,
    /// Whether it is connected.
    pub up: bool,
    /// Since when, RFC 3339.
    pub since: String,
    /// When something last came or was taken, RFC 3339.
    #[serde(default)]
    pub heard: Option<String>,
}

/// All that have something to tell.
pub fn told_of(links: &Links) -> Vec<Told> {
    links.iter().filter_map(|(entry, link)| Some(told(entry, link.state()?))).collect()
}

/// The same on one line.
pub fn line(links: &Links) -> String {
    // Texts alone: this cannot fail.
    serde_json::to_string(&told_of(links)).unwrap_or_default()
}

fn told(entry: &str, state: crate::connector::LinkState) -> Told {
    Told {
        entry: entry.to_owned(),
        up: state.up,
        since: Timestamp(state.since).to_string(),
        heard: state.heard.map(|at| Timestamp(at).to_string()),
    }
}

/// What was told; nothing if it cannot be read, which is another version's.
pub fn read(line: &str) -> Vec<Told> {
    serde_json::from_str(line).unwrap_or_default()
}
