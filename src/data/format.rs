//! How records and times are spelled: the settings that readers and writers share.

/// How records are cut and read.
#[derive(Clone, PartialEq, Debug)]
pub enum Format {
    /// JSON values, one a line.
    Json,
    /// Comma-separated values.
    Csv(Csv),
}

/// A CSV dialect.
#[derive(Clone, PartialEq, Debug)]
pub struct Csv {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold delimiters or line ends.
    pub quote: u8,
    /// Field names; `None` when the first record of each file holds them.
    pub columns: Option<Vec<String>>,
    /// Whether values that are spelled like JSON numbers and `true`, `false` are read as such and empty ones as null;
    /// otherwise all is text.
    pub infer: bool,
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
