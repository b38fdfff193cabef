//! Gathers the parts of each tick for a reader from whoever makes them, and puts them in order.
//!
//! Mostly a part is all that a maker has for a tick. A step that lets many rows go at once sends them in slices; then the
//! reader, too, is given the tick in slices: as far as is settled, because no row can come any more that stands before. So
//! the order is the same, and nobody is handed a million rows at once.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::connector::Encoded;
use crate::data::batch::Batch;
use crate::data::column::as_u32;
use crate::data::weave::{self, Pick};

use super::action::Tools;
use super::job::lock;
use super::ops::Ranks;
use super::parcel::{Parcel, weave_lines};

/// What one maker sends a reader for one tick.
#[derive(Clone, Debug)]
pub struct Part {
    /// The place of its maker among the reader's, in the order written, and which share of it.
    pub maker: (u32, u32),
    /// Rows, if there are any.
    pub parcel: Option<Parcel>,
    /// The true place of each row when the parcel's ordinals are indexes into this.
    pub ranks: Option<Arc<Ranks>>,
    /// More of the same tick follows from there, behind this in order.
    pub more: bool,
}

impl Part {
    fn rows(&self) -> u32 {
        self.parcel.as_ref().map_or(0, |parcel| as_u32(parcel.rows()))
    }

    /// Where a row stands.
    fn place(&self, row: u32) -> Option<Place> {
        let index = self.parcel.as_ref()?.ordinals().get(row as usize).copied()?;
        let ordinal = true_ordinal(self, index);
        Some(Place { ordinal, maker: self.maker.0, ranks: self.ranks.clone(), index })
    }
}

/// Where a row stands among those of a tick.
#[derive(Clone, Debug)]
struct Place {
    ordinal: u32,
    maker: u32,
    ranks: Option<Arc<Ranks>>,
    index: u32,
}

impl Place {
    fn compare(&self, other: &Place) -> Ordering {
        (self.ordinal, self.maker).cmp(&(other.ordinal, other.maker)).then_with(|| match (&self.ranks, &other.ranks) {
            (Some(ranks), Some(others)) => ranks.compare(self.index, others, other.index),
            _ => Ordering::Equal,
        })
    }
}

/// Which slice of a tick something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Counted from 0.
    pub number: u32,
    /// Rows in those before it.
    pub before: u32,
    /// Whether there are more.
    pub more: bool,
}

/// A tick and the slice of it that is next.
pub type Next = (u64, u32);

impl Slice {
    /// What follows this slice of a tick.
    pub fn after(self, sequence: u64) -> Next {
        if self.more { (sequence, self.number + 1) } else { (sequence + 1, 0) }
    }
}

/// Parts that a reader can take.
#[derive(Debug)]
pub struct Gathered {
    /// The parts; those of one maker in order.
    pub parts: Vec<Part>,
    /// Which slice of the tick they are.
    pub slice: Slice,
    /// The ordinals at which the watermark moves in this slice.
    pub ordinals: Range<u32>,
}

/// What a maker has sent for a tick.
#[derive(Debug)]
struct Sent {
    maker: (u32, u32),
    /// What was not handed on.
    parts: VecDeque<Part>,
    /// Where its last row stands.
    last: Option<Place>,
    whole: bool,
}

/// A tick whose parts have not all come.
#[derive(Debug, Default)]
struct Waiting {
    makers: Vec<Sent>,
    /// How many of them have sent all.
    whole: usize,
    /// The slice that is next.
    next: Slice,
    /// The ordinal up to which slices were handed on.
    reached: u32,
}

impl Waiting {
    fn take(&mut self, part: Part) {
        let at = self.makers.iter().position(|sent| sent.maker == part.maker).unwrap_or_else(|| {
            self.makers.push(Sent { maker: part.maker, parts: VecDeque::new(), last: None, whole: false });
            self.makers.len() - 1
        });
        let Some(sent) = self.makers.get_mut(at) else { return };
        self.whole += usize::from(!part.more);
        sent.whole = !part.more;
        if part.more {
            sent.last = part.rows().checked_sub(1).and_then(|row| part.place(row)).or(sent.last.take());
        }
        sent.parts.push_back(part);
    }

    /// The last row before which no other can come any more; there is none as long as it is not known of a maker that has
    /// not sent all how far it is.
    fn edge(&self) -> Option<&Place> {
        let mut least: Option<&Place> = None;
        for sent in self.makers.iter().filter(|sent| !sent.whole) {
            let last = sent.last.as_ref()?;
            least = Some(least.filter(|least| least.compare(last).is_le()).unwrap_or(last));
        }
        least
    }

    /// What is settled, if it is anything.
    fn settled(&mut self) -> Option<Gathered> {
        let edge = self.edge()?.clone();
        let mut parts = Vec::new();
        for sent in &mut self.makers {
            while let Some(part) = sent.parts.pop_front() {
                let (rows, settled) = (part.rows(), before(&part, &edge));
                if settled == rows {
                    parts.push(part);
                    continue;
                }
                let of = |rows: Range<u32>| Part {
                    parcel: part.parcel.as_ref().map(|parcel| parcel.rows_of(rows)),
                    ranks: part.ranks.clone(),
                    ..part
                };
                parts.extend((settled > 0).then(|| of(0..settled)));
                sent.parts.push_front(of(settled..rows));
                break;
            }
        }
        let rows: u32 = parts.iter().map(Part::rows).sum();
        if rows == 0 {
            return None;
        }
        let slice = Slice { more: true, ..self.next };
        self.next = Slice { number: slice.number + 1, before: slice.before.saturating_add(rows), more: false };
        // Rows at the edge's own ordinal may follow, and are judged against the watermark before it.
        let ordinals = self.reached..edge.ordinal;
        self.reached = edge.ordinal;
        Some(Gathered { parts, slice, ordinals })
    }

    fn rest(self) -> Gathered {
        let parts = self.makers.into_iter().flat_map(|sent| sent.parts).collect();
        Gathered { parts, slice: self.next, ordinals: self.reached..u32::MAX }
    }
}

/// How many rows of a part do not stand behind a place.
fn before(part: &Part, edge: &Place) -> u32 {
    let (mut from, mut to) = (0, part.rows());
    while from < to {
        let middle = from.midpoint(to);
        match part.place(middle) {
            Some(place) if place.compare(edge).is_le() => from = middle + 1,
            _ => to = middle,
        }
    }
    from
}

/// Gathers the parts of ticks.
#[derive(Debug)]
pub struct Gather {
    /// How many makers there are.
    expected: usize,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

impl Gather {
    /// For a reader whose ticks have this many makers.
    pub fn new(expected: usize) -> Self {
        Gather { expected, waiting: Mutex::new(HashMap::new()) }
    }

    /// Adds a part; what the reader can take then. Slices are numbered: they may be handed on out of order.
    pub fn add(&self, sequence: u64, part: Part) -> Option<Gathered> {
        let mut all = lock(&self.waiting);
        let waiting = all.entry(sequence).or_default();
        waiting.take(part);
        if waiting.whole == self.expected {
            return all.remove(&sequence).map(Waiting::rest);
        }
        if waiting.makers.len() == self.expected { waiting.settled() } else { None }
    }
}

/// The order of all rows of a tick: by what caused them, then by who made them, then by rank.
fn order_of(parts: &[Part]) -> Vec<Pick> {
    struct Row {
        ordinal: u32,
        pick: Pick,
        index: u32,
    }
    let mut rows: Vec<Row> = Vec::new();
    for (at, part) in (0u32..).zip(parts) {
        let ordinals = part.parcel.as_ref().map_or(&[][..], Parcel::ordinals);
        for (row, index) in (0u32..).zip(ordinals) {
            let ordinal = true_ordinal(part, *index);
            rows.push(Row { ordinal, pick: Pick { part: at, row }, index: *index });
        }
    }
    let maker = |row: &Row| parts.get(row.pick.part as usize).map_or(0, |p| p.maker.0);
    rows.sort_by(|a, b| {
        (a.ordinal, maker(a)).cmp(&(b.ordinal, maker(b))).then_with(|| {
            if a.pick.part == b.pick.part {
                return a.pick.row.cmp(&b.pick.row);
            }
            let ranks = |row: &Row| parts.get(row.pick.part as usize).and_then(|p| p.ranks.as_deref());
            match (ranks(a), ranks(b)) {
                (Some(x), Some(y)) => x.compare(a.index, y, b.index),
                _ => std::cmp::Ordering::Equal,
            }
        })
    });
    rows.into_iter().map(|row| row.pick).collect()
}

fn true_ordinal(part: &Part, index: u32) -> u32 {
    match &part.ranks {
        Some(ranks) => ranks.list.get(index as usize).map_or(0, |rank| rank.ordinal),
        None => index,
    }
}

/// Parts of batches put into one, with true ordinals, and the hashes of its rows.
pub fn gather_rows(mut parts: Vec<Part>, tools: &mut Tools) -> (Batch, Vec<u64>) {
    parts.retain(|p| p.parcel.as_ref().is_some_and(|parcel| parcel.rows() > 0));
    if let [only] = parts.as_mut_slice()
        && let Some(Parcel::Rows(mut batch, hashes)) = only.parcel.take()
    {
        for ordinal in &mut batch.ordinals {
            *ordinal = true_ordinal(only, *ordinal);
        }
        return (batch, hashes);
    }
    let order = order_of(&parts);
    let ordinals = order.iter().map(|pick| ordinal_of(&parts, *pick)).collect();
    let (mut batches, mut hashes) = (Vec::new(), Vec::new());
    for part in parts {
        if let Some(Parcel::Rows(batch, hash)) = part.parcel {
            batches.push(batch);
            hashes.push(hash);
        }
    }
    make_alike(&mut batches, tools);
    let mut batch = weave::weave(&batches, &order);
    batch.ordinals = ordinals;
    let hash = |pick: &Pick| hashes.get(pick.part as usize).and_then(|h| h.get(pick.row as usize)).copied();
    let hashes = order.iter().filter_map(hash).collect();
    (batch, hashes)
}

/// Writes edits into the text of batches that differ in them. Only nesting past the limit makes a row unreadable, and
/// rows fail at the step that would nest them deeper: no row is lost here.
pub fn make_alike(batches: &mut [Batch], tools: &mut Tools) {
    if !weave::alike(batches) {
        for batch in batches {
            *batch = tools.reread(batch).0;
        }
    }
}

/// Parts of lines put into one.
pub fn gather_lines(mut parts: Vec<Part>) -> Encoded {
    parts.retain(|p| p.parcel.as_ref().is_some_and(|parcel| parcel.rows() > 0));
    if let [only] = parts.as_mut_slice()
        && let Some(Parcel::Lines(_, lines)) = only.parcel.take()
    {
        return lines;
    }
    let order = order_of(&parts);
    let none = Encoded::default();
    let mut lines: Vec<&Encoded> = Vec::with_capacity(parts.len());
    for part in &parts {
        lines.push(match &part.parcel {
            Some(Parcel::Lines(_, lines)) => lines,
            _ => &none,
        });
    }
    weave_lines(&lines, &order)
}

fn ordinal_of(parts: &[Part], pick: Pick) -> u32 {
    let Some(part) = parts.get(pick.part as usize) else { return 0 };
    match &part.parcel {
        Some(Parcel::Rows(batch, _)) => true_ordinal(part, batch.ordinals.get(pick.row as usize).copied().unwrap_or(0)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::column::ColumnBuilder;
    use crate::data::value::Val;
    use crate::engine::ops::Rank;

    /// A slice of a share: rows of windows that close at an ordinal, by key.
    fn part(share: u32, rows: &[(u32, i64)], more: bool) -> Part {
        let (mut keys, mut ranks, mut lines) = (ColumnBuilder::default(), Ranks::default(), Encoded::default());
        for (at, (ordinal, key)) in (0u32..).zip(rows) {
            keys.push(Val::Int(*key));
            ranks.list.push(Rank { ordinal: *ordinal, turn: 0, at: 0, end: 0, key: at });
            lines.text.extend(format!("{key}\n").bytes());
            lines.ends.push(as_u32(lines.text.len()));
        }
        ranks.keys.push(Arc::new(keys.finish()));
        let parcel = Parcel::Lines((0..as_u32(rows.len())).collect(), lines);
        Part { maker: (7, share), parcel: Some(parcel), ranks: Some(Arc::new(ranks)), more }
    }

    #[test]
    fn slices_of_two_shares_are_handed_on_as_far_as_they_are_settled() {
        let gather = Gather::new(2);
        let mut said = Vec::new();
        let mut add = |part: Part| {
            let Some(Gathered { parts, slice, ordinals }) = gather.add(3, part) else { return said.push(None) };
            let text = String::from_utf8(gather_lines(parts).text).unwrap().replace('\n', " ");
            said.push(Some((text.trim().to_owned(), slice, ordinals)));
        };
        // Of the second share it is not known how far it is.
        add(part(0, &[(1, 10), (1, 30)], true));
        add(part(1, &[(1, 20), (1, 40)], true));
        // The first may still bring 35.
        add(part(0, &[], true));
        add(part(0, &[(1, 50), (2, 15)], false));
        add(part(1, &[(2, 11), (2, 12)], true));
        add(part(1, &[(2, 20)], false));
        let slice = |number, before, more| Slice { number, before, more };
        let expected = [
            None,
            Some(("10 20 30".to_owned(), slice(0, 0, true), 0..1)),
            None,
            Some(("40".to_owned(), slice(1, 3, true), 1..1)),
            Some(("50 11 12".to_owned(), slice(2, 4, true), 1..2)),
            Some(("15 20".to_owned(), slice(3, 7, false), 2..u32::MAX)),
        ];
        assert_eq!(said, expected);
        assert_eq!((slice(1, 3, true).after(3), slice(2, 4, false).after(3)), ((3, 2), (4, 0)));
    }
}
