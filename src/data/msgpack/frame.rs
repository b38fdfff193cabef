//! Cutting a stream of values that stand one after the other. Every byte is looked at once, however it comes in pieces.

use super::{NoItem, item};
use crate::base::limit::{CHUNK_BYTES, RECORD_BYTES};
use crate::data::column::as_u32;
use crate::data::framing::{Block, KEPT_OF_LONG};

/// How far a value was looked through.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the next item begins; beyond the bytes that came where a text has not come whole.
    at: usize,
    /// How many items the value still lacks.
    open: u64,
}

/// Where a value's first item begins.
const START: Place = Place { at: 0, open: 1 };

/// What looking for the end of a value found.
enum Found {
    /// One past its end.
    End(usize),
    /// It has not come whole.
    More,
    /// A byte that begins no item: nobody knows where anything behind it begins.
    Lost(usize),
}

impl Place {
    /// Looks for the end of the value; once found, for that of the next.
    fn look(&mut self, bytes: &[u8]) -> Found {
        while self.open > 0 {
            match item(bytes, self.at) {
                Ok((item, next)) => {
                    let (size, items) = item.holds();
                    self.at = next.saturating_add(size);
                    self.open = (self.open - 1).saturating_add(items);
                }
                Err(NoItem::Short) => return Found::More,
                Err(NoItem::Reserved) => return Found::Lost(self.at),
            }
        }
        if self.at > bytes.len() {
            return Found::More;
        }
        self.open = START.open;
        Found::End(self.at)
    }
}

/// One past the end of each value; what is no whole value at the end counts as one.
pub fn ends(bytes: &[u8]) -> Vec<u32> {
    let (mut place, mut ends, mut last) = (START, Vec::new(), 0);
    while last < bytes.len() {
        match place.look(bytes) {
            Found::End(end) => last = end,
            Found::More | Found::Lost(_) => last = bytes.len(),
        }
        ends.push(as_u32(last));
    }
    ends
}

/// Cuts a stream into blocks of whole values.
#[derive(Debug)]
pub struct Values {
    /// The value whose end has not come; of one that is too long what was not looked at.
    carry: Vec<u8>,
    /// How far it was looked through, from the beginning of the carry.
    place: Place,
    /// Where in the stream it begins.
    position: u64,
    /// The beginning of a value that is not kept.
    beginning: Option<Vec<u8>>,
    /// How many of its bytes came before the carry.
    before: u64,
    /// Whether nothing more can be read.
    lost: bool,
}

impl Default for Values {
    fn default() -> Self {
        Values { carry: Vec::new(), place: START, position: 0, beginning: None, before: 0, lost: false }
    }
}

impl Values {
    /// Takes the next piece of the stream, whose first byte is at `position`: the values that are complete now.
    pub fn push(&mut self, mut chunk: Vec<u8>, position: u64) -> Vec<Block> {
        let mut blocks = Vec::new();
        if self.lost {
            return blocks;
        }
        if self.carry.is_empty() {
            if self.beginning.is_none() {
                self.position = position;
            }
            self.carry = chunk;
        } else {
            self.carry.append(&mut chunk);
        }
        let mut cut = 0;
        let lost = loop {
            match self.place.look(&self.carry) {
                Found::End(end) if self.beginning.is_some() => {
                    self.carry.drain(..end);
                    self.before += end as u64;
                    self.place = START;
                    blocks.extend(self.unkept());
                }
                Found::End(end) => cut = end,
                Found::More => break None,
                Found::Lost(at) => break Some(at),
            }
        };
        if cut > 0 {
            let rest = self.carry.get(cut..).unwrap_or_default();
            let mut carry = Vec::with_capacity(if rest.is_empty() { 0 } else { rest.len() + CHUNK_BYTES });
            carry.extend_from_slice(rest);
            let mut bytes = std::mem::replace(&mut self.carry, carry);
            bytes.truncate(cut);
            blocks.push(Block { bytes, position: self.position, ..Block::default() });
            self.position += cut as u64;
            self.place.at -= cut;
        }
        match lost {
            Some(at) => blocks.push(self.give_up(at - cut)),
            None => self.keep_little(),
        }
        blocks
    }

    /// Lets go of the carry if its value is too long.
    fn keep_little(&mut self) {
        if self.beginning.is_none() {
            if self.carry.len() <= RECORD_BYTES {
                return;
            }
            self.beginning = Some(self.carry.get(..KEPT_OF_LONG).unwrap_or(&self.carry).to_vec());
        }
        let gone = self.place.at.min(self.carry.len());
        self.carry.drain(..gone);
        self.carry.shrink_to(CHUNK_BYTES);
        self.before += gone as u64;
        self.place.at -= gone;
    }

    /// Nothing behind the byte of the carry at `at` can be read: the last block. It says so at once, for the end of a
    /// stream may be far; and it stands where it stands with no length, so that who goes on from there finds the same.
    fn give_up(&mut self, at: usize) -> Block {
        let carry = std::mem::take(&mut self.carry);
        let shown = || carry.get(..KEPT_OF_LONG.min(at + 1)).unwrap_or_default().to_vec();
        let bytes = self.beginning.take().unwrap_or_else(shown);
        self.lost = true;
        let lost = Some(self.before + at as u64);
        Block { bytes, position: self.position, too_long: Some(0), lost, ..Block::default() }
    }

    /// The value that was not kept, now that it has ended.
    fn unkept(&mut self) -> Option<Block> {
        let bytes = self.beginning.take()?;
        let size = std::mem::take(&mut self.before);
        let position = self.position;
        self.position += size;
        Some(Block { bytes, position, too_long: Some(size), ..Block::default() })
    }

    /// The stream cannot be read beyond `position`: what it broke off in. Behind what cannot be cut that is no news.
    pub fn broken(&mut self, position: u64, reason: String) -> Option<Block> {
        if std::mem::replace(&mut self.lost, true) {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.carry);
        let mut too_long = None;
        if let Some(beginning) = self.beginning.take() {
            too_long = Some(self.before + bytes.len() as u64);
            bytes = beginning;
        } else if bytes.is_empty() {
            self.position = position;
        }
        Some(Block { bytes, position: self.position, too_long, broken: Some(reason), ..Block::default() })
    }

    /// The stream has ended: a last value that is not whole.
    pub fn finish(&mut self) -> Option<Block> {
        self.place = START;
        let bytes = std::mem::take(&mut self.carry);
        if self.beginning.is_some() {
            self.before += bytes.len() as u64;
            return self.unkept();
        }
        let position = self.position;
        self.position += bytes.len() as u64;
        (!bytes.is_empty()).then(|| Block { bytes, position, ..Block::default() })
    }
}
