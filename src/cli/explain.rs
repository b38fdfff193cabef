//! `millstream explain`: a plan in words.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::plan::demand::demand;
use crate::plan::explain::explain;
use crate::plan::guarantees::guarantees;

use super::exit;
use super::load::{load, print};

/// Options of `explain`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What holds on every way from a source to a sink when the run is interrupted: how often an event has its effect, why,
    /// and what would make it hold better.
    #[arg(long)]
    guarantees: bool,
}

/// Explains the file.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    if args.guarantees {
        return print(&guarantees(&pipeline.plan));
    }
    let demands = demand(&pipeline.plan);
    print(&explain(&pipeline.plan, &|node, port| demands.of(node, port)))
}
