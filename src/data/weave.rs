//! Rows of several batches of one edge, put into one batch in a given order.

use std::borrow::Borrow;
use std::sync::Arc;

use super::batch::{Batch, Edit, Range32, Raw};
use super::column::{Cell, Column, ColumnBuilder, Place, as_u32};
use super::layout::FieldId;

/// A row of one of several batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Which batch.
    pub part: u32,
    /// Which of its rows.
    pub row: u32,
}

/// Whether batches have the same kinds of changes in the same order and all or none have text, so that
/// [`weave`] can put their rows together. Others are materialised first.
pub fn alike<B: Borrow<Batch>>(parts: &[B]) -> bool {
    let Some(first) = parts.first().map(B::borrow) else { return true };
    let same_edit = |a: &Edit, b: &Edit| match (a, b) {
        (Edit::Set { field: x, .. }, Edit::Set { field: y, .. }) => x == y,
        (Edit::Rename { from, to }, Edit::Rename { from: f, to: t }) => from == f && to == t,
        (Edit::Keep { fields: x }, Edit::Keep { fields: y }) => x == y,
        _ => false,
    };
    parts.iter().map(B::borrow).all(|part| {
        part.raw.is_some() == first.raw.is_some()
            && part.edits.len() == first.edits.len()
            && part.edits.iter().zip(&first.edits).all(|(a, b)| same_edit(a, b))
    })
}

/// The rows of `order`, in that order, from batches that are [`alike`]. The ordinals are the rows' own; the caller sees
/// to it that they do not fall, or writes new ones.
pub fn weave<B: Borrow<Batch>>(parts: &[B], order: &[Pick]) -> Batch {
    let parts: Vec<&Batch> = parts.iter().map(B::borrow).collect();
    let parts = parts.as_slice();
    let part = |pick: &Pick| parts.get(pick.part as usize);
    let mut woven = Batch { rows: order.len(), ..Batch::default() };
    if parts.iter().any(|p| !p.ordinals.is_empty()) {
        let ordinal = |pick: &Pick| part(pick).and_then(|p| p.ordinals.get(pick.row as usize)).copied();
        woven.ordinals = order.iter().map(|pick| ordinal(pick).unwrap_or(0)).collect();
    }
    if parts.iter().any(|p| !p.times.is_empty()) {
        let none = crate::base::time::Timestamp::MIN;
        let time = |pick: &Pick| part(pick).and_then(|p| p.times.get(pick.row as usize)).copied();
        woven.times = order.iter().map(|pick| time(pick).unwrap_or(none)).collect();
    }
    let mut starts = Vec::new();
    if parts.first().is_some_and(|p| p.raw.is_some()) {
        let (raw, moved) = weave_text(parts, order);
        woven.raw = Some(raw);
        starts = moved;
    }
    let width = parts.iter().map(|p| p.columns.len()).max().unwrap_or(0);
    for field in (0..as_u32(width)).filter_map(|i| u16::try_from(i).ok()).map(FieldId) {
        if parts.iter().any(|p| p.column(field).is_some()) {
            let columns: Vec<Option<&Column>> = parts.iter().map(|p| p.column(field)).collect();
            woven.put(field, Arc::new(weave_column(&columns, order, &starts)));
        }
    }
    let edits = parts.first().map_or(&[][..], |p| &p.edits);
    for (index, edit) in edits.iter().enumerate() {
        let edit = match edit {
            Edit::Set { field, .. } => weave_set(parts, order, index, *field, &starts),
            other => other.clone(),
        };
        woven.edits.push(edit);
    }
    woven
}

/// One text with all rows, and for each row where it stood and where it stands.
fn weave_text(parts: &[&Batch], order: &[Pick]) -> (Raw, Vec<(u32, u32)>) {
    let mut text = String::new();
    let mut rows = Vec::with_capacity(order.len());
    let mut moved = Vec::with_capacity(order.len());
    for pick in order {
        let raw = parts.get(pick.part as usize).and_then(|p| p.raw.as_ref());
        let from = raw.and_then(|r| r.rows.get(pick.row as usize)).copied().unwrap_or_default();
        let start = as_u32(text.len());
        text.push_str(raw.map_or("", |r| r.row(pick.row as usize)));
        rows.push(Range32 { start, end: as_u32(text.len()) });
        moved.push((from.start, start));
        text.push('\n');
    }
    (Raw { text: Arc::new(text), rows }, moved)
}

fn weave_column(columns: &[Option<&Column>], order: &[Pick], moved: &[(u32, u32)]) -> Column {
    let mut builder = ColumnBuilder::with_capacity(order.len());
    let with_places = columns.iter().flatten().any(|c| !c.places.is_empty());
    let mut places = Vec::new();
    for (at, pick) in order.iter().enumerate() {
        let column = columns.get(pick.part as usize).copied().flatten();
        let cell = column.and_then(|c| c.cells.get(pick.row as usize).copied());
        match (column, cell) {
            (_, None | Some(Cell::Missing)) => builder.push_cell(Cell::Missing),
            (Some(column), Some(cell)) => builder.push(column.val(cell)),
            (None, Some(_)) => {}
        }
        if with_places {
            let place = column.and_then(|c| c.places.get(pick.row as usize)).copied().unwrap_or(Place::MISSING);
            let (from, to) = moved.get(at).copied().unwrap_or_default();
            places.push(shift(place, from, to));
        }
    }
    let has_cells = columns.iter().flatten().any(|c| !c.cells.is_empty());
    let mut column = builder.finish();
    if !has_cells {
        column.cells.clear();
    }
    column.places = places;
    column
}

fn shift(place: Place, from: u32, to: u32) -> Place {
    if place.start >= Place::REPEATED.start {
        return place;
    }
    let by = |offset: u32| offset.wrapping_sub(from).wrapping_add(to);
    Place {
        start: by(place.start),
        key_end: by(place.key_end),
        value_start: by(place.value_start),
        value_end: by(place.value_end),
    }
}

fn weave_set(parts: &[&Batch], order: &[Pick], index: usize, field: FieldId, moved: &[(u32, u32)]) -> Edit {
    let set = |part: &Batch| match part.edits.get(index) {
        Some(Edit::Set { column, touched, .. }) => Some((Arc::clone(column), touched.clone())),
        _ => None,
    };
    let sets: Vec<_> = parts.iter().map(|part| set(part)).collect();
    let columns: Vec<Option<&Column>> = sets.iter().map(|s| s.as_ref().map(|(c, _)| &**c)).collect();
    let column = Arc::new(weave_column(&columns, order, moved));
    let partly = sets.iter().flatten().any(|(_, touched)| touched.is_some());
    let touched = partly.then(|| {
        let one = |pick: &Pick| {
            let set = sets.get(pick.part as usize).and_then(Option::as_ref);
            let touched = set.and_then(|(_, t)| t.as_ref());
            touched.is_none_or(|t| t.get(pick.row as usize).copied().unwrap_or(true))
        };
        Arc::new(order.iter().map(one).collect())
    });
    Edit::Set { field, column, touched }
}

/// The order that merges batches by ordinal: of equal ordinals the earlier batch goes first, rows of a batch keep their order.
pub fn by_ordinal(parts: &[Batch]) -> Vec<Pick> {
    let mut order: Vec<(u32, Pick)> = Vec::with_capacity(parts.iter().map(|p| p.rows).sum());
    for (part, batch) in (0u32..).zip(parts) {
        let pick = |row: u32| (batch.ordinals.get(row as usize).copied().unwrap_or(0), Pick { part, row });
        order.extend((0..as_u32(batch.rows)).map(pick));
    }
    // Stable, and each part is sorted already: a merge of runs.
    order.sort_by_key(|(ordinal, _)| *ordinal);
    order.into_iter().map(|(_, pick)| pick).collect()
}
