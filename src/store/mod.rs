//! What is kept in files beside the streams: the only place that knows SQLite. These are the state of a pipeline
//! ([`state`]), whose rows everybody knows ([`rows`]), the tables that rows are enriched from: a CSV file in memory
//! ([`csv_table`]), followed when it changes ([`followed`]), and a SQLite database that is asked ([`database`]); one whose
//! new rows are read ([`growing`]), and one that rows are written to ([`target`]); and the journal of what came in and
//! cannot be read again ([`journal`]).

pub mod control;
pub mod csv_table;
pub mod database;
pub mod followed;
pub mod growing;
mod identity;
pub mod journal;
mod key;
pub mod rows;
pub mod state;
pub mod target;

pub use key::Key;
