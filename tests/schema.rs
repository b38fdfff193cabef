//! The schema and the reference in the repository are those that the program writes.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use millstream::config::{Registry, schema};
use millstream::connectors::{SINKS, SOURCES};

#[test]
fn the_schema_file_is_fresh() {
    let fresh = schema::schema(&Registry { sources: SOURCES, sinks: SINKS });
    let path = "schemas/pipeline.schema.json";
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == fresh, "{path} is stale: write it anew with `millstream schema --output {path}`");
}

#[test]
fn the_tables_of_states_are_fresh() {
    let path = "schemas/state.sql";
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let fresh = millstream::store::state::schema::MIGRATIONS.concat();
    assert!(kept == fresh, "{path} is stale: write it anew with `millstream schema --state --output {path}`");
}

#[test]
fn the_reference_is_fresh() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut write = std::process::Command::new(env!("CARGO_BIN_EXE_millstream"));
    let written = write.args(["reference", "--output"]).arg(directory.path()).status().expect("it runs");
    assert!(written.success());
    let pages = |path: &std::path::Path| -> std::collections::BTreeMap<String, String> {
        let files = std::fs::read_dir(path).into_iter().flatten().flatten();
        let page = |file: std::fs::DirEntry| {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            (file.file_name().to_string_lossy().into_owned(), text)
        };
        files.map(page).collect()
    };
    let (fresh, kept) = (pages(directory.path()), pages(std::path::Path::new("schemas/reference")));
    let stale: Vec<&String> = fresh.keys().filter(|name| kept.get(*name) != fresh.get(*name)).collect();
    let command = "cargo run -q -- reference -o schemas/reference";
    assert!(stale.is_empty(), "stale in schemas/reference: {stale:?}; write it anew with `{command}`");
    let strange: Vec<&String> = kept.keys().filter(|name| !fresh.contains_key(*name)).collect();
    assert!(strange.is_empty(), "nothing writes these in schemas/reference: {strange:?}");
}
