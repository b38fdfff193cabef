//! Makes checkpoints while a run goes on. A barrier flows with the rows; when it has gone through every step and sink,
//! what they handed out is made durable beside the flow, and sinks are told. One is under way at a time.

use std::time::{Duration, Instant};

use crate::store::rows::Status;

use super::epoch::Keeper;
use super::job::lock;
use super::shared::{Shared, ToSink};

/// How long the state is put in order at once, between looking whether there is something else to do.
const TIDY: Duration = Duration::from_millis(20);

/// Makes a checkpoint every so often, until the run is over.
pub(super) fn keep(shared: &Shared, keeper: &mut dyn Keeper, every: Duration) {
    let mut due = Instant::now() + every;
    let mut untidy = true;
    while shared.wait_for_checkpoint(if untidy { Instant::now() } else { due }) {
        if untidy && Instant::now() < due {
            match keeper.tidy(TIDY) {
                Ok(more) => untidy = more,
                Err(why) => return shared.fail(why),
            }
            continue;
        }
        due = Instant::now() + every;
        let Some((sequence, ready)) = shared.job.barrier() else { continue };
        shared.hand_out(ready);
        if !shared.wait_for_barrier(sequence) {
            return;
        }
        if let Err(why) = keeper.commit(shared.job.take_epoch(sequence), Status::Running) {
            return shared.fail(why);
        }
        shared.tell_sinks(|| ToSink::Committed);
        untidy = true;
    }
}

/// After everything went through: the last checkpoint. Then sinks make their output final, if the input has ended.
pub(super) fn keep_last(shared: &Shared, keeper: &mut dyn Keeper, complete: bool) {
    let status = if complete { Status::Finishing } else { Status::Stopped };
    if let Err(why) = keeper.commit(shared.job.take_epoch(u64::MAX - 1), status) {
        lock(&shared.failure).get_or_insert(why);
        return;
    }
    shared.tell_sinks(|| ToSink::Committed);
    if complete {
        shared.tell_sinks(|| ToSink::Finish);
    }
}
