//! The state database against plain maps, and what becomes of one that is damaged.

mod damage;
mod limits;
mod measure;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Filter, Holder, Kept, Letter, StateFile, StateReader};
use crate::base::limit::KEY_GROUPS;
use crate::data::hash::hash_key;
use crate::data::value::Val;
use crate::store::rows::{
    Cause, Commit, DeadLetter, HandedRow, LedgerRow, MarkRow, Origin, PartitionRow, ReturnedRow, StateRow, Status,
    StepRow, key_group,
};

pub(super) fn holder() -> Holder {
    Holder { pipeline: "p.yaml".into(), command: "run".into() }
}

pub(super) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/p.db");
    (directory, path)
}

pub(super) fn empty() -> Commit {
    Commit {
        status: Status::Running,
        partitions: vec![],
        gone: vec![],
        steps: vec![],
        changes: vec![],
        marks: vec![],
        ledger: vec![],
        handed: vec![],
        dead_letters: vec![],
        sent_again: vec![],
        returned: vec![],
        taken_in: vec![],
        now: 1,
    }
}

pub(super) fn row(key: u32, value: Option<u32>) -> StateRow {
    let name = format!("device-{key}");
    let value = value.map(|v| format!("{{count: {v}, most: {v}}}").into_bytes());
    StateRow { hash: hash_key(&[Val::Text(&name)]), key: name.into_bytes(), value }
}

pub(super) fn returned(sink: &str, number: u64) -> ReturnedRow {
    ReturnedRow {
        sink: sink.into(),
        number,
        time: number.is_multiple_of(2).then_some(number as i64),
        reason: format!("the answer was {number}"),
        json: !number.is_multiple_of(3),
        original: vec![b'x'; number as usize % 7],
    }
}

pub(super) fn letter(n: u64) -> DeadLetter {
    DeadLetter {
        entry: format!("e{}", n % 3),
        cause: if n.is_multiple_of(4) { Cause::Late } else { Cause::Error },
        reason: format!("reason {n}"),
        place: "p.yaml:3:5".into(),
        time: (!n.is_multiple_of(2)).then_some(n as i64),
        origin: [Origin::Row, Origin::Record, Origin::Left, Origin::Made][n as usize % 4],
        header: n.is_multiple_of(5).then(|| vec![format!("name {n}"), String::new()]),
        original: format!("{{\"n\": {n}}}").into_bytes(),
    }
}

/// What a database should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    run: u64,
    epoch: u64,
    status: Option<Status>,
    partitions: BTreeMap<(String, String), PartitionRow>,
    steps: BTreeMap<String, StepRow>,
    marks: BTreeMap<(String, String), String>,
    ledger: BTreeMap<String, LedgerRow>,
    handed: BTreeMap<(String, String), HandedRow>,
    rows: BTreeMap<String, BTreeMap<(u64, Vec<u8>), Vec<u8>>>,
    letters: Vec<DeadLetter>,
}

impl Model {
    fn begin(&mut self) {
        let letters = std::mem::take(&mut self.letters);
        *self = Model { run: self.run + 1, status: Some(Status::Running), letters, ..Model::default() };
    }

    fn commit(&mut self, commit: &Commit) {
        self.epoch += 1;
        self.status = Some(commit.status);
        for key in &commit.gone {
            self.partitions.remove(key);
        }
        for row in &commit.partitions {
            self.partitions.insert((row.source.clone(), row.name.clone()), row.clone());
        }
        self.steps.extend(commit.steps.iter().map(|row| (row.name.clone(), row.clone())));
        self.ledger.extend(commit.ledger.iter().map(|row| (row.entry.clone(), row.clone())));
        let handed = commit.handed.iter().map(|row| ((row.entry.clone(), row.input.clone()), row.clone()));
        self.handed.extend(handed);
        for (sink, key, value) in &commit.marks {
            let key = (sink.clone(), key.clone());
            match value {
                Some(value) => drop(self.marks.insert(key, value.clone())),
                None => drop(self.marks.remove(&key)),
            }
        }
        for (step, rows) in &commit.changes {
            let kept = self.rows.entry(step.clone()).or_default();
            for row in rows.iter() {
                let key = (row.hash, row.key.to_vec());
                match row.value {
                    Some(value) => drop(kept.insert(key, value.to_vec())),
                    None => drop(kept.remove(&key)),
                }
            }
        }
        self.rows.retain(|_, rows| !rows.is_empty());
        self.letters.extend(commit.dead_letters.iter().cloned());
    }

    fn reset(&mut self, step: &str) {
        self.steps.remove(step);
        self.rows.remove(step);
    }
}

/// What a database holds, read beside whoever writes it.
fn seen(path: &Path) -> Result<Model, String> {
    let reader = StateReader::open(path).map_err(|e| e.message)?;
    let mut model = match reader.kept() {
        None => Model::default(),
        Some(kept) => of_kept(kept),
    };
    for size in reader.sizes() {
        let mut rows = BTreeMap::new();
        // Two workers' shares, of which one is cut within a slice.
        for groups in [0..101, 101..KEY_GROUPS] {
            let read = reader.rows(&size.step, groups.clone(), &mut |row| {
                assert!(groups.contains(&key_group(row.hash)));
                if let Some(value) = row.value {
                    assert_eq!(rows.insert((row.hash, row.key.to_vec()), value.to_vec()), None, "a key comes once");
                }
                Ok(())
            });
            read.map_err(|e| e.message)?;
        }
        if !rows.is_empty() {
            model.rows.insert(size.step, rows);
        }
    }
    let mut letters: Vec<Letter> = Vec::new();
    let all = reader.each_letter(&Filter::default(), 0, usize::MAX, &mut |letter| {
        letters.push(letter);
        Ok(())
    });
    all.map_err(|e| e.message)?;
    assert!(letters.windows(2).all(|pair| pair[0].id < pair[1].id));
    model.letters = letters.into_iter().map(|letter| letter.letter).collect();
    Ok(model)
}

fn of_kept(kept: &Kept) -> Model {
    Model {
        run: kept.run,
        epoch: kept.epoch,
        status: Some(kept.status),
        partitions: kept.partitions.iter().map(|r| ((r.source.clone(), r.name.clone()), r.clone())).collect(),
        steps: kept.steps.iter().map(|r| (r.name.clone(), r.clone())).collect(),
        marks: kept.marks.iter().map(|r| ((r.sink.clone(), r.key.clone()), r.value.clone())).collect(),
        ledger: kept.ledger.iter().map(|r| (r.entry.clone(), r.clone())).collect(),
        handed: kept.handed.iter().map(|r| ((r.entry.clone(), r.input.clone()), r.clone())).collect(),
        rows: BTreeMap::new(),
        letters: vec![],
    }
}

/// What a process does with a database.
#[derive(Clone, Debug)]
enum Act {
    Commit(Box<Commit>),
    Compact,
    Reopen,
    Begin,
    Reset(String),
    Forget(String, u32),
}

fn commits() -> impl Strategy<Value = Commit> {
    let name = |letter: &'static str| (0u8..3).prop_map(move |n| format!("{letter}{n}"));
    let partitions = prop::collection::vec((name("s"), name("p"), 0u64..5, 0i64..3, any::<bool>()), 0..4);
    let rows = prop::collection::vec((0u32..400, prop::option::weighted(0.8, 0u32..1000)), 0..120);
    let changes = prop::collection::vec((name("w"), rows), 0..3);
    let marks = prop::collection::vec((name("o"), name("k"), prop::option::of(0u8..3)), 0..3);
    let gone = prop::collection::vec((name("s"), name("p")), 0..2);
    let ledger = prop::collection::vec((name("e"), 0u64..3), 0..4);
    (partitions, gone, changes, marks, ledger, 0u64..4).prop_map(
        |(partitions, gone, changes, marks, ledger, letters)| {
            let partition = |(source, name, position, greatest, ended)| PartitionRow {
                source,
                name,
                stream: format!("f{position}"),
                position,
                greatest,
                ended,
            };
            let step = |(step, _): &(String, _)| StepRow { name: step.clone(), meaning: "{}".into(), watermark: 5 };
            Commit {
                partitions: partitions.into_iter().map(partition).collect(),
                gone,
                steps: changes.iter().map(step).collect(),
                changes: changes
                    .into_iter()
                    .map(|(step, rows)| (step, rows.into_iter().map(|(k, v)| row(k, v)).collect()))
                    .collect(),
                marks: marks.into_iter().map(|(s, k, v)| (s, k, v.map(|v| v.to_string()))).collect(),
                ledger: ledger
                    .into_iter()
                    .map(|(entry, taken)| LedgerRow { entry, taken, passed: taken, ..LedgerRow::default() })
                    .collect(),
                handed: (0..letters)
                    .map(|n| HandedRow { entry: format!("e{}", n % 2), input: format!("e{n}.late"), rows: letters })
                    .collect(),
                dead_letters: (0..letters).map(letter).collect(),
                ..empty()
            }
        },
    )
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let step = || (0u8..3).prop_map(|n| format!("w{n}"));
    let act = prop_oneof![
        12 => commits().prop_map(|commit| Act::Commit(Box::new(commit))),
        3 => Just(Act::Compact),
        2 => Just(Act::Reopen),
        1 => Just(Act::Begin),
        1 => step().prop_map(Act::Reset),
        1 => (step(), 0u32..400).prop_map(|(step, key)| Act::Forget(step, key)),
    ];
    prop::collection::vec(act, 1..60)
}

/// Small chunks are merged as large ones are, so that few rows show how they are.
fn open_merging_early(path: &Path) -> StateFile {
    let mut file = StateFile::open(path, &holder()).unwrap();
    file.merging(super::index::Merging { chunks: 4, small: 150 });
    file
}

fn perform(file: &mut StateFile, path: &Path, act: &Act, model: &mut Model) {
    match act {
        Act::Commit(commit) => {
            file.commit(commit).unwrap();
            model.commit(commit);
        }
        Act::Compact => while file.compact(Duration::ZERO).unwrap() {},
        Act::Reopen => {}
        Act::Begin => {
            file.begin(7, Vec::new()).unwrap();
            model.begin();
        }
        Act::Reset(step) => {
            file.reset_step(step).unwrap();
            model.reset(step);
        }
        Act::Forget(step, key) => {
            let row = row(*key, None);
            file.forget(step, &[(row.hash, row.key.clone())]).unwrap();
            if let Some(rows) = model.rows.get_mut(step) {
                rows.remove(&(row.hash, row.key));
            }
            model.rows.retain(|_, rows| !rows.is_empty());
        }
    }
    let memory = Model { rows: model.rows.clone(), letters: model.letters.clone(), ..of_kept(file.kept().unwrap()) };
    assert_eq!(memory, *model, "what is in memory is what is kept");
    assert_eq!(seen(path).as_ref(), Ok(&*model), "a reader beside sees what is kept");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_was_committed_is_what_is_read(acts in acts()) {
        let (_directory, path) = place();
        let mut file = open_merging_early(&path);
        let mut model = Model::default();
        prop_assert!(file.kept().is_none());
        file.begin(3, Vec::new()).unwrap();
        model.begin();
        for act in &acts {
            if matches!(act, Act::Reopen) {
                drop(file);
                file = open_merging_early(&path);
            }
            perform(&mut file, &path, act, &mut model);
        }
        prop_assert!(StateReader::open(&path).unwrap().check().is_ok());
    }
}

#[test]
fn a_group_is_in_the_slice_that_is_read_for_it() {
    for hash in [0, 1 << 56, u64::MAX, 0x1234_5678_9abc_def0, 1 << 60, (1 << 60) - 1] {
        let group = key_group(hash);
        assert!(super::index::slices(&(group..group + 1)).contains(&super::chunk::slice_of(hash)));
    }
    assert_eq!(super::index::slices(&(0..KEY_GROUPS)), 0..super::chunk::SLICES);
    assert_eq!(super::index::slices(&(5..5)), 0..0);
}

#[test]
fn a_complete_run_is_not_gone_on_with_and_can_still_be_read() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let mark = MarkRow { sink: "o".into(), key: "k".into(), value: "1".into() };
    let marks = vec![(mark.sink.clone(), mark.key.clone(), Some(mark.value.clone()))];
    file.commit(&Commit { status: Status::Complete, marks, dead_letters: vec![letter(1)], ..empty() }).unwrap();
    assert!(file.kept().is_none());
    drop(file);
    let mut file = StateFile::open(&path, &holder()).unwrap();
    assert!(file.kept().is_none());
    let reader = StateReader::open(&path).unwrap();
    assert_eq!(reader.kept().map(|kept| (kept.status, kept.marks.clone())), Some((Status::Complete, vec![mark])));
    drop(reader);
    file.begin(2, Vec::new()).unwrap();
    let kept = file.kept().unwrap();
    assert_eq!((kept.run, kept.epoch, kept.status, kept.marks.len()), (2, 0, Status::Running, 0));
    assert_eq!(StateReader::open(&path).unwrap().letters().letters, 1, "dead letters stay");
}

#[test]
fn what_came_back_to_sinks_stays_until_it_is_taken_in_or_nobody_does() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let rows = |sink: &str, numbers: Range<u64>| numbers.map(|n| returned(sink, n)).collect::<Vec<_>>();
    let all = |file: &StateFile, sink: &str, from: u64| file.returned_reader().unwrap().read(sink, from).unwrap();
    let commit = |returned: Vec<ReturnedRow>, taken_in: &[(&str, u64)]| Commit {
        returned,
        taken_in: taken_in.iter().map(|(sink, before)| ((*sink).to_owned(), *before)).collect(),
        ..empty()
    };
    file.commit(&commit([rows("a", 5..9), rows("b", 0..2)].concat(), &[])).unwrap();
    assert_eq!(all(&file, "a", 6), rows("a", 6..9));
    file.commit(&commit(rows("a", 9..11), &[("a", 7), ("b", 2), ("c", 3)])).unwrap();
    file = {
        drop(file);
        StateFile::open(&path, &holder()).unwrap()
    };
    assert_eq!(file.returned(), [("a".to_owned(), 4)]);
    assert_eq!((file.returned_end("a"), file.returned_end("b")), (Some(11), None));
    assert_eq!(all(&file, "a", 0), rows("a", 7..11));
    file.commit(&commit(rows("b", 2..3), &[("a", 7), ("b", 2)])).unwrap();
    assert_eq!(file.unread(&["a"], 5).unwrap(), [("b".to_owned(), 1)]);
    file = {
        drop(file);
        StateFile::open(&path, &holder()).unwrap()
    };
    let mut letters = Vec::new();
    let mut each = |letter: Letter| {
        letters.push((letter.letter.entry, letter.letter.reason, letter.at));
        Ok(())
    };
    file.each_letter(&Filter::default(), &mut each).unwrap();
    assert_eq!(letters, [("b".to_owned(), "the answer was 2".to_owned(), 5)]);
    // A run that begins anew takes none in.
    file.begin(9, Vec::new()).unwrap();
    assert_eq!((file.returned(), all(&file, "a", 0)), (vec![], vec![]));
    let reader = StateReader::open(&path).unwrap();
    assert_eq!((reader.letters().letters, reader.check().is_ok()), (5, true));
}
