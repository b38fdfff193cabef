//! The pieces of blocks that a tick is made of, put together by source and exit.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::weave::{self, Pick};

use super::gather::make_alike;
use super::job::{Job, lock};
use super::parcel::{Parcel, weave_lines};
use super::partition::Mapped;

/// Rows of one block that a tick takes.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) source: usize,
    /// Ordinals in the block: from, to.
    pub(super) from: u32,
    pub(super) to: u32,
    /// What to add to a block's ordinal to get the tick's.
    pub(super) base: u32,
    /// Parcels by exit: shared by the segments of a block until the block is used up.
    pub(super) block: usize,
}

/// Puts rows of several parcels of one source's exit together: `(parcel, from, to, base)` are the ordinals taken of each
/// and what to add to them.
pub type Join<'a> = dyn FnMut((usize, usize), Vec<(&Parcel, u32, u32, u32)>) -> Parcel + 'a;

/// The parcels of a tick by source and exit. A tick that is one whole block takes its parcels as they are.
pub(super) fn join_segments(
    mut blocks: Vec<Arc<Mapped>>,
    segments: &[Segment],
    join: &mut Join<'_>,
) -> Vec<(usize, Vec<Option<Parcel>>)> {
    if let ([segment], [block]) = (segments, blocks.as_mut_slice())
        && segment.base == 0
        && segment.from == 0
        && segment.to == block.records
        && let Some(block) = Arc::get_mut(block)
    {
        return vec![(segment.source, std::mem::take(&mut block.parcels))];
    }
    let mut sources: Vec<usize> = segments.iter().map(|s| s.source).collect();
    sources.sort_unstable();
    sources.dedup();
    let mut joined = Vec::new();
    for source in sources {
        let of_source: Vec<&Segment> = segments.iter().filter(|s| s.source == source).collect();
        let exits = of_source.iter().filter_map(|s| blocks.get(s.block)).map(|b| b.parcels.len()).max().unwrap_or(0);
        let parcel = |exit: usize, join: &mut Join<'_>| {
            let part = |s: &&Segment| {
                let parcel = blocks.get(s.block).and_then(|b| b.parcels.get(exit)).and_then(Option::as_ref)?;
                Some((parcel, s.from, s.to, s.base))
            };
            let parts: Vec<_> = of_source.iter().filter_map(part).collect();
            (!parts.is_empty()).then(|| join((source, exit), parts))
        };
        joined.push((source, (0..exits).map(|exit| parcel(exit, join)).collect()));
    }
    joined
}

/// The rows of a parcel whose ordinals lie in a segment.
pub fn rows_within(ordinals: &[u32], from: u32, to: u32) -> std::ops::Range<u32> {
    as_u32(ordinals.partition_point(|o| *o < from))..as_u32(ordinals.partition_point(|o| *o < to))
}

impl Job {
    /// Puts rows of several blocks of one source together; ordinals become the tick's.
    pub(super) fn join(&self, (source, exit): (usize, usize), parts: Vec<(&Parcel, u32, u32, u32)>) -> Parcel {
        let mut ordinals = Vec::new();
        let mut order = Vec::new();
        let (mut batches, mut hashes, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        // A block has a segment for each of its turns, and with many partitions a turn may be a single row.
        let mut known: HashMap<*const Parcel, u32> = HashMap::new();
        for (parcel, from, to, base) in parts {
            let of_parcel = parcel.ordinals();
            let next = as_u32(known.len());
            let part = *known.entry(std::ptr::from_ref(parcel)).or_insert_with(|| {
                match parcel {
                    Parcel::Rows(batch, hash) => {
                        batches.push(batch);
                        hashes.push(hash);
                    }
                    Parcel::Lines(_, encoded) => lines.push(encoded),
                }
                next
            });
            for row in rows_within(of_parcel, from, to) {
                let ordinal = of_parcel.get(row as usize).copied().unwrap_or(0);
                ordinals.push(ordinal.wrapping_add(base));
                order.push(Pick { part, row });
            }
        }
        if !lines.is_empty() {
            return Parcel::Lines(ordinals, weave_lines(&lines, &order));
        }
        let reader = self.graph.sources.get(source).and_then(|s| s.exits.get(exit)).copied();
        let mut batch = match reader.and_then(|r| self.tools.get(r)) {
            Some(tools) if !weave::alike(&batches) => {
                let mut own: Vec<Batch> = batches.into_iter().cloned().collect();
                make_alike(&mut own, &mut lock(tools));
                weave::weave(&own, &order)
            }
            _ => weave::weave(&batches, &order),
        };
        batch.ordinals = ordinals;
        let hash = |pick: &Pick| hashes.get(pick.part as usize).and_then(|h| h.get(pick.row as usize)).copied();
        let hashes = order.iter().filter_map(hash).collect();
        Parcel::Rows(batch, hashes)
    }
}
