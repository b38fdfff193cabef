//! Rows travel in batches: the text as it was read, typed columns for the fields that something reads, and the changes
//! that steps made. A row that nobody changed leaves as the bytes that came.

use std::ops::Range;
use std::sync::Arc;

use super::column::{Column, pick};
use super::layout::FieldId;
use super::value::Val;
use crate::base::time::Timestamp;

/// The text of rows as it was read: one shared buffer, a range a row, each a whole JSON value.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// Valid UTF-8; what lies between ranges (line ends, rows that were refused) is nobody's.
    pub text: Arc<String>,
    /// The row's JSON text in `text`.
    pub rows: Vec<Range32>,
}

/// A range of bytes in a batch's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range32 {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Range32 {
    /// For indexing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Raw {
    /// The text of a row.
    pub fn row(&self, row: usize) -> &str {
        self.rows.get(row).and_then(|r| self.text.get(r.range())).unwrap_or_default()
    }
}

/// A change to the events of a batch against their [`Raw`] text, in the order the changes were made.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A field has the column's value; in rows where the cell is [`super::column::Cell::Missing`] it was removed.
    /// `touched` has a `false` for each row the change passed over; `None` is every row.
    Set {
        /// Where it is written.
        field: FieldId,
        /// What is written.
        column: Arc<Column>,
        /// Rows that were changed.
        touched: Option<Arc<Vec<bool>>>,
    },
    /// A top-level field gets another name where it stands; a field that had this name goes.
    Rename {
        /// The old name.
        from: FieldId,
        /// The new name.
        to: FieldId,
    },
    /// Only these fields stay, in the order the event has them.
    Keep {
        /// What stays.
        fields: Arc<[FieldId]>,
    },
}

/// Rows on their way, all of one edge of the graph.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// How many rows there are; every list below that is not empty has this length.
    pub rows: usize,
    /// For each row the position, in its chunk or tick, of the input row that caused it. Never falls.
    pub ordinals: Vec<u32>,
    /// Event times; [`Timestamp::MIN`] where an event has none (an error row).
    pub times: Vec<Timestamp>,
    /// The rows' text as it was read; `None` for rows that a step made: then the edits, on an empty object, are all.
    pub raw: Option<Raw>,
    /// By [`FieldId`]: the current value of each field that something reads. Shorter than the layout if the rest is absent.
    pub columns: Vec<Option<Arc<Column>>>,
    /// What steps changed, oldest first.
    pub edits: Vec<Edit>,
}

impl Batch {
    /// The column of a field, if it was asked for.
    #[inline]
    pub fn column(&self, field: FieldId) -> Option<&Column> {
        self.columns.get(field.index()).and_then(|c| c.as_deref())
    }

    /// The value of a field in a row; unit if it is missing.
    #[inline]
    pub fn get(&self, field: FieldId, row: usize) -> Val<'_> {
        self.column(field).map_or(Val::Unit, |c| c.get(row))
    }

    /// Puts a column in a field's place without recording a change: decoding, and what steps compute for themselves.
    pub fn put(&mut self, field: FieldId, column: Arc<Column>) {
        if self.columns.len() <= field.index() {
            self.columns.resize(field.index() + 1, None);
        }
        if let Some(place) = self.columns.get_mut(field.index()) {
            *place = Some(column);
        }
    }

    /// Writes a field in every row, or in the rows that `touched` says; `column` holds the field's value in all of them.
    pub fn set(&mut self, field: FieldId, column: Arc<Column>, touched: Option<Arc<Vec<bool>>>) {
        // Places are found in the row's text and stay true whatever is set.
        let column = match self.column(field) {
            Some(old) if !old.places.is_empty() => {
                Arc::new(Column { places: old.places.clone(), ..Column::clone(&column) })
            }
            _ => column,
        };
        self.put(field, Arc::clone(&column));
        self.edits.push(Edit::Set { field, column, touched });
    }

    /// The batch of just these rows, in this order.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Batch {
        let column = |c: &Arc<Column>| Arc::new(c.select(rows));
        let mut columns: Vec<Option<Arc<Column>>> = Vec::with_capacity(self.columns.len());
        columns.extend(self.columns.iter().map(|c| c.as_ref().map(column)));
        let edits = self.edits.iter().map(|edit| match edit {
            Edit::Set { field, column, touched } => {
                // Mostly the edit's column is the field's current one, selected already.
                let current = self.columns.get(field.index()).and_then(Option::as_ref);
                let selected = match current {
                    Some(c) if Arc::ptr_eq(c, column) => columns.get(field.index()).cloned().flatten(),
                    _ => None,
                };
                Edit::Set {
                    field: *field,
                    column: selected.unwrap_or_else(|| Arc::new(column.select(rows))),
                    touched: touched.as_ref().map(|t| Arc::new(pick(t, rows))),
                }
            }
            other => other.clone(),
        });
        let edits = edits.collect();
        Batch {
            rows: rows.len(),
            ordinals: pick(&self.ordinals, rows),
            times: pick(&self.times, rows),
            raw: self.raw.as_ref().map(|raw| Raw { text: Arc::clone(&raw.text), rows: pick(&raw.rows, rows) }),
            columns,
            edits,
        }
    }
}

/// A row that could not be processed.
#[derive(Clone, Debug, PartialEq)]
pub struct RowError {
    /// Its place in the batch that was being processed.
    pub row: u32,
    /// What is wrong, one sentence.
    pub reason: String,
    /// Where: `file:line:column` of the expression, or `byte 17` of the record.
    pub place: String,
}
