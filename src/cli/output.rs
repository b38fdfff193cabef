//! How verbs write their answers, and where they write lines as they come: standard output or a file.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::exit;
use super::load::say;
use super::state_path::failed;
use crate::base::system::reason;

/// How answers are written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// A JSON object a line.
    Ndjson,
    /// One JSON text: a list, where there may be several.
    Json,
}

impl Format {
    /// Rows; for people as `text` says them.
    pub fn rows(self, rows: &[Value], text: impl FnOnce(&[Value]) -> String) -> String {
        match self {
            Format::Text => text(rows),
            Format::Ndjson => rows.iter().map(|row| format!("{row}\n")).collect(),
            Format::Json => pretty(rows),
        }
    }

    /// A single answer.
    pub fn one<T: Serialize>(self, answer: &T, text: impl FnOnce(&T) -> String) -> String {
        match self {
            Format::Text => text(answer),
            // Texts, numbers and lists of them: this cannot fail.
            Format::Ndjson => format!("{}\n", serde_json::to_string(answer).unwrap_or_default()),
            Format::Json => pretty(answer),
        }
    }
}

fn pretty<T: Serialize + ?Sized>(answer: &T) -> String {
    format!("{}\n", serde_json::to_string_pretty(answer).unwrap_or_default())
}

/// Why not all was read of what was to be written.
pub enum Unread {
    /// It was said: an exit code.
    Said(u8),
    /// A sentence, of whoever writes it perhaps.
    Why(String),
}

impl From<u8> for Unread {
    fn from(code: u8) -> Unread {
        Unread::Said(code)
    }
}

impl Unread {
    /// Says why: the exit code.
    pub fn said(self) -> u8 {
        match self {
            Unread::Said(code) => code,
            Unread::Why(why) => failed(&why),
        }
    }
}

/// An output that is open.
pub struct Output {
    to: BufWriter<Box<dyn Write>>,
    name: String,
    /// Whether whoever read it has gone.
    gone: bool,
}

impl Output {
    /// A file, or standard output. The error is a sentence.
    pub fn open(path: Option<&Path>) -> Result<Output, String> {
        let (to, name): (Box<dyn Write>, _) = match path {
            None => (Box::new(anstream::stdout()), "standard output".to_owned()),
            Some(path) => {
                let file = File::create(path)
                    .map_err(|e| format!("`{}` cannot be written: {}", path.display(), reason(&e)))?;
                (Box::new(file), format!("`{}`", path.display()))
            }
        };
        Ok(Output { to: BufWriter::new(to), name, gone: false })
    }

    /// Writes a line. An error ends the verb; [`Self::end`] says which.
    pub fn line(&mut self, text: &str) -> Result<(), String> {
        let written = self.to.write_all(text.as_bytes()).and_then(|()| self.to.write_all(b"\n"));
        written.map_err(|e| self.failed(&e))
    }

    /// Writes a text; an error as of [`Self::line`].
    pub fn text(&mut self, text: &str) -> Result<(), String> {
        self.to.write_all(text.as_bytes()).map_err(|e| self.failed(&e))
    }

    fn failed(&mut self, error: &std::io::Error) -> String {
        // Whoever read the output has gone, which is theirs to decide.
        self.gone = error.kind() == ErrorKind::BrokenPipe;
        format!("{} cannot be written: {}", self.name, reason(error))
    }

    /// Writes what is left and says what went wrong, if anything did: the verb's exit code.
    pub fn end(mut self, done: Result<(), String>) -> u8 {
        let done = done.and_then(|()| self.to.flush().map_err(|e| self.failed(&e)));
        match done {
            Err(why) if !self.gone => {
                say(&format!("error: {why}"));
                exit::FAILED
            }
            _ => exit::OK,
        }
    }
}
