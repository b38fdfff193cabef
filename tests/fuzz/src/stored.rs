//! Files that a run leaves: whatever stands in a state database or a journal, it is read or refused. Checksums count for
//! nothing under the fuzzer, so that what stands behind them is reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use millstream::base::limit::KEY_GROUPS;
use millstream::store::journal::{Journal, Kind, Settings};
use millstream::store::rows::{
    Cause, Commit, DeadLetter, HandedRow, LedgerRow, Origin, PartitionRow, ReturnedRow, StateRow, Status, StepRow,
};
use millstream::store::state::{Filter, Holder, StateFile, StateReader};
use rusqlite::{Connection, params};

/// Where the files are: `MILLSTREAM_FUZZ_DIRECTORY`, which should be in memory.
fn directory() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let within = std::env::var_os("MILLSTREAM_FUZZ_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = within.join(format!("millstream-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        path
    })
}

fn holder() -> Holder {
    Holder { pipeline: "p.yaml".into(), command: "run".into() }
}

fn open(path: &Path) -> Option<StateFile> {
    StateFile::open(path, &holder()).ok()
}

/// A checkpoint with a row of every kind; of two with different `n` the keys overlap.
fn commit(n: u64) -> Commit {
    let row = |key: u64| StateRow {
        hash: key << 59,
        key: format!("key {key}").into_bytes(),
        value: (key % 5 != n).then(|| format!("{{\"n\": {key}, \"of\": {n}}}").into_bytes()),
    };
    let letter = |n: u64| DeadLetter {
        entry: "in".into(),
        cause: if n % 2 == 0 { Cause::Error } else { Cause::Late },
        reason: format!("reason {n}"),
        place: "byte 3".into(),
        time: (n % 2 == 0).then_some(7),
        origin: Origin::Record,
        header: (n % 2 == 1).then(|| vec!["a".into()]),
        original: b"{\"n\":".to_vec(),
    };
    let returned = |n: u64| ReturnedRow {
        sink: "out".into(),
        number: n,
        time: (n % 2 == 0).then_some(7),
        reason: format!("answer {n}"),
        json: n % 2 == 0,
        original: b"{\"n\":1}".to_vec(),
    };
    Commit {
        status: Status::Running,
        partitions: vec![PartitionRow {
            source: "in".into(),
            name: "a.ndjson".into(),
            stream: String::new(),
            position: n * 100,
            greatest: 5,
            ended: false,
        }],
        gone: Vec::new(),
        steps: vec![StepRow { name: "w".into(), meaning: "{\"kind\":\"window\"}".into(), watermark: 3 }],
        changes: vec![("w".into(), (n..n + 12).map(row).collect())],
        marks: vec![("out".into(), "file".into(), Some(format!("{{\"bytes\":{n}}}")))],
        ledger: vec![LedgerRow { entry: "in".into(), taken: n, passed: n, ..LedgerRow::default() }],
        handed: vec![HandedRow { entry: "w".into(), input: "in".into(), rows: n }],
        dead_letters: (0..n).map(letter).collect(),
        sent_again: Vec::new(),
        returned: (2 * n..2 * n + 2).map(returned).collect(),
        taken_in: vec![("out".into(), n)],
        now: 1 + n as i64,
    }
}

/// A state database as two checkpoints left it.
fn template() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let path = directory().join("template.db");
        let mut file = open(&path).expect("a state");
        file.begin(1, Vec::new()).expect("begun");
        (1..3).for_each(|n| file.commit(&commit(n)).expect("committed"));
        drop(file);
        fs::read(&path).expect("a file")
    })
}

/// Bytes of a state database that are others; or what its chunks and dead letters hold.
pub fn state_file(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let path = directory().join("state.db");
    for beside in ["state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(directory().join(beside));
    }
    let mut bytes = template().to_vec();
    if how % 2 == 0 {
        patch(&mut bytes, rest);
    }
    fs::write(&path, bytes).expect("written");
    if how % 2 == 1 {
        fill(&path, rest);
    }
    if let Ok(reader) = StateReader::open(&path) {
        let _ = (reader.kept(), reader.sizes(), reader.letters(), reader.check());
        let _ = reader.each_letter(&Filter::default(), 0, 3, &mut |_| Ok(()));
    }
    let Some(mut file) = open(&path) else { return };
    let _ = file.rows("w", 0..KEY_GROUPS, &mut |_| Ok(()));
    if file.commit(&commit(3)).is_ok() {
        let _ = file.compact(Duration::from_millis(5));
    }
    drop(file);
    let _ = open(&path).map(|mut file| file.begin(9, Vec::new()));
}

/// Each four bytes are a place and what to write there, once or often.
fn patch(bytes: &mut [u8], data: &[u8]) {
    for change in data.chunks_exact(4) {
        let [high, low, often, byte] = change else { continue };
        let at = (usize::from(*high) << 8 | usize::from(*low)) * 3 % bytes.len();
        let end = (at + 1 + usize::from(often % 8)).min(bytes.len());
        bytes[at..end].fill(*byte);
    }
}

/// Random bytes for what is packed: the two chunks of a slice, and a dead letter.
fn fill(path: &Path, data: &[u8]) {
    let cut = data.len() / 2;
    let connection = Connection::open(path).expect("a database");
    for (at, part) in [&data[..cut], &data[cut..]].into_iter().enumerate() {
        let sql = "UPDATE chunk SET data = ?1 WHERE id % 2 = ?2";
        connection.execute(sql, params![part, at as i64]).expect("written");
    }
    connection.execute("UPDATE dead_letter SET original = ?1", [data]).expect("written");
}

const BOUNDS: Settings = Settings { segment_bytes: 4 << 10, max_bytes: 64 << 10 };

/// Appends to a journal and closes it; whether the record is durable.
fn append(journal: &Journal, payload: &[u8]) -> bool {
    let Ok(source) = journal.source("in") else { return false };
    let appended = journal.append(source, Kind::EVENT, std::iter::once(payload));
    appended.is_ok_and(|ticket| ticket.wait().is_ok())
}

/// The only file of a journal.
fn segment(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("a file").path());
    files.filter(|path| path.file_name().is_some_and(|name| name != "lock")).max().expect("a segment")
}

/// A journal's file, whole: where the random bytes begin from.
pub fn journal_sample() -> Vec<u8> {
    let at = directory().join("sample");
    let journal = Journal::open(&at, BOUNDS).expect("a journal");
    assert!(append(&journal, b"{\"n\":1}") && append(&journal, b"{\"n\":2}"));
    drop(journal);
    fs::read(segment(&at)).expect("a file")
}

/// What stands in a journal's file. One that opens takes more records, and then opens again.
pub fn journal(data: &[u8]) {
    static NAME: OnceLock<PathBuf> = OnceLock::new();
    let at = directory().join("journal");
    let name = NAME.get_or_init(|| {
        let _ = fs::remove_dir_all(&at);
        assert!(append(&Journal::open(&at, BOUNDS).expect("a journal"), b"1"));
        segment(&at).file_name().map(PathBuf::from).expect("a name")
    });
    let _ = fs::remove_dir_all(&at);
    fs::create_dir_all(&at).expect("a directory");
    fs::write(at.join(name), data).expect("written");
    let Ok(journal) = Journal::open(&at, BOUNDS) else { return };
    let read = |from| journal.read_from(from).map(|records| records.filter(Result::is_ok).count());
    let _ = (read(0), read(1), read(journal.next()));
    if let Ok(source) = journal.source("in") {
        let _ = journal.resume(source, 2).map(Iterator::count);
    }
    let next = journal.next();
    let durable = append(&journal, b"one more");
    drop(journal);
    if durable {
        let again = Journal::open(&at, BOUNDS).unwrap_or_else(|e| panic!("it took a record and is broken: {e:?}"));
        let last = again.read_from(next).expect("its records").last();
        assert_eq!(last.expect("a record").expect("a sound one").payload.as_ref(), b"one more");
    }
}
