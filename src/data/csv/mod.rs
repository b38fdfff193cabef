//! CSV: records to batches ([`Decoder`]) and back ([`Encoder`]). Quotes are read as the `csv` crate reads them: one opens
//! only at the start of a field, and text after a closing one is taken as it stands.

mod quotes;
mod read;
mod write;

pub(super) use quotes::Quotes;
pub use read::{Decoder, Header, header};
pub use write::Encoder;
