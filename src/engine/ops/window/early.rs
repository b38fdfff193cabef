//! Early rows: which windows changed since their last row, and when those rows leave.
//!
//! They leave where the watermark passes a point of a grid of event time that lies inside the window, `start < point < end`,
//! and only if the window changed since its last row; the row's event time is just before that point. Points come in order
//! among the ends of windows, after those that are at the same instant, so that a watermark that takes one long step gives
//! the same rows as one that takes many. What the row says is what had arrived when the watermark passed the point: events
//! beyond it, up to `out_of_order` and more, are in it too.

use std::collections::{BTreeMap, HashMap};

use crate::plan::window::{Emit, Shape, Window};

use super::grid::{Grid, Pane, floor_to};

/// The points of event time at which rows may leave early.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    every: i64,
    offset: i64,
}

impl Points {
    /// Those of a window, if its rows may leave early: aligned to the Unix epoch and moved like its windows.
    pub fn of(window: &Window) -> Option<Self> {
        let Emit::Every(every) = window.emit else { return None };
        let offset = match &window.shape {
            Shape::Tumbling { offset, .. } | Shape::Sliding { offset, .. } => offset.0,
            Shape::Session { .. } | Shape::Count { .. } | Shape::Calendar { .. } => 0,
        };
        let every = every.0.max(1);
        Some(Points { every, offset: offset.rem_euclid(every) })
    }

    /// The first point above `at`.
    #[inline]
    pub fn after(self, at: i64) -> i64 {
        floor_to(at, self.every, self.offset).saturating_add(self.every)
    }
}

/// A pane of a key that changed, as it is stored: the point at which the queue looks at it, the pane's start, and the start
/// below which the windows over the pane have left since.
pub(super) type StoredChange = (i64, i64, i64);

/// The changed panes of all keys.
///
/// An event changes every window over its pane; a window whose start is yet to come leaves at a later point than the
/// others. So a pane stays here until the last of its windows has left, with the start up to which they have.
#[derive(Debug)]
pub(super) struct EarlyPanes {
    points: Points,
    /// By point and pane: keys, and the start below which windows have left.
    queue: BTreeMap<(i64, i64), HashMap<u32, i64>>,
}

impl EarlyPanes {
    pub fn new(points: Points) -> Self {
        EarlyPanes { points, queue: BTreeMap::new() }
    }

    /// A pane of a key changed. Returns the point that it waits for.
    pub fn changed(&mut self, pane: &Pane, id: u32, watermark: i64) -> Option<i64> {
        let point = self.points.after(watermark.max(pane.first_window_start));
        (point < pane.last_window_end).then(|| {
            self.queue.entry((point, pane.start)).or_default().insert(id, i64::MIN);
            point
        })
    }

    /// The next point that something waits for.
    pub fn next(&self) -> Option<i64> {
        self.queue.keys().next().map(|(point, _)| *point)
    }

    /// The keys with a pane that waits for a point.
    pub fn waiting(&self, point: i64) -> Vec<u32> {
        self.queue.range((point, i64::MIN)..=(point, i64::MAX)).flat_map(|(_, keys)| keys.keys().copied()).collect()
    }

    /// What waits for a point no longer does: the changed windows that it lies in, by end, with their keys. `pane_of` finds
    /// a pane by its start.
    pub fn take(&mut self, point: i64, grid: &Grid, pane_of: impl Fn(i64) -> Option<Pane>) -> BTreeMap<i64, Vec<u32>> {
        let mut windows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        let open = grid.first_open(point);
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 == point) {
            let ((_, start), keys) = entry.remove_entry();
            let Some(pane) = pane_of(start) else { continue };
            let later = grid.next_start(&pane, point).map(|start| self.points.after(start));
            let later = later.filter(|later| *later < pane.last_window_end);
            for (id, left) in keys {
                let mut next = grid.next_start(&pane, left.max(open));
                while let Some(start) = next.filter(|start| *start < point) {
                    let end = grid.end_of(&pane, start);
                    if end > point {
                        windows.entry(end).or_default().push(id);
                    }
                    next = grid.next_start(&pane, start.saturating_add(1));
                }
                if let Some(later) = later {
                    self.queue.entry((later, pane.start)).or_default().insert(id, point);
                }
            }
        }
        windows
    }

    /// The changed panes of a key.
    pub fn of_key(&self, id: u32) -> Vec<StoredChange> {
        let of_key = |(at, keys): (&(i64, i64), &HashMap<u32, i64>)| keys.get(&id).map(|left| (at.0, at.1, *left));
        self.queue.iter().filter_map(of_key).collect()
    }

    /// Takes back a changed pane of a key.
    pub fn restore(&mut self, id: u32, (point, pane, left): StoredChange) {
        self.queue.entry((point, pane)).or_default().insert(id, left);
    }
}
