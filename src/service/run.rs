//! Runs one pipeline: from the state it has to its end, or until it is stopped. It pauses for whoever wants its state.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::config::Pipeline;
use crate::engine::keeper::{Resumed, StateKeeper, begin_anew};
use crate::engine::kept::{Fate, fates, sinks_gone, sources_gone};
use crate::engine::lower::{Lowering, lower};
use crate::engine::run::{Handle, Input, Options, Outcome, Summary, drive};
use crate::inspect::spelling::counted;
use crate::plan::{Node, NodeKind, Plan};
use crate::store::rows::Imbalance;
use crate::store::state::{Holder, Kept, Lock, StateFile};

use super::interrupts::Interrupts;
use super::links::Links;
use super::open::{ended_sources, open_sinks, open_sources, open_turns};

/// What a run tells whoever began it.
pub trait Voice: Send {
    /// How it goes, for people.
    fn say(&mut self, text: &str);
    /// Something that is not as it should be and does not end the run.
    fn warn(&mut self, text: &str);
    /// It has begun.
    fn begun(&mut self, handle: &Handle);
    /// It goes on; called so often while it does.
    fn goes(&mut self, handle: &Handle);
    /// How often; without it never.
    fn every(&self) -> Option<Duration>;
    /// It has ended, perhaps only to pause.
    fn ended(&mut self, handle: Option<&Handle>, ended: &Ended);
}

/// How pipelines are run.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Where the state is.
    pub state: &'a Path,
    /// Workers at a time at most.
    pub workers: usize,
    /// What the program calls itself where it holds the state: one of [`super::open::RUNS`].
    pub command: &'static str,
    /// The keys that it may hold.
    pub max_keys: Option<u64>,
    /// The bytes that what it keeps may take.
    pub max_state: Option<u64>,
}

/// What a run begins with.
pub enum Start {
    /// Its state, as it is found.
    Open {
        /// Begins anew instead of going on.
        fresh: bool,
        /// Steps whose state is forgotten, and sinks that are gone.
        reset: Vec<String>,
    },
    /// A state that this process still holds.
    Held {
        /// Keeps others from it.
        lock: Lock,
        /// Steps whose state is forgotten, and sinks that are gone.
        reset: Vec<String>,
    },
}

/// A run that has ended, and closed its state.
pub struct Ended {
    /// What it did.
    pub summary: Summary,
    /// What its ledger says that cannot be.
    pub unbalanced: Vec<Imbalance>,
    /// The state is closed, and nobody else can have it until this is dropped.
    pub lock: Lock,
}

/// Runs a pipeline, as often as it is asked to pause for others that want its state. The error is a sentence.
pub async fn run(
    pipeline: &Pipeline,
    start: Start,
    setup: &Setup<'_>,
    interrupts: &Interrupts,
    voice: &mut dyn Voice,
) -> Result<Ended, String> {
    let mut start = start;
    let mut requests = None;
    loop {
        let state = match start {
            Start::Open { fresh, reset } => open_state(pipeline, setup, (fresh, &reset), voice)?,
            Start::Held { lock, reset: named } => {
                let file = StateFile::open_with(setup.state, &holder(pipeline, setup), lock);
                let mut file = file.map_err(|e| e.message)?;
                reset(&pipeline.plan, &mut file, &named)?;
                StateKeeper::open(file, &pipeline.plan)?
            }
        };
        if requests.is_none() {
            match interrupts.take_requests(setup.state, cannot_pause(pipeline)) {
                Ok(taken) => requests = Some(taken),
                Err(why) => {
                    voice.warn(&format!("{why}; verbs that change the state have to wait for the end of the run"));
                }
            }
        }
        let ended = run_on(pipeline, state, setup, interrupts, voice).await?;
        // The state is closed, and nobody else can have it.
        let mut asked = false;
        while let Some(request) = interrupts.request() {
            asked = true;
            voice.say(&format!("pauses for `{}`", request.why));
            request.paused(&ended.lock);
        }
        if !asked || ended.summary.outcome != Outcome::Stopped || interrupts.stopped() {
            return Ok(ended);
        }
        start = Start::Held { lock: ended.lock, reset: Vec::new() };
    }
}

/// Why what a run reads cannot be taken up again by the same process, if it cannot.
fn cannot_pause(pipeline: &Pipeline) -> Option<&'static str> {
    let reads_stdin = |node: &Node| matches!(&node.kind, NodeKind::Source(source) if source.connector == "stdin");
    let any = pipeline.plan.nodes.iter().any(reads_stdin);
    any.then_some("it reads standard input, which cannot be taken up again")
}

/// Runs a pipeline from where its state is to the end, or until interrupted.
async fn run_on(
    pipeline: &Pipeline,
    (mut keeper, resumed): (StateKeeper, Option<Resumed>),
    setup: &Setup<'_>,
    interrupts: &Interrupts,
    voice: &mut dyn Voice,
) -> Result<Ended, String> {
    for (sink, rows) in keeper.unread() {
        let rows = counted(*rows, "row");
        voice.say(&format!(
            "{rows} that `{sink}` was refused become dead letters: nobody takes them in at `{sink}.errors`"
        ));
    }
    let graph = lower(&pipeline.plan, Lowering { shares: setup.workers, track: true })?;
    let finishing = resumed.as_ref().is_some_and(|resumed| resumed.finishing);
    let left = if resumed.is_none() { keeper.left() } else { None };
    let stood = resumed.as_ref().map(|resumed| &resumed.stood).or(left.as_ref());
    let inputs = if finishing { ended_sources(pipeline) } else { open_sources(pipeline, stood, setup.state)? };
    if !inputs.is_empty() && inputs.iter().all(|i| i.partitions.is_empty() && i.watch.is_some()) {
        voice.say("there is nothing to read yet; the run waits for what comes");
    }
    let mut links = links_of(pipeline, &inputs);
    let marks = resumed.as_ref().map(|resumed| &resumed.marks);
    let sinks = open_sinks(pipeline, &graph.sink_nodes(), (marks, setup.state), &mut links)?;
    interrupts.show(links);
    if let Some(resumed) = &resumed {
        voice.say(&format!("goes on from checkpoint {}", resumed.epoch));
    }
    let options = Options {
        workers: setup.workers,
        checkpoint_every: pipeline.plan.checkpoint_every.to_std(),
        max_keys: setup.max_keys,
        max_state_bytes: setup.max_state,
    };
    // What was kept of a run whose input was all taken is of no use: only its output is not final yet.
    let stood = resumed.filter(|_| !finishing).map(|resumed| resumed.stood).or(left);
    let turns = open_turns(&graph, &inputs, stood.as_ref(), setup.state)?;
    let (started, begun) = oneshot::channel::<Handle>();
    let mut started = Some(started);
    let mut tell = |handle| {
        // Without a listener there is nobody to stop the run.
        let _ = started.take().map(|started| started.send(handle));
    };
    let driven = drive(graph, inputs, sinks, &options, (stood.as_ref(), turns, &mut keeper), &mut tell);
    let (summary, handle) = accompany(driven, begun, interrupts, voice).await?;
    let unbalanced = keeper.imbalances();
    let ended = Ended { summary, unbalanced, lock: keeper.close() };
    interrupts.end();
    voice.ended(handle.as_ref(), &ended);
    Ok(ended)
}

/// The connections of sources.
fn links_of(pipeline: &Pipeline, inputs: &[Input]) -> Links {
    let sources = pipeline.plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
    let of_source = |(node, input): (&Node, &Input)| -> Links {
        input.partitions.iter().map(|partition| (node.name.clone(), partition.link.clone())).collect()
    };
    sources.zip(inputs).flat_map(of_source).collect()
}

/// Sees a run to its end, and tells meanwhile that it has begun and goes on.
async fn accompany(
    driven: impl Future<Output = Summary>,
    begun: oneshot::Receiver<Handle>,
    interrupts: &Interrupts,
    voice: &mut dyn Voice,
) -> Result<(Summary, Option<Handle>), String> {
    let mut driven = pin!(AssertUnwindSafe(driven).catch_unwind());
    let mut begun = pin!(begun.fuse());
    let mut handle: Option<Handle> = None;
    let summary = loop {
        let every = voice.every().filter(|_| handle.is_some());
        tokio::select! {
            biased;
            Ok(begun) = &mut begun => {
                voice.begun(&begun);
                interrupts.begin(begun.clone());
                handle = Some(begun);
            }
            summary = &mut driven => break summary,
            () = tokio::time::sleep(every.unwrap_or_default()), if every.is_some() => {
                if let Some(handle) = &handle {
                    voice.goes(handle);
                }
            }
        }
    };
    if let (None, Some(Ok(begun))) = (&handle, begun.now_or_never()) {
        voice.begun(&begun);
        handle = Some(begun);
    }
    match summary {
        Ok(summary) => Ok((summary, handle)),
        Err(_) => Err("the run ended without a word; please report it".to_owned()),
    }
}

/// The pipeline's state, and what the run goes on from.
fn open_state(
    pipeline: &Pipeline,
    setup: &Setup<'_>,
    (fresh, named): (bool, &[String]),
    voice: &mut dyn Voice,
) -> Result<(StateKeeper, Option<Resumed>), String> {
    let holder = holder(pipeline, setup);
    let mut file = if fresh {
        let (mut file, aside) = StateFile::open_fresh(setup.state, &holder).map_err(|e| e.message)?;
        if let Some(aside) = aside {
            let (state, aside) = (setup.state.display(), aside.display());
            voice.warn(&format!("the state `{state}` cannot be used and is now `{aside}`"));
        }
        begin_anew(&mut file, &pipeline.plan)?;
        file
    } else {
        StateFile::open(setup.state, &holder).map_err(|e| e.message)?
    };
    reset(&pipeline.plan, &mut file, named)?;
    StateKeeper::open(file, &pipeline.plan)
}

fn holder(pipeline: &Pipeline, setup: &Setup<'_>) -> Holder {
    Holder { pipeline: pipeline.plan.file.clone(), command: setup.command.to_owned() }
}

/// What a run of this plan would have to forget of what is kept, without what is `named`: a line each.
pub fn lost(plan: &Plan, kept: &Kept, named: &[String]) -> Vec<String> {
    let is_named = |name: &String| named.contains(name);
    let mut told: Vec<String> = Vec::new();
    for fate in fates(plan, kept).iter().filter(|fate| !is_named(&fate.step)) {
        match &fate.fate {
            Fate::Kept | Fate::New => {}
            Fate::Changed(lines) => {
                told.push(format!("`{}` keeps something else now ({})", fate.step, lines.join("; ")));
            }
            Fate::Gone => told.push(format!("`{}` kept state and is no longer a step that does", fate.step)),
        }
    }
    let gone = sources_gone(plan, kept);
    let of_source = |name: &String| format!("`{name}` was a source; where it stood would be forgotten");
    told.extend(gone.iter().filter(|name| !is_named(name)).map(of_source));
    let unsent = sinks_gone(plan, kept);
    told.extend(unsent.iter().filter(|(name, _)| !is_named(name)).map(|(name, rows)| {
        format!("`{name}` was a sink that has {} still to send; they would be lost", counted(*rows, "row"))
    }));
    told
}

/// What is kept of entries that a plan has not.
pub fn gone(plan: &Plan, kept: &Kept) -> Vec<String> {
    let steps = fates(plan, kept).into_iter().filter(|fate| fate.fate == Fate::Gone).map(|fate| fate.step);
    let sinks = sinks_gone(plan, kept).into_iter().map(|(name, _)| name);
    steps.chain(sources_gone(plan, kept)).chain(sinks).collect()
}

/// Forgets what steps keep that the user named, and refuses to go on where state means something else now.
fn reset(plan: &Plan, file: &mut StateFile, named: &[String]) -> Result<(), String> {
    let Some(kept) = file.kept().filter(|kept| kept.epoch > 0) else { return Ok(()) };
    let told = lost(plan, kept, named);
    if !told.is_empty() {
        return Err(format!(
            "the run that was not finished cannot go on with this pipeline:\n  {}\nput the pipeline back as it was, name what may be forgotten with `--reset-state NAME`, or begin anew with `--fresh`",
            told.join("\n  ")
        ));
    }
    let (fates, gone, unsent) = (fates(plan, kept), sources_gone(plan, kept), sinks_gone(plan, kept));
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
