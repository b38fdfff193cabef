//! What the suite has to know of a connector: how rows are given to it and where they come.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use crate::listening::Listening;

/// What a connector is like.
#[derive(Clone, Copy)]
pub struct Facts {
    /// It is a sink: rows are given to it by a file.
    pub sink: bool,
    /// Rows may be given before there is a connection: whoever has them keeps them.
    pub early: bool,
    /// A row comes once, whoever is killed; otherwise some come again.
    pub once: bool,
    /// Rows come in order, those that come again aside.
    pub ordered: bool,
    /// What is on its way when a connection ends may be lost with it.
    pub loses: bool,
    /// Rows that a case gives it to be cut in the middle of.
    pub many: usize,
}

/// A connector, and the one whom it talks to.
pub trait Rig: Sync {
    fn facts(&self) -> Facts;

    /// Where the other side listens; of a source that is sent to, where it listens itself.
    fn port(&self) -> u16;

    /// The connector in a pipeline, which finds the other side at `port`.
    fn entry(&self, port: u16) -> String;

    /// Gives rows of these numbers, of a source over the other side at `port`; comes back when that is done.
    fn give(&self, home: &Path, port: u16, numbers: Range<usize>);

    /// Numbers of the rows that have come, of a sink; those of a source are in the pipeline's output.
    fn came(&self) -> Vec<usize> {
        Vec::new()
    }

    /// How often the two have met, of a connector that holds a connection: rows that are given then come.
    fn met(&self, _: &Listening) -> usize {
        usize::MAX
    }

    /// Rows beyond what is on its way from a source to a sink.
    fn beyond(&self) -> usize {
        12_000
    }

    /// The other side goes.
    fn stop(&mut self);

    /// And is there again.
    fn again(&mut self);
}

/// A row of a quarter of a KiB.
pub fn row(number: usize) -> String {
    wide_row(number, 230)
}

/// A row of about so many bytes.
pub fn wide_row(number: usize, bytes: usize) -> String {
    format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(bytes))
}

/// The number of a row, which may have something before it.
pub fn number(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("{\"n\":")?;
    rest.split_once(',')?.0.parse().ok()
}

/// Adds rows to the file that sinks are given by.
pub fn append(home: &Path, numbers: Range<usize>) {
    append_rows(home, numbers.map(row));
}

/// Adds these rows to the file that a sink's rows come from.
pub fn append_rows(home: &Path, rows: impl Iterator<Item = String>) {
    let text = rows.fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{row}");
        text
    });
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(home.join("in.ndjson")).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}
