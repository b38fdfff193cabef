//! The state database of a pipeline: everything that a run needs to go on where its last checkpoint left it, and the rows
//! that nobody could take. One SQLite file a pipeline; one process writes it ([`StateFile`]), others may read beside it
//! ([`StateReader`]).
//!
//! # What is in the file
//! `.schema` in the `sqlite3` shell says what each table and column is ([`schema`]). Rows of people's interest are plain:
//! `run`, `partition`, `step`, `mark`, `ledger`, `dead_letter`, `returned`. What steps keep by key is packed ([`chunk`]), because a row
//! a key would cost a page a key: a *chunk* holds the rows of a step that changed in one checkpoint, of one *slice* of the
//! keys. In a slice there is at most one *base*, which holds everything that was known when it was made; the chunks after it
//! hold what changed since. When they are many the newest are merged, when they outgrow half the base all of them into a new
//! one ([`StateFile::compact`]).
//!
//! # Damage is found
//! A chunk, a dead letter and a row that came back to a sink carry a checksum. Of all other rows, and of which chunks there are, the run's row holds a
//! digest: the sum of a hash of each row, so that it is kept up with what changes. It is compared whenever the file is
//! opened. What does not fit is refused with a sentence; nothing is ever guessed.
//!
//! # Durable
//! Commits are synced (WAL, `synchronous` FULL) before they return. Compacting is not, for it changes no content: the next
//! commit syncs what came before it. A file comes to be under another name and is renamed when it is whole, so an empty or
//! half-made one is never taken for a new one.

mod backup;
mod chunk;
mod content;
mod fault;
mod file;
mod index;
mod letters;
mod lock;
mod reader;
mod returned;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;

pub use backup::copy;
pub use content::{Kept, Part};
pub use fault::StateError;
pub use file::StateFile;
pub use letters::{Filter, Letter, Totals};
pub use lock::{Held, Holder, Lock};
pub use reader::{StateReader, StepSize};
pub use returned::ReturnedReader;
