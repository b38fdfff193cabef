//! The command line: a file per verb. The only layer that knows clap.

mod check;
mod completions;
mod explain;
mod files;
mod graph;
mod load;
mod progress;
mod run;
mod schema;
mod summary;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A declarative stream processor in one binary.
#[derive(Parser, Debug)]
#[command(name = "millstream", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run pipelines to their end, or until interrupted.
    Run(run::Args),
    /// Say everything that is wrong with pipeline files, without running them.
    Check(check::Args),
    /// Run the tests that pipeline files hold, in virtual time and without any connector.
    Test(test::Args),
    /// Say in words what a pipeline does and what it can promise.
    Explain(explain::Args),
    /// Draw a pipeline.
    Graph(graph::Args),
    /// Write the JSON Schema of pipeline files, for editors.
    Schema(schema::Args),
    /// Write the completions of a shell.
    Completions(completions::Args),
}

/// What the process's exit code means.
const EXIT_CODES: &str = "Exit codes:
  0    everything went as asked
  1    a run or a test failed
  2    the command line or a pipeline file is wrong
  130  a run was stopped by a signal before its input ended";

/// Exit codes, as the help text documents them.
pub mod exit {
    /// Everything went as asked.
    pub const OK: u8 = 0;
    /// A run or a test failed.
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
        Verb::Check(args) => check::run(&args, &load::REGISTRY),
        Verb::Test(args) => test::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Graph(args) => graph::run(&args),
        Verb::Schema(args) => schema::run(&args, &load::REGISTRY),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
    };
    ExitCode::from(code)
}
