//! How far the watermark of each set of sources is: as it was handed on, and along the tick in the making.

use crate::base::time::Timestamp;

use super::clock::Watermarks;

/// The watermarks of the sets.
#[derive(Debug)]
pub(super) struct Reached {
    /// For each reader the sources that its watermark depends on.
    pub(super) sets: Vec<Vec<usize>>,
    /// The watermark of each set as handed on.
    pub(super) current: Vec<Timestamp>,
    /// For each set whose partitions are all idle, the wall clock up to which its watermark has gone on.
    pub(super) passed_to: Vec<Option<Timestamp>>,
    /// Along the tick in the making.
    along: Vec<Watermarks>,
}

impl Reached {
    /// Nothing has come yet.
    pub(super) fn new(sets: Vec<Vec<usize>>) -> Self {
        let current = vec![Timestamp::MIN; sets.len()];
        let along = current.iter().map(|at| Watermarks::still(*at)).collect();
        Reached { passed_to: vec![None; sets.len()], sets, current, along }
    }

    /// The watermark of a set.
    pub(super) fn at(&self, set: usize) -> Timestamp {
        self.current.get(set).copied().unwrap_or(Timestamp::MIN)
    }

    /// The sources of a set.
    pub(super) fn sources(&self, set: usize) -> &[usize] {
        self.sets.get(set).map_or(&[], Vec::as_slice)
    }

    /// A set goes on from here, before the first row.
    pub(super) fn begin(&mut self, set: usize, at: Timestamp) {
        if let (Some(current), Some(along)) = (self.current.get_mut(set), self.along.get_mut(set)) {
            *current = at;
            *along = Watermarks::still(at);
        }
    }

    /// After a row of the tick a set's watermark is here, unless it is further already.
    pub(super) fn advance(&mut self, set: usize, ordinal: u32, to: Timestamp) {
        if let (Some(current), Some(along)) = (self.current.get_mut(set), self.along.get_mut(set)) {
            along.advance(ordinal, to);
            *current = along.end();
        }
    }

    /// One of these sets' partitions has brought something: its clock is its data again.
    pub(super) fn wake(&mut self, sets: &[usize]) {
        for set in sets {
            if let Some(passed_to) = self.passed_to.get_mut(*set) {
                *passed_to = None;
            }
        }
    }

    /// Ends the tick in the making: how each watermark moved along it.
    pub(super) fn cut(&mut self) -> Vec<Option<Watermarks>> {
        let next = self.current.iter().map(|at| Watermarks::still(*at)).collect();
        std::mem::replace(&mut self.along, next).into_iter().map(Some).collect()
    }
}
