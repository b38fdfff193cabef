//! What producers bring, put together: what is appended to a journal at once.

use tokio::sync::oneshot;

use super::answered::{Answered, Before, Keyed};
use super::journalled::{Brought, NotTaken, Offer, Taken, With};
use crate::base::limit::CHUNK_BYTES;
use crate::base::tasks;
use crate::base::time::Timestamp;
use crate::connector::Metadata;
use crate::store::journal::{Entry, Kind, Ticket};

/// Stands for what is said of a record of which nothing is.
const NOTHING_SAID: &[u8] = b"{}\n";

/// Offers put together.
#[derive(Default)]
pub(super) struct Gathered {
    /// Records, one after the other.
    pub bytes: Vec<u8>,
    /// One past the end of each.
    pub ends: Vec<u32>,
    /// Of each record; what nothing is said of has nothing here. No list at all if nothing is said of any.
    pub meta: Option<Metadata>,
    /// What is noted with them.
    pub notes: Vec<Vec<u8>>,
    /// Why the one record is not taken, if it is not.
    pub refused: Option<String>,
    /// By which their senders know them.
    pub keys: Vec<Keyed>,
    /// As records of a journal; made by [`Gathered::seal`].
    heads: Vec<Vec<u8>>,
    /// Why the record is not taken, with a line feed; made by [`Gathered::seal`].
    why: Option<Vec<u8>>,
    /// Whoever waits for them.
    pub taken: Vec<oneshot::Sender<Result<Taken, NotTaken>>>,
    /// Who brought the same as one of `keys`.
    again: Vec<(usize, oneshot::Sender<Result<Taken, NotTaken>>)>,
}

impl Gathered {
    fn weight(&self) -> usize {
        self.bytes.len() + self.meta.as_ref().map_or(0, |meta| meta.text.len())
    }

    /// Whether an offer fits in with those that are there. What is refused goes alone, and so does what has a note, if that
    /// is where whoever brings it stands (`standing`).
    pub fn fits(&self, offer: &Offer, standing: bool) -> bool {
        let brought = &offer.brought;
        let noted = standing && (brought.note.is_some() || !self.notes.is_empty());
        let alone = noted || brought.refused.is_some() || self.refused.is_some();
        self.taken.is_empty() || (!alone && self.weight() + offer.brought.weight() <= CHUNK_BYTES)
    }

    /// Adds an offer, unless it came before or nobody waits for it any more.
    pub fn take(&mut self, offer: Offer, answered: Option<&mut Answered>) {
        if offer.taken.is_closed() {
            return;
        }
        if let (With::Key(keyed), Some(answered)) = (&offer.with, answered)
            && let Some(before) = answered.get(&keyed.key, wall_clock())
        {
            let _ = offer.taken.send(Ok(Taken::Before(before.clone())));
            return;
        }
        self.add(offer);
    }

    /// Puts an offer behind them.
    fn add(&mut self, offer: Offer) {
        let Offer { brought: Brought { bytes, ends, meta, note, refused }, with, taken } = offer;
        self.refused = refused;
        match with {
            With::Nothing => {}
            With::Key(keyed) => match self.keys.iter().position(|other| other.key == keyed.key) {
                Some(index) => return self.again.push((index, taken)),
                None => self.keys.push(keyed),
            },
        }
        if let Some(meta) = meta {
            let all = self.meta.get_or_insert_default();
            let silent = self.ends.len().saturating_sub(all.ends.len());
            (0..silent).for_each(|_| all.push(NOTHING_SAID));
            meta.iter().for_each(|object| all.push(object));
        }
        // Chunks hold far less than 4 GiB.
        let before = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&bytes);
        self.ends.extend(ends.iter().map(|end| before.saturating_add(*end)));
        if let Some(all) = &mut self.meta {
            let silent = self.ends.len().saturating_sub(all.ends.len());
            (0..silent).for_each(|_| all.push(NOTHING_SAID));
        }
        self.notes.extend(note);
        self.taken.push(taken);
    }

    /// As records of a journal. Notes come first: the last record of a source is one that a checkpoint covers.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let records = starts.zip(&self.ends);
        let records = records.map(|(from, to)| self.bytes.get(from as usize..*to as usize).unwrap_or_default());
        let mut said = self.meta.as_ref().map(Metadata::iter);
        let why = self.why.as_deref();
        let records = records.map(move |record| match (why, said.as_mut().and_then(Iterator::next)) {
            (Some(why), _) => Entry { kind: Kind::REFUSED, parts: [why, record] },
            (None, Some(object)) => Entry { kind: Kind::DESCRIBED, parts: [object, record] },
            (None, None) => Entry { kind: Kind::EVENT, parts: [record, &[]] },
        });
        let keys = self.heads.iter().map(|payload| Entry { kind: Kind::KEY, parts: [payload, &[]] });
        keys.chain(self.notes.iter().map(|note| Entry { kind: Kind::NOTE, parts: [note, &[]] })).chain(records)
    }

    /// Nothing is put behind them any more.
    pub fn seal(&mut self) {
        let keys = self.keys.iter().enumerate();
        self.heads = keys.map(|(index, keyed)| keyed.encode(self.behind(index))).collect();
        self.why = self.refused.as_ref().map(|why| format!("{}\n", why.replace('\n', " ")).into_bytes());
    }

    /// How far after the record of a key the record after all of them comes.
    pub fn behind(&self, key: usize) -> u32 {
        u32::try_from(self.keys.len() - key + self.notes.len() + self.ends.len()).unwrap_or(u32::MAX)
    }

    /// Tells everybody who waits that they are durable.
    pub fn taken(&mut self, end: u64) {
        for (index, again) in self.again.drain(..) {
            let Some(Keyed { body, answer, .. }) = self.keys.get(index).cloned() else { continue };
            let _ = again.send(Ok(Taken::Before(Before { body, answer, end })));
        }
        for taken in self.taken.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = taken.send(Ok(Taken::Now(end)));
        }
    }

    /// Tells everybody who waits that they are not.
    pub fn refuse(&mut self, why: &str) {
        let again = self.again.drain(..).map(|(_, again)| again);
        for taken in self.taken.drain(..).chain(again) {
            let _ = taken.send(Err(NotTaken::Refused(why.to_owned())));
        }
    }

    /// Nobody waits here any more until these are durable: whoever brought them is told by a task when they are. Without a
    /// thread for it they are told that nobody knows.
    pub fn tell_later(mut self, durable: Ticket) {
        let told = async move {
            match durable.await {
                Ok(appended) => self.taken(appended.sequences.end),
                Err(why) => self.refuse(why.message()),
            }
        };
        drop(tasks::begin(told));
    }
}

pub(super) fn wall_clock() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// Takes the payload of a described record apart: what is said of it with its line feed, and the record.
pub(super) fn apart(payload: &[u8]) -> (&[u8], &[u8]) {
    payload.split_at(memchr::memchr(b'\n', payload).map_or(0, |at| at + 1))
}
