//! Loading a pipeline file for a verb, and telling people.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::base::diag::{Diagnostics, Severity};
use crate::base::render::{self, Style};
use crate::base::system::reason;
use crate::config::{self, Loaded, Pipeline};
use crate::service::open::REGISTRY;

use super::exit;

/// Writes a line for people on standard error.
pub fn say(text: &str) {
    // Where standard error is gone too, the exit code is all that is left.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes a verb's result on standard output.
pub fn print(text: &str) -> u8 {
    match anstream::stdout().write_all(text.as_bytes()) {
        // Whoever read the output has gone, which is theirs to decide.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            say(&format!("error: standard output cannot be written: {}", reason(&e)));
            exit::FAILED
        }
        _ => exit::OK,
    }
}

/// Shows what was found in pipeline files.
pub fn show(found: &Diagnostics) {
    if !found.list.is_empty() {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let _ = std::io::stderr().write_all(render::render(found, Style::Human { colour }).as_bytes());
    }
}

/// Loads a pipeline file with the environment's variables and shows what is wrong with it.
pub fn load(file: &Path, missing_secret: Severity) -> Option<Pipeline> {
    let loaded = loaded(file, &|name| std::env::var(name).ok(), missing_secret);
    show(&loaded.found);
    loaded.pipeline
}

/// Reads and checks a pipeline, with the receivers that pipelines share.
pub fn loaded(file: &Path, env: &dyn Fn(&str) -> Option<String>, missing_secret: Severity) -> Loaded {
    config::load_with(file, shared(), &REGISTRY, env, missing_secret)
}

/// The file of `--config`, if it is given.
static SHARED: OnceLock<PathBuf> = OnceLock::new();

/// Pipelines are read with the receivers of this file from now on.
pub fn share(file: PathBuf) {
    // A command line says it once.
    let _ = SHARED.set(file);
}

/// The file of `--config`, if there is one.
pub fn shared() -> Option<&'static Path> {
    SHARED.get().map(PathBuf::as_path)
}
