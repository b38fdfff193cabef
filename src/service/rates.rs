//! How fast rows come: counts that are looked at now and then, and how much they have grown over the last few seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Over how long rates are measured.
const OVER: Duration = Duration::from_secs(10);

/// Counts of pipelines, by name.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<String, VecDeque<(Instant, u64)>>>);

impl Rates {
    /// Looks at the counts of all pipelines that run.
    pub fn look(&self, counts: impl Iterator<Item = (String, u64)>, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *all);
        for (id, count) in counts {
            let mut of = before.remove(&id).unwrap_or_default();
            // A run that begins anew counts from the start.
            if of.back().is_some_and(|(_, last)| *last > count) {
                of.clear();
            }
            of.push_back((now, count));
            while of.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= OVER) {
                of.pop_front();
            }
            all.insert(id, of);
        }
    }

    /// The count of a pipeline when it was last looked at; 0 of one that does not run.
    pub fn last(&self, id: &str) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).and_then(|of| of.back()).map_or(0, |(_, count)| *count)
    }

    /// Rows a second of a pipeline; 0 of one that does not run.
    pub fn of(&self, id: &str) -> f64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((first, last)) = all.get(id).and_then(|of| Some((of.front()?, of.back()?))) else { return 0.0 };
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        if seconds > 0.0 { (last.1 - first.1) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_the_last_seconds() {
        let (rates, began) = (Rates::default(), Instant::now());
        for second in 0..30u64 {
            let rows = if second < 15 { second * 100 } else { 1_500 };
            rates.look([("a".to_owned(), rows)].into_iter(), began + Duration::from_secs(second));
            match second {
                0 => assert_eq!(rates.of("a"), 0.0),
                5..15 => assert_eq!(rates.of("a"), 100.0),
                25.. => assert_eq!(rates.of("a"), 0.0),
                _ => {}
            }
        }
        rates.look([("a".to_owned(), 3)].into_iter(), began + Duration::from_secs(30));
        assert_eq!(rates.of("a"), 0.0, "it began anew");
        rates.look(std::iter::empty(), began + Duration::from_secs(31));
        assert_eq!(rates.of("a"), 0.0);
    }
}
