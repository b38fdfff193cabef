//! The values of one field in every row of a batch.

use std::sync::Arc;

use super::value::{Val, Value};

/// One value in a column; texts and containers lie in the column's stores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// The row has no such field.
    Missing,
    /// JSON's null.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A finite double.
    Float(f64),
    /// Bytes `start .. start + len` of [`Column::text`], free of escapes.
    Text {
        /// First byte.
        start: u32,
        /// Bytes.
        len: u32,
    },
    /// An element of [`Column::heap`]: a list, a map, a number beyond 64 bits, or a text that had escapes.
    Heap(u32),
}

/// Where a member stands in the text of its row, as offsets into [`super::batch::Raw::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key's opening quote. [`Place::MISSING`] has `u32::MAX` here, [`Place::REPEATED`] `u32::MAX - 1`.
    pub start: u32,
    /// One past the key's closing quote.
    pub key_end: u32,
    /// First byte of the value.
    pub value_start: u32,
    /// One past the value's last byte.
    pub value_end: u32,
}

impl Place {
    /// The row has no such member.
    pub const MISSING: Place = Place { start: u32::MAX, key_end: 0, value_start: 0, value_end: 0 };
    /// The member stands more than once; a writer looks at the whole row.
    pub const REPEATED: Place = Place { start: u32::MAX - 1, key_end: 0, value_start: 0, value_end: 0 };
}

/// The values of one field, a cell a row.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// One per row; empty if only places are known.
    pub cells: Vec<Cell>,
    /// What [`Cell::Text`] points into: the rows' own text, or text that a step made.
    pub text: Arc<String>,
    /// What [`Cell::Heap`] points into.
    pub heap: Arc<Vec<Value>>,
    /// One per row where asked for ([`super::layout::Demand::places`]), else empty.
    pub places: Vec<Place>,
}

impl Column {
    /// The value in a row; unit beyond the end.
    #[inline]
    pub fn get(&self, row: usize) -> Val<'_> {
        self.cells.get(row).map_or(Val::Unit, |cell| self.val(*cell))
    }

    /// The value of a cell of this column.
    #[inline]
    pub fn val(&self, cell: Cell) -> Val<'_> {
        match cell {
            Cell::Missing | Cell::Null => Val::Unit,
            Cell::Bool(b) => Val::Bool(b),
            Cell::Int(i) => Val::Int(i),
            Cell::Float(f) => Val::Float(f),
            Cell::Text { start, len } => {
                let (start, len) = (start as usize, len as usize);
                Val::Text(self.text.get(start..start + len).unwrap_or_default())
            }
            Cell::Heap(index) => self.heap.get(index as usize).map_or(Val::Unit, Value::as_val),
        }
    }

    /// Whether the field is missing (not: null) in a row.
    pub fn is_missing(&self, row: usize) -> bool {
        self.cells.get(row).is_none_or(|c| *c == Cell::Missing)
    }

    /// The column of just these rows, in this order.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Column {
        Column {
            cells: pick(&self.cells, rows),
            text: Arc::clone(&self.text),
            heap: Arc::clone(&self.heap),
            places: pick(&self.places, rows),
        }
    }

    /// A column with the same value in every row.
    pub fn constant(value: &Value, rows: usize) -> Column {
        let mut builder = ColumnBuilder::default();
        builder.push(value.as_val());
        let mut column = builder.finish();
        if let Some(first) = column.cells.first().copied() {
            column.cells.resize(rows, first);
        }
        if rows == 0 {
            column.cells.clear();
        }
        column
    }
}

/// The elements at `rows`; an empty list stays empty.
pub(crate) fn pick<T: Copy>(from: &[T], rows: &[u32]) -> Vec<T> {
    if from.is_empty() {
        return Vec::new();
    }
    rows.iter().filter_map(|r| from.get(*r as usize).copied()).collect()
}

/// Makes a column whose texts are its own.
#[derive(Debug, Default)]
pub struct ColumnBuilder {
    cells: Vec<Cell>,
    text: String,
    heap: Vec<Value>,
}

impl ColumnBuilder {
    /// A builder with room for `rows` cells.
    pub fn with_capacity(rows: usize) -> Self {
        ColumnBuilder { cells: Vec::with_capacity(rows), ..Self::default() }
    }

    /// Adds a value; unit becomes null.
    pub fn push(&mut self, value: Val<'_>) {
        let cell = match value {
            Val::Unit => Cell::Null,
            Val::Bool(b) => Cell::Bool(b),
            Val::Int(i) => Cell::Int(i),
            Val::Float(f) => Cell::Float(f),
            Val::Text(text) => self.text_cell(text),
            Val::Big(Value::Text(text)) => self.text_cell(text),
            Val::Big(value) => {
                self.heap.push(value.clone());
                Cell::Heap(as_u32(self.heap.len() - 1))
            }
        };
        self.cells.push(cell);
    }

    /// Adds a cell that needs no store: [`Cell::Missing`], a number.
    pub fn push_cell(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Adds the last cell again, `times` times; its text is stored once.
    pub fn repeat_last(&mut self, times: usize) {
        if let Some(last) = self.cells.last().copied() {
            self.cells.resize(self.cells.len() + times, last);
        }
    }

    /// Cells so far.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no cell yet.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The column.
    pub fn finish(self) -> Column {
        Column { cells: self.cells, text: Arc::new(self.text), heap: Arc::new(self.heap), places: Vec::new() }
    }

    fn text_cell(&mut self, text: &str) -> Cell {
        let start = as_u32(self.text.len());
        self.text.push_str(text);
        Cell::Text { start, len: as_u32(text.len()) }
    }
}

/// An offset or count inside a batch; batches hold far less than 4 GiB ([`crate::base::limit::RECORD_BYTES`]).
pub(crate) fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
