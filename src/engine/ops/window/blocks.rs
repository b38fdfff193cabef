//! Panes merged ahead in blocks: a window of thousands of panes is answered from some dozens of parts instead of from each
//! pane anew.
//!
//! A block is a stretch of time that is fixed like the panes, the square root of a window's panes long. A window takes
//! the blocks that lie in it whole, and at both ends panes: its parts depend on nothing but where it lies, so that its
//! result is the same after a restart, where blocks are made again.

use std::collections::HashMap;

use super::accumulate::Accumulators;
use super::grid::{Grid, floor_to};

/// Windows of fewer panes are merged pane by pane.
const PANES: i64 = 128;

/// The blocks of every key that were made and have not changed since.
pub(super) struct Blocks {
    /// Microseconds of a block.
    length: i64,
    offset: i64,
    /// The slot of a block by key and start.
    made: HashMap<(u32, i64), u32>,
}

impl Blocks {
    /// For these windows; `None` where they are made of few panes.
    pub fn of(grid: &Grid) -> Option<Blocks> {
        let Grid::Even { size, offset, pane, .. } = grid else { return None };
        let panes = size / pane;
        (panes >= PANES).then(|| Blocks {
            length: panes.isqrt().saturating_mul(*pane),
            offset: *offset,
            made: HashMap::new(),
        })
    }

    fn start_of(&self, pane: i64) -> i64 {
        floor_to(pane, self.length, self.offset)
    }

    /// Forgets a block of a key, one of whose panes changes or goes.
    #[inline]
    pub fn changed(&mut self, id: u32, pane: i64, accumulators: &mut Accumulators) {
        if let Some(slot) = self.made.remove(&(id, self.start_of(pane))) {
            accumulators.give_back(slot);
        }
    }

    /// Adds the slots that a window of a key is answered from, in order of time; `panes` are those of the window.
    pub fn parts(
        &mut self,
        id: u32,
        panes: &[(i64, u32)],
        window: (i64, i64),
        accumulators: &mut Accumulators,
        out: &mut Vec<u32>,
    ) {
        let mut rest = panes;
        while let Some((first, _)) = rest.first() {
            let start = self.start_of(*first);
            let end = start.saturating_add(self.length);
            let (block, behind) = rest.split_at(rest.partition_point(|(pane, _)| *pane < end));
            rest = behind;
            if block.len() < 2 || start < window.0 || end > window.1 {
                out.extend(block.iter().map(|(_, slot)| *slot));
                continue;
            }
            let slot = self.made.entry((id, start)).or_insert_with(|| {
                let whole = accumulators.allocate();
                block.iter().for_each(|(_, slot)| accumulators.take_in(whole, *slot));
                whole
            });
            out.push(*slot);
        }
    }
}
