//! What every layer stands on: time, diagnostics, positioned trees, name suggestions, the limits with their
//! reasons, points of failure for tests and the fuzzer, and the tasks of the process. Knows nothing of events, pipelines or
//! the world outside.

pub mod decode;
pub mod diag;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod promise;
pub mod render;
pub mod suggest;
pub mod sum;
pub mod system;
pub mod tasks;
pub mod time;
pub mod tree;
pub mod xml;
