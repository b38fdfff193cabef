//! Packed files that are damaged or cut, through the real binary: what is before the damage passes, the damage is one
//! more record that could not be read, and every record is counted.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use std::io::Write as _;

#[path = "support/program.rs"]
mod program;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

use program::run;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

/// A packed file, what it is called, how many rows are certain to come out of it, and the reason of its last error.
type Damaged = (&'static str, Vec<u8>, usize, &'static str);

fn damaged(rows: &str) -> [Damaged; 7] {
    let whole = gzip(rows.as_bytes());
    let (middle, count) = (whole.len() / 2, rows.lines().count());
    let mut flipped = whole.clone();
    flipped[middle] ^= 0xff;
    let mut sum = whole.clone();
    let last = sum.len() - 8;
    sum[last] ^= 1;
    let zstd = zstd::encode_all(rows.as_bytes(), 1).expect("packed");
    [
        ("in.gz", whole[..middle].to_vec(), count / 3, "`in.gz` ends in the middle of its gzip data, after byte "),
        ("in.gz", whole[..5].to_vec(), 0, "`in.gz` ends in the middle of its gzip data, after byte 0"),
        ("in.gz", [whole.as_slice(), b"junk"].concat(), count, "these bytes are no gzip"),
        ("in.gz", flipped, count / 3, "cannot unpack `in.gz` as gzip after byte "),
        ("in.gz", sum, count, "its checksum is another"),
        ("in.zst", zstd[..zstd.len() - 9].to_vec(), 0, "`in.zst` ends in the middle of its zstd data, after byte "),
        ("in.zst", b"\x28\xb5\x2f\xfd\x04".to_vec(), 0, "ends in the middle of its zstd data, after byte 0"),
    ]
}

#[test]
fn of_packed_files_that_are_damaged_the_rows_before_the_damage_pass() {
    let rows: String = (0..20_000u64).map(|n| format!("{{\"n\":{n},\"x\":{}}}\n", n * 7_919 % 1_000_003)).collect();
    for (name, bytes, least, reason) in damaged(&rows) {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path();
        let pipeline = |on_error: &str| {
            let source = format!("{{ file: {{ path: {name} }}{on_error} }}");
            let wrong = if on_error.is_empty() { "  wrong: { from: in.errors, file: { path: wrong } }\n" } else { "" };
            let sinks = format!("sinks:\n  out: {{ from: in, file: {{ path: out }} }}\n{wrong}");
            std::fs::write(path.join("p.yaml"), format!("name: p\nsources:\n  in: {source}\n{sinks}"))
                .expect("written");
        };
        let read = |name: &str| std::fs::read_to_string(path.join(name)).expect("a file");
        std::fs::write(path.join(name), &bytes).expect("written");
        pipeline("");
        let output = run(path, &["run", "p.yaml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{reason}: {said}");
        // Behind a byte that was changed the unpacker may go on for a while with what is none of the rows.
        let (out, wrong) = (read("out"), read("wrong"));
        let same = out.lines().zip(rows.lines()).take_while(|(out, row)| out == row).count();
        assert!(same >= least, "{reason}: {same} of {least}");
        let last: Value = serde_json::from_str(wrong.lines().last().expect("an error")).expect("JSON");
        assert!(last["reason"].as_str().is_some_and(|said| said.contains(reason)), "{last}");
        assert!(said.contains("warning: ") && said.contains(reason), "{reason}: {said}");
        let count = out.lines().count() + wrong.lines().count();
        assert!(
            said.replace(',', "").contains(&format!("p: {count} row")),
            "{reason}: not all records are counted: {said}"
        );

        pipeline(", on_error: fail");
        std::fs::write(path.join("out"), b"old\n").expect("written");
        let output = run(path, &["run", "p.yaml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{reason}: {said}");
        assert_eq!(read("out"), "old\n", "{reason}");
    }
}
