//! A table in an author's database that rows are written to, each once: a table of our own beside it, `_millstream`, says
//! up to which epoch, and is written in the transaction that writes the rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction, TransactionBehavior, params};

use super::database::{quoted, said};
use crate::data::json;
use crate::data::value::Value;

/// How long a transaction waits for another program that writes the database.
const BUSY: Duration = Duration::from_secs(5);

/// The table of our own: of each writer the last epoch that was written, and the last whose rows replaced the table's.
const OURS: &str = "CREATE TABLE IF NOT EXISTS _millstream (
    writer TEXT PRIMARY KEY, -- a pipeline's sink
    epoch INTEGER NOT NULL, -- the last checkpoint of the sink whose rows are in the database
    replaced INTEGER NOT NULL -- the last one at which the rows of a run took the place of the table's
) STRICT";

/// Which table, and how rows are written to it.
#[derive(Clone, Debug)]
pub struct TargetSpec {
    /// The database; made if it is not there.
    pub path: PathBuf,
    /// The table.
    pub table: String,
    /// Columns by which rows are told apart: one with the same values is changed. Empty: every row is a row more.
    pub key: Vec<String>,
    /// Whether the table, and columns for fields that have none, are made.
    pub create: bool,
    /// Whether a run's rows take the place of what the table holds when the run is complete.
    pub replace: bool,
    /// Who writes: the same in every run of a sink.
    pub writer: String,
}

/// A table being written.
pub struct Target {
    spec: TargetSpec,
    connection: Connection,
    /// The table that rows go to until the run is complete.
    into: String,
    /// Its columns, in order.
    columns: Vec<String>,
    epoch: u64,
}

/// Hands out rows, each JSON on a line.
pub type Lines<'a> = dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> + 'a;

impl Target {
    /// Opens the database. The error is a sentence.
    pub fn open(spec: TargetSpec) -> Result<Target, String> {
        let into = if spec.replace { format!("_millstream_{}", spec.table) } else { spec.table.clone() };
        let opened = Connection::open(&spec.path).and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            connection.execute_batch(OURS)?;
            Ok(connection)
        });
        let connection = opened.map_err(|e| sentence("cannot open", &spec.path, &e))?;
        let found = |sql: &str| {
            let found = connection.query_row(sql, [&spec.writer], |row| row.get::<_, i64>(0)).optional();
            found.map_err(|e| sentence("cannot read", &spec.path, &e))
        };
        let epoch = found("SELECT epoch FROM _millstream WHERE writer = ?1")?.unwrap_or(0);
        let mut target =
            Target { into, columns: Vec::new(), epoch: u64::try_from(epoch).unwrap_or(0), connection, spec };
        target.columns = target.columns_of(&target.into)?;
        if !target.spec.create && target.columns_of(&target.spec.table)?.is_empty() {
            let (path, table) = (target.spec.path.display(), &target.spec.table);
            return Err(format!("`{path}` has no table `{table}`; make it, or leave `create: false` out"));
        }
        Ok(target)
    }

    /// The last epoch that was written.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A run begins: what an earlier one wrote and did not complete goes.
    pub fn begin(&mut self) -> Result<(), String> {
        if !self.spec.replace {
            return Ok(());
        }
        let failed = |e: &rusqlite::Error| sentence("cannot write", &self.spec.path, e);
        let drop = format!("DROP TABLE IF EXISTS {}", quoted(&self.into));
        self.connection.execute_batch(&drop).map_err(|e| failed(&e))?;
        let sql = "UPDATE _millstream SET replaced = -1 WHERE writer = ?1";
        self.connection.execute(sql, [&self.spec.writer]).map_err(|e| failed(&e))?;
        self.columns.clear();
        Ok(())
    }

    /// Writes the rows of an epoch, all or none of them.
    pub fn write(&mut self, epoch: u64, lines: &mut Lines<'_>) -> Result<(), String> {
        let path = self.spec.path.clone();
        let failed = |e: &rusqlite::Error| sentence("cannot write", &path, e);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(|e| failed(&e))?;
        let mut columns = self.columns.clone();
        let mut writer =
            Writer { spec: &self.spec, into: &self.into, transaction: &transaction, columns: &mut columns };
        lines(&mut |line| writer.row(line))?;
        let sql =
            "INSERT INTO _millstream VALUES (?1, ?2, 0) ON CONFLICT (writer) DO UPDATE SET epoch = excluded.epoch";
        transaction.execute(sql, params![self.spec.writer, epoch as i64]).map_err(|e| failed(&e))?;
        transaction.commit().map_err(|e| failed(&e))?;
        (self.epoch, self.columns) = (epoch, columns);
        Ok(())
    }

    /// The run is complete: its rows take the place of the table's. Once for an epoch, however often it is asked for.
    pub fn finish(&mut self) -> Result<(), String> {
        if !self.spec.replace {
            return Ok(());
        }
        let path = self.spec.path.clone();
        let failed = |e: &rusqlite::Error| sentence("cannot write", &path, e);
        let epoch = self.epoch as i64;
        let (into, columns) = (self.into.clone(), self.columns.clone());
        let mut there = self.columns_of(&self.spec.table)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(|e| failed(&e))?;
        let sql = "SELECT replaced FROM _millstream WHERE writer = ?1";
        let replaced = transaction.query_row(sql, [&self.spec.writer], |row| row.get::<_, i64>(0)).optional();
        if replaced.map_err(|e| failed(&e))?.is_some_and(|replaced| replaced == epoch) {
            return Ok(());
        }
        let table = quoted(&self.spec.table);
        let mut writer =
            Writer { spec: &self.spec, into: &self.spec.table, transaction: &transaction, columns: &mut there };
        writer.make(&columns)?;
        let names = names_of(&columns);
        let mut sql = String::new();
        if !writer.columns.is_empty() {
            sql += &format!("DELETE FROM {table};");
        }
        if !columns.is_empty() {
            let from = quoted(&into);
            sql +=
                &format!("INSERT INTO {table} ({names}) SELECT {names} FROM {from} ORDER BY rowid; DROP TABLE {from};");
        }
        transaction.execute_batch(&sql).map_err(|e| failed(&e))?;
        let sql =
            "INSERT INTO _millstream VALUES (?1, ?2, ?2) ON CONFLICT (writer) DO UPDATE SET replaced = excluded.epoch";
        transaction.execute(sql, params![self.spec.writer, epoch]).map_err(|e| failed(&e))?;
        transaction.commit().map_err(|e| failed(&e))?;
        self.columns.clear();
        Ok(())
    }

    fn columns_of(&self, table: &str) -> Result<Vec<String>, String> {
        let columns = self.connection.prepare("SELECT name FROM pragma_table_info(?1)").and_then(|mut statement| {
            let names = statement.query_map([table], |row| row.get(0))?;
            names.collect::<Result<Vec<String>, _>>()
        });
        columns.map_err(|e| sentence("cannot read", &self.spec.path, &e))
    }
}

/// Writes rows within a transaction.
struct Writer<'a> {
    spec: &'a TargetSpec,
    into: &'a str,
    transaction: &'a Transaction<'a>,
    columns: &'a mut Vec<String>,
}

impl Writer<'_> {
    fn failed(&self, error: &rusqlite::Error) -> String {
        sentence("cannot write", &self.spec.path, error)
    }

    fn row(&mut self, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("a row is no text: {e}"))?;
        let Ok(Value::Map(row)) = json::parse_value(text) else {
            return Err(format!("a row for the table `{}` is no object: {text}", self.spec.table));
        };
        if row.0.is_empty() {
            return Ok(());
        }
        let fields: Vec<String> = row.0.iter().map(|(name, _)| name.to_string()).collect();
        self.make(&fields)?;
        let mut statement = self.transaction.prepare_cached(&self.sql(&fields)).map_err(|e| self.failed(&e))?;
        for (index, (_, value)) in (1..).zip(&row.0) {
            statement.raw_bind_parameter(index, Cell(value)).map_err(|e| self.failed(&e))?;
        }
        statement.raw_execute().map(drop).map_err(|e| self.failed(&e))
    }

    fn sql(&self, fields: &[String]) -> String {
        let (table, names) = (quoted(self.into), names_of(fields));
        let values: Vec<String> = (1..=fields.len()).map(|i| format!("?{i}")).collect();
        let mut sql = format!("INSERT INTO {table} ({names}) VALUES ({})", values.join(", "));
        if self.spec.key.iter().all(|key| fields.contains(key)) && !self.spec.key.is_empty() {
            let rest = fields.iter().filter(|field| !self.spec.key.contains(field));
            let set: Vec<String> = rest.map(|f| format!("{0} = excluded.{0}", quoted(f))).collect();
            let then = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
            sql += &format!(" ON CONFLICT ({}) DO {then}", names_of(&self.spec.key));
        }
        sql
    }

    /// Makes the table and columns that fields need.
    fn make(&mut self, fields: &[String]) -> Result<(), String> {
        // SQLite takes names that differ in case alone for one.
        let has = |columns: &[String], name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let mut missing: Vec<&String> = fields.iter().filter(|field| !has(self.columns, field)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let staged = self.into != self.spec.table;
        if !self.spec.create && !staged {
            let (path, table) = (self.spec.path.display(), &self.spec.table);
            return Err(format!(
                "the table `{table}` of `{path}` has no column `{first}`; add it, take the field out (`keep`, `drop`), or leave `create: false` out"
            ));
        }
        let table = quoted(self.into);
        let mut sql = String::new();
        if self.columns.is_empty() {
            missing = fields.iter().chain(self.spec.key.iter().filter(|key| !fields.contains(key))).collect();
            let names: Vec<String> = missing.iter().map(|name| quoted(name)).collect();
            let key = if self.spec.key.is_empty() {
                String::new()
            } else {
                format!(", PRIMARY KEY ({})", names_of(&self.spec.key))
            };
            sql += &format!("CREATE TABLE {table} ({}{key});", names.join(", "));
        } else {
            missing.iter().for_each(|name| sql += &format!("ALTER TABLE {table} ADD COLUMN {};", quoted(name)));
        }
        self.transaction.execute_batch(&sql).map_err(|e| self.failed(&e))?;
        self.columns.extend(missing.into_iter().cloned());
        Ok(())
    }
}

fn names_of(fields: &[String]) -> String {
    fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(", ")
}

fn sentence(what: &str, path: &Path, error: &rusqlite::Error) -> String {
    let hint = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            " (another program has been writing it for more than 5 seconds)"
        }
        _ => "",
    };
    format!("{what} `{}`: {}{hint}", path.display(), said(error))
}

/// A field as a column holds it.
struct Cell<'a>(&'a Value);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(b) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*b))),
            Value::Int(n) => ToSqlOutput::Borrowed(ValueRef::Integer(*n)),
            Value::Float(f) => ToSqlOutput::Borrowed(ValueRef::Real(*f)),
            Value::Number(text) | Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            other @ (Value::List(_) | Value::Map(_)) => {
                let mut text = Vec::new();
                json::write_value(other, &mut text);
                ToSqlOutput::from(String::from_utf8_lossy(&text).into_owned())
            }
        })
    }
}

/// Runs statements on a database, which is made if it is not there: what tests read.
#[cfg(test)]
pub(crate) fn made(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Every row of a table, in the order of its rowids, as JSON: what tests compare.
#[cfg(test)]
pub(crate) fn dump(path: &Path, table: &str) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(&format!("SELECT * FROM {} ORDER BY rowid", quoted(table))).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut map = crate::data::value::Map::default();
        for (index, name) in names.iter().enumerate() {
            map.insert(name, super::database::read(row.get_ref(index)?).unwrap());
        }
        let mut text = Vec::new();
        json::write_value(&Value::Map(map.into()), &mut text);
        Ok(String::from_utf8(text).unwrap())
    });
    rows.unwrap().map(Result::unwrap).collect()
}
