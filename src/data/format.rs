//! How records and times are spelled: the settings that readers and writers share.

/// How records are cut and read.
#[derive(Clone, PartialEq, Debug)]
pub enum Format {
    /// JSON values, one a line.
    Json,
    /// Comma-separated values.
    Csv(Box<Csv>),
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
