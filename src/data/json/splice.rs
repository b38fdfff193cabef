//! Edits of members of the event itself, by their known places: what lies between changes is copied as it stands.

use smallvec::SmallVec;

use super::encode::{Encoder, write_cell};
use crate::data::batch::{Batch, Edit, Raw};
use crate::data::column::{Cell, Column, Place};
use crate::data::layout::FieldId;

/// What happens to the rows of a batch, worked out once for all of them.
pub(super) struct Splice<'a> {
    raw: &'a Raw,
    targets: Vec<Target<'a>>,
    /// Whether members that no target names go.
    keep: bool,
    /// For the row being written: members that are there and change, in the order they stand.
    cuts: SmallVec<[Cut<'a>; 8]>,
    /// For the row being written: members that come last, by the edit that made them.
    added: SmallVec<[(usize, usize, &'a Column); 8]>,
}

/// A field that edits name.
struct Target<'a> {
    field: FieldId,
    places: &'a [Place],
    /// `"name":`.
    key: &'a [u8],
    steps: SmallVec<[Step<'a>; 2]>,
}

/// What one edit does to a field.
#[derive(Clone, Copy)]
enum Step<'a> {
    Set {
        edit: usize,
        column: &'a Column,
        touched: Option<&'a [bool]>,
    },
    /// The field gets another name, the key that is given.
    Rename {
        to: usize,
    },
    /// The field stands in the way of one that is renamed.
    GiveWay {
        from: usize,
    },
    /// Only other fields stay.
    Go,
}

/// A member that is there and changes.
#[derive(Clone, Copy)]
struct Cut<'a> {
    place: Place,
    /// For a member that stays under another name.
    key: Option<&'a [u8]>,
    fate: Fate<'a>,
}

#[derive(Clone, Copy)]
enum Fate<'a> {
    Stays,
    Becomes(&'a Column),
    Goes,
}

impl<'a> Splice<'a> {
    /// `None` if an edit is none of members of the event itself whose places are known, or if fields are renamed and
    /// changed otherwise too.
    pub fn new(encoder: &'a Encoder, batch: &'a Batch, raw: &'a Raw) -> Option<Self> {
        let mut splice =
            Splice { raw, targets: Vec::new(), keep: false, cuts: SmallVec::new(), added: SmallVec::new() };
        for (number, edit) in batch.edits.iter().enumerate() {
            match edit {
                Edit::Set { field, column, touched } => {
                    let target = splice.target(encoder, batch, *field)?;
                    let touched = touched.as_ref().map(|t| t.as_slice());
                    let step = Step::Set { edit: number, column, touched };
                    splice.targets.get_mut(target)?.steps.push(step);
                }
                Edit::Rename { from, to } => {
                    let (from, to) = (splice.target(encoder, batch, *from)?, splice.target(encoder, batch, *to)?);
                    if from != to {
                        splice.targets.get_mut(from)?.steps.push(Step::Rename { to });
                        splice.targets.get_mut(to)?.steps.push(Step::GiveWay { from });
                    }
                }
                Edit::Keep { fields } => splice.keep(encoder, batch, fields)?,
            }
        }
        let mixed = |t: &Target<'_>| {
            t.steps.len() > 1 && t.steps.iter().any(|s| matches!(s, Step::Rename { .. } | Step::GiveWay { .. }))
        };
        (!splice.targets.iter().any(mixed)).then_some(splice)
    }

    fn keep(&mut self, encoder: &'a Encoder, batch: &'a Batch, fields: &[FieldId]) -> Option<()> {
        // A second one would have to know what the first let stay.
        if self.keep {
            return None;
        }
        let kept: Option<Vec<usize>> = fields.iter().map(|field| self.target(encoder, batch, *field)).collect();
        let kept = kept?;
        self.keep = true;
        for (number, target) in self.targets.iter_mut().enumerate() {
            if !kept.contains(&number) {
                target.steps.push(Step::Go);
            }
        }
        Some(())
    }

    /// The number of a field's target, a new one if it has none.
    fn target(&mut self, encoder: &'a Encoder, batch: &'a Batch, field: FieldId) -> Option<usize> {
        if let Some(at) = self.targets.iter().position(|t| t.field == field) {
            return Some(at);
        }
        let key = encoder.top_key(field)?;
        let places = batch.column(field)?.places.as_slice();
        if places.len() != batch.rows {
            return None;
        }
        // After `keep`, a field that was not kept is gone before it is written.
        let steps = if self.keep { SmallVec::from_iter([Step::Go]) } else { SmallVec::new() };
        self.targets.push(Target { field, places, key, steps });
        Some(self.targets.len() - 1)
    }

    /// Writes a row. `false` if only the general path can: then what was written is to be taken back.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) -> bool {
        let text = self.raw.row(row).as_bytes();
        if text.first() != Some(&b'{') || !self.decide(row) {
            return false;
        }
        if !self.cuts.is_sorted_by_key(|c| c.place.start) {
            self.cuts.sort_unstable_by_key(|c| c.place.start);
        }
        let start = out.len();
        if self.keep {
            self.write_kept(row, out);
        } else {
            self.write_patched(row, out);
        }
        if !self.added.is_sorted_by_key(|a| a.0) {
            self.added.sort_unstable_by_key(|a| a.0);
        }
        let mut first = out.get(start..).is_some_and(|o| o.trim_ascii_end() == b"{");
        for (_, target, column) in &self.added {
            if !first {
                out.push(b',');
            }
            first = false;
            let (Some(target), Some(cell)) = (self.targets.get(*target), column.cells.get(row)) else { return false };
            out.extend_from_slice(target.key);
            write_cell(column, *cell, out);
        }
        out.push(b'}');
        true
    }

    /// Works out what becomes of each target in a row. `false` if a member stands more than once.
    fn decide(&mut self, row: usize) -> bool {
        self.cuts.clear();
        self.added.clear();
        for (number, target) in self.targets.iter().enumerate() {
            let Some(place) = target.places.get(row).copied() else { return false };
            if place == Place::REPEATED {
                return false;
            }
            let there = place != Place::MISSING;
            let mut cut = Cut { place, key: None, fate: Fate::Stays };
            let mut added: Option<(usize, &'a Column)> = None;
            for step in &target.steps {
                match *step {
                    Step::Set { edit, column, touched } => {
                        if touched.is_some_and(|t| t.get(row) == Some(&false)) {
                            continue;
                        }
                        let missing = column.is_missing(row);
                        if there && !matches!(cut.fate, Fate::Goes) {
                            cut.fate = if missing { Fate::Goes } else { Fate::Becomes(column) };
                        } else {
                            let since = added.map_or(edit, |(first, _)| first);
                            added = (!missing).then_some((since, column));
                        }
                    }
                    Step::Rename { to } => cut.key = self.targets.get(to).map(|t| t.key),
                    Step::GiveWay { from } => {
                        let from = self.targets.get(from).and_then(|t| t.places.get(row));
                        match from {
                            Some(p) if *p == Place::REPEATED => return false,
                            Some(p) if *p != Place::MISSING => cut.fate = Fate::Goes,
                            _ => {}
                        }
                    }
                    Step::Go => (cut.fate, added) = (Fate::Goes, None),
                }
            }
            let changes = self.keep || cut.key.is_some() || !matches!(cut.fate, Fate::Stays);
            if there && changes {
                self.cuts.push(cut);
            }
            if let Some((edit, column)) = added {
                self.added.push((edit, number, column));
            }
        }
        true
    }

    /// The row up to its closing brace, with its changes.
    fn write_patched(&self, row: usize, out: &mut Vec<u8>) {
        let text = self.raw.text.as_bytes();
        let range = self.raw.rows.get(row).copied().unwrap_or_default();
        let mut at = range.start as usize;
        let copy = |from: usize, to: usize, out: &mut Vec<u8>| {
            out.extend_from_slice(text.get(from..to).unwrap_or_default());
        };
        for cut in &self.cuts {
            let place = cut.place;
            copy(at, place.start as usize, out);
            if matches!(cut.fate, Fate::Goes) {
                at = after_member(text, place.value_end as usize, out);
                continue;
            }
            at = place.start as usize;
            if let Some(key) = cut.key {
                out.extend_from_slice(key);
                at = place.value_start as usize;
            }
            if let Fate::Becomes(column) = cut.fate {
                copy(at, place.value_start as usize, out);
                write_cell(column, column.cells.get(row).copied().unwrap_or(Cell::Null), out);
                at = place.value_end as usize;
            }
        }
        copy(at, range.end as usize - 1, out);
    }

    /// An opening brace and the members that stay.
    fn write_kept(&self, row: usize, out: &mut Vec<u8>) {
        let text = self.raw.text.as_bytes();
        out.push(b'{');
        let mut first = true;
        for cut in self.cuts.iter().filter(|c| !matches!(c.fate, Fate::Goes)) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let place = cut.place;
            match cut.key {
                Some(key) => out.extend_from_slice(key),
                None => out
                    .extend_from_slice(text.get(place.start as usize..place.value_start as usize).unwrap_or_default()),
            }
            match cut.fate {
                Fate::Becomes(column) => {
                    write_cell(column, column.cells.get(row).copied().unwrap_or(Cell::Null), out);
                }
                _ => out.extend_from_slice(
                    text.get(place.value_start as usize..place.value_end as usize).unwrap_or_default(),
                ),
            }
        }
    }
}

/// A member that goes takes one comma with it: the one after it, or, if it was the last, the one before it, which was just
/// written. Where the row goes on.
fn after_member(text: &[u8], value_end: usize, out: &mut Vec<u8>) -> usize {
    let next = super::scan::skip_space(text, value_end);
    if text.get(next) == Some(&b',') {
        return super::scan::skip_space(text, next + 1);
    }
    let kept = out.trim_ascii_end().len();
    // Before a member there is a comma or the opening brace, so this comma is no part of a value.
    if out.get(..kept).and_then(|o| o.last()) == Some(&b',') {
        out.truncate(kept - 1);
    }
    next
}
