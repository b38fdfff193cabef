//! Pipelines that run: opening what one needs, running it, and everything that one process knows of many of them.

pub mod access;
pub mod alerts;
pub mod api;
mod arrived;
pub mod audit;
pub mod client;
pub mod daemon;
pub mod interrupts;
pub mod letters;
pub mod levels;
pub mod links;
pub mod metrics;
pub mod open;
pub mod own;
pub mod pipelines;
pub mod plan;
pub mod rates;
pub mod run;
pub mod seen;
pub mod spell;
pub mod states;
pub mod supervised;
pub mod tap;
pub mod why;
