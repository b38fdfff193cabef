//! Runs a plan apart from its state, in a directory of its own that goes with it: for verbs that try something out.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::base::system::reason;
use crate::config::Pipeline;
use crate::engine::keeper::StateKeeper;
use crate::engine::lower::{Lowering, lower};
use crate::engine::run::{Handle, Options, Outcome, Summary, run as run_job};
use crate::service::links::Links;
use crate::service::open::{open_sinks, open_sources};
use crate::store::state::{Holder, StateFile};

/// A directory that is removed when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one. The error is a sentence.
    pub fn new() -> Result<Scratch, String> {
        let base = std::env::temp_dir();
        for number in 0..1_000u32 {
            let path = base.join(format!("millstream-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(format!("`{}` cannot be made: {}", path.display(), reason(&e))),
            }
        }
        Err(format!("there are too many directories of earlier tries in `{}`; remove them", base.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the directory for what may go.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A run that has ended.
pub struct Ran {
    /// What it did.
    pub summary: Summary,
    /// Where its state is.
    pub state: PathBuf,
    /// The connections of its sinks.
    pub links: Links,
}

/// Runs a plan to its end, for so long at most; its state is in the directory. The error is a sentence.
pub fn run(pipeline: &Pipeline, scratch: &Scratch, within: Option<Duration>) -> Result<Ran, String> {
    let path = scratch.path().join("state.db");
    let holder = Holder { pipeline: pipeline.plan.file.clone(), command: "run".to_owned() };
    let file = StateFile::open(&path, &holder).map_err(|e| e.message)?;
    let (mut keeper, _) = StateKeeper::open(file, &pipeline.plan)?;
    let graph = lower(&pipeline.plan, Lowering { shares: 1, track: true })?;
    let inputs = open_sources(pipeline, None, &path)?;
    let mut links = Vec::new();
    let sinks = open_sinks(pipeline, &graph.sink_nodes(), (None, &path), &mut links)?;
    let options = Options {
        workers: 1,
        checkpoint_every: pipeline.plan.checkpoint_every.to_std(),
        max_keys: None,
        max_state_bytes: None,
    };
    let (started, handle) = channel::<Handle>();
    let (ended, end) = channel::<Summary>();
    let runner = std::thread::Builder::new().name("run".to_owned()).spawn(move || {
        let summary = run_job(graph, inputs, sinks, &options, (None, None, &mut keeper), &mut |handle| {
            // Without a listener there is nobody to stop the run.
            let _ = started.send(handle);
        });
        drop(keeper.close());
        let _ = ended.send(summary);
    });
    runner.map_err(|e| format!("no thread for the run: {e}"))?;
    let gone = || "the run ended without a word; please report it".to_owned();
    let summary = match within {
        None => end.recv().map_err(|_| gone())?,
        Some(within) => match end.recv_timeout(within) {
            Ok(summary) => summary,
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                if let Ok(handle) = handle.recv() {
                    handle.stop();
                }
                end.recv().map_err(|_| gone())?
            }
        },
    };
    match &summary.outcome {
        Outcome::Failed(why) => Err(why.clone()),
        _ => Ok(Ran { summary, state: path, links }),
    }
}
