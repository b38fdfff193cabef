//! J5: runs of events of each device, with one timer a session that is only looked at when it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use millstream::base::time::{RFC3339_LEN, Timestamp, write_rfc3339};
use serde::Serialize;

use super::{Names, OUT_OF_ORDER, Output, Sighting, lines, micros, write};
use crate::Failure;

#[derive(Clone, Copy)]
struct Session {
    first: i64,
    last: i64,
    count: u64,
    /// When its entry among the timers is due: its end at some earlier time, since an end only grows.
    timer: i64,
}

#[derive(Serialize)]
struct Row<'a> {
    device_id: &'a str,
    window_start: &'a str,
    window_end: &'a str,
    count: u64,
}

struct Sessions<'o> {
    gap: i64,
    names: Names,
    /// By device; rarely more than two.
    open: Vec<Vec<Session>>,
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    due: Vec<(i64, u32, Session)>,
    late: u64,
    out: &'o mut Output,
}

pub fn run(input: &Path, out: &mut Output, gap: i64) -> Result<(), Failure> {
    let (names, timers) = (Names::default(), BinaryHeap::new());
    let mut sessions = Sessions { gap, names, open: Vec::new(), timers, due: Vec::new(), late: 0, out };
    let mut watermark = i64::MIN;
    lines(input, |line| {
        let event: Sighting<'_> = serde_json::from_slice(line)?;
        let at = micros(event.ts)?;
        sessions.add(at, event.device_id, watermark);
        watermark = watermark.max(at - OUT_OF_ORDER);
        sessions.close(watermark)
    })?;
    sessions.close(i64::MAX)?;
    if sessions.late > 0 {
        eprintln!("{} events were late", sessions.late);
    }
    Ok(())
}

impl Sessions<'_> {
    fn add(&mut self, at: i64, device: &str, watermark: i64) {
        let device = self.names.number(device);
        if device as usize >= self.open.len() {
            self.open.resize_with(device as usize + 1, Vec::new);
        }
        let open = &mut self.open[device as usize];
        let mut joined: Option<usize> = None;
        let mut i = 0;
        while i < open.len() {
            let session = open[i];
            if at < session.first - self.gap || at > session.last + self.gap {
                i += 1;
                continue;
            }
            match joined {
                None => {
                    let session = &mut open[i];
                    (session.first, session.last) = (session.first.min(at), session.last.max(at));
                    session.count += 1;
                    joined = Some(i);
                    i += 1;
                }
                // The event bridges two sessions; the second's timer will find nothing.
                Some(before) => {
                    open.remove(i);
                    let kept = &mut open[before];
                    (kept.first, kept.last) = (kept.first.min(session.first), kept.last.max(session.last));
                    kept.count += session.count;
                }
            }
        }
        if joined.is_none() {
            let timer = at + self.gap;
            if timer <= watermark {
                self.late += 1;
                return;
            }
            open.push(Session { first: at, last: at, count: 1, timer });
            self.timers.push(Reverse((timer, device)));
        }
    }

    fn close(&mut self, watermark: i64) -> Result<(), Failure> {
        while let Some(Reverse((timer, device))) = self.timers.peek().copied().filter(|t| t.0.0 <= watermark) {
            self.timers.pop();
            let open = &mut self.open[device as usize];
            let Some(place) = open.iter().position(|session| session.timer == timer) else { continue };
            let end = open[place].last + self.gap;
            if end <= watermark {
                self.due.push((end, device, open.remove(place)));
            } else {
                open[place].timer = end;
                self.timers.push(Reverse((end, device)));
            }
        }
        if self.due.is_empty() {
            return Ok(());
        }
        let names = &self.names;
        self.due.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| names.name(a.1).cmp(names.name(b.1))));
        for (end, device, session) in self.due.drain(..) {
            let (mut first, mut last) = ([0; RFC3339_LEN], [0; RFC3339_LEN]);
            let row = Row {
                device_id: names.name(device),
                window_start: write_rfc3339(Timestamp(session.first), &mut first),
                window_end: write_rfc3339(Timestamp(end), &mut last),
                count: session.count,
            };
            write(self.out, &row)?;
        }
        Ok(())
    }
}
