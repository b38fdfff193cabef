//! Opening the tables of lookups.

use std::sync::Arc;

use crate::engine::action::Action;
use crate::engine::actions::lookup::{Lookup as Running, Table as Open};
use crate::plan::lookup::{Ask, Lookup, Table};
use crate::store::csv_table::CsvSpec;
use crate::store::database::{self, Database, DatabaseSpec};
use crate::store::followed::Followed;

use super::Lower;
use super::actions::ActionMaker;

impl Lower<'_> {
    /// The action of a lookup; its table is opened once, whatever the number of flows and workers.
    pub(super) fn lookup(&self, lookup: &Lookup) -> Result<ActionMaker, String> {
        let refresh = lookup.refreshed(self.plan);
        let keys = lookup.on.iter().map(|(column, _)| column.clone()).collect();
        let fields = lookup.fields.iter().map(|(_, column)| column.clone()).collect();
        let table = match &lookup.table {
            Table::Csv { path, dialect } => {
                let spec = CsvSpec { path: path.clone(), dialect: dialect.clone(), keys, fields };
                Followed::open(spec, refresh).map(Open::Csv)
            }
            Table::Sqlite { path, ask } => {
                let ask = match ask {
                    Ask::Table(table) => database::Ask::Table(table.clone()),
                    Ask::Query(query) => database::Ask::Query(query.clone()),
                };
                Database::open(DatabaseSpec { path: path.clone(), ask, keys, fields }, refresh).map(Open::Sqlite)
            }
        };
        let table = table.map_err(|why| format!("{} {why}", lookup.named))?;
        let mut key = Vec::with_capacity(lookup.on.len());
        for (_, expr) in &lookup.on {
            key.push((expr.text.trim().to_owned(), self.compile(expr)?));
        }
        let place = lookup.on.first().map_or_else(String::new, |(_, expr)| expr.origin.at(1, 1, 1).place());
        let running = Running {
            table: Arc::new(table),
            named: lookup.named.clone(),
            key,
            fields: lookup.fields.iter().map(|(field, _)| *field).collect(),
            missing: lookup.missing,
            place,
        };
        Ok(Box::new(move || Ok(Action::Lookup(running.clone()))))
    }
}
