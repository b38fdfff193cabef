//! `millstream run`: pipelines to their end, or until interrupted.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use crate::base::diag::{Diagnostics, Severity};
use crate::config::Pipeline;
use crate::engine::lower::{Lowering, lower};
use crate::engine::run::{Handle, Options, Outcome, Summary, run as run_job};

use super::load::{load, open_sinks, open_sources, say, show};
use super::progress::{EVERY, Progress};
use super::{exit, summary};

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
}

/// Runs the files in turn; the first that fails ends it.
pub fn run(args: &Args) -> u8 {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = args.workers.map_or_else(available, usize::from);
    // Every file is read before the first one runs: a mistake in the last should not wait for the others' input.
    let pipelines: Vec<_> = args.files.iter().map(|file| load(file, Severity::Error)).collect();
    for pipeline in pipelines {
        let Some(pipeline) = pipeline else { return exit::USAGE };
        let code = match run_one(&pipeline, workers, args.quiet) {
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

fn run_one(pipeline: &Pipeline, workers: usize, quiet: bool) -> Result<u8, String> {
    let graph = lower(&pipeline.plan, Lowering { shares: workers, track: true })?;
    let inputs = open_sources(pipeline, None)?;
    if !quiet && !inputs.is_empty() && inputs.iter().all(|i| i.partitions.is_empty() && i.watch.is_some()) {
        say(&format!("{}: there is nothing to read yet; the run waits for what comes", pipeline.plan.name));
    }
    let sinks = open_sinks(pipeline, &graph.sink_nodes())?;
    let options = Options { workers, checkpoint_every: pipeline.plan.checkpoint_every.to_std() };
    let mut progress = Progress::new(&pipeline.plan);
    let on_signal = Signals::listen();
    let (started, handle) = channel::<Handle>();
    let (ended, end) = channel::<Summary>();
    let runner = std::thread::Builder::new().name("run".to_owned()).spawn(move || {
        let mut memory = crate::engine::job::Snapshot::default();
        let summary = run_job(graph, inputs, sinks, &options, (None, &mut memory), &mut |handle| {
            // Without a listener there is nobody to stop the run.
            let _ = started.send(handle);
        });
        let _ = ended.send(summary);
    });
    runner.map_err(|e| format!("no thread for the run: {e}"))?;
    let handle = handle.recv().ok();
    if let Some(handle) = handle.clone() {
        on_signal.stop(handle);
    }
    let summary = loop {
        match end.recv_timeout(EVERY) {
            Ok(summary) => break summary,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(handle) = handle.as_ref().filter(|_| !quiet) {
                    warn(handle, &progress);
                    progress.show(handle);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the run ended without a word; please report it".to_owned());
            }
        }
    };
    progress.clear();
    if let Some(handle) = handle.filter(|_| !quiet) {
        warn(&handle, &progress);
        show(&Diagnostics { list: handle.missing_fields() });
    }
    Ok(report(pipeline, &summary, &progress, quiet))
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
                say(&format!("{}: stopped before its input ended; open windows were not emitted", pipeline.plan.name));
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

/// The first SIGINT or SIGTERM stops the run in good order, a second one at once.
struct Signals {
    handles: Sender<Handle>,
}

impl Signals {
    /// Takes signals from now on, also those that come before there is a run to stop.
    fn listen() -> Self {
        let (handles, given) = channel::<Handle>();
        let (ready, listening) = channel::<()>();
        // Without the thread, signals end the process at once, as they do by default.
        let thread = std::thread::Builder::new().name("signals".to_owned());
        if thread.spawn(move || wait_for_signals(&ready, &given)).is_ok() {
            let _ = listening.recv();
        }
        Signals { handles }
    }

    /// Gives signals a run to stop.
    fn stop(self, handle: Handle) {
        // Nobody listens where no thread could be had.
        let _ = self.handles.send(handle);
    }
}

fn wait_for_signals(ready: &Sender<()>, given: &Receiver<Handle>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let _ = ready.send(());
        for first in [true, false] {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            match given.recv() {
                Ok(handle) if first => handle.stop(),
                _ => std::process::exit(i32::from(exit::STOPPED)),
            }
        }
    });
}
