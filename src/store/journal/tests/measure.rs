//! What a journal costs. Says it and holds nothing: run it by hand,
//! `cargo nextest run --release --run-ignored all --no-capture journal::tests::measure`.

use std::time::Instant;

use super::*;

/// An event of a sensor.
const EVENT: [u8; 200] = [b'x'; 200];

fn say(what: &str, events: u64, bytes: u64, began: Instant, journal: &Journal) {
    let seconds = began.elapsed().as_secs_f64();
    let groups: usize = files(&journal.shared.directory).iter().map(|path| groups(path).len() - 2).sum();
    eprintln!(
        "{what}: {:.0} events/s, {:.1} MB/s, {:.1} events a sync, {:.2} ms a sync",
        events as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        events as f64 / groups as f64,
        seconds * 1e3 / groups as f64,
    );
}

/// So many events, each waited for, by so many tasks at once.
fn waiters(count: u64, each: u64) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let id = journal.source("a").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            let journal = Arc::clone(&journal);
            tasks.spawn(async move {
                for _ in 0..each {
                    journal.append(id, Kind::EVENT, std::iter::once(&EVENT[..])).unwrap().await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    say(&format!("{count} waiters"), count * each, count * each * 200, began, &journal);
}

#[test]
#[ignore = "says what things cost"]
fn what_appending_costs() {
    waiters(1, 1_000);
    waiters(20, 500);
    waiters(1_000, 100);
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Settings::default()).unwrap();
    let id = journal.source("a").unwrap();
    let many = vec![&EVENT[..]; 1_000];
    let began = Instant::now();
    // Ten appends are under way at any time.
    let mut tickets = std::collections::VecDeque::new();
    for _ in 0..1_000 {
        tickets.push_back(journal.append(id, Kind::EVENT, many.iter().copied()).unwrap());
        if tickets.len() == 10 {
            tickets.pop_front().unwrap().wait().unwrap();
        }
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    say("a thousand events an append, ten appends at once", 1_000_000, 200_000_000, began, &journal);
    drop(journal);
    let began = Instant::now();
    let journal = Journal::open(dir.path(), Settings::default()).unwrap();
    eprintln!("opening 200 MB: {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(journal.read_from(0).unwrap().map(|record| record.unwrap().payload.len()).sum::<usize>(), 200_000_000);
    eprintln!("reading them: {:?}", began.elapsed());
}
