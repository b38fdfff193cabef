//! Source `generate`: rows made up by rule, the same in every run. Row n depends on the seed and n alone, so it resumes
//! anywhere without having made what came before.

mod field;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tokio::time::Instant as Clock;

use self::field::{Field, Row, hash};
use super::written::{Duration, Instant};
use crate::base::diag::{Diagnostic, Diagnostics, Span};
use crate::base::limit::CHUNK_BYTES;
use crate::base::time::{TimeSpan, Timestamp};
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Chunk, Link, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector,
    SourceError,
};

/// The first row's event time where none is written, 2026-01-01T00:00:00Z: fixed, so that runs agree.
const START: Timestamp = Timestamp(1_767_225_600_000_000);
/// From one row's event time to the next where nothing is written.
const EVERY: TimeSpan = TimeSpan::seconds(1);
/// Rows handed on at once at most, so that a slow `rate` is not the only thing that bounds a chunk of tiny rows.
const CHUNK_ROWS: u64 = 8_192;

/// The longest a row is waited for at once; after it the clock is looked at again.
const FAR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The source `generate`.
pub struct GenerateSource;

/// Makes rows up: for trying a pipeline out, for demonstrations and for measuring. The same rows in every run.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What each row holds: fields and how their values are made.
    pub fields: Fields,
    /// How many rows. Left out: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Rows a second by the wall clock. Left out: as fast as they are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The event time of the first row. Default: `2026-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Instant>,
    /// From one row's event time to the next. Default: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How far a row's event time may lie after its place: rows come out of order by so much at most. Default: in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disorder: Option<Duration>,
    /// Another seed makes other rows. Default: one made from the names of the pipeline and the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Fields and how their values are made.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Fields(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "GeneratedFields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "number" });
        let digits = json_schema!({ "type": "integer", "minimum": 0, "maximum": field::DIGITS,
            "description": "Digits after the point; 0 makes integers." });
        json_schema!({
            "description": "Field by field a constant, a map that says how the value is made (`uniform`, `choice`, …), or a map of nested fields.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "anyOf": [
                    { "type": ["string", "number", "boolean", "null", "array"] },
                    {
                        "type": "object",
                        "properties": {
                            "constant": { "description": "Always this value, whatever it is." },
                            "sequence": { "type": "object", "description": "Whole numbers that go on: `{}` is 0, 1, 2 …; `{ from: 100, by: 10 }`.",
                                "properties": {
                                    "from": { "type": "integer", "description": "The first number. Default: 0." },
                                    "by": { "type": "integer", "description": "From one number to the next. Default: 1." }
                                }, "additionalProperties": false },
                            "uniform": { "type": "array", "items": number, "minItems": 2, "maxItems": 2,
                                "description": "Any number between two: `[1, 6]` makes integers, both included; `[0.0, 40.0]` or `digits` makes fractions." },
                            "normal": { "type": "object", "description": "Numbers around a mean, most of them within the standard deviation.",
                                "properties": {
                                    "mean": { "type": "number", "description": "The middle." },
                                    "stddev": { "type": "number", "minimum": 0, "description": "The standard deviation." }
                                }, "required": ["mean", "stddev"], "additionalProperties": false },
                            "digits": digits,
                            "choice": { "type": "array", "minItems": 1, "description": "Any of these, each as likely; what stands twice is twice as likely." },
                            "cycle": { "type": "array", "minItems": 1, "description": "These in turn." },
                            "chance": { "type": "number", "minimum": 0, "maximum": 1, "description": "`true` with this probability, otherwise `false`." },
                            "time": { "enum": ["rfc3339", "unix", "unix_ms", "unix_us"], "description": "The row's event time, written so." },
                            "text": { "type": "string", "description": "A text in which `{{ n }}` is the number of the row, from 0: `device-{{ n % 10 }}`." }
                        }
                    }
                ]
            },
            "examples": [{ "device": { "choice": ["a", "b"] }, "ts": { "time": "rfc3339" }, "temperature": { "uniform": [0, 40], "digits": 1 } }]
        })
    }
}

impl SourceConnector for GenerateSource {
    const NAME: &'static str = "generate";
    type Options = Options;

    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        let place = |path: &[String]| -> Span {
            let fields = node.get("fields").unwrap_or(node);
            path.iter().fold(fields, |at, name| at.get(name).unwrap_or(at)).span.clone()
        };
        if let Err(wrong) = Field::object(&options.fields.0) {
            for (path, message) in wrong {
                found.push(Diagnostic::error("bad-generator", message, Some(place(&path))));
            }
        }
        let mut refuse = |key: &str, message: &str, help: &str| {
            let span = node.get(key).unwrap_or(node).span.clone();
            found.push(Diagnostic::error("bad-value", message, Some(span)).help(help));
        };
        if options.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            refuse("rate", "a rate is more than 0 rows a second", "leave `rate` out for as fast as possible");
        }
        if options.every.is_some_and(|every| every.0 < TimeSpan::ZERO) {
            refuse("every", "time does not go backwards", "write `disorder` for rows that are out of order");
        }
        if options.disorder.is_some_and(|disorder| disorder.0 < TimeSpan::ZERO) {
            refuse("disorder", "`disorder` is how far back a row may lie", "write it without the sign");
        }
    }

    fn bounded(options: &Options) -> bool {
        options.count.is_some()
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let first = |wrong: Vec<(Vec<String>, String)>| {
            let (path, message) = wrong.into_iter().next().unwrap_or_default();
            SourceError { message: format!("`fields.{}`: {message}", path.join(".")) }
        };
        let row = Field::object(&options.fields.0).map_err(first)?;
        let seed = options.seed.unwrap_or(context.seed);
        let rules = Rules {
            row,
            seed,
            count: options.count.unwrap_or(u64::MAX),
            rate: options.rate,
            start: options.start.map_or(START, |at| at.0),
            every: options.every.map_or(EVERY, |span| span.0),
            disorder: options.disorder.map_or(TimeSpan::ZERO, |span| span.0),
        };
        let rules = std::sync::Arc::new(rules);
        let open = move |place: &Place| {
            let rules = std::sync::Arc::clone(&rules);
            Ok(Box::new(Generator { rules, next: place.position, begun: None }) as Box<dyn Source>)
        };
        Ok(vec![Partition {
            name: String::new(),
            start: Place::default(),
            open: Box::new(open),
            link: Link::default(),
        }]
        .into())
    }
}

/// What rows are made by.
struct Rules {
    row: Field,
    seed: u64,
    count: u64,
    rate: Option<f64>,
    start: Timestamp,
    every: TimeSpan,
    disorder: TimeSpan,
}

impl Rules {
    fn event_time(&self, n: u64) -> Timestamp {
        let steps = i64::try_from(n).unwrap_or(i64::MAX);
        let place = self.start.0.saturating_add(self.every.0.saturating_mul(steps));
        let after = match u64::try_from(self.disorder.0) {
            Ok(most) if most > 0 => hash(self.seed, u64::MAX, n) % most.saturating_add(1),
            _ => 0,
        };
        Timestamp(place.saturating_add_unsigned(after)).clamp(Timestamp::FIRST, Timestamp::LAST)
    }

    fn write(&self, n: u64, out: &mut Vec<u8>) -> Result<(), SourceError> {
        let row = Row { seed: self.seed, n, at: self.event_time(n) };
        self.row.write(&row, out).map_err(|why| SourceError { message: format!("cannot make row {n}: {why}") })
    }
}

/// The rows, being made.
struct Generator {
    rules: std::sync::Arc<Rules>,
    /// The number of the row that comes next.
    next: u64,
    /// With a rate: when the first row was made and its number.
    begun: Option<(Clock, u64)>,
}

impl Generator {
    /// Waits until a row is due; how many are.
    async fn due(&mut self) -> u64 {
        let Some(rate) = self.rules.rate else { return u64::MAX };
        let (begun, first) = *self.begun.get_or_insert((Clock::now(), self.next));
        loop {
            match due_after(begun.elapsed(), rate, self.next - first) {
                Ok(count) => return count,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn make(&mut self, due: u64) -> Result<Read, SourceError> {
        let last = self.next.saturating_add(due.min(CHUNK_ROWS)).min(self.rules.count);
        let mut chunk = Chunk { ends: Some(Vec::new()), position: self.next, ..Chunk::default() };
        let mut n = self.next;
        while n < last && chunk.bytes.len() < CHUNK_BYTES {
            self.rules.write(n, &mut chunk.bytes)?;
            if let (Some(ends), Ok(end)) = (&mut chunk.ends, u32::try_from(chunk.bytes.len())) {
                ends.push(end);
            }
            n += 1;
        }
        self.next = n;
        Ok(Read::Chunk(chunk))
    }
}

/// How many rows are due when `made` have been made in a time, at a rate; if none is, how long until the next.
fn due_after(elapsed: std::time::Duration, rate: f64, made: u64) -> Result<u64, std::time::Duration> {
    // The cast saturates, and a rate is positive.
    let since = ((elapsed.as_secs_f64() * rate) as u64).saturating_add(1);
    match since.saturating_sub(made) {
        0 => {
            let then = std::time::Duration::try_from_secs_f64(made as f64 / rate).unwrap_or(FAR);
            // A wait of nothing would spin where the division has rounded down.
            Err(then.saturating_sub(elapsed).clamp(std::time::Duration::from_micros(1), FAR))
        }
        due => Ok(due),
    }
}

impl Source for Generator {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        Box::pin(async move {
            if self.next >= self.rules.count {
                return Ok(Read::End);
            }
            // Waiting comes before making, so a future that is dropped has made nothing.
            let due = self.due().await;
            self.make(due)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{block_on, context};

    fn options(json: &str) -> Options {
        serde_json::from_str(json).unwrap()
    }

    fn rows(json: &str) -> Vec<String> {
        let mut partitions =
            GenerateSource::open(options(json), context(std::path::Path::new("."))).unwrap().partitions;
        let mut source = (partitions[0].open)(&Place::default()).unwrap();
        let mut rows = Vec::new();
        while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
            let mut start = 0;
            for end in chunk.ends.unwrap() {
                rows.push(String::from_utf8(chunk.bytes[start..end as usize].to_vec()).unwrap());
                start = end as usize;
            }
        }
        rows
    }

    #[test]
    fn rows_are_the_same_in_every_run() {
        let json = r#"{"count": 3, "seed": 7, "every": "500ms", "fields": {
            "n": {"sequence": {"from": 10, "by": -1}}, "kind": {"cycle": ["a", {"b": 1}]}, "id": {"text": "d-{{ n % 2 }}"},
            "ts": {"time": "rfc3339"}, "ms": {"time": "unix_ms"}, "x": {"uniform": [1, 6]}, "y": {"uniform": [0, 40], "digits": 2},
            "z": {"normal": {"mean": 20, "stddev": 2}, "digits": 1}, "ok": {"chance": 0.5}, "site": {"floor": {"choice": [1, 2]}, "name": "north"},
            "fix": 1.50, "c": {"constant": {"time": "now"}}}}"#;
        assert_eq!(rows(json), rows(json));
        insta::assert_snapshot!(rows(json).join("\n"));
    }

    #[test]
    fn disorder_stays_within_its_bound() {
        let made = rows(r#"{"count": 2000, "every": "10ms", "disorder": "1s", "fields": {"t": {"time": "unix_us"}}}"#);
        let times: Vec<i64> = made.iter().map(|r| r[5..r.len() - 1].parse().unwrap()).collect();
        let mut greatest = i64::MIN;
        let mut furthest = 0;
        for at in times {
            greatest = greatest.max(at);
            furthest = furthest.max(greatest - at);
        }
        assert!((500_000..=1_000_000).contains(&furthest), "{furthest}");
    }

    #[test]
    fn a_rate_is_kept_by_the_clock() {
        let ms = std::time::Duration::from_millis;
        assert_eq!(due_after(ms(0), 10.0, 0), Ok(1));
        assert_eq!(due_after(ms(30), 10.0, 1), Err(ms(70)));
        assert_eq!(due_after(ms(100), 10.0, 1), Ok(1));
        assert_eq!(due_after(ms(1_000), 10.0, 4), Ok(7), "what was not taken in time is caught up");
        assert_eq!(due_after(ms(1_000), 0.000_1, 1), Err(FAR), "looked at again every hour");
        let (mut now, mut made) = (ms(0), 0);
        while made < 1_000 {
            match due_after(now, 333.3, made) {
                Ok(count) => made += count,
                Err(wait) => now += wait,
            }
        }
        assert!(now.abs_diff(ms(2_997)) < ms(5), "{now:?}");
    }

    #[test]
    fn mistakes_name_their_field() {
        let wrong = |fields: &str| {
            let map: serde_json::Value = serde_json::from_str(fields).unwrap();
            Field::object(map.as_object().unwrap()).err().unwrap()
        };
        let found = wrong(
            r#"{"a": {"uniform": [1]}, "b": {"c": {"choice": []}}, "d": {"text": "{{ x }}"}, "e": {"uniform": [2, 1]}, "f": {"cycle": [1], "digits": 2}}"#,
        );
        let paths: Vec<String> = found.iter().map(|(path, _)| path.join(".")).collect();
        assert_eq!(paths, ["a", "b.c", "d", "e", "f"], "{found:?}");
        assert!(found[2].1.contains("`x`"), "{found:?}");
    }
}
