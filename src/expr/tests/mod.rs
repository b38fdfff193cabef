//! Tests of the language's rules, each run both compiled and in Rhai.

mod agree;
mod harness;
mod places;
mod rules;
