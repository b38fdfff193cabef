//! What the machine of an alert is told to do: the author's `for`, `clear_for`, `levels`, `sustain`, `no_data_after` and
//! `flapping`.

use std::fmt;

use crate::base::limit::ALERT_SLOTS;
use crate::base::time::{TimeSpan, Timestamp};

/// The rules of an alert, the same for each key.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// Its levels, in ascending order of severity; an alert without `levels` has one.
    pub levels: Vec<Level>,
    /// Whether time alone completes what is held for a span: `for` and `clear_for` of a door that reports only when it
    /// is opened or shut.
    pub sustain: bool,
    /// A key that is silent for so long fires.
    pub no_data_after: Option<TimeSpan>,
    /// When it changes too often to be told each time.
    pub flapping: Option<Flapping>,
    /// How the windows of its rows follow each other.
    pub grid: Grid,
}

/// One severity with conditions of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    /// The severity, as the author named it.
    pub name: String,
    /// `for`: how long `when` must hold.
    pub hold: Hold,
    /// `clear_for`: how long `clear_when` must hold.
    pub clear_hold: Hold,
}

/// Changes between firing and resolved, more than so many in any span of so long, are flapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flapping {
    /// So many changes are still none.
    pub changes: u32,
    /// The span; so long without a change, and it is calm again.
    pub within: TimeSpan,
}

/// How the windows that rows come from follow each other: which one is the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Grid {
    /// Each row is the next: sessions, windows of so many events.
    #[default]
    Each,
    /// A window begins so long after the one before: tumbling windows (their size), sliding ones (their `every`).
    Step(TimeSpan),
    /// A window begins where the one before ends: days and months.
    Touching,
}

impl Grid {
    /// Whether a revised row is one of `last`: of the window itself or, of sessions, of one that took it in.
    pub(super) fn is_same(self, last: Window, revised: Window) -> bool {
        last.0 == revised.0 || self == Grid::Each && revised.0 < last.1 && last.0 < revised.1
    }

    /// How many windows are missing between two, of which the second is the later.
    pub(super) fn missing(self, (start, end): Window, (next, next_end): Window) -> u32 {
        let missing = match self {
            Grid::Each => 0,
            Grid::Step(step) => (next.0.saturating_sub(start.0)).saturating_add(step.0 - 1) / step.0.max(1) - 1,
            // Their lengths differ by an hour or some days: over a dozen that are missing less than half of one, and beyond
            // one more or less is the same.
            Grid::Touching => {
                let length = next_end.0.saturating_sub(next.0).max(1);
                next.0.saturating_sub(end.0).saturating_add(length / 2) / length
            }
        };
        u32::try_from(missing.max(0)).unwrap_or(u32::MAX)
    }
}

/// The begin of a window, and the first instant after it.
pub type Window = (Timestamp, Timestamp);

/// How long a condition must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hold {
    /// One row is enough.
    #[default]
    None,
    /// `2m`: until a row at least so long after the first of an unbroken run.
    Lasting(TimeSpan),
    /// `3 events`, `2 of 5 events`: in so many of so many rows, the newest among them.
    Events {
        /// In so many.
        wanted: u32,
        /// Of so many.
        of: u32,
    },
    /// `2 windows`, `2 of 3 windows`: in so many of so many windows that follow each other, the newest among them. A
    /// window without a row is one in which it did not hold.
    Windows {
        /// In so many.
        wanted: u32,
        /// Of so many.
        of: u32,
    },
}

impl Hold {
    /// Reads `2m`, `2 windows`, `3 events`, `2 of 3 windows`, `2 of 5 events`. The error says what is wrong, and how it
    /// is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let help = "write it like `2m`, `2 windows`, `3 events`, `2 of 3 windows` or `2 of 5 events`";
        let wrong = |why: String| format!("`{text}` does not say how long: {why}; {help}");
        let count = |word: &str| match word.parse::<u32>() {
            Ok(0) => Err(wrong("nothing would have to hold".to_owned())),
            Ok(n) if n <= ALERT_SLOTS => Ok(n),
            Ok(_) => Err(wrong(format!("at most {ALERT_SLOTS} are remembered"))),
            Err(_) => Err(wrong(format!("`{word}` is not a whole number"))),
        };
        if let Some(right) = TimeSpan::worded(text) {
            return Err(format!("`{text}` is not how a duration is written; write `{right}`"));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let (wanted, of, unit) = match words[..] {
            [] => return Err(wrong("it is empty".to_owned())),
            [span] => {
                return match TimeSpan::parse(span) {
                    Ok(span) if span.0 < 0 => Err(wrong("it is less than no time".to_owned())),
                    Ok(TimeSpan::ZERO) => Ok(Hold::None),
                    Ok(span) => Ok(Hold::Lasting(span)),
                    Err(_) if span.parse::<u32>().is_ok() => {
                        Err(wrong("a number alone may be seconds, windows or events".to_owned()))
                    }
                    Err(_) => Err(wrong("it is neither a duration nor a number of something".to_owned())),
                };
            }
            [wanted, unit] => (count(wanted)?, count(wanted)?, unit),
            [wanted, "of", of, unit] => (count(wanted)?, count(of)?, unit),
            _ => return Err(wrong("it is not one of the forms".to_owned())),
        };
        if wanted > of {
            return Err(wrong(format!("of {of} there are never {wanted}")));
        }
        match unit {
            "event" | "events" => Ok(Hold::Events { wanted, of }),
            "window" | "windows" => Ok(Hold::Windows { wanted, of }),
            _ => Err(wrong(format!("`{unit}` is nothing to count: `windows` or `events` are"))),
        }
    }
}

/// As it is written in a pipeline.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, of, unit) = match self {
            Hold::None => return f.write_str("0s"),
            Hold::Lasting(span) => return span.fmt(f),
            Hold::Events { wanted, of } => (wanted, of, "event"),
            Hold::Windows { wanted, of } => (wanted, of, "window"),
        };
        let plural = if *of == 1 { "" } else { "s" };
        if wanted == of { write!(f, "{wanted} {unit}{plural}") } else { write!(f, "{wanted} of {of} {unit}{plural}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for text in ["2m", "1h30m", "2 windows", "1 event", "3 events", "2 of 3 windows", "2 of 5 events", "64 events"]
        {
            assert_eq!(Hold::parse(text).map(|hold| hold.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Hold::parse("0s"), Ok(Hold::None));
        assert_eq!(Hold::parse(" 2  window "), Ok(Hold::Windows { wanted: 2, of: 2 }));
        assert_eq!(Hold::parse("2 of 2 events"), Hold::parse("2 events"));
    }

    #[test]
    fn what_is_no_hold_is_said_in_a_sentence() {
        let says = |text: &str| Hold::parse(text).unwrap_err();
        insta::assert_snapshot!(
            ["", "2", "-2m", "two windows", "0 windows", "3 of 2 events", "65 events", "2 rows", "2 of windows", "2x"]
                .map(says)
                .join("\n")
        );
    }

    #[test]
    fn windows_that_are_missing_are_counted() {
        let at = |m: i64| Timestamp(m * 60_000_000);
        let missing = |grid: Grid, a: (i64, i64), b: (i64, i64)| grid.missing((at(a.0), at(a.1)), (at(b.0), at(b.1)));
        let tumbling = Grid::Step(TimeSpan::seconds(60));
        assert_eq!(missing(tumbling, (0, 1), (1, 2)), 0);
        assert_eq!(missing(tumbling, (0, 1), (4, 5)), 3);
        assert_eq!(missing(tumbling, (-3, -2), (-2, -1)), 0);
        let sliding = Grid::Step(TimeSpan::seconds(60));
        assert_eq!(missing(sliding, (0, 10), (1, 11)), 0);
        assert_eq!(missing(sliding, (0, 10), (10, 20)), 9);
        // Days of 24, 23 and 25 hours.
        let day = 24 * 60;
        assert_eq!(missing(Grid::Touching, (0, day), (day, 2 * day - 60)), 0);
        assert_eq!(missing(Grid::Touching, (0, day), (2 * day - 60, 3 * day - 60)), 1);
        assert_eq!(missing(Grid::Touching, (0, day), (11 * day, 12 * day + 60)), 10);
        assert_eq!(missing(Grid::Each, (0, 1), (100, 101)), 0);
    }
}
