//! What can go wrong with a journal.

use std::path::Path;

/// Why a journal cannot do what it was asked. Each message is for the person who runs the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalError {
    /// It holds as much as it may. Nothing was taken; there is room again when a checkpoint has covered more of it.
    Full(String),
    /// What was to be appended is larger than it takes. Nothing was taken.
    TooLarge(String),
    /// Its files are not what was written.
    Damaged(String),
    /// Records that were asked for are not in it.
    Missing(String),
    /// The system refused. A journal that could not write or sync takes nothing more until it is opened again: what a
    /// second sync would say of the bytes that the first one lost cannot be believed.
    Failed(String),
}

impl JournalError {
    /// One sentence, with what to do.
    pub fn message(&self) -> &str {
        match self {
            JournalError::Full(why)
            | JournalError::TooLarge(why)
            | JournalError::Damaged(why)
            | JournalError::Missing(why)
            | JournalError::Failed(why) => why,
        }
    }

    /// The same, for good.
    pub fn into_message(self) -> String {
        self.message().to_owned()
    }

    /// The system's refusal, of what was tried with a file: `cannot be written`.
    pub(super) fn system(path: &Path, tried: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let why = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "the disk is full; make room and start again".to_owned()
            }
            ErrorKind::FileTooLarge => "a file may not grow any larger; raise the limit and start again".to_owned(),
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only; give it another place (`state`)".to_owned(),
            ErrorKind::PermissionDenied => "permission is denied; give it another place (`state`)".to_owned(),
            ErrorKind::NotADirectory => "part of its path is a file, not a directory".to_owned(),
            ErrorKind::NotFound => "it does not exist; it was there when the journal was opened".to_owned(),
            _ => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
        };
        JournalError::Failed(format!("the journal's `{}` {tried}: {why}", path.display()))
    }

    /// Damage at a byte of a file.
    pub(super) fn damage(path: &Path, at: u64, why: &str) -> Self {
        JournalError::Damaged(format!(
            "the journal's `{}` is damaged at byte {at}: {why}. Put the file back from a backup; or move the journal's \
             directory away, and what it holds beyond the last checkpoint is not processed",
            path.display()
        ))
    }
}
