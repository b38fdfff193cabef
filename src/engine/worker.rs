//! The threads of a run: workers, and the clock of live sources.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::job::lock;
use super::run::{steady_clock, wall_clock};
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
    /// A tick for the share of this number, which could have begun at that time.
    Tick(usize, Box<Stage>, StageInput, Instant),
    /// Nothing to do for the share of this number but to encode what it has set apart for a checkpoint.
    Slice(usize, Box<Stage>),
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
            Work::Tick(slot, stage, input, since) => tick(shared, slot, stage, input, since),
            Work::Slice(slot, mut stage) => {
                let result = slice(shared, &mut stage);
                if let Some(slot) = lock(&shared.queue).slots.get_mut(slot) {
                    slot.stage = Some(stage);
                }
                shared.wake.notify_one();
                result
            }
        };
        if let Err(why) = result {
            shared.fail(why);
        }
    }
}

/// A share takes a slice of a tick, or goes on with one, and then encodes some of what a checkpoint waits for. Between the
/// slices that it hands out others have their turn.
fn tick(shared: &Shared, slot: usize, mut stage: Box<Stage>, input: StageInput, since: Instant) -> Result<(), String> {
    let reader = lock(&shared.queue).slots.get(slot).map_or(0, |s| s.reader);
    let (ready, whole) = shared.job.tick(reader, &mut stage, &input)?;
    let free = Instant::now();
    shared.took(free - since);
    shared.hand_out(ready);
    let last = whole && !input.slice.more;
    if last {
        shared.done(input.sequence);
    }
    let result = if last && input.barrier {
        // There was a slice already, perhaps the last of what the checkpoint before this one waits for, which sinks wait for.
        shared.handed_in();
        Ok(())
    } else {
        slice(shared, &mut stage)
    };
    let (held, load) = (stage.operator.held(), stage.operator.load());
    let mut queue = lock(&shared.queue);
    let over = queue.keeps(slot, load, &shared.budget);
    if let Some(slot) = queue.slots.get_mut(slot) {
        slot.held = held;
        slot.stage = Some(stage);
        slot.free = free;
        if last {
            slot.reached = input.watermarks.end();
        }
        if whole {
            slot.next = input.slice.after(input.sequence);
        } else {
            slot.under_way = Some(input);
        }
    }
    drop(queue);
    shared.wake.notify_one();
    if over { Err(shared.over_budget()) } else { result }
}

fn slice(shared: &Shared, stage: &mut Stage) -> Result<(), String> {
    if shared.job.slice(stage)? {
        shared.handed_in();
    }
    Ok(())
}

fn next_work(shared: &Shared) -> Option<Work> {
    let mut queue = lock(&shared.queue);
    loop {
        if queue.finished {
            return None;
        }
        // The last ones are furthest down the graph.
        for (index, slot) in queue.slots.iter_mut().enumerate().rev() {
            if let Some((stage, input, since)) = slot.take() {
                return Some(Work::Tick(index, stage, input, since));
            }
        }
        if let Some(work) = queue.maps.pop_front() {
            queue.mapping += 1;
            return Some(Work::Map(work));
        }
        let frozen = |slot: &Slot| slot.stage.as_ref().is_some_and(|stage| stage.frozen.is_some());
        if let Some(index) = queue.slots.iter().position(frozen)
            && let Some(stage) = queue.slots.get_mut(index).and_then(|slot| slot.stage.take())
        {
            return Some(Work::Slice(index, stage));
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
        shared.job.tell_wall_clock(wall_clock(), now);
        shared.job.hold(&shared.silent(), now);
        shared.hand_out(shared.job.pass_time(now));
        shared.drain_if_asked();
        queue = lock(&shared.queue);
    }
}
