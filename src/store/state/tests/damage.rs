//! A database that is cut, or whose bits flip: what is read is what was written, or it is refused.

use std::path::Path;
use std::time::Duration;

use super::*;

/// Numbers that are the same in every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A checkpoint with something of everything; `n` makes it differ from others.
fn full(n: u32) -> Commit {
    let rows = (0..300).map(|key| row(key * (n + 1), (key % 7 != n % 7).then_some(key + n))).collect();
    Commit {
        partitions: (0..30)
            .map(|p| PartitionRow {
                source: "in".into(),
                name: format!("data/{p}.ndjson"),
                stream: format!("{p}-{p}"),
                position: u64::from(n * 100 + p),
                greatest: i64::from(n),
                ended: p % 2 == 0,
            })
            .collect(),
        steps: vec![StepRow { name: "w".into(), meaning: "{}".into(), watermark: i64::from(n) }],
        changes: vec![("w".into(), rows)],
        marks: vec![("out".into(), "out.ndjson".into(), Some(format!("{{\"bytes\": {n}}}")))],
        returned: (0..3).map(|k| returned("out", u64::from(n * 3 + k))).collect(),
        taken_in: vec![("out".into(), u64::from(n))],
        ledger: vec![LedgerRow {
            entry: "w".into(),
            taken: u64::from(n),
            passed: u64::from(n),
            ..LedgerRow::default()
        }],
        handed: vec![HandedRow { entry: "w".into(), input: "in".into(), rows: u64::from(n) }],
        dead_letters: (0..40).map(|l| letter(u64::from(n) * 100 + l)).collect(),
        ..empty()
    }
}

/// What a process that opens the database to go on finds, and then what one that reads it finds.
fn opened(path: &Path) -> Result<Model, String> {
    let file = StateFile::open(path, &holder()).map_err(|e| e.message)?;
    drop(file);
    let model = seen(path)?;
    StateReader::open(path).and_then(|reader| reader.check()).map_err(|e| e.message)?;
    Ok(model)
}

/// Holds that a sentence is one for people: it names the file and says what to do.
fn is_said(message: &str, path: &Path) {
    assert!(message.contains(&path.display().to_string()), "{message}");
    let helps = ["run --fresh", "run again", "writable", "--data", "may this process", "a copy"];
    assert!(helps.iter().any(|help| message.contains(help)), "{message}");
}

fn made(path: &Path) -> Model {
    let mut model = Model::default();
    let mut file = StateFile::open(path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    model.begin();
    for n in 0..6 {
        file.commit(&full(n)).unwrap();
        model.commit(&full(n));
        if n == 3 {
            while file.compact(Duration::ZERO).unwrap() {}
        }
    }
    model
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    let (directory, path) = place();
    let model = made(&path);
    assert_eq!(opened(&path).as_ref(), Ok(&model));
    let bytes = std::fs::read(&path).unwrap();
    let mut random = Random(1);
    let (mut refused, mut unseen) = (0, 0);
    for round in 0..300 {
        let copy = directory.path().join(format!("copy{round}/p.db"));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        let mut flipped = bytes.clone();
        // The first page describes the others: it is hit more often than its share.
        let end = if round % 5 == 0 { 4_096 } else { bytes.len() as u64 };
        let (at, bit) = (random.below(end) as usize, random.below(8));
        flipped[at] ^= 1 << bit;
        std::fs::write(&copy, &flipped).unwrap();
        match opened(&copy) {
            Ok(found) => {
                unseen += 1;
                assert_eq!(found, model, "bit {bit} of byte {at} is flipped");
            }
            Err(message) => {
                refused += 1;
                is_said(&message, &copy);
            }
        }
        std::fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }
    assert!(refused > 60 && unseen > 0, "{refused} refused, {unseen} in bytes that say nothing");
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let (directory, path) = place();
    let model = made(&path);
    let bytes = std::fs::read(&path).unwrap();
    let mut random = Random(2);
    let mut lengths: Vec<usize> = (0..80).map(|_| random.below(bytes.len() as u64) as usize).collect();
    lengths.extend((0..bytes.len()).step_by(4_096 * 3));
    lengths.extend([0, 1, 16, 99, 100, 101, 4_095, bytes.len() - 1]);
    for length in lengths {
        let copy = directory.path().join(format!("cut{length}/p.db"));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(&copy, &bytes[..length]).unwrap();
        let message = opened(&copy).expect_err(&format!("{length} bytes of {}", bytes.len()));
        is_said(&message, &copy);
        assert_eq!(std::fs::metadata(&copy).unwrap().len(), length as u64, "what is refused is left as it is");
    }
    assert_eq!(opened(&path).as_ref(), Ok(&model));
}

#[test]
fn a_damaged_log_gives_a_checkpoint_that_was_made_or_is_refused() {
    let (directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    let mut model = Model::default();
    file.begin(1, Vec::new()).unwrap();
    model.begin();
    let mut past = vec![Model::default(), model.clone()];
    for n in 0..4 {
        file.commit(&full(n)).unwrap();
        model.commit(&full(n));
        past.push(model.clone());
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // What a process that was killed leaves: the file and the log.
    let (main, log) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    assert!(log.len() > 8_192, "the checkpoints are in the log");
    let mut random = Random(3);
    for round in 0..100 {
        let copy = directory.path().join(format!("copy{round}/p.db"));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(&copy, &main).unwrap();
        let mut flipped = log.clone();
        let at = random.below(log.len() as u64) as usize;
        match round {
            0 => {}
            _ if round % 3 == 0 => flipped.truncate(at),
            _ => flipped[at] ^= 1 << random.below(8),
        }
        std::fs::write(format!("{}-wal", copy.display()), &flipped).unwrap();
        match opened(&copy) {
            Ok(found) if round == 0 => assert_eq!(found, model),
            Ok(found) => assert!(past.contains(&found), "byte {at}: no checkpoint ever was like this"),
            Err(message) => is_said(&message, &copy),
        }
        std::fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }
}

#[test]
fn what_is_no_state_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    for other in [&b"hello"[..], b"", &[0; 4_096], &[0xff; 10_000]] {
        std::fs::write(&path, other).unwrap();
        for error in [StateFile::open(&path, &holder()).err(), StateReader::open(&path).err()] {
            is_said(&error.expect("an error").message, &path);
        }
        assert_eq!(std::fs::read(&path).unwrap(), other, "what is refused is left as it is");
    }
    std::fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE run (x); PRAGMA user_version = 1").unwrap();
    drop(foreign);
    let message = StateFile::open(&path, &holder()).err().unwrap().message;
    assert!(message.contains("a database of something else"), "{message}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let message = StateFile::open(&path, &holder()).err().unwrap().message;
    assert!(message.contains("is no file"), "{message}");
    let message = StateReader::open(&directory.path().join("none.db")).err().unwrap().message;
    assert!(message.contains("cannot be opened"), "{message}");
}

#[test]
fn a_state_of_a_newer_version_is_refused_with_a_sentence() {
    let (_directory, path) = place();
    made(&path);
    let change = rusqlite::Connection::open(&path).unwrap();
    change.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(change);
    for error in [StateFile::open(&path, &holder()).err(), StateReader::open(&path).err()] {
        let message = error.expect("an error").message;
        assert!(message.contains("was written by a newer Millstream (format 99"), "{message}");
    }
}

#[test]
fn a_row_that_somebody_changed_is_noticed() {
    for change in [
        "UPDATE partition SET position = position + 1 WHERE name = 'data/3.ndjson'",
        "DELETE FROM mark",
        "UPDATE run SET epoch = 3",
        "UPDATE chunk SET epoch = 1 WHERE id = (SELECT max(id) FROM chunk)",
        "DELETE FROM chunk WHERE id = (SELECT max(id) FROM chunk)",
        "UPDATE chunk SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM chunk)",
        "UPDATE dead_letter SET reason = 'none' WHERE id = 7",
        "DELETE FROM dead_letter WHERE id = 7",
        "UPDATE dead_letter SET origin = 'row' WHERE origin = 'made' AND id < 9",
        "UPDATE dead_letter SET header = '[\"other\"]' WHERE header IS NOT NULL AND id < 9",
        "UPDATE handed SET rows = rows + 1",
        "UPDATE dead_letter_total SET let_go = 1",
        "DELETE FROM run",
    ] {
        let (_directory, path) = place();
        made(&path);
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(connection.execute(change, []).map(|n| n > 0), Ok(true), "{change}");
        drop(connection);
        let message = opened(&path).expect_err(change);
        assert!(message.contains("is damaged"), "{change}: {message}");
    }
}
