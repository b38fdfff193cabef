//! What went wrong with a state database, in sentences for people.

use std::path::Path;

use rusqlite::ErrorCode;

/// Why a state database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    /// One sentence or two for the person: where, what is wrong, how to mend it.
    pub message: String,
    /// Whether it is the file that cannot be used, ever, and it is a state: a run that begins anew may put another in its
    /// place.
    pub(super) useless: bool,
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StateError {}

impl StateError {
    /// Of a message.
    pub fn new(message: impl Into<String>) -> StateError {
        StateError { message: message.into(), useless: false }
    }

    /// Of a message about a file that cannot be used, ever.
    pub(super) fn useless(message: impl Into<String>) -> StateError {
        StateError { message: message.into(), useless: true }
    }
}

/// How a file that is not what it should be is mended.
pub(super) const MEND: &str = "put back a copy of it, or begin anew with `run --fresh`";

/// A file whose content is wrong; `what` is a clause.
pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> StateError {
    StateError::useless(format!("the state `{}` is damaged: {what}; {MEND}", path.display()))
}

/// What an error of SQLite means for a state database at `path`.
pub(super) fn fault(path: &Path, error: &rusqlite::Error) -> StateError {
    let file = path.display();
    let said = said(error);
    let Some(code) = error.sqlite_error_code() else {
        // A value of the wrong type or a statement that does not fit: the tables are not as they were made.
        return damaged(path, said);
    };
    StateError::new(match code {
        ErrorCode::NotADatabase => {
            return StateError::useless(format!(
                "`{file}` is no state of a pipeline: it is no SQLite database; {MEND}"
            ));
        }
        ErrorCode::DiskFull => format!(
            "the state `{file}` cannot be written: the disk is full; make room and run again, the run goes on from its last checkpoint"
        ),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => format!(
            "the state `{file}` cannot be written: {said}; make it and its directory writable, or name another directory with `--data`"
        ),
        ErrorCode::CannotOpen => {
            format!(
                "the state `{file}` cannot be opened: {said}; may this process read and write it and its directory?"
            )
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            format!("the state `{file}` is locked by another program that writes it; end that and run again")
        }
        ErrorCode::SystemIoFailure => format!(
            "the state `{file}` cannot be read or written: {said}; is its disk full, gone or failing? The run goes on from its last checkpoint"
        ),
        ErrorCode::OutOfMemory | ErrorCode::TooBig => {
            format!("the state `{file}` cannot be written: {said}; a step keeps more than fits")
        }
        _ => return damaged(path, said),
    })
}

/// An error of SQLite in its own words, without numbers.
fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}
