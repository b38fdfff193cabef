//! Where CSV records may be cut: at line ends that are not inside quotes.

/// How far a piece of CSV text, which begins at a record's start, was looked through.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::data) struct Quotes {
    seen: usize,
    inside: bool,
    /// One past the last line end outside quotes.
    cut: usize,
}

impl Quotes {
    /// Looks through what is new in `bytes`: one past the last line end outside quotes, 0 if there is none.
    pub fn look(&mut self, bytes: &[u8], delimiter: u8, quote: u8) -> usize {
        loop {
            let rest = bytes.get(self.seen..).unwrap_or_default();
            let Some(at) = memchr::memchr(quote, rest) else {
                self.pass(bytes, bytes.len());
                return self.cut;
            };
            let at = self.seen + at;
            if !self.inside {
                self.pass(bytes, at + 1);
                let before = at.checked_sub(1).and_then(|i| bytes.get(i));
                self.inside = before.is_none_or(|b| *b == delimiter || matches!(b, b'\n' | b'\r'));
                continue;
            }
            match bytes.get(at + 1) {
                // Whether this quote is doubled, the next byte will tell.
                None => {
                    self.seen = at;
                    return self.cut;
                }
                Some(next) if *next == quote => self.seen = at + 2,
                Some(_) => (self.seen, self.inside) = (at + 1, false),
            }
        }
    }

    /// Whether the text ends inside quotes; it was looked through.
    pub fn open_at_end(&self, bytes: &[u8]) -> bool {
        // A quote that is the last byte closes.
        self.inside && self.seen >= bytes.len()
    }

    /// The text up to the last cut was taken away.
    pub fn taken(&mut self) {
        self.seen -= self.cut.min(self.seen);
        self.cut = 0;
    }

    fn pass(&mut self, bytes: &[u8], to: usize) {
        if !self.inside
            && let Some(at) = memchr::memrchr(b'\n', bytes.get(self.seen..to).unwrap_or_default())
        {
            self.cut = self.seen + at + 1;
        }
        self.seen = to;
    }
}
