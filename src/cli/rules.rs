//! `millstream rules`: what Prometheus is to call out for, of a daemon whose `/metrics` it reads.

use super::load::print;

/// Options of `rules`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Prints the rules.
pub fn run(_: &Args) -> u8 {
    print(include_str!("rules/millstream.rules.yaml"))
}
