//! Edits written into the text of their rows, and the text read again.

use std::sync::Arc;

use super::{Decoder, Encoder};
use crate::data::batch::{Batch, RowError};
use crate::data::column::Column;
use crate::data::framing::Block;
use crate::data::layout::Root;

/// The batch with its edits written into its text and the decoder's columns read from that again, so that reading,
/// writing and places agree whatever overlapped. Ordinals, times, metadata and computed columns stay.
///
/// A row that its edits have made unreadable (only nesting deeper than [`crate::base::limit::JSON_DEPTH`] does) is left
/// out and reported.
pub fn materialise(encoder: &mut Encoder, decoder: &mut Decoder, batch: &Batch) -> (Batch, Vec<RowError>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    encoder.encode(batch, &mut text, &mut ends);
    let decoded = decoder.decode(Block { bytes: text, ..Block::default() });
    let errors = decoded.refused.into_iter();
    let errors: Vec<_> = errors.map(|r| RowError { row: r.ordinal, reason: r.reason, place: r.place }).collect();
    let mut fresh = decoded.batch;
    let rows = std::mem::take(&mut fresh.ordinals);
    let all = errors.is_empty();
    let old = |column: &Arc<Column>| if all { Arc::clone(column) } else { Arc::new(column.select(&rows)) };
    for (field, _) in encoder.layout().iter().filter(|(_, path)| path.root != Root::Event) {
        if let Some(column) = batch.columns.get(field.index()).and_then(Option::as_ref) {
            fresh.put(field, old(column));
        }
    }
    fresh.ordinals = crate::data::column::pick(&batch.ordinals, &rows);
    fresh.times = crate::data::column::pick(&batch.times, &rows);
    (fresh, errors)
}
