//! The connections of a run: from the process that has them to whoever asks, as one line of JSON.

use serde::{Deserialize, Serialize};

use crate::connector::Link;

use super::table::{Align, table};
use crate::base::time::Timestamp;

/// The connections of a run, by entry.
pub type Links = Vec<(String, Link)>;

/// A connection as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// All that have something to tell, on one line.
pub fn line(links: &Links) -> String {
    let told: Vec<Told> = links.iter().filter_map(|(entry, link)| Some(told(entry, link.state()?))).collect();
    // Texts alone: this cannot fail.
    serde_json::to_string(&told).unwrap_or_default()
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

/// A table of them.
pub fn shown(links: &[Told]) -> String {
    let columns =
        [("connection", Align::Left), ("is", Align::Left), ("since", Align::Left), ("last heard", Align::Left)];
    let row = |told: &Told| {
        let is = if told.up { "up" } else { "down, tried again and again" };
        vec![
            told.entry.clone(),
            is.to_owned(),
            told.since.clone(),
            told.heard.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    table(&columns, &links.iter().map(row).collect::<Vec<_>>())
}
