//! Tests of [`super`].

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::connectors::conformance::block_on;
use crate::store::journal::{Entry, Settings};

type Seen = Vec<(u64, String)>;

fn at(position: u64) -> Place {
    Place { position, ..Place::default() }
}

/// What is said of records, and what is noted with them, is there after a restart as it was before.
#[test]
fn what_is_said_of_records_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let said = |text: &str| Some(Metadata { text: text.into(), ends: vec![text.len() as u32], refused: None });
    let brought = |text: &str, meta: Option<Metadata>, note: Option<&str>| Brought {
        bytes: text.into(),
        ends: vec![text.len() as u32],
        meta,
        note: note.map(Into::into),
        refused: None,
    };
    let of = |chunk: &Chunk| {
        let meta = chunk.meta.clone().unwrap_or_default();
        meta.iter().map(|object| String::from_utf8(object.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    let open = || {
        let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
        let (producer, partition) = journalled(&journal, "a", "").unwrap();
        (journal, producer, partition)
    };
    let (journal, producer, mut partition) = open();
    let mut source = (partition.open)(&at(0)).unwrap();
    let mut seen = Vec::new();
    block_on(async {
        for (first, second) in [
            (brought("x", said("{\"t\":1}\n"), Some("one")), brought("y\n", said("{\"t\":2}\n"), Some("two"))),
            (brought("z", None, None), brought("\n", said("{\"t\":3}\n"), None)),
            (brought("u", None, Some("three")), brought("v", None, None)),
        ] {
            let (one, two, read) = tokio::join!(producer.bring(first), producer.bring(second), source.next());
            let Ok(Read::Chunk(chunk)) = read else { panic!("{read:?}") };
            assert_eq!(one, two, "they were appended together");
            assert_eq!(one, Ok(chunk.position + 2));
            seen.push((of(&chunk), records(chunk)));
        }
    });
    let meta: Vec<_> = seen.iter().flat_map(|(meta, _)| meta.clone()).collect();
    assert_eq!(meta, ["{\"t\":1}\n", "{\"t\":2}\n", "{}\n", "{\"t\":3}\n"]);
    let positions: Vec<_> = seen.iter().flat_map(|(_, records)| records.iter().map(|(at, _)| *at)).collect();
    assert_eq!(positions, [3, 4, 5, 6, 8, 9]);
    drop((source, partition, producer, journal));
    let (journal, producer, mut partition) = open();
    drop(producer);
    let mut source = (partition.open)(&at(4)).unwrap();
    let mut again = Vec::new();
    while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
        again.push((of(&chunk), records(chunk)));
    }
    let meta: Vec<_> = again.iter().flat_map(|(meta, _)| meta.clone()).collect();
    assert_eq!(meta, ["{\"t\":2}\n", "{}\n", "{\"t\":3}\n"]);
    let texts: Vec<_> = again.into_iter().flat_map(|(_, records)| records).collect();
    let wanted = [(4, "y\n"), (5, "z"), (6, "\n"), (8, "u"), (9, "v")];
    assert_eq!(texts, wanted.map(|(at, text)| (at, text.to_owned())));
    assert_eq!(notes(&journal, "a").unwrap(), [&b"one"[..], b"two", b"three"]);
    assert_eq!(notes(&journal, "b").unwrap(), Vec::<Vec<u8>>::new());
}

fn records(chunk: Chunk) -> Seen {
    let ends = chunk.ends.unwrap();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let texts = starts.zip(&ends).map(|(from, to)| &chunk.bytes[from as usize..*to as usize]);
    (chunk.position..).zip(texts.map(|text| String::from_utf8(text.to_vec()).unwrap())).collect()
}

async fn next(source: &mut dyn Source) -> Seen {
    let Read::Chunk(chunk) = source.next().await.unwrap() else { panic!("it ended") };
    records(chunk)
}

fn offer(producer: &Producer, texts: &[&str]) -> impl Future<Output = Answer> + use<> {
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as u32;
        Some(*end)
    });
    let (producer, bytes, ends) = (producer.clone(), texts.concat().into_bytes(), ends.collect());
    async move { producer.offer(bytes, ends).await }
}

fn seen(from: u64, texts: &[&str]) -> Seen {
    (from..).zip(texts.iter().map(|text| text.to_string())).collect()
}

#[test]
fn what_is_acknowledged_is_read_again_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let (a, mut of_a) = journalled(&journal, "a", "").unwrap();
    let (b, mut of_b) = journalled(&journal, "b", "").unwrap();
    let mut source = (of_a.open)(&at(0)).unwrap();
    let mut other = (of_b.open)(&at(0)).unwrap();
    assert_eq!((of_a.open)(&at(0)).err().unwrap().message, "`a` is read already");
    let mut live = Vec::new();
    let mut arrived = BTreeMap::new();
    block_on(async {
        for round in ["x", "y", "z"] {
            let (taken, read) = tokio::join!(offer(&a, &[round, "", "a"]), source.next());
            let Ok(Read::Chunk(chunk)) = read else { panic!("{read:?}") };
            arrived.extend([0, 1, 2].map(|n| (chunk.position + n, chunk.arrived.unwrap())));
            live.extend(records(chunk));
            taken.unwrap();
            let (taken, _) = tokio::join!(offer(&b, &["b"]), next(&mut *other));
            taken.unwrap();
        }
    });
    let expected = [seen(1, &["x", "", "a"]), seen(5, &["y", "", "a"]), seen(9, &["z", "", "a"])].concat();
    assert_eq!(live, expected);
    drop((source, other, of_a, of_b, a, b, journal));
    for position in 0..=13 {
        let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
        let (producer, mut partition) = journalled(&journal, "a", "").unwrap();
        drop(producer);
        let mut source = (partition.open)(&at(position)).unwrap();
        let mut again = Vec::new();
        while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
            let at = chunk.arrived.unwrap();
            again.extend(records(chunk));
            assert_eq!(arrived[&again.last().unwrap().0], at, "it arrived when it did");
        }
        let rest: Seen = expected.iter().filter(|(at, _)| *at >= position).cloned().collect();
        assert_eq!(again, rest, "{position}");
    }
}

#[test]
fn a_read_that_is_given_up_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let (producer, mut partition) = journalled(&journal, "a", "").unwrap();
    let mut source = (partition.open)(&at(0)).unwrap();
    let texts: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let read = block_on(async {
        let offers = async {
            for text in &texts {
                offer(&producer, &[text]).await.unwrap();
            }
        };
        let reads = async {
            let mut read = Vec::new();
            while read.len() < 300 {
                // Polled once, and dropped if it is not ready.
                let polled = source.next().as_mut().poll(&mut Context::from_waker(Waker::noop()));
                match polled {
                    Poll::Ready(Ok(Read::Chunk(chunk))) => read.extend(records(chunk)),
                    Poll::Ready(other) => panic!("{other:?}"),
                    Poll::Pending => tokio::task::yield_now().await,
                }
            }
            read
        };
        tokio::join!(offers, reads).1
    });
    assert_eq!(read, seen(1, &texts.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[test]
fn a_full_journal_holds_producers_until_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 1 << 20, max_bytes: 4_000 };
    let journal = Arc::new(Journal::open(dir.path(), settings).unwrap());
    let (producer, mut partition) = journalled(&journal, "a", "").unwrap();
    let mut source = (partition.open)(&at(0)).unwrap();
    let text = "x".repeat(700);
    block_on(async {
        for number in 1..=20 {
            let offered = offer(&producer, &[&text]);
            tokio::pin!(offered);
            let read = tokio::select! {
                biased;
                read = next(&mut *source) => Some(read),
                // Everything that was read is in a checkpoint.
                () = full(&journal) => None,
                answer = &mut offered => panic!("{answer:?} before it was read"),
            };
            let read = match read {
                Some(read) => read,
                None => {
                    source.committed(&at(number)).await.unwrap();
                    tokio::join!(next(&mut *source), &mut offered).0
                }
            };
            assert_eq!(read, seen(number, &[&text]));
        }
    });
    let large = "x".repeat(2_500);
    block_on(async {
        let refused = offer(&producer, &[&large]);
        tokio::select! {
            _ = source.next() => panic!("it was taken"),
            answer = refused => assert!(matches!(answer, Err(NotTaken::Refused(_))), "{answer:?}"),
        }
    });
}

/// Waits until a journal has no room for 700 bytes.
async fn full(journal: &Journal) {
    while journal.bytes() < 3_300 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn nobody_is_told_that_something_was_taken_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let (producer, mut partition) = journalled(&journal, "a", "").unwrap();
    let source = (partition.open)(&at(0)).unwrap();
    block_on(async {
        let waiting = offer(&producer, &["x"]);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop((source, partition));
        assert_eq!(waiting.await, Err(NotTaken::Unknown));
        assert!(matches!(offer(&producer, &["x"]).await, Err(NotTaken::Refused(_))));
    });
}

fn noted_at(position: u64, note: &str) -> Place {
    Place { position, stream: note.into() }
}

#[test]
fn a_note_is_known_with_the_records_that_it_came_with() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let (producer, mut partition) = journalled_from(&journal, "a", "").unwrap();
    let mut source = (partition.open)(&noted_at(0, "begin")).unwrap();
    let mut places = vec![(0, "begin".to_owned())];
    block_on(async {
        for round in ["x", "y"] {
            let note = Some(round.into());
            let offered =
                producer.bring(Brought { bytes: b"12".to_vec(), ends: vec![1, 2], note, ..Brought::default() });
            let (taken, read) = tokio::join!(offered, source.next());
            let Ok(Read::Chunk(chunk)) = read else { panic!("{read:?}") };
            assert_eq!(taken.unwrap(), chunk.position + 2);
            places.extend((0..=2).map(|n| (chunk.position + n, chunk.stream.to_string())));
        }
    });
    assert_eq!(places[1..].iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    drop((source, producer, partition));
    // From every place that a checkpoint can have had, the same follows, with the same notes.
    for (at, note) in places {
        let (producer, mut partition) = journalled_from(&journal, "a", "").unwrap();
        drop(producer);
        let place = noted_at(at, &note);
        assert_eq!(&*stands(&journal, "a", &place).unwrap(), "y");
        let mut source = (partition.open)(&place).unwrap();
        let mut again = Vec::new();
        while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
            let note = chunk.stream.to_string();
            again.extend(records(chunk).into_iter().map(|(at, _)| (at, note.clone())));
        }
        let all = [(2, "x"), (3, "x"), (5, "y"), (6, "y")].map(|(at, note)| (at, note.to_owned()));
        assert_eq!(again, all.into_iter().filter(|(of, _)| *of >= at).collect::<Vec<_>>(), "{at}");
    }
}

#[test]
fn keys_give_way_when_the_journal_is_crowded() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 1_000, max_bytes: 20_000 };
    let journal = Arc::new(Journal::open(dir.path(), settings).unwrap());
    let keep = TimeSpan::seconds(3_600);
    let (producer, mut partition) = journalled_with_keys(&journal, "a", "", keep).unwrap();
    let mut source = (partition.open)(&at(0)).unwrap();
    let once = |n: u32| {
        let keyed = Keyed { key: n.to_string().into(), body: 0, answer: "told".into() };
        producer.bring_once(Brought { bytes: vec![b'x'; 300], ends: vec![300], ..Brought::default() }, keyed)
    };
    block_on(async {
        for n in 0..200 {
            let (taken, read) = tokio::join!(once(n), source.next());
            let (Ok(Taken::Now(end)), Ok(Read::Chunk(_))) = (taken, read) else { panic!("it was known") };
            source.committed(&at(end)).await.unwrap();
            assert!(journal.bytes() < 12_000, "{} bytes after {n}", journal.bytes());
        }
        let again = tokio::select! {
            again = once(199) => again,
            read = source.next() => panic!("{read:?}"),
        };
        let before = Before { body: 0, answer: "told".into(), end: journal.next() };
        assert_eq!(again, Ok(Taken::Before(before)), "the newest are known");
    });
}

#[test]
fn what_is_refused_stands_alone_and_what_earlier_versions_noted_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path(), Settings::default()).unwrap());
    let source = journal.source("a").unwrap();
    let old = [Entry { kind: Kind::STANDS, parts: [b"old", b""] }, Entry { kind: Kind::EVENT, parts: [b"0", b""] }];
    journal.append_all(source, old.into_iter()).unwrap().wait().unwrap();
    let (producer, mut partition) = journalled_from(&journal, "a", "").unwrap();
    let whole =
        |chunk: Chunk| (chunk.stream.to_string(), chunk.meta.clone().and_then(|meta| meta.refused), records(chunk));
    let refused = Some("it is too large".to_owned());
    let wanted = [
        ("old".to_owned(), None, vec![(2, "0".to_owned())]),
        ("new".to_owned(), refused.clone(), vec![(4, "beg".to_owned())]),
        ("new".to_owned(), None, vec![(5, "1".to_owned())]),
    ];
    let mut source = (partition.open)(&at(0)).unwrap();
    block_on(async {
        let mut seen = Vec::new();
        let Ok(Read::Chunk(first)) = source.next().await else { panic!() };
        seen.push(whole(first));
        let note = Some(b"new".to_vec());
        let large = Brought { bytes: b"beg".to_vec(), ends: vec![3], note, refused, ..Brought::default() };
        let (one, two, read) = tokio::join!(producer.bring(large), producer.offer(b"1".to_vec(), vec![1]), async {
            [source.next().await, source.next().await]
        });
        assert!(one.is_ok() && two.is_ok());
        for read in read {
            let Ok(Read::Chunk(chunk)) = read else { panic!("{read:?}") };
            seen.push(whole(chunk));
        }
        assert_eq!(seen, wanted);
    });
    drop((source, producer, partition));
    let (producer, mut partition) = journalled_from(&journal, "a", "").unwrap();
    drop(producer);
    let mut source = (partition.open)(&at(0)).unwrap();
    for wanted in wanted {
        let Ok(Read::Chunk(chunk)) = block_on(source.next()) else { panic!() };
        assert_eq!(whole(chunk), wanted);
    }
}
