//! Makes checkpoints while a run goes on. A barrier flows with the rows; when it has gone through every step and sink,
//! what they handed out is made durable beside the flow, and sinks and sources are told. One is under way at a time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::fault;
use crate::connector::{End, Sink, SinkError};
use crate::plan::NodeId;
use crate::store::rows::Status;

use super::epoch::{Epoch, Keeper};
use super::flow::FlowContext;
use super::job::lock;
use super::outgoing::ToSink;
use super::partition::PartitionState;
use super::refused;
use super::returned::{Answers, Ending};
use super::shared::Shared;
use super::sink_task::SETTLED;
use super::turn_log::Written;

/// How long the state is put in order at once, between looking whether there is something else to do.
const TIDY: Duration = Duration::from_millis(20);

/// Before a run begins: what there is to read, and what sinks remember of how they found things, so that a crash at any time
/// leads back to that.
pub(super) async fn keep_first(
    (partitions, turns): (Vec<PartitionState>, Option<Written>),
    (context, nodes): (&FlowContext, &[NodeId]),
    sinks: &mut [Box<dyn Sink>],
    keeper: &mut dyn Keeper,
) -> Result<(), String> {
    let mut epoch = Epoch { partitions, turns, ..Epoch::default() };
    for (node, sink) in nodes.iter().zip(sinks.iter_mut()) {
        let mut prepared = sink.prepare().await.map_err(SinkError::message)?;
        let counted = refused::count(context, (0, *node), false, &mut prepared)?;
        epoch.take_mark(*node, prepared, counted);
    }
    fault::point("checkpoint.first");
    keeper.commit(epoch, Status::Running)?;
    for sink in sinks.iter_mut() {
        sink.committed().await.map_err(SinkError::message)?;
    }
    Ok(())
}

/// Makes a checkpoint every so often, until the run is over.
pub(super) async fn keep(shared: &Shared, keeper: &mut dyn Keeper, every: Duration) {
    let mut ending = Ending::of(shared);
    let mut due = Instant::now() + ending.until_next(every);
    let mut untidy = true;
    while shared.wait_for_checkpoint(if untidy { Instant::now() } else { due }).await {
        if untidy && Instant::now() < due {
            match keeper.tidy(TIDY) {
                Ok(more) => untidy = more,
                Err(why) => return shared.fail(why),
            }
            continue;
        }
        due = Instant::now() + ending.until_next(every);
        let began = Instant::now();
        let forced = [shared.is_forced(), ending.begins(shared), shared.awaits_answers()].contains(&true);
        let Some((sequence, ready)) = shared.job.barrier(forced) else { continue };
        shared.hand_out(ready);
        if !shared.wait_for_barrier(sequence).await {
            return;
        }
        fault::point("checkpoint.gathered");
        let epoch = shared.job.take_epoch(sequence);
        let words = shared.commits.words(&epoch.partitions);
        let turns = epoch.turns.clone();
        let answers = Answers::of(shared, &epoch);
        if let Err(why) = commit(shared, keeper, (epoch, began), Status::Running) {
            return shared.fail(why);
        }
        shared.is_durable(sequence);
        fault::point("checkpoint.committed");
        shared.tell_sinks(|| ToSink::Committed);
        shared.commits.tell(words);
        if let Err(why) = shared.job.cover_turns(turns.as_ref()) {
            return shared.fail(why);
        }
        shared.came_back(answers, keeper, &mut ending);
        due = due.min(Instant::now() + ending.until_next(every));
        fault::point("checkpoint.told");
        untidy = true;
    }
}

/// Makes an epoch durable whose barrier set out at a time, and says what it was and how the flow went meanwhile.
fn commit(
    shared: &Shared,
    keeper: &mut dyn Keeper,
    (epoch, set_out): (Epoch, Instant),
    status: Status,
) -> Result<(), String> {
    let (began, (rows, bytes)) = (Instant::now(), epoch.size());
    keeper.commit(epoch, status)?;
    shared.checkpoints.made((rows, bytes), set_out.elapsed());
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    tracing::debug!(
        rows,
        bytes,
        commit_ms = millis(began.elapsed()),
        // Since the checkpoint before: from when a tick could begin at a step until the step was through with it.
        longest_tick_ms = millis(shared.longest_tick()),
        "checkpoint"
    );
    Ok(())
}

/// After everything went through: the last checkpoint. Then sinks make their output final, if the input has ended.
pub(super) fn keep_last(shared: &Shared, keeper: &mut dyn Keeper, complete: bool) {
    fault::point("checkpoint.last");
    let status = if complete { Status::Finishing } else { Status::Stopped };
    let began = Instant::now();
    let epoch = shared.job.take_epoch(SETTLED);
    let words = shared.commits.words(&epoch.partitions);
    if let Err(why) = commit(shared, keeper, (epoch, began), status) {
        lock(&shared.failure).get_or_insert(why);
        return;
    }
    shared.is_durable(SETTLED);
    fault::point("checkpoint.finishing");
    shared.tell_sinks(|| ToSink::Committed);
    shared.commits.tell(words);
    shared.tell_sinks(|| ToSink::Finish(if complete { End::Complete } else { End::Stopped }));
}

/// After the sinks have ended: what became of the rows that were on their way.
pub(super) fn settle(shared: &Shared, keeper: &mut dyn Keeper) {
    let epoch = shared.job.take_epoch(SETTLED);
    // One that is stopped while its output becomes final has taken all its input.
    let input_ended = shared.input_ended.load(Ordering::Acquire);
    let status = if input_ended { Status::Finishing } else { Status::Stopped };
    let changed = epoch.marks.iter().any(|(_, marks)| !marks.is_empty()) || !epoch.counted.is_empty();
    if changed && let Err(why) = keeper.settle(epoch, status) {
        lock(&shared.failure).get_or_insert(why);
    }
}
