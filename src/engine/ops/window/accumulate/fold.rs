//! Folds: a value that the author's expressions carry from event to event.
//!
//! A row's fold is computed before the row is added to a window, so that one that fails leaves the window as it was.

use std::cell::RefCell;
use std::sync::Arc;

use compact_str::CompactString;

use crate::base::limit::JSON_DEPTH;
use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder};
use crate::data::layout::{FieldId, Layout};
use crate::data::value::{Val, Value};
use crate::engine::action::scratch;
use crate::expr::{Expr, Program, Scratch, named_members};
use crate::plan::aggregate::{Fold, Function};

use super::super::segments::Segmented;
use super::Stored;
use super::running::Store;

/// Where an expression finds a value or a member of it: the column and the way from the value.
type Members = Vec<(FieldId, Vec<CompactString>)>;

/// A fold as the engine runs it.
#[derive(Clone, Debug)]
pub struct Folding {
    init: Value,
    each: Program,
    /// Fields that `each` reads of a row.
    fields: Vec<FieldId>,
    /// Whether it uses `event` as a whole.
    whole_event: bool,
    accumulator: Members,
    merge: Option<(Program, Members, Members)>,
}

fn members(expr: &Expr, name: &str, layout: &Layout) -> Members {
    named_members(expr, name, layout).map(|(field, way)| (field, way.to_vec())).collect()
}

impl Folding {
    /// A fold whose expressions `compile` prepares.
    pub fn new(
        fold: &Fold,
        layout: &Layout,
        compile: impl Fn(&Expr) -> Result<Program, String>,
    ) -> Result<Folding, String> {
        let accumulator = members(&fold.each, Fold::ACCUMULATOR, layout);
        let merge = match &fold.merge {
            Some(merge) => {
                let (earlier, later) = (members(merge, Fold::EARLIER, layout), members(merge, Fold::LATER, layout));
                Some((compile(merge)?, earlier, later))
            }
            None => None,
        };
        let of_row = |field: &&FieldId| accumulator.iter().all(|(own, _)| own != *field);
        Ok(Folding {
            init: fold.init.clone(),
            each: compile(&fold.each)?,
            fields: fold.each.reads.iter().filter(of_row).copied().collect(),
            whole_event: fold.each.whole_event,
            accumulator,
            merge,
        })
    }

    /// The value after a row.
    fn after(&self, before: &Value, batch: &Batch, row: u32, scratch: &mut Scratch) -> Result<Value, RowError> {
        let mut one = if self.whole_event {
            batch.select(&[row])
        } else {
            Batch { rows: 1, ordinals: vec![0], ..Batch::default() }
        };
        if !self.whole_event {
            for field in &self.fields {
                if let Some(column) = batch.column(*field) {
                    one.put(*field, Arc::new(column.select(&[row])));
                }
            }
        }
        put(&mut one, before, &self.accumulator);
        evaluate(&self.each, &one, scratch).map_err(|error| RowError { row, ..error })
    }

    /// The value of two parts together.
    fn merged(&self, earlier: &Value, later: &Value, scratch: &mut Scratch) -> Result<Value, RowError> {
        let Some((program, of_earlier, of_later)) = &self.merge else {
            // `check` asks for one wherever parts are merged.
            return Err(RowError { row: 0, reason: "the fold has no `merge`".into(), place: String::new() });
        };
        let mut one = Batch { rows: 1, ordinals: vec![0], ..Batch::default() };
        put(&mut one, earlier, of_earlier);
        put(&mut one, later, of_later);
        evaluate(program, &one, scratch)
    }
}

/// Puts a value and its members where an expression reads them.
fn put(batch: &mut Batch, value: &Value, members: &Members) {
    for (field, way) in members {
        let column = match value.at(way) {
            Some(value) => Column::constant(value, 1),
            None => Column { cells: vec![Cell::Missing], ..Column::default() },
        };
        batch.put(*field, Arc::new(column));
    }
}

fn evaluate(program: &Program, batch: &Batch, scratch: &mut Scratch) -> Result<Value, RowError> {
    let (mut out, mut errors) = (ColumnBuilder::default(), Vec::new());
    program.evaluate(batch, scratch, &mut out, &mut errors);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let value = out.finish().get(0).to_value();
    // A fold that puts its value inside itself would grow with every event.
    if value.nests_beyond(JSON_DEPTH / 2) {
        let reason = format!("the fold's value nests deeper than {}", JSON_DEPTH / 2);
        return Err(RowError { row: 0, reason, place: String::new() });
    }
    Ok(value)
}

/// The values of one fold by slot.
pub(super) struct Folds {
    folding: Arc<Folding>,
    values: Segmented<Value>,
    /// The value with the row that is about to be added.
    ready: Option<Value>,
    /// Nothing in it outlives an evaluation.
    scratch: RefCell<Scratch>,
}

impl std::fmt::Debug for Folds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folds").field("values", &self.values).finish_non_exhaustive()
    }
}

impl Folds {
    pub fn new(folding: &Arc<Folding>, layout: &Arc<Layout>) -> Self {
        let scratch = RefCell::new(scratch(layout));
        Folds { folding: Arc::clone(folding), values: Segmented::default(), ready: None, scratch }
    }

    /// The value of slots in order of time; of none the first one.
    fn together(&self, slots: &[u32], scratch: &mut Scratch) -> Result<Value, RowError> {
        let mut parts = slots.iter().filter_map(|slot| self.values.get(*slot as usize));
        let first = parts.next().unwrap_or(&self.folding.init).clone();
        parts.try_fold(first, |whole, part| self.folding.merged(&whole, part, scratch))
    }
}

impl Store for Folds {
    fn allocate(&mut self) {
        self.values.push(self.folding.init.clone());
    }

    fn clear(&mut self, slot: u32) {
        if let Some(value) = self.values.get_mut(slot as usize) {
            *value = self.folding.init.clone();
        }
    }

    fn prepare(&mut self, batch: &Batch, row: u32, slots: &[u32]) -> Result<(), RowError> {
        let mut scratch = self.scratch.borrow_mut();
        let before = self.together(slots, &mut scratch).map_err(|error| RowError { row, ..error })?;
        let after = self.folding.after(&before, batch, row, &mut scratch)?;
        drop(scratch);
        self.ready = Some(after);
        Ok(())
    }

    fn add(&mut self, _: &Batch, _: Option<&Column>, rows: &[(u32, u32)]) {
        let place = rows.first().and_then(|(_, slot)| self.values.get_mut(*slot as usize));
        if let (Some(place), Some(ready)) = (place, self.ready.take()) {
            *place = ready;
        }
    }

    fn merge(&mut self, _: u32, _: u32) {
        // What is ready for the row that joins the two holds both.
    }

    fn result(&self, _: &Function, slots: &[u32], out: &mut ColumnBuilder) -> Result<(), RowError> {
        let whole = self.together(slots, &mut self.scratch.borrow_mut());
        match &whole {
            Ok(value) => out.push(value.as_val()),
            Err(_) => out.push(Val::Unit),
        }
        whole.map(|_| ())
    }

    fn stored(&self, slot: u32) -> Option<Stored> {
        self.values.get(slot as usize).map(|value| Stored::Folded(value.clone()))
    }

    fn load(&mut self, slot: u32, stored: &Stored) -> bool {
        match (self.values.get_mut(slot as usize), stored) {
            (Some(place), Stored::Folded(value)) => {
                *place = value.clone();
                true
            }
            _ => false,
        }
    }
}
