//! Pipelines that run: opening what one needs, running it, and everything that one process knows of many of them.

pub mod interrupts;
pub mod links;
pub mod open;
pub mod pipelines;
pub mod run;
pub mod supervised;
