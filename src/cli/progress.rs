//! What a run shows on a terminal while it goes on: one line, written over itself.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::base::time::{TimeSpan, Timestamp};
use crate::engine::run::{Handle, wall_clock};
use crate::plan::{NodeKind, Plan};

/// How often the line is written anew.
pub const EVERY: Duration = Duration::from_millis(200);

/// The line under a running pipeline. On anything but a terminal it is nothing.
pub struct Progress {
    shown: bool,
    started: Instant,
    last: Option<(Instant, u64)>,
    rate: f64,
    live: bool,
    /// By node: whether it is a source.
    sources: Vec<bool>,
}

impl Progress {
    /// For a pipeline. Nothing is shown where rows go to the same terminal: they would tear the line apart.
    pub fn new(plan: &Plan) -> Self {
        let prints = |kind: &NodeKind| matches!(kind, NodeKind::Sink(s) if s.connector == "stdout");
        let to_terminal = plan.nodes.iter().any(|n| prints(&n.kind)) && std::io::stdout().is_terminal();
        Progress {
            shown: std::io::stderr().is_terminal() && !to_terminal,
            started: Instant::now(),
            last: None,
            rate: 0.0,
            live: plan.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Source(s) if !s.bounded)),
            sources: plan.nodes.iter().map(|n| matches!(n.kind, NodeKind::Source(_))).collect(),
        }
    }

    /// Writes the line as things stand.
    pub fn show(&mut self, handle: &Handle) {
        if !self.shown {
            return;
        }
        let entries = handle.entries();
        let of_sources = entries.iter().zip(&self.sources).filter(|(_, source)| **source);
        let rows: u64 = of_sources.map(|(e, _)| e.tally.taken).sum();
        let now = Instant::now();
        let (since, before) = self.last.unwrap_or((self.started, 0));
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 {
            let rate = rows.saturating_sub(before) as f64 / seconds;
            // Smoothed, so that the number can be read.
            self.rate = if self.last.is_none() { rate } else { 0.7 * self.rate + 0.3 * rate };
        }
        self.last = Some((now, rows));
        let late: u64 = entries.iter().map(|e| e.tally.late).sum();
        let failed: u64 = entries.iter().map(|e| e.tally.failed).sum();
        let mut line = format!("{} rows  {}/s", count(rows), count(self.rate as u64));
        let watermark = handle.watermark();
        if watermark.is_event_time() {
            line.push_str(&format!("  watermark {}", Timestamp(watermark.0 / 1_000_000 * 1_000_000)));
            if self.live {
                let lag = TimeSpan((wall_clock().0 - watermark.0) / 1_000_000 * 1_000_000);
                line.push_str(&format!("  lag {lag}"));
            }
        }
        line.push_str(&format!("  late {}  errors {}", count(late), count(failed)));
        let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    /// How long the run has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A number in groups of three digits.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(super::count), ["0", "999", "1,000", "1,234,567"]);
    }
}
