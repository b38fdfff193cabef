//! What is wanted of each row, as a tree of member names, and the columns being filled with it.

use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;

use super::number::Number;
use super::value;
use crate::data::batch::Batch;
use crate::data::column::{Cell, Column, Place, as_u32};
use crate::data::layout::{Demand, FieldId, Layout, Root};
use crate::data::value::Value;

/// No column.
pub(super) const NONE: u16 = u16::MAX;

/// Wanted member names. Node 0 is the event itself.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: Vec<Name>,
}

/// A wanted member, or one on the way to it.
#[derive(Debug)]
pub(super) struct Name {
    /// Column that takes its value, or [`NONE`].
    pub column: u16,
    /// Column that takes its place, or [`NONE`].
    pub place: u16,
    children: Vec<(CompactString, u16)>,
}

impl Name {
    const EMPTY: Name = Name { column: NONE, place: NONE, children: Vec::new() };

    /// Whether the value is looked at as a whole, so that its members cannot be read one by one alone.
    pub fn whole(&self) -> bool {
        self.column != NONE || self.place != NONE
    }
}

/// A node that stands for what nobody wants.
pub(super) const UNWANTED: u16 = u16::MAX;

impl Names {
    /// The tree of a demand, and the fields of its columns in order.
    pub fn new(layout: &Layout, demand: &Demand) -> (Names, Vec<Wanted>) {
        let mut names = Names { nodes: vec![Name::EMPTY] };
        let mut wanted: Vec<Wanted> = Vec::new();
        let values = demand.values.iter().map(|field| (*field, false));
        for (field, is_place) in values.chain(demand.places.iter().map(|field| (*field, true))) {
            let Some(path) = layout.path(field).filter(|p| p.root == Root::Event) else { continue };
            if is_place && path.names.len() != 1 {
                continue;
            }
            let column = match wanted.iter().position(|w| w.field == field) {
                Some(at) => at,
                None => {
                    wanted.push(Wanted { field, value: false, place: false });
                    wanted.len() - 1
                }
            };
            let node = path.names.iter().fold(0, |node, name| names.child_or_new(node, name));
            let (Ok(number), Some(entry), Some(node)) =
                (u16::try_from(column), wanted.get_mut(column), names.nodes.get_mut(usize::from(node)))
            else {
                continue;
            };
            if is_place {
                (node.place, entry.place) = (number, true);
            } else {
                (node.column, entry.value) = (number, true);
            }
        }
        (names, wanted)
    }

    fn child_or_new(&mut self, node: u16, name: &CompactString) -> u16 {
        if let Some(child) = self.child(node, name) {
            return child;
        }
        let child = u16::try_from(self.nodes.len()).unwrap_or(UNWANTED);
        self.nodes.push(Name::EMPTY);
        if let Some(parent) = self.nodes.get_mut(usize::from(node)) {
            parent.children.push((name.clone(), child));
        }
        child
    }

    /// The node, if anything under or at it is wanted.
    #[inline]
    pub fn get(&self, node: u16) -> Option<&Name> {
        self.nodes.get(usize::from(node))
    }

    /// The node of a member.
    #[inline]
    pub fn child(&self, node: u16, name: &str) -> Option<u16> {
        let parent = self.nodes.get(usize::from(node))?;
        parent.children.iter().find(|(n, _)| n.len() == name.len() && n.as_str() == name).map(|(_, child)| *child)
    }

    /// Calls `each` with the node and every one below it.
    pub fn below(&self, node: u16, each: &mut impl FnMut(&Name)) {
        let Some(name) = self.get(node) else { return };
        each(name);
        for (_, child) in &name.children {
            self.below(*child, each);
        }
    }
}

/// A field that gets a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Which.
    pub field: FieldId,
    /// Whether its values are wanted.
    pub value: bool,
    /// Whether its places are wanted.
    pub place: bool,
}

/// Columns while a block is decoded: row `row` is being written, everything from it on is missing until it is.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// The row being written.
    pub row: usize,
    capacity: usize,
    filling: Vec<Filling>,
}

#[derive(Debug)]
struct Filling {
    wanted: Wanted,
    cells: Vec<Cell>,
    places: Vec<Place>,
    heap: Vec<Value>,
}

impl Columns {
    /// Empty columns, with room for `rows`.
    pub fn new(wanted: &[Wanted], rows: usize) -> Self {
        let empty = |w: &Wanted| Filling { wanted: *w, cells: Vec::new(), places: Vec::new(), heap: Vec::new() };
        let mut columns = Columns { row: 0, capacity: 0, filling: wanted.iter().map(empty).collect() };
        columns.grow(rows.max(1));
        columns
    }

    fn grow(&mut self, capacity: usize) {
        self.capacity = capacity;
        for f in &mut self.filling {
            if f.wanted.value {
                f.cells.resize(capacity, Cell::Missing);
            }
            if f.wanted.place {
                f.places.resize(capacity, Place::MISSING);
            }
        }
    }

    /// The row is complete; the next one begins.
    #[inline]
    pub fn next_row(&mut self) {
        self.row += 1;
        if self.row >= self.capacity {
            self.grow(self.capacity * 2);
        }
    }

    /// Forgets what was written of the current row.
    pub fn clear_row(&mut self) {
        let row = self.row;
        for f in &mut self.filling {
            if let Some(cell) = f.cells.get_mut(row) {
                *cell = Cell::Missing;
            }
            if let Some(place) = f.places.get_mut(row) {
                *place = Place::MISSING;
            }
        }
    }

    /// Writes a cell of the current row.
    #[inline(always)]
    pub fn set(&mut self, column: u16, cell: Cell) {
        if let Some(place) = self.filling.get_mut(usize::from(column)).and_then(|f| f.cells.get_mut(self.row)) {
            *place = cell;
        }
    }

    /// Writes a text that stands in the rows' own text.
    #[inline(always)]
    pub fn set_text(&mut self, column: u16, start: usize, end: usize) {
        self.set(column, Cell::Text { start: start as u32, len: (end - start) as u32 });
    }

    /// Writes a number that is spelled at `range` of `text`.
    #[inline(always)]
    pub fn set_number(&mut self, column: u16, number: Number, text: &str, range: Range<usize>) {
        match number {
            Number::Int(int) => self.set(column, Cell::Int(int)),
            Number::Float(float) => self.set(column, Cell::Float(float)),
            Number::Beyond => self.set_big(column, Value::Number(text.get(range).unwrap_or_default().into())),
        }
    }

    /// Takes the cell of the current row away; whether there was one.
    pub fn forget(&mut self, column: u16) -> bool {
        let cell = self.filling.get_mut(usize::from(column)).and_then(|f| f.cells.get_mut(self.row));
        cell.is_some_and(|c| std::mem::replace(c, Cell::Missing) != Cell::Missing)
    }

    /// Writes a value that needs a store of its own.
    #[cold]
    pub fn set_big(&mut self, column: u16, value: Value) {
        let Some(filling) = self.filling.get_mut(usize::from(column)) else { return };
        let cell = Cell::Heap(as_u32(filling.heap.len()));
        filling.heap.push(value);
        self.set(column, cell);
    }

    /// Writes the scalar spelled `spelled`, which starts at `start` of the rows' text; it was scanned before.
    pub fn set_scalar(&mut self, column: u16, spelled: &str, start: usize) {
        match value::scalar(spelled) {
            Value::Null => self.set(column, Cell::Null),
            Value::Bool(b) => self.set(column, Cell::Bool(b)),
            Value::Int(i) => self.set(column, Cell::Int(i)),
            Value::Float(f) => self.set(column, Cell::Float(f)),
            Value::Text(text) if text.len() + 2 == spelled.len() => {
                self.set_text(column, start + 1, start + 1 + text.len());
            }
            other => self.set_big(column, other),
        }
    }

    /// Writes a place of the current row.
    #[inline(always)]
    pub fn set_place(&mut self, column: u16, place: Place) {
        if let Some(p) = self.filling.get_mut(usize::from(column)).and_then(|f| f.places.get_mut(self.row)) {
            *p = place;
        }
    }

    /// Whether a place of the current row is known.
    pub fn has_place(&self, column: u16) -> bool {
        let place = self.filling.get(usize::from(column)).and_then(|f| f.places.get(self.row));
        place.is_some_and(|p| *p != Place::MISSING)
    }

    /// Puts the columns, cut to the rows that were written, into a batch.
    pub fn finish(self, text: &Arc<String>, batch: &mut Batch) {
        for mut f in self.filling {
            f.cells.truncate(self.row);
            f.places.truncate(self.row);
            let column = Column { cells: f.cells, text: Arc::clone(text), heap: Arc::new(f.heap), places: f.places };
            batch.put(f.wanted.field, Arc::new(column));
        }
    }
}
