//! MessagePack: where values end ([`Values`]), values as JSON text ([`read`]), rows as values ([`encode`]).
//!
//! What a byte begins: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

mod frame;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use frame::{Values, ends};
pub(super) use read::{RESERVED, read};
pub use write::encode;

/// One value as JSON text: bytes in base64, a name that is a number as text. The error is a clause.
pub fn as_json(bytes: &[u8]) -> Result<String, String> {
    let mut text = Vec::new();
    read(bytes, &mut text).map_err(|(at, why)| format!("{why} (byte {at})"))?;
    String::from_utf8(text).map_err(|e| e.to_string())
}

/// What an item is: a scalar, or how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Nil,
    Bool(bool),
    Int(i64),
    /// Beyond what an `i64` holds, or not.
    Unsigned(u64),
    Single(f32),
    Double(f64),
    /// Text of so many bytes.
    Text(usize),
    /// So many bytes.
    Binary(usize),
    /// So many bytes of a type of its own.
    Extension(i8, usize),
    /// So many items.
    List(usize),
    /// So many pairs of items.
    Map(usize),
}

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoItem {
    /// Its bytes have not all come.
    Short,
    /// No item begins with the byte 0xc1.
    Reserved,
}

impl Item {
    /// How many bytes follow that belong to it, and how many items.
    fn holds(self) -> (usize, u64) {
        match self {
            Item::Text(bytes) | Item::Binary(bytes) | Item::Extension(_, bytes) => (bytes, 0),
            Item::List(items) => (0, items as u64),
            Item::Map(pairs) => (0, pairs as u64 * 2),
            _ => (0, 0),
        }
    }
}

/// The item that begins at `at`, and one past what says what it is: there its bytes or items begin.
fn item(bytes: &[u8], at: usize) -> Result<(Item, usize), NoItem> {
    let first = *bytes.get(at).ok_or(NoItem::Short)?;
    let at = at + 1;
    let size = |width: usize| unsigned(bytes, at, width).map(|size| (size as usize, at + width));
    let extension = |(size, at): (usize, usize)| {
        let [kind] = array(bytes, at)?;
        Ok((Item::Extension(i8::from_be_bytes([kind]), size), at + 1))
    };
    Ok(match first {
        0x00..=0x7f => (Item::Int(i64::from(first)), at),
        0x80..=0x8f => (Item::Map(usize::from(first & 0x0f)), at),
        0x90..=0x9f => (Item::List(usize::from(first & 0x0f)), at),
        0xa0..=0xbf => (Item::Text(usize::from(first & 0x1f)), at),
        0xc0 => (Item::Nil, at),
        0xc1 => return Err(NoItem::Reserved),
        0xc2 | 0xc3 => (Item::Bool(first == 0xc3), at),
        0xc4..=0xc6 => size(1 << (first - 0xc4)).map(|(size, at)| (Item::Binary(size), at))?,
        0xc7..=0xc9 => size(1 << (first - 0xc7)).and_then(extension)?,
        0xca => (Item::Single(f32::from_be_bytes(array(bytes, at)?)), at + 4),
        0xcb => (Item::Double(f64::from_be_bytes(array(bytes, at)?)), at + 8),
        0xcc..=0xcf => {
            let width = 1 << (first - 0xcc);
            (Item::Unsigned(unsigned(bytes, at, width)?), at + width)
        }
        0xd0 => (Item::Int(i64::from(i8::from_be_bytes(array(bytes, at)?))), at + 1),
        0xd1 => (Item::Int(i64::from(i16::from_be_bytes(array(bytes, at)?))), at + 2),
        0xd2 => (Item::Int(i64::from(i32::from_be_bytes(array(bytes, at)?))), at + 4),
        0xd3 => (Item::Int(i64::from_be_bytes(array(bytes, at)?)), at + 8),
        0xd4..=0xd8 => extension((1 << (first - 0xd4), at))?,
        0xd9..=0xdb => size(1 << (first - 0xd9)).map(|(size, at)| (Item::Text(size), at))?,
        0xdc | 0xdd => size(2 << (first - 0xdc)).map(|(size, at)| (Item::List(size), at))?,
        0xde | 0xdf => size(2 << (first - 0xde)).map(|(size, at)| (Item::Map(size), at))?,
        0xe0..=0xff => (Item::Int(i64::from(i8::from_be_bytes([first]))), at),
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NoItem> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(NoItem::Short)
}

/// A number of `width` bytes, the highest first.
fn unsigned(bytes: &[u8], at: usize, width: usize) -> Result<u64, NoItem> {
    let digits = bytes.get(at..at + width).ok_or(NoItem::Short)?;
    Ok(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}
