//! What the step `parse` reads and where it goes.

use crate::data::format::Format;
use crate::data::layout::FieldId;

/// Reads the text of a field in a format of its own and puts what it finds into the event.
#[derive(Clone, PartialEq, Debug)]
pub struct Parse {
    /// The field that holds the text.
    pub field: FieldId,
    /// How the text is read.
    pub format: Format,
    /// The field that takes what was read; `None` if its fields join those of the event.
    pub into: Option<FieldId>,
    /// Whether the text stays.
    pub keep: bool,
}
