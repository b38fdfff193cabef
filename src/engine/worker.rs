//! Who does the work of a run: workers, which come when there is some and go when there has been none for a while.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::base::tasks;

use super::job::lock;
use super::shared::{MapWork, Queue, Shared, Slot};
use super::stage::{Stage, StageInput};

/// How long a worker waits for more work: what comes all the time finds it there.
const LINGERS: Duration = Duration::from_millis(100);

/// Turns a panic into a failed run.
pub(super) async fn guarded(shared: &Shared, task: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        panicked(shared, &*panic);
    }
}

fn panicked(shared: &Shared, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    shared.fail(format!("an internal error ended the run; please report it: {}", text.unwrap_or("no message")));
}

enum Work {
    Map(MapWork),
    /// A tick for the share of this number, which could have begun at that time.
    Tick(usize, Box<Stage>, StageInput, Instant),
    /// Nothing to do for the share of this number but to encode what it has set apart for a checkpoint.
    Slice(usize, Box<Stage>),
}

impl Shared {
    /// There is more work: wakes the workers that wait, or lets another one come if none does.
    pub(super) fn call_worker(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.waiting > 0 {
            drop(queue);
            self.wake.notify_one();
        } else if queue.workers < self.workers && !queue.finished {
            queue.workers += 1;
            drop(queue);
            self.begin_worker();
        }
    }

    fn begin_worker(&self) {
        let Some(shared) = self.me.upgrade() else { return };
        let begun = tasks::run(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&shared))) {
                lock(&shared.queue).workers -= 1;
                panicked(&shared, &*panic);
            }
        });
        if let Err(why) = begun {
            lock(&self.queue).workers -= 1;
            self.fail(format!("no thread for a worker: {why}"));
        }
    }
}

/// A worker: steps with state first, since they drain what is under way, then blocks.
fn work(shared: &Shared) {
    let kept = lock(&shared.mappers).pop();
    let mut mappers = match kept.map_or_else(|| shared.job.mappers(), Ok) {
        Ok(mappers) => mappers,
        Err(why) => {
            shared.fail(why);
            Vec::new()
        }
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
                if shared.is_ending() {
                    shared.ending_told.notify_waiters();
                }
                result
            }
            Work::Tick(slot, stage, input, since) => tick(shared, slot, stage, input, since),
            Work::Slice(slot, mut stage) => {
                let result = slice(shared, &mut stage);
                let mut queue = lock(&shared.queue);
                if let Some(slot) = queue.slots.get_mut(slot) {
                    slot.stage = Some(stage);
                }
                drop(queue);
                result
            }
        };
        if let Err(why) = result {
            shared.fail(why);
        }
    }
    lock(&shared.mappers).push(mappers);
    shared.ending_told.notify_waiters();
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
    let (held, load, due) = (stage.operator.held(), stage.operator.load(), stage.operator.due());
    let mut queue = lock(&shared.queue);
    let over = queue.keeps(slot, load, &shared.budget);
    if let Some(slot) = queue.slots.get_mut(slot) {
        (slot.held, slot.due) = (held, due);
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
    if over { Err(shared.over_budget()) } else { result }
}

fn slice(shared: &Shared, stage: &mut Stage) -> Result<(), String> {
    if shared.job.slice(stage)? {
        shared.handed_in();
    }
    Ok(())
}

/// What there is to do, if there is something soon; otherwise the worker is counted no more.
fn next_work(shared: &Shared) -> Option<Work> {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(work) = queue.take_work() {
            // Whoever brings work calls one worker, and each of them the next if there is more.
            if (queue.waiting > 0 || queue.workers < shared.workers) && queue.has_work() {
                shared.call_worker(queue);
            }
            return Some(work);
        }
        if queue.finished {
            queue.workers -= 1;
            return None;
        }
        queue.waiting += 1;
        let waited = shared.wake.wait_timeout(queue, LINGERS);
        let late;
        (queue, late) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.waiting -= 1;
        if late.timed_out() && !queue.has_work() {
            queue.workers -= 1;
            return None;
        }
    }
}

impl Queue {
    fn take_work(&mut self) -> Option<Work> {
        if self.finished {
            return None;
        }
        // The last ones are furthest down the graph.
        for (index, slot) in self.slots.iter_mut().enumerate().rev() {
            if let Some((stage, input, since)) = slot.take() {
                return Some(Work::Tick(index, stage, input, since));
            }
        }
        if let Some(work) = self.maps.pop_front() {
            self.mapping += 1;
            return Some(Work::Map(work));
        }
        let index = self.slots.iter().position(Slot::has_slice)?;
        let stage = self.slots.get_mut(index)?.stage.take()?;
        Some(Work::Slice(index, stage))
    }

    fn has_work(&self) -> bool {
        !self.finished && (!self.maps.is_empty() || self.slots.iter().any(|slot| slot.is_ready() || slot.has_slice()))
    }
}

impl Slot {
    /// Whether a tick can be begun, or gone on with.
    fn is_ready(&self) -> bool {
        self.stage.is_some() && (self.under_way.is_some() || self.waiting.contains_key(&self.next))
    }

    /// Whether something that was set apart for a checkpoint is to be encoded.
    fn has_slice(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.frozen.is_some())
    }
}
