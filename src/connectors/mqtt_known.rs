//! What a source of MQTT knows of its session: which messages are in the journal although the broker may not know, and what
//! it has subscribed to.
//!
//! A broker brings a message again, with the DUP flag and under the packet id that it had, until it is acknowledged. The
//! acknowledgement follows the journal, so the connection, this program or its machine can go between the two. A message that
//! comes again is recognised by its session, packet id, DUP flag and a hash of its topic and payload. What is known is in the
//! journal (a note with each group of messages) and, from each checkpoint on, in a small file beside it.
//!
//! Not recognised is what does not come as a repetition: a message whose publisher sent it twice, one that a broker without
//! a session (it was lost, it has expired) or with an older state of it (it was killed) brings under another packet id, and
//! QoS 0. And a repetition is taken for known although it is not, if the broker used the packet id again for an equal message
//! (topic and payload) and lost the connection before this one came through.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::io_reason;
use crate::base::system::make_private_directory;

/// A message: its packet id, and a hash of its topic and payload.
pub(super) type Seen = (u16, u64);

/// The hash by which a message is recognised.
pub(super) fn hash_of(topic: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(topic.len() as u64).to_le_bytes());
    hash.update(topic);
    hash.update(payload);
    hash.digest()
}

/// A number for who we are to which broker: what is known of one session says nothing of another.
pub(super) fn session_of(url: &str, client_id: &str) -> u64 {
    xxh3_64(format!("{url}\n{client_id}").as_bytes())
}

/// Packet ids that there are. A broker may have as many messages on their way, whatever it is asked for: Mosquitto 2.0
/// brings all that it has queued at once.
const MOST: usize = 65_535;

/// The last message of each packet id of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    by_packet: HashMap<u16, (u64, u64)>,
    /// Packet ids in the order that they were last used in, each with the number of its use; some are used again since.
    order: VecDeque<(u16, u64)>,
    uses: u64,
}

impl Known {
    pub fn add(&mut self, (packet, hash): Seen) {
        self.uses += 1;
        self.by_packet.insert(packet, (hash, self.uses));
        self.order.push_back((packet, self.uses));
        if self.order.len() > 2 * MOST {
            let by_packet = &self.by_packet;
            self.order.retain(|(packet, number)| by_packet.get(packet).is_some_and(|(_, last)| last == number));
        }
    }

    pub fn has(&self, (packet, hash): Seen) -> bool {
        self.by_packet.get(&packet).is_some_and(|(known, _)| *known == hash)
    }

    /// The broker begins anew.
    pub fn clear(&mut self) {
        self.by_packet.clear();
        self.order.clear();
    }

    /// Oldest first.
    pub fn list(&self) -> Vec<Seen> {
        let is_last =
            |(packet, number): &&(u16, u64)| self.by_packet.get(packet).is_some_and(|(_, last)| last == number);
        let hash = |(packet, _): &(u16, u64)| Some((*packet, self.by_packet.get(packet)?.0));
        self.order.iter().filter(is_last).filter_map(hash).collect()
    }
}

/// What is noted in the journal with messages: the session, and of each its packet id and hash.
pub(super) fn note_of(session: u64, seen: &[Seen]) -> Vec<u8> {
    let mut note = session.to_le_bytes().to_vec();
    for (packet, hash) in seen {
        note.extend_from_slice(&packet.to_le_bytes());
        note.extend_from_slice(&hash.to_le_bytes());
    }
    note
}

/// What a note says of a session.
pub(super) fn noted(session: u64, note: &[u8]) -> Vec<Seen> {
    let Some((of, seen)) = note.split_first_chunk::<8>() else { return Vec::new() };
    if u64::from_le_bytes(*of) != session {
        return Vec::new();
    }
    let seen = seen.chunks_exact(10).filter_map(|one| {
        let (packet, hash) = one.split_first_chunk::<2>()?;
        Some((u16::from_le_bytes(*packet), u64::from_le_bytes(hash.try_into().ok()?)))
    });
    seen.collect()
}

/// The file beside the journal.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    session: u64,
    /// Filters, and the QoS that each was asked for with.
    pub subscribed: BTreeMap<String, u8>,
    /// Messages that are in the journal.
    pub known: Known,
    /// Whether it is otherwise than in the file.
    pub changed: bool,
}

/// Its first line; a note follows of all messages.
#[derive(Serialize, Deserialize)]
struct Written {
    session: u64,
    subscribed: BTreeMap<String, u8>,
}

impl Kept {
    /// Reads what there is of a session. A file that is damaged or of another session is as good as none: what it would say
    /// is asked of the broker again.
    pub fn open(journal: &Path, name: &str, session: u64) -> Kept {
        let path = journal.join(format!("{name}.mqtt"));
        let mut kept = Kept { path, session, subscribed: BTreeMap::new(), known: Known::default(), changed: false };
        let bytes = fs::read(&kept.path).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', &bytes) else { return kept };
        let (line, note) = bytes.split_at(end + 1);
        let Ok(written) = serde_json::from_slice::<Written>(line) else { return kept };
        if written.session == session {
            noted(session, note).into_iter().for_each(|seen| kept.known.add(seen));
            kept.subscribed = written.subscribed;
        }
        kept
    }

    /// Messages are in the journal with this note.
    pub fn note(&mut self, note: &[u8]) {
        noted(self.session, note).into_iter().for_each(|seen| self.known.add(seen));
        self.changed = true;
    }

    /// Makes it durable.
    pub fn store(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let written = Written { session: self.session, subscribed: self.subscribed.clone() };
        let mut text = serde_json::to_vec(&written).map_err(|e| e.to_string())?;
        text.push(b'\n');
        text.extend(note_of(self.session, &self.known.list()));
        let new = self.path.with_extension("mqtt-new");
        let write = || {
            if let Some(directory) = self.path.parent() {
                make_private_directory(directory)?;
            }
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|e| format!("`{}` cannot be written: {}", self.path.display(), io_reason(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_packet_id_the_last_message_is_known() {
        let mut known = Known::default();
        (1..=3).for_each(|packet| known.add((packet, u64::from(packet))));
        assert!(known.has((1, 1)) && !known.has((1, 2)) && !known.has((4, 4)));
        known.add((1, 9));
        assert_eq!(known.list(), [(2, 2), (3, 3), (1, 9)]);
        (0..3 * MOST).for_each(|_| known.add((3, 3)));
        assert_eq!(known.list(), [(2, 2), (1, 9), (3, 3)]);
        assert!(known.order.len() <= 2 * MOST);
    }

    #[test]
    fn what_is_noted_and_kept_is_read_again() {
        let seen = [(1, u64::MAX), (65_535, 0)];
        assert_eq!(noted(7, &note_of(7, &seen)), seen);
        assert_eq!(noted(8, &note_of(7, &seen)), []);
        assert_eq!(noted(7, b"short"), []);
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(&dir.path().join("journal"), "a", 7);
        kept.known.add(seen[0]);
        kept.subscribed.insert("x/#".into(), 1);
        kept.changed = true;
        kept.store().unwrap();
        let again = Kept::open(&dir.path().join("journal"), "a", 7);
        assert_eq!((again.known.list(), again.subscribed), (vec![seen[0]], kept.subscribed.clone()));
        assert_eq!(Kept::open(&dir.path().join("journal"), "a", 8).known.list(), []);
        fs::write(dir.path().join("journal/a.mqtt"), "{").unwrap();
        assert!(Kept::open(&dir.path().join("journal"), "a", 7).subscribed.is_empty());
    }
}
