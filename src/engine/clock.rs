//! Watermarks along a tick: exact at every row, whichever thread decoded it.

use crate::base::time::{TimeSpan, Timestamp};

/// How a watermark moves while the rows of one tick pass.
///
/// A row is judged against the watermark *before* its own ordinal; a step takes effect after the rows of its ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Before the first row.
    pub start: Timestamp,
    /// Ordinal and the watermark after it; both rise.
    pub steps: Vec<(u32, Timestamp)>,
}

impl Watermarks {
    /// A watermark that stands still.
    pub fn still(at: Timestamp) -> Self {
        Watermarks { start: at, steps: Vec::new() }
    }

    /// The same, so much behind. Before the first event and after the end there is nothing to be behind of.
    #[must_use]
    pub fn behind(&self, span: TimeSpan) -> Self {
        let steps = self.steps.iter().map(|(ordinal, at)| (*ordinal, at.minus(span))).collect();
        Watermarks { start: self.start.minus(span), steps }
    }

    /// After the last row.
    pub fn end(&self) -> Timestamp {
        self.steps.last().map_or(self.start, |(_, at)| *at)
    }

    /// The part whose steps lie in these ordinals.
    #[must_use]
    pub fn within(&self, ordinals: std::ops::Range<u32>) -> Self {
        let place = |ordinal: u32| self.steps.partition_point(|(step, _)| *step < ordinal);
        let (from, to) = (place(ordinals.start), place(ordinals.end));
        let start = from.checked_sub(1).and_then(|before| self.steps.get(before)).map_or(self.start, |(_, at)| *at);
        Watermarks { start, steps: self.steps.get(from..to).unwrap_or_default().to_vec() }
    }

    /// Adds a step if it moves the watermark. A second step of one ordinal replaces the first.
    pub fn advance(&mut self, ordinal: u32, to: Timestamp) {
        if to <= self.end() {
            return;
        }
        match self.steps.last_mut() {
            Some(last) if last.0 == ordinal => last.1 = to,
            _ => self.steps.push((ordinal, to)),
        }
    }
}
