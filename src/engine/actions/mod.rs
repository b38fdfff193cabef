//! What stateless steps do to a batch, a file each: the larger ones.

pub mod join;
pub mod sample;
