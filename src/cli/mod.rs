//! The command line: a file per verb. The only layer that knows clap.

mod alerts;
mod apart;
mod backtest;
mod backup;
mod check;
mod completions;
mod ctl;
mod data;
mod dead_letters;
mod doctor;
mod explain;
mod files;
mod graph;
mod health;
mod infer;
mod links;
mod load;
mod log;
mod new;
mod notify;
mod output;
mod plan;
mod progress;
mod reference;
mod rules;
mod run;
mod schema;
mod serve;
mod signals;
mod state;
pub mod state_path;
mod status;
mod suggest;
mod summary;
mod table;
mod test;
mod token;
mod unit;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::state_path::{Beside, Target};

/// A declarative stream processor in one binary.
#[derive(Parser, Debug)]
#[command(name = "millstream", version, about, arg_required_else_help = true, after_help = exit_codes())]
struct Cli {
    /// A file with `receivers:` that the alerts of pipelines may name.
    #[arg(long, global = true, value_name = "FILE", env = "MILLSTREAM_CONFIG", hide_env_values = true)]
    config: Option<std::path::PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Write a pipeline to begin with: comments, tests and all.
    New(new::Args),
    /// Run pipelines to their end, or until interrupted.
    Run(run::Args),
    /// Run all pipelines of a directory for months, with an API and a page.
    Serve(serve::Args),
    /// Speak to a `serve` that runs.
    Ctl(ctl::Args),
    /// Say who may do what over the API of `serve`.
    Token(token::Args),
    /// Say how far a pipeline is and what became of its rows.
    Status(status::Args),
    /// Show what the steps of a pipeline keep by key.
    State(state::Args),
    /// Show what alerts fire, and what they did.
    Alerts(alerts::Args<Target>),
    /// Keep alerts from being told.
    Silence(alerts::SilenceArgs<Target>),
    /// Say that somebody knows of an alert: it is not told again until it is worse or over.
    Ack(alerts::AckArgs<Target>),
    /// Say why something is as it is.
    Why(why::Args<Target>),
    /// Say why nobody was told of an alert.
    WhyNot(alerts::WhyNotArgs<Target>),
    /// Try the receivers of alerts.
    Notify(notify::Args),
    /// Look at the rows that nobody could take.
    DeadLetters(dead_letters::Args<Target>),
    /// Say whether this machine is fit to run pipelines, and whether what they need is there.
    Doctor(doctor::Args),
    /// Copy what pipelines keep, while they run.
    Backup(backup::Args),
    /// Ask a daemon whether it is well.
    Health(health::Args),
    /// Write a systemd unit for a daemon.
    Unit(unit::Args),
    /// Write Prometheus rules for a daemon.
    Rules(rules::Args),
    /// Say what a run would go on from, and what it would have to forget.
    Plan(plan::Args),
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
    /// Show what there is: connectors, steps, windows, aggregates, functions, formats and keys.
    Reference(reference::Args),
    /// Write the completions of a shell.
    Completions(completions::Args),
    /// Write the `schema:` of a source from data.
    Infer(infer::Args),
    /// Propose parts of a pipeline from data.
    Suggest(suggest::Args),
}

/// What the help says of exit codes.
fn exit_codes() -> String {
    let line = |(code, about): &(u8, &str)| format!("\n  {code:<4} {about}");
    format!("Exit codes:{}", exit::CODES.iter().map(line).collect::<String>())
}

/// Exit codes.
pub mod exit {
    /// Everything went as asked.
    pub const OK: u8 = 0;
    /// A run or a test failed.
    pub const FAILED: u8 = 1;
    /// The command line or a pipeline file is wrong.
    pub const USAGE: u8 = 2;
    /// The run was stopped by a signal before its input ended.
    pub const STOPPED: u8 = 130;
    /// The run stopped because whoever read its standard output has gone; what a shell gives for SIGPIPE.
    pub const READER_GONE: u8 = 141;

    /// What each means.
    pub const CODES: [(u8, &str); 5] = [
        (OK, "everything went as asked"),
        (FAILED, "a run or a test failed"),
        (USAGE, "the command line or a pipeline file is wrong"),
        (STOPPED, "a run was stopped by a signal before its input ended"),
        (READER_GONE, "a run stopped because whoever read its standard output has gone (`| head`)"),
    ];
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = log::begin(matches!(cli.verb, Verb::Serve(_)));
    // A variable that is set to nothing names no file.
    if let Some(config) = cli.config.filter(|file| !file.as_os_str().is_empty()) {
        load::share(config);
    }
    let code = match cli.verb {
        Verb::New(args) => new::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Serve(args) => serve::run(&args, std::sync::Arc::new(log)),
        Verb::Ctl(args) => ctl::run(&args),
        Verb::Token(args) => token::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::State(args) => state::run(&args),
        Verb::Alerts(args) => alerts::run(&args, &Beside),
        Verb::Silence(args) => alerts::silence(&args, &Beside),
        Verb::Ack(args) => alerts::ack(&args, &Beside),
        Verb::Why(args) => why::run(&args, &Beside),
        Verb::WhyNot(args) => alerts::why_not(&args, &Beside),
        Verb::Notify(args) => notify::run(&args),
        Verb::DeadLetters(args) => dead_letters::run(&args, &Beside),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Backup(args) => backup::run(&args),
        Verb::Health(args) => health::run(&args),
        Verb::Unit(args) => unit::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Graph(args) => graph::run(&args),
        Verb::Schema(args) => schema::run(&args, &crate::service::open::REGISTRY),
        Verb::Reference(args) => reference::run(&args, &crate::service::open::REGISTRY),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
        Verb::Infer(args) => infer::run(&args),
        Verb::Suggest(args) => suggest::run(&args),
    };
    ExitCode::from(code)
}
