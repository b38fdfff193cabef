//! Packing what a sink writes, in members or frames that each can be unpacked as soon as they end.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Packed bytes that are gathered before they are handed on.
const GATHERED_BYTES: usize = 32 << 10;

/// How a sink packs its files.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Not at all.
    #[default]
    None,
    /// gzip. What is added later is a further member, which everything that reads gzip takes for the same file.
    Gzip,
    /// zstd. What is added later is a further frame of the same file.
    Zstd,
}

/// Packs one file.
pub struct Packer {
    packing: Packing,
    /// The member or frame that was begun.
    member: Option<Member>,
}

enum Member {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// At the end of a file, or of what was packed before.
    pub fn new(packing: Packing) -> Self {
        Packer { packing, member: None }
    }

    /// Whether something was begun that has no end yet.
    pub fn has_begun(&self) -> bool {
        self.member.is_some()
    }

    /// Packs bytes.
    pub fn write(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let member = match (&mut self.member, self.packing) {
            (_, Packing::None) => return out.write_all(bytes),
            (Some(member), _) => member,
            (none, packing) => none.insert(Member::new(packing)?),
        };
        let gathered = member.write(bytes)?;
        if gathered.len() >= GATHERED_BYTES {
            out.write_all(gathered)?;
            gathered.clear();
        }
        Ok(())
    }

    /// Ends what was begun: everything so far can be unpacked.
    pub fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        match self.member.take() {
            None => Ok(()),
            Some(Member::Gzip(encoder)) => out.write_all(&encoder.finish()?),
            Some(Member::Zstd(encoder)) => out.write_all(&encoder.finish()?),
        }
    }
}

impl Member {
    fn new(packing: Packing) -> io::Result<Self> {
        Ok(match packing {
            Packing::Zstd => {
                // Level 0 is the library's default.
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 0)?;
                encoder.include_checksum(true)?;
                Member::Zstd(encoder)
            }
            _ => Member::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default())),
        })
    }

    /// Packs bytes; what has been made so far.
    fn write(&mut self, bytes: &[u8]) -> io::Result<&mut Vec<u8>> {
        match self {
            Member::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                Ok(encoder.get_mut())
            }
            Member::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                Ok(encoder.get_mut())
            }
        }
    }
}
