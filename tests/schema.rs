//! The schema in the repository is the one that the program writes.

use millstream::config::{Registry, schema};
use millstream::connectors::{SINKS, SOURCES};

#[test]
fn the_schema_file_is_fresh() {
    let fresh = schema::schema(&Registry { sources: SOURCES, sinks: SINKS });
    let path = "schemas/pipeline.schema.json";
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == fresh, "{path} is stale: write it anew with `millstream schema --output {path}`");
}
