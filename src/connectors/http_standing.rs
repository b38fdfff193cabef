//! Where a polled HTTP source stands: what the next request asks for, and which records of it were taken already.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json_path::JsonPath;
use crate::base::time::parse_rfc3339;

/// Records at the cursor that are known again by their bytes; a server that has more of the same value sends them twice.
const AT_CURSOR: usize = 1_000;

/// Goes into the journal with the records that brought it here.
#[derive(Serialize, Deserialize, Debug, Default, Clone, PartialEq, Eq)]
#[serde(default)]
pub struct Standing {
    /// What requests ask for.
    pub cursor: Option<Mark>,
    /// The greatest of the poll under way.
    pub found: Option<Mark>,
    /// The page of the poll under way that comes next.
    pub page: Option<Page>,
    /// What the answer before was.
    pub version: Option<Version>,
    /// The last event of a stream.
    pub event: Option<String>,
    /// Everything was taken, of a source that asks once.
    pub done: bool,
}

/// A value of the cursor's field, with the records that have it.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// In JSON, as it was spelled.
    pub value: String,
    /// Hashes of the records.
    pub records: Vec<u64>,
}

/// A page that was not asked for yet.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Page {
    /// At this address.
    At(String),
    /// By this value of the parameter.
    By(String),
    /// Of this number.
    Number(u64),
}

/// Which version of an answer was taken.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// A hash of the request.
    pub request: u64,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
}

impl Mark {
    /// A value that no record was seen with: what an author begins with.
    pub fn start(value: &serde_json::Value) -> Mark {
        Mark { value: value.to_string(), records: Vec::new() }
    }

    /// As requests have it.
    pub fn text(&self) -> String {
        serde_json::from_str::<String>(&self.value).unwrap_or_else(|_| self.value.clone())
    }
}

impl Standing {
    /// Whether a record is to be taken; takes note of how far it brings the cursor.
    pub fn take(&mut self, record: &RawValue, field: &JsonPath) -> Result<bool, serde_json::Error> {
        let Some(value) = field.find(record)?.map(RawValue::get).filter(|value| can_be_cursor(value)) else {
            return Ok(true);
        };
        let hash = xxhash_rust::xxh3::xxh3_64(record.get().as_bytes());
        // A server that answers with what is not less than the cursor brings the last ones again.
        let known = |mark: &Mark| compare(value, &mark.value) == Ordering::Equal && mark.records.contains(&hash);
        if self.cursor.as_ref().is_some_and(known) {
            return Ok(false);
        }
        match self.found.as_mut().map(|found| (compare(value, &found.value), found)) {
            Some((Ordering::Less, _)) => {}
            Some((Ordering::Equal, found)) => {
                if found.records.len() < AT_CURSOR {
                    found.records.push(hash);
                }
            }
            _ => self.found = Some(Mark { value: value.to_owned(), records: vec![hash] }),
        }
        Ok(true)
    }

    /// The poll is over: the next asks from what it found.
    pub fn settle(&mut self) {
        self.page = None;
        let Some(mut found) = self.found.take() else { return };
        let before = self.cursor.take();
        self.cursor = Some(match before.map(|cursor| (compare(&found.value, &cursor.value), cursor)) {
            Some((Ordering::Less, cursor)) => cursor,
            Some((Ordering::Equal, cursor)) => {
                found.records.extend(cursor.records);
                found.records.truncate(AT_CURSOR);
                found
            }
            _ => found,
        });
    }

    /// The poll begins again: its pages are not there any more.
    pub fn begin_again(&mut self) {
        (self.page, self.found) = (None, None);
    }
}

fn can_be_cursor(value: &str) -> bool {
    value.starts_with(|c: char| matches!(c, '"' | '-') || c.is_ascii_digit())
}

/// Which of two values in JSON comes first: numbers by value, times by what they stand for, other text by its letters;
/// numbers before text.
fn compare(a: &str, b: &str) -> Ordering {
    let (texts, numbers) =
        (|v: &str| serde_json::from_str::<String>(v).ok(), |v: &str| v.parse::<f64>().unwrap_or(0.0));
    match (texts(a), texts(b)) {
        (None, None) => match (a.parse::<i128>(), b.parse::<i128>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => numbers(a).total_cmp(&numbers(b)),
        },
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => match (parse_rfc3339(a.as_bytes()), parse_rfc3339(b.as_bytes())) {
            // Finer parts than microseconds are in the text alone.
            (Some(at), Some(of)) => at.cmp(&of).then_with(|| a.cmp(&b)),
            _ => a.cmp(&b),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(standing: &mut Standing, record: &str) -> bool {
        let field = JsonPath::parse("at").unwrap();
        standing.take(serde_json::from_str(record).unwrap(), &field).unwrap()
    }

    #[test]
    fn values_have_an_order() {
        let values = [
            "-1.5",
            "2",
            "10",
            "9007199254740993",
            "9007199254740994",
            "\"2026-01-01T00:00:00Z\"",
            "\"2026-01-01T00:00:00.5Z\"",
            "\"2026-01-01T00:00:00-01:00\"",
            "\"b\"",
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_comes_again_at_the_cursor_is_known() {
        let mut standing = Standing::default();
        for record in [r#"{"at":2,"n":1}"#, r#"{"at":3,"n":2}"#, r#"{"at":3,"n":3}"#, r#"{"n":4}"#, r#"{"at":null}"#] {
            assert!(take(&mut standing, record), "{record}");
        }
        standing.settle();
        assert_eq!(standing.cursor.as_ref().unwrap().text(), "3");
        assert!(!take(&mut standing, r#"{"at":3,"n":2}"#));
        assert!(!take(&mut standing, r#"{"at":3,"n":3}"#));
        assert!(take(&mut standing, r#"{"at":3,"n":5}"#), "it came later with the same value");
        standing.settle();
        for n in [2, 3, 5] {
            assert!(!take(&mut standing, &format!("{{\"at\":3,\"n\":{n}}}")));
        }
        assert!(take(&mut standing, r#"{"at":1,"n":6}"#), "what is less is the server's to send or not");
        assert!(take(&mut standing, r#"{"at":4,"n":7}"#));
        // A poll that begins again has found nothing.
        standing.begin_again();
        standing.settle();
        assert_eq!(standing.cursor.unwrap().text(), "3");
    }
}
