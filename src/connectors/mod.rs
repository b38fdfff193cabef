//! The connectors that Millstream has, one file each, listed by hand. Nothing else names one of them: the engine and the
//! configuration get these lists.

mod appended_file;
pub mod discard;
pub mod file_sink;
pub mod file_source;
mod file_stream;
mod find_again;
mod follow;
pub mod generate;
mod glob;
mod input_file;
pub mod journalled;
mod output;
mod output_file;
mod output_files;
mod output_mark;
mod pack;
mod pending;
pub mod sqlite_sink;
pub mod stdin;
pub mod stdout;
mod table;
mod undo_log;
mod unpack;
mod writeback;
mod written;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod sink_recovery;

use crate::connector::{SinkKind, SourceKind};

/// Every source connector.
pub const SOURCES: &[SourceKind] = &[
    SourceKind::of::<file_source::FileSource>(),
    SourceKind::of::<stdin::StdinSource>(),
    SourceKind::of::<generate::GenerateSource>(),
];

/// Every sink connector.
pub const SINKS: &[SinkKind] = &[
    SinkKind::of::<stdout::StdoutSink>(),
    SinkKind::of::<file_sink::FileSink>(),
    SinkKind::of::<sqlite_sink::SqliteSink>(),
    SinkKind::of::<discard::DiscardSink>(),
];

/// What an operating system's error means, in words.
fn io_reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "it does not exist".into(),
        ErrorKind::PermissionDenied => "permission is denied".into(),
        ErrorKind::IsADirectory => "it is a directory".into(),
        ErrorKind::NotADirectory => "part of its path is a file, not a directory".into(),
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}
