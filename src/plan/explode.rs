//! Which list the step `explode` takes apart.

use crate::data::layout::FieldId;

/// Makes an event for each element of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Explode {
    /// The list.
    pub field: FieldId,
    /// The field that takes an element; the list's own name unless the author gave another.
    pub to: FieldId,
    /// Whether an event without elements goes on, without the list.
    pub keep_empty: bool,
}
