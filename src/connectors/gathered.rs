//! What producers bring, put together: what is appended to a journal at once.

use tokio::sync::oneshot;

use super::journalled::{Answer, Brought, Offer};
use crate::base::limit::CHUNK_BYTES;
use crate::connector::Metadata;
use crate::store::journal::{Entry, Kind};

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
    /// Whoever waits for them.
    pub taken: Vec<oneshot::Sender<Answer>>,
}

impl Gathered {
    fn weight(&self) -> usize {
        self.bytes.len() + self.meta.as_ref().map_or(0, |meta| meta.text.len())
    }

    /// Whether an offer fits in with those that are there.
    pub fn fits(&self, offer: &Offer) -> bool {
        self.taken.is_empty() || self.weight() + offer.brought.weight() <= CHUNK_BYTES
    }

    /// Puts an offer behind them.
    pub fn add(&mut self, offer: Offer) {
        let Offer { brought: Brought { bytes, ends, meta, note }, taken } = offer;
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
        let records = records.map(move |record| match said.as_mut().and_then(Iterator::next) {
            Some(object) => Entry { kind: Kind::DESCRIBED, parts: [object, record] },
            None => Entry { kind: Kind::EVENT, parts: [record, &[]] },
        });
        self.notes.iter().map(|note| Entry { kind: Kind::NOTE, parts: [note, &[]] }).chain(records)
    }

    /// Tells everybody who waits.
    pub fn answer(&mut self, answer: &Answer) {
        for taken in self.taken.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = taken.send(answer.clone());
        }
    }
}

/// Takes the payload of a described record apart: what is said of it with its line feed, and the record.
pub(super) fn apart(payload: &[u8]) -> (&[u8], &[u8]) {
    payload.split_at(memchr::memchr(b'\n', payload).map_or(0, |at| at + 1))
}
