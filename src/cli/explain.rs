//! `millstream explain`: a plan in words.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::plan::demand::demand;
use crate::plan::explain::explain;

use super::exit;
use super::load::{load, print};

/// Options of `explain`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Explains the file.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    let demands = demand(&pipeline.plan);
    print(&explain(&pipeline.plan, &|node, port| demands.of(node, port)))
}
