//! Puts a journal between those who bring events that cannot be asked for again and the engine: what they bring is durable
//! before they are told that it was taken, and only then handed on. After a restart it is read from the journal.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::answered::{Answered, Before, Keyed};
use super::gathered::{Gathered, apart, wall_clock};
use crate::base::limit::{CHUNK_BYTES, JOURNAL_WAITING};
use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{BoxFuture, Chunk, Link, Metadata, Partition, Place, Read, Source, SourceError};
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

/// What is brought together.
#[derive(Debug, Default)]
pub struct Brought {
    /// Records, one after the other.
    pub bytes: Vec<u8>,
    /// One past the end of each.
    pub ends: Vec<u32>,
    /// What is said of each, if that is read.
    pub meta: Option<Metadata>,
    /// What whoever brings it has to know again after a restart, when the records are there ([`notes`]), or where he stands
    /// then ([`stands`]).
    pub note: Option<Vec<u8>>,
    /// Why it is not taken, all of one record, of which the beginning is there. It becomes a dead letter.
    pub refused: Option<String>,
}

impl Brought {
    /// Bytes of its records and of what is said of them.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.meta.as_ref().map_or(0, |meta| meta.text.len())
    }
}

/// Records that somebody waits for.
pub(super) struct Offer {
    /// The records.
    pub brought: Brought,
    /// What becomes durable together with them.
    pub with: With,
    /// Where the answer goes.
    pub taken: oneshot::Sender<Result<Taken, NotTaken>>,
}

/// What becomes durable together with records.
pub(super) enum With {
    /// Nothing else.
    Nothing,
    /// The key by which their sender knows them.
    Key(Keyed),
}

/// What became of records that were brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// They are durable; the number of the record that comes after them.
    Now(u64),
    /// They came before under the same key, and are not taken again.
    Before(Before),
}

/// What whoever waits is told: the number of the record that comes after those that were taken.
type Answer = Result<u64, NotTaken>;

impl Producer {
    /// Brings records, one after the other in `bytes` and each ending before its place in `ends`. When it returns they are
    /// durable, all of them, and will be processed: this is when whoever sent them may be told so. It waits for as long as
    /// the pipeline cannot take more. Returns the number of a record after them, for [`Producer::committed`].
    pub async fn offer(&self, bytes: Vec<u8>, ends: Vec<u32>) -> Answer {
        self.bring(Brought { bytes, ends, ..Brought::default() }).await
    }

    /// The same of records of which something is said. A note is durable with them, or neither is.
    pub async fn bring(&self, brought: Brought) -> Answer {
        self.bring_with(brought, With::Nothing).await.map(number)
    }

    /// The same under a key of the sender's; what came under it before is not taken again. Of a source that
    /// [knows](journalled_with_keys) keys.
    pub async fn bring_once(&self, brought: Brought, keyed: Keyed) -> Result<Taken, NotTaken> {
        self.bring_with(brought, With::Key(keyed)).await
    }

    async fn bring_with(&self, brought: Brought, with: With) -> Result<Taken, NotTaken> {
        if brought.ends.is_empty() {
            return Ok(Taken::Now(0));
        }
        let (taken, answer) = oneshot::channel();
        if self.offers.send(Offer { brought, with, taken }).await.is_err() {
            return Err(NotTaken::Refused("the pipeline is not running".to_owned()));
        }
        answer.await.unwrap_or(Err(NotTaken::Unknown))
    }

    /// Waits until a checkpoint holds what became of the records before this number; false if the run has ended before.
    pub async fn committed(&self, number: u64) -> bool {
        self.covered.clone().wait_for(|covered| *covered >= number).await.is_ok()
    }
}

fn number(taken: Taken) -> u64 {
    match taken {
        Taken::Now(end) | Taken::Before(Before { end, .. }) => end,
    }
}

/// Where offers wait while nobody reads the source.
type Inbox = Arc<Mutex<Option<mpsc::Receiver<Offer>>>>;

/// A partition whose events come from a [`Producer`], and are in the journal under `name`, which must be the same in every
/// run: the names of the source and of its partition.
pub fn journalled(journal: &Arc<Journal>, name: &str, partition: &str) -> Result<(Producer, Partition), SourceError> {
    partition_of(journal, name, partition, Knows::Nothing)
}

/// The same; what is brought under a key is known again for `keep`.
pub fn journalled_with_keys(
    journal: &Arc<Journal>,
    name: &str,
    partition: &str,
    keep: TimeSpan,
) -> Result<(Producer, Partition), SourceError> {
    partition_of(journal, name, partition, Knows::Keys(keep))
}

/// The same; a note says where whoever brings records stands, and is what the position of a [`Place`] behind them counts in.
pub fn journalled_from(
    journal: &Arc<Journal>,
    name: &str,
    partition: &str,
) -> Result<(Producer, Partition), SourceError> {
    partition_of(journal, name, partition, Knows::Standing)
}

/// Is told a note when it is durable: before its records can be read, so before a checkpoint can cover them.
pub type Noted = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The same; whoever keeps what notes say beyond the journal is told them.
pub fn journalled_telling(
    journal: &Arc<Journal>,
    name: &str,
    noted: Noted,
) -> Result<(Producer, Partition), SourceError> {
    partition_of(journal, name, "", Knows::Notes(noted))
}

/// What a source knows again of what it was brought.
#[derive(Clone)]
enum Knows {
    Nothing,
    /// Whom to tell notes.
    Notes(Noted),
    /// Keys, for so long.
    Keys(TimeSpan),
    /// Where whoever brings it stands.
    Standing,
}

fn partition_of(
    journal: &Arc<Journal>,
    name: &str,
    partition: &str,
    knows: Knows,
) -> Result<(Producer, Partition), SourceError> {
    let (keys, noted) = match &knows {
        Knows::Keys(keep) => (Some(*keep), None),
        Knows::Notes(noted) => (None, Some(Arc::clone(noted))),
        Knows::Nothing | Knows::Standing => (None, None),
    };
    let source = journal.source(name).map_err(failed)?;
    let (offers, receiver) = mpsc::channel(JOURNAL_WAITING);
    let inbox: Inbox = Arc::new(Mutex::new(Some(receiver)));
    let (journal, name) = (Arc::clone(journal), name.to_owned());
    let (covers, covered) = watch::channel(0);
    let open = move |place: &Place| {
        let replay = match keys {
            None => journal.resume(source, place.position),
            Some(_) => journal.resume_with_older(source, place.position),
        };
        let replay = Some(replay.map_err(failed)?);
        let Some(offers) = inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(SourceError { message: format!("`{name}` is read already") });
        };
        let (journal, inbox) = (Arc::clone(&journal), Arc::clone(&inbox));
        let reader = Journalled {
            journal,
            source,
            replay,
            from: place.position,
            stands: matches!(knows, Knows::Standing).then(|| Arc::clone(&place.stream)),
            noted: noted.clone(),
            answered: keys.map(Answered::new),
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

/// What was noted with the records of `name` that are in the journal, oldest first.
pub fn notes(journal: &Journal, name: &str) -> Result<Vec<Vec<u8>>, SourceError> {
    let records = journal.source(name).and_then(|source| journal.read_from(0).map(|records| records.of(source)));
    let noted = |record: Result<Record, JournalError>| match record {
        Ok(record) if record.kind == Kind::NOTE => Some(Ok(record.payload.to_vec())),
        Ok(_) => None,
        Err(why) => Some(Err(failed(why))),
    };
    records.map_err(failed)?.filter_map(noted).collect()
}

/// Where whoever brings records of a source stood with the last that are durable, behind its `place` or at it. Of a source that
/// was made by [`journalled_from`].
pub fn stands(journal: &Journal, name: &str, place: &Place) -> Result<Arc<str>, SourceError> {
    let source = journal.source(name).map_err(failed)?;
    let mut stands = Arc::clone(&place.stream);
    for record in journal.read_from(place.position).map_err(failed)?.of(source) {
        let record = record.map_err(failed)?;
        if matches!(record.kind, Kind::NOTE | Kind::STANDS) {
            stands = text(&record.payload);
        }
    }
    Ok(stands)
}

fn text(payload: &[u8]) -> Arc<str> {
    // It was text when it was appended, and its checksum is right.
    String::from_utf8_lossy(payload).into()
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
    /// The first event that is wanted.
    from: u64,
    /// Where whoever brings records stood with the last that were read or are durable, if notes say so.
    stands: Option<Arc<str>>,
    /// Who is told notes.
    noted: Option<Noted>,
    /// Keys that are known, if any are to be.
    answered: Option<Answered>,
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

impl Journalled {
    /// Records of the journal that arrived together and whose numbers follow on each other, if there are any left to read.
    fn replayed(&mut self) -> Result<Option<Chunk>, SourceError> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let mut chunk: Option<Chunk> = None;
        while let Some(record) = self.ahead.take().map(Ok).or_else(|| replay.next()) {
            let record = record.map_err(failed)?;
            let described = record.kind == Kind::DESCRIBED;
            match (record.kind, &mut self.stands) {
                (Kind::EVENT | Kind::DESCRIBED, _) if record.sequence >= self.from => {}
                (Kind::REFUSED, _) if record.sequence >= self.from && chunk.is_none() => {
                    return Ok(Some(self.refused(&record)));
                }
                (Kind::REFUSED, _) if record.sequence >= self.from => {
                    self.ahead = Some(record);
                    return Ok(chunk);
                }
                (Kind::NOTE | Kind::STANDS, Some(_)) if chunk.is_some() => {
                    self.ahead = Some(record);
                    return Ok(chunk);
                }
                (Kind::NOTE | Kind::STANDS, Some(stands)) => {
                    *stands = text(&record.payload);
                    continue;
                }
                (Kind::KEY, _) => {
                    let keyed = Keyed::decode(&record.payload);
                    if let (Some(answered), Some((keyed, behind))) = (&mut self.answered, keyed) {
                        answered.insert(keyed, record.sequence, behind, record.arrived);
                    }
                    continue;
                }
                _ => continue,
            }
            let begun = chunk.get_or_insert_with(|| Chunk {
                stream: self.stands.clone().unwrap_or_default(),
                position: record.sequence,
                arrived: Some(record.arrived),
                meta: described.then(Metadata::default),
                ..Chunk::default()
            });
            let ends = begun.ends.get_or_insert_default();
            let follows =
                record.sequence == begun.position + ends.len() as u64 && Some(record.arrived) == begun.arrived;
            let follows = follows && described == begun.meta.is_some();
            if !follows || (!ends.is_empty() && begun.bytes.len() + record.payload.len() > CHUNK_BYTES) {
                self.ahead = Some(record);
                return Ok(chunk);
            }
            let (said, event) = if described { apart(&record.payload) } else { (&[][..], &record.payload[..]) };
            if let Some(meta) = &mut begun.meta {
                meta.push(said);
            }
            begun.bytes.extend_from_slice(event);
            ends.push(u32::try_from(begun.bytes.len()).unwrap_or(u32::MAX));
        }
        if chunk.is_none() {
            self.replay = None;
        }
        Ok(chunk)
    }

    /// A record that is not taken, alone.
    fn refused(&self, record: &Record) -> Chunk {
        let (why, beginning) = apart(&record.payload);
        Chunk {
            stream: self.stands.clone().unwrap_or_default(),
            position: record.sequence,
            bytes: beginning.to_vec(),
            ends: Some(vec![u32::try_from(beginning.len()).unwrap_or(u32::MAX)]),
            arrived: Some(record.arrived),
            meta: Some(Metadata::refused(text(why.trim_ascii_end()).to_string())),
        }
    }

    /// Waits for offers and takes those that are there; false if there will be none. Cancel-safe: nothing is awaited after
    /// the first is received.
    async fn gather(&mut self) -> bool {
        let Some(offers) = &mut self.offers else { return false };
        while self.gathered.taken.is_empty() {
            let offer = match self.behind.take() {
                Some(offer) => offer,
                None => match offers.recv().await {
                    Some(offer) => offer,
                    None => return false,
                },
            };
            self.gathered.take(offer, self.answered.as_mut());
        }
        while let Ok(offer) = offers.try_recv() {
            if !self.gathered.fits(&offer, self.stands.is_some()) {
                self.behind = Some(offer);
                break;
            }
            self.gathered.take(offer, self.answered.as_mut());
        }
        true
    }

    /// Appends what was gathered, when the journal has room for it.
    async fn append(&mut self) -> Result<(), SourceError> {
        self.gathered.seal();
        loop {
            let room = self.journal.room();
            match self.journal.append_all(self.source, self.gathered.entries()) {
                Ok(ticket) => {
                    self.appended = Some((ticket, std::mem::take(&mut self.gathered)));
                    return Ok(());
                }
                Err(JournalError::Full(_)) => room.await,
                Err(JournalError::TooLarge(why)) => {
                    self.gathered.refuse(&why);
                    self.gathered = Gathered::default();
                    return Ok(());
                }
                Err(why) => {
                    self.gathered.refuse(why.message());
                    return Err(failed(why));
                }
            }
        }
    }

    /// Takes note of what became durable with records, from this number on.
    fn remember(&mut self, gathered: &mut Gathered, first: u64, arrived: Timestamp) {
        if let (Some(stands), Some(note)) = (&mut self.stands, gathered.notes.last()) {
            *stands = text(note);
        }
        let Some(answered) = &mut self.answered else { return };
        let behind: Vec<u32> = (0..gathered.keys.len()).map(|index| gathered.behind(index)).collect();
        for ((number, keyed), behind) in (first..).zip(gathered.keys.drain(..)).zip(behind) {
            answered.insert(keyed, number, behind, arrived);
        }
    }

    /// Up to where the journal is not needed when everything before `position` is in a checkpoint.
    fn needless(&mut self, position: u64) -> u64 {
        let Some(answered) = &mut self.answered else { return position };
        answered.forget(wall_clock());
        if self.journal.crowded() {
            answered.halve();
        }
        position.min(answered.oldest().unwrap_or(position))
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
                        gathered.refuse(why.message());
                        return Err(failed(why));
                    }
                };
                if let Some(noted) = &self.noted {
                    gathered.notes.iter().for_each(|note| noted(note));
                }
                gathered.taken(appended.sequences.end);
                self.remember(&mut gathered, appended.sequences.start, appended.arrived);
                let Gathered { bytes, ends, meta, refused, .. } = gathered;
                return Ok(Read::Chunk(Chunk {
                    stream: self.stands.clone().unwrap_or_default(),
                    position: appended.sequences.end - ends.len() as u64,
                    bytes,
                    ends: Some(ends),
                    meta: refused.map(Metadata::refused).or(meta),
                    arrived: Some(appended.arrived),
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
        let needless = self.needless(place.position);
        Box::pin(std::future::ready(self.journal.cover(self.source, needless).map_err(failed)))
    }
}

impl Drop for Journalled {
    fn drop(&mut self) {
        // What is on its way to the disk comes up when the pipeline runs again: whoever brought it is told so when it is there.
        if let Some((ticket, gathered)) = self.appended.take() {
            gathered.tell_later(ticket);
        }
        *self.inbox.lock().unwrap_or_else(PoisonError::into_inner) = self.offers.take();
    }
}

#[cfg(test)]
mod tests;
