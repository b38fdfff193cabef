//! What became of rows that a sink sent: counted. Those that were refused come back to the sink, out of its `.errors`, if
//! somebody reads that; otherwise they are dead letters.

use crate::base::time::Timestamp;
use crate::connector::{Prepared, Refused};
use crate::plan::{NodeId, OnError};
use crate::store::rows::{Cause, Origin};

use super::flow::FlowContext;
use super::ledger::{Counted, Letter, Sample};

/// Counts what a sink handed out at a tick. Refused rows are taken out of it, unless they come back to the sink: whether
/// the run still takes that in is `returns`. The error ends the run.
pub(super) fn count(
    context: &FlowContext,
    (sequence, sink): (u64, NodeId),
    returns: bool,
    prepared: &mut Prepared,
) -> Result<Counted, String> {
    let mut counted = Counted::default();
    let Some(info) = context.entries.get(sink.index()) else { return Ok(counted) };
    if returns && info.returned {
        if prepared.sent > 0 || !prepared.refused.is_empty() {
            let tally = &mut counted.of(sink).tally;
            tally.passed += prepared.sent;
            tally.failed += prepared.refused.len() as u64;
        }
        return Ok(counted);
    }
    let refused = std::mem::take(&mut prepared.refused);
    if prepared.sent == 0 && refused.is_empty() {
        return Ok(counted);
    }
    if let Some(first) = refused.first().filter(|_| info.on_error == OnError::Fail && !info.returned) {
        let row = String::from_utf8_lossy(&first.text);
        return Err(format!("a row of `{}` was refused: {}\n  row: {}", info.name, first.reason, row.trim_end()));
    }
    let entry = counted.of(sink);
    entry.tally.passed += prepared.sent;
    entry.tally.failed += refused.len() as u64;
    if info.on_error == OnError::Drop && !info.returned {
        return Ok(counted);
    }
    entry.tally.dead += refused.len() as u64;
    for (ordinal, row) in (0u32..).zip(refused) {
        let order = (sequence, ordinal);
        if entry.wants(order) {
            entry.sample(Sample {
                order,
                reason: row.reason.clone(),
                place: String::new(),
                original: String::from_utf8_lossy(trimmed(&row.text)).into_owned(),
            });
        }
        if context.letters {
            entry.letters.push(letter(order, row));
        }
    }
    Ok(counted)
}

fn letter(order: (u64, u32), row: Refused) -> Letter {
    Letter {
        order,
        cause: Cause::Error,
        reason: row.reason,
        place: String::new(),
        time: if row.time.is_event_time() { row.time } else { Timestamp::MIN },
        origin: if row.json { Origin::Row } else { Origin::Made },
        header: None,
        original: trimmed(&row.text).to_vec(),
    }
}

/// The row without its line end.
fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}
