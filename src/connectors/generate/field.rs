//! How the value of one generated field is made and written.

use std::io::Write as _;

use serde_json::{Map, Value as Json};

use crate::base::suggest::nearest;
use crate::base::time::{RFC3339_LEN, Timestamp, write_rfc3339};
use crate::connector::template::Template;
use crate::data::value::Val;

/// Digits after the point that are kept where nothing is written.
const DEFAULT_DIGITS: u32 = 2;
/// The most digits after the point: as many as a double of ordinary size holds.
pub const DIGITS: u32 = 12;

/// The words that make a map a generator; any other map is nested fields.
const WORDS: [&str; 9] = ["constant", "sequence", "uniform", "normal", "choice", "cycle", "chance", "time", "text"];

/// What is wrong with fields: where, as names from the outside in, and what.
pub type Wrong = Vec<(Vec<String>, String)>;

/// The row that is being made.
pub struct Row {
    /// Of the source.
    pub seed: u64,
    /// The row's number, from 0.
    pub n: u64,
    /// Its event time.
    pub at: Timestamp,
}

/// How a value is made.
pub struct Field {
    /// Tells the draws of two fields of one row apart.
    salt: u64,
    rule: Rule,
}

enum Rule {
    /// JSON text.
    Constant(Vec<u8>),
    /// JSON texts.
    Choice(Vec<Vec<u8>>),
    Cycle(Vec<Vec<u8>>),
    Sequence {
        from: i64,
        by: i64,
    },
    Integers {
        low: i64,
        high: i64,
    },
    Uniform {
        low: f64,
        high: f64,
        digits: u32,
    },
    Normal {
        mean: f64,
        stddev: f64,
        digits: u32,
    },
    Chance(f64),
    Time(Clock),
    Text(Template),
    /// Members, each with its name as JSON text and the colon.
    Object(Vec<(Vec<u8>, Field)>),
}

#[derive(Clone, Copy)]
enum Clock {
    Rfc3339,
    /// Microseconds are divided by this.
    Unix(i64),
}

/// A number that depends on the three alone. SplitMix64 (Steele, Lea, Flood 2014), twice.
pub fn hash(seed: u64, salt: u64, n: u64) -> u64 {
    mix(mix(seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A double in `[0, 1)` from 53 of the bits.
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

impl Field {
    /// Reads a map of fields. The error has everything that is wrong.
    pub fn object(fields: &Map<String, Json>) -> Result<Field, Wrong> {
        let (mut salt, mut wrong) = (0, Vec::new());
        let object = Self::members(fields, &mut salt, &mut Vec::new(), &mut wrong);
        if fields.is_empty() {
            wrong.push((Vec::new(), "there are no fields".into()));
        }
        if wrong.is_empty() { Ok(object) } else { Err(wrong) }
    }

    fn members(fields: &Map<String, Json>, salt: &mut u64, path: &mut Vec<String>, wrong: &mut Wrong) -> Field {
        let mut members = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            path.push(name.clone());
            let mut key = Json::from(name.as_str()).to_string().into_bytes();
            key.push(b':');
            members.push((key, Self::read(value, salt, path, wrong)));
            path.pop();
        }
        Field { salt: 0, rule: Rule::Object(members) }
    }

    fn read(value: &Json, salt: &mut u64, path: &mut Vec<String>, wrong: &mut Wrong) -> Field {
        *salt += 1;
        let own = *salt;
        let rule = match value {
            Json::Object(map) => match WORDS.into_iter().find(|word| map.contains_key(*word)) {
                None => return Self::members(map, salt, path, wrong),
                Some(word) => rule(word, map),
            },
            constant => Ok(Rule::Constant(constant.to_string().into_bytes())),
        };
        let rule = rule.unwrap_or_else(|message| {
            wrong.push((path.clone(), message));
            Rule::Constant(b"null".to_vec())
        });
        Field { salt: own, rule }
    }

    /// Writes the value for a row as JSON.
    pub fn write(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), String> {
        let draw = || hash(row.seed, self.salt, row.n);
        match &self.rule {
            Rule::Constant(text) => out.extend_from_slice(text),
            Rule::Choice(texts) => out.extend_from_slice(pick(texts, draw())),
            Rule::Cycle(texts) => out.extend_from_slice(pick(texts, row.n)),
            Rule::Sequence { from, by } => {
                let n = i64::try_from(row.n).unwrap_or(i64::MAX);
                integer(out, from.saturating_add(by.saturating_mul(n)));
            }
            Rule::Integers { low, high } => {
                let span = low.abs_diff(*high);
                let into = if span == u64::MAX { draw() } else { draw() % (span + 1) };
                integer(out, low.wrapping_add_unsigned(into));
            }
            Rule::Uniform { low, high, digits } => decimal(out, low + fraction(draw()) * (high - low), *digits),
            Rule::Normal { mean, stddev, digits } => decimal(out, mean + stddev * normal(draw()), *digits),
            Rule::Chance(probability) => {
                out.extend_from_slice(if fraction(draw()) < *probability { b"true" } else { b"false" });
            }
            Rule::Time(Clock::Rfc3339) => {
                let mut buffer = [0; RFC3339_LEN];
                out.push(b'"');
                out.extend_from_slice(write_rfc3339(row.at, &mut buffer).as_bytes());
                out.push(b'"');
            }
            Rule::Time(Clock::Unix(unit)) => integer(out, row.at.0.div_euclid(*unit)),
            Rule::Text(template) => {
                let n = Val::Int(i64::try_from(row.n).unwrap_or(i64::MAX));
                let text = template.render(&[n])?;
                serde_json::to_writer(out, &text).map_err(|e| e.to_string())?;
            }
            Rule::Object(members) => {
                out.push(b'{');
                for (i, (key, field)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    field.write(row, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// Of a list that is not empty the element that a number falls on.
fn pick(texts: &[Vec<u8>], number: u64) -> &[u8] {
    let count = texts.len().max(1) as u64;
    let index = usize::try_from(number % count).unwrap_or(0);
    texts.get(index).map_or(b"null", Vec::as_slice)
}

/// Close to the standard normal distribution, and the same on every machine, as a logarithm or cosine would not be: the
/// sum of twelve uniform numbers, less six (Irwin and Hall), so never beyond six standard deviations.
fn normal(bits: u64) -> f64 {
    let mut sum = 0.0;
    let mut state = bits;
    for _ in 0..12 {
        state = mix(state);
        sum += fraction(state);
    }
    sum - 6.0
}

fn integer(out: &mut Vec<u8>, value: i64) {
    // Writing to a vector cannot fail.
    write!(out, "{value}").unwrap_or_default();
}

/// Rounds to so many digits; with none an integer, else at least one digit after the point.
fn decimal(out: &mut Vec<u8>, value: f64, digits: u32) {
    let start = out.len();
    write!(out, "{value:.*}", digits as usize).unwrap_or_default();
    if digits > 0 {
        let zeros = out.iter().rev().take_while(|b| **b == b'0').count().min(digits as usize - 1);
        out.truncate(out.len() - zeros);
    }
    // A small negative number that rounds to zero has lost its sign's meaning.
    let nothing = out.get(start..).is_some_and(|text| text.iter().all(|b| matches!(b, b'-' | b'0' | b'.')));
    if nothing && out.get(start) == Some(&b'-') {
        out.remove(start);
    }
}

/// The rule of a generator, found by its word.
fn rule(word: &str, map: &Map<String, Json>) -> Result<Rule, String> {
    let takes_digits = matches!(word, "uniform" | "normal");
    if let Some(key) = map.keys().find(|key| *key != word && !(takes_digits && *key == "digits")) {
        let near = nearest(key, WORDS.into_iter().chain(["digits"]))
            .map(|n| format!("; did you mean `{n}`?"))
            .unwrap_or_default();
        return Err(format!("`{key}` does not stand beside `{word}`{near}"));
    }
    let value = map.get(word).unwrap_or(&Json::Null);
    match word {
        "constant" => Ok(Rule::Constant(value.to_string().into_bytes())),
        "choice" => list(word, value).map(Rule::Choice),
        "cycle" => list(word, value).map(Rule::Cycle),
        "sequence" => sequence(value),
        "uniform" => uniform(value, map.get("digits")),
        "normal" => {
            let number = |key: &str| value.get(key).and_then(Json::as_f64).filter(|n| n.is_finite());
            let (Some(mean), Some(stddev)) = (number("mean"), number("stddev").filter(|s| *s >= 0.0)) else {
                return Err("`normal` wants a mean and a standard deviation: `normal: { mean: 20, stddev: 2 }`".into());
            };
            Ok(Rule::Normal { mean, stddev, digits: digits(map.get("digits"))?.unwrap_or(DEFAULT_DIGITS) })
        }
        "chance" => match value.as_f64() {
            Some(probability) if (0.0..=1.0).contains(&probability) => Ok(Rule::Chance(probability)),
            _ => Err("`chance` is a probability from 0 to 1".into()),
        },
        "time" => match value.as_str() {
            Some("rfc3339") => Ok(Rule::Time(Clock::Rfc3339)),
            Some("unix") => Ok(Rule::Time(Clock::Unix(1_000_000))),
            Some("unix_ms") => Ok(Rule::Time(Clock::Unix(1_000))),
            Some("unix_us") => Ok(Rule::Time(Clock::Unix(1))),
            _ => Err("`time` is one of `rfc3339`, `unix`, `unix_ms`, `unix_us`".into()),
        },
        _ => text(value),
    }
}

fn list(word: &str, value: &Json) -> Result<Vec<Vec<u8>>, String> {
    match value.as_array().filter(|items| !items.is_empty()) {
        Some(items) => Ok(items.iter().map(|item| item.to_string().into_bytes()).collect()),
        None => Err(format!("`{word}` wants a list of values: `{word}: [a, b]`")),
    }
}

fn sequence(value: &Json) -> Result<Rule, String> {
    let wrong = || "`sequence` is `{}` or `{ from: 100, by: 10 }`, both whole numbers".to_owned();
    let map = match value {
        Json::Null => return Ok(Rule::Sequence { from: 0, by: 1 }),
        Json::Object(map) if map.keys().all(|key| key == "from" || key == "by") => map,
        _ => return Err(wrong()),
    };
    let number = |key: &str, default: i64| map.get(key).map_or(Some(default), Json::as_i64).ok_or_else(wrong);
    Ok(Rule::Sequence { from: number("from", 0)?, by: number("by", 1)? })
}

fn uniform(value: &Json, written: Option<&Json>) -> Result<Rule, String> {
    let wrong = || "`uniform` wants the least and the greatest number: `uniform: [0, 40]`".to_owned();
    let Some([low, high]) = value.as_array().map(Vec::as_slice) else { return Err(wrong()) };
    let digits = digits(written)?;
    if let (Some(low), Some(high), None | Some(0)) = (low.as_i64(), high.as_i64(), digits) {
        return if low <= high { Ok(Rule::Integers { low, high }) } else { Err(wrong()) };
    }
    match (low.as_f64(), high.as_f64()) {
        (Some(low), Some(high)) if low <= high && (high - low).is_finite() => {
            Ok(Rule::Uniform { low, high, digits: digits.unwrap_or(DEFAULT_DIGITS) })
        }
        _ => Err(wrong()),
    }
}

fn digits(value: Option<&Json>) -> Result<Option<u32>, String> {
    let Some(value) = value else { return Ok(None) };
    let count = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= DIGITS);
    count.map(Some).ok_or_else(|| format!("`digits` is a whole number from 0 to {DIGITS}"))
}

fn text(value: &Json) -> Result<Rule, String> {
    let text = value.as_str().ok_or("`text` wants a text, for example \"device-{{ n }}\"")?;
    let (template, fields) = Template::parse(text)?;
    match fields.iter().find(|field| *field != "n") {
        Some(other) => Err(format!("`text` knows `n`, the number of the row, and no `{other}`")),
        None if fields.is_empty() => Ok(Rule::Constant(value.to_string().into_bytes())),
        None => Ok(Rule::Text(template)),
    }
}
