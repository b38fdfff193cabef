//! Where windows lie that are fixed by time alone: tumbling, sliding, and those of the calendar.
//!
//! Time is cut into panes, the largest pieces that every window is made of. A window of the calendar is one pane.

use crate::base::time::TimeSpan;
use crate::data::calendar::Calendar;

/// A pane with the windows that cover it, microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pane {
    pub start: i64,
    pub end: i64,
    pub first_window_start: i64,
    pub first_window_end: i64,
    pub last_window_end: i64,
}

impl Pane {
    /// In which no instant is.
    pub const NONE: Pane = Pane { start: 0, end: 0, first_window_start: 0, first_window_end: 0, last_window_end: 0 };

    /// Whether an instant is in it.
    #[inline]
    pub fn holds(&self, time: i64) -> bool {
        self.start <= time && time < self.end
    }
}

/// The windows' geometry, all in microseconds.
#[derive(Clone, Debug)]
pub enum Grid {
    /// Windows of one length, at equal distances.
    Even {
        /// Of a window.
        size: i64,
        /// From one start to the next.
        every: i64,
        /// Of the starts, below `every`.
        offset: i64,
        /// Length of a pane.
        pane: i64,
    },
    /// Windows of a calendar.
    Calendar(Calendar),
}

impl Grid {
    /// Windows of one length, a new one `every` so often.
    pub fn even(size: TimeSpan, every: TimeSpan, offset: TimeSpan) -> Grid {
        let (size, every) = (size.0.max(1), every.0.max(1));
        let pane = greatest_common_divisor(size, every);
        Grid::Even { size, every, offset: offset.0.rem_euclid(every), pane }
    }

    /// The pane that an instant is in.
    pub(super) fn pane_of(&self, time: i64) -> Pane {
        let (size, every, offset, pane) = match self {
            Grid::Even { size, every, offset, pane } => (*size, *every, *offset, *pane),
            Grid::Calendar(calendar) => {
                let (start, end) = calendar.span_of(time);
                return Pane { start, end, first_window_start: start, first_window_end: end, last_window_end: end };
            }
        };
        let start = floor_to(time, pane, offset);
        let last_window_start = floor_to(start, every, offset);
        // The first window that ends after the pane's start.
        let first_window_start = floor_to(start.saturating_sub(size), every, offset).saturating_add(every);
        Pane {
            start,
            end: start.saturating_add(pane),
            first_window_start,
            first_window_end: first_window_start.saturating_add(size),
            last_window_end: last_window_start.saturating_add(size),
        }
    }

    /// The first window end above `after` among those that cover the pane.
    pub(super) fn next_end(&self, pane: &Pane, after: i64) -> Option<i64> {
        let mut end = pane.first_window_end;
        if end <= after {
            let every = if let Grid::Even { every, .. } = self { *every } else { return None };
            let steps = after.saturating_sub(end) / every + 1;
            end = end.saturating_add(steps.saturating_mul(every));
        }
        (end <= pane.last_window_end).then_some(end)
    }

    /// The first window start at or above `from` among those of windows that cover the pane.
    pub(super) fn next_start(&self, pane: &Pane, from: i64) -> Option<i64> {
        match self {
            Grid::Even { size, .. } => {
                self.next_end(pane, from.saturating_sub(1).saturating_add(*size)).map(|end| end.saturating_sub(*size))
            }
            Grid::Calendar(_) => (pane.start >= from).then_some(pane.start),
        }
    }

    /// The end of the window that begins at `start` and covers the pane.
    pub(super) fn end_of(&self, pane: &Pane, start: i64) -> i64 {
        match self {
            Grid::Even { size, .. } => start.saturating_add(*size),
            Grid::Calendar(_) => pane.end,
        }
    }

    /// The start of the window that ends at `end`.
    pub(super) fn start_of(&self, end: i64) -> i64 {
        match self {
            Grid::Even { size, .. } => end.saturating_sub(*size),
            Grid::Calendar(calendar) => calendar.span_of(end.saturating_sub(1)).0,
        }
    }

    /// An instant at or before the start of every pane with a window that ends above `after`.
    pub(super) fn first_open(&self, after: i64) -> i64 {
        match self {
            Grid::Even { size, .. } => after.saturating_sub(*size),
            Grid::Calendar(calendar) => calendar.span_of(after).0,
        }
    }
}

/// The last multiple of `step`, moved by `offset`, that is not above `time`.
pub(super) fn floor_to(time: i64, step: i64, offset: i64) -> i64 {
    time.saturating_sub(offset).div_euclid(step).saturating_mul(step).saturating_add(offset)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
