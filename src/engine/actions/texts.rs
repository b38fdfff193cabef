//! Rows as text, and batches made of rows that were written anew.

use std::sync::Arc;

use crate::data::batch::{Batch, Raw, RowError};
use crate::data::column::{Column, as_u32, pick};
use crate::data::framing::Block;
use crate::data::layout::{Layout, Root};
use crate::engine::action::Tools;

/// The events of a batch as JSON text.
pub struct Texts<'a>(Source<'a>);

enum Source<'a> {
    /// As they came.
    Raw(&'a Raw),
    /// With what steps changed, each followed by a line end, and one past each.
    Written(String, Vec<u32>),
}

impl<'a> Texts<'a> {
    /// The rows of a batch.
    pub fn of(tools: &mut Tools, batch: &'a Batch) -> Self {
        if let (Some(raw), true) = (&batch.raw, batch.edits.is_empty()) {
            return Texts(Source::Raw(raw));
        }
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        tools.encoder.encode(batch, &mut text, &mut ends);
        Texts(Source::Written(String::from_utf8(text).unwrap_or_default(), ends))
    }

    /// The text of a row.
    pub fn row(&self, row: usize) -> &str {
        match &self.0 {
            Source::Raw(raw) => raw.row(row),
            Source::Written(text, ends) => {
                let start = row.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0) as usize;
                let end = ends.get(row).copied().unwrap_or(0) as usize;
                text.get(start..end.saturating_sub(1)).unwrap_or_default()
            }
        }
    }
}

/// Rows that a step writes, each caused by a row of its input.
#[derive(Default)]
pub struct Written {
    /// A line of JSON each.
    pub text: Vec<u8>,
    /// The row of the input that caused each. Never falls.
    pub rows: Vec<u32>,
}

impl Written {
    /// The rows as a batch, with the times, metadata and computed columns of those that caused them. A row that cannot be
    /// read (it nests too deep) is left out, with all that its cause made, and reported at its cause.
    pub fn into_batch(self, layout: &Layout, tools: &mut Tools, input: &Batch) -> (Batch, Vec<RowError>) {
        let Written { text, rows } = self;
        let decoded = tools.decoder.decode(Block { bytes: text, ..Block::default() });
        let mut errors: Vec<RowError> = Vec::new();
        for refused in decoded.refused {
            let row = rows.get(refused.ordinal as usize).copied().unwrap_or(0);
            if errors.last().is_none_or(|last| last.row != row) {
                errors.push(RowError { row, reason: refused.reason, place: refused.place });
            }
        }
        let mut batch = decoded.batch;
        let mut causes = pick(&rows, &batch.ordinals);
        if !errors.is_empty() {
            let whole = |row: &u32| errors.binary_search_by_key(row, |e| e.row).is_err();
            let kept: Vec<u32> = (0u32..).zip(&causes).filter(|(_, row)| whole(row)).map(|(at, _)| at).collect();
            batch = batch.select(&kept);
            causes = pick(&causes, &kept);
        }
        for (field, _) in layout.iter().filter(|(_, path)| path.root != Root::Event) {
            if let Some(column) = input.columns.get(field.index()).and_then(Option::as_ref) {
                batch.put(field, carried(column, &causes, input.rows));
            }
        }
        batch.ordinals = pick(&input.ordinals, &causes);
        batch.times = pick(&input.times, &causes);
        (batch, errors)
    }
}

/// A column of the input for the rows that these caused.
fn carried(column: &Arc<Column>, causes: &[u32], rows: usize) -> Arc<Column> {
    let unchanged = causes.len() == rows && causes.iter().copied().eq(0..as_u32(rows));
    if unchanged { Arc::clone(column) } else { Arc::new(column.select(causes)) }
}
