//! What leaves a flow at an exit, put together from parts and cut apart.

use std::ops::Range;

use crate::connector::Encoded;
use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::weave::Pick;

/// What leaves a flow at an exit.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// Rows for a step with state, with the hash of each row's key.
    Rows(Batch, Vec<u64>),
    /// Rows for a sink, with their ordinals.
    Lines(Vec<u32>, Encoded),
}

impl Parcel {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        match self {
            Parcel::Rows(batch, _) => batch.rows,
            Parcel::Lines(ordinals, _) => ordinals.len(),
        }
    }

    /// The ordinals of its rows.
    pub fn ordinals(&self) -> &[u32] {
        match self {
            Parcel::Rows(batch, _) => &batch.ordinals,
            Parcel::Lines(ordinals, _) => ordinals,
        }
    }

    /// Just these rows.
    #[must_use]
    pub fn rows_of(&self, rows: Range<u32>) -> Parcel {
        let range = rows.start as usize..rows.end as usize;
        match self {
            Parcel::Rows(batch, hashes) => {
                let rows: Vec<u32> = rows.collect();
                Parcel::Rows(batch.select(&rows), hashes.get(range).unwrap_or_default().to_vec())
            }
            Parcel::Lines(ordinals, lines) => {
                let picks: Vec<Pick> = rows.map(|row| Pick { part: 0, row }).collect();
                Parcel::Lines(ordinals.get(range).unwrap_or_default().to_vec(), weave_lines(&[lines], &picks))
            }
        }
    }
}

/// Puts lines of several parcels in an order: part and row.
pub fn weave_lines(parts: &[&Encoded], order: &[Pick]) -> Encoded {
    let templates = parts.iter().map(|e| e.rendered.len()).max().unwrap_or(0);
    let mut woven = Encoded { rendered: vec![Vec::with_capacity(order.len()); templates], ..Encoded::default() };
    for pick in order {
        let Some(part) = parts.get(pick.part as usize) else { continue };
        let row = pick.row as usize;
        let start = row.checked_sub(1).and_then(|before| part.ends.get(before)).copied().unwrap_or(0) as usize;
        let end = part.ends.get(row).copied().unwrap_or(0) as usize;
        woven.text.extend_from_slice(part.text.get(start..end).unwrap_or_default());
        woven.ends.push(as_u32(woven.text.len()));
        for (texts, from) in woven.rendered.iter_mut().zip(&part.rendered) {
            texts.extend(from.get(row).cloned());
        }
        woven.times.extend(part.times.get(row));
        woven.ids.extend(part.ids.get(row));
    }
    woven
}
