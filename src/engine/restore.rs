//! Makes the shares of steps, and gives them what they kept. It is read here, a part after the other; threads side by side
//! unpack and decode the parts, which is most of the work, and a thread a share takes them in.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use crate::base::limit::KEY_GROUPS;

use super::epoch::{Part, Resume};
use super::job::{Job, lock};
use super::lower::ReaderKind;
use super::stage::Stage;
use super::state::{Decode, Decoded, Decoder, first_hash, partition_of};

/// Key groups whose rows are asked for at once; those of no share are passed over.
const GROUPS_AT_ONCE: u64 = 16;
/// Parts that may wait to be decoded.
const PARTS_AHEAD: usize = 2;
/// Rows that are decoded at once: few enough that their memory is used again and again.
const BATCH: usize = 2_048;
/// Batches of rows that may wait for a share to take them in.
const BATCHES_AHEAD: usize = 8;
/// Keys of a share that room is made for before they come.
const MOST_EXPECTED: usize = 16 << 20;

/// A step that keeps state.
struct Step {
    name: String,
    shares: usize,
    decoder: Decoder,
}

/// Some of the rows of one share of one step.
struct Packed<'a> {
    step: usize,
    share: usize,
    rows: Part<'a>,
}

/// What went wrong first. Parts are then still taken from whoever hands them over, and dropped: nobody waits for ever.
type Failure = Mutex<Option<String>>;

/// Every share of every step, by reader; a sink has none.
pub fn shares(job: &Job, from: Option<&Resume<'_>>) -> Result<Vec<Vec<Stage>>, String> {
    let of_reader = |(reader, kind): (usize, &ReaderKind)| match kind {
        ReaderKind::Stage(spec, _) => (0..spec.shares).map(|_| job.stage(reader)).collect(),
        ReaderKind::Sink(_) => Ok(Vec::new()),
    };
    let kinds = job.graph.readers.iter().map(|reader| &reader.kind);
    let mut shares: Vec<Vec<Stage>> = kinds.enumerate().map(of_reader).collect::<Result<_, String>>()?;
    if let Some(from) = from {
        take_back(job, from, &mut shares)?;
    }
    Ok(shares)
}

/// Gives shares their rows.
fn take_back(job: &Job, from: &Resume<'_>, shares: &mut [Vec<Stage>]) -> Result<(), String> {
    let mut steps = Vec::new();
    // By share: the one of each step.
    let mut stages: Vec<Vec<Option<&mut Stage>>> = Vec::new();
    for of_step in shares.iter_mut().filter(|of_step| !of_step.is_empty()) {
        let (count, mut decoder) = (of_step.len(), None);
        let name = of_step.first().map_or("", |stage| job.name_of(stage)).to_owned();
        let keys = usize::try_from(from.rows.size(&name)).unwrap_or(usize::MAX) / count;
        if keys == 0 && from.rows.size(&name) == 0 {
            continue;
        }
        for (share, stage) in of_step.iter_mut().enumerate() {
            let state = stage.operator.state();
            state.beside(&|step| from.rows.size(step) > 0);
            state.expect(keys.min(MOST_EXPECTED));
            decoder = Some(state.decoder());
            if stages.len() <= share {
                stages.push(Vec::new());
            }
            let Some(of_share) = stages.get_mut(share) else { continue };
            of_share.resize_with(steps.len(), || None);
            of_share.push(Some(stage));
        }
        let Some(decoder) = decoder else { continue };
        steps.push(Step { name, shares: count, decoder });
    }
    if steps.is_empty() { Ok(()) } else { side_by_side(from, &steps, stages) }
}

fn side_by_side(from: &Resume<'_>, steps: &[Step], stages: Vec<Vec<Option<&mut Stage>>>) -> Result<(), String> {
    let failure = &Failure::default();
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let (mut to_shares, mut threads) = (Vec::new(), Vec::new());
        for of_share in stages {
            let (sender, decoded) = sync_channel(BATCHES_AHEAD);
            to_shares.push(sender);
            threads.push(scope.spawn(move || take_in(steps, of_share, &decoded, failure)));
        }
        let (to_decode, packed) = sync_channel(PARTS_AHEAD);
        let packed = Arc::new(Mutex::new(packed));
        for _ in 0..count {
            let (packed, to_shares) = (Arc::clone(&packed), to_shares.clone());
            threads.push(scope.spawn(move || decode(steps, &packed, &to_shares, failure)));
        }
        // Whoever waits for parts learns from this that no more come.
        drop((to_shares, packed));
        note(failure, read(from, steps, to_decode));
        let panicked = threads.into_iter().any(|thread| thread.join().is_err());
        match lock(failure).take() {
            Some(why) => Err(why),
            None if panicked => Err("an internal error while the state was read back; please report it".to_owned()),
            None => Ok(()),
        }
    })
}

fn note(failure: &Failure, result: Result<(), String>) {
    if let Err(why) = result {
        lock(failure).get_or_insert(why);
    }
}

/// Reads the parts of all shares of all steps.
fn read<'a>(from: &Resume<'a>, steps: &[Step], to_decode: SyncSender<Packed<'a>>) -> Result<(), String> {
    for (index, Step { name, shares, .. }) in steps.iter().enumerate() {
        for first in (0..KEY_GROUPS).step_by(GROUPS_AT_ONCE as usize) {
            let groups = first..(first + GROUPS_AT_ONCE).min(KEY_GROUPS);
            for share in 0..*shares {
                let is_own = |group: &u64| partition_of(first_hash(*group), *shares) == share;
                let mut own = groups.clone().filter(is_own);
                let Some(least) = own.next() else { continue };
                let rows = from.rows.part(name, least..own.next_back().unwrap_or(least) + 1)?;
                if to_decode.send(Packed { step: index, share, rows }).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Decodes parts until no more come.
fn decode(
    steps: &[Step],
    packed: &Mutex<Receiver<Packed<'_>>>,
    to_shares: &[SyncSender<(usize, Decoded)>],
    failure: &Failure,
) {
    loop {
        let Ok(Packed { step, share, rows }) = lock(packed).recv() else { return };
        let (Some(of), Some(to_share)) = (steps.get(step), to_shares.get(share)) else { continue };
        if lock(failure).is_some() {
            continue;
        }
        // A share that takes no more has failed.
        let send = |decoder: Box<dyn Decode>| drop(to_share.send((step, decoder.finish())));
        let (mut decoder, mut decoded) = ((of.decoder)(), 0);
        let read = rows(&mut |row| {
            if row.value.is_none() {
                return Ok(());
            }
            decoder.row(row).map_err(|e| format!("step `{}`: {}", of.name, e.message))?;
            decoded += 1;
            if decoded == BATCH {
                send(std::mem::replace(&mut decoder, (of.decoder)()));
                decoded = 0;
            }
            Ok(())
        });
        send(decoder);
        note(failure, read);
    }
}

/// Gives one share of each step its rows until no more come.
fn take_in(
    steps: &[Step],
    mut stages: Vec<Option<&mut Stage>>,
    decoded: &Receiver<(usize, Decoded)>,
    failure: &Failure,
) {
    for (step, rows) in decoded {
        if let (Some(of), Some(Some(stage))) = (steps.get(step), stages.get_mut(step)) {
            let restored = stage.operator.state().restore(rows);
            note(failure, restored.map_err(|e| format!("step `{}`: {}", of.name, e.message)));
        }
    }
}
