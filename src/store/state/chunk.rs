//! The rows of a step as bytes: sorted by hash and key, packed, with a version. What the bytes are stands in
//! [`super::schema`], at the column they are in.

use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::Compressor;

use crate::store::rows::Item;

/// Slices of the keys; each has its base and what changed since.
pub(super) const SLICES: usize = 16;
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Version, kind and size.
const HEAD: usize = 10;
/// Higher levels cost more time than the disk they save.
const LEVEL: i32 = 1;
/// Fewer bytes are kept as they are: packing them costs more than it saves.
const WORTH_PACKING: usize = 128;
/// No byte of zstd stands for more: a block of one repeated byte is 128 KiB in 4.
const MOST_PACKED: u64 = 32_768;

/// The slice of a key's hash.
pub(super) fn slice_of(hash: u64) -> usize {
    (hash >> 60) as usize
}

/// A chunk ready to be written.
pub(super) struct Packed {
    pub(super) data: Vec<u8>,
    pub(super) rows: u64,
    pub(super) checksum: u64,
}

/// The checksum of a chunk's bytes.
pub(super) fn checksum(data: &[u8]) -> u64 {
    xxh3_64(data)
}

/// Makes chunks, one after the other.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
    rows: u64,
}

impl Packer {
    /// One that is empty.
    pub(super) fn new() -> std::io::Result<Packer> {
        Ok(Packer { compressor: Compressor::new(LEVEL)?, plain: Vec::new(), rows: 0 })
    }

    /// Whether nothing was pushed.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forgets what was pushed.
    pub(super) fn clear(&mut self) {
        self.plain.clear();
        self.rows = 0;
    }

    /// Adds a row; they come in the order of hash and key, each key once.
    pub(super) fn push(&mut self, item: Item<'_>) {
        self.rows += 1;
        self.plain.extend_from_slice(&item.hash.to_le_bytes());
        write_size(item.key.len() as u64, &mut self.plain);
        self.plain.extend_from_slice(item.key);
        match item.value {
            None => self.plain.push(0),
            Some(value) => {
                write_size(value.len() as u64 + 1, &mut self.plain);
                self.plain.extend_from_slice(value);
            }
        }
    }

    /// Packs what was pushed, and is empty again.
    pub(super) fn finish(&mut self) -> std::io::Result<Packed> {
        let kind = if self.plain.len() < WORTH_PACKING { PLAIN } else { ZSTD };
        let mut data = vec![VERSION, kind];
        data.extend_from_slice(&(self.plain.len() as u64).to_le_bytes());
        match kind {
            PLAIN => data.extend_from_slice(&self.plain),
            _ => data.append(&mut self.compressor.compress(&self.plain)?),
        }
        let packed = Packed { checksum: checksum(&data), data, rows: self.rows };
        self.clear();
        Ok(packed)
    }
}

/// The bytes that a chunk packs. The error is a clause.
pub(super) fn unpack(data: &[u8]) -> Result<Vec<u8>, String> {
    let (Some([version, kind]), Some(size)) =
        (data.first_chunk::<2>(), data.get(2..HEAD).and_then(|s| s.first_chunk()))
    else {
        return Err("it is too short".into());
    };
    if *version != VERSION {
        return Err(format!("it is of format {version}, and this Millstream knows {VERSION}"));
    }
    let (size, body) = (u64::from_le_bytes(*size), data.get(HEAD..).unwrap_or_default());
    if size > MOST_PACKED * body.len() as u64 {
        return Err("it has not the size that it says".into());
    }
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    let plain = match *kind {
        PLAIN => body.to_vec(),
        ZSTD => zstd::bulk::decompress(body, size).map_err(|e| format!("it cannot be unpacked: {e}"))?,
        other => return Err(format!("it is packed in a way ({other}) that nobody knows")),
    };
    match plain.len() == size {
        true => Ok(plain),
        false => Err("it has not the size that it says".into()),
    }
}

/// The rows of an unpacked chunk.
pub(super) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// From the first.
    pub(super) fn of(plain: &'a [u8]) -> Items<'a> {
        Items { rest: plain }
    }

    /// The next one. The error is a clause.
    pub(super) fn next(&mut self) -> Result<Option<Item<'a>>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.read().map(Some).ok_or_else(|| "its rows have not the sizes that they say".into())
    }

    fn read(&mut self) -> Option<Item<'a>> {
        let (hash, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        let size = self.size()?;
        let key = self.bytes(size)?;
        let size = self.size()?;
        let value = match size.checked_sub(1) {
            None => None,
            Some(size) => Some(self.bytes(size)?),
        };
        Some(Item { hash: u64::from_le_bytes(*hash), key, value })
    }

    fn bytes(&mut self, size: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(size).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }

    fn size(&mut self) -> Option<u64> {
        let mut size = 0u64;
        for shift in (0..63).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            size |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(size);
            }
        }
        None
    }
}

fn write_size(mut size: u64, out: &mut Vec<u8>) {
    while size >= 0x80 {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

/// Why merging ended early.
pub(super) enum Stopped<E> {
    /// The chunk of this index is broken; a clause.
    Broken(usize, String),
    /// Whoever took the rows wanted no more.
    By(E),
}

/// Where reading an unpacked chunk is.
struct Head<'a> {
    index: usize,
    items: Items<'a>,
    item: Item<'a>,
    over: bool,
}

impl Head<'_> {
    fn advance(&mut self) -> Result<(), String> {
        match self.items.next()? {
            Some(next) if (next.hash, next.key) > (self.item.hash, self.item.key) => self.item = next,
            Some(_) => return Err("its rows are out of order".into()),
            None => self.over = true,
        }
        Ok(())
    }
}

/// Each key once, as the last of the unpacked chunks has it that has it, in the order of hash and key. The chunks come from
/// the oldest to the newest. Keys that are gone come too.
pub(super) fn merge<E>(chunks: &[Vec<u8>], each: &mut dyn FnMut(Item<'_>) -> Result<(), E>) -> Result<(), Stopped<E>> {
    let broken = |index| move |why| Stopped::Broken(index, why);
    let mut heads: Vec<Head<'_>> = Vec::with_capacity(chunks.len());
    for (index, chunk) in chunks.iter().enumerate() {
        let mut items = Items::of(chunk);
        if let Some(item) = items.next().map_err(broken(index))? {
            heads.push(Head { index, items, item, over: false });
        }
    }
    // Chunks are few: looking at all of them costs less than keeping them in a heap.
    while let Some(first) = heads.first() {
        let mut least = first.item;
        for Head { item, .. } in heads.iter().skip(1) {
            // Of equal ones the later counts.
            if item.hash < least.hash || (item.hash == least.hash && item.key <= least.key) {
                least = *item;
            }
        }
        each(least).map_err(Stopped::By)?;
        let mut over = false;
        for head in heads.iter_mut().filter(|head| head.item.hash == least.hash && head.item.key == least.key) {
            head.advance().map_err(broken(head.index))?;
            over |= head.over;
        }
        if over {
            heads.retain(|head| !head.over);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(items: &[(u64, Vec<u8>, Option<Vec<u8>>)]) -> Packed {
        let mut packer = Packer::new().unwrap();
        for (hash, key, value) in items {
            packer.push(Item { hash: *hash, key, value: value.as_deref() });
        }
        packer.finish().unwrap()
    }

    fn unpacked(data: &[u8]) -> Result<usize, String> {
        let plain = unpack(data)?;
        let (mut items, mut count) = (Items::of(&plain), 0);
        while items.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(
            rows in prop::collection::btree_map(
                (any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)),
                prop::option::of(prop::collection::vec(0u8..3, 0..300)),
                0..40,
            ),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|((hash, key), value)| (hash, key, value)).collect();
            let packed = packed(&rows);
            prop_assert_eq!(packed.rows, rows.len() as u64);
            let plain = [unpack(&packed.data).unwrap()];
            let mut found = Vec::new();
            let merged = merge::<()>(&plain, &mut |item| {
                found.push((item.hash, item.key.to_vec(), item.value.map(<[u8]>::to_vec)));
                Ok(())
            });
            prop_assert!(merged.is_ok());
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn bytes_that_nobody_packed_are_an_error_or_rows(
            head in (0u8..3, 0u8..3, any::<u64>(), 0u32..64),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (version, kind, size, shift) = head;
            let mut data = vec![version, kind];
            data.extend_from_slice(&(size >> shift).to_le_bytes());
            data.extend_from_slice(&body);
            let _ = unpacked(&data);
            let _ = unpacked(&body);
        }

        #[test]
        fn a_packed_chunk_that_is_changed_never_ends_the_program(at in any::<prop::sample::Index>(), to: u8) {
            let rows: Vec<_> = (0..50u64).map(|n| (n, vec![7; n as usize], Some(vec![9; 30]))).collect();
            let mut data = packed(&rows).data;
            let at = at.index(data.len());
            data[at] = to;
            let _ = unpacked(&data);
        }
    }
}
