//! A file of events on the command line, for verbs that look at data.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::base::limit::CHUNK_BYTES;
use crate::base::system::reason;
use crate::connectors::input_file::InputFile;
use crate::connectors::unpack::Compression;
use crate::data::format::{Csv, Format, Logfmt};
use crate::inspect::records::Told;
use crate::inspect::spelling;

use super::load::say;

/// Which data, and how it is read.
#[derive(clap::Args, Debug)]
pub struct Data {
    /// The data, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How its records are read [default: by the file's ending, else json].
    #[arg(long, value_enum)]
    format: Option<DataFormat>,
    /// The character between the fields of CSV [default: a tab in .tsv files, else a comma].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
}

/// How records are read.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum DataFormat {
    /// A JSON value a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// `name=value` pairs, a record a line.
    Logfmt,
    /// The access log of Apache and nginx.
    CombinedLog,
    /// MessagePack values, one after the other.
    Msgpack,
}

/// How a result is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// For a pipeline file.
    Yaml,
    /// One JSON object, for programs.
    Json,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" | b"tab" | b"\t" => Ok(b'\t'),
        [byte] if byte.is_ascii_graphic() && *byte != b'"' => Ok(*byte),
        _ => Err("it is one ASCII character other than a quote; a tab is written `tab`".into()),
    }
}

/// A file that may be packed, as a `file` source reads it.
struct Unpacked {
    input: InputFile,
    held: std::vec::IntoIter<u8>,
}

impl Read for Unpacked {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        if self.held.as_slice().is_empty() {
            let bytes = self.input.read(CHUNK_BYTES, true).map_err(|e| std::io::Error::other(e.message))?;
            if bytes.is_empty()
                && let Some(broken) = self.input.breaks(true)
            {
                return Err(std::io::Error::other(broken));
            }
            self.held = bytes.into_iter();
        }
        self.held.as_slice().read(room).inspect(|count| self.held.by_ref().take(*count).for_each(drop))
    }
}

impl Data {
    /// How the records are read: what was asked for, else what the file's name says.
    pub fn format(&self) -> Format {
        // Of a packed file what it is called without that.
        let ending = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let packed = matches!(ending(&self.file).as_str(), "gz" | "zst");
        let ending = if packed { ending(&self.file.with_extension("")) } else { ending(&self.file) };
        let named = match ending.as_str() {
            _ if self.delimiter.is_some() => DataFormat::Csv,
            "csv" | "tsv" => DataFormat::Csv,
            "logfmt" => DataFormat::Logfmt,
            "msgpack" | "mpk" => DataFormat::Msgpack,
            _ => DataFormat::Json,
        };
        match self.format.unwrap_or(named) {
            DataFormat::Json => Format::Json,
            DataFormat::Csv => {
                let delimiter = self.delimiter.unwrap_or(if ending == "tsv" { b'\t' } else { b',' });
                Format::Csv(Box::new(Csv { delimiter, infer: true, ..Csv::PLAIN }))
            }
            DataFormat::Logfmt => Format::Logfmt(Logfmt { infer: true }),
            DataFormat::CombinedLog => Format::CombinedLog,
            DataFormat::Msgpack => Format::MessagePack,
        }
    }

    /// What the data is called in messages.
    pub fn name(&self) -> String {
        if self.is_stdin() { "standard input".into() } else { self.file.display().to_string() }
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// Opens it. The error is a sentence.
    pub fn open(&self) -> Result<Box<dyn Read>, String> {
        if self.is_stdin() {
            return Ok(Box::new(std::io::stdin().lock()));
        }
        let why = |reason: String| format!("`{}` cannot be read: {reason}", self.name());
        let file = std::fs::File::open(&self.file).map_err(|e| why(reason(&e)))?;
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err(why("it is a directory; name a file in it".into()));
        }
        let input = InputFile::new(file, &self.file, &self.name(), Compression::Auto).map_err(|e| e.message)?;
        Ok(Box::new(Unpacked { input, held: Vec::new().into_iter() }))
    }

    /// What the error of reading it is.
    pub fn unreadable(&self, error: &std::io::Error) -> String {
        format!("`{}` cannot be read: {}", self.name(), reason(error))
    }

    /// What parts the fields in the header of CSV, if the delimiter does not and another character seems to.
    fn other_delimiter(&self, header: &str) -> Option<char> {
        let Format::Csv(csv) = self.format() else { return None };
        if header.contains(char::from(csv.delimiter)) {
            return None;
        }
        [';', '\t', '|', ','].into_iter().find(|other| header.contains(*other))
    }

    /// Says on standard error what was read, and what could not be.
    pub fn tell(&self, told: &Told) {
        let events = match told.more {
            true if told.events == 1 => "the first event, there are more".to_owned(),
            true => format!("the first {}, there are more", spelling::counted(told.events, "event")),
            false => spelling::counted(told.events, "event"),
        };
        say(&format!("{}: {events}", self.name()));
        if let Some(other) = self.other_delimiter(&told.first_line) {
            let given = if other == '\t' { "tab".to_owned() } else { format!("'{other}'") };
            let shown = if other == '\t' { "tabs".to_owned() } else { format!("`{other}`") };
            say(&format!(
                "warning: the header is one column with {shown} in it\n  help: give `--delimiter {given}` if that parts the fields"
            ));
        }
        if let Some(first) = &told.first_broken {
            let records = spelling::counted(told.broken, "record");
            say(&format!("warning: {records} could not be read; the first: {first}"));
            if told.events == 0 && self.format.is_none() {
                say("  help: say with `--format` how its records are read");
            }
        }
    }
}
