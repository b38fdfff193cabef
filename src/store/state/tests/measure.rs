//! What a million keys cost. Says it and holds nothing: run it by hand,
//! `cargo nextest run --release --run-ignored all --no-capture state::tests::measure`.

use std::time::Instant;

use super::*;

const KEYS: u32 = 1_000_000;

fn changed(keys: impl Iterator<Item = u32>, n: u32) -> Commit {
    let value = |key: u32| {
        let name = format!("sensor-{key:07}");
        let value =
            format!("{{\"start\":{},\"sum\":{},\"n\":{}}}", 1_700_000_000 + key % 60, key.wrapping_mul(31 + n), n);
        StateRow { hash: hash_key(&[Val::Text(&name)]), key: name.into_bytes(), value: Some(value.into_bytes()) }
    };
    Commit { changes: vec![("w".into(), keys.map(value).collect())], ..empty() }
}

/// The time that this thread had a processor for, where the system says it: others may have it meanwhile.
fn busy() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(said.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[test]
#[ignore = "says what things cost"]
fn a_million_keys() {
    let (_directory, path) = place();
    let mut file = StateFile::open(&path, &holder()).unwrap();
    file.begin(1, Vec::new()).unwrap();
    let size = || std::fs::metadata(&path).unwrap().len() >> 10;
    let commit = |file: &mut StateFile, what: &str, commit: Commit| {
        let (began, work) = (Instant::now(), busy());
        file.commit(&commit).unwrap();
        eprintln!("{what}: commit {:?} ({:?} of work), file {} KiB", began.elapsed(), busy() - work, size());
        let (work, mut slices, mut longest) = (busy(), 0, Duration::ZERO);
        loop {
            let one = busy();
            let more = file.compact(Duration::ZERO).unwrap();
            longest = longest.max(busy() - one);
            slices += 1;
            if !more {
                break;
            }
        }
        eprintln!(
            "{what}: compact {:?} of work in {slices}, the longest {longest:?}, file {} KiB",
            busy() - work,
            size()
        );
    };
    commit(&mut file, "all new", changed(0..KEYS, 0));
    for n in 1..4 {
        commit(&mut file, "1 %", changed((0..KEYS).step_by(100).map(|key| (key * 7 + n) % KEYS), n));
    }
    commit(&mut file, "all", changed(0..KEYS, 9));
    for n in 1..40 {
        file.commit(&changed((0..KEYS).step_by(100).map(|key| (key * 7 + n) % KEYS), n)).unwrap();
    }
    commit(&mut file, "1 %, 40 times", changed((0..KEYS).step_by(100), 50));
    drop(file);
    let began = busy();
    let file = StateFile::open(&path, &holder()).unwrap();
    let opened = busy() - began;
    let (mut rows, mut bytes) = (0u64, 0);
    file.rows("w", 0..KEY_GROUPS, &mut |row| {
        rows += 1;
        bytes += row.key.len() + row.value.map_or(0, <[u8]>::len);
        Ok(())
    })
    .unwrap();
    eprintln!("opened in {opened:?}, {rows} rows of {bytes} bytes read in {:?} of work", busy() - began - opened);
    assert_eq!(rows, u64::from(KEYS));
}
