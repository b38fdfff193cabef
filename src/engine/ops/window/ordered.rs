//! The numbers of keys in the order in which their rows leave. New ones are sorted in runs while they come, and runs are
//! merged only as far as they are asked for: the windows of a million keys that close at once wait for no sorting of all.

use std::cmp::Ordering;

/// Numbers that are sorted at once: some milliseconds.
const RUN: usize = if cfg!(debug_assertions) { 4 } else { 8_192 };

/// Numbers, sorted as far as was asked for.
#[derive(Debug, Default)]
pub struct Order {
    /// In order; may hold `dead` ones.
    sorted: Vec<u32>,
    /// What follows in order is still in these, each with its least number at its end; the run whose end is least is last.
    merging: Vec<Vec<u32>>,
    /// Came since, sorted like those.
    runs: Vec<Vec<u32>>,
    /// Came last.
    fresh: Vec<u32>,
    dead: Vec<u32>,
}

impl Order {
    /// A number that is not there.
    pub fn add(&mut self, id: u32, compare: &impl Fn(u32, u32) -> Ordering) {
        self.fresh.push(id);
        if self.fresh.len() >= RUN {
            self.end_run(compare);
        }
    }

    /// A number that is there is so no longer. It must not come again before [`Order::begin`] gave it back.
    pub fn remove(&mut self, id: u32) {
        self.dead.push(id);
    }

    fn end_run(&mut self, compare: &impl Fn(u32, u32) -> Ordering) {
        let mut run = std::mem::take(&mut self.fresh);
        run.sort_unstable_by(|a, b| compare(*b, *a));
        self.runs.push(run);
    }

    /// From here on all that are there come in order. `numbers` are above all of them; gives back those that were removed.
    pub fn begin(&mut self, numbers: usize, compare: &impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
        self.merge(usize::MAX, compare);
        let dead = std::mem::take(&mut self.dead);
        if !dead.is_empty() {
            let mut alive = vec![true; numbers];
            for id in &dead {
                if let Some(flag) = alive.get_mut(*id as usize) {
                    *flag = false;
                }
            }
            let lists = [&mut self.sorted, &mut self.fresh].into_iter().chain(&mut self.runs);
            lists.for_each(|list| list.retain(|id| alive.get(*id as usize).copied().unwrap_or(false)));
        }
        if !self.fresh.is_empty() {
            self.end_run(compare);
        }
        self.runs.retain(|run| !run.is_empty());
        let total = self.sorted.len() + self.runs.iter().map(Vec::len).sum::<usize>();
        if self.runs.is_empty() {
            return dead;
        }
        if total <= RUN {
            // The sort finds what is sorted already.
            self.runs.drain(..).for_each(|run| self.sorted.extend(run.into_iter().rev()));
            self.sorted.sort_by(|a, b| compare(*a, *b));
            return dead;
        }
        let mut sorted = std::mem::replace(&mut self.sorted, Vec::with_capacity(total));
        sorted.reverse();
        self.merging = std::mem::take(&mut self.runs);
        self.merging.extend((!sorted.is_empty()).then_some(sorted));
        self.merging.sort_by(|a, b| heads(b, a, compare));
        dead
    }

    /// Those from the place `from` on, at most so many; fewer are all that there are.
    pub fn get(&mut self, from: usize, most: usize, compare: &impl Fn(u32, u32) -> Ordering) -> &[u32] {
        let to = from.saturating_add(most);
        self.merge(to, compare);
        self.sorted.get(from..to.min(self.sorted.len())).unwrap_or_default()
    }

    /// Merges until so many are in order.
    fn merge(&mut self, count: usize, compare: &impl Fn(u32, u32) -> Ordering) {
        while self.sorted.len() < count
            && let Some(mut run) = self.merging.pop()
        {
            self.sorted.extend(run.pop());
            while self.sorted.len() < count
                && self.merging.last().is_none_or(|next| heads(&run, next, compare).is_lt())
                && let Some(id) = run.pop()
            {
                self.sorted.push(id);
            }
            if !run.is_empty() {
                let at = self.merging.partition_point(|other| heads(other, &run, compare).is_gt());
                self.merging.insert(at, run);
            }
        }
    }
}

/// The order of the least numbers of two runs; a run without any is the greatest.
fn heads(a: &[u32], b: &[u32], compare: &impl Fn(u32, u32) -> Ordering) -> Ordering {
    match (a.last(), b.last()) {
        (Some(a), Some(b)) => compare(*a, *b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_in_order_however_they_are_asked_for(
            turns in proptest::collection::vec((proptest::collection::vec(0u32..200, 0..30), 1usize..9), 1..6)
        ) {
            let (mut order, mut there) = (Order::default(), std::collections::BTreeSet::new());
            // Not the order of the numbers themselves.
            let key = |id: u32| (id % 7, id);
            let compare = |a: u32, b: u32| key(a).cmp(&key(b));
            for (ids, step) in turns {
                let mut free = order.begin(200, &compare);
                let mut all: Vec<u32> = Vec::new();
                loop {
                    let next = order.get(all.len(), step, &compare).to_vec();
                    all.extend(&next);
                    if next.len() < step {
                        break;
                    }
                }
                let mut expected: Vec<u32> = there.iter().copied().collect();
                expected.sort_by(|a, b| compare(*a, *b));
                prop_assert_eq!(all, expected);
                free.clear();
                let mut gone = std::collections::BTreeSet::new();
                for id in ids {
                    if there.remove(&id) {
                        order.remove(id);
                        gone.insert(id);
                    } else if !gone.contains(&id) {
                        there.insert(id);
                        order.add(id, &compare);
                    }
                }
            }
        }
    }
}
