//! What every layer stands on: time, diagnostics, positioned trees, name suggestions and the limits with their reasons.
//! Knows nothing of events, pipelines or the world outside.

pub mod decode;
pub mod diag;
pub mod limit;
pub mod render;
pub mod suggest;
pub mod time;
pub mod tree;
pub mod xml;
