//! Hashes of keys, the same in every release: state is kept and shared among workers by them.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::column::{Cell, Column};
use super::value::{Val, Value};

/// Changing it makes every stored state unreadable.
const SEED: u64 = 0x6d69_6c6c_7374_7265;
/// Of the second half of a digest.
const SECOND_SEED: u64 = 0x6469_6765_7374_5f32;
/// Mixes the parts of a key; odd, from the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// 2^63, exact.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// The hash of a key. Keys that [`super::value::compare`] finds equal have one hash: `1` and `1.0` do.
#[inline]
pub fn hash_key(parts: &[Val<'_>]) -> u64 {
    parts.iter().fold(0, |hash, part| join(hash, hash_val(*part, SEED)))
}

/// 128 bits that stand for a value: equal for values that [`super::value::compare`] finds equal, and for others only by an
/// accident that no stream lives to see.
pub fn digest(value: Val<'_>) -> [u64; 2] {
    [hash_val(value, SEED), hash_val(value, SECOND_SEED)]
}

/// 128 bits that stand for a row: for what it says and where it comes from.
pub fn row_id(place: u64, text: &[u8]) -> u128 {
    xxh3_128_with_seed(text, place)
}

/// Spreads hashes evenly and apart from what they otherwise decide, such as which worker has a key.
pub fn spread(hash: u64) -> u64 {
    xxh3_64_with_seed(&hash.to_le_bytes(), SECOND_SEED)
}

/// The hashes of the keys that the columns make in the first `rows` rows; the same as [`hash_key`] of each row's values.
pub fn hash_columns(columns: &[&Column], rows: usize, out: &mut Vec<u64>) {
    out.clear();
    out.resize(rows, 0);
    for column in columns {
        let text = column.text.as_bytes();
        // Mostly text, of which the bytes are enough.
        let of_cell = |cell: &Cell| match cell {
            Cell::Text { start, len } => {
                let start = *start as usize;
                xxh3_64_with_seed(text.get(start..start + *len as usize).unwrap_or_default(), SEED)
            }
            cell => hash_val(column.val(*cell), SEED),
        };
        let (there, beyond) = out.split_at_mut(column.cells.len().min(rows));
        for (hash, cell) in there.iter_mut().zip(&column.cells) {
            *hash = join(*hash, of_cell(cell));
        }
        for hash in beyond {
            *hash = join(*hash, of_cell(&Cell::Missing));
        }
    }
}

#[inline]
fn join(hash: u64, part: u64) -> u64 {
    (hash.rotate_left(5) ^ part).wrapping_mul(MIX)
}

#[inline]
fn hash_val(value: Val<'_>, seed: u64) -> u64 {
    match value {
        Val::Unit => tagged(0, &[], seed),
        Val::Bool(b) => tagged(1, &[u8::from(b)], seed),
        Val::Int(int) => tagged(2, &int.to_le_bytes(), seed),
        Val::Float(float) => hash_float(float, seed),
        Val::Text(text) => xxh3_64_with_seed(text.as_bytes(), seed),
        Val::Big(Value::Text(text)) => xxh3_64_with_seed(text.as_bytes(), seed),
        Val::Big(Value::Number(spelled)) => tagged(4, spelled.as_bytes(), seed),
        Val::Big(Value::List(items)) => {
            items.iter().fold(tagged(5, &[], seed), |hash, item| join(hash, hash_val(item.as_val(), seed)))
        }
        Val::Big(Value::Map(map)) => {
            // Objects are equal in any order of their members, so their hashes are added.
            let member = |name: &str, value: &Value| {
                join(xxh3_64_with_seed(name.as_bytes(), seed), hash_val(value.as_val(), seed)).wrapping_mul(MIX)
            };
            let members = map.0.iter().map(|(name, value)| member(name, value));
            join(tagged(6, &[], seed), members.fold(0, u64::wrapping_add))
        }
        Val::Big(other) => hash_val(other.as_val(), seed),
    }
}

/// A double that is a 64-bit integer hashes as that; `-0.0` is `0`.
fn hash_float(float: f64, seed: u64) -> u64 {
    if (-INT_END..INT_END).contains(&float) && float.fract() == 0.0 {
        return tagged(2, &(float as i64).to_le_bytes(), seed);
    }
    tagged(3, &float.to_bits().to_le_bytes(), seed)
}

fn tagged(tag: u64, bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed ^ tag.wrapping_mul(MIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::column::ColumnBuilder;
    use crate::data::value::compare;
    use proptest::prelude::*;

    #[test]
    fn stays_the_same_over_releases() {
        assert_eq!(hash_key(&[Val::Text("device-0421")]), 17_195_908_941_251_954_073);
        assert_eq!(hash_key(&[Val::Int(42), Val::Unit]), 13_411_383_688_496_401_806);
    }

    proptest! {
        #[test]
        fn equal_values_have_equal_hashes(int in -9_007_199_254_740_992i64..9_007_199_254_740_992, text in ".{0,40}") {
            let float = int as f64;
            prop_assert!(compare(Val::Int(int), Val::Float(float)).is_eq());
            prop_assert_eq!(hash_key(&[Val::Int(int)]), hash_key(&[Val::Float(float)]));
            let mut builder = ColumnBuilder::default();
            builder.push(Val::Text(&text));
            builder.push(Val::Int(int));
            let (column, mut hashes) = (builder.finish(), Vec::new());
            hash_columns(&[&column, &column], 2, &mut hashes);
            prop_assert_eq!(hashes[0], hash_key(&[Val::Text(&text), Val::Text(&text)]));
            prop_assert_eq!(hashes[1], hash_key(&[Val::Float(float), Val::Int(int)]));
            prop_assert_ne!(hashes[0], hashes[1]);
        }
    }
}
