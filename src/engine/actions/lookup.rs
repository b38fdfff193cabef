//! Taking over columns from the row of a table that a row's key finds. The table is one for all workers; a batch meets one
//! state of it from its first row to its last, and nothing is locked between.

use std::sync::Arc;

use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder, as_u32};
use crate::data::json;
use crate::data::layout::FieldId;
use crate::data::value::Val;
use crate::engine::action::{Outcome, Tools, column_of, in_order};
use crate::expr::Program;
use crate::plan::Port;
use crate::plan::lookup::Missing;
use crate::store::Key;
use crate::store::database::{Database, Trouble};
use crate::store::followed::Followed;

/// A message quotes at most this many characters of a key.
const QUOTED: usize = 60;

/// A `lookup`, its expressions compiled and its table open.
#[derive(Clone)]
pub struct Lookup {
    /// Where rows are looked up; all flows that the step stands in share it.
    pub table: Arc<Table>,
    /// The table as its author named it.
    pub named: String,
    /// The parts of the key, each as it is spelled.
    pub key: Vec<(String, Program)>,
    /// The fields that are written, in the order of the table's columns.
    pub fields: Vec<FieldId>,
    /// What becomes of a row that the table has no row for.
    pub missing: Missing,
    /// Where the key is written.
    pub place: String,
}

/// An open table.
pub enum Table {
    /// In memory.
    Csv(Followed),
    /// Asked for each key.
    Sqlite(Database),
}

/// What the table has for a row.
enum Found {
    /// The row of this number in the answer's columns.
    At(u32),
    /// Nothing.
    Nothing,
    /// It could not be looked up; why.
    Failed(String),
}

/// What the table has for a batch.
struct Answer {
    /// By row.
    found: Vec<Found>,
    /// By field.
    columns: Vec<Arc<Column>>,
}

impl Lookup {
    /// What was found wrong with the table since this was last asked.
    pub fn take_warnings(&self) -> Vec<String> {
        match &*self.table {
            Table::Csv(table) => table.take_warnings().iter().map(|said| format!("{} {said}", self.named)).collect(),
            Table::Sqlite(_) => Vec::new(),
        }
    }

    /// Looks up every row.
    pub fn run(&self, batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let key: Vec<Arc<Column>> =
            self.key.iter().map(|(_, program)| column_of(program, &batch, tools, &mut out.errors)).collect();
        in_order(&mut out.errors);
        let answer = match &*self.table {
            Table::Csv(table) => self.in_memory(table, &key, batch.rows),
            Table::Sqlite(database) => self.asked(database, &key, batch.rows),
        };
        let mut rows = Vec::with_capacity(batch.rows);
        let mut at = Vec::with_capacity(batch.rows);
        let mut failed = std::mem::take(&mut out.errors).into_iter().peekable();
        for (row, found) in (0..as_u32(batch.rows)).zip(answer.found) {
            if let Some(error) = failed.next_if(|e| e.row == row) {
                out.errors.push(error);
                continue;
            }
            let found = match found {
                Found::At(number) => Some(number),
                Found::Failed(reason) => {
                    out.errors.push(self.error(row, reason));
                    continue;
                }
                Found::Nothing if self.missing == Missing::Error => {
                    out.errors.push(self.error(row, self.nothing(&key, row as usize)));
                    continue;
                }
                Found::Nothing if self.missing == Missing::Drop => {
                    out.dropped += 1;
                    continue;
                }
                Found::Nothing => None,
            };
            rows.push(row);
            at.push(found);
        }
        let mut batch = if rows.len() == batch.rows { batch } else { batch.select(&rows) };
        self.write(&mut batch, &at, &answer.columns);
        out.ports.push((Port::Main, batch));
        out
    }

    fn in_memory(&self, table: &Followed, key: &[Arc<Column>], rows: usize) -> Answer {
        let table = table.now();
        let mut by = Key::default();
        let mut find = |row: usize| {
            by.clear();
            for (i, column) in key.iter().enumerate() {
                if let Err(kind) = by.push_untyped(column.get(row)) {
                    return Found::Failed(self.no_key(i, kind));
                }
            }
            by.found_by().and_then(|by| table.find(by)).map_or(Found::Nothing, Found::At)
        };
        Answer { found: (0..rows).map(&mut find).collect(), columns: table.columns().to_vec() }
    }

    fn asked(&self, database: &Database, key: &[Arc<Column>], rows: usize) -> Answer {
        let mut builders: Vec<ColumnBuilder> = self.fields.iter().map(|_| ColumnBuilder::default()).collect();
        let mut session = match database.session() {
            Ok(session) => session,
            Err(why) => {
                let failed = || Found::Failed(format!("{} {why}", self.named));
                return Answer { found: (0..rows).map(|_| failed()).collect(), columns: Vec::new() };
            }
        };
        let mut found = Vec::with_capacity(rows);
        let mut answers = 0;
        for row in 0..rows {
            let key: smallvec::SmallVec<[Val<'_>; 4]> = key.iter().map(|column| column.get(row)).collect();
            found.push(match session.find(database, &key) {
                Ok(Some(values)) => {
                    builders.iter_mut().zip(values.iter()).for_each(|(builder, value)| builder.push(value.as_val()));
                    answers += 1;
                    Found::At(answers - 1)
                }
                Ok(None) => Found::Nothing,
                Err(Trouble::Key(i, kind)) => Found::Failed(self.no_key(i, kind)),
                Err(Trouble::Database(why)) => Found::Failed(format!("{} {why}", self.named)),
            });
        }
        database.give_back(session);
        Answer { found, columns: builders.into_iter().map(|builder| Arc::new(builder.finish())).collect() }
    }

    /// Writes the fields of the rows that were found, and null in the others if they are to have it.
    fn write(&self, batch: &mut Batch, at: &[Option<u32>], columns: &[Arc<Column>]) {
        let all = self.missing != Missing::Keep || at.iter().all(Option::is_some);
        let touched = (!all).then(|| Arc::new(at.iter().map(Option::is_some).collect::<Vec<bool>>()));
        if touched.as_ref().is_some_and(|touched| !touched.contains(&true)) {
            return;
        }
        for (field, column) in self.fields.iter().zip(columns) {
            let written = match batch.column(*field) {
                Some(before) if !all && has_some(before, at) => mixed(before, column, at),
                _ => taken(column, at, if all { Cell::Null } else { Cell::Missing }),
            };
            batch.set(*field, Arc::new(written), touched.clone());
        }
    }

    fn error(&self, row: u32, reason: String) -> RowError {
        RowError { row, reason, place: self.place.clone() }
    }

    fn spelled(&self, part: usize) -> &str {
        self.key.get(part).map_or("", |(text, _)| text.as_str())
    }

    fn no_key(&self, part: usize, kind: &str) -> String {
        format!("`{}` is {kind}, by which no row can be found", self.spelled(part))
    }

    /// Why the table has nothing for a row.
    fn nothing(&self, key: &[Arc<Column>], row: usize) -> String {
        let part = |(i, column): (usize, &Arc<Column>)| match column.get(row) {
            Val::Unit => format!("`{}` is missing or null", self.spelled(i)),
            value => {
                let mut bytes = Vec::new();
                json::write_value(&value.to_value(), &mut bytes);
                let spelled = String::from_utf8_lossy(&bytes);
                let cut = spelled.char_indices().nth(QUOTED).and_then(|(at, _)| spelled.get(..at));
                let spelled = cut.map_or_else(|| spelled.to_string(), |cut| format!("{cut}…"));
                format!("`{}` is {spelled}", self.spelled(i))
            }
        };
        let parts: Vec<String> = key.iter().enumerate().map(part).collect();
        format!("{}, for which {} has no row", parts.join(" and "), self.named)
    }
}

/// Whether rows that nothing was found for have the field already.
fn has_some(before: &Column, at: &[Option<u32>]) -> bool {
    before.cells.iter().zip(at).any(|(cell, at)| at.is_none() && *cell != Cell::Missing)
}

/// The column's values at these places; the texts stay where they are, in the table.
fn taken(column: &Column, at: &[Option<u32>], otherwise: Cell) -> Column {
    let cell = |number: &u32| column.cells.get(*number as usize).copied();
    let cells = at.iter().map(|number| number.as_ref().and_then(cell).unwrap_or(otherwise)).collect();
    Column { cells, text: Arc::clone(&column.text), heap: Arc::clone(&column.heap), places: Vec::new() }
}

/// The same, where rows without one keep what they had.
fn mixed(before: &Column, column: &Column, at: &[Option<u32>]) -> Column {
    let mut builder = ColumnBuilder::with_capacity(at.len());
    for (row, number) in at.iter().enumerate() {
        match number {
            Some(number) => builder.push(column.get(*number as usize)),
            None if before.is_missing(row) => builder.push_cell(Cell::Missing),
            None => builder.push(before.get(row)),
        }
    }
    builder.finish()
}
