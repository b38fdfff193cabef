//! `millstream schema`: the JSON Schema of pipeline files, for editors, and the tables of states, for people who open them.

use std::io::Write;
use std::path::PathBuf;

use crate::base::system::reason;
use crate::config::{Registry, schema};
use crate::store::state::schema::MIGRATIONS;

use super::exit;

/// Options of `schema`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write it to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the tables of states instead, as SQL that says what each column is.
    #[arg(long)]
    state: bool,
}

/// Writes the schema.
pub fn run(args: &Args, registry: &Registry<'_>) -> u8 {
    let text = if args.state { MIGRATIONS.concat() } else { schema::schema(registry) };
    let written = match &args.output {
        Some(file) => {
            std::fs::write(file, text).map_err(|e| format!("`{}` cannot be written: {}", file.display(), reason(&e)))
        }
        None => match std::io::stdout().write_all(text.as_bytes()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(format!("the schema cannot be written: {}", reason(&e)))
            }
            _ => Ok(()),
        },
    };
    match written {
        Ok(()) => exit::OK,
        Err(message) => {
            // Where standard error is gone too, the exit code is all that is left to say it.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            exit::FAILED
        }
    }
}
