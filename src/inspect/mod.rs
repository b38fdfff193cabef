//! Looking at data on its author's behalf: what fields its events have ([`fields`]), where their time stands and how far
//! they are out of order ([`times`], [`disorder`]). Reads from whatever it is given and writes pieces of pipeline files.

pub mod disorder;
pub mod fields;
pub mod records;
pub mod spelling;
pub mod times;
