//! One file that a source reads, unpacked on the way. Positions count unpacked bytes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::io_reason;
use super::unpack::{Compression, Unpack};
use crate::connector::SourceError;

/// Packed bytes read at once.
const PACKED_BYTES: usize = 64 << 10;
/// Bytes that are enough to tell how a file is packed.
const TELLING: usize = 4;

/// A file being read.
pub struct InputFile {
    path: PathBuf,
    /// For messages.
    name: String,
    /// `None` while it is closed to save descriptors.
    file: Option<File>,
    unpack: Unpack,
    /// How many bytes of the file itself were read.
    raw: u64,
    /// Bytes of the file that are not unpacked yet, from `used` on.
    held: Vec<u8>,
    used: usize,
    /// Those are the beginning of a line that was given back.
    given_back: bool,
    /// Unpacked bytes that nobody has asked for yet.
    ahead: Vec<u8>,
    /// Position of the next byte.
    position: u64,
    /// Where the member or frame begins that is being unpacked.
    member: u64,
    /// Why what follows the last unpacked byte cannot be unpacked.
    damage: Option<String>,
    /// That was told, and is all that there is.
    told: bool,
    /// A file proper, not a pipe or a device: it has a length and can be opened again.
    regular: bool,
}

/// The error of a file that cannot be read.
pub fn cannot(what: &str, name: &str, error: &io::Error) -> SourceError {
    SourceError { message: format!("cannot {what} `{name}`: {}", io_reason(error)) }
}

impl InputFile {
    /// Opens a file at its beginning.
    pub fn open(path: &Path, name: &str, compression: Compression) -> Result<Self, SourceError> {
        Self::new(File::open(path).map_err(|e| cannot("read", name, &e))?, path, name, compression)
    }

    /// Reads an open file from where it stands, which is its beginning.
    pub fn new(file: File, path: &Path, name: &str, compression: Compression) -> Result<Self, SourceError> {
        let unpack = Unpack::new(compression).map_err(|e| cannot("unpack", name, &e))?;
        let regular = file.metadata().map_err(|e| cannot("read", name, &e))?.is_file();
        Ok(InputFile {
            path: path.into(),
            name: name.into(),
            file: Some(file),
            unpack,
            raw: 0,
            held: Vec::new(),
            used: 0,
            given_back: false,
            ahead: Vec::new(),
            position: 0,
            member: 0,
            damage: None,
            told: false,
            regular,
        })
    }

    /// What it is called, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file, if it is open.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// How many bytes of the file itself were read.
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Position of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it is read as it is.
    pub fn is_plain(&self) -> bool {
        matches!(self.unpack, Unpack::Plain)
    }

    /// Whether it is a file proper, not a pipe or a device.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Gives the descriptor back until the next read.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Goes on at a position; what is packed is unpacked up to there. False if the file does not reach so far.
    pub fn seek(&mut self, position: u64) -> Result<bool, SourceError> {
        if position == 0 {
            return Ok(true);
        }
        if matches!(self.unpack, Unpack::Undecided) {
            self.fill(PACKED_BYTES)?;
            self.decide(true)?;
        }
        if self.is_plain() {
            let file = self.opened()?;
            let length = file.metadata().map(|m| m.len());
            let length = length.map_err(|e| cannot("read", &self.name, &e))?;
            if self.regular && length < position {
                return Ok(false);
            }
            let file = self.opened()?;
            let sought = file.seek(SeekFrom::Start(position));
            sought.map_err(|e| cannot("go on reading", &self.name, &e))?;
            (self.raw, self.position) = (position, position);
            (self.held, self.used) = (Vec::new(), 0);
            return Ok(true);
        }
        while self.position < position {
            let wanted = usize::try_from(position - self.position).unwrap_or(usize::MAX).min(PACKED_BYTES);
            if self.read(wanted, true)?.is_empty() {
                // Behind a break, and nowhere else.
                return Ok(position == self.position + 1 && self.breaks(true).is_some());
            }
        }
        Ok(true)
    }

    /// Up to about `most` bytes; none when the file has no more for now. `whole`: it will not grow.
    pub fn read(&mut self, most: usize, whole: bool) -> Result<Vec<u8>, SourceError> {
        if matches!(self.unpack, Unpack::Undecided) {
            // A pipe may bring its first bytes one by one.
            loop {
                let none = self.fill(most)? == 0;
                let telling = self.held.len() - self.used >= TELLING;
                if self.decide(telling || (whole && none))? {
                    break;
                }
                if !whole {
                    return Ok(Vec::new());
                }
            }
        }
        if self.is_plain() {
            // What was given back is followed by what comes next.
            let held = self.held.len() - self.used;
            if held == 0 || (self.given_back && held < most) {
                self.fill(most - held)?;
                self.given_back = false;
            }
            let bytes = if self.used == 0 { std::mem::take(&mut self.held) } else { self.held.split_off(self.used) };
            (self.held, self.used) = (Vec::new(), 0);
            self.position += bytes.len() as u64;
            return Ok(bytes);
        }
        self.read_packed(most)
    }

    /// Takes back what follows the last line end of what was just read, so that the next read begins with a line: whoever
    /// cuts lines then has nothing to carry over, and copies nothing. Only of a file proper that is read as it is, and not
    /// where lines are long.
    pub fn give_back(&mut self, bytes: &mut Vec<u8>) {
        if !self.is_plain() || !self.regular || self.used < self.held.len() {
            return;
        }
        let Some(end) = memchr::memrchr(b'\n', bytes).map(|at| at + 1) else { return };
        if end < bytes.len() && bytes.len() - end <= bytes.len() / 4 {
            (self.held, self.used) = (bytes.split_off(end), 0);
            self.position -= self.held.len() as u64;
            self.given_back = true;
        }
    }

    fn read_packed(&mut self, most: usize) -> Result<Vec<u8>, SourceError> {
        let mut out = std::mem::take(&mut self.ahead);
        while out.len() < most && self.damage.is_none() && !self.told {
            let before = out.len();
            let held = self.held.get(self.used..).unwrap_or_default();
            match self.unpack.step(held, &mut out) {
                Ok(taken) => {
                    self.used += taken;
                    if self.unpack.may_end() {
                        self.member = self.position + out.len() as u64;
                    }
                }
                // It is not damaged but something else.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(cannot("unpack", &self.name, &e)),
                Err(e) => {
                    let (name, packed, at) = (&self.name, self.unpack.name(), self.position + out.len() as u64);
                    // Only the end of a member tells whether what was unpacked of it is right.
                    let doubt = match self.member {
                        member if member < at => format!("from byte {member} on rows may be wrong, and "),
                        _ => String::new(),
                    };
                    let so = format!("{doubt}what follows in it cannot be read");
                    self.damage = Some(format!("cannot unpack `{name}` as {packed} after byte {at}: {e}; {so}"));
                    break;
                }
            }
            if self.used == self.held.len() && out.len() == before && self.fill(PACKED_BYTES)? == 0 {
                break;
            }
        }
        // A position may be asked for exactly, so what goes beyond waits for the next call.
        if out.len() > most {
            self.ahead = out.split_off(most);
        }
        self.position += out.len() as u64;
        Ok(out)
    }

    /// Why there is no more where a read gave nothing, if that is not the file's end: told once, and from then on counted
    /// as a byte. `whole`: it will not grow.
    pub fn breaks(&mut self, whole: bool) -> Option<String> {
        if self.told {
            return None;
        }
        let cut = || {
            let (name, packed, at) = (&self.name, self.unpack.name(), self.position);
            let why = "it was cut, or is still being written (`follow: true` waits for more)";
            format!("`{name}` ends in the middle of its {packed} data, after byte {at}: {why}")
        };
        let reason = self.damage.clone().or_else(|| (whole && !self.unpack.may_end()).then(cut))?;
        self.told = true;
        self.position += 1;
        Some(reason)
    }

    fn decide(&mut self, whole: bool) -> Result<bool, SourceError> {
        let first = self.held.get(self.used..).unwrap_or_default();
        self.unpack.decide(first, whole).map_err(|e| cannot("unpack", &self.name, &e))
    }

    fn opened(&mut self) -> Result<&mut File, SourceError> {
        if self.file.is_none() {
            let mut file = File::open(&self.path).map_err(|e| cannot("go on reading", &self.name, &e))?;
            file.seek(SeekFrom::Start(self.raw)).map_err(|e| cannot("go on reading", &self.name, &e))?;
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| SourceError { message: format!("`{}` is closed", self.name) })
    }

    /// Reads bytes of the file behind those held: how many.
    fn fill(&mut self, most: usize) -> Result<usize, SourceError> {
        self.held.drain(..self.used);
        self.used = 0;
        let mut held = std::mem::take(&mut self.held);
        let start = held.len();
        let (most, regular) = (most.max(1), self.regular);
        let file = self.opened()?;
        let read = if regular {
            held.reserve(most);
            file.take(most as u64).read_to_end(&mut held)
        } else {
            // A pipe hands on what it has and does not wait for a whole block.
            held.resize(start + most, 0);
            let room = held.get_mut(start..).unwrap_or_default();
            loop {
                match file.read(room) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            }
        };
        let count = match read {
            Ok(count) => count,
            Err(e) => return Err(cannot("read", &self.name, &e)),
        };
        held.truncate(start + count);
        self.held = held;
        self.raw += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_read_again_and_chunks_end_with_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let line = |n: usize| format!("{}\n", "x".repeat(n * 7 % 23));
        let text = (0..400).map(line).collect::<String>() + &"y".repeat(300) + "\nend";
        std::fs::write(&path, &text).unwrap();
        for (block, closes) in [(40, false), (64, true), (1000, true), (1 << 20, false)] {
            let mut input = InputFile::open(&path, "lines", Compression::None).unwrap();
            let (mut read, mut cut) = (Vec::new(), 0);
            loop {
                assert_eq!(input.position(), read.len() as u64);
                let mut bytes = input.read(block, true).unwrap();
                assert!(bytes.len() <= block);
                if bytes.len() < block {
                    read.extend(bytes);
                    break;
                }
                input.give_back(&mut bytes);
                cut += usize::from(!bytes.ends_with(b"\n"));
                read.extend(bytes);
                if closes {
                    input.close();
                }
            }
            assert!(read == text.as_bytes(), "{block}");
            // Only where a line is long.
            assert!(block < 1000 || cut <= 1, "{cut} of {block}");
        }
    }
}
