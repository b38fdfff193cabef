//! Pipeline files: YAML to a checked [`Plan`], or everything that is wrong with it, each with its place. The only layer that
//! knows YAML. Pure apart from reading the file and the secrets it names.

mod aggregates;
pub mod alert;
pub mod cases;
mod checkpoint;
mod context;
mod csv;
mod document;
mod eaten;
mod expressions;
mod format;
mod graph;
mod interpolate;
mod number;
mod read;
pub mod schema;
mod sink;
mod source;
mod step;
mod time;
mod values;
mod window;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::diag::{Diagnostic, Diagnostics, Severity, SourceFile};
use crate::base::limit;
use crate::connector::{Allowed, SinkKind, SourceKind};
use crate::plan::Plan;

/// The connectors that a pipeline may name.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    /// Every source.
    pub sources: &'a [SourceKind],
    /// Every sink.
    pub sinks: &'a [SinkKind],
}

/// A pipeline that was found right.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What it does.
    pub plan: Plan,
    /// Its tests, in the order written.
    pub tests: Vec<cases::TestCase>,
    /// Paths in it are relative to this.
    pub directory: PathBuf,
}

/// What became of a pipeline file.
#[derive(Debug)]
pub struct Loaded {
    /// The pipeline, if nothing is wrong with it but what warnings say.
    pub pipeline: Option<Pipeline>,
    /// Everything that was found, in order of place.
    pub found: Diagnostics,
    /// Other files that it was read from, whether they are there or not: secrets, schemas.
    pub files: Vec<PathBuf>,
}

/// Reads and checks a pipeline file. `missing_secret` says how bad it is when a secret's file cannot be read: a warning
/// where the pipeline is only checked, an error where it will run.
pub fn load(
    file: &Path,
    registry: &Registry<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    missing_secret: Severity,
) -> Loaded {
    load_with(file, None, registry, env, missing_secret)
}

/// The same with receivers of another file, which pipelines share.
pub fn load_with(
    file: &Path,
    shared: Option<&Path>,
    registry: &Registry<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    missing_secret: Severity,
) -> Loaded {
    let name = file.display().to_string();
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let shared = match shared.map(shared_file).transpose() {
        Ok(shared) => shared,
        Err(diagnostic) => return unreadable(diagnostic),
    };
    match text_of(file, &name) {
        Ok(text) => parse_with((&text, shared, None), &name, &directory, registry, env, missing_secret),
        Err(diagnostic) => unreadable(diagnostic),
    }
}

/// A pipeline of which a file cannot be read.
pub fn unreadable(diagnostic: Diagnostic) -> Loaded {
    Loaded { pipeline: None, found: Diagnostics { list: vec![diagnostic] }, files: Vec::new() }
}

fn shared_file(file: &Path) -> Result<SourceFile, Diagnostic> {
    let name = file.display().to_string();
    text_of(file, &name).map(|text| SourceFile { name, text })
}

/// The same as [`parse`], with receivers of another file, which pipelines share, and of a pipeline that may reach what is
/// allowed alone, if something is.
pub fn parse_shared(
    (text, shared, allowed): (&str, Option<&Path>, Option<Arc<Allowed>>),
    name: &str,
    directory: &Path,
    registry: &Registry<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    missing_secret: Severity,
) -> Loaded {
    match shared.map(shared_file).transpose() {
        Ok(shared) => parse_with((text, shared, allowed), name, directory, registry, env, missing_secret),
        Err(diagnostic) => unreadable(diagnostic),
    }
}

/// Checks a pipeline's text. `name` is what the file is called in messages, `directory` what its paths are relative to.
pub fn parse(
    text: &str,
    name: &str,
    directory: &Path,
    registry: &Registry<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    missing_secret: Severity,
) -> Loaded {
    parse_with((text, None, None), name, directory, registry, env, missing_secret)
}

fn parse_with(
    (text, shared, allowed): (&str, Option<SourceFile>, Option<Arc<Allowed>>),
    name: &str,
    directory: &Path,
    registry: &Registry<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    missing_secret: Severity,
) -> Loaded {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = Arc::new(SourceFile { name: name.to_owned(), text: text.to_owned() });
    let (mut found, mut files) = (Diagnostics::default(), Vec::new());
    let shared = shared.and_then(|file| yaml::read(&Arc::new(file), &mut found));
    let pipeline = yaml::read(&file, &mut found).and_then(|tree| {
        let mut context = context::Context {
            registry,
            env,
            directory,
            allowed,
            missing_secret,
            found: &mut found,
            layout: Default::default(),
            named: Vec::new(),
            alerts: Vec::new(),
            shared,
            files: Vec::new(),
            vars: Vec::new(),
        };
        let pipeline = document::resolve(&tree, &mut context);
        files = context.files;
        pipeline
    });
    found.sort();
    Loaded { pipeline: if found.has_errors() { None } else { pipeline }, found, files }
}

/// The text of a pipeline's file, or why there is none. `name` is what the file is called in messages.
pub fn text_of(file: &Path, name: &str) -> Result<String, Diagnostic> {
    let unreadable =
        |why: String| Diagnostic::error("unreadable-file", format!("`{name}` cannot be read: {why}"), None);
    let about = std::fs::metadata(file).map_err(|e| unreadable(interpolate::reason(&e)))?;
    if about.is_dir() {
        return Err(unreadable("it is a directory".into()).help("name a pipeline file in it"));
    }
    if about.len() > limit::YAML_BYTES {
        let mib = limit::YAML_BYTES >> 20;
        return Err(unreadable(format!("it is larger than {mib} MiB, which no pipeline is")).help("name a YAML file"));
    }
    let bytes = std::fs::read(file).map_err(|e| unreadable(interpolate::reason(&e)))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        let message = format!("`{name}` is not UTF-8 text: byte {} in line {line} is wrong", at + 1);
        Diagnostic::error("not-utf8", message, None).help("save it as UTF-8")
    })
}

#[cfg(test)]
mod tests;
