//! `millstream backup`: copies of states, made while pipelines run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::base::system::{make_private_directory, reason};
use crate::config::Pipeline;
use crate::inspect::spelling::counted;
use crate::service::open::{open_to_write, state_path};
use crate::store::state::{Holder, StateReader, copy};

use super::load::{load, print, say};
use super::state_path::DataDirectory;
use super::table::size;
use super::{exit, files};

/// Options of `backup`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files, or directories with pipelines below them.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// The directory that the copies are written into; it is made if it is not there. To restore, stop the pipeline and put
    /// what is in it where the state was.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    data: DataDirectory,
}

/// What is kept beside a state: what was taken and is in no checkpoint yet, how live inputs met, what is to be sent.
const BESIDE: [&str; 3] = [".journal", ".turns", ".outbox"];

/// Makes the copies. What went wrong with one is said; the others are made all the same.
pub fn run(args: &Args) -> u8 {
    let files = match files::expand(&args.files) {
        Ok(files) => files,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    let mut code = exit::OK;
    for file in &files {
        let Some(pipeline) = load(file, crate::base::diag::Severity::Warning) else {
            code = exit::USAGE;
            continue;
        };
        let state = state_path(&pipeline, args.data.data.as_deref());
        let name = &pipeline.plan.name;
        match one(&pipeline, &state, &args.to) {
            Ok(None) => say(&format!("{name}: no state yet, nothing to copy")),
            Ok(Some(Copied { path, keys, bytes })) => {
                let keys = counted(keys, "key");
                code =
                    code.max(print(&format!("{name}: {keys}, {} in `{}`, read again\n", size(bytes), path.display())));
            }
            Err(why) => {
                say(&format!("error: {name}: {why}"));
                code = code.max(exit::FAILED);
            }
        }
    }
    code
}

/// A copy that was made and read again.
struct Copied {
    path: PathBuf,
    keys: u64,
    bytes: u64,
}

/// Copies a state and what is beside it; `None` if there is none. A copy that is not whole is taken away.
fn one(pipeline: &Pipeline, state: &Path, to: &Path) -> Result<Option<Copied>, String> {
    if !state.exists() {
        return Ok(None);
    }
    let failed = |path: &Path, e: &std::io::Error| format!("`{}` cannot be written: {}", path.display(), reason(e));
    make_private_directory(to).map_err(|e| failed(to, &e))?;
    let name = state.file_name().ok_or_else(|| format!("`{}` is no file", state.display()))?;
    let path = to.join(name);
    let all = || std::iter::once(path.clone()).chain(BESIDE.iter().map(|ending| beside(&path, ending)));
    if let Some(taken) = all().find(|path| path.exists()) {
        return Err(format!("`{}` is there already; name another directory with `--to`", taken.display()));
    }
    let made = copy_all(pipeline, state, &path);
    let checked = made.and_then(|bytes| {
        let keys = StateReader::open(&path).and_then(|reader| reader.check()).map_err(|e| e.message)?;
        // The entries of the directory, too.
        File::open(to).and_then(|directory| directory.sync_all()).map_err(|e| failed(to, &e))?;
        Ok(Some(Copied { path: path.clone(), keys, bytes }))
    });
    if checked.is_err() {
        for made in all() {
            let _ = if made.is_dir() { fs::remove_dir_all(&made) } else { fs::remove_file(&made) };
        }
    }
    checked
}

/// The bytes that were copied.
fn copy_all(pipeline: &Pipeline, state: &Path, path: &Path) -> Result<u64, String> {
    // What is beside a state belongs to one checkpoint: a run that has it pauses until it is copied.
    let apart: Vec<&str> = BESIDE.into_iter().filter(|ending| beside(state, ending).is_dir()).collect();
    let holder = Holder { pipeline: pipeline.plan.file.clone(), command: "backup".to_owned() };
    let paused = match apart.is_empty() {
        true => None,
        false => Some(open_to_write(state, &holder).map_err(|e| e.message)?),
    };
    copy(state, path).map_err(|e| e.message)?;
    let mut bytes = fs::metadata(path).map_or(0, |about| about.len());
    for ending in apart {
        bytes += copy_directory(&beside(state, ending), &beside(path, ending))?;
    }
    drop(paused);
    Ok(bytes)
}

fn beside(state: &Path, ending: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Copies the files below a directory and syncs them; sockets and the like are of the run.
fn copy_directory(from: &Path, to: &Path) -> Result<u64, String> {
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(from).min_depth(0) {
        let entry = entry.map_err(|e| format!("`{}` cannot be read: {}", from.display(), reason(&e.into())))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let made = match entry.file_type() {
            kind if kind.is_dir() => make_private_directory(&target).and_then(|()| File::open(&target)?.sync_all()),
            kind if kind.is_file() => fs::copy(entry.path(), &target).and_then(|copied| {
                bytes += copied;
                File::open(&target)?.sync_all()
            }),
            _ => Ok(()),
        };
        made.map_err(|e| format!("`{}` cannot be copied: {}", entry.path().display(), reason(&e)))?;
    }
    Ok(bytes)
}
