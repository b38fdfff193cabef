pub mod base;
pub mod config;
pub mod connector;
pub mod connectors;
pub mod data;
pub mod expr;
pub mod plan;
