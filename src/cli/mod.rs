//! The command line: a file per verb. The only layer that knows clap.

mod load;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A declarative stream processor in one binary.
#[derive(Parser, Debug)]
#[command(name = "millstream", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run pipelines to their end, or until interrupted.
    Run(run::Args),
}

/// Exit codes, as `millstream help` documents them.
pub mod exit {
    /// Everything went as asked.
    pub const OK: u8 = 0;
    /// The run failed.
    pub const FAILED: u8 = 1;
    /// The command line or a pipeline file is wrong.
    pub const USAGE: u8 = 2;
    /// The run was stopped by a signal before its input ended.
    pub const STOPPED: u8 = 130;
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.verb {
        Verb::Run(args) => run::run(&args),
    };
    ExitCode::from(code)
}
