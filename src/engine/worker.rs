//! The threads of a run: workers, and the clock of live sources.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::job::lock;
use super::run::steady_clock;
use super::shared::{MapWork, Shared, Slot};
use super::stage::{Stage, StageInput};

/// How often silent live sources are looked at.
const IDLE_CHECK: Duration = Duration::from_millis(100);

/// Turns a panic into a failed run.
pub(super) fn guarded(shared: &Shared, task: impl FnOnce(&Shared)) {
    let caught = catch_unwind(AssertUnwindSafe(|| task(shared)));
    if let Err(panic) = caught {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        shared.fail(format!("an internal error ended the run; please report it: {}", text.unwrap_or("no message")));
    }
}

enum Work {
    Map(MapWork),
    Stage(usize, Box<Stage>, StageInput),
}

/// A worker: steps with state first, since they drain what is under way, then blocks.
pub(super) fn work(shared: &Shared) {
    let mut mappers = match shared.job.mappers() {
        Ok(mappers) => mappers,
        Err(why) => return shared.fail(why),
    };
    while let Some(work) = next_work(shared) {
        let result = match work {
            Work::Map(MapWork { source, at, input }) => {
                let result = match mappers.get_mut(source) {
                    Some(mapper) => shared.job.map(mapper, at, input),
                    None => Ok(Vec::new()),
                };
                let result = result.map(|ready| shared.hand_out(ready));
                lock(&shared.queue).mapping -= 1;
                result
            }
            Work::Stage(slot, mut stage, input) => {
                let sequence = input.sequence;
                let reader = lock(&shared.queue).slots.get(slot).map_or(0, |s| s.reader);
                let result = shared.job.tick(reader, &mut stage, input);
                if let Some(slot) = lock(&shared.queue).slots.get_mut(slot) {
                    slot.stage = Some(stage);
                    slot.next = sequence + 1;
                }
                shared.wake.notify_one();
                result.map(|ready| {
                    shared.hand_out(ready);
                    shared.done(sequence);
                })
            }
        };
        if let Err(why) = result {
            shared.fail(why);
        }
    }
}

fn next_work(shared: &Shared) -> Option<Work> {
    let mut queue = lock(&shared.queue);
    loop {
        if queue.finished {
            return None;
        }
        let runnable = |s: &Slot| s.stage.is_some() && s.waiting.contains_key(&s.next);
        // The last ones are furthest down the graph.
        if let Some(index) = queue.slots.iter().rposition(runnable)
            && let Some(slot) = queue.slots.get_mut(index)
            && let Some(input) = slot.waiting.remove(&slot.next)
            && let Some(stage) = slot.stage.take()
        {
            return Some(Work::Stage(index, stage, input));
        }
        if let Some(work) = queue.maps.pop_front() {
            queue.mapping += 1;
            return Some(Work::Map(work));
        }
        queue = shared.wake.wait(queue).unwrap_or_else(|e| e.into_inner());
    }
}

/// Lets time pass for live sources.
pub(super) fn pass_time(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    while !queue.finished {
        let waited = shared.ending.wait_timeout(queue, IDLE_CHECK);
        drop(waited.map(|(q, _)| q).unwrap_or_else(|e| e.into_inner().0));
        let now = steady_clock();
        shared.job.hold(&shared.silent(), now);
        shared.hand_out(shared.job.pass_time(now));
        queue = lock(&shared.queue);
    }
}
