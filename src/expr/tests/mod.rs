//! Tests of the language's rules, each run both compiled and in Rhai.

mod agree;
mod facts;
mod families;
mod harness;
mod limits;
mod misuse;
mod order;
mod places;
mod rules;
mod speed;
mod types;
