//! Files that are not what was written: cut, flipped, gone, of another version, or made to look like a journal.

use std::fs;

use super::*;

#[test]
fn a_file_that_ends_anywhere_is_cut_where_a_group_begins() {
    let (whole, all) = three_segments();
    for (file, path) in files(whole.path()).iter().enumerate() {
        let starts = groups(path);
        let length = fs::metadata(path).unwrap().len() as usize;
        for left in 0..length {
            let dir = copy(whole.path());
            let cut = dir.path().join(path.file_name().unwrap());
            fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(left as u64).unwrap();
            let opened = Journal::open(dir.path(), SMALL);
            if file < 2 {
                let Err(why) = opened else { panic!("{left} bytes of file {file} were taken for whole") };
                assert!(matches!(why, JournalError::Damaged(_)), "{why:?}");
                continue;
            }
            let journal = opened.unwrap();
            let read = seen(journal.read_from(0).unwrap());
            assert!(all.starts_with(&read));
            let end = starts.iter().rfind(|start| **start <= left);
            assert_eq!(journal.torn(), (left - end.unwrap_or(&0)) as u64, "{left}");
            assert_eq!(journal.next(), read.last().unwrap().0 + 1);
        }
    }
}

#[test]
fn a_bit_that_is_not_what_it_was_is_found_wherever_it_is() {
    let (whole, all) = three_segments();
    for (file, path) in files(whole.path()).iter().enumerate() {
        let starts = groups(path);
        let last = starts[starts.len() - 2];
        for (at, byte) in fs::read(path).unwrap().iter().enumerate() {
            let dir = copy(whole.path());
            let flipped = dir.path().join(path.file_name().unwrap());
            let mut bytes = fs::read(&flipped).unwrap();
            bytes[at] = byte ^ (1 << (at % 8));
            fs::write(&flipped, bytes).unwrap();
            match Journal::open(dir.path(), SMALL) {
                // Damage to the last group is all that looks like an unfinished write.
                Ok(journal) => {
                    assert!(file == 2 && at >= last, "byte {at} of file {file}");
                    assert_eq!(seen(journal.read_from(0).unwrap()), all[..all.len() - 3]);
                }
                Err(JournalError::Damaged(why)) => {
                    assert!(why.contains(flipped.to_str().unwrap()) && why.contains("is damaged at byte"), "{why}");
                    assert!(file < 2 || at < last, "byte {at} of file {file}: {why}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_missing_file_is_said() {
    let (dir, all) = three_segments();
    let paths = files(dir.path());
    fs::remove_file(&paths[1]).unwrap();
    let Err(JournalError::Damaged(why)) = Journal::open(dir.path(), SMALL) else { panic!("it opened") };
    let (from, to) = (segment::first_of(&paths[1]).unwrap(), segment::first_of(&paths[2]).unwrap() - 1);
    assert!(why.contains(&format!("has no records from {from} to {to}: a file is missing")), "{why}");
    // What is before the first file was covered.
    let (dir, _) = (three_segments().0, fs::remove_dir_all(dir.path()));
    fs::remove_file(&files(dir.path())[0]).unwrap();
    let journal = open(dir.path());
    assert_eq!(seen(journal.read_from(0).unwrap()), all[from as usize - 1..]);
}

#[test]
fn another_version_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = SegmentHeader { first: 1, salt: 7 }.encode();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..28]).to_le_bytes();
    bytes[28..].copy_from_slice(&crc);
    fs::write(path_of(dir.path(), 1), bytes).unwrap();
    let Err(why) = Journal::open(dir.path(), SMALL) else { panic!("it opened") };
    assert!(why.message().ends_with(
        "has version 2 of the format, which this Millstream does not read; run the Millstream that wrote it"
    ));
    assert_eq!(fs::read(path_of(dir.path(), 1)).unwrap(), bytes);
}

#[test]
fn events_that_look_like_a_journal_are_events() {
    let (other, _) = three_segments();
    let forged = files(other.path()).iter().map(|p| fs::read(p).unwrap()).collect::<Vec<_>>().concat();
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Settings::default()).unwrap();
    let id = journal.source("a").unwrap();
    append(&journal, id, &[b"kept"]);
    append(&journal, id, &[&forged, &forged]);
    drop(journal);
    let path = path_of(dir.path(), 1);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let journal = open(dir.path());
    assert_eq!(seen(journal.read_from(0).unwrap()), [(1, 0, b"kept".to_vec())]);
}
