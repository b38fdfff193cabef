//! Requests that were answered, by the key that their senders gave them: one that comes again is answered like the first
//! time, and its events are not taken again. What is known here is in the journal with the events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::limit::{ANSWERED_BYTES, ANSWERED_KEYS};
use crate::base::time::{TimeSpan, Timestamp};

/// A request with a key of its sender's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: Vec<u8>,
    /// A hash of the body: another body under the same key is a mistake of the sender's.
    pub body: u64,
    /// What it is answered with.
    pub answer: Arc<str>,
}

/// What is known of a request that came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// A hash of its body.
    pub body: u64,
    /// What it was answered with.
    pub answer: Arc<str>,
    /// The number of a record after its events.
    pub end: u64,
}

impl Keyed {
    /// As the journal has it; `behind` is how far after this record the record after its events comes.
    pub(super) fn encode(&self, behind: u32) -> Vec<u8> {
        let length = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        let parts: [&[u8]; 5] =
            [&self.body.to_le_bytes(), &behind.to_le_bytes(), &length.to_le_bytes(), &self.key, self.answer.as_bytes()];
        parts.concat()
    }

    /// Nothing if a journal of another version has it otherwise: then it is not known.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Keyed, u32)> {
        let (body, rest) = bytes.split_first_chunk()?;
        let (behind, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (key, answer) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let answer = std::str::from_utf8(answer).ok()?.into();
        let keyed = Keyed { key: key.to_vec(), body: u64::from_le_bytes(*body), answer };
        Some((keyed, u32::from_le_bytes(*behind)))
    }
}

/// Requests that were answered, of one source.
#[derive(Debug)]
pub(super) struct Answered {
    /// How long they are known.
    keep: TimeSpan,
    known: HashMap<Arc<[u8]>, Before>,
    /// The number of their record, when they came, and their key; the oldest first.
    order: VecDeque<(u64, Timestamp, Arc<[u8]>)>,
    /// Bytes of keys and answers.
    bytes: usize,
}

impl Answered {
    pub fn new(keep: TimeSpan) -> Self {
        Answered { keep, known: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }

    /// What is known of a key at a time.
    pub fn get(&mut self, key: &[u8], now: Timestamp) -> Option<&Before> {
        self.forget(now);
        self.known.get(key)
    }

    /// A request is durable: `number` is that of its record.
    pub fn insert(&mut self, keyed: Keyed, number: u64, behind: u32, arrived: Timestamp) {
        let key: Arc<[u8]> = keyed.key.into();
        let before = Before { body: keyed.body, answer: keyed.answer, end: number + u64::from(behind) };
        self.bytes += key.len() + before.answer.len();
        // It can be there only if it was forgotten and came again: the newer counts.
        if let Some(old) = self.known.insert(Arc::clone(&key), before) {
            self.bytes -= key.len() + old.answer.len();
            self.order.retain(|(_, _, other)| *other != key);
        }
        self.order.push_back((number, arrived, key));
        self.forget(arrived);
    }

    /// Lets go of what is too old at a time, and of the oldest where there are too many.
    pub fn forget(&mut self, now: Timestamp) {
        let since = now.0.saturating_sub(self.keep.0);
        while self.order.front().is_some_and(|(_, arrived, _)| arrived.0 < since)
            || self.order.len() > ANSWERED_KEYS
            || self.bytes > ANSWERED_BYTES
        {
            self.forget_first();
        }
    }

    /// Lets go of the older half.
    pub fn halve(&mut self) {
        for _ in 0..self.order.len().div_ceil(2) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, _, key)) = self.order.pop_front() else { return };
        if let Some(old) = self.known.remove(&key) {
            self.bytes -= key.len() + old.answer.len();
        }
    }

    /// The number of the oldest record that is needed.
    pub fn oldest(&self) -> Option<u64> {
        self.order.front().map(|(number, _, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(key: &str) -> Keyed {
        Keyed { key: key.into(), body: 7, answer: "{}".into() }
    }

    #[test]
    fn records_come_back() {
        let once = keyed("é-1");
        let bytes = once.encode(3);
        assert_eq!(Keyed::decode(&bytes), Some((once, 3)));
        assert!((0..bytes.len() - 2).all(|end| Keyed::decode(&bytes[..end]).is_none()));
    }

    #[test]
    fn keys_are_known_for_a_time_and_in_a_number() {
        let mut answered = Answered::new(TimeSpan(100));
        for n in 0..3 {
            answered.insert(keyed(&n.to_string()), n as u64 + 1, 2, Timestamp(n * 60));
        }
        assert_eq!(answered.get(b"0", Timestamp(120)), None);
        assert_eq!(answered.get(b"1", Timestamp(120)).map(|b| (b.body, b.end)), Some((7, 4)));
        assert_eq!(answered.oldest(), Some(2));
        answered.halve();
        assert_eq!(answered.oldest(), Some(3));
        answered.insert(keyed("2"), 9, 2, Timestamp(130));
        assert_eq!((answered.oldest(), answered.order.len()), (Some(9), 1));
        for n in 0..=ANSWERED_KEYS as u64 {
            answered.insert(keyed(&format!("k{n}")), 10 + n, 2, Timestamp(131));
        }
        assert_eq!((answered.oldest(), answered.known.len()), (Some(10 + 1), ANSWERED_KEYS));
        answered.forget(Timestamp(1_000));
        assert_eq!((answered.oldest(), answered.bytes, answered.known.len()), (None, 0, 0));
    }
}
