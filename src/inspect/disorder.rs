//! How far times are out of order, measured exactly: every event's lag behind the greatest time before it.

use crate::base::time::Timestamp;

/// Measures times in the order in which they come.
#[derive(Clone, Debug, Default)]
pub struct Disorder {
    events: u64,
    first: Option<i64>,
    least: i64,
    greatest: i64,
    /// The lags of those that came behind a later one, microseconds.
    lags: Vec<i64>,
    /// How far the greatest time went on with each event that moved it.
    steps: Vec<i64>,
    /// The greatest of those, and the time that it began at.
    gap: (i64, i64),
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Times.
    pub events: u64,
    /// The least and the greatest time.
    pub span: (Timestamp, Timestamp),
    /// The step from one time to the next later one that half of all steps are no longer than; microseconds.
    pub step: i64,
    /// The longest step, and where it began.
    pub gap: (i64, Timestamp),
    /// The lags above zero, ascending; microseconds.
    pub lags: Vec<i64>,
}

impl Disorder {
    /// The next event's time.
    pub fn add(&mut self, at: Timestamp) {
        let at = at.0;
        self.events += 1;
        if self.first.is_none() {
            (self.first, self.least, self.greatest) = (Some(at), at, at);
            return;
        }
        self.least = self.least.min(at);
        let lag = self.greatest - at;
        if lag > 0 {
            self.lags.push(lag);
        } else if lag < 0 {
            self.steps.push(-lag);
            if -lag > self.gap.0 {
                self.gap = (-lag, self.greatest);
            }
            self.greatest = at;
        }
    }

    /// What came of it; `None` without a single time.
    pub fn measured(mut self) -> Option<Measured> {
        self.first?;
        self.lags.sort_unstable();
        let middle = self.steps.len().saturating_sub(1) / 2;
        let step = if self.steps.is_empty() { 0 } else { *self.steps.select_nth_unstable(middle).1 };
        Some(Measured {
            events: self.events,
            span: (Timestamp(self.least), Timestamp(self.greatest)),
            step,
            gap: (self.gap.0, Timestamp(self.gap.1)),
            lags: self.lags,
        })
    }
}

/// Bounds of the histogram and values that are tried for `out_of_order`: seconds.
const BOUNDS: [f64; 20] = [
    0.001, 0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    21_600.0, 43_200.0, 86_400.0,
];

impl Measured {
    /// The greatest lag: the least `out_of_order` with which nothing is late.
    pub fn most(&self) -> i64 {
        self.lags.last().copied().unwrap_or(0)
    }

    /// The lag that so many parts in 1,000 of all events do not exceed (nearest rank).
    pub fn quantile(&self, per_mille: u64) -> i64 {
        let rank = (self.events * per_mille).div_ceil(1_000).max(1);
        let in_order = self.events - self.lags.len() as u64;
        let at = rank.checked_sub(in_order + 1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.lags.get(at)).copied().unwrap_or(0)
    }

    /// How many events would come too late.
    pub fn late(&self, out_of_order: i64) -> u64 {
        (self.lags.len() - self.lags.partition_point(|lag| *lag <= out_of_order)) as u64
    }

    /// The least round length at or above the greatest lag, microseconds: whole days where it is more than one.
    pub fn enough(&self) -> i64 {
        let most = self.most();
        if most == 0 {
            return 0;
        }
        let day = 86_400_000_000;
        bounds().find(|bound| *bound >= most).unwrap_or_else(|| (most + day - 1) / day * day)
    }

    /// Round lengths below that and above the least lag, each with how many would be late; zero is the first.
    pub fn choices(&self) -> Vec<(i64, u64)> {
        let least = self.lags.first().copied().unwrap_or(0);
        let enough = self.enough();
        let between = bounds().filter(|bound| *bound >= least && *bound < enough);
        let all: Vec<i64> = std::iter::once(0).chain(between).chain((enough > 0).then_some(enough)).collect();
        all.into_iter().map(|bound| (bound, self.late(bound))).collect()
    }

    /// How many lags are at most each bound and above the one before; the first bar is those in order.
    pub fn bars(&self) -> Vec<(i64, u64)> {
        let mut bars = vec![(0, self.events - self.lags.len() as u64)];
        let mut counted = 0;
        for (bound, late) in self.choices().into_iter().skip(1) {
            let up_to = self.lags.len() as u64 - late;
            bars.push((bound, up_to - counted));
            counted = up_to;
        }
        bars
    }
}

fn bounds() -> impl Iterator<Item = i64> {
    BOUNDS.iter().map(|seconds| (seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measured(times: &[i64]) -> Measured {
        let mut disorder = Disorder::default();
        times.iter().for_each(|t| disorder.add(Timestamp(*t)));
        disorder.measured().unwrap()
    }

    #[test]
    fn lags_are_behind_the_greatest_time_before() {
        let second = 1_000_000;
        let m = measured(&[0, 10, 4, 9, 20, 20, 13].map(|s| s * second));
        assert_eq!(m.lags, [1, 6, 7].map(|s| s * second));
        assert_eq!((m.most(), m.enough()), (7 * second, 10 * second));
        assert_eq!(m.choices(), [(0, 3), (second, 2), (2 * second, 2), (5 * second, 2), (10 * second, 0)]);
        assert_eq!(m.bars(), [(0, 4), (second, 1), (2 * second, 0), (5 * second, 0), (10 * second, 2)]);
        assert_eq!([m.quantile(500), m.quantile(900), m.quantile(1000)], [0, 7 * second, 7 * second]);
        assert_eq!((m.step, m.gap), (10 * second, (10 * second, Timestamp(0))));
        assert!(Disorder::default().measured().is_none());
    }

    proptest! {
        #[test]
        fn every_event_is_counted_once(times in prop::collection::vec(-200_000_000i64..200_000_000, 1..60)) {
            let m = measured(&times);
            let mut greatest = times[0];
            let mut lags: Vec<i64> = Vec::new();
            for t in &times {
                lags.push(greatest.max(*t) - t);
                greatest = greatest.max(*t);
            }
            lags.sort_unstable();
            for (bound, late) in m.choices() {
                prop_assert_eq!(late, lags.iter().filter(|lag| **lag > bound).count() as u64);
            }
            prop_assert_eq!(m.bars().iter().map(|(_, n)| n).sum::<u64>(), times.len() as u64);
            prop_assert_eq!(m.late(m.enough()), 0);
            for per_mille in [1, 500, 900, 990, 999, 1000] {
                let rank = (times.len() * per_mille).div_ceil(1000).max(1);
                prop_assert_eq!(m.quantile(per_mille as u64), lags[rank - 1]);
            }
        }
    }
}
