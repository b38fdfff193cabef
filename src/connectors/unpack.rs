//! Unpacking gzip and zstd piece by piece: what came is unpacked as far as it goes, and what comes later goes on from
//! there, so that a file that is still growing can be read. Several members or frames one after the other are one stream.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

/// Room for what is unpacked in one step.
const STEP_BYTES: usize = 64 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What follows the first byte of a zstd frame without data.
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Whether a stream, or the first bytes of one, begins with a zstd frame without data, as parallel packers write it.
fn is_skippable(first: &[u8]) -> bool {
    let rest = first.get(1..).unwrap_or_default();
    first.first().is_some_and(|b| b & 0xf0 == 0x50) && SKIPPABLE.starts_with(rest.get(..3).unwrap_or(rest))
}

/// How a file is packed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// What its first bytes say: those of gzip and zstd are known, everything else is not packed.
    #[default]
    Auto,
    /// Not packed.
    None,
    /// gzip, also of several members.
    Gzip,
    /// zstd, also of several frames.
    Zstd,
}

/// A stream being unpacked.
pub enum Unpack {
    /// Its first bytes will tell.
    Undecided,
    /// Not packed.
    Plain,
    /// gzip.
    Gzip(Box<Gzip>),
    /// zstd.
    Zstd(Box<Zstd>),
}

impl Unpack {
    /// At the start of a stream.
    pub fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Auto => Unpack::Undecided,
            Compression::None => Unpack::Plain,
            Compression::Gzip => Unpack::Gzip(Box::default()),
            Compression::Zstd => Unpack::Zstd(Box::new(Zstd::new()?)),
        })
    }

    /// Looks at the first bytes of the stream; `whole` if there are no more for now. False if they do not tell yet.
    pub fn decide(&mut self, first: &[u8], whole: bool) -> io::Result<bool> {
        if !matches!(self, Unpack::Undecided) {
            return Ok(true);
        }
        *self = if first.starts_with(GZIP) {
            Unpack::Gzip(Box::default())
        } else if first.starts_with(ZSTD) || (first.len() > SKIPPABLE.len() && is_skippable(first)) {
            Unpack::Zstd(Box::new(Zstd::new()?))
        } else if (GZIP.starts_with(first) || ZSTD.starts_with(first) || is_skippable(first)) && !whole {
            return Ok(false);
        } else {
            Unpack::Plain
        };
        Ok(true)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Unpack::Undecided | Unpack::Plain => "plain",
            Unpack::Gzip(_) => "gzip",
            Unpack::Zstd(_) => "zstd",
        }
    }

    /// Unpacks from `input` until it is used up or `out` has grown by some tens of kilobytes: how many bytes were taken.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Unpack::Undecided | Unpack::Plain => {
                out.extend_from_slice(input);
                Ok(input.len())
            }
            Unpack::Gzip(gzip) => gzip.step(input, out),
            Unpack::Zstd(zstd) => zstd.step(input, out),
        }
    }

    /// Whether the stream may end here: between members or frames.
    pub fn may_end(&self) -> bool {
        match self {
            Unpack::Undecided | Unpack::Plain => true,
            Unpack::Gzip(gzip) => matches!(&gzip.part, Part::Header(held) if held.is_empty()),
            Unpack::Zstd(zstd) => zstd.between,
        }
    }
}

/// Members of gzip (RFC 1952).
pub struct Gzip {
    part: Part,
    inflate: Decompress,
    sum: crc32fast::Hasher,
    length: u32,
    /// Members so far; zero bytes behind the last one are padding.
    members: u64,
}

enum Part {
    /// The bytes of a header so far.
    Header(Vec<u8>),
    Body,
    /// The bytes of a trailer so far.
    Trailer(Vec<u8>),
}

impl Default for Gzip {
    fn default() -> Self {
        Gzip {
            part: Part::Header(Vec::new()),
            inflate: Decompress::new(false),
            sum: crc32fast::Hasher::new(),
            length: 0,
            members: 0,
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The error of a stream that is of another kind from its first byte on.
fn not_packed(kind: &str) -> io::Error {
    let why = format!("these bytes are no {kind}; without `compression` the file's first bytes tell how it is packed");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Gzip {
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let (mut taken, begun) = (0, out.len());
        while out.len() - begun < STEP_BYTES {
            let rest = input.get(taken..).unwrap_or_default();
            // What was taken before may not all have been handed out yet.
            if rest.is_empty() && !(input.is_empty() && matches!(self.part, Part::Body)) {
                break;
            }
            let before = (taken, out.len());
            taken += match &mut self.part {
                Part::Header(held) if held.is_empty() && self.members > 0 && rest.starts_with(&[0]) => 1,
                Part::Header(held) => {
                    let known = held.len();
                    held.extend_from_slice(rest.get(..HEADER_BYTES).unwrap_or(rest));
                    if self.members == 0 && !GZIP.starts_with(held.get(..2).unwrap_or(held)) {
                        return Err(not_packed("gzip"));
                    }
                    match header_end(held)? {
                        Some(end) => {
                            self.inflate.reset(false);
                            self.part = Part::Body;
                            end - known
                        }
                        None if held.len() > HEADER_BYTES => return Err(wrong("a gzip header has no end")),
                        None => held.len() - known,
                    }
                }
                Part::Body => self.body(rest, out)?,
                Part::Trailer(held) => {
                    let wanted = 8 - held.len();
                    let piece = rest.get(..wanted).unwrap_or(rest);
                    held.extend_from_slice(piece);
                    let count = piece.len();
                    if held.len() == 8 {
                        // A step ends with its member, so that who counts bytes sees where that is.
                        self.check()?;
                        return Ok(taken + count);
                    }
                    count
                }
            };
            if before == (taken, out.len()) {
                break;
            }
        }
        Ok(taken)
    }

    fn body(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let (before, start) = (self.inflate.total_in(), out.len());
        out.reserve(STEP_BYTES);
        let status = self.inflate.decompress_vec(input, out, FlushDecompress::None);
        let status = status.map_err(|_| wrong("the data is damaged"))?;
        let made = out.get(start..).unwrap_or_default();
        self.sum.update(made);
        // The trailer holds the length modulo 2^32.
        self.length = self.length.wrapping_add(made.len() as u32);
        let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(input.len());
        if status == Status::StreamEnd {
            self.part = Part::Trailer(Vec::with_capacity(8));
        } else if taken == 0 && made.is_empty() && !input.is_empty() {
            return Err(wrong("the data is damaged"));
        }
        Ok(taken)
    }

    /// A whole trailer has come: the sum and the length of what was unpacked.
    fn check(&mut self) -> io::Result<()> {
        let sum = std::mem::take(&mut self.sum).finalize();
        let length = std::mem::take(&mut self.length);
        if let Part::Trailer(held) = &self.part
            && *held != [sum.to_le_bytes(), length.to_le_bytes()].concat()
        {
            return Err(wrong("the data is damaged: its checksum is another"));
        }
        self.members += 1;
        self.part = Part::Header(Vec::new());
        Ok(())
    }
}

/// The longest header that is taken; names and comments in it are short.
const HEADER_BYTES: usize = 64 << 10;

/// One past the end of a member's header, if it is whole.
fn header_end(held: &[u8]) -> io::Result<Option<usize>> {
    if !GZIP.starts_with(held.get(..2).unwrap_or(held)) {
        return Err(wrong("these bytes are no gzip"));
    }
    let (Some(method), Some(flags)) = (held.get(2), held.get(3)) else { return Ok(None) };
    if *method != 8 {
        return Err(wrong("the gzip method is unknown"));
    }
    let mut end = 10;
    if flags & 4 != 0 {
        let (Some(low), Some(high)) = (held.get(10), held.get(11)) else { return Ok(None) };
        end += 2 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    // A name and a comment end with a zero byte each.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(at) = held.get(end..).and_then(|rest| memchr::memchr(0, rest)) else { return Ok(None) };
            end += at + 1;
        }
    }
    if flags & 2 != 0 {
        end += 2;
    }
    Ok((held.len() >= end).then_some(end))
}

/// Frames of zstd.
pub struct Zstd {
    decoder: Decoder<'static>,
    /// The last frame is whole and nothing of another has come.
    between: bool,
    /// Its first bytes were looked at.
    begun: bool,
}

impl Zstd {
    fn new() -> io::Result<Self> {
        Ok(Zstd { decoder: Decoder::new()?, between: true, begun: false })
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        if !self.begun && !input.is_empty() {
            let first = input.get(..ZSTD.len()).unwrap_or(input);
            if !(ZSTD.starts_with(first) || is_skippable(first)) {
                return Err(not_packed("zstd"));
            }
            self.begun = true;
        }
        let start = out.len();
        out.resize(start + STEP_BYTES, 0);
        let mut from = InBuffer::around(input);
        let room = out.get_mut(start..).unwrap_or_default();
        let mut to = OutBuffer::around(room);
        let result = loop {
            let before = (from.pos(), to.pos());
            match self.decoder.run(&mut from, &mut to) {
                Ok(hint) => {
                    let stuck = before == (from.pos(), to.pos());
                    // Between frames the library asks for the next header when it is given nothing.
                    self.between = if stuck { self.between } else { hint == 0 };
                    if stuck || self.between || from.pos() == input.len() || to.pos() == STEP_BYTES {
                        break Ok(());
                    }
                }
                Err(_) => break Err(wrong("the data is damaged")),
            }
        };
        let (taken, made) = (from.pos(), to.pos());
        out.truncate(start + made);
        result.map(|()| taken)
    }
}

/// How many bytes at the front of a packed file are whole members or frames.
pub fn whole_members(mut file: std::fs::File) -> io::Result<u64> {
    let mut unpack = Unpack::Undecided;
    let (mut held, mut out) = (Vec::new(), Vec::new());
    let (mut at, mut whole) = (0, 0);
    loop {
        held.clear();
        io::Read::read_to_end(&mut io::Read::take(&mut file, STEP_BYTES as u64), &mut held)?;
        if held.is_empty() {
            return Ok(whole);
        }
        unpack.decide(&held, true)?;
        if matches!(unpack, Unpack::Plain) {
            return Err(wrong("what is in it is not packed"));
        }
        let mut used = 0;
        while used < held.len() {
            out.clear();
            let taken = unpack.step(held.get(used..).unwrap_or_default(), &mut out)?;
            if taken == 0 && out.is_empty() {
                return Err(wrong("the data is damaged"));
            }
            used += taken;
            at += taken as u64;
            if unpack.may_end() {
                whole = at;
            }
        }
    }
}

/// A whole file, unpacked.
#[cfg(test)]
pub(crate) fn unpack_all(path: &std::path::Path) -> Vec<u8> {
    let mut input = super::input_file::InputFile::open(path, "file", Compression::Auto).unwrap();
    let mut all = Vec::new();
    loop {
        let bytes = input.read(1 << 20, true).unwrap();
        if bytes.is_empty() {
            assert!(input.breaks(true).is_none());
            return all;
        }
        all.extend_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    pub fn gzip(parts: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for part in parts {
            let header = flate2::GzBuilder::new().filename("a name").comment("a comment").extra(vec![7; 300]);
            let mut encoder = header.write(all, flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            all = encoder.finish().unwrap();
        }
        all
    }

    pub fn zstd(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().flat_map(|part| zstd::encode_all(*part, 1).unwrap()).collect()
    }

    fn unpacked(packed: &[u8], step: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut unpack = Unpack::new(Compression::Auto)?;
        unpack.decide(packed, true)?;
        let mut out = Vec::new();
        for piece in packed.chunks(step) {
            let mut taken = 0;
            loop {
                let before = out.len();
                taken += unpack.step(&piece[taken..], &mut out)?;
                if taken == piece.len() && out.len() == before {
                    break;
                }
            }
        }
        Ok((out, unpack.may_end()))
    }

    #[test]
    fn several_members_are_one_stream_however_they_come() {
        let long: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let whole = [b"one\n".as_slice(), &long, b"", b"three\n"].concat();
        for packed in [gzip(&[b"one\n", &long, b"", b"three\n"]), zstd(&[b"one\n", &long, b"", b"three\n"])] {
            for step in [1, 7, 4096, usize::MAX] {
                let (out, ended) = unpacked(&packed, step.min(packed.len())).unwrap();
                assert!(out == whole && ended, "{step}");
            }
            let cut = packed.len() - 3;
            assert!(!unpacked(&packed[..cut], 64).unwrap().1, "a stream that is cut may not end there");
        }
    }

    #[test]
    fn what_was_flushed_is_there_before_its_member_ends() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"first\n").unwrap();
        encoder.flush().unwrap();
        assert_eq!(unpacked(encoder.get_ref(), 3).unwrap(), (b"first\n".to_vec(), false));
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(b"first\n").unwrap();
        encoder.flush().unwrap();
        assert_eq!(unpacked(encoder.get_ref(), 3).unwrap(), (b"first\n".to_vec(), false));
    }

    #[test]
    fn frames_without_data_are_passed_over() {
        let frame = [0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        let packed = [&frame[..], &zstd(&[b"a\n"]), &frame, &zstd(&[b"b\n"])].concat();
        for step in [1, 5, 999] {
            assert_eq!(unpacked(&packed, step).unwrap(), (b"a\nb\n".to_vec(), true));
        }
        let mut unpack = Unpack::Undecided;
        assert!(!unpack.decide(&frame[..3], false).unwrap(), "the fourth byte will tell");
        assert!(unpack.decide(b"[1,2]", false).unwrap() && matches!(unpack, Unpack::Plain));
    }

    #[test]
    fn damage_is_found() {
        let mut packed = gzip(&[b"some text that is long enough to be packed, packed, packed"]);
        let last = packed.len() - 6;
        packed[last] ^= 1;
        assert!(unpacked(&packed, 64).unwrap_err().to_string().contains("checksum"));
        let mut trailing = gzip(&[b"a"]);
        trailing.extend_from_slice(b"\0\0\0");
        assert_eq!(unpacked(&trailing, 64).unwrap(), (b"a".to_vec(), true), "padding");
        trailing.extend_from_slice(b"plain");
        assert!(unpacked(&trailing, 64).is_err());
    }
}
