//! What the log tells, changed while the process runs; and what is told of rows that went wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::observed::EntryCounts;

/// How often a pipeline's rows that went wrong are told of at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The levels of the log.
pub trait Levels: Send + Sync {
    /// As they were last set.
    fn get(&self) -> String;
    /// Sets them. The error is a sentence.
    fn set(&self, levels: &str) -> Result<(), String>;
}

/// What was told of rows that went wrong, by pipeline and entry.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<(String, String), Told>);

#[derive(Debug, Clone, Copy)]
struct Told {
    counts: [u64; 4],
    at: Instant,
}

/// What goes wrong with rows, by the words of the ledger.
const WRONG: [&str; 4] = ["late", "failed", "dropped", "dead"];

impl Rows {
    /// Tells of rows that went wrong since it was last told, if that is long enough ago.
    pub fn tell(&mut self, pipeline: &str, entries: &[EntryCounts], now: Instant) {
        for entry in entries {
            let counts = [entry.tally.late, entry.tally.failed, entry.tally.dropped, entry.tally.dead];
            let key = (pipeline.to_owned(), entry.entry.clone());
            if let Some(words) = self.grown(key, counts, now) {
                tracing::warn!(pipeline, entry = entry.entry, "rows went wrong: {words}");
            }
        }
    }

    /// What is new, in words: `3 late, 1 dead`.
    fn grown(&mut self, key: (String, String), counts: [u64; 4], now: Instant) -> Option<String> {
        let before = self.0.get(&key).copied();
        // A run that begins anew counts from the start.
        let began = before.is_some_and(|told| told.counts.iter().zip(counts).any(|(before, now)| *before > now));
        let told = before.filter(|_| !began).map_or([0; 4], |told| told.counts);
        if told == counts || before.is_some_and(|told| now.duration_since(told.at) < TELL_EVERY) {
            return None;
        }
        let grown = WRONG.iter().zip(told.iter().zip(counts)).filter(|(_, (before, now))| **before < *now);
        let words: Vec<String> = grown.map(|(word, (before, now))| format!("{} {word}", now - before)).collect();
        self.0.insert(key, Told { counts, at: now });
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Forgets pipelines that are gone.
    pub fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|(pipeline, _), _| is_there(pipeline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_told_now_and_then() {
        let (mut rows, began) = (Rows::default(), Instant::now());
        let mut new = |counts, seconds| {
            rows.grown(("p".to_owned(), "e".to_owned()), counts, began + Duration::from_secs(seconds))
        };
        assert_eq!(new([0, 0, 0, 0], 0), None);
        assert_eq!(new([2, 0, 0, 1], 1).as_deref(), Some("2 late, 1 dead"));
        assert_eq!(new([9, 0, 0, 1], 2), None, "too soon");
        assert_eq!(new([9, 3, 0, 1], 11).as_deref(), Some("7 late, 3 failed"));
        assert_eq!(new([9, 3, 0, 1], 30), None, "nothing new");
        assert_eq!(new([1, 0, 0, 0], 50).as_deref(), Some("1 late"), "it began anew");
    }
}
