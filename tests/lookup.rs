//! Lookups against a plain reference, over random tables, keys of every kind, cuts and shares; a SQLite table, and a CSV
//! table that changes while the program runs.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Feed, Input, rows_of, run_inputs};

/// A table's rows: the key's two columns as they are written, and a value.
type Rows = Vec<(&'static str, &'static str, i64)>;

const CELLS: [&str; 7] = ["1", "1.0", "2", "a", "01", "true", ""];

fn table() -> impl Strategy<Value = Rows> {
    let cell = || proptest::sample::select(&CELLS[..]);
    proptest::collection::vec((cell(), cell(), 0..100i64), 0..12)
}

fn keys() -> impl Strategy<Value = Vec<Value>> {
    let of = vec![json!(1), json!(1.0), json!("1"), json!(2), json!("2.0"), json!("a"), json!("01"), json!(true)];
    let more = vec![json!("true"), json!(null), json!("b"), json!([1]), json!(1.5)];
    proptest::collection::vec(proptest::sample::select([of, more].concat()), 2)
}

/// A key's part as the reference compares it: a text that spells a number or a bool is one.
fn part(value: &Value) -> Option<String> {
    let spelled = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match serde_json::from_str::<Value>(&spelled) {
        Ok(Value::Number(n)) => n.as_f64().map(|n| format!("number {n}")),
        Ok(Value::Bool(b)) => Some(format!("bool {b}")),
        _ if spelled.is_empty() && !value.is_string() => None,
        _ => Some(format!("text {spelled}")),
    }
}

fn find(table: &Rows, key: &[Value]) -> Option<i64> {
    let key: Option<Vec<String>> = key.iter().map(part).collect();
    let key = key?;
    let has = |(a, b, _): &&(&str, &str, i64)| {
        let cells = [a, b].map(|cell| if cell.is_empty() { None } else { part(&json!(cell)) });
        cells.iter().zip(&key).all(|(cell, part)| cell.as_ref() == Some(part))
    };
    table.iter().rev().find(has).map(|(.., value)| *value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn lookups_are_those_of_the_reference(
        table in table(),
        events in proptest::collection::vec((keys(), any::<bool>()), 1..20),
        missing in proptest::sample::select(vec!["keep", "set_null", "drop", "error"]),
        into in any::<bool>(),
        block in 1usize..8,
        shares in 1usize..4,
    ) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.csv");
        let lines: String = table.iter().map(|(a, b, v)| format!("{a},{b},{v}\n")).collect();
        fs::write(&path, format!("a,b,v\n{lines}")).unwrap();
        let into_line = if into { "\n      into: m" } else { "" };
        let yaml = format!(
            "name: t
sources:
  in:
    file: {{ path: none }}
    time: {{ field: ts, format: unix }}
steps:
  found:
    lookup:
      table:
        csv: {}
      on:
        a: x
        b: y ?? ()
      missing: {missing}{into_line}
  # What is written is read as a field, too.
  seen:
    set:
      copy: {}
sinks:
  out: {{ discard: {{}}, from: seen }}
  wrong: {{ discard: {{}}, from: found.errors }}
",
            path.display(),
            if into { "m.v" } else { "v" },
        );
        let event = |(i, (key, has)): (usize, &(Vec<Value>, bool))| {
            let mut event = json!({ "ts": i, "x": key[0], "y": key[1] });
            if *has {
                event["v"] = json!("before");
            }
            event
        };
        let given: Vec<Value> = events.iter().enumerate().map(event).collect();
        let rows = given.iter().map(Value::to_string).collect();
        let input = Input { source: 0, name: "p".into(), rows, out_of_order: 0, header: None };
        let feed = Feed { block, target: 4, shares, restarts: Vec::new(), beyond: (0, 0) };
        let ran = run_inputs(&yaml, &[input], &feed);

        let (mut expected, mut wrong) = (Vec::new(), Vec::new());
        for event in &given {
            let key = [event["x"].clone(), event["y"].clone()];
            if key.iter().any(Value::is_array) {
                wrong.push(event["ts"].clone());
                continue;
            }
            let mut event = event.clone();
            let value = match (find(&table, &key), missing) {
                (Some(value), _) => Some(json!(value)),
                (None, "keep") => None,
                (None, "set_null") => Some(Value::Null),
                (None, "drop") => continue,
                (None, _) => {
                    wrong.push(event["ts"].clone());
                    continue;
                }
            };
            if let Some(value) = value {
                if into {
                    event["m"] = json!({ "v": value });
                } else {
                    event["v"] = value;
                }
            }
            let written = if into { event.get("m").map(|m| m["v"].clone()) } else { event.get("v").cloned() };
            if let Some(copy) = written {
                event["copy"] = copy;
            }
            expected.push(event);
        }
        prop_assert_eq!(rows_of(&ran.outputs[0]), expected);
        let failed: Vec<Value> = rows_of(&ran.outputs[1])
            .iter()
            .map(|row| serde_json::from_str::<Value>(row["original"].as_str().unwrap()).unwrap()["ts"].clone())
            .collect();
        prop_assert_eq!(failed, wrong);
        let tally = ran.counts.iter().find(|(name, _)| name == "found").unwrap().1;
        prop_assert_eq!(tally.taken, tally.passed + tally.dropped + tally.failed);
    }
}

fn millstream(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let output = command.current_dir(home).args(arguments).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const DATABASE: &str = "
sources:
  readings:
    file: { path: in.ndjson }
steps:
  placed:
    lookup:
      table:
        sqlite:
          path: devices.db
          table: devices
      on: device
      fields: [floor, site]
      missing: error
  rated:
    lookup:
      table:
        sqlite:
          path: devices.db
          query: SELECT max(price) AS price FROM tariffs WHERE site = :site AND since <= :day
      on:
        site: site
        day: date(ts)
sinks:
  out:
    file: { path: out.ndjson }
tests:
  - name: tables are those of the files
    given:
      readings:
        - { device: a, ts: \"2026-02-01T00:00:00Z\" }
    expect:
      rated: [{ device: a, floor: 3, site: north, price: 0.5 }]
";

#[test]
fn sqlite_is_asked_by_table_and_by_query() {
    let home = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(home.path().join("devices.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE devices (device TEXT PRIMARY KEY, floor INTEGER, site TEXT);
            INSERT INTO devices VALUES ('a', 3, 'north'), ('b', NULL, 'south');
            CREATE TABLE tariffs (site TEXT, since TEXT, price REAL);
            INSERT INTO tariffs VALUES ('north', '2026-01-01', 0.25), ('north', '2026-02-01', 0.5);",
        )
        .unwrap();
    drop(database);
    fs::write(home.path().join("p.yaml"), DATABASE).unwrap();
    let events = [
        json!({ "device": "a", "ts": "2026-01-15T00:00:00Z" }),
        json!({ "device": "c", "ts": "2026-01-15T00:00:00Z" }),
        json!({ "device": "b", "ts": "2026-01-15T00:00:00Z" }),
        json!({ "device": "a", "ts": "2026-03-15T00:00:00Z" }),
    ];
    fs::write(home.path().join("in.ndjson"), events.map(|e| format!("{e}\n")).concat()).unwrap();
    let (code, _, said) = millstream(home.path(), &["run", "--workers", "2", "p.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("`device` is \"c\", for which devices.db has no row"), "{said}");
    let out = rows_of(&fs::read_to_string(home.path().join("out.ndjson")).unwrap());
    let expected = [
        json!({ "device": "a", "ts": "2026-01-15T00:00:00Z", "floor": 3, "site": "north", "price": 0.25 }),
        json!({ "device": "b", "ts": "2026-01-15T00:00:00Z", "floor": null, "site": "south", "price": null }),
        json!({ "device": "a", "ts": "2026-03-15T00:00:00Z", "floor": 3, "site": "north", "price": 0.5 }),
    ];
    assert_eq!(out, expected);
    let (code, said, _) = millstream(home.path(), &["test", "p.yaml"]);
    assert_eq!(code, Some(0), "{said}");
}

const FOLLOWED: &str = "
sources:
  in:
    stdin: {}
steps:
  named:
    lookup:
      table:
        csv: names.csv
      on: id
      refresh: 1ms
sinks:
  out:
    stdout: {}
";

#[test]
fn a_table_that_changes_is_met_by_later_rows() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("p.yaml"), FOLLOWED).unwrap();
    let table = |text: &str| {
        fs::write(home.path().join("beside"), text).unwrap();
        fs::rename(home.path().join("beside"), home.path().join("names.csv")).unwrap();
    };
    table("id,name\n1,old\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.current_dir(home.path()).args(["run", "p.yaml"]).env("NO_COLOR", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut rows = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = || {
        rows.write_all(b"{\"id\":1}\n").unwrap();
        rows.flush().unwrap();
        let row: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        row["name"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(), "old");
    table("id,name\n1,renamed\n");
    // The file is looked at when rows come; sooner or later one of them finds it changed.
    while ask() == "old" {}
    assert_eq!(ask(), "renamed");
    table("id,nam\n1,broken\n");
    for _ in 0..20 {
        assert_eq!(ask(), "renamed");
    }
    table("id,name\n1,last one\n");
    while ask() == "renamed" {}
    assert_eq!(ask(), "last one");
    drop(rows);
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success());
}
