//! CSV: records to batches and back.

mod read;

pub use read::header;
