//! The connections of a run, as a table.

use crate::service::links::Told;

use super::table::{Align, table};

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
