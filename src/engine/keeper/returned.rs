//! What came back to sinks, as a state database keeps it: under which numbers, up to where it was taken in, and what becomes of
//! it where nobody takes it in any more.

use crate::connector::Refused;
use crate::engine::epoch::{Epoch, ReturnedRows};
use crate::engine::partition::PartitionState;
use crate::engine::returned::PARTITION;
use crate::engine::run::wall_clock;
use crate::plan::{NodeId, Port};
use crate::store::rows::ReturnedRow;
use crate::store::state::ReturnedReader;

use super::StateKeeper;

/// A sink that rows come back to.
pub(super) struct Returning {
    pub(super) node: NodeId,
    /// The number of the next row.
    pub(super) next: u64,
}

impl StateKeeper {
    /// What came back to sinks and that nobody takes in any more: how many rows, by sink. They are dead letters now.
    pub fn unread(&self) -> &[(String, u64)] {
        &self.unread
    }

    /// Finds the numbers of the rows that come back to sinks next, where the run goes on. Those that nobody takes in any more
    /// become dead letters.
    pub(super) fn come_back(&mut self, resumed: bool) -> Result<(), String> {
        let takes = resumed && !self.finishing;
        let names: Vec<String> = self.returning.iter().filter(|_| takes).map(|of| self.name(of.node)).collect();
        let read: Vec<&str> = names.iter().map(String::as_str).collect();
        self.unread = self.file.unread(&read, wall_clock().0).map_err(|e| e.message)?;
        for (of, name) in self.returning.iter_mut().zip(&names) {
            let key = (format!("{name}{}", Port::Errors), PARTITION.to_owned());
            let stood = self.partitions.get(&key).map_or(0, |row| row.position);
            of.next = stood.max(self.file.returned_end(name).unwrap_or(0));
        }
        for (sink, rows) in &self.unread {
            let node = self.entries.iter().position(|name| name == sink);
            if let Some(total) = node.and_then(|node| self.totals.get_mut(node)).filter(|_| resumed) {
                total.dead += rows;
            }
        }
        match self.file.kept().map(|kept| kept.status).filter(|_| resumed && !self.unread.is_empty()) {
            Some(status) => self.mark(status, Some(Epoch::default())),
            None => Ok(()),
        }
    }

    /// Rows that come back to sinks, under their numbers.
    pub(super) fn returned(&mut self, rows: Vec<(NodeId, Refused)>) -> Vec<ReturnedRow> {
        let mut all = Vec::with_capacity(rows.len());
        for (node, row) in rows {
            let sink = self.name(node);
            let Some(of) = self.returning.iter_mut().find(|of| of.node == node) else { continue };
            all.push(ReturnedRow {
                sink,
                number: of.next,
                time: row.time.is_event_time().then_some(row.time.0),
                reason: row.reason,
                json: row.json,
                original: row.text.strip_suffix(b"\n").unwrap_or(&row.text).to_vec(),
            });
            of.next += 1;
        }
        all
    }

    /// Up to where what came back to sinks was taken in.
    pub(super) fn taken_in(&self, states: &[PartitionState]) -> Vec<(String, u64)> {
        let first = self.sources.len() - self.returning.len();
        let of = |state: &PartitionState| self.returning.get(state.source.checked_sub(first)?).map(|of| of.node);
        states.iter().filter_map(|state| Some((self.name(of(state)?), state.position))).collect()
    }

    /// Reads the rows that come back to a sink beside this, if it takes any in.
    pub(super) fn returned_reader(&self, sink: NodeId) -> Result<Option<Box<dyn ReturnedRows>>, String> {
        // Of a run whose input was all taken only the output is not final yet.
        if self.finishing {
            return Ok(None);
        }
        let rows = self.file.returned_reader().map_err(|e| e.message)?;
        Ok(Some(Box::new(Rows { rows, sink: self.name(sink) })))
    }
}

/// The rows that come back to a sink, read beside the keeper.
struct Rows {
    rows: ReturnedReader,
    sink: String,
}

impl ReturnedRows for Rows {
    fn read(&mut self, from: u64) -> Result<Vec<ReturnedRow>, String> {
        self.rows.read(&self.sink, from).map_err(|e| e.message)
    }
}
