//! A journal against a list: whatever is done to its files, it gives what was appended or says that it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::format::{GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader};
use super::segment::path_of;
use super::*;

mod damage;
mod measure;

/// A record as tests compare them.
type Seen = (u64, u16, Vec<u8>);

const SMALL: Settings = Settings { segment_bytes: 300, max_bytes: 1 << 30 };

fn open(dir: &Path) -> Journal {
    Journal::open(dir, SMALL).unwrap()
}

fn append(journal: &Journal, source: SourceId, payloads: &[&[u8]]) -> Appended {
    journal.append(source, Kind::EVENT, payloads.iter().copied()).unwrap().wait().unwrap()
}

fn seen(records: Records) -> Vec<Seen> {
    records.map(|r| r.unwrap()).map(|r| (r.sequence, r.source.0, r.payload.to_vec())).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "log"));
    files.sort();
    files
}

/// Copies a journal that nobody has open.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in files(from) {
        fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

/// A journal of two sources over three segments, closed; the last has two groups of records. With what it holds.
fn three_segments() -> (TempDir, Vec<Seen>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let (a, b) = (journal.source("a").unwrap(), journal.source("b/0").unwrap());
    for n in 0..6u8 {
        append(&journal, if n % 3 == 0 { b } else { a }, &[&[n; 30], b"", &[n, n]]);
    }
    let all = seen(journal.read_from(0).unwrap());
    drop(journal);
    assert_eq!((files(dir.path()).len(), all.len()), (3, 18));
    (dir, all)
}

/// Where each group of a segment begins, and its end.
fn groups(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let mut starts = vec![SEGMENT_HEADER];
    let mut at = SEGMENT_HEADER;
    while at < bytes.len() {
        at += GROUP_HEADER + GroupHeader::decode(&bytes[at..], salt).unwrap().length as usize;
        starts.push(at);
    }
    starts
}

#[derive(Debug, Clone)]
enum Step {
    Append { source: u16, payloads: Vec<Vec<u8>> },
    Reopen,
    Cut(u64),
    Read(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..60);
    let payloads = proptest::collection::vec(payload, 1..5);
    let step = prop_oneof![
        6 => (0..4u16, payloads).prop_map(|(source, payloads)| Step::Append { source, payloads }),
        1 => Just(Step::Reopen),
        1 => (0..40u64).prop_map(Step::Cut),
        2 => (0..200u64).prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_a_list_that_is_cut_in_front(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(dir.path());
        let mut model: Vec<Seen> = Vec::new();
        let mut covered = 1;
        for step in steps {
            match step {
                Step::Append { source, payloads } => {
                    let id = journal.source(&format!("source {source}")).unwrap();
                    let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                    let appended = append(&journal, id, &slices);
                    let first = model.last().map_or(1, |r| r.0 + 1);
                    prop_assert_eq!(&appended.sequences, &(first..first + payloads.len() as u64));
                    model.extend(appended.sequences.zip(payloads).map(|(s, p)| (s, id.0, p)));
                }
                Step::Reopen => {
                    drop(journal);
                    journal = open(dir.path());
                    prop_assert_eq!(journal.torn(), 0);
                }
                Step::Cut(behind) => {
                    covered = covered.max(journal.next().saturating_sub(behind));
                    journal.cut(covered).unwrap();
                    // Another segment may be begun beside, for the last to go; closing waits for it.
                    drop(journal);
                    journal = open(dir.path());
                    // A file that has nothing else is gone.
                    let firsts: Vec<u64> = files(dir.path()).iter().filter_map(|p| segment::first_of(p)).collect();
                    prop_assert!(firsts.get(1).is_none_or(|second| *second > covered), "{:?} {}", firsts, covered);
                }
                Step::Read(behind) => {
                    let from = journal.next().saturating_sub(behind);
                    let read = seen(journal.read_from(from).unwrap());
                    let begins = read.first().map_or(journal.next(), |r| r.0);
                    prop_assert!(begins <= from.max(covered), "{begins} {from} {covered}");
                    let expected: Vec<Seen> = model.iter().filter(|r| r.0 >= begins).cloned().collect();
                    prop_assert_eq!(read, expected);
                }
            }
            let bytes: u64 = files(dir.path()).iter().map(|p| fs::metadata(p).unwrap().len()).sum();
            // The writer tells those who wait after it has counted.
            prop_assert_eq!(journal.bytes(), bytes);
        }
    }

    #[test]
    fn files_of_anything_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let head = SegmentHeader { first: 1, salt: 7 }.encode();
        let whole = if header { [&head[..], &bytes].concat() } else { bytes };
        fs::write(path_of(dir.path(), 1), &whole).unwrap();
        if let Ok(journal) = Journal::open(dir.path(), SMALL) {
            prop_assert!(seen(journal.read_from(0).unwrap()).is_empty());
            prop_assert!(journal.torn() <= whole.len() as u64);
        }
    }

    #[test]
    fn files_of_groups_of_anything_are_refused_or_read(
        parts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), 0..4u32, 0..4u64), 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = SegmentHeader { first: 1, salt: 7 }.encode().to_vec();
        for (body, count, first) in &parts {
            // Checksums that are right, over what makes no sense.
            let length = body.len() as u32;
            let header =
                GroupHeader { length, first: *first, count: *count, arrived: Timestamp(0), body: crc32fast::hash(body) };
            bytes.extend(header.encode(7));
            bytes.extend(body);
        }
        fs::write(path_of(dir.path(), 1), &bytes).unwrap();
        if let Ok(journal) = Journal::open(dir.path(), SMALL) {
            prop_assert!(journal.torn() == 0, "such bytes were not left by an unfinished write");
            seen(journal.read_from(0).unwrap());
        }
    }

    #[test]
    fn changed_files_never_give_another_record(
        (file, at, remove, insert) in (0..3usize, any::<prop::sample::Index>(), 0..80usize,
            proptest::collection::vec(any::<u8>(), 0..80)),
    ) {
        let (dir, all) = three_segments();
        let path = &files(dir.path())[file];
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len());
        let end = (at + remove).min(bytes.len());
        bytes.splice(at..end, insert);
        fs::write(path, &bytes).unwrap();
        if let Ok(journal) = Journal::open(dir.path(), SMALL) {
            let read = seen(journal.read_from(0).unwrap());
            prop_assert!(all.starts_with(&read), "{read:?}");
            prop_assert!(file == 2 || read.len() == all.len(), "only the end of the last file may be missing");
        }
    }

    /// The disk writes sectors in any order: what is left of the last write is any of them.
    #[test]
    fn an_unfinished_last_write_is_cut_whatever_is_left_of_it(
        size in 1..6_000usize, kept in proptest::collection::vec(0..3u8, 14), cut in 0..6_000usize, noise in any::<u8>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let journal = Journal::open(dir.path(), settings).unwrap();
        let id = journal.source("a").unwrap();
        append(&journal, id, &[b"first"]);
        append(&journal, id, &[b"second", &[9; 700]]);
        let before = seen(journal.read_from(0).unwrap());
        append(&journal, id, &[&vec![7; size]]);
        let after = seen(journal.read_from(0).unwrap());
        drop(journal);
        let path = path_of(dir.path(), 1);
        let start = groups(&path)[3];
        let mut bytes = fs::read(&path).unwrap();
        for (sector, kept) in kept.iter().enumerate() {
            for at in (sector * 512).max(start)..((sector + 1) * 512).min(bytes.len()) {
                match kept {
                    0 => bytes[at] = 0,
                    1 => bytes[at] = noise.wrapping_mul(at as u8),
                    _ => {}
                }
            }
        }
        let length = bytes.len();
        bytes.truncate((length - cut.min(length - start)).max(start));
        fs::write(&path, &bytes).unwrap();
        let journal = Journal::open(dir.path(), settings).unwrap();
        let read = seen(journal.read_from(0).unwrap());
        prop_assert!(read == before || read == after);
        let torn = if read == before { bytes.len() - start } else { 0 };
        prop_assert_eq!(journal.torn(), torn as u64);
        // It goes on with the same numbers, for those that were lost were given to nobody.
        let next = journal.next();
        prop_assert_eq!(append(&journal, journal.source("a").unwrap(), &[b"more"]).sequences.start, next);
        drop(journal);
        let journal = Journal::open(dir.path(), settings).unwrap();
        prop_assert_eq!((journal.next(), journal.torn()), (next + 1, 0));
    }
}

#[test]
fn nothing_is_made_before_something_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("x.journal");
    let journal = open(&place);
    let id = journal.source("a").unwrap();
    assert!(seen(journal.resume(id, 0).unwrap()).is_empty());
    journal.cover(id, 1).unwrap();
    assert!(!place.exists());
    append(&journal, id, &[b"x"]);
    assert!(place.join("0000000000000001.log").exists());
}

#[test]
fn many_threads_append_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Settings { segment_bytes: 20_000, max_bytes: 1 << 30 }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let journal = &journal;
            scope.spawn(move || {
                let id = journal.source(&format!("s{}", thread % 5)).unwrap();
                for n in 0..60 {
                    let (one, two) = (format!("{thread} {n} a"), format!("{thread} {n} b"));
                    let appended = append(journal, id, &[one.as_bytes(), two.as_bytes()]);
                    let read: Vec<_> = seen(journal.read_from(appended.sequences.start).unwrap());
                    let expected = [one, two].map(String::into_bytes);
                    assert_eq!([read[0].2.clone(), read[1].2.clone()], expected);
                }
            });
        }
    });
    let records = seen(journal.read_from(0).unwrap());
    assert_eq!(records.len(), 16 * 60 * 2);
    assert!(records.iter().zip(1..).all(|(record, sequence)| record.0 == sequence));
    for thread in 0..16 {
        let mine = format!("{thread} ");
        let texts = records.iter().map(|r| String::from_utf8(r.2.clone()).unwrap()).filter(|t| t.starts_with(&mine));
        let expected = (0..60).flat_map(|n| ["a", "b"].map(|part| format!("{thread} {n} {part}")));
        assert!(texts.eq(expected), "the order of one thread is kept");
    }
}

#[test]
fn tasks_wait_without_a_thread_each() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path()));
    let id = journal.source("a").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let numbers = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..1000u32 {
            let journal = Arc::clone(&journal);
            tasks.spawn(async move {
                let payload = n.to_le_bytes();
                let ticket = journal.append(id, Kind(9), std::iter::once(&payload[..])).unwrap();
                ticket.await.unwrap().sequences.start
            });
        }
        tasks.join_all().await
    });
    let mut numbers = numbers;
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=1000));
    assert!(journal.read_from(1).unwrap().all(|r| r.unwrap().kind == Kind(9)));
}

#[test]
fn a_full_journal_takes_nothing_until_a_checkpoint_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Settings { segment_bytes: 1 << 20, max_bytes: 4_000 }).unwrap();
    let id = journal.source("a").unwrap();
    let taken = |payload: &[u8]| journal.append(id, Kind::EVENT, std::iter::once(payload)).map(Ticket::wait);
    let Err(JournalError::TooLarge(why)) = taken(&[1; 3_000]) else { panic!("it was taken") };
    assert_eq!(why, "3007 bytes at once are more than the 2000 that a journal takes; send less at once");
    let full = loop {
        match taken(&[1; 500]) {
            Ok(appended) => drop(appended.unwrap()),
            Err(why) => break why,
        }
    };
    assert!(full.message().contains("nearly the 4000 that it may: the pipeline is behind"), "{full:?}");
    assert!(matches!(full, JournalError::Full(_)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let room = journal.room();
    journal.cover(id, journal.next()).unwrap();
    runtime.block_on(room);
    // The last segment goes, too, if it is large: another is begun.
    taken(&[2; 1_900]).unwrap().unwrap();
    assert!(matches!(taken(&[3; 1_900]), Err(JournalError::Full(_))));
    let next = journal.next();
    let mut room = journal.room();
    journal.cover(id, next).unwrap();
    while matches!(taken(&[3; 1_900]), Err(JournalError::Full(_))) {
        runtime.block_on(room);
        room = journal.room();
    }
    assert_eq!(seen(journal.read_from(0).unwrap()), [(next, 0, vec![3; 1_900])]);
}

#[test]
fn sources_hold_what_they_need_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let [a, b, gone] = ["a", "b", "gone"].map(|name| journal.source(name).unwrap());
    append(&journal, gone, &[&[0; 100]]);
    append(&journal, b, &[&[1; 250]]);
    for _ in 0..9 {
        append(&journal, a, &[&[2; 250]]);
    }
    drop(journal);
    let first = || segment::first_of(&files(dir.path())[0]).unwrap();
    let journal = open(dir.path());
    let [a, b] = ["a", "b"].map(|name| journal.source(name).unwrap());
    assert_eq!(seen(journal.resume(a, 5).unwrap()).first().unwrap().0, 5);
    journal.cover(a, 9).unwrap();
    assert_eq!(first(), 1, "`b` has not said where it stands");
    // `b` stands behind all that it has; nobody asks for what `gone` has.
    assert!(seen(journal.resume(b, 3).unwrap()).is_empty());
    journal.cover(b, 3).unwrap();
    assert_eq!(first(), 9);
    let b_again = append(&journal, b, &[b"more"]).sequences.start;
    journal.cover(a, 12).unwrap();
    assert_eq!(seen(journal.read_from(b_again).unwrap()).len(), 1);
    drop(journal);
    // A state that is older than what was covered.
    let journal = open(dir.path());
    let a = journal.source("a").unwrap();
    let Err(JournalError::Missing(why)) = journal.resume(a, 7) else { panic!("what is gone was read") };
    assert!(why.contains("no longer has records 7 to 8 of `a`"), "{why}");
    let Err(JournalError::Missing(why)) = journal.resume(a, 99) else { panic!("what never was was read") };
    assert!(why.contains("ends before record 13, and the pipeline has already processed up to record 98"), "{why}");
    // A state that is new begins with what is there.
    assert_eq!(seen(journal.resume(a, 0).unwrap()).first().unwrap().0, 9);
}

#[test]
fn one_process_has_it() {
    let (dir, _) = three_segments();
    let journal = open(dir.path());
    let Err(why) = Journal::open(dir.path(), SMALL) else { panic!("it opened twice") };
    assert!(why.message().contains("is in use by another process"), "{why:?}");
    drop(journal);
    open(dir.path());
}

#[test]
fn a_place_that_cannot_be_written_is_said_and_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let place = file.join("x.journal");
    // Depending on the system it is found when it is opened.
    let Ok(journal) = Journal::open(&place, SMALL) else { return };
    let id = journal.source("a").unwrap();
    let why = journal.append(id, Kind::EVENT, std::iter::once(&b"x"[..])).unwrap().wait().unwrap_err();
    assert!(why.message().contains("part of its path is a file"), "{why:?}");
    let again = journal.append(id, Kind::EVENT, std::iter::once(&b"x"[..])).map(Ticket::wait);
    assert!(matches!(again, Err(JournalError::Failed(_)) | Ok(Err(JournalError::Failed(_)))), "{again:?}");
}

#[test]
fn what_was_appended_is_written_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let id = journal.source("a").unwrap();
    let tickets: Vec<Ticket> =
        (0..50u8).map(|n| journal.append(id, Kind::EVENT, std::iter::once(&[n][..])).unwrap()).collect();
    drop(journal);
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!(seen(open(dir.path()).read_from(0).unwrap()).len(), 50);
}
