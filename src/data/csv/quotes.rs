//! Where CSV records may be cut: at line ends that are not inside quotes.

use crate::data::format::Csv;

/// How far a piece of CSV text, which begins at a record's start, was looked through.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::data) struct Quotes {
    seen: usize,
    place: Place,
    /// One past the last line end outside quotes.
    cut: usize,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Where a record or a comment begins; told from `Plain` only where there are comments.
    #[default]
    Start,
    Plain,
    Quoted,
    Comment,
}

impl Quotes {
    /// Looks through what is new in `bytes`: one past the last line end outside quotes, 0 if there is none.
    pub fn look(&mut self, bytes: &[u8], csv: &Csv) -> usize {
        while self.step(bytes, csv).is_some() {}
        self.cut
    }

    /// Goes on to the next place where it matters what stands there; `None` when what is there has been seen.
    fn step(&mut self, bytes: &[u8], csv: &Csv) -> Option<()> {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        match self.place {
            Place::Start if csv.comment.is_some() => {
                let first = rest.first()?;
                if matches!(first, b'\n' | b'\r') {
                    self.pass(bytes, self.seen + 1);
                } else {
                    self.place = if Some(*first) == csv.comment { Place::Comment } else { Place::Plain };
                }
            }
            Place::Comment => {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    self.seen = bytes.len();
                    return None;
                };
                self.pass(bytes, self.seen + end + 1);
                self.place = Place::Start;
            }
            Place::Start | Place::Plain => self.step_plain(bytes, csv)?,
            Place::Quoted => self.step_quoted(bytes, csv)?,
        }
        Some(())
    }

    fn step_plain(&mut self, bytes: &[u8], csv: &Csv) -> Option<()> {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let next = match (csv.quote, csv.comment) {
            (None, None) => None,
            (Some(quote), None) => memchr::memchr(quote, rest),
            (quote, Some(_)) => memchr::memchr3(b'\n', b'\r', quote.unwrap_or(b'\n'), rest),
        };
        let Some(at) = next.map(|at| self.seen + at) else {
            self.pass(bytes, bytes.len());
            return None;
        };
        self.pass(bytes, at + 1);
        if csv.quote.is_none() || bytes.get(at).copied() != csv.quote {
            self.place = Place::Start;
            return Some(());
        }
        let before = at.checked_sub(1).and_then(|i| bytes.get(i));
        let opens = before.is_none_or(|b| *b == csv.delimiter || matches!(b, b'\n' | b'\r'));
        self.place = if opens { Place::Quoted } else { Place::Plain };
        Some(())
    }

    fn step_quoted(&mut self, bytes: &[u8], csv: &Csv) -> Option<()> {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let quote = csv.quote.unwrap_or_default();
        let Some(at) = memchr::memchr2(quote, csv.escape.unwrap_or(quote), rest).map(|at| self.seen + at) else {
            self.seen = bytes.len();
            return None;
        };
        match bytes.get(at + 1) {
            // Whether this quote is doubled, and what is escaped, the next byte will tell.
            None => {
                self.seen = at;
                return None;
            }
            Some(next) if *next == quote || bytes.get(at).copied() != Some(quote) => self.seen = at + 2,
            Some(_) => (self.seen, self.place) = (at + 1, Place::Plain),
        }
        Some(())
    }

    /// Whether the text ends inside quotes; it was looked through.
    pub fn open_at_end(&self, bytes: &[u8], csv: &Csv) -> bool {
        // A quote that is the last byte closes; an escape there does not.
        self.place == Place::Quoted && (self.seen >= bytes.len() || bytes.last().copied() != csv.quote)
    }

    /// The text up to the last cut was taken away.
    pub fn taken(&mut self) {
        self.seen -= self.cut.min(self.seen);
        self.cut = 0;
    }

    fn pass(&mut self, bytes: &[u8], to: usize) {
        if let Some(at) = memchr::memrchr(b'\n', bytes.get(self.seen..to).unwrap_or_default()) {
            self.cut = self.seen + at + 1;
        }
        self.seen = to;
    }
}
