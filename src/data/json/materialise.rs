//! Rows written out and read again, so that columns follow what was written to overlapping paths.

use std::sync::Arc;

use super::{Decoder, Encoder};
use crate::data::batch::Batch;
use crate::data::framing::Block;
use crate::data::layout::{FieldId, Layout, Root};

/// The same rows as text without edits, the decoder's columns read from it. Ordinals, times, metadata and computed columns
/// stay.
pub fn materialise(layout: &Layout, batch: Batch, decoder: &mut Decoder) -> Batch {
    let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(batch.rows));
    Encoder::new(layout).encode(&batch, &mut text, &mut ends);
    let mut read = decoder.decode(Block::from_records(text, ends)).batch;
    read.ordinals = batch.ordinals;
    read.times = batch.times;
    for (field, column) in (0u16..).map(FieldId).zip(batch.columns) {
        let outside = layout.path(field).is_some_and(|p| p.root != Root::Event);
        if let Some(column) = column.filter(|_| outside) {
            read.put(field, Arc::clone(&column));
        }
    }
    read
}
