//! `millstream run`: pipelines to their end, or until interrupted.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use crate::base::diag::{Diagnostics, Severity};
use crate::config::Pipeline;
use crate::engine::epoch::Stood;
use crate::engine::keeper::{Resumed, StateKeeper, begin};
use crate::engine::kept::{Fate, fates, sinks_gone, sources_gone};
use crate::engine::lower::{Lowering, lower};
use crate::engine::run::{Handle, Input, Options, Outcome, Summary, run as run_job};
use crate::plan::{Node, NodeKind};
use crate::store::rows::Imbalance;
use crate::store::state::{Holder, Lock, StateFile};

use super::interrupts::Interrupts;
use super::links::Links;
use super::load::{ended_sources, load, open_sinks, open_sources, open_turns, say, show};
use super::progress::{EVERY, Progress};
use super::state_path::{DataDirectory, state_path};
use super::{backtest, exit, summary};

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

/// Runs a pipeline, as often as it is asked to pause for others that want its state.
fn run_one(pipeline: &Pipeline, workers: usize, args: &Args) -> Result<u8, String> {
    let interrupts = Interrupts::listen();
    let path = state_path(pipeline, args.data.data.as_deref());
    let mut lock = None;
    loop {
        let first = lock.is_none();
        let state = match lock {
            None => open_state(pipeline, &path, args)?,
            Some(lock) => open_again(pipeline, &path, lock)?,
        };
        if first && let Err(why) = interrupts.take_requests(&path) {
            say(&format!("warning: {why}; verbs that change the state have to wait for the end of the run"));
        }
        let (code, outcome, closed) = run_on(pipeline, (state, &path), (workers, args.quiet), &interrupts)?;
        // The state is closed, and nobody else can have it.
        let mut asked = false;
        while let Some(request) = interrupts.request() {
            if outcome == Outcome::Stopped && !can_pause(pipeline) {
                request.refuse("it reads standard input, which cannot be taken up again");
                continue;
            }
            asked = true;
            if !args.quiet {
                say(&format!("{}: pauses for `{}`", pipeline.plan.name, request.why));
            }
            request.paused(&closed);
        }
        if !asked || outcome != Outcome::Stopped || interrupts.signalled() {
            return Ok(code);
        }
        lock = Some(closed);
    }
}

/// Whether what a run reads can be taken up again by the same process.
fn can_pause(pipeline: &Pipeline) -> bool {
    let reads_stdin = |node: &Node| matches!(&node.kind, NodeKind::Source(source) if source.connector == "stdin");
    !pipeline.plan.nodes.iter().any(reads_stdin)
}

/// Runs a pipeline from where its state is to the end, or until interrupted.
fn run_on(
    pipeline: &Pipeline,
    ((mut keeper, resumed), path): ((StateKeeper, Option<Resumed>), &Path),
    (workers, quiet): (usize, bool),
    interrupts: &Interrupts,
) -> Result<(u8, Outcome, Lock), String> {
    let graph = lower(&pipeline.plan, Lowering { shares: workers, track: true })?;
    let finishing = resumed.as_ref().is_some_and(|resumed| resumed.finishing);
    // Before its first checkpoint a run stood nowhere yet.
    let stood = resumed.as_ref().filter(|resumed| resumed.epoch > 0).map(|resumed| &resumed.stood);
    let inputs = if finishing { ended_sources(pipeline) } else { open_sources(pipeline, stood, path)? };
    if !quiet && !inputs.is_empty() && inputs.iter().all(|i| i.partitions.is_empty() && i.watch.is_some()) {
        say(&format!("{}: there is nothing to read yet; the run waits for what comes", pipeline.plan.name));
    }
    let mut links = links_of(pipeline, &inputs);
    let marks = resumed.as_ref().map(|resumed| &resumed.marks);
    let sinks = open_sinks(pipeline, &graph.sink_nodes(), (marks, path), &mut links)?;
    interrupts.show(links);
    if let Some(resumed) = resumed.as_ref().filter(|_| !quiet) {
        say(&format!("{}: goes on from checkpoint {}", pipeline.plan.name, resumed.epoch));
    }
    let options = Options { workers, checkpoint_every: pipeline.plan.checkpoint_every.to_std() };
    let mut progress = Progress::new(&pipeline.plan);
    let (started, handle) = channel::<Handle>();
    let (ended, end) = channel::<Ended>();
    // What was kept of a run whose input was all taken is of no use: only its output is not final yet.
    let begins = resumed.is_none() && keeper.has_left();
    let stood = resumed.filter(|_| !finishing).map(|resumed| resumed.stood);
    let stood = stood.or_else(|| begins.then(Stood::default));
    let turns = open_turns(&graph, &inputs, stood.as_ref(), path)?;
    let runner = std::thread::Builder::new().name("run".to_owned()).spawn(move || {
        let summary = run_job(graph, inputs, sinks, &options, (stood.as_ref(), turns, &mut keeper), &mut |handle| {
            // Without a listener there is nobody to stop the run.
            let _ = started.send(handle);
        });
        let unbalanced = keeper.imbalances();
        let _ = ended.send(Ended { summary, unbalanced, lock: keeper.close() });
    });
    runner.map_err(|e| format!("no thread for the run: {e}"))?;
    let handle = handle.recv().ok();
    if let Some(handle) = handle.clone() {
        interrupts.begin(handle);
    }
    let Ended { summary, unbalanced, lock } = wait_for(&end, handle.as_ref().filter(|_| !quiet), &mut progress)?;
    interrupts.end();
    progress.clear();
    if let Some(handle) = handle.filter(|_| !quiet) {
        warn(&handle, &progress);
        show(&Diagnostics { list: handle.missing_fields() });
    }
    unbalanced.iter().for_each(|wrong| say(&summary::imbalance(wrong)));
    let code = report(pipeline, &summary, &progress, quiet);
    Ok((if unbalanced.is_empty() { code } else { exit::FAILED }, summary.outcome, lock))
}

/// The connections of sources.
fn links_of(pipeline: &Pipeline, inputs: &[Input]) -> Links {
    let sources = pipeline.plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
    let of_source = |(node, input): (&Node, &Input)| -> Links {
        input.partitions.iter().map(|partition| (node.name.clone(), partition.link.clone())).collect()
    };
    sources.zip(inputs).flat_map(of_source).collect()
}

/// A run that has ended, and closed its state.
struct Ended {
    summary: Summary,
    unbalanced: Vec<Imbalance>,
    lock: Lock,
}

/// Waits for the end of a run, and shows how it goes if there is somebody to see it.
fn wait_for(end: &Receiver<Ended>, shown: Option<&Handle>, progress: &mut Progress) -> Result<Ended, String> {
    loop {
        match end.recv_timeout(EVERY) {
            Ok(ended) => return Ok(ended),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(handle) = shown {
                    warn(handle, progress);
                    progress.show(handle);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the run ended without a word; please report it".to_owned());
            }
        }
    }
}

/// The pipeline's state, and what the run goes on from.
fn open_state(pipeline: &Pipeline, path: &Path, args: &Args) -> Result<(StateKeeper, Option<Resumed>), String> {
    let holder = holder(pipeline);
    let mut file = if args.fresh {
        open_fresh(pipeline, path, &holder)?
    } else {
        StateFile::open(path, &holder).map_err(|e| e.message)?
    };
    reset(pipeline, &mut file, &args.reset_state)?;
    StateKeeper::open(file, &pipeline.plan)
}

/// The same after a pause.
fn open_again(pipeline: &Pipeline, path: &Path, lock: Lock) -> Result<(StateKeeper, Option<Resumed>), String> {
    let file = StateFile::open_with(path, &holder(pipeline), lock).map_err(|e| e.message)?;
    StateKeeper::open(file, &pipeline.plan)
}

fn holder(pipeline: &Pipeline) -> Holder {
    Holder { pipeline: pipeline.plan.file.clone(), command: "run".to_owned() }
}

/// A state in which a run has begun anew; one that cannot be used is put aside.
fn open_fresh(pipeline: &Pipeline, path: &Path, holder: &Holder) -> Result<StateFile, String> {
    let (mut file, aside) = StateFile::open_fresh(path, holder).map_err(|e| e.message)?;
    if let Some(aside) = aside {
        say(&format!("warning: the state `{}` cannot be used and is now `{}`", path.display(), aside.display()));
    }
    begin(&mut file, &pipeline.plan)?;
    Ok(file)
}

/// Forgets what steps keep that the user named, and refuses to go on where state means something else now.
fn reset(pipeline: &Pipeline, file: &mut StateFile, named: &[String]) -> Result<(), String> {
    let Some(kept) = file.kept().filter(|kept| kept.epoch > 0) else { return Ok(()) };
    let fates = fates(&pipeline.plan, kept);
    let mut told: Vec<String> = Vec::new();
    for fate in fates.iter().filter(|fate| !named.contains(&fate.step)) {
        match &fate.fate {
            Fate::Kept | Fate::New => {}
            Fate::Changed(lines) => {
                told.push(format!("`{}` keeps something else now ({})", fate.step, lines.join("; ")))
            }
            Fate::Gone => told.push(format!("`{}` kept state and is no longer a step that does", fate.step)),
        }
    }
    let gone = sources_gone(&pipeline.plan, kept);
    told.extend(
        gone.iter()
            .filter(|name| !named.contains(name))
            .map(|name| format!("`{name}` was a source; where it stood would be forgotten")),
    );
    let unsent = sinks_gone(&pipeline.plan, kept);
    told.extend(unsent.iter().filter(|(name, _)| !named.contains(name)).map(|(name, rows)| {
        format!("`{name}` was a sink that has {} still to send; they would be lost", summary::rows(*rows))
    }));
    if !told.is_empty() {
        return Err(format!(
            "the run that was not finished cannot go on with this pipeline:\n  {}\nput the pipeline back as it was, name what may be forgotten with `--reset-state NAME`, or begin anew with `--fresh`",
            told.join("\n  ")
        ));
    }
    let is_known = |name: &&String| {
        fates.iter().any(|fate| fate.step == **name)
            || gone.contains(name)
            || unsent.iter().any(|(sink, _)| sink == *name)
    };
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        return Err(format!("`--reset-state {unknown}`: no step of this name keeps state"));
    }
    let known: Vec<String> = kept.steps.iter().map(|step| step.name.clone()).collect();
    for step in named.iter().filter(|step| known.contains(step)) {
        file.reset_step(step).map_err(|e| e.message)?;
    }
    for (sink, _) in unsent.iter().filter(|(sink, _)| named.contains(sink)) {
        file.reset_sink(sink).map_err(|e| e.message)?;
    }
    Ok(())
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
