//! J3 and J4: aggregates per device over windows that are made of panes as long as the windows are apart.

use std::path::Path;

use millstream::base::time::{RFC3339_LEN, Timestamp, write_rfc3339};
use serde::Serialize;

use super::{Names, OUT_OF_ORDER, Output, Reading, lines, micros, write};
use crate::Failure;

#[derive(Clone, Copy)]
struct Running {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

const NOTHING: Running = Running { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

impl Running {
    fn merge(&mut self, other: &Running) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Running values by device number, and the devices that have any.
#[derive(Default)]
struct Groups {
    values: Vec<Running>,
    present: Vec<u32>,
}

impl Groups {
    fn merge(&mut self, device: u32, with: &Running) {
        let at = device as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, NOTHING);
        }
        if self.values[at].count == 0 {
            self.present.push(device);
        }
        self.values[at].merge(with);
    }

    fn clear(&mut self) {
        for device in self.present.drain(..) {
            self.values[device as usize] = NOTHING;
        }
    }
}

struct Pane {
    start: i64,
    groups: Groups,
}

#[derive(Serialize)]
struct Row<'a> {
    device_id: &'a str,
    window_start: &'a str,
    window_end: &'a str,
    count: u64,
    avg: f64,
    min: f64,
    max: f64,
}

struct Windows<'o> {
    size: i64,
    every: i64,
    names: Names,
    /// By start; never many.
    panes: Vec<Pane>,
    /// The end of the last window that closed.
    closed: i64,
    /// The end of the next window to close; `i64::MAX` when nothing is open.
    next: i64,
    spare: Vec<Groups>,
    late: u64,
    out: &'o mut Output,
}

pub fn run(input: &Path, out: &mut Output, size: i64, every: i64) -> Result<(), Failure> {
    let names = Names::default();
    let mut windows = Windows {
        size,
        every,
        names,
        panes: Vec::new(),
        closed: i64::MIN,
        next: i64::MAX,
        spare: Vec::new(),
        late: 0,
        out,
    };
    let mut watermark = i64::MIN;
    lines(input, |line| {
        let reading: Reading<'_> = serde_json::from_slice(line)?;
        let at = micros(reading.ts)?;
        windows.add(at, reading.device_id, reading.temperature);
        watermark = watermark.max(at - OUT_OF_ORDER);
        if watermark >= windows.next { windows.close(watermark) } else { Ok(()) }
    })?;
    windows.close(i64::MAX)?;
    if windows.late > 0 {
        eprintln!("{} events were late", windows.late);
    }
    Ok(())
}

impl Windows<'_> {
    fn add(&mut self, at: i64, device: &str, temperature: f64) {
        let start = at - at.rem_euclid(self.every);
        if start + self.size <= self.closed {
            self.late += 1;
            return;
        }
        let device = self.names.number(device);
        // Nearly always the last pane or the one before.
        let mut place = self.panes.len();
        while place > 0 && self.panes[place - 1].start > start {
            place -= 1;
        }
        if place == 0 || self.panes[place - 1].start != start {
            let groups = self.spare.pop().unwrap_or_default();
            self.panes.insert(place, Pane { start, groups });
            place += 1;
            self.look_ahead();
        }
        let one = Running { count: 1, sum: temperature, min: temperature, max: temperature };
        self.panes[place - 1].groups.merge(device, &one);
    }

    fn look_ahead(&mut self) {
        self.next = self
            .panes
            .first()
            .map_or(i64::MAX, |pane| (pane.start + self.every).max(self.closed.saturating_add(self.every)));
    }

    fn close(&mut self, watermark: i64) -> Result<(), Failure> {
        while self.next <= watermark && self.next != i64::MAX {
            let end = self.next;
            let start = end - self.size;
            if self.size == self.every {
                let mut pane = self.panes.remove(0);
                self.emit(start, end, &mut pane.groups)?;
                self.spare.push(pane.groups);
            } else {
                let mut together = self.spare.pop().unwrap_or_default();
                for pane in self.panes.iter().filter(|pane| pane.start < end) {
                    for device in &pane.groups.present {
                        together.merge(*device, &pane.groups.values[*device as usize]);
                    }
                }
                self.emit(start, end, &mut together)?;
                self.spare.push(together);
                if self.panes[0].start == start {
                    let mut pane = self.panes.remove(0);
                    pane.groups.clear();
                    self.spare.push(pane.groups);
                }
            }
            self.closed = end;
            self.look_ahead();
        }
        Ok(())
    }

    fn emit(&mut self, start: i64, end: i64, groups: &mut Groups) -> Result<(), Failure> {
        let names = &self.names;
        groups.present.sort_unstable_by(|a, b| names.name(*a).cmp(names.name(*b)));
        let (mut first, mut last) = ([0; RFC3339_LEN], [0; RFC3339_LEN]);
        let window_start = write_rfc3339(Timestamp(start), &mut first);
        let window_end = write_rfc3339(Timestamp(end), &mut last);
        for device in &groups.present {
            let Running { count, sum, min, max } = groups.values[*device as usize];
            let row = Row {
                device_id: names.name(*device),
                window_start,
                window_end,
                count,
                avg: sum / count as f64,
                min,
                max,
            };
            write(self.out, &row)?;
        }
        groups.clear();
        Ok(())
    }
}
