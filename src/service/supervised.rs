//! One pipeline of many: a task that runs it as often as it is wanted, and waits longer and longer after each failure.
//! What goes wrong with it, a panic included, stops this pipeline alone.

mod driven;
mod voice;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use tracing::Instrument as _;

use crate::base::tasks::{self, Begun};
use crate::base::time::Timestamp;
use crate::config::Pipeline;
use crate::connectors::http_port::GoesOn;
use crate::engine::ledger::Entry;
use crate::engine::run::{Handle, wall_clock};
use crate::plan::Plan;
use crate::store::state::{Lock, StateReader};

use self::driven::Next;
use super::interrupts::Interrupts;
use super::open::{journal_of, state_path};
use super::run::{Start, gone, lost};
use super::seen::{Phase, Reload, Reloaded, Seen};

/// How long is waited after a first failure; each that follows waits twice as long, up to [`BACK_OFF_MOST`].
const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const BACK_OFF_MOST: Duration = Duration::from_secs(60);
/// A run that has lasted so long was well: the next failure is a first one.
const WELL_AFTER: Duration = Duration::from_secs(120);
/// Results of reloads that are remembered.
const RELOADS: usize = 20;

/// What a pipeline is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Run.
    Run,
    /// Not run, until somebody wants it to.
    Stop,
    /// Go: its file is gone, or the process ends.
    Go,
}

/// How pipelines are run in this process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where states are, if not beside the pipelines.
    pub data: Option<PathBuf>,
    /// Workers of each pipeline at a time at most.
    pub workers: usize,
    /// The keys that a pipeline may hold.
    pub max_keys: Option<u64>,
    /// The bytes that what it keeps may take.
    pub max_state: Option<u64>,
}

/// A pipeline that is looked after.
pub struct Supervised {
    /// What it is called: its file without `.yaml`.
    pub id: String,
    /// Its file.
    pub file: PathBuf,
    settings: Arc<Settings>,
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    wanted: Wanted,
    phase: Phase,
    since: Timestamp,
    why: Option<String>,
    /// What runs, or would.
    pipeline: Option<Arc<Pipeline>>,
    /// What runs next, and what its start may forget.
    next: Option<(Arc<Pipeline>, Vec<String>)>,
    /// What was replaced by what is started or has just been: it goes on if that fails soon.
    before: Option<Arc<Pipeline>>,
    /// This process has run it, or has seen that there is nothing to do.
    ran: bool,
    /// What is started is another than before, and has not begun yet.
    swapped: bool,
    /// Its sources are to read nothing for now.
    paused: bool,
    /// What runs now is replaced in a moment.
    goes_on: Option<GoesOn>,
    /// Steps whose state the next start forgets.
    reset: Vec<String>,
    interrupts: Interrupts,
    restarts: u64,
    refused: u64,
    failures: u32,
    /// Not before this is it tried again.
    again_at: Option<Instant>,
    reloads: VecDeque<Reload>,
    /// What the run that ended last had counted.
    counted: Vec<Entry>,
}

impl Supervised {
    /// A pipeline that does nothing yet: it waits for what [`Supervised::take`] brings.
    pub fn new(id: String, file: PathBuf, settings: Arc<Settings>, wanted: Wanted) -> Arc<Supervised> {
        let inner = Inner {
            wanted,
            phase: Phase::Stopped,
            since: wall_clock(),
            why: None,
            pipeline: None,
            next: None,
            before: None,
            ran: false,
            swapped: false,
            paused: false,
            goes_on: None,
            reset: Vec::new(),
            interrupts: Interrupts::default(),
            restarts: 0,
            refused: 0,
            failures: 0,
            again_at: None,
            reloads: VecDeque::new(),
            counted: Vec::new(),
        };
        Arc::new(Supervised { id, file, settings, inner: Mutex::new(inner), changed: Notify::new() })
    }

    /// The task that runs it, until it is to go.
    pub fn begin(self: &Arc<Self>) -> Result<Begun<()>, String> {
        let of_task = Arc::clone(self);
        // What connectors tell is told of this pipeline.
        let span = tracing::error_span!("run", pipeline = self.id);
        tasks::begin(async move { of_task.drive().await }.instrument(span))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is now.
    pub fn seen(&self) -> Seen {
        let inner = self.lock();
        Seen {
            phase: inner.phase,
            since: inner.since,
            why: inner.why.clone(),
            pipeline: inner.pipeline.clone(),
            restarts: inner.restarts,
            refused: inner.refused,
            reloads: inner.reloads.iter().cloned().collect(),
            connections: inner.interrupts.links(),
            handle: inner.interrupts.running(),
            counted: inner.counted.clone(),
        }
    }

    /// Where its state is, if its file says so much.
    pub fn state(&self) -> Option<PathBuf> {
        let pipeline = self.lock().pipeline.clone()?;
        Some(self.state_of(&pipeline))
    }

    /// Whether its state is this one.
    pub fn has_state(&self, state: &Path) -> bool {
        let Some(pipeline) = self.lock().pipeline.clone() else { return false };
        // Among a thousand most are told apart by their names.
        let may_be = pipeline.plan.state.is_some() || state.file_stem() == Some(OsStr::new(&pipeline.plan.name));
        may_be && self.state_of(&pipeline) == state
    }

    fn state_of(&self, pipeline: &Pipeline) -> PathBuf {
        state_path(pipeline, self.settings.data.as_deref())
    }

    /// Tells it what to do. One that waits after a failure, or has come to its end, begins at once if it is to run.
    pub fn want(&self, wanted: Wanted) {
        let mut inner = self.lock();
        inner.wanted = wanted;
        inner.paused = false;
        if wanted == Wanted::Run {
            inner.ran = true;
            inner.again_at = None;
            inner.failures = 0;
            if matches!(inner.phase, Phase::Complete | Phase::Waiting) {
                inner.enter(Phase::Stopped, None);
            }
        } else if inner.interrupts.running().is_some() || inner.phase == Phase::Starting {
            inner.enter(Phase::Stopping, None);
            inner.interrupts.stop();
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Lets its sources read nothing for now, or read on. Until the process ends or it is told otherwise it stays so, also over a
    /// change of its file. False if it does not run.
    pub fn pause(&self, paused: bool) -> bool {
        let mut inner = self.lock();
        let may = matches!(inner.phase, Phase::Running | Phase::Paused);
        let running = inner.interrupts.running().filter(|_| may);
        if let Some(handle) = &running {
            inner.paused = paused;
            if paused {
                handle.pause()
            } else {
                handle.resume()
            }
            inner.enter(if paused { Phase::Paused } else { Phase::Running }, None);
        }
        running.is_some()
    }

    /// Lets what it has read come to its end as if all input had: windows close, everything is delivered, and it is complete.
    /// False if it does not run.
    pub fn drain(&self) -> bool {
        let mut inner = self.lock();
        let may = matches!(inner.phase, Phase::Running | Phase::Paused);
        let running = inner.interrupts.running().filter(|_| may);
        if let Some(handle) = &running {
            handle.drain();
            inner.enter(Phase::Stopping, None);
        }
        running.is_some()
    }

    /// Whether somebody has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.lock().wanted == Wanted::Stop
    }

    /// Its file cannot be used, as `why` says in the words of `check`.
    pub fn refuse(&self, why: String) -> Reload {
        let mut inner = self.lock();
        let result = match inner.pipeline {
            Some(_) => Reloaded::Kept,
            None => {
                inner.enter(Phase::Broken, Some(why.clone()));
                Reloaded::Broken
            }
        };
        inner.note(result, Some(why))
    }

    /// Takes what its file says now. It is compared with what the state keeps; if nothing of that would be lost but what may be
    /// (`reset`), the run comes to a checkpoint and goes on from there as the new pipeline.
    pub fn take(&self, pipeline: Pipeline, reset: Vec<String>) -> Reload {
        let pipeline = Arc::new(pipeline);
        let mut inner = self.lock();
        let Some(current) = inner.next.as_ref().map(|(next, _)| Arc::clone(next)).or_else(|| inner.pipeline.clone())
        else {
            inner.pipeline = Some(pipeline);
            inner.reset = reset;
            inner.counted.clear();
            if inner.phase == Phase::Broken {
                inner.enter(Phase::Stopped, None);
            }
            let reload = inner.note(Reloaded::Applied, None);
            drop(inner);
            self.changed.notify_one();
            return reload;
        };
        if current.plan == pipeline.plan && reset.is_empty() {
            return inner.note(Reloaded::Unchanged, None);
        }
        if let Err(why) = self.fits(&current, &pipeline, &reset) {
            return inner.note(Reloaded::Kept, Some(why));
        }
        inner.again_at = None;
        if matches!(inner.phase, Phase::Running | Phase::Paused | Phase::Starting | Phase::Stopping) {
            inner.next = Some((pipeline, reset));
            let journal = journal_of(&self.state_of(&current));
            inner.goes_on.get_or_insert_with(|| GoesOn::new(&journal));
            inner.interrupts.stop();
            // What comes of it is noted when it has begun.
            return Reload { at: wall_clock().to_string(), result: Reloaded::Applied, why: None };
        }
        inner.pipeline = Some(pipeline);
        inner.reset = reset;
        if inner.wanted == Wanted::Run {
            inner.enter(Phase::Stopped, None);
        }
        let reload = inner.note(Reloaded::Applied, None);
        drop(inner);
        self.changed.notify_one();
        reload
    }

    /// Whether a changed pipeline can go on with the state.
    fn fits(&self, current: &Pipeline, next: &Pipeline, reset: &[String]) -> Result<(), String> {
        let (before, after) = (self.state_of(current), self.state_of(next));
        if before != after {
            return Err(format!(
                "its state would be `{}`, and what `{}` keeps would be left behind; give it the old `name` and `state`, or remove the file and add it again under another name",
                after.display(),
                before.display()
            ));
        }
        // A state that cannot be read is said when it is opened.
        let Some(reader) = after.exists().then(|| StateReader::open(&after).ok()).flatten() else { return Ok(()) };
        let Some(kept) = reader.kept().filter(|kept| kept.epoch > 0) else { return Ok(()) };
        let told = lost(&next.plan, kept, reset);
        if told.is_empty() {
            return Ok(());
        }
        Err(format!(
            "it cannot go on with what is kept: {}; put the file back as it was, or reload it naming what may be forgotten",
            told.join("; ")
        ))
    }

    /// What the state has of entries that a changed pipeline had and the one before has not.
    fn added(state: &Path, before: &Plan, after: &Plan) -> Vec<String> {
        let Ok(reader) = StateReader::open(state) else { return Vec::new() };
        let mut names = reader.kept().map(|kept| gone(before, kept)).unwrap_or_default();
        names.retain(|name| after.nodes.iter().any(|node| node.name == *name));
        names
    }
}

impl Inner {
    fn enter(&mut self, phase: Phase, why: Option<String>) {
        if self.phase != phase {
            self.since = wall_clock();
        }
        (self.phase, self.why) = (phase, why);
    }

    fn note(&mut self, result: Reloaded, why: Option<String>) -> Reload {
        let reload = Reload { at: wall_clock().to_string(), result, why };
        if matches!(result, Reloaded::Kept | Reloaded::Broken) {
            self.refused += 1;
        }
        if self.reloads.len() == RELOADS {
            self.reloads.pop_front();
        }
        self.reloads.push_back(reload.clone());
        reload
    }

    fn start(&mut self, pipeline: Arc<Pipeline>, held: Option<Lock>) -> Next {
        if self.again_at.take().is_some() {
            self.restarts += 1;
        }
        self.interrupts = Interrupts::default();
        self.enter(Phase::Starting, None);
        let reset = std::mem::take(&mut self.reset);
        let start = match held {
            Some(lock) => Start::Held { lock, reset },
            // Nobody else can have had it in between but by asking.
            None => Start::Open { fresh: false, reset },
        };
        Next::Run { pipeline, start, interrupts: self.interrupts.clone() }
    }

    fn failed(&mut self, why: String, lasted: Duration) {
        if lasted >= WELL_AFTER {
            self.failures = 0;
        }
        let doubled = BACK_OFF.saturating_mul(1 << self.failures.min(10)).min(BACK_OFF_MOST);
        self.failures += 1;
        // Pipelines that failed together do not come back together.
        let part = u32::try_from(wall_clock().0.rem_euclid(256)).unwrap_or(0);
        self.again_at = Some(Instant::now() + doubled * (768 + part) / 1024);
        self.enter(Phase::Waiting, Some(why));
    }
}

/// Tells in the log what went wrong with a run without ending it.
pub fn warn(id: &str, handle: &Handle) {
    for warning in handle.take_warnings() {
        tracing::warn!(pipeline = id, "{warning}");
    }
}

/// A pipeline's name in this process: its file without `.yaml` or `.yml`; `None` for other files.
pub fn id_of(file: &Path) -> Option<String> {
    let extension = file.extension()?.to_str()?;
    let stem = file.file_stem()?.to_str()?;
    (matches!(extension, "yaml" | "yml") && !stem.starts_with('.')).then(|| stem.to_owned())
}
