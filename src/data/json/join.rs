//! Batches made of batches: edits written into the text ([`materialise`]), several batches as one ([`concat`]).

use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;

use super::{Decoder, Encoder};
use crate::data::batch::{Batch, Edit, Range32, Raw, RowError};
use crate::data::column::{Cell, Column, Place, as_u32};
use crate::data::framing::Block;
use crate::data::layout::{FieldId, Root};
use crate::data::value::Value;

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

/// Rows of a batch, for [`concat`].
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Whose rows.
    pub batch: &'a Batch,
    /// Which.
    pub rows: Range<usize>,
}

/// One batch of the rows of several of the same edge, in the order of the parts. Ordinals are counted anew; rows of one
/// part that had the same still have. Batches that were edited differently are materialised first: then rows may be
/// reported as by [`materialise`], by their place among all the rows.
pub fn concat(encoder: &mut Encoder, decoder: &mut Decoder, parts: &[Part<'_>]) -> (Batch, Vec<RowError>) {
    let alike = parts.windows(2).all(|pair| match pair {
        [a, b] => same_edits(a.batch, b.batch),
        _ => true,
    });
    if alike {
        return (join(parts), Vec::new());
    }
    let (mut errors, mut before) = (Vec::new(), 0);
    let mut fresh = Vec::with_capacity(parts.len());
    for part in parts {
        let rows: Vec<u32> = part.rows.clone().map(as_u32).collect();
        let (batch, wrong) = materialise(encoder, decoder, &part.batch.select(&rows));
        errors.extend(wrong.into_iter().map(|e| RowError { row: e.row + before, ..e }));
        before += as_u32(rows.len());
        fresh.push(batch);
    }
    let parts: Vec<Part<'_>> = fresh.iter().map(|batch| Part { batch, rows: 0..batch.rows }).collect();
    (join(&parts), errors)
}

/// Whether the same steps in the same order changed both batches.
fn same_edits(a: &Batch, b: &Batch) -> bool {
    a.raw.is_some() == b.raw.is_some()
        && a.edits.len() == b.edits.len()
        && a.edits.iter().zip(&b.edits).all(|pair| match pair {
            (Edit::Set { field: x, .. }, Edit::Set { field: y, .. }) => x == y,
            (Edit::Rename { from: a, to: b }, Edit::Rename { from: x, to: y }) => (a, b) == (x, y),
            (Edit::Keep { fields: x }, Edit::Keep { fields: y }) => x == y,
            (x, y) => discriminant(x) == discriminant(y),
        })
}

/// Batches being put one after the other. All texts go into one.
struct Joiner<'a> {
    parts: &'a [Part<'a>],
    text: String,
    /// For each part, what was copied of its text in one piece and by how much that moved.
    moved: Vec<Moved>,
    /// Where each row's text begins now.
    starts: Vec<u32>,
}

#[derive(Clone, Default)]
struct Moved {
    copied: Range<usize>,
    to: usize,
}

impl Moved {
    /// Where a range of the old text is now, if it was copied.
    fn find(&self, start: u32, end: u32) -> Option<u32> {
        let inside = self.copied.start <= start as usize && end as usize <= self.copied.end;
        inside.then(|| as_u32(start as usize - self.copied.start + self.to))
    }
}

fn join(parts: &[Part<'_>]) -> Batch {
    let rows = parts.iter().map(|p| p.rows.len()).sum();
    let mut joiner = Joiner { parts, text: String::new(), moved: Vec::new(), starts: Vec::new() };
    let raw_rows = joiner.raw();
    let width = parts.iter().map(|p| p.batch.columns.len()).max().unwrap_or_default();
    let mut columns: Vec<Option<Column>> = Vec::with_capacity(width);
    for field in 0..width {
        let of = |batch: &'_ Batch| batch.columns.get(field).cloned().flatten();
        columns.push(parts.iter().any(|p| of(p.batch).is_some()).then(|| joiner.column(of)));
    }
    let first = parts.first().map(|p| p.batch.edits.as_slice()).unwrap_or_default();
    let edits: Vec<_> = (0..first.len()).map(|edit| joiner.edit(edit)).collect();
    let text = Arc::new(std::mem::take(&mut joiner.text));
    let finish = |column: Column| Arc::new(Column { text: Arc::clone(&text), ..column });
    let columns: Vec<_> = columns.into_iter().map(|c| c.map(finish)).collect();
    let edits = edits.into_iter().zip(first).map(|(joined, edit)| match (joined, edit) {
        (Some((column, touched)), Edit::Set { field, .. }) => {
            let current = columns.get(field.index()).cloned().flatten();
            let column = column.map(finish).or(current).unwrap_or_default();
            Edit::Set { field: *field, column, touched: touched.map(Arc::new) }
        }
        _ => edit.clone(),
    });
    Batch {
        rows,
        ordinals: ordinals(parts),
        times: parts.iter().flat_map(|p| p.batch.times.get(p.rows.clone()).unwrap_or_default()).copied().collect(),
        edits: edits.collect(),
        raw: raw_rows.map(|rows| Raw { text: Arc::clone(&text), rows }),
        columns,
    }
}

/// New ordinals: one higher wherever the old one or the part changes.
fn ordinals(parts: &[Part<'_>]) -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = 0;
    for part in parts {
        let mut last = None;
        for ordinal in part.batch.ordinals.get(part.rows.clone()).unwrap_or_default() {
            if last.is_some_and(|l| l != ordinal) {
                next += 1;
            }
            last = Some(ordinal);
            all.push(next);
        }
        next += u32::from(last.is_some());
    }
    all
}

impl Joiner<'_> {
    /// Copies the rows' own text.
    fn raw(&mut self) -> Option<Vec<Range32>> {
        let mut rows = Vec::new();
        let mut any = false;
        for part in self.parts {
            let mut moved = Moved::default();
            if let Some(raw) = &part.batch.raw {
                any = true;
                moved = self.raw_of(raw, raw.rows.get(part.rows.clone()).unwrap_or_default(), &mut rows);
            }
            self.moved.push(moved);
        }
        self.starts = rows.iter().map(|r| r.start).collect();
        any.then_some(rows)
    }

    fn raw_of(&mut self, raw: &Raw, from: &[Range32], rows: &mut Vec<Range32>) -> Moved {
        let start = from.iter().map(|r| r.start).min().unwrap_or_default();
        let end = from.iter().map(|r| r.end).max().unwrap_or_default();
        let wanted: usize = from.iter().map(|r| (r.end - r.start) as usize + 1).sum();
        let to = self.text.len();
        // Rows far from one another are copied one by one, lest text that nobody wants lives on.
        if (end - start) as usize > 2 * wanted {
            for row in from {
                let at = self.text.len();
                self.text.push_str(raw.text.get(row.range()).unwrap_or_default());
                rows.push(Range32 { start: as_u32(at), end: as_u32(self.text.len()) });
                self.text.push('\n');
            }
            return Moved::default();
        }
        self.text.push_str(raw.text.get(start as usize..end as usize).unwrap_or_default());
        self.text.push('\n');
        let shift = |at: u32| as_u32((at - start) as usize + to);
        rows.extend(from.iter().map(|r| Range32 { start: shift(r.start), end: shift(r.end) }));
        Moved { copied: start as usize..end as usize, to }
    }

    /// A column of all parts; its text is set once all text is there.
    fn column(&mut self, of: impl Fn(&Batch) -> Option<Arc<Column>>) -> Column {
        let mut joined = Column::default();
        let mut heap = Vec::new();
        let has_cells = self.parts.iter().any(|p| of(p.batch).is_some_and(|c| !c.cells.is_empty()));
        let has_places = self.parts.iter().any(|p| of(p.batch).is_some_and(|c| !c.places.is_empty()));
        let parts = self.parts;
        for (part, moved) in parts.iter().zip(self.moved.clone()) {
            let column = of(part.batch).unwrap_or_default();
            let own = part.batch.raw.as_ref().filter(|raw| Arc::ptr_eq(&raw.text, &column.text));
            let moved = if own.is_some() { moved } else { Moved::default() };
            for row in part.rows.clone().filter(|_| has_cells) {
                let cell = column.cells.get(row).copied().unwrap_or(Cell::Missing);
                joined.cells.push(self.cell(&column, cell, &moved, &mut heap));
            }
        }
        if has_places {
            self.places(&of, &mut joined.places);
        }
        joined.heap = Arc::new(heap);
        joined
    }

    fn cell(&mut self, column: &Column, cell: Cell, moved: &Moved, heap: &mut Vec<Value>) -> Cell {
        match cell {
            Cell::Text { start, len } => {
                if let Some(start) = moved.find(start, start + len) {
                    return Cell::Text { start, len };
                }
                let text = column.text.get(start as usize..(start + len) as usize).unwrap_or_default();
                let start = as_u32(self.text.len());
                self.text.push_str(text);
                Cell::Text { start, len }
            }
            Cell::Heap(index) => {
                heap.push(column.heap.get(index as usize).cloned().unwrap_or(Value::Null));
                Cell::Heap(as_u32(heap.len() - 1))
            }
            cell => cell,
        }
    }

    /// Places move with their rows.
    fn places(&self, of: &impl Fn(&Batch) -> Option<Arc<Column>>, out: &mut Vec<Place>) {
        let mut starts = self.starts.iter();
        for part in self.parts {
            let column = of(part.batch).unwrap_or_default();
            for row in part.rows.clone() {
                let old = part.batch.raw.as_ref().and_then(|r| r.rows.get(row)).map_or(0, |r| r.start);
                let now = starts.next().copied().unwrap_or_default();
                let place = column.places.get(row).copied().unwrap_or(Place::MISSING);
                if matches!(place, Place::MISSING | Place::REPEATED) {
                    out.push(place);
                    continue;
                }
                let shift = |at: u32| now + (at - old);
                out.push(Place {
                    start: shift(place.start),
                    key_end: shift(place.key_end),
                    value_start: shift(place.value_start),
                    value_end: shift(place.value_end),
                });
            }
        }
    }

    /// The column and the touched rows of an edit that sets a field; no column if it is the field's current one.
    fn edit(&mut self, edit: usize) -> Option<(Option<Column>, Option<Vec<bool>>)> {
        let of = |batch: &Batch| match batch.edits.get(edit) {
            Some(Edit::Set { column, .. }) => Some(Arc::clone(column)),
            _ => None,
        };
        let current = |batch: &Batch, field: FieldId| batch.columns.get(field.index()).cloned().flatten();
        let mut touched = Vec::new();
        let (mut all, mut is_current) = (true, true);
        for part in self.parts {
            let Some(Edit::Set { field, column, touched: rows }) = part.batch.edits.get(edit) else { return None };
            is_current &= current(part.batch, *field).is_some_and(|c| Arc::ptr_eq(&c, column));
            all &= rows.is_none();
            touched.extend(part.rows.clone().map(|row| rows.as_ref().is_none_or(|t| t.get(row) != Some(&false))));
        }
        let column = (!is_current).then(|| self.column(of));
        Some((column, (!all).then_some(touched)))
    }
}
