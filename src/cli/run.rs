//! `millstream run`: pipelines to their end, or until interrupted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::diag::{Diagnostics, Severity};
use crate::base::tasks;
use crate::base::time::Timestamp;
use crate::config::Pipeline;
use crate::engine::run::{Handle, Outcome, Summary, wall_clock};
use crate::service;
use crate::service::open::state_path;
use crate::service::run::{Ended, Setup, Start, Voice};

use super::load::{load, say, show};
use super::progress::{EVERY, Progress};
use super::state_path::DataDirectory;
use super::{backtest, exit, signals, summary};

/// Options of `run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files, run one after the other.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Worker threads; the output is the same with any number.
    #[arg(long, value_name = "N", env = "MILLSTREAM_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Say nothing but errors.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    data: DataDirectory,
    /// Begin anew instead of going on with a run that was stopped or killed. Dead letters stay.
    #[arg(long)]
    fresh: bool,
    /// Forget what this step keeps, because it means something else now or the step is gone, or what a sink that is gone has
    /// still to send; may be given several times.
    #[arg(long, value_name = "NAME")]
    reset_state: Vec<String>,
    #[command(flatten)]
    backtest: backtest::Options,
}

/// Runs the files in turn; the first that fails ends it.
pub fn run(args: &Args) -> u8 {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = args.workers.map_or_else(available, usize::from);
    // Every file is read before the first one runs: a mistake in the last should not wait for the others' input.
    let pipelines: Vec<_> = args.files.iter().map(|file| load(file, Severity::Error)).collect();
    for pipeline in pipelines {
        let Some(pipeline) = pipeline else { return exit::USAGE };
        let ran = match args.backtest.backtest {
            true => backtest::run(&pipeline, &args.backtest),
            false => run_one(&pipeline, workers, args),
        };
        let code = match ran {
            Ok(code) => code,
            Err(why) => {
                say(&format!("error: {why}"));
                exit::FAILED
            }
        };
        if code != exit::OK {
            return code;
        }
    }
    exit::OK
}

/// Runs a pipeline until it ends, or a signal stops it.
fn run_one(pipeline: &Pipeline, workers: usize, args: &Args) -> Result<u8, String> {
    let interrupts = signals::listen();
    let state = state_path(pipeline, args.data.data.as_deref());
    let setup = Setup { state: &state, workers, command: "run", max_keys: None, max_state: None };
    let progress = Progress::new(&pipeline.plan);
    let (quiet, began) = (args.quiet, wall_clock());
    let mut told = Told { pipeline, state: &state, progress, quiet, began, code: exit::FAILED };
    let start = Start::Open { fresh: args.fresh, reset: args.reset_state.clone() };
    tasks::block_on(service::run::run(pipeline, start, &setup, &interrupts, &mut told))??;
    Ok(told.code)
}

/// Tells on standard error how a run goes.
struct Told<'a> {
    pipeline: &'a Pipeline,
    state: &'a Path,
    progress: Progress,
    quiet: bool,
    /// When what it tells of began.
    began: Timestamp,
    code: u8,
}

impl Voice for Told<'_> {
    fn say(&mut self, text: &str) {
        if !self.quiet {
            say(&format!("{}: {text}", self.pipeline.plan.name));
        }
    }

    fn warn(&mut self, text: &str) {
        say(&format!("warning: {text}"));
    }

    fn begun(&mut self, _: &Handle) {
        self.progress = Progress::new(&self.pipeline.plan);
    }

    fn goes(&mut self, handle: &Handle) {
        warn(handle, &self.progress);
        self.progress.show(handle);
    }

    fn every(&self) -> Option<Duration> {
        (!self.quiet).then_some(EVERY)
    }

    fn ended(&mut self, handle: Option<&Handle>, ended: &Ended) {
        self.progress.clear();
        if let Some(handle) = handle.filter(|_| !self.quiet) {
            warn(handle, &self.progress);
            show(&Diagnostics { list: handle.missing_fields() });
        }
        ended.unbalanced.iter().for_each(|wrong| say(&summary::imbalance(wrong)));
        if !self.quiet {
            let untold = summary::untold(self.pipeline, self.state, self.began);
            untold.iter().for_each(|line| say(line));
        }
        self.began = wall_clock();
        let code = report(self.pipeline, &ended.summary, &self.progress, self.quiet);
        self.code = if ended.unbalanced.is_empty() { code } else { exit::FAILED };
    }
}

/// Says what went wrong without ending the run.
fn warn(handle: &Handle, progress: &Progress) {
    for warning in handle.take_warnings() {
        progress.clear();
        say(&format!("warning: {warning}"));
    }
}

/// Says how it ended.
fn report(pipeline: &Pipeline, ended: &Summary, progress: &Progress, quiet: bool) -> u8 {
    let unread = summary::unread(&pipeline.plan, &ended.entries);
    let gone = ended.outcome == Outcome::ReaderGone;
    if !quiet && !unread.is_empty() {
        say(unread.trim_end());
    }
    // Whoever reads no more has seen enough.
    if !quiet && !gone {
        let held_back = summary::held_back(&pipeline.plan, &ended.entries);
        if !held_back.is_empty() {
            say(held_back.trim_end());
        }
        say(&format!(
            "{}: {}",
            pipeline.plan.name,
            summary::totals(&pipeline.plan, &ended.entries, progress.elapsed())
        ));
    }
    match &ended.outcome {
        Outcome::Complete => exit::OK,
        Outcome::Stopped => {
            if !quiet {
                say(&format!("{}: stopped before its input ended; the next run goes on from here", pipeline.plan.name));
            }
            exit::STOPPED
        }
        Outcome::ReaderGone => exit::READER_GONE,
        Outcome::Failed(why) => {
            say(&format!("error: {why}"));
            exit::FAILED
        }
    }
}
