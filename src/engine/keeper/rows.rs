//! What an epoch holds as rows of the state database, and back.

use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::engine::ledger::{Letter, Tally};
use crate::engine::partition::PartitionState;
use crate::engine::turn_log::Written;
use crate::store::rows::{DeadLetter, LedgerRow, Origin, PartitionRow};

use super::TURNS;

/// Where a partition stood; `None` if its source is gone from the pipeline.
pub(super) fn stood_of(sources: &[String], row: &PartitionRow) -> Option<PartitionState> {
    Some(PartitionState {
        source: sources.iter().position(|name| *name == row.source)?,
        name: row.name.clone(),
        stream: Arc::from(row.stream.as_str()),
        position: row.position,
        greatest: Timestamp(row.greatest),
        ended: row.ended,
    })
}

/// The turns of live inputs are kept like a partition that is of no source.
pub(super) fn turns_row(written: Written) -> PartitionRow {
    let (source, name) = TURNS;
    PartitionRow {
        source: source.to_owned(),
        name: name.to_owned(),
        stream: written.text(),
        position: written.turn,
        greatest: i64::MIN,
        ended: false,
    }
}

pub(super) fn dead_letter(entry: &str, letter: Letter) -> DeadLetter {
    DeadLetter {
        entry: entry.to_owned(),
        cause: letter.cause,
        reason: letter.reason,
        place: letter.place,
        time: (letter.time != Timestamp::MIN).then_some(letter.time.0),
        origin: letter.origin,
        header: letter.header.filter(|_| letter.origin == Origin::Record).map(|names| names.to_vec()),
        original: letter.original,
    }
}

pub(super) fn ledger_row(entry: &str, tally: &Tally, held: u64) -> LedgerRow {
    LedgerRow {
        entry: entry.to_owned(),
        taken: tally.taken,
        made: tally.made,
        passed: tally.passed,
        filtered: tally.filtered,
        dropped: tally.dropped,
        duplicate: tally.duplicate,
        failed: tally.failed,
        late: tally.late,
        dead: tally.dead,
        absorbed: tally.absorbed,
        held,
    }
}

pub(super) fn tally_of(row: &LedgerRow) -> Tally {
    Tally {
        taken: row.taken,
        made: row.made,
        passed: row.passed,
        filtered: row.filtered,
        dropped: row.dropped,
        duplicate: row.duplicate,
        failed: row.failed,
        late: row.late,
        dead: row.dead,
        absorbed: row.absorbed,
    }
}
