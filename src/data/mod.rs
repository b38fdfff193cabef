//! Events and how they travel: values, field paths, columns, batches, and the formats they are read from and written to.
//! Knows nothing of pipelines, expressions or connectors.

pub mod batch;
pub mod calendar;
pub mod clock;
pub mod column;
pub mod csv;
pub mod format;
pub mod formats;
pub mod framing;
pub mod hash;
pub mod json;
pub mod layout;
pub mod msgpack;
pub mod validate;
pub mod value;
pub mod weave;
