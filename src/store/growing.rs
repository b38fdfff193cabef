//! A table or query of an author's database that is read in the order of columns that grow: what comes after a row, and
//! only that. Nothing is kept open or locked between one look and the next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ToSql};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::database::{self, Ask, quoted, said};
use crate::base::suggest::nearest;
use crate::data::json;

/// How long one look waits for whoever holds the database.
const BUSY: Duration = Duration::from_millis(200);
/// The same of the first look, which nobody repeats at once.
const FIRST_BUSY: Duration = Duration::from_secs(5);

/// What is read, and by which columns.
#[derive(Clone, Debug, PartialEq)]
pub struct GrowingSpec {
    /// The database.
    pub path: PathBuf,
    /// A table, a view or a query without parameters.
    pub ask: Ask,
    /// Columns whose values grow: the first, among equals of it the second, and so on.
    pub by: Vec<String>,
}

/// The part of a specification that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The database cannot be opened.
    Path,
    /// It is there, and another program holds it.
    Held,
    /// There is no such table, or the query is none.
    Ask,
    /// One of the columns, by its index.
    By(usize),
}

/// What is wrong with a specification: where, and why, to go on after the database's name.
pub type Wrong = (Part, String);

/// Why there are no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another program holds the database; it can be asked again.
    Busy,
    /// To go on after the database's name.
    Failed(String),
}

/// A value of a column that grows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A real number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Where a row stands: its values of the columns that grow and of those that tell rows apart beside them.
pub type Key = Vec<Value>;

/// Rows that grow.
#[derive(Clone, Debug, PartialEq)]
pub struct Growing {
    path: PathBuf,
    /// What comes after `FROM`.
    from: String,
    /// The names of a row's fields as JSON, each with its colon.
    fields: Vec<Vec<u8>>,
    /// As SQL: the columns of the key.
    key: Vec<String>,
    /// How many of them are the author's.
    by: usize,
}

impl Growing {
    /// Finds out whether it can be read. Blocks, for some seconds where another program holds the database.
    pub fn open(spec: &GrowingSpec) -> Result<Growing, Wrong> {
        let held = || (Part::Held, "cannot be read: another program holds it".to_owned());
        if let Ok(connection) = connect(&spec.path, FIRST_BUSY)
            && let Err(e) = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            && trouble(&e) == Trouble::Busy
        {
            return Err(held());
        }
        let described = database::describe(&spec.path, &spec.ask).map_err(|why| {
            let of = if why.starts_with("cannot be opened") { Part::Path } else { Part::Ask };
            (of, why)
        })?;
        let ask = |why: String| (Part::Ask, why);
        if let Some(parameter) = described.parameters.first() {
            return Err(ask(format!("has a query with `:{parameter}`, and nothing gives it a value")));
        }
        let columns = described.columns;
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let twice = columns.iter().enumerate().find(|(at, name)| columns.iter().take(*at).any(|c| c == *name));
        if let Some((_, name)) = twice {
            return Err(ask(format!("has a query with two columns `{name}`: name one of them otherwise (`AS`)")));
        }
        let mut key = Vec::new();
        for (index, name) in spec.by.iter().enumerate() {
            if !columns.iter().any(|column| same(column, name)) {
                let near = nearest(name, columns.iter().map(String::as_str));
                let hint = match near {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None => format!("; it has {}", columns.join(", ")),
                };
                return Err((Part::By(index), format!("has no column `{name}`{hint}")));
            }
            key.push(quoted(name));
        }
        let from = match &spec.ask {
            Ask::Table(table) => {
                key.extend(apart(&spec.path, table, &spec.by, &columns).map_err(ask)?);
                quoted(table)
            }
            // A comment at its end must not hide the parenthesis.
            Ask::Query(sql) => format!("({}\n)", sql.trim().trim_end_matches(';')),
        };
        let field = |name: &String| {
            let mut field = Vec::new();
            json::write_text(name, &mut field);
            field.push(b':');
            field
        };
        let (fields, by) = (columns.iter().map(field).collect(), spec.by.len());
        let growing = Growing { path: spec.path.clone(), from, fields, key, by };
        // Only a look shows that the query can be asked for what comes after a row.
        growing.read((None, None), &mut |_, _| false).map(|()| growing).map_err(|trouble| match trouble {
            Trouble::Busy => held(),
            Trouble::Failed(why) => ask(why),
        })
    }

    /// The columns of its keys, as SQL names them.
    pub fn columns(&self) -> &[String] {
        &self.key
    }

    /// Where the last row stands that is there now. Blocks for a moment.
    pub fn last(&self) -> Result<Option<Key>, Trouble> {
        let order: Vec<String> = self.key.iter().map(|column| format!("{column} DESC")).collect();
        let sql = format!(
            "SELECT {} FROM {}{} ORDER BY {} LIMIT 1",
            self.key.join(", "),
            self.from,
            self.condition(false, false),
            order.join(", ")
        );
        let connection = connect(&self.path, BUSY)?;
        let mut statement = connection.prepare(&sql).map_err(|e| trouble(&e))?;
        let mut rows = statement.raw_query();
        match rows.next().map_err(|e| trouble(&e))? {
            Some(row) => self.key_of(row, 0).map(Some),
            None => Ok(None),
        }
    }

    /// Hands out the rows after one key and up to another, in order, as JSON, each with its key, until it is told that these
    /// are enough. Blocks.
    pub fn read(
        &self,
        (after, until): (Option<&Key>, Option<&Key>),
        each: &mut dyn FnMut(&[u8], Key) -> bool,
    ) -> Result<(), Trouble> {
        let key = self.key.join(", ");
        let condition = self.condition(after.is_some(), until.is_some());
        let sql = format!("SELECT *, {key} FROM {}{condition} ORDER BY {key}", self.from);
        let connection = connect(&self.path, BUSY)?;
        let mut statement = connection.prepare(&sql).map_err(|e| trouble(&e))?;
        let values = after.into_iter().chain(until).flatten();
        for (index, value) in (1..).zip(values) {
            statement.raw_bind_parameter(index, value).map_err(|e| trouble(&e))?;
        }
        let mut rows = statement.raw_query();
        let mut text = Vec::new();
        while let Some(row) = rows.next().map_err(|e| trouble(&e))? {
            text.clear();
            self.write(row, &mut text).map_err(|e| trouble(&e))?;
            if !each(&text, self.key_of(row, self.fields.len())?) {
                break;
            }
        }
        Ok(())
    }

    /// What rows are asked for: those after a key, those up to one, and none of which it is unknown.
    fn condition(&self, after: bool, until: bool) -> String {
        let mut all: Vec<String> =
            self.key.iter().take(self.by).map(|column| format!("{column} IS NOT NULL")).collect();
        let count = self.key.len();
        let mut compare = |sign: char, equal: &str, first: usize| {
            let values: Vec<String> = (first..first + count).map(|at| format!("?{at}")).collect();
            if let ([column], [value]) = (self.key.as_slice(), values.as_slice()) {
                all.push(format!("{column} {sign}{equal} {value}"));
                return;
            }
            // An index is looked up by the first column alone.
            if let (Some(column), Some(value)) = (self.key.first(), values.first()) {
                all.push(format!("{column} {sign}= {value}"));
            }
            all.push(format!("({}) {sign}{equal} ({})", self.key.join(", "), values.join(", ")));
        };
        if after {
            compare('>', "", 1);
        }
        if until {
            compare('<', "=", if after { 1 + count } else { 1 });
        }
        format!(" WHERE {}", all.join(" AND "))
    }

    fn key_of(&self, row: &Row<'_>, from: usize) -> Result<Key, Trouble> {
        let value = |(index, column): (usize, &String)| match row.get_ref(from + index).map_err(|e| trouble(&e))? {
            ValueRef::Integer(n) => Ok(Value::Int(n)),
            ValueRef::Real(f) => Ok(Value::Real(f)),
            ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec())),
            ValueRef::Text(bytes) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Ok(Value::Text(text)),
                Err(_) => Err(Trouble::Failed(format!("has text that is not UTF-8 in its column {column}"))),
            },
            // Only rowids and parts of a primary key are not asked for being known.
            ValueRef::Null => Err(Trouble::Failed(format!("has no value in its column {column}"))),
        };
        self.key.iter().enumerate().map(value).collect()
    }

    /// A row as a JSON object.
    fn write(&self, row: &Row<'_>, out: &mut Vec<u8>) -> rusqlite::Result<()> {
        out.push(b'{');
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(field);
            match row.get_ref(index)? {
                ValueRef::Null => out.extend_from_slice(b"null"),
                ValueRef::Integer(n) => json::write_int(n, out),
                ValueRef::Real(f) if f.is_finite() => json::write_float(f, out),
                // No JSON: the event is refused where it is decoded, with this in it.
                ValueRef::Real(f) => out.extend_from_slice(if f > 0.0 { b"Infinity" } else { b"-Infinity" }),
                ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => json::write_text(text, out),
                    Err(_) => write_broken(bytes, out),
                },
                ValueRef::Blob(bytes) => json::write_text(&STANDARD.encode(bytes), out),
            }
        }
        out.push(b'}');
        Ok(())
    }
}

fn connect(path: &Path, busy: Duration) -> Result<Connection, Trouble> {
    if !path.is_file() {
        return Err(Trouble::Failed("cannot be opened: there is no such file".into()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(busy)?;
        Ok(connection)
    });
    opened.map_err(|e| trouble(&e))
}

/// Text that is not UTF-8, as it is: refused where it is decoded.
fn write_broken(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0..0x20 => out.push(b' '),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

/// Columns that tell the rows of a table apart which have the same values in the columns that grow, as SQL; none of a view.
fn apart(path: &Path, table: &str, by: &[String], columns: &[String]) -> Result<Vec<String>, String> {
    let cannot = |e: rusqlite::Error| format!("cannot be read: {}", said(&e));
    let connection = database::open(path)?;
    let about = "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
    let (kind, without_rowid): (String, bool) =
        connection.query_row(about, [table], |row| Ok((row.get(0)?, row.get(1)?))).map_err(cannot)?;
    let keys = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
    let mut statement = connection.prepare(keys).map_err(cannot)?;
    let keys = statement.query_map([table], |row| row.get(0)).and_then(Iterator::collect::<Result<Vec<String>, _>>);
    let keys = keys.map_err(cannot)?;
    let is_by = |name: &String| by.iter().any(|by| by.eq_ignore_ascii_case(name));
    // The columns of its primary key tell rows apart as they are.
    if kind == "view" || (!keys.is_empty() && keys.iter().all(is_by)) {
        return Ok(Vec::new());
    }
    if without_rowid {
        return Ok(keys.iter().filter(|key| !is_by(key)).map(|key| quoted(key)).collect());
    }
    let hidden = |name: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !hidden(name));
    Ok(rowid.map(str::to_owned).into_iter().collect())
}

fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
        _ => Trouble::Failed(format!("cannot be read: {}", said(error))),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Real(f) => ValueRef::Real(*f),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// As text that begins with its kind. Of a real number the bits, since it has to come back as it was.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Int(n) => serializer.collect_str(&format_args!("int {n}")),
            Value::Real(f) => serializer.collect_str(&format_args!("real {:x} {f}", f.to_bits())),
            Value::Text(text) => serializer.collect_str(&format_args!("text {text}")),
            Value::Blob(bytes) => serializer.collect_str(&format_args!("blob {}", STANDARD.encode(bytes))),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = text.split_once(' ').and_then(|(kind, rest)| match kind {
            "int" => rest.parse().ok().map(Value::Int),
            "real" => {
                let bits = rest.split(' ').next().and_then(|bits| u64::from_str_radix(bits, 16).ok());
                bits.map(|bits| Value::Real(f64::from_bits(bits)))
            }
            "text" => Some(Value::Text(rest.to_owned())),
            "blob" => STANDARD.decode(rest).ok().map(Value::Blob),
            _ => None,
        });
        value.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no value of a column")))
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

    fn spec(path: &Path, ask: Ask, by: &[&str]) -> GrowingSpec {
        GrowingSpec { path: path.into(), ask, by: by.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn table(name: &str) -> Ask {
        Ask::Table(name.into())
    }

    /// Rows after a key, as text, and the key of the last.
    fn rows(growing: &Growing, after: Option<&Key>) -> (Vec<String>, Option<Key>) {
        let (mut texts, mut last) = (Vec::new(), after.cloned());
        growing
            .read((after, None), &mut |text, key| {
                texts.push(String::from_utf8_lossy(text).into_owned());
                last = Some(key);
                true
            })
            .unwrap();
        (texts, last)
    }

    #[test]
    fn rows_that_share_a_value_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(
            directory.path(),
            "CREATE TABLE a (at INT, v TEXT); INSERT INTO a VALUES (1, 'x'), (1, 'y'), (NULL, 'none'), (0, 'z');
             CREATE TABLE b (at INT, id TEXT, PRIMARY KEY (id)) WITHOUT ROWID; INSERT INTO b VALUES (1, 'k'), (1, 'c');
             CREATE TABLE c (id INTEGER PRIMARY KEY, rowid TEXT); INSERT INTO c VALUES (7, 'r'), (5, 's');
             CREATE VIEW d AS SELECT * FROM a;",
        );
        for (of, by, key, expected, more, then) in [
            ("a", "at", vec!["\"at\"", "rowid"], vec!["z", "x", "y"], "INSERT INTO a VALUES (1, 'x')", vec!["x"]),
            ("b", "at", vec!["\"at\"", "\"id\""], vec!["c", "k"], "INSERT INTO b VALUES (1, 'z')", vec!["z"]),
            ("c", "ID", vec!["\"ID\""], vec!["s", "r"], "INSERT INTO c VALUES (8, 't'), (6, 'gone')", vec!["t"]),
            ("d", "at", vec!["\"at\""], vec!["z", "x", "y", "x"], "INSERT INTO a VALUES (2, 'w'), (1, 'u')", vec!["w"]),
        ] {
            let growing = Growing::open(&spec(&path, table(of), &[by])).unwrap();
            assert_eq!(growing.columns(), key, "{of}");
            let (found, last) = rows(&growing, None);
            let values = |rows: &[String]| -> Vec<String> {
                rows.iter().map(|row| row.rsplit('"').nth(1).unwrap().to_owned()).collect()
            };
            assert_eq!(values(&found), expected, "{of}");
            assert_eq!(growing.last().unwrap(), last, "{of}");
            made(directory.path(), more);
            assert_eq!(values(&rows(&growing, last.as_ref()).0), then, "{of}");
        }
    }

    #[test]
    fn values_are_json_and_keys_come_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(
            directory.path(),
            "CREATE TABLE t (k, v); INSERT INTO t VALUES (9007199254740993, 0.1), (0.30000000000000004, 1e999),
             ('tö \"x\"', x'00ff'), (x'01', NULL), ('z', CAST(x'22ff' AS TEXT));",
        );
        let growing = Growing::open(&spec(&path, table("t"), &["k"])).unwrap();
        let (found, _) = rows(&growing, None);
        let expected = [
            r#"{"k":0.30000000000000004,"v":Infinity}"#,
            r#"{"k":9007199254740993,"v":0.1}"#,
            r#"{"k":"tö \"x\"","v":"AP8="}"#,
            "{\"k\":\"z\",\"v\":\"\\\"\u{fffd}\"}",
            r#"{"k":"AQ==","v":null}"#,
        ];
        assert_eq!(found, expected);
        let mut keys = Vec::new();
        growing
            .read((None, None), &mut |_, key| {
                keys.push(key);
                true
            })
            .unwrap();
        for (at, key) in keys.iter().enumerate() {
            let spelled = serde_json::to_string(key).unwrap();
            let again: Key = serde_json::from_str(&spelled).unwrap();
            assert_eq!(&again, key, "{spelled}");
            assert_eq!(rows(&growing, Some(&again)).0, expected[at + 1..], "after {spelled}");
            let mut up_to = 0;
            let mut count = |_: &[u8], _| {
                up_to += 1;
                true
            };
            growing.read((None, Some(key)), &mut count).unwrap();
            assert_eq!(up_to, at + 1, "up to {spelled}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(directory.path(), "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL)");
        let wrong = |ask: Ask, by: &[&str]| Growing::open(&spec(&path, ask, by)).unwrap_err();
        assert_eq!(
            wrong(table("order"), &["id"]),
            (Part::Ask, "has no table `order`; did you mean `orders`?".to_owned())
        );
        assert_eq!(
            wrong(table("orders"), &["id", "amout"]),
            (Part::By(1), "has no column `amout`; did you mean `amount`?".to_owned())
        );
        let query = |sql: &str| Ask::Query(sql.into());
        assert_eq!(
            wrong(query("SELECT * FROM orders WHERE amount > :least"), &["id"]).1,
            "has a query with `:least`, and nothing gives it a value"
        );
        let twice = wrong(query("SELECT id, id FROM orders"), &["id"]).1;
        assert!(twice.starts_with("has a query with two columns `id`"), "{twice}");
        assert!(wrong(query("DELETE FROM orders"), &["id"]).1.contains("no `SELECT`"));
        let gone = Growing::open(&spec(&directory.path().join("none.db"), table("t"), &["id"])).unwrap_err();
        assert_eq!(gone, (Part::Path, "cannot be opened: there is no such file".to_owned()));
        let whole = query("SELECT id AS n, amount FROM orders -- all of them");
        assert_eq!(Growing::open(&spec(&path, whole, &["n"])).unwrap().columns(), ["\"n\""]);
    }

    #[test]
    fn a_held_database_is_busy_and_nothing_worse() {
        let directory = tempfile::tempdir().unwrap();
        let path = made(directory.path(), "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
        let growing = Growing::open(&spec(&path, table("t"), &["id"])).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert_eq!(growing.read((None, None), &mut |_, _| true), Err(Trouble::Busy));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(rows(&growing, None).0, ["{\"id\":1}"]);
    }
}
