//! The source `sqlite` in the program itself: rows once, in order, whoever writes meanwhile and whenever it is killed; and
//! what is said when it cannot be read.
#![allow(clippy::unwrap_used)]

#[path = "support/inputs.rs"]
mod inputs;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inputs::Numbers;
use nix::sys::signal::Signal;
use program::{command, read, stop, text, until};
use rusqlite::Connection;

const PIPELINE: &str = "
name: t
checkpoint: { every: 20ms }
sources:
  orders:
    sqlite: { path: shop.db, OPTIONS }
sinks:
  out: { from: orders, file: { path: out.ndjson } }
";

/// A directory with a pipeline whose source has these options, and a database.
fn home(options: &str, sql: &str) -> (tempfile::TempDir, Connection) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("t.yaml"), PIPELINE.replace("OPTIONS", options)).unwrap();
    let database = Connection::open(home.path().join("shop.db")).unwrap();
    database.busy_timeout(Duration::from_secs(30)).unwrap();
    database.execute_batch(sql).unwrap();
    (home, database)
}

/// The exit code and what was said.
fn millstream(home: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program::run(home, arguments);
    (output.status.code(), text(&output.stderr))
}

fn written(home: &Path) -> String {
    read(home, "out.ndjson")
}

fn start(home: &Path) -> Child {
    command(home, &["run", "--quiet", "t.yaml"]).spawn().unwrap()
}

#[test]
fn a_table_is_read_to_its_end_in_order() {
    let sql = "CREATE TABLE orders (placed INT, amount REAL, note TEXT, raw BLOB);
        INSERT INTO orders VALUES (3, 1.5, 'c', NULL), (1, 2, NULL, x'0102'), (3, -1e300, 'd \"x\"', NULL), (NULL, 0, '', NULL);";
    let (home, database) = home("table: orders, by: placed", sql);
    assert_eq!(millstream(home.path(), &["check", "--strict", "t.yaml"]).0, Some(0));
    let rows = "{\"placed\":1,\"amount\":2.0,\"note\":null,\"raw\":\"AQI=\"}
{\"placed\":3,\"amount\":1.5,\"note\":\"c\",\"raw\":null}
{\"placed\":3,\"amount\":-1e+300,\"note\":\"d \\\"x\\\"\",\"raw\":null}
";
    for _ in 0..2 {
        let (code, said) = millstream(home.path(), &["run", "t.yaml"]);
        assert_eq!((code, written(home.path()).as_str()), (Some(0), rows), "{said}");
    }
    // What no event can hold is a dead letter that says where.
    database.execute_batch("INSERT INTO orders VALUES (4, 1e999, '', NULL), (5, 0, '', NULL)").unwrap();
    let (code, said) = millstream(home.path(), &["run", "t.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("`orders`: 1 row could not be processed") && said.contains("Infinity"), "{said}");
    assert_eq!(written(home.path()).lines().count(), 4);
}

#[test]
fn a_query_is_asked_for_what_comes_after_a_row() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INT, changed INT);
        INSERT INTO orders VALUES (1, 1, 10), (2, 0, 10), (3, 1, 10), (4, 1, 5);";
    let options = "query: \"SELECT changed AS at, id FROM orders WHERE paid;\", by: [at, id], follow: true, poll: 5ms";
    let (home, database) = home(options, sql);
    let run = start(home.path());
    until("what is there", || written(home.path()).lines().count() == 3);
    // One is paid later and keeps its time; one is changed.
    database.execute_batch("UPDATE orders SET paid = 1 WHERE id = 2; INSERT INTO orders VALUES (5, 1, 10)").unwrap();
    until("the new one", || written(home.path()).lines().count() == 4);
    database.execute_batch("UPDATE orders SET changed = 11 WHERE id = 1").unwrap();
    until("the changed one", || written(home.path()).lines().count() == 5);
    stop(run, Signal::SIGTERM);
    let expected =
        "{\"at\":5,\"id\":4}\n{\"at\":10,\"id\":1}\n{\"at\":10,\"id\":3}\n{\"at\":10,\"id\":5}\n{\"at\":11,\"id\":1}\n";
    assert_eq!(written(home.path()), expected);
}

#[test]
fn only_what_comes_is_read_from_the_end_on_and_a_held_database_is_waited_for() {
    let options = "table: orders, by: id, follow: true, poll: 5ms, start: end";
    let (home, database) =
        home(options, "CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2)");
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut run = start(home.path());
    // Longer than one look waits for it.
    std::thread::sleep(Duration::from_millis(700));
    assert!(run.try_wait().unwrap().is_none(), "it waits");
    database.execute_batch("COMMIT").unwrap();
    until("the first checkpoint", || home.path().join("out.ndjson").exists() || epoch(home.path()) > 0);
    database.execute_batch("BEGIN EXCLUSIVE; INSERT INTO orders VALUES (3)").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(written(home.path()), "");
    database.execute_batch("COMMIT").unwrap();
    until("the row", || written(home.path()) == "{\"id\":3}\n");
    stop(run, Signal::SIGTERM);
    database.execute_batch("INSERT INTO orders VALUES (4)").unwrap();
    let run = start(home.path());
    until("the next", || written(home.path()) == "{\"id\":3}\n{\"id\":4}\n");
    stop(run, Signal::SIGTERM);
}

/// How many checkpoints there were.
fn epoch(home: &Path) -> i64 {
    let state = home.join(".millstream/t.db");
    if !state.exists() {
        return 0;
    }
    let state = Connection::open(state).unwrap();
    state.query_row("SELECT epoch FROM run", [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn rows_come_once_however_often_it_is_killed() {
    let given = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1);
    let mut numbers = Numbers(seed);
    // Many rows have one time, and more of them come later.
    let sql =
        "PRAGMA journal_mode = WAL; CREATE TABLE orders (n INT, at INT, filling TEXT); CREATE INDEX i ON orders (at)";
    let (home, database) = home("table: orders, by: at, follow: true, poll: 1ms", sql);
    let (mut count, mut at) = (0, 0);
    for _ in 0..12 {
        let mut run = start(home.path());
        for _ in 0..numbers.below(8) {
            let rows: Vec<String> =
                (0..numbers.below(60)).map(|i| format!("({}, {at}, hex(zeroblob(500)))", count + i)).collect();
            count += rows.len() as u64;
            at += numbers.below(2);
            if !rows.is_empty() {
                database.execute_batch(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).unwrap();
            }
            std::thread::sleep(Duration::from_micros(numbers.below(30_000)));
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let run = start(home.path());
    // It may have written all there was before: what comes now shows that it runs.
    database.execute_batch(&format!("INSERT INTO orders VALUES ({count}, {at}, '')")).unwrap();
    count += 1;
    until("the last row", || written(home.path()).lines().count() as u64 >= count);
    stop(run, Signal::SIGTERM);
    let rows = written(home.path());
    let found: Vec<u64> = rows.lines().map(|line| line[5..].split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(found, (0..count).collect::<Vec<_>>(), "seed {seed}");
}

#[test]
fn what_is_wrong_is_said_where_it_is_written() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL)";
    // Of each the text at whose place it is said.
    for (options, at, expected) in [
        ("table: order, by: id", "order,", "shop.db has no table `order`; did you mean `orders`?"),
        ("table: orders, by: [id, amuont]", "amuont", "shop.db has no column `amuont`; did you mean `amount`?"),
        ("query: 'SELEC 1', by: id", "'SELEC", "shop.db cannot run the query: near \"SELEC\": syntax error"),
        ("by: id", "{ path", "a `sqlite` source needs either `table` or `query`"),
        ("table: orders, by: id, start: end", "end }", "`start` says how new rows are waited for"),
        ("table: orders, by: []", "[]", "`by` names no column"),
        ("table: orders, by: id }\n    format: { csv: {}", "format", "have no `format`"),
    ] {
        let (home, _database) = home(options, sql);
        let (code, said) = millstream(home.path(), &["check", "t.yaml"]);
        assert_eq!(code, Some(2), "{options}: {said}");
        assert!(said.contains(expected), "{options}: {said}");
        let text = read(home.path(), "t.yaml");
        let (line, column) = (1..).zip(text.lines()).find_map(|(line, text)| Some((line, text.find(at)? + 1))).unwrap();
        assert!(said.contains(&format!("t.yaml:{line}:{column}\n")), "{options}: {said}");
    }
    let (home, database) = home("table: orders, by: id", sql);
    drop(database);
    fs::remove_file(home.path().join("shop.db")).unwrap();
    // It may come before the run does.
    assert_eq!(millstream(home.path(), &["check", "t.yaml"]).0, Some(0));
    let (code, said) = millstream(home.path(), &["run", "t.yaml"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("`shop.db` cannot be opened: there is no such file; name the database"), "{said}");
}
