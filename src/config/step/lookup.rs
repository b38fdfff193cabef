//! `lookup`: its options, and what the table that it names must have.

use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::limit;
use crate::base::tree::{Data, Node};
use crate::config::context::{Context, Unknown};
use crate::config::csv::CsvIn;
use crate::config::expressions;
use crate::config::interpolate::interpolate;
use crate::config::read::{Code, Duration, Named, OneOrMany, Read, Text, keys, words};
use crate::data::format::Csv;
use crate::data::layout::{FieldId, FieldPath, Root};
use crate::expr::Expr;
use crate::plan::lookup::{Ask, Lookup, Missing, Refresh, Table};
use crate::store::csv_table::{self, CsvSpec, CsvTable};
use crate::store::database;

use super::{By, field};

keys! {
    /// Takes over columns from the row of a table that has the event's key. Of several rows of a CSV file with one key the
    /// last counts. A key that is null or missing finds nothing.
    pub struct LookupOptions as "lookup" {
        /// The table.
        table: TableIn,
        /// What finds the row: a field, if the table's column has its name; a list of such fields; or a map of columns (of
        /// a query: of its parameters) to expressions. Numbers are found by their value; in CSV also where one side is text:
        /// `17`, `17.0` and `"17"` are one key.
        on: By,
        /// The columns that are taken over, or a map of fields to columns. Default: all but those of the key.
        fields: Option<FieldsIn>,
        /// The field that the columns are written into, as a map. Default: each becomes a field of the event.
        into: Option<Text>,
        /// What becomes of an event that the table has no row for. Default `keep`.
        missing: Option<MissingIn>,
        /// How soon a changed table is noticed: a duration or `never`. Default: `never` where all sources end by themselves,
        /// else `10s`. A batch of events meets the table as it is at its first; a new file that is broken is said and not
        /// used. Events that are read again later meet the table as it is then.
        refresh: Option<RefreshIn>,
    }
    later []
}

keys! {
    /// Where rows are looked up: one of these.
    pub struct TableIn as "table" {
        /// A CSV file, relative to the pipeline's file, which is held in memory: its path, or a map of options.
        csv: Option<CsvFileIn>,
        /// A SQLite database, which is asked for each key and never written to. Answers are kept until it changes.
        sqlite: Option<SqliteIn>,
    }
    later ["http"]
}

keys! {
    /// A SQLite database.
    pub struct SqliteIn as "sqlite" {
        /// The file, relative to the pipeline's file.
        path: Text,
        /// The table or view. Of several rows with one key any may be taken: let the key be unique, or write a query.
        table: Option<Text>,
        /// A query instead, whose first row counts; the keys of `on` are its parameters: `SELECT name FROM devices WHERE id
        /// = :device_id`.
        query: Option<Text>,
    }
    later []
}

words! {
    /// What becomes of an event without a row.
    pub enum MissingIn ("value") {
        /// It goes on as it is.
        Keep = "keep",
        /// Its fields are set to null.
        Null = "set_null",
        /// It is dropped.
        Drop = "drop",
        /// It goes to `.errors`.
        Error = "error",
    }
}

/// `csv`: a path, or a map of the path and the dialect's options.
#[derive(Clone, Debug)]
pub struct CsvFileIn {
    path: Text,
    dialect: Csv,
}

impl Read for CsvFileIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            let path = Text::read(node, key, context)?;
            let dialect = CsvIn::resolve(None, node, key, context)?;
            return Some(CsvFileIn { path, dialect });
        };
        let (path, others): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|entry| entry.key == "path");
        let options = Node { data: Data::Map(others), ..node.clone() };
        let dialect = CsvIn::resolve(Some(&options), node, key, context);
        let Some(path) = path.first() else {
            let help = "name the file: `csv: { path: devices.csv, delimiter: \";\" }`";
            context.error("missing-key", "`csv` needs `path`", key).label("`path` is missing").help(help);
            return None;
        };
        let path = Text::read(&path.value, &path.key_span, context);
        Some(CsvFileIn { path: path?, dialect: dialect? })
    }
}

impl JsonSchema for CsvFileIn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CsvFile".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        concat!(module_path!(), "::CsvFile").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut options = CsvIn::json_schema(generator);
        let path = "The file, relative to the pipeline's file.";
        let members = options.ensure_object();
        members.insert("required".to_owned(), serde_json::json!(["path"]));
        if let Some(serde_json::Value::Object(keys)) = members.get_mut("properties") {
            keys.insert("path".to_owned(), serde_json::json!({ "type": "string", "description": path }));
        }
        json_schema!({ "anyOf": [{ "type": "string" }, options] })
    }
}

/// `fields`: columns, or fields and their columns.
#[derive(Clone, Debug)]
pub enum FieldsIn {
    /// Columns that keep their names.
    Columns(Vec<Text>),
    /// Fields with the column of each.
    Named(Vec<(Text, Text)>),
}

impl Read for FieldsIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            Data::Map(_) => Named::read(node, key, context).map(|named| FieldsIn::Named(named.0)),
            _ => OneOrMany::read(node, key, context).map(|many| FieldsIn::Columns(many.0)),
        }
    }
}

impl JsonSchema for FieldsIn {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LookupFields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let columns = generator.subschema_for::<OneOrMany<Text>>();
        let named = generator.subschema_for::<Named<Text>>();
        json_schema!({ "anyOf": [columns, named] })
    }
}

/// A duration, or `never`.
#[derive(Clone, Debug)]
pub struct RefreshIn(Refresh);

impl Read for RefreshIn {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        if node.as_text() == Some("never") {
            return Some(RefreshIn(Refresh::Never));
        }
        let span = Duration::read(&node, key, context)?.positive("`refresh`", context)?;
        Some(RefreshIn(Refresh::Every(span)))
    }
}

impl JsonSchema for RefreshIn {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Refresh".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let duration = generator.subschema_for::<Duration>();
        json_schema!({ "anyOf": [{ "const": "never" }, duration] })
    }
}

/// Reads a lookup.
pub(super) fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Lookup> {
    let options = LookupOptions::read(node, key, context)?;
    let on = on(options.on, key, context);
    let table_key = key_of(node, "table").unwrap_or(key);
    let sqlite_key = node.get("table").and_then(|table| key_of(table, "sqlite")).unwrap_or(table_key);
    let table = table(options.table, (table_key, sqlite_key), context);
    let (on, table) = (on?, table?);
    let names: Vec<&str> = on.iter().map(|(column, _)| column.text.as_str()).collect();
    let known = has_keys(&table, &on, context);
    let fields = fields(options.fields, options.into, &table, &names, context);
    let (fields, ()) = (fields?, known?);
    let missing = match options.missing {
        None | Some(MissingIn::Keep) => Missing::Keep,
        Some(MissingIn::Null) => Missing::Null,
        Some(MissingIn::Drop) => Missing::Drop,
        Some(MissingIn::Error) => Missing::Error,
    };
    let named = table.path.text.clone();
    look_through(&table, &names, &fields, context)?;
    Some(Lookup {
        table: table.table,
        named,
        on: on.into_iter().map(|(column, expr)| (column.text, expr)).collect(),
        fields: fields.into_iter().map(|(field, column)| (field, column.text)).collect(),
        missing,
        refresh: options.refresh.map_or(Refresh::Suitable, |r| r.0),
    })
}

/// The place of a key of a map.
fn key_of<'n>(node: &'n Node, key: &str) -> Option<&'n Span> {
    let Data::Map(entries) = &node.data else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.key_span)
}

/// The columns of the key and what each must be.
fn on(on: By, key: &Span, context: &mut Context<'_>) -> Option<Vec<(Text, Expr)>> {
    let pieces: Vec<(Option<Text>, Code)> = match on {
        By::Paths(codes) => codes.into_iter().map(|code| (None, code)).collect(),
        By::Named(named) => named.into_iter().map(|(name, code)| (Some(name), code)).collect(),
    };
    let mut parts: Vec<(Text, Expr)> = Vec::with_capacity(pieces.len());
    let mut whole = true;
    for (name, code) in pieces {
        let Some(expr) = expressions::expression(&code, context) else {
            whole = false;
            continue;
        };
        let name = name.or_else(|| {
            let path = expr.as_path().and_then(|id| context.layout.path(id)).filter(|path| path.root == Root::Event);
            path.map(|path| Text { text: path.names.join("."), span: code.origin.span.clone() })
        });
        let Some(name) = name else {
            let (text, span) = (code.text.trim(), &code.origin.span);
            let help = format!("name its column: `on: {{ column: {} }}`", crate::config::eaten::quoted(text));
            context.error("key-without-name", "this part of the key is not a field of the event", span).help(help);
            whole = false;
            continue;
        };
        if parts.iter().any(|(other, _)| other.text == name.text) {
            context.error("duplicate-name", format!("`{}` is in the key twice", name.text), &name.span);
            whole = false;
        }
        parts.push((name, expr));
    }
    if parts.is_empty() && whole {
        context.error("missing-value", "`on` names nothing that finds a row", key).help("write `on: device_id`");
        return None;
    }
    whole.then_some(parts)
}

/// A table that is there.
struct There {
    table: Table,
    /// Its file as it is written.
    path: Text,
    /// Its columns, in order.
    columns: Vec<String>,
    /// The parameters of a query; `None` of a table.
    parameters: Option<Vec<String>>,
}

fn table(options: TableIn, (key, sqlite_key): (&Span, &Span), context: &mut Context<'_>) -> Option<There> {
    match (options.csv, options.sqlite) {
        (Some(csv), None) => csv_file(csv, context),
        (None, Some(sqlite)) => sqlite_file(sqlite, sqlite_key, context),
        (Some(_), Some(_)) => {
            context.error("one-kind", "`table` names two tables", key).help("keep one of `csv` and `sqlite`");
            None
        }
        (None, None) => {
            let help =
                "write `table: { csv: devices.csv }` or `table: { sqlite: { path: devices.db, table: devices } }`";
            context.error("missing-key", "`table` names no table", key).help(help);
            None
        }
    }
}

fn csv_file(CsvFileIn { path, dialect }: CsvFileIn, context: &mut Context<'_>) -> Option<There> {
    if !context.may_read(&path.text, &path.span) {
        return None;
    }
    let file = context.directory.join(&path.text);
    let columns = unusable(csv_table::header(&file, &dialect), &path, context)?;
    Some(There { table: Table::Csv { path: file, dialect }, path, columns, parameters: None })
}

fn sqlite_file(sqlite: SqliteIn, key: &Span, context: &mut Context<'_>) -> Option<There> {
    if !context.may_read(&sqlite.path.text, &sqlite.path.span) {
        return None;
    }
    let (path, file) = (sqlite.path.clone(), context.directory.join(&sqlite.path.text));
    let (asked, ask, store_ask) = match (sqlite.table, sqlite.query) {
        (Some(table), None) => (table.clone(), Ask::Table(table.text.clone()), database::Ask::Table(table.text)),
        (None, Some(query)) => (query.clone(), Ask::Query(query.text.clone()), database::Ask::Query(query.text)),
        _ => {
            let message = "`sqlite` needs either `table` or `query`";
            context.error("one-kind", message, key).help("write `sqlite: { path: devices.db, table: devices }`");
            return None;
        }
    };
    let described = match database::describe(&file, &store_ask) {
        Ok(described) => described,
        Err(why) => {
            // What cannot be opened is told at its path, what is wrong with the question there.
            let place = if why.starts_with("cannot be opened") { &path.span } else { &asked.span };
            context.error("unusable-table", format!("{} {why}", path.text), place);
            return None;
        }
    };
    let parameters = matches!(ask, Ask::Query(_)).then_some(described.parameters);
    Some(There { table: Table::Sqlite { path: file, ask }, path, columns: described.columns, parameters })
}

fn unusable<T>(found: Result<T, String>, path: &Text, context: &mut Context<'_>) -> Option<T> {
    found
        .map_err(|why| {
            let gone = why.starts_with("cannot be opened") && Path::new(&path.text).is_relative();
            let report = context.error("unusable-table", format!("{} {why}", path.text), &path.span);
            if gone {
                drop(report.help("paths are relative to the pipeline's file"));
            }
        })
        .ok()
}

/// Whether the table has the columns of the key, the query its parameters and no others.
fn has_keys(table: &There, on: &[(Text, Expr)], context: &mut Context<'_>) -> Option<()> {
    let mut whole = true;
    let place = format!(" of {}", table.path.text);
    let (noun, listing, known) = match &table.parameters {
        Some(parameters) => ("parameter", "its parameters are", parameters),
        None => ("column", "its columns are", &table.columns),
    };
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    for (name, _) in on.iter().filter(|(name, _)| !known.contains(&name.text)) {
        let what = Unknown { code: "unknown-column", noun, place: &place, listing };
        context.unknown(&what, &name.text, &name.span, &names, &[]);
        whole = false;
    }
    let given = |name: &&String| !on.iter().any(|(given, _)| given.text == **name);
    if let (true, Some(missing)) = (whole, table.parameters.iter().flatten().find(given)) {
        let span = on.first().map_or(&table.path.span, |(name, _)| &name.span);
        let message = format!("the query has a parameter `:{missing}`, which `on` does not give");
        context.error("missing-key", message, span).help(format!("add `{missing}` to `on`"));
        whole = false;
    }
    whole.then_some(())
}

/// The fields that are written, each with its column.
fn fields(
    written: Option<FieldsIn>,
    into: Option<Text>,
    table: &There,
    keys: &[&str],
    context: &mut Context<'_>,
) -> Option<Vec<(FieldId, Text)>> {
    let pairs = pairs(written, into, table, keys, context)?;
    if pairs.is_empty() {
        let message = format!("{} has no column beside the key, so nothing would be taken over", table.path.text);
        context.error("missing-value", message, &table.path.span);
        return None;
    }
    let known: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let place = format!(" of {}", table.path.text);
    let mut fields: Vec<(FieldId, Text)> = Vec::with_capacity(pairs.len());
    let mut whole = true;
    for (path, column) in pairs {
        if !known.contains(&column.text.as_str()) {
            let what = Unknown { code: "unknown-column", noun: "column", place: &place, listing: "its columns are" };
            context.unknown(&what, &column.text, &column.span, &known, &[]);
            whole = false;
            continue;
        }
        let id = context.intern(path.clone(), &column.span)?;
        let mut others = fields.iter().filter_map(|(other, _)| context.layout.path(*other));
        if let Some(other) = others.find(|other| **other == path || other.overlaps(&path)).cloned() {
            let message = if other == path {
                format!("two columns would be written to `{path}`")
            } else {
                format!("`{other}` and `{path}` are both written, and one lies inside the other")
            };
            context.error("duplicate-field", message, &column.span);
            whole = false;
        }
        fields.push((id, column));
    }
    whole.then_some(fields)
}

/// The paths that are written, each with its column, as they are asked for.
fn pairs(
    written: Option<FieldsIn>,
    into: Option<Text>,
    table: &There,
    keys: &[&str],
    context: &mut Context<'_>,
) -> Option<Vec<(FieldPath, Text)>> {
    let mut names_of = |name: &Text| {
        let id = field(name, context)?;
        Some(context.layout.path(id).map(|path| path.names.clone()).unwrap_or_default())
    };
    let within = match &into {
        None => Vec::new(),
        Some(into) => names_of(into)?,
    };
    // A column's name is one name, also with a dot in it.
    let named = |column: Text| {
        let path = FieldPath::event(within.iter().map(|n| n.as_str()).chain([column.text.as_str()]));
        (path, column)
    };
    Some(match written {
        None => {
            let span = into.as_ref().map_or(&table.path.span, |into| &into.span);
            let rest = table.columns.iter().filter(|c| !c.is_empty() && !keys.contains(&c.as_str()));
            rest.map(|column| named(Text { text: column.clone(), span: span.clone() })).collect()
        }
        Some(FieldsIn::Columns(columns)) => columns.into_iter().map(named).collect(),
        Some(FieldsIn::Named(pairs)) => {
            let mut all = Vec::with_capacity(pairs.len());
            for (name, column) in pairs {
                let names = names_of(&name)?;
                all.push((FieldPath::event(within.iter().chain(&names).map(|n| n.as_str())), column));
            }
            all
        }
    })
}

/// Reads a CSV file as a run would, if it is not too large for that: what is broken in it, and keys that repeat.
fn look_through(table: &There, keys: &[&str], fields: &[(FieldId, Text)], context: &mut Context<'_>) -> Option<()> {
    let Table::Csv { path, dialect } = &table.table else { return Some(()) };
    if size(path) > limit::TABLE_CHECKED_BYTES {
        return Some(());
    }
    let spec = CsvSpec {
        path: path.clone(),
        dialect: dialect.clone(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        fields: fields.iter().map(|(_, column)| column.text.clone()).collect(),
    };
    let read = unusable(CsvTable::read(&spec), &table.path, context)?;
    if let Some((first, second)) = read.repeated {
        let message = format!("{} has several rows with one key: the rows {first} and {second} do", table.path.text);
        context
            .warning("repeated-key", message, &table.path.span)
            .help("the last one counts; add a column to `on` if it tells them apart");
    }
    Some(())
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
