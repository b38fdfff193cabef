//! `millstream run`.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::engine::lower::{Lowering, lower};
use crate::engine::run::{Options, Outcome, run as run_job};

use super::{exit, load};

/// Runs pipelines.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Worker threads; the output is the same with any number.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

/// Runs each file.
pub fn run(args: &Args) -> u8 {
    for file in &args.files {
        let loaded = load::load(file, Severity::Error);
        for d in &loaded.found.list {
            eprintln!("{d:?}");
        }
        let Some(pipeline) = loaded.pipeline else { return exit::USAGE };
        let workers = args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
        let result = (|| {
            let graph = lower(&pipeline.plan, Lowering { shares: workers, track: false })?;
            let order = graph.sink_nodes();
            let sinks = load::open_sinks(&pipeline, &order)?;
            let inputs = load::open_sources(&pipeline)?;
            Ok::<_, String>(run_job(graph, inputs, sinks, &Options { workers }, None, &mut |_| {}))
        })();
        match result {
            Ok(summary) => {
                for (node, entry) in pipeline.plan.nodes.iter().zip(&summary.entries) {
                    eprintln!("{} {:?}", node.name, entry);
                }
                if let Outcome::Failed(why) = summary.outcome {
                    eprintln!("error: {why}");
                    return exit::FAILED;
                }
            }
            Err(why) => {
                eprintln!("error: {why}");
                return exit::FAILED;
            }
        }
    }
    exit::OK
}
