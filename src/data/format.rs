//! How records and times are spelled: the settings that readers and writers share.

/// How records are cut and read.
#[derive(Clone, PartialEq, Debug)]
pub enum Format {
    /// JSON values, one a line.
    Json,
    /// Comma-separated values.
    Csv(Box<Csv>),
    /// A line of text, as one field.
    Text(Text),
    /// `name=value` parted by white space.
    Logfmt(Logfmt),
    /// Lines that fit a pattern: `regex` and `grok`.
    Pattern(Pattern),
    /// The access log of Apache and nginx, common or combined.
    CombinedLog,
    /// Pairs with separators of the author's choice.
    KeyValue(KeyValue),
    /// MessagePack values, one after the other.
    MessagePack,
    /// Only written: a line that a template makes; the sink has it.
    Line,
}

/// A line of text.
#[derive(Clone, PartialEq, Debug)]
pub struct Text {
    /// The field that takes it.
    pub field: String,
}

/// How logfmt is read.
#[derive(Clone, PartialEq, Debug)]
pub struct Logfmt {
    /// Whether unquoted values that are spelled like JSON numbers and `true`, `false` are read as such and empty ones as
    /// null; otherwise all is text.
    pub infer: bool,
}

/// How pairs are parted.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyValue {
    /// Between pairs. White space is any amount of it.
    pub pair_separator: String,
    /// Between a name and its value.
    pub value_separator: String,
    /// Around names and values that hold separators.
    pub quote: u8,
    /// As for [`Logfmt::infer`].
    pub infer: bool,
}

/// Patterns of which a record has to fit one; the first that it fits counts.
#[derive(Clone, PartialEq, Debug)]
pub struct Pattern {
    /// `regex` or `grok`.
    pub language: &'static str,
    /// In the order they are tried.
    pub alternatives: Vec<Alternative>,
}

/// One pattern.
#[derive(Clone, PartialEq, Debug)]
pub struct Alternative {
    /// As its author wrote it.
    pub written: String,
    /// As a regular expression.
    pub regex: String,
    /// What it captures, in the order written.
    pub captures: Vec<Capture>,
    /// What stands in it one after the other, to say where a text stops fitting.
    pub pieces: Vec<Piece>,
}

/// One piece of a pattern.
#[derive(Clone, PartialEq, Debug)]
pub struct Piece {
    /// One past its end in the regular expression.
    pub end: usize,
    /// How many groups are open there.
    pub open: usize,
    /// As its author wrote it.
    pub name: String,
    /// It alone, as a regular expression.
    pub alone: String,
    /// Whether it goes over whatever there is.
    pub anything: bool,
}

/// A field that a pattern captures.
#[derive(Clone, PartialEq, Debug)]
pub struct Capture {
    /// The field: names from the outside in.
    pub path: Vec<String>,
    /// Numbers of the groups that may hold it; the first that took part counts.
    pub groups: Vec<usize>,
    /// What its text is read as.
    pub kind: CaptureKind,
}

/// What a captured text is read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureKind {
    /// Text, as it stands.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
}

/// A CSV dialect.
#[derive(Clone, PartialEq, Debug)]
pub struct Csv {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold delimiters or line ends; doubled inside it stands for itself. `None`: a quote is a
    /// character like any other.
    pub quote: Option<u8>,
    /// Inside quotes: takes what follows it as it stands, also a quote.
    pub escape: Option<u8>,
    /// What a line begins with that is no record.
    pub comment: Option<u8>,
    /// Field names; `None` when the first record of each file holds them.
    pub columns: Option<Vec<String>>,
    /// Whether values that are spelled like JSON numbers and `true`, `false` are read as such and empty ones as null;
    /// otherwise all is text.
    pub infer: bool,
    /// Columns that stay text for all that.
    pub as_text: Vec<String>,
    /// Spellings of null. Where rows are written, the first is what null and missing become.
    pub nulls: Vec<String>,
    /// Whether spaces and tabs around a value are taken off.
    pub trim: bool,
    /// Whether a record may lack its last fields.
    pub fill: bool,
    /// Where rows are written: how.
    pub write: CsvWrite,
}

/// How CSV is written, beside its dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CsvWrite {
    /// Whether a file begins with the names of its columns.
    pub header: bool,
    /// Whether every value is quoted, not just those that need it.
    pub quote_all: bool,
    /// Whether records end with CRLF.
    pub crlf: bool,
}

impl Csv {
    /// Commas, double quotes, a header, all text.
    pub const PLAIN: Csv = Csv {
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        comment: None,
        columns: None,
        infer: false,
        as_text: Vec::new(),
        nulls: Vec::new(),
        trim: false,
        fill: false,
        write: CsvWrite { header: true, quote_all: false, crlf: false },
    };
}

/// How a time value is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeFormat {
    /// RFC 3339, or a number: below 1e11 seconds, 1e14 milliseconds, 1e17 microseconds, else nanoseconds.
    Auto,
    /// RFC 3339 alone (also without an offset, then in the source's zone).
    Rfc3339,
    /// Seconds since the epoch, with or without a fraction.
    Unix,
    /// Milliseconds since the epoch.
    UnixMs,
    /// Microseconds since the epoch.
    UnixUs,
    /// Nanoseconds since the epoch.
    UnixNs,
    /// A strptime pattern.
    Pattern(String),
}
