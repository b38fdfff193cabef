//! Two processes, a full disk, directories that cannot be written, and dead letters beyond their bounds.

use std::fs;

use super::*;
use crate::store::state::letters::Bounds;

#[test]
fn a_second_process_is_refused_and_told_who_has_the_state() {
    let (_directory, path) = place();
    let file = StateFile::open(&path, &holder()).unwrap();
    let other = Holder { pipeline: "q.yaml".into(), command: "run".into() };
    let message = StateFile::open(&path, &other).err().unwrap().message;
    let who = format!("`millstream run p.yaml`, process {}, since 2", std::process::id());
    assert!(message.contains("is in use by") && message.contains(&who), "{message}");
    let held = StateReader::held(&path).unwrap();
    assert_eq!((held.pid, held.pipeline.as_str()), (std::process::id(), "p.yaml"));
    drop(file);
    assert_eq!(StateReader::held(&path), None);
    // What a process that was killed leaves.
    fs::write(format!("{}.lock", path.display()), "{\"pid\": 1, \"pip").unwrap();
    let file = StateFile::open(&path, &other).unwrap();
    assert_eq!(StateReader::held(&path).map(|held| held.pipeline), Some("q.yaml".into()));
    drop(file);
}

#[test]
fn readers_see_one_moment_and_do_not_hold_up_the_writer() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let commit = |v| Commit { changes: vec![("w".into(), vec![row(1, Some(v))].into())], ..empty() };
    file.commit(&commit(1)).unwrap();
    let reader = StateReader::open(&path).unwrap();
    for v in 2..50 {
        file.commit(&commit(v)).unwrap();
        file.compact(Duration::ZERO).unwrap();
    }
    let mut values = Vec::new();
    let read = reader.rows("w", 0..KEY_GROUPS, &mut |row| {
        values.push(row.value.map(<[u8]>::to_vec));
        Ok(())
    });
    read.unwrap();
    assert_eq!(values, [row(1, Some(1)).value]);
    assert_eq!(reader.kept().map(|kept| kept.epoch), Some(1));
    assert_eq!(StateReader::open(&path).unwrap().kept().map(|kept| kept.epoch), Some(49));
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let rows = |n: u32| (0..n).map(|key| row(key, Some(key))).collect();
    file.commit(&Commit { changes: vec![("w".into(), rows(10))], ..empty() }).unwrap();
    let before = seen(&path).unwrap();
    let pages: i64 = file.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    // What SQLite answers where no page can be added is what it answers where the disk has no room.
    file.connection().query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())).unwrap();
    let large = Commit { changes: vec![("w".into(), rows(20_000))], ..empty() };
    let message = file.commit(&large).unwrap_err().message;
    assert!(message.contains("the disk is full") && message.contains(&path.display().to_string()), "{message}");
    assert_eq!(seen(&path).as_ref(), Ok(&before));
    assert_eq!(file.kept().map(|kept| kept.epoch), Some(1));
    file.connection().query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    file.commit(&large).unwrap();
    let after = seen(&path).unwrap();
    assert_eq!((after.epoch, after.rows["w"].len()), (2, 20_000));
}

#[test]
fn a_place_that_cannot_be_written_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let message = StateFile::open(&file.join("p.db"), &holder()).err().unwrap().message;
    assert!(message.contains("cannot be made") && message.contains("--data"), "{message}");
    // A user who may write everywhere is not stopped by permissions.
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let mut permissions = fs::metadata(&closed).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&closed, permissions).unwrap();
    if fs::write(closed.join("probe"), "").is_err() {
        let message = StateFile::open(&closed.join("p.db"), &holder()).err().unwrap().message;
        assert!(message.contains("make its directory writable"), "{message}");
    }
}

#[test]
fn a_state_in_a_directory_that_cannot_be_written_can_be_read() {
    let (directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    drop(file);
    let inside = directory.path().join("deep");
    let mut permissions = fs::metadata(&inside).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&inside, permissions.clone()).unwrap();
    let read = StateReader::open(&path).map(|reader| reader.kept().map(|kept| kept.run));
    #[allow(clippy::permissions_set_readonly_false, reason = "it is taken away with its directory")]
    permissions.set_readonly(false);
    fs::set_permissions(&inside, permissions).unwrap();
    assert_eq!(read.map_err(|e| e.message), Ok(Some(1)));
}

#[test]
fn dead_letters_stay_within_their_bounds_and_those_that_go_are_counted() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.bound(Bounds { bytes: 1_000, age: 1_000 });
    file.begin(1, Vec::new()).unwrap();
    let commit = |now: i64, letters: std::ops::Range<u64>| Commit {
        now,
        dead_letters: letters.map(letter).collect(),
        ..empty()
    };
    file.commit(&commit(100, 0..20)).unwrap();
    let totals = StateReader::open(&path).unwrap().letters();
    assert_eq!((totals.letters, totals.let_go), (20, 0));
    file.commit(&commit(200, 20..60)).unwrap();
    let totals = StateReader::open(&path).unwrap().letters();
    assert!(totals.bytes <= 1_000 && totals.letters > 20, "{totals:?}");
    assert_eq!(totals.letters + totals.let_go, 60);
    let left = seen(&path).unwrap().letters;
    assert_eq!(left.last(), Some(&letter(59)), "the newest stay");
    assert_eq!(left.first(), Some(&letter(totals.let_go)));
    file.commit(&commit(1_150, 60..61)).unwrap();
    assert!(StateReader::open(&path).unwrap().letters().letters >= totals.letters, "none is too old yet");
    file.commit(&commit(1_201, 0..0)).unwrap();
    let totals = StateReader::open(&path).unwrap().letters();
    assert_eq!((totals.letters, totals.let_go), (1, 60), "the others are too old");
    let purged = file.purge(&Filter { entry: Some("e0".into()), ..Filter::default() }).unwrap();
    let totals = StateReader::open(&path).unwrap().letters();
    assert_eq!((purged, totals.letters, totals.bytes, totals.let_go), (1, 0, 0, 60));
    drop(file);
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.commit(&commit(1_300, 0..1)).unwrap();
    let mut ids = Vec::new();
    let reader = StateReader::open(&path).unwrap();
    let listed = reader.each_letter(&Filter::default(), 0, 10, &mut |letter| {
        ids.push(letter.id);
        Ok(())
    });
    listed.unwrap();
    assert_eq!(ids, [62], "an id is never used again");
}

#[test]
fn dead_letters_are_found_by_what_they_are_and_page_by_page() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    for now in [10, 20] {
        file.commit(&Commit { now, dead_letters: (0..12).map(letter).collect(), ..empty() }).unwrap();
    }
    let reader = StateReader::open(&path).unwrap();
    let ids = |filter: Filter, after, most| {
        let mut ids = Vec::new();
        let listed = reader.each_letter(&filter, after, most, &mut |letter| {
            ids.push(letter.id);
            Ok(())
        });
        listed.unwrap();
        ids
    };
    let entry = |name: &str| Filter { entry: Some(name.into()), ..Filter::default() };
    assert_eq!(ids(entry("e1"), 0, 3), [2, 5, 8]);
    assert_eq!(ids(entry("e1"), 8, 9), [11, 14, 17, 20, 23]);
    assert_eq!(ids(Filter { cause: Some(Cause::Late), since: Some(20), ..Filter::default() }, 0, 9), [13, 17, 21]);
    assert_eq!(ids(Filter { reason: Some("on 11".into()), before: Some(20), ..Filter::default() }, 0, 9), [12]);
    assert_eq!(ids(Filter { ids: Some(vec![3, 99]), ..Filter::default() }, 0, 9), [3]);
}

#[test]
fn a_run_that_begins_anew_puts_a_damaged_state_aside() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    file.commit(&Commit { dead_letters: vec![letter(1)], ..empty() }).unwrap();
    drop(file);
    let (mut file, aside) = StateFile::open_fresh(&path, &holder()).unwrap();
    assert_eq!((file.kept(), aside), (None, None), "what can be used is used, and not gone on with");
    let message = StateFile::open_fresh(&path, &holder()).err().unwrap().message;
    assert!(message.contains("is in use by"), "{message}");
    file.begin(2, Vec::new()).unwrap();
    assert_eq!(file.kept().map(|kept| kept.run), Some(2));
    drop(file);
    assert_eq!(StateReader::open(&path).unwrap().letters().letters, 1, "dead letters stay");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(StateFile::open(&path, &holder()).is_err());
    let (file, aside) = StateFile::open_fresh(&path, &holder()).unwrap();
    assert_eq!(file.kept(), None);
    assert_eq!(fs::read(aside.unwrap()).unwrap(), bytes[..bytes.len() / 2], "nothing is thrown away");
    drop(file);
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let message = StateFile::open_fresh(&path, &holder()).err().unwrap().message;
    assert!(message.contains("of something else"), "what is not ours is left alone: {message}");
}

#[test]
fn a_log_whose_file_was_taken_away_is_not_taken_for_that_of_a_new_one() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    for v in 0..20 {
        file.commit(&Commit { changes: vec![("w".into(), vec![row(1, Some(v))].into())], ..empty() }).unwrap();
    }
    let log = format!("{}-wal", path.display());
    let left = fs::read(&log).unwrap();
    drop(file);
    fs::remove_file(&path).unwrap();
    fs::write(&log, left).unwrap();
    let file = StateFile::open(&path, &holder()).unwrap();
    assert!(file.kept().is_none());
}

#[test]
fn a_state_of_the_first_version_is_brought_up_to_date_with_its_dead_letters() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let old = |n| DeadLetter { origin: Origin::Unknown, header: None, ..letter(n) };
    file.commit(&Commit { dead_letters: (0..4).map(old).collect(), ..empty() }).unwrap();
    drop(file);
    // What the first version had of it.
    let downgrade = "ALTER TABLE dead_letter DROP COLUMN header; ALTER TABLE dead_letter DROP COLUMN origin;
        DROP TABLE handed; DROP TABLE returned; PRAGMA user_version = 1;";
    rusqlite::Connection::open(&path).unwrap().execute_batch(downgrade).unwrap();
    let message = StateReader::open(&path).err().unwrap().message;
    assert!(message.contains("an older Millstream (format 1, this one reads "), "{message}");
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.commit(&Commit { dead_letters: vec![letter(4)], ..empty() }).unwrap();
    drop(file);
    let reader = StateReader::open(&path).unwrap();
    reader.check().unwrap();
    let mut letters = Vec::new();
    let read = reader.each_letter(&Filter::default(), 0, usize::MAX, &mut |letter| {
        letters.push(letter.letter);
        Ok(())
    });
    read.unwrap();
    assert_eq!(letters, (0..4).map(old).chain([letter(4)]).collect::<Vec<_>>());
}
