//! What happens as the watermark moves: windows close, early rows leave between them, panes are forgotten. It happens in
//! slices of so many keys, so that the windows of a million keys do not leave as one batch.

use std::collections::VecDeque;

use super::{Leaving, Panes};
use crate::base::limit::CLOSED_KEYS;
use crate::engine::ops::TickInput;
use crate::engine::ops::window::early::EarlyPanes;
use crate::engine::ops::window::emit::{Cause, Emitter};
use crate::engine::ops::window::grid::Pane;

/// A step of the watermark, on its way.
pub(super) struct Advancing {
    cause: Cause,
    to: i64,
    /// The end of the last window that closed.
    closed: i64,
    /// Rows that leave next, of these keys in order, or of all that there are.
    leaving: VecDeque<(Leaving, Option<Vec<u32>>)>,
    /// Of the first of them, how many keys were gone through.
    gone: usize,
    /// Nothing more leaves.
    passed: bool,
    /// What a pane that takes no more rows is to be forgotten of.
    forgetting: Option<(Pane, Vec<u32>)>,
}

impl Panes {
    /// Moves the watermark: closes windows in order of their ends, early rows between them, then forgets what takes no more
    /// rows. False if there is more of that to do.
    #[inline]
    pub(super) fn advance(&mut self, ordinal: u32, to: i64, input: &TickInput<'_>, emitter: &mut Emitter) -> bool {
        if to <= self.watermark {
            return true;
        }
        if to < self.next_event {
            self.watermark = to;
            return true;
        }
        self.flush(input);
        self.advancing = Some(Box::new(Advancing {
            cause: Cause { ordinal, turn: input.turn_after(ordinal) },
            to,
            closed: self.watermark,
            leaving: VecDeque::new(),
            gone: 0,
            passed: false,
            forgetting: None,
        }));
        self.go_on(emitter)
    }

    /// Goes on with what happens as the watermark moves; false if there is more.
    #[inline(never)]
    pub(super) fn go_on(&mut self, emitter: &mut Emitter) -> bool {
        let Some(mut advancing) = self.advancing.take() else { return true };
        let mut keys = CLOSED_KEYS;
        if !self.leave(&mut advancing, &mut keys, emitter) || !self.forget(&mut advancing, &mut keys) {
            self.advancing = Some(advancing);
            return false;
        }
        let close = self.next_close(advancing.to);
        let gone = self.filled.values().next().map(|first| self.gone(&first.pane));
        let point = self.contents.early.as_ref().and_then(EarlyPanes::next);
        self.next_event = [close, gone, point].into_iter().flatten().min().unwrap_or(i64::MAX);
        true
    }

    /// Goes through so many keys of windows that close, and of early rows between them; false if there are more.
    fn leave(&mut self, advancing: &mut Advancing, keys: &mut usize, emitter: &mut Emitter) -> bool {
        let Advancing { cause, to, .. } = *advancing;
        while !advancing.passed {
            while let Some((window, ids)) = advancing.leaving.front() {
                if *keys == 0 {
                    return false;
                }
                let next: Vec<u32> = match ids {
                    None => self.keys.in_order(advancing.gone, *keys).to_vec(),
                    Some(ids) => ids.iter().copied().skip(advancing.gone).take(*keys).collect(),
                };
                self.emit(window, &next, emitter);
                if next.len() < *keys {
                    advancing.leaving.pop_front();
                    advancing.gone = 0;
                } else {
                    advancing.gone += next.len();
                }
                *keys -= next.len();
            }
            let end = self.next_close(advancing.closed).filter(|end| *end <= to);
            let point = self.contents.early.as_ref().and_then(EarlyPanes::next).filter(|point| *point <= to);
            match (end, point) {
                (Some(end), point) if point.is_none_or(|point| end <= point) => {
                    let start = self.grid.start_of(end);
                    let window = Leaving { cause, at: end, start, end, revision: None, early: false };
                    advancing.leaving.push_back((window, None));
                    advancing.closed = end;
                }
                (_, Some(point)) => self.leave_early(point, advancing),
                (_, None) => advancing.passed = true,
            }
        }
        true
    }

    /// The first end above `after` of a window that holds rows.
    fn next_close(&self, after: i64) -> Option<i64> {
        let mut panes = self.filled.range(self.grid.first_open(after)..).map(|(_, filled)| &filled.pane);
        self.grid.next_end(panes.find(|pane| pane.last_window_end > after)?, after)
    }

    /// The rows of windows that changed and in which a point of the grid of early rows lies.
    fn leave_early(&mut self, point: i64, advancing: &mut Advancing) {
        // What waits has changed.
        let waiting = self.contents.early.as_ref().map(|early| early.waiting(point)).unwrap_or_default();
        for id in waiting {
            self.keys.change(id, &self.contents);
        }
        let Some(early) = &mut self.contents.early else { return };
        let (filled, cause) = (&self.filled, advancing.cause);
        let windows = early.take(point, &self.grid, |start| filled.get(&start).map(|filled| filled.pane));
        for (end, mut ids) in windows {
            ids.sort_by(|a, b| self.keys.order(*a, *b));
            ids.dedup();
            let start = self.grid.start_of(end);
            let window = Leaving { cause, at: point, start, end, revision: None, early: true };
            advancing.leaving.push_back((window, Some(ids)));
        }
    }

    /// Drops panes whose last window takes no more rows, and keys without panes, so many; false if there are more.
    fn forget(&mut self, advancing: &mut Advancing, keys: &mut usize) -> bool {
        let (allow_late, watermark) = (self.allow_late, advancing.to);
        if self.watermark < watermark {
            self.watermark = watermark;
            let over = |end: i64| end.saturating_add(allow_late) <= watermark;
            if self.keys.is_frozen() {
                let revised = self.contents.revisions.iter().filter(|(end, _)| over(**end));
                let revised = revised.flat_map(|(_, keys)| keys.keys());
                revised.for_each(|id| self.keys.save(*id, &self.contents));
            }
            self.contents.revisions.retain(|end, _| !over(*end));
        }
        loop {
            let Some((pane, ids)) = &mut advancing.forgetting else {
                let Some(first) = self.filled.first_entry() else { return true };
                let pane = first.get().pane;
                if pane.last_window_end.saturating_add(allow_late) > watermark {
                    return true;
                }
                advancing.forgetting = Some((pane, first.remove().keys));
                continue;
            };
            while *keys > 0
                && let Some(id) = ids.pop()
            {
                *keys -= 1;
                self.forget_pane(id, pane.start);
            }
            if !ids.is_empty() {
                return false;
            }
            advancing.forgetting = None;
        }
    }

    /// Drops a pane of a key and those before it.
    fn forget_pane(&mut self, id: u32, start: i64) {
        let Some(entry) = self.keys.change(id, &self.contents) else { return };
        let count = entry.data.partition_point(|(other, _)| *other <= start);
        for (start, slot) in entry.data.drain(..count) {
            self.contents.accumulators.release(slot);
            if let Some(blocks) = &mut self.blocks {
                blocks.changed(id, start, &mut self.contents.accumulators);
            }
        }
        if entry.data.is_empty() {
            self.keys.remove(id, &self.contents);
        }
    }
}
