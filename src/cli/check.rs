//! `millstream check`: everything that is wrong with pipeline files, without running them.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use crate::base::diag::{Diagnostics, Severity};
use crate::base::render::{self, Style};

use super::load::{loaded, say};
use super::{exit, files};

/// Options of `check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files, or directories with pipelines below them.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// How what is found is written.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Count warnings as errors.
    #[arg(long)]
    strict: bool,
}

/// How what is found is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Excerpts for people, on standard error.
    Human,
    /// One JSON object on standard output.
    Json,
    /// Annotations for GitHub's review page, on standard output.
    Github,
}

/// Checks the files. The exit code is [`exit::OK`] when every pipeline could run.
pub fn run(args: &Args) -> u8 {
    let mut found = Diagnostics::default();
    let mut right = Vec::new();
    let files = match files::expand(&args.files) {
        Ok(files) => files,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    for file in &files {
        let env = |name: &str| std::env::var(name).ok();
        let mut loaded = loaded(file, &env, Severity::Warning);
        if loaded.found.list.is_empty() {
            right.push(file.display().to_string());
        }
        found.list.append(&mut loaded.found.list);
    }
    let written = match args.format {
        Format::Human => human(&found, &right),
        Format::Json => std::io::stdout().write_all(render::render(&found, Style::Json).as_bytes()),
        Format::Github => std::io::stdout().write_all(render::render(&found, Style::Github).as_bytes()),
    };
    let wrong = found.has_errors() || (args.strict && !found.list.is_empty());
    match written {
        // Whoever read the output has gone; the exit code still says what was found.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => exit::FAILED,
        _ if wrong => exit::USAGE,
        _ => exit::OK,
    }
}

fn human(found: &Diagnostics, right: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for file in right {
        writeln!(out, "{file}: nothing to mend")?;
    }
    report(found)
}

/// Writes what was found for people to standard error, coloured where that is a terminal that wants it.
pub fn report(found: &Diagnostics) -> std::io::Result<()> {
    let mut err = std::io::stderr();
    let wanted = anstream::AutoStream::choice(&err) != anstream::ColorChoice::Never;
    let colour = err.is_terminal() && wanted;
    err.write_all(render::render(found, Style::Human { colour }).as_bytes())?;
    match render::count(found) {
        Some(count) => writeln!(err, "{count}"),
        None => Ok(()),
    }
}
