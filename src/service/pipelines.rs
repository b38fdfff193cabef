//! Many pipelines in one process: the files of a directory, each looked after by a task of its own, and looked at again
//! and again for changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::diag::{Diagnostic, Diagnostics, Severity};
use crate::base::render::{Style, render};
use crate::base::system::{make_private_directory, reason};
use crate::base::tasks::Begun;
use crate::config::{self, Loaded};
use crate::connector::Allowed;

use super::arrived::Arrived;
use super::open::REGISTRY;
use super::seen::{Phase, Reload};
use super::supervised::{Settings, Supervised, Wanted, id_of};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long pipelines have to come to a checkpoint and deliver when the process ends.
pub const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Where pipelines come from.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory of pipeline files.
    pub directory: PathBuf,
    /// A file of receivers that pipelines share.
    pub shared: Option<PathBuf>,
    /// What the process itself keeps: which pipelines were stopped, tokens.
    pub own: PathBuf,
    /// What pipelines may reach that come over the API.
    pub allowed: Arc<Allowed>,
}

/// The pipelines of this process.
pub struct Pipelines {
    place: Place,
    settings: Arc<Settings>,
    known: Mutex<BTreeMap<String, Known>>,
    /// Tasks of pipelines that are gone, and not at their end yet.
    leaving: Mutex<Vec<Begun<()>>>,
    arrived: Arrived,
    /// One file at a time is put: what is noted of it has to fit what is in its place.
    putting: Mutex<()>,
}

struct Known {
    of: Arc<Supervised>,
    task: Option<Begun<()>>,
    /// Its file, and those that it names, as they were when they were read.
    seen: Vec<(PathBuf, Print)>,
    /// As they were when they were last looked at: one that is just being written is not read.
    looked: Vec<(PathBuf, Print)>,
    /// One of them could not be read, which may be otherwise in a moment without any change of it.
    unread: bool,
}

/// What is said of files that cannot be read.
const UNREAD: [&str; 3] = ["unreadable-file", "missing-secret", "schema-file"];

/// What tells a file from what it was before, without reading it: when it was written, its length and its number. `None` if it
/// is not there.
type Print = Option<(i64, i64, u64, u64)>;

fn print(path: &Path) -> Print {
    let about = fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

fn prints(files: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, Print)> {
    let with_print = |path: PathBuf| {
        let print = print(&path);
        (path, print)
    };
    files.into_iter().map(with_print).collect()
}

impl Pipelines {
    /// The pipelines of a place; none is known before the first [`Pipelines::look`].
    pub fn new(place: Place, settings: Settings) -> Arc<Pipelines> {
        let arrived = Arrived::at(place.own.join("arrived.json"));
        let (known, leaving, putting) = Default::default();
        Arc::new(Pipelines { place, settings: Arc::new(settings), known, leaving, arrived, putting })
    }

    /// Where they come from.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Begun<()>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Supervised>> {
        self.known().values().map(|known| Arc::clone(&known.of)).collect()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<Arc<Supervised>> {
        self.known().get(id).map(|known| Arc::clone(&known.of))
    }

    /// The pipeline files that are there now. The error is a sentence.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>, String> {
        let directory = &self.place.directory;
        let cannot = |e: std::io::Error| format!("`{}` cannot be read: {}", directory.display(), reason(&e));
        let shared = self.place.shared.as_ref().and_then(|file| fs::canonicalize(file).ok());
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let Some(id) = id_of(&path) else { continue };
            if !path.is_file()
                || shared.as_ref().is_some_and(|shared| fs::canonicalize(&path).is_ok_and(|p| p == *shared))
            {
                continue;
            }
            // Of `x.yaml` and `x.yml` the first counts; that the other does not is told when it is first seen.
            let other = files.remove(&id);
            if let Some(other) = other.as_ref().filter(|_| self.get(&id).is_none()) {
                let (one, other) = (path.display(), other.display());
                tracing::warn!(pipeline = id, "`{one}` and `{other}` have one name: only the first in order runs");
            }
            let path = other.filter(|other| *other < path).unwrap_or(path);
            files.insert(id, path);
        }
        Ok(files)
    }

    /// Looks at the directory: new files begin to run, those that are gone stop, those that changed are read again. The error
    /// is a sentence; what is known goes on.
    pub fn look(&self) -> Result<(), String> {
        let (files, stopped) = (self.files()?, self.stopped()?);
        let gone: Vec<String> = self.known().keys().filter(|id| !files.contains_key(*id)).cloned().collect();
        for id in gone {
            tracing::info!(pipeline = id, "its file is gone: it stops");
            // It may take its time: the others are not kept waiting, nor is whoever watches that this process lives.
            let task = self.remove(&id);
            self.leaving().extend(task);
        }
        self.leaving().retain(|task| !task.is_finished());
        for (id, file) in files {
            let Some(before) = self.changed(&id) else {
                let wanted = if stopped.contains(&id) { Wanted::Stop } else { Wanted::Run };
                self.add(&id, file, wanted)?;
                continue;
            };
            // What cannot be read is told once, and tried quietly.
            if before || (self.is_unread(&id) && self.load(&id, &file).pipeline.is_some()) {
                self.reload(&id, Vec::new());
            }
        }
        Ok(())
    }

    /// Whether the files of a pipeline have changed, and are not changing any more; `None` if there is no such pipeline.
    fn changed(&self, id: &str) -> Option<bool> {
        let mut known = self.known();
        let known = known.get_mut(id)?;
        let now = prints(known.seen.iter().map(|(path, _)| path.clone()));
        let still = now == known.looked;
        known.looked.clone_from(&now);
        Some(still && now != known.seen)
    }

    fn is_unread(&self, id: &str) -> bool {
        self.known().get(id).is_some_and(|known| known.unread)
    }

    fn add(&self, id: &str, file: PathBuf, wanted: Wanted) -> Result<Option<Reload>, String> {
        let of = Supervised::new(id.to_owned(), file, Arc::clone(&self.settings), wanted);
        let task = of.begin()?;
        let known = Known { of, task: Some(task), seen: Vec::new(), looked: Vec::new(), unread: false };
        self.known().insert(id.to_owned(), known);
        Ok(self.reload(id, Vec::new()))
    }

    /// Reads the file of a pipeline again; `reset` names what it may forget. `None` if there is no such pipeline.
    pub fn reload(&self, id: &str, reset: Vec<String>) -> Option<Reload> {
        let of = self.get(id)?;
        // Looked at first: what is written meanwhile is read again.
        let before = print(&of.file);
        let loaded = self.load(id, &of.file);
        let mut seen = vec![(of.file.clone(), before)];
        seen.extend(prints(loaded.files.iter().cloned().chain(self.place.shared.clone())));
        if let Some(known) = self.known().get_mut(id) {
            known.looked.clone_from(&seen);
            known.seen = seen;
            let unread = |found: &Diagnostic| found.severity == Severity::Error && UNREAD.contains(&found.code);
            known.unread = loaded.found.list.iter().any(unread);
        }
        let Loaded { pipeline, found, .. } = loaded;
        let reload = match pipeline {
            None => of.refuse(said(&found)),
            Some(pipeline) => match self.same_state(&of, &pipeline) {
                Some(other) => of.refuse(format!(
                    "error: its state is that of the pipeline `{other}`: give each a `name` of its own"
                )),
                None => of.take(pipeline, reset),
            },
        };
        match &reload.why {
            Some(why) => tracing::error!(pipeline = id, result = ?reload.result, "{why}"),
            None => tracing::info!(pipeline = id, result = ?reload.result, "read"),
        }
        Some(reload)
    }

    /// Where the state of a pipeline is.
    pub fn state_of(&self, pipeline: &config::Pipeline) -> PathBuf {
        super::open::state_path(pipeline, self.settings.data.as_deref())
    }

    /// Another pipeline that has the same state.
    fn same_state(&self, of: &Supervised, pipeline: &config::Pipeline) -> Option<String> {
        let state = self.state_of(pipeline);
        let others = self.all().into_iter().filter(|other| other.id != of.id);
        others.filter(|other| other.has_state(&state)).map(|other| other.id.clone()).next()
    }

    /// Reads and checks a pipeline file as one that will run.
    pub fn load(&self, id: &str, file: &Path) -> Loaded {
        let name = file.display().to_string();
        let text = match config::text_of(file, &name) {
            Ok(text) => text,
            Err(why) => return config::unreadable(why),
        };
        // By the very text that runs: the file may be another a moment later.
        match self.arrived.has(id, &text) {
            Ok(arrived) => self.parse(&name, &text, arrived),
            Err(why) => config::unreadable(Diagnostic::error("unreadable-file", why, None)),
        }
    }

    /// Checks a text as one that came over the API.
    pub fn check(&self, id: &str, text: &str) -> Loaded {
        self.parse(&format!("{id}.yaml"), text, true)
    }

    fn parse(&self, name: &str, text: &str, arrived: bool) -> Loaded {
        let env = |name: &str| std::env::var(name).ok();
        let Place { directory, shared, allowed, .. } = &self.place;
        let allowed = arrived.then(|| Arc::clone(allowed));
        config::parse_shared((text, shared.as_deref(), allowed), name, directory, &REGISTRY, &env, Severity::Error)
    }

    /// Writes the file of a pipeline, of one that is there or a new one, and takes it. The error is a sentence.
    pub fn put(&self, id: &str, text: &str, reset: Vec<String>) -> Result<Reload, String> {
        let file = self.get(id).map_or_else(|| self.place.directory.join(format!("{id}.yaml")), |of| of.file.clone());
        let cannot = |e: std::io::Error| format!("`{}` cannot be written: {}", file.display(), reason(&e));
        let putting = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        self.arrived.note(id, fs::read_to_string(&file).ok().as_deref(), text)?;
        // Whoever reads the directory meanwhile sees the file before or the file after; the name is no pipeline's.
        let beside = self.place.directory.join(format!(".{id}.new"));
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &file)).map_err(cannot)?;
        drop(putting);
        let reload = match self.get(id) {
            Some(_) => self.reload(id, reset),
            None => self.add(id, file, Wanted::Run)?,
        };
        reload.ok_or_else(|| format!("`{id}` was removed meanwhile"))
    }

    /// Removes the file of a pipeline, which stops. The error is a sentence.
    pub fn delete(&self, id: &str) -> Result<(), String> {
        let Some(of) = self.get(id) else { return Ok(()) };
        let cannot = |e: std::io::Error| format!("`{}` cannot be removed: {}", of.file.display(), reason(&e));
        fs::remove_file(&of.file).map_err(cannot)?;
        if let Some(task) = self.remove(id) {
            task.wait();
        }
        Ok(())
    }

    /// Tells a pipeline to stop and forgets it; its task ends when it has. Its state stays.
    fn remove(&self, id: &str) -> Option<Begun<()>> {
        let known = self.known().remove(id)?;
        known.of.want(Wanted::Go);
        known.task
    }

    /// Lets a pipeline run or not; that is remembered when the process ends. False if there is no such pipeline.
    pub fn want(&self, id: &str, wanted: Wanted) -> Result<bool, String> {
        let Some(of) = self.get(id) else { return Ok(false) };
        of.want(wanted);
        let stopped: BTreeSet<String> =
            self.all().iter().filter(|of| of.is_stopped()).map(|of| of.id.clone()).collect();
        self.remember(&stopped)?;
        Ok(true)
    }

    fn orders(&self) -> PathBuf {
        self.place.own.join("stopped.json")
    }

    /// The pipelines that somebody has stopped. What says so and is damaged stops none; one that cannot be read may be readable in
    /// a moment, and meanwhile nothing is begun that may be meant to stand still. The error is a sentence.
    fn stopped(&self) -> Result<BTreeSet<String>, String> {
        let path = self.orders();
        let read = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(e) => {
                let path = path.display();
                return Err(format!("which pipelines were stopped cannot be read from `{path}`: {}", reason(&e)));
            }
            Ok(text) => serde_json::from_slice(&text).map_err(|e| e.to_string()),
        };
        Ok(read.unwrap_or_else(|why| {
            tracing::error!("which pipelines were stopped cannot be read from `{}`: {why}", path.display());
            BTreeSet::new()
        }))
    }

    fn remember(&self, stopped: &BTreeSet<String>) -> Result<(), String> {
        let path = self.orders();
        let cannot = |e: std::io::Error| format!("`{}` cannot be written: {}", path.display(), reason(&e));
        make_private_directory(&self.place.own).map_err(cannot)?;
        let beside = path.with_extension("json.new");
        // Texts alone: this cannot fail.
        fs::write(&beside, serde_json::to_vec(stopped).unwrap_or_default()).map_err(cannot)?;
        fs::rename(&beside, &path).map_err(cannot)
    }

    /// Stops all of them at once. False if some did not come to a checkpoint in time.
    pub fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let all = self.all();
        all.iter().for_each(|of| of.want(Wanted::Go));
        let mut tasks: Vec<Begun<()>> = self.known().values_mut().filter_map(|k| k.task.take()).collect();
        tasks.append(&mut self.leaving());
        while !tasks.is_empty() && Instant::now() < until {
            tasks.retain(|task| !task.is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        for of in all.iter().filter(|of| of.seen().phase == Phase::Stopping && of.seen().handle.is_some()) {
            tracing::error!(
                pipeline = of.id,
                "did not stop within {} s; its next run does again what is not in the last checkpoint",
                within.as_secs()
            );
        }
        tasks.is_empty()
    }
}

/// What was found in a file, as `check` says it.
pub fn said(found: &Diagnostics) -> String {
    render(found, Style::Human { colour: false }).trim_end().to_owned()
}
