//! Speculating on a row's shape: rows of a stream mostly have the same members in the same order, so the text between
//! their values is the same from row to row. A shape holds that text and what becomes of the values; matching a row against
//! it compares sixteen bytes at a time, scans only the values and looks no name up.
//!
//! The idea is that of Y. Li, N. Katsipoulakis, B. Chandramouli, J. Goldstein, D. Kossmann, "Mison: a fast JSON parser for
//! data analytics" (VLDB 2017), and D. Bonetta, M. Brantner, "FAD.js: fast JSON data access using JIT-based speculative
//! optimizations" (VLDB 2017). Here the shapes of a stream form a tree in which shapes that begin alike share their steps, so
//! that members which come and go, values that change their kind and events of several kinds cost little. A row that
//! matches no shape goes to the general scanner, so a wrong guess costs time and
//! never an answer.

use wide::u8x16;

use super::columns::{Columns, NONE, Names};
use super::scalar::{WRONG, scalar_len, wanted};
use super::scan::Member;
use super::walk::Walker;
use crate::data::column::Place;

/// Values in a shape; a row with more is walked by the general scanner.
const SLOTS: usize = 512;
/// Steps of all shapes. Streams with more forms than this have none.
const STEPS: usize = 4_096;
/// Ways to go on from one step; names that are data make more.
const WAYS: usize = 24;
/// No step.
const NOWHERE: u32 = u32::MAX;

/// The forms that rows were seen to have.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// The first is the root's first way.
    steps: Vec<Step>,
    /// What [`Next::Other`] points at.
    others: Vec<Slot>,
}

/// Up to sixteen bytes between values, and what follows them.
#[derive(Clone, Copy, Debug)]
struct Step {
    bytes: u8x16,
    /// A bit for each byte that counts.
    mask: u32,
    /// How many count.
    len: u32,
    next: Next,
    /// Whether that is a scalar that nobody wants, which most are.
    plain: bool,
    /// The step after this one; [`NOWHERE`] at a row's end.
    then: u32,
    /// The step to try if this one does not match.
    instead: u32,
}

/// What follows the bytes of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// A scalar for a column, or for [`NONE`].
    Scalar(u16),
    /// The next step.
    Step,
    /// A value that more is to be done with.
    Other(u16),
    /// The end of the row's value.
    End(End),
}

/// What is to be known of a row's shape when it has matched.
#[derive(Clone, Copy, Debug, PartialEq)]
struct End {
    /// White space before the row's value.
    lead: u8,
    /// Whether lists or objects were read as a whole; only those may hold line ends.
    opaque: bool,
}

/// A row that has matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where its value begins.
    pub start: usize,
    /// One past where its value ends.
    pub end: usize,
    /// Whether there may be line ends in it.
    pub opaque: bool,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    /// Column of its value, or [`NONE`].
    column: u16,
    /// A list, or an object that is wanted as a whole: the wanted name and how many containers it lies in.
    container: Option<(u16, usize)>,
    /// Column of its place, or [`NONE`].
    place: u16,
    /// From the value back to its key's opening quote and to one past the closing one.
    key: (u32, u32),
}

/// Notes the shape of the row that the general scanner walks.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    slots: Vec<(usize, usize, Slot)>,
    met: Vec<u16>,
    given_up: bool,
}

impl Recorder {
    /// A row begins.
    pub fn begin(&mut self) {
        self.slots.clear();
        self.met.clear();
        self.given_up = false;
    }

    /// A member of a wanted name begins. A second of one name would have to undo what the first brought, which slots
    /// cannot do.
    pub fn meet(&mut self, node: u16) {
        self.given_up |= self.met.contains(&node);
        self.met.push(node);
    }

    /// A value from `start` to `end`; `container` with its wanted name and depth if it is a list or object.
    pub fn slot(
        &mut self,
        start: usize,
        end: usize,
        container: Option<(u16, usize)>,
        column: u16,
        key: Option<(u16, &Member)>,
    ) {
        if self.slots.len() >= SLOTS {
            self.given_up = true;
        }
        if self.given_up {
            return;
        }
        let back = |at: usize| u32::try_from(start - at).unwrap_or(u32::MAX);
        let (place, key) = key.map_or((NONE, (0, 0)), |(place, m)| (place, (back(m.key), back(m.key_end))));
        self.slots.push((start, end, Slot { column, container, place, key }));
    }
}

impl Shapes {
    /// Learns the shape that was noted of the row whose line begins at `start` and whose value lies in `value`. Whether it
    /// could be learned.
    pub fn learn(&mut self, noted: &Recorder, text: &str, start: usize, value: (usize, usize)) -> bool {
        if noted.given_up {
            return false;
        }
        if self.steps.len() >= STEPS {
            *self = Shapes::default();
        }
        self.insert(noted, text.as_bytes(), start, value).is_some()
    }

    fn insert(&mut self, noted: &Recorder, bytes: &[u8], start: usize, value: (usize, usize)) -> Option<()> {
        let lead = u8::try_from(value.0 - start).ok()?;
        let mut opaque = false;
        let (mut at, mut after) = (start, None);
        for (from, to, slot) in &noted.slots {
            opaque |= slot.container.is_some();
            let next = self.next(slot)?;
            after = self.literal(bytes.get(at..*from)?, next, after)?;
            at = *to;
        }
        self.literal(bytes.get(at..value.1)?, Next::End(End { lead, opaque }), after).map(|_| ())
    }

    fn next(&mut self, slot: &Slot) -> Option<Next> {
        if slot.container.is_none() && slot.place == NONE {
            return Some(Next::Scalar(slot.column));
        }
        let known = self.others.iter().position(|other| other == slot);
        let number = known.unwrap_or_else(|| {
            self.others.push(*slot);
            self.others.len() - 1
        });
        u16::try_from(number).ok().map(Next::Other)
    }

    /// Adds the steps of a literal after a step, or at the root: the last of them.
    fn literal(&mut self, literal: &[u8], next: Next, mut after: Option<u32>) -> Option<Option<u32>> {
        let mut rest = literal;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(16));
            let mut bytes = [0u8; 16];
            for (to, from) in bytes.iter_mut().zip(piece) {
                *to = *from;
            }
            let next = if more.is_empty() { next } else { Next::Step };
            let step = Step {
                bytes: u8x16::new(bytes),
                mask: (1 << piece.len()) - 1,
                len: piece.len() as u32,
                next,
                plain: next == Next::Scalar(NONE),
                then: NOWHERE,
                instead: NOWHERE,
            };
            after = Some(self.way(step, after)?);
            rest = more;
            if rest.is_empty() {
                return Some(after);
            }
        }
    }

    /// The way from a step, or from the root, that is the same as `step`; a new one if there is none.
    fn way(&mut self, step: Step, after: Option<u32>) -> Option<u32> {
        let new = u32::try_from(self.steps.len()).ok()?;
        let mut at = match after {
            Some(after) => self.steps.get(after as usize)?.then,
            None if self.steps.is_empty() => NOWHERE,
            None => 0,
        };
        if at == NOWHERE {
            self.steps.push(step);
            if let Some(after) = after {
                self.steps.get_mut(after as usize)?.then = new;
            }
            return Some(new);
        }
        for _ in 0..WAYS {
            let known = self.steps.get_mut(at as usize)?;
            if known.bytes == step.bytes && known.mask == step.mask && known.next == step.next {
                return Some(at);
            }
            if known.instead == NOWHERE {
                known.instead = new;
                self.steps.push(step);
                return Some(new);
            }
            at = known.instead;
        }
        None
    }

    /// Matches the row whose line begins at `start`, writing its wanted values. `None` if the row has another form or is
    /// not JSON; what was written by then is to be cleared.
    ///
    /// This is the innermost loop of the program: what is rare stands in functions of its own, so that the loop keeps its
    /// few values in registers.
    #[inline(always)]
    pub fn read(&self, text: &str, start: usize, names: &Names, columns: &mut Columns) -> Option<Found> {
        let bytes = text.as_bytes();
        let mut rest = bytes.get(start..)?;
        let mut step = self.steps.first()?;
        loop {
            let window = u8x16::new(*rest.first_chunk::<16>()?);
            if !window.simd_eq(step.bytes).to_bitmask() & step.mask == 0 {
                let value = rest.get(step.len as usize..)?;
                let len = if step.plain {
                    scalar_len(value)
                } else if let Next::End(End { lead, opaque }) = step.next {
                    let (start, end) = (start + usize::from(lead), bytes.len() - value.len());
                    return Some(Found { start, end, opaque });
                } else {
                    self.value(step.next, text, value, names, columns)
                };
                if let Some(after) = value.get(len..) {
                    rest = after;
                    step = self.steps.get(step.then as usize)?;
                    continue;
                }
            }
            // Beyond the last way there is no step, and the row has another form.
            step = self.steps.get(step.instead as usize)?;
        }
    }

    /// How long a value is that is wanted, or that is none; [`WRONG`] if it is not what is expected.
    #[inline(always)]
    fn value(&self, next: Next, text: &str, value: &[u8], names: &Names, columns: &mut Columns) -> usize {
        match next {
            Next::Scalar(column) => wanted(text, value, column, columns),
            Next::Other(other) => match self.others.get(usize::from(other)) {
                Some(slot) => slot.read(text, text.len() - value.len(), names, columns),
                None => WRONG,
            },
            Next::Step | Next::End(_) => 0,
        }
    }
}

impl Slot {
    /// Reads the value at `from`: how long it is, or [`WRONG`].
    #[inline(never)]
    fn read(&self, text: &str, from: usize, names: &Names, columns: &mut Columns) -> usize {
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        let len = match self.container {
            Some((node, depth)) => {
                let end = Walker { text, names, columns, recorder: None }.value(from, depth, node, None);
                end.map_or(WRONG, |end| end - from)
            }
            None if self.column == NONE => scalar_len(rest),
            None => wanted(text, rest, self.column, columns),
        };
        if self.place != NONE && len != WRONG {
            let place = Place {
                start: (from as u32).wrapping_sub(self.key.0),
                key_end: (from as u32).wrapping_sub(self.key.1),
                value_start: from as u32,
                value_end: (from + len) as u32,
            };
            columns.set_place(self.place, place);
        }
        len
    }
}
