//! The schema that the step `validate` holds events against.

/// Lets events pass that fit a JSON Schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validate {
    /// The schema's JSON text; it compiles.
    pub schema: String,
    /// The file it is in; `None` if it stands in the pipeline.
    pub file: Option<String>,
}
