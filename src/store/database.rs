//! A SQLite database that is asked for rows. It is opened for reading only; answers are kept per worker, within a bound,
//! until the database has changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement, ToSql};

use super::identity::Identity;
use super::key::{Key, Part};
use crate::base::limit;
use crate::base::suggest::nearest;
use crate::base::time::TimeSpan;
use crate::data::value::{Val, Value};

/// How long a statement waits for a writer that holds the database.
const BUSY: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The row of a table or view whose key columns have the values.
    Table(String),
    /// A query of the author's, with the key's parts as its parameters `:name`; its first row counts.
    Query(String),
}

/// Which database and what of it is wanted.
#[derive(Clone, Debug)]
pub struct DatabaseSpec {
    /// Where the file is, as it is opened.
    pub path: PathBuf,
    /// What is asked.
    pub ask: Ask,
    /// Key columns of the table, or parameters of the query.
    pub keys: Vec<String>,
    /// Columns of the answer that are wanted.
    pub fields: Vec<String>,
}

/// What a question looks like before it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The columns of the answer.
    pub columns: Vec<String>,
    /// The parameters of a query, without their colon; none of a table.
    pub parameters: Vec<String>,
}

/// Opens a database for reading. The error goes on after its name.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    if !path.is_file() {
        return Err("cannot be opened: there is no such file".into());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY)?;
        // The file is only read now: one that is no database is found here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    });
    open.map_err(|e| format!("cannot be opened: {}", said(&e)))
}

/// An error of SQLite in its own words, without numbers.
pub(super) fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// A name as SQL quotes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns and parameters of a question. The error goes on after the database's name.
pub fn describe(path: &Path, ask: &Ask) -> Result<Described, String> {
    let connection = open(path)?;
    let sql = match ask {
        Ask::Query(sql) => sql.clone(),
        Ask::Table(table) => {
            known(&connection, table)?;
            format!("SELECT * FROM {}", quoted(table))
        }
    };
    let statement = prepare(&connection, &sql)?;
    let columns = statement.column_names().map(str::to_owned).collect();
    let mut parameters = Vec::new();
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':'));
        let name = name.ok_or("has a query with `?`: parameters are named like `:device_id`")?;
        parameters.push(name.to_owned());
    }
    Ok(Described { columns, parameters })
}

/// Whether there is a table or view of a name.
fn known(connection: &Connection, table: &str) -> Result<(), String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'";
    let names: Result<Vec<String>, _> = connection
        .prepare(sql)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0)).and_then(Iterator::collect));
    let names = names.map_err(|e| format!("cannot be read: {}", said(&e)))?;
    if names.iter().any(|name| name.eq_ignore_ascii_case(table)) {
        return Ok(());
    }
    let near = nearest(table, names.iter().map(String::as_str));
    Err(match near {
        Some(near) => format!("has no table `{table}`; did you mean `{near}`?"),
        None if names.is_empty() => format!("has no table `{table}`, nor any other"),
        None => format!("has no table `{table}`; it has {}", names.join(", ")),
    })
}

/// A statement that reads and has columns.
fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<Statement<'c>, String> {
    let statement = connection.prepare(sql).map_err(|e| format!("cannot run the query: {}", said(&e)))?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err("has a query that is no `SELECT`; the database is only read".into());
    }
    Ok(statement)
}

/// A row of an answer: the wanted columns in order.
pub type Row = Arc<[Value]>;

/// A database with the workers' ways into it.
#[derive(Debug)]
pub struct Database {
    spec: DatabaseSpec,
    sql: String,
    refresh: Option<TimeSpan>,
    /// Sessions that no worker uses at the moment.
    idle: Mutex<Vec<Session>>,
}

/// One worker's connection and the answers it has had.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    answers: Answers,
    looked: Instant,
    /// What SQLite counts up when another connection writes.
    version: i64,
    identity: Option<Identity>,
    key: Key,
}

impl Database {
    /// Opens a database and makes sure that the question can be asked. The error goes on after its name. Answers are kept
    /// for `refresh` at least; `None` keeps them as long as there is room.
    pub fn open(spec: DatabaseSpec, refresh: Option<TimeSpan>) -> Result<Database, String> {
        let wanted: Vec<String> = spec.fields.iter().map(|name| quoted(name)).collect();
        let sql = match &spec.ask {
            Ask::Query(sql) => sql.clone(),
            Ask::Table(table) => {
                let conditions: Vec<String> =
                    (1..).zip(&spec.keys).map(|(i, key)| format!("{} = ?{i}", quoted(key))).collect();
                let conditions = conditions.join(" AND ");
                format!("SELECT {} FROM {} WHERE {conditions} LIMIT 1", wanted.join(", "), quoted(table))
            }
        };
        let database = Database { spec, sql, refresh, idle: Mutex::default() };
        let session = database.connect()?;
        database.give_back(session);
        Ok(database)
    }

    fn connect(&self) -> Result<Session, String> {
        let connection = open(&self.spec.path)?;
        prepare(&connection, &self.sql)?;
        let version = version(&connection)?;
        let identity = Identity::at(&self.spec.path);
        let answers = Answers::default();
        Ok(Session { connection, answers, looked: Instant::now(), version, identity, key: Key::default() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A session for a batch of rows. The error goes on after the database's name.
    pub fn session(&self) -> Result<Session, String> {
        let waiting = self.idle().pop();
        let mut session = match waiting {
            Some(session) => session,
            None => return self.connect(),
        };
        let due = self.refresh.is_some_and(|refresh| session.looked.elapsed() >= refresh.to_std());
        if due {
            let there = Identity::at(&self.spec.path);
            let replaced = match (&there, &session.identity) {
                (Some(there), Some(before)) => !there.same_file(before),
                _ => true,
            };
            if replaced {
                return self.connect();
            }
            let version = version(&session.connection)?;
            if version != session.version {
                session.answers = Answers::default();
            }
            (session.version, session.looked) = (version, Instant::now());
        }
        Ok(session)
    }

    /// Lets another batch use a session.
    pub fn give_back(&self, session: Session) {
        self.idle().push(session);
    }
}

fn version(connection: &Connection) -> Result<i64, String> {
    let version = connection.query_row("PRAGMA data_version", [], |row| row.get(0));
    version.map_err(|e| format!("cannot be read: {}", said(&e)))
}

impl Session {
    /// The row that has a key; `None` if there is none or a part of the key is null. The error goes on after the
    /// database's name, or says of which part of the key that it is, as "a list", no part of one.
    pub fn find(&mut self, database: &Database, key: &[Val<'_>]) -> Result<Option<Row>, Trouble> {
        self.key.clear();
        let mut parts = smallvec::SmallVec::<[Part<'_>; 4]>::new();
        for (i, value) in key.iter().enumerate() {
            let part = Part::of(*value).map_err(|kind| Trouble::Key(i, kind))?;
            self.key.push(part);
            parts.push(part);
        }
        let Some(key) = self.key.found_by() else { return Ok(None) };
        if let Some(known) = self.answers.get(key) {
            return Ok(known);
        }
        let row = ask(&self.connection, database, &parts).map_err(Trouble::Database)?;
        self.answers.put(key, row.clone());
        Ok(row)
    }
}

/// Why a key has no answer.
#[derive(Debug, PartialEq)]
pub enum Trouble {
    /// This part of the key is of a kind that is no part of one.
    Key(usize, &'static str),
    /// The database did not answer.
    Database(String),
}

fn ask(connection: &Connection, database: &Database, key: &[Part<'_>]) -> Result<Option<Row>, String> {
    let cannot = |e: rusqlite::Error| format!("cannot be read: {}", said(&e));
    let mut statement = connection.prepare_cached(&database.sql).map_err(cannot)?;
    for (i, part) in (1..).zip(key) {
        let index = match &database.spec.ask {
            Ask::Table(_) => Some(i),
            Ask::Query(_) => {
                let name = database.spec.keys.get(i - 1).map(|name| format!(":{name}")).unwrap_or_default();
                statement.parameter_index(&name).map_err(cannot)?
            }
        };
        if let Some(index) = index {
            statement.raw_bind_parameter(index, part).map_err(cannot)?;
        }
    }
    let columns: Result<Vec<usize>, _> = database.spec.fields.iter().map(|name| statement.column_index(name)).collect();
    let columns = columns.map_err(cannot)?;
    let mut rows = statement.raw_query();
    let Some(row) = rows.next().map_err(cannot)? else { return Ok(None) };
    let values = columns.iter().zip(&database.spec.fields).map(|(column, name)| {
        let value = row.get_ref(*column).map_err(cannot)?;
        read(value).map_err(|what| format!("has {what} in its column `{name}`"))
    });
    values.collect::<Result<Vec<Value>, String>>().map(|values| Some(values.into()))
}

/// A value of SQLite as one of an event; the error says what it is.
pub(super) fn read(value: ValueRef<'_>) -> Result<Value, &'static str> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(n) => Ok(Value::Int(n)),
        ValueRef::Real(f) if f.is_finite() => Ok(Value::Float(f)),
        ValueRef::Real(_) => Err("a number that is not finite"),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.into())),
            Err(_) => Err("text that is not UTF-8"),
        },
        ValueRef::Blob(_) => Err("bytes, which no event holds (a query may take `hex(…)` of them)"),
    }
}

impl ToSql for Part<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Part::Null => ToSqlOutput::Owned(SqlValue::Null),
            Part::Bool(b) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*b))),
            Part::Int(n) => ToSqlOutput::Owned(SqlValue::Integer(*n)),
            Part::Float(f) => ToSqlOutput::Owned(SqlValue::Real(*f)),
            Part::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// Answers within a bound. When the younger half is full it becomes the older, whose answers go; one that is asked for
/// again is young again.
#[derive(Debug, Default)]
struct Answers {
    young: HashMap<Box<[u8]>, Option<Row>, foldhash::fast::RandomState>,
    old: HashMap<Box<[u8]>, Option<Row>, foldhash::fast::RandomState>,
}

impl Answers {
    fn get(&mut self, key: &[u8]) -> Option<Option<Row>> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.put(key, known.clone());
        Some(known)
    }

    fn put(&mut self, key: &[u8], answer: Option<Row>) {
        if self.young.len() >= limit::TABLE_ANSWERS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.into(), answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(directory: &Path, sql: &str) -> PathBuf {
        let path = directory.join("t.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    }

    fn spec(path: &Path, ask: Ask, fields: &[&str]) -> DatabaseSpec {
        let fields = fields.iter().map(|f| (*f).to_owned()).collect();
        DatabaseSpec { path: path.into(), ask, keys: vec!["id".into()], fields }
    }

    fn find(database: &Database, key: Val<'_>) -> Result<Option<Vec<Value>>, Trouble> {
        let mut session = database.session().map_err(Trouble::Database)?;
        let found = session.find(database, &[key]).map(|row| row.map(|r| r.to_vec()));
        database.give_back(session);
        found
    }

    const DEVICES: &str = "CREATE TABLE devices (id TEXT PRIMARY KEY, floor INT, level REAL, raw BLOB);
        INSERT INTO devices VALUES ('a', 3, 1.5, NULL), ('17', 4, NULL, x'00');";

    #[test]
    fn rows_are_found_and_found_anew_after_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(directory.path(), DEVICES);
        let table = spec(&path, Ask::Table("devices".into()), &["level", "floor"]);
        let fresh = Database::open(table.clone(), Some(TimeSpan::ZERO)).unwrap();
        let kept = Database::open(table, None).unwrap();
        for database in [&fresh, &kept] {
            assert_eq!(find(database, Val::Text("a")), Ok(Some(vec![Value::Float(1.5), Value::Int(3)])));
            assert_eq!(find(database, Val::Int(17)), Ok(Some(vec![Value::Null, Value::Int(4)])));
            assert_eq!(find(database, Val::Text("b")), Ok(None));
            assert_eq!(find(database, Val::Unit), Ok(None));
            let list = Value::List(Arc::default());
            assert_eq!(find(database, list.as_val()), Err(Trouble::Key(0, "a list")));
        }
        made(directory.path(), "UPDATE devices SET floor = 9; INSERT INTO devices VALUES ('b', 1, 1, NULL)");
        assert_eq!(find(&fresh, Val::Text("b")), Ok(Some(vec![Value::Float(1.0), Value::Int(1)])));
        assert_eq!(find(&fresh, Val::Text("a")), Ok(Some(vec![Value::Float(1.5), Value::Int(9)])));
        assert_eq!(find(&kept, Val::Text("a")), Ok(Some(vec![Value::Float(1.5), Value::Int(3)])));
        std::fs::remove_file(&path).unwrap();
        made(directory.path(), "CREATE TABLE devices (id, level, floor); INSERT INTO devices VALUES ('a', 'x', 'y')");
        assert_eq!(find(&fresh, Val::Text("a")), Ok(Some(vec![Value::Text("x".into()), Value::Text("y".into())])));
    }

    #[test]
    fn queries_name_their_parameters() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(directory.path(), DEVICES);
        let sql = "SELECT floor * 2 AS twice FROM devices WHERE id = :id";
        let described = describe(&path, &Ask::Query(sql.into())).unwrap();
        assert_eq!(described, Described { columns: vec!["twice".into()], parameters: vec!["id".into()] });
        let database = Database::open(spec(&path, Ask::Query(sql.into()), &["twice"]), None).unwrap();
        assert_eq!(find(&database, Val::Text("a")), Ok(Some(vec![Value::Int(6)])));
        let wrong = |sql: &str| describe(&path, &Ask::Query(sql.into())).unwrap_err();
        assert_eq!(wrong("SELECT florr FROM devices"), "cannot run the query: no such column: florr");
        assert_eq!(wrong("DELETE FROM devices"), "has a query that is no `SELECT`; the database is only read");
        assert_eq!(wrong("ATTACH 'x' AS y"), "has a query that is no `SELECT`; the database is only read");
        assert!(wrong("SELECT 1 WHERE ?").starts_with("has a query with `?`"));
        let table = |name: &str| describe(&path, &Ask::Table(name.into())).unwrap_err();
        assert_eq!(table("device"), "has no table `device`; did you mean `devices`?");
        let blob = Database::open(spec(&path, Ask::Table("devices".into()), &["raw"]), None).unwrap();
        let bytes = "has bytes, which no event holds (a query may take `hex(…)` of them) in its column `raw`";
        assert_eq!(find(&blob, Val::Text("17")), Err(Trouble::Database(bytes.into())));
        std::fs::write(&path, "no database, but long enough to be looked at as if it were one").unwrap();
        assert_eq!(describe(&path, &Ask::Table("x".into())).unwrap_err(), "cannot be opened: file is not a database");
    }

    #[test]
    fn answers_are_kept_within_a_bound() {
        let mut answers = Answers::default();
        for i in 0..3 * limit::TABLE_ANSWERS {
            answers.put(i.to_string().as_bytes(), None);
            assert!(answers.get(b"0").is_some());
        }
        assert!(answers.young.len() + answers.old.len() <= limit::TABLE_ANSWERS);
    }
}
