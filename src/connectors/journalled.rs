//! Puts a journal between those who bring events that cannot be asked for again and the engine: what they bring is durable
//! before they are told that it was taken, and only then handed on. After a restart it is read from the journal.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::base::limit::{CHUNK_BYTES, JOURNAL_WAITING};
use crate::connector::{BoxFuture, Chunk, Link, Partition, Place, Read, Source, SourceError};
use crate::store::journal::{Journal, JournalError, Kind, Record, Records, SourceId, Ticket};

/// Brings records to a journalled source. Its clones bring to the same one; the source ends when all of them are gone.
#[derive(Clone)]
pub struct Producer {
    offers: mpsc::Sender<Offer>,
    /// The number of the first record that no checkpoint covers.
    covered: watch::Receiver<u64>,
}

/// Why records were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// They are in no journal; one sentence for the person who runs the pipeline.
    Refused(String),
    /// The run has ended while they waited: they may come up when the pipeline runs again, or not.
    Unknown,
}

/// Records that somebody waits for.
struct Offer {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    taken: oneshot::Sender<Answer>,
}

/// What whoever waits is told: the number of the record that comes after those that were taken.
type Answer = Result<u64, NotTaken>;

impl Producer {
    /// Brings records, one after the other in `bytes` and each ending before its place in `ends`. When it returns they are
    /// durable, all of them, and will be processed: this is when whoever sent them may be told so. It waits for as long as
    /// the pipeline cannot take more. Returns the number of a record after them, for [`Producer::committed`].
    pub async fn offer(&self, bytes: Vec<u8>, ends: Vec<u32>) -> Answer {
        if ends.is_empty() {
            return Ok(0);
        }
        let (taken, answer) = oneshot::channel();
        if self.offers.send(Offer { bytes, ends, taken }).await.is_err() {
            return Err(NotTaken::Refused("the pipeline is not running".to_owned()));
        }
        answer.await.unwrap_or(Err(NotTaken::Unknown))
    }

    /// Waits until a checkpoint holds what became of the records before this number; false if the run has ended before.
    pub async fn committed(&self, number: u64) -> bool {
        self.covered.clone().wait_for(|covered| *covered >= number).await.is_ok()
    }
}

/// Where offers wait while nobody reads the source.
type Inbox = Arc<Mutex<Option<mpsc::Receiver<Offer>>>>;

/// A partition whose events come from a [`Producer`], and are in the journal under `name`, which must be the same in every
/// run: the names of the source and of its partition.
pub fn journalled(journal: &Arc<Journal>, name: &str, partition: &str) -> Result<(Producer, Partition), SourceError> {
    let source = journal.source(name).map_err(failed)?;
    let (offers, receiver) = mpsc::channel(JOURNAL_WAITING);
    let inbox: Inbox = Arc::new(Mutex::new(Some(receiver)));
    let (journal, name) = (Arc::clone(journal), name.to_owned());
    let (covers, covered) = watch::channel(0);
    let open = move |place: &Place| {
        let replay = Some(journal.resume(source, place.position).map_err(failed)?);
        let Some(offers) = inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(SourceError { message: format!("`{name}` is read already") });
        };
        let (journal, inbox) = (Arc::clone(&journal), Arc::clone(&inbox));
        let reader = Journalled {
            journal,
            source,
            replay,
            ahead: None,
            offers: Some(offers),
            inbox,
            gathered: Gathered::default(),
            behind: None,
            appended: None,
            covers: covers.clone(),
        };
        Ok(Box::new(reader) as Box<dyn Source>)
    };
    Ok((
        Producer { offers, covered },
        Partition { name: partition.to_owned(), start: Place::default(), open: Box::new(open), link: Link::default() },
    ))
}

fn failed(why: JournalError) -> SourceError {
    SourceError { message: why.message().to_owned() }
}

/// A partition being read: first what the journal has, then what producers bring.
struct Journalled {
    journal: Arc<Journal>,
    source: SourceId,
    /// What was there when it was opened, until it is read.
    replay: Option<Records>,
    /// The record of it that did not go into the chunk before.
    ahead: Option<Record>,
    /// `None` only while it is dropped.
    offers: Option<mpsc::Receiver<Offer>>,
    /// Where they go back then.
    inbox: Inbox,
    /// Offers that are to be appended at once.
    gathered: Gathered,
    /// The offer that did not fit in with them.
    behind: Option<Offer>,
    /// Those that are being made durable.
    appended: Option<(Ticket, Gathered)>,
    /// Tells producers how far checkpoints are.
    covers: watch::Sender<u64>,
}

/// Offers put together.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    taken: Vec<oneshot::Sender<Answer>>,
}

impl Gathered {
    fn fits(&self, offer: &Offer) -> bool {
        self.taken.is_empty() || self.bytes.len() + offer.bytes.len() <= CHUNK_BYTES
    }

    fn add(&mut self, offer: Offer) {
        // Chunks hold far less than 4 GiB.
        let before = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&offer.bytes);
        self.ends.extend(offer.ends.iter().map(|end| before.saturating_add(*end)));
        self.taken.push(offer.taken);
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| self.bytes.get(from as usize..*to as usize).unwrap_or_default())
    }

    fn answer(&mut self, answer: &Answer) {
        for taken in self.taken.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = taken.send(answer.clone());
        }
    }
}

impl Journalled {
    /// Records of the journal that arrived together and whose numbers follow on each other, if there are any left to read.
    fn replayed(&mut self) -> Result<Option<Chunk>, SourceError> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let mut chunk: Option<Chunk> = None;
        while let Some(record) = self.ahead.take().map(Ok).or_else(|| replay.next()) {
            let record = record.map_err(failed)?;
            if record.kind != Kind::EVENT {
                continue;
            }
            let begun = chunk.get_or_insert_with(|| Chunk {
                position: record.sequence,
                arrived: Some(record.arrived),
                ..Chunk::default()
            });
            let ends = begun.ends.get_or_insert_default();
            let follows =
                record.sequence == begun.position + ends.len() as u64 && Some(record.arrived) == begun.arrived;
            if !follows || (!ends.is_empty() && begun.bytes.len() + record.payload.len() > CHUNK_BYTES) {
                self.ahead = Some(record);
                return Ok(chunk);
            }
            begun.bytes.extend_from_slice(&record.payload);
            ends.push(u32::try_from(begun.bytes.len()).unwrap_or(u32::MAX));
        }
        if chunk.is_none() {
            self.replay = None;
        }
        Ok(chunk)
    }

    /// Waits for offers and takes those that are there; false if there will be none. Cancel-safe: nothing is awaited after
    /// the first is received.
    async fn gather(&mut self) -> bool {
        let Some(offers) = &mut self.offers else { return false };
        let first = match self.behind.take() {
            Some(offer) => offer,
            None => match offers.recv().await {
                Some(offer) => offer,
                None => return false,
            },
        };
        self.gathered.add(first);
        while let Ok(offer) = offers.try_recv() {
            if !self.gathered.fits(&offer) {
                self.behind = Some(offer);
                break;
            }
            self.gathered.add(offer);
        }
        true
    }

    /// Appends what was gathered, when the journal has room for it.
    async fn append(&mut self) -> Result<(), SourceError> {
        loop {
            let room = self.journal.room();
            match self.journal.append(self.source, Kind::EVENT, self.gathered.records()) {
                Ok(ticket) => {
                    self.appended = Some((ticket, std::mem::take(&mut self.gathered)));
                    return Ok(());
                }
                Err(JournalError::Full(_)) => room.await,
                Err(JournalError::TooLarge(why)) => {
                    self.gathered.answer(&Err(NotTaken::Refused(why)));
                    self.gathered = Gathered::default();
                    return Ok(());
                }
                Err(why) => {
                    self.gathered.answer(&Err(NotTaken::Refused(why.message().to_owned())));
                    return Err(failed(why));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Read, SourceError> {
        if let Some(chunk) = self.replayed()? {
            return Ok(Read::Chunk(chunk));
        }
        loop {
            if let Some((ticket, _)) = &mut self.appended {
                let durable = ticket.await;
                let Some((_, mut gathered)) = self.appended.take() else { continue };
                let appended = match durable {
                    Ok(appended) => appended,
                    Err(why) => {
                        gathered.answer(&Err(NotTaken::Refused(why.message().to_owned())));
                        return Err(failed(why));
                    }
                };
                gathered.answer(&Ok(appended.sequences.end));
                let Gathered { bytes, ends, .. } = gathered;
                return Ok(Read::Chunk(Chunk {
                    bytes,
                    ends: Some(ends),
                    position: appended.sequences.start,
                    arrived: Some(appended.arrived),
                    ..Chunk::default()
                }));
            }
            if self.gathered.taken.is_empty() && !self.gather().await {
                return Ok(Read::End);
            }
            self.append().await?;
        }
    }
}

impl Source for Journalled {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        // Whatever it waits for when it is dropped is in `self`.
        Box::pin(self.read())
    }

    fn committed(&mut self, place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        self.covers.send_replace(place.position);
        Box::pin(std::future::ready(self.journal.cover(self.source, place.position).map_err(failed)))
    }
}

impl Drop for Journalled {
    fn drop(&mut self) {
        *self.inbox.lock().unwrap_or_else(PoisonError::into_inner) = self.offers.take();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::connectors::conformance::block_on;
    use crate::store::journal::Settings;

    type Seen = Vec<(u64, String)>;

    fn at(position: u64) -> Place {
        Place { position, ..Place::default() }
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
}
