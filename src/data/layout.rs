//! Field names become column numbers once, when a plan is made; nothing looks a name up per event.

use compact_str::CompactString;
use indexmap::IndexSet;

/// What a path begins at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Root {
    /// A field of the event: `site.floor`.
    Event,
    /// Metadata of the event: `meta.path`. Never written to outputs.
    Meta,
    /// A column that a step computes for itself (a key, an aggregate's argument). Never written to outputs.
    Computed,
}

/// Where a value stands in an event: member names from the outside in. An empty event path is the whole event.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct FieldPath {
    /// What the path begins at.
    pub root: Root,
    /// Member names from the outside in.
    pub names: Vec<CompactString>,
}

impl FieldPath {
    /// A path of event members from names.
    pub fn event<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        FieldPath { root: Root::Event, names: names.into_iter().map(|n| CompactString::from(n.as_ref())).collect() }
    }

    /// A path from its dotted spelling, `site.floor`; names here hold no dots.
    pub fn dotted(text: &str) -> Self {
        Self::event(text.split('.'))
    }

    /// A path of metadata, `path` for `meta.path`.
    pub fn meta(name: &str) -> Self {
        FieldPath { root: Root::Meta, names: vec![name.into()] }
    }

    /// Whether one lies inside the other and they are not the same: writing one changes the other.
    pub fn overlaps(&self, other: &FieldPath) -> bool {
        self.root == other.root
            && self.names.len() != other.names.len()
            && self.names.iter().zip(&other.names).all(|(a, b)| a == b)
    }
}

/// As an author writes it: `site.floor`, `meta.path`.
impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.root {
            Root::Event if self.names.is_empty() => return f.write_str("event"),
            Root::Event => {}
            Root::Meta => f.write_str("meta.")?,
            Root::Computed => f.write_str("computed.")?,
        }
        f.write_str(&self.names.join("."))
    }
}

/// The number of a field in its pipeline's [`Layout`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct FieldId(pub u16);

impl FieldId {
    /// As an index into a batch's columns.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Every field that a pipeline names, numbered in order of first mention. One for the whole pipeline.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layout {
    fields: IndexSet<FieldPath>,
}

impl Layout {
    /// The number of a path, a new one if it has none. `None` when a pipeline names more fields than
    /// [`crate::base::limit::FIELDS`].
    pub fn intern(&mut self, path: FieldPath) -> Option<FieldId> {
        if self.fields.len() >= crate::base::limit::FIELDS && !self.fields.contains(&path) {
            return None;
        }
        let (index, _) = self.fields.insert_full(path);
        u16::try_from(index).ok().map(FieldId)
    }

    /// The number of a path that was interned.
    pub fn find(&self, path: &FieldPath) -> Option<FieldId> {
        self.fields.get_index_of(path).and_then(|i| u16::try_from(i).ok()).map(FieldId)
    }

    /// The path of a number.
    pub fn path(&self, id: FieldId) -> Option<&FieldPath> {
        self.fields.get_index(id.index())
    }

    /// How many fields there are; a batch has as many column places.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether no field is named at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Every field with its number.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, &FieldPath)> {
        (0u16..).map(FieldId).zip(&self.fields)
    }
}

/// What must be known of the rows on an edge of the graph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Fields whose values something downstream reads, ascending.
    pub values: Vec<FieldId>,
    /// Top-level fields whose place in the row's text a writer needs, because a step sets, removes, keeps or renames them, ascending.
    pub places: Vec<FieldId>,
    /// Whether rows leave as events somewhere downstream (a sink, a script that reads `event`), so that their text must be kept.
    pub body: bool,
}

impl Demand {
    /// What two readers of one edge need together.
    pub fn union(&mut self, other: &Demand) {
        merge(&mut self.values, &other.values);
        merge(&mut self.places, &other.places);
        self.body |= other.body;
    }

    /// Adds a field whose value is read.
    pub fn value(&mut self, field: FieldId) {
        merge(&mut self.values, &[field]);
    }

    /// Adds a field whose place is needed.
    pub fn place(&mut self, field: FieldId) {
        merge(&mut self.places, &[field]);
    }
}

fn merge(into: &mut Vec<FieldId>, from: &[FieldId]) {
    into.extend_from_slice(from);
    into.sort_unstable();
    into.dedup();
}
