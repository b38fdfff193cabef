//! What is known of an expression after reading it: the fields it touches, the places of its operations.

use crate::data::layout::FieldPath;

use super::fault::Sites;

/// One use of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    /// Which.
    pub path: FieldPath,
    /// Whether its value is used.
    pub read: bool,
    /// Whether it is written or removed.
    pub write: bool,
    /// Line and column.
    pub at: (usize, usize),
}

/// Where the first name of a field stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Root {
    /// The top-level field; `None` for `event` as a whole.
    pub field: Option<String>,
    /// Whether it is spelled `event.field` or `event["field"]`.
    pub through_event: bool,
    /// Line and column of the first name, `event` if it is spelled so.
    pub at: (usize, usize),
}

/// A member written inside maps that may not be there yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deepened {
    /// The byte after the `=`.
    pub after: usize,
    /// The local that holds the maps.
    pub local: String,
    /// The field that does, if it is one.
    pub field: Option<String>,
    /// The maps, from the outside in.
    pub members: Vec<String>,
}

/// What an expression does, apart from computing.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Every use of a field, in the order read.
    pub accesses: Vec<Access>,
    /// Where fields stand.
    pub roots: Vec<Root>,
    /// Locals and parameters with their places.
    pub locals: Vec<(String, (usize, usize))>,
    /// Where `event` is used as a whole, first place.
    pub whole: Option<(usize, usize)>,
    /// Whether it is written as a whole.
    pub whole_written: bool,
    /// Whether `state` is used.
    pub state: bool,
    /// Whether `vars` is used.
    pub vars: bool,
    /// Whether `drop()` is called.
    pub drops: bool,
    /// Whether `emit(value)` is called.
    pub emits_main: bool,
    /// Ports that `emit` names.
    pub emits: Vec<String>,
    /// Calls that stand for computed columns: the call's range in the text and its binding's number.
    pub bound: Vec<(std::ops::Range<usize>, usize)>,
    /// Names that stand for values of ours, as `acc` in a fold.
    pub named: Vec<String>,
    /// Left operands of `??` that are a variable or a chain: where they begin.
    pub coalesced: Vec<std::ops::Range<usize>>,
    /// Where a value is read in a script; with the field's name if it is a top-level field alone.
    pub copied: Vec<(std::ops::Range<usize>, Option<String>)>,
    /// What `catch` names: the byte at which its block begins, and the variable.
    pub caught: Vec<(usize, String)>,
    /// Members written inside maps.
    pub deepened: Vec<Deepened>,
    /// Places of operations.
    pub sites: Sites,
}

impl Facts {
    /// Every field path with whether it is read and whether it is written. Where something is written whole as well as
    /// in part, the parts are taken for the whole, so that both are one.
    pub(super) fn fields(&self) -> Vec<(FieldPath, bool, bool)> {
        let mut fields: Vec<(FieldPath, bool, bool)> = Vec::new();
        for access in &self.accesses {
            let path = self.widest(&access.path);
            match fields.iter_mut().find(|(p, ..)| p == path) {
                Some((_, read, write)) => {
                    *read |= access.read;
                    *write |= access.write;
                }
                None => fields.push((path.clone(), access.read, access.write)),
            }
        }
        // A part of a whole that is written must be read to be put back.
        let parts = |path: &FieldPath| self.accesses.iter().any(|a| a.path != *path && self.widest(&a.path) == path);
        for (path, read, _) in &mut fields {
            *read |= parts(path);
        }
        fields
    }

    /// Where among the uses a field is first written: new fields are added in this order.
    pub(super) fn first_write(&self, path: &FieldPath) -> usize {
        let is_write = |a: &Access| a.write && self.widest(&a.path) == path;
        self.accesses.iter().position(is_write).unwrap_or(usize::MAX)
    }

    /// The shortest path that stands for this one: itself, unless it overlaps with one and either is written.
    fn widest<'a>(&'a self, path: &'a FieldPath) -> &'a FieldPath {
        let written = |root: &FieldPath| {
            let first = root.names.first();
            self.accesses.iter().any(|a| a.write && a.path.root == root.root && a.path.names.first() == first)
        };
        let shorter = |a: &&super::facts::Access| a.path.overlaps(path) && a.path.names.len() < path.names.len();
        let shortest = self.accesses.iter().filter(shorter).min_by_key(|a| a.path.names.len());
        match shortest {
            Some(access) if written(path) => &access.path,
            _ => path,
        }
    }

    /// Whether a field is written both whole and in part, which only Rhai does.
    pub(super) fn mixes_parts(&self) -> bool {
        self.accesses.iter().any(|a| self.widest(&a.path) != &a.path)
    }
}
