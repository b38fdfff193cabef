//! What an HTTP request brings: a JSON value, a list of them, one a line, a form; packed or not. Cut into records, each of
//! which is one event.

use std::io::Read;

use serde_json::value::RawValue;

/// Mistakes that an answer tells of one request; the others are counted.
const TOLD: usize = 10;

/// The records of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// They, one after the other.
    pub bytes: Vec<u8>,
    /// One past the end of each.
    pub ends: Vec<u32>,
    /// How many could not be.
    pub rejected: u64,
    /// Which of all of them, counted from 1, and why.
    pub reasons: Vec<(u64, String)>,
}

impl Records {
    fn take(&mut self, record: &[u8]) {
        // Line ends in a JSON text are white space; rows are written a line each.
        self.bytes.extend(record.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        // Bodies are limited far below 4 GiB.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    fn reject(&mut self, reason: &str) {
        self.rejected += 1;
        if self.reasons.len() < TOLD {
            self.reasons.push((self.count(), reason.to_owned()));
        }
    }

    /// How many there were.
    fn count(&self) -> u64 {
        self.ends.len() as u64 + self.rejected
    }

    fn take_object(&mut self, value: &RawValue) {
        if value.get().starts_with('{') {
            self.take(value.get().as_bytes());
        } else {
            self.reject("an event is an object, `{…}`");
        }
    }
}

/// Cuts a body into records by what it says it is, and looks at it where it does not say. With `json` events are objects;
/// otherwise lines, of which the source's format makes something.
pub fn records_of(body: &[u8], content_type: &str, json: bool) -> Records {
    let mut records = Records::default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !json {
        lines(body).for_each(|line| records.take(line));
    } else if kind == "application/x-www-form-urlencoded" && !looks_like_json(body) {
        records.take(&form(body));
    } else if kind.ends_with("ndjson") || kind.ends_with("jsonl") || kind.ends_with("json-lines") {
        objects_by_line(body, &mut records);
    } else {
        objects(body, &mut records);
    }
    records
}

/// What is sent with `curl -d` is called a form, whatever it is; in a form these characters are escaped.
fn looks_like_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The lines that hold something.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

fn objects_by_line(body: &[u8], records: &mut Records) {
    for line in lines(body) {
        // `curl -d @file` takes the line ends away.
        for value in serde_json::Deserializer::from_slice(line).into_iter::<&RawValue>() {
            match value {
                Ok(value) => records.take_object(value),
                Err(e) => records.reject(&not_json(&e)),
            }
        }
    }
}

/// One value, a list of values, or values one a line.
fn objects(body: &[u8], records: &mut Records) {
    if body.trim_ascii_start().starts_with(b"[") {
        match serde_json::from_slice::<Vec<&RawValue>>(body) {
            Ok(values) => return values.into_iter().for_each(|value| records.take_object(value)),
            Err(e) => return records.reject(&not_json(&e)),
        }
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) => records.take_object(value),
        Err(e) if follows_on(body, &e) => objects_by_line(body, records),
        Err(_) if body.trim_ascii().is_empty() => records.reject("the body is empty"),
        Err(e) => records.reject(&not_json(&e)),
    }
}

/// Whether something stands behind a whole value, or a line is whole where the body is not.
fn follows_on(body: &[u8], error: &serde_json::Error) -> bool {
    let mut lines = lines(body);
    let whole = |line| serde_json::from_slice::<&RawValue>(line).is_ok();
    lines.next().is_some_and(whole) || lines.next().is_some_and(whole) || error.to_string().starts_with("trailing")
}

fn not_json(error: &serde_json::Error) -> String {
    let place = if error.line() > 1 {
        format!("line {}, column {}", error.line(), error.column())
    } else {
        format!("byte {}", error.column())
    };
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("not JSON: {what} ({place})")
}

/// A form as an object of texts; of a field that comes more than once, a list.
fn form(body: &[u8]) -> Vec<u8> {
    let mut fields = serde_json::Map::new();
    for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (name, value) = (unescape(&pair[..at]), unescape(pair.get(at + 1..).unwrap_or_default()).into());
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, value)),
            Some(serde_json::Value::Array(list)) => list.push(value),
            Some(first) => *first = serde_json::Value::Array(vec![first.take(), value]),
        }
    }
    serde_json::Value::Object(fields).to_string().into_bytes()
}

/// `+` and `%41` as a form has them; what is no UTF-8 is U+FFFD.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                    rest = ahead;
                }
                _ => bytes.push(b'%'),
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why a body could not be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub enum Packed {
    /// It is larger than allowed.
    TooLarge,
    /// It is packed in a way that is not known.
    Unknown,
    /// It is damaged.
    Damaged,
}

/// Unpacks a body by its `Content-Encoding`, up to so many bytes.
pub fn unpack(body: Vec<u8>, encoding: &str, most: usize) -> Result<Vec<u8>, Packed> {
    let read: Box<dyn Read + '_> = match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Ok(body),
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(body.as_slice())),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(body.as_slice())),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(body.as_slice()).map_err(|_| Packed::Damaged)?),
        _ => return Err(Packed::Unknown),
    };
    let mut unpacked = Vec::new();
    // A few bytes may stand for gigabytes.
    read.take(most as u64 + 1).read_to_end(&mut unpacked).map_err(|_| Packed::Damaged)?;
    if unpacked.len() > most { Err(Packed::TooLarge) } else { Ok(unpacked) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(records: &Records) -> Vec<&str> {
        let starts = std::iter::once(0).chain(records.ends.iter().copied());
        let ranges = starts.zip(&records.ends);
        ranges.map(|(from, to)| std::str::from_utf8(&records.bytes[from as usize..*to as usize]).unwrap()).collect()
    }

    #[test]
    fn bodies_are_cut_into_objects() {
        for (body, kind, wanted) in [
            ("{\"a\":1}", "application/json", vec!["{\"a\":1}"]),
            ("{\n\t\"a\": 1.50\r\n}\n", "", vec!["{ \t\"a\": 1.50  }"]),
            ("[{\"a\":1}, {\"a\":2}]", "application/json; charset=utf-8", vec!["{\"a\":1}", "{\"a\":2}"]),
            ("[]", "", vec![]),
            ("{\"a\":1}\n\n{\"a\":2}\r\n", "", vec!["{\"a\":1}", "{\"a\":2}"]),
            ("{\"a\":1}\n", "application/x-ndjson", vec!["{\"a\":1}"]),
            ("{\"a\":1}", "application/x-www-form-urlencoded", vec!["{\"a\":1}"]),
            (" [{\"a\":1}]", "application/x-www-form-urlencoded", vec!["{\"a\":1}"]),
            ("{\"a\":1}{\"a\":2} {\"a\":3}", "", vec!["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]),
            (
                "a=1&b=x+y%21&b=%zz&c",
                "application/x-www-form-urlencoded",
                vec!["{\"a\":\"1\",\"b\":[\"x y!\",\"%zz\"],\"c\":\"\"}"],
            ),
        ] {
            let records = records_of(body.as_bytes(), kind, true);
            assert_eq!(texts(&records), wanted, "{body}");
            assert_eq!(records.rejected, 0, "{body}: {:?}", records.reasons);
        }
        assert_eq!(texts(&records_of(b"one\r\n two \n\n", "", false)), ["one", "two"]);
    }

    #[test]
    fn what_is_no_object_is_rejected_with_its_number_and_the_reason() {
        for (body, accepted, reasons) in [
            ("", 0, vec![(1, "the body is empty")]),
            ("7", 0, vec![(1, "an event is an object, `{…}`")]),
            ("{\"a\":", 0, vec![(1, "not JSON: EOF while parsing a value (byte 5)")]),
            ("[{}, 1, {}, null]", 2, vec![(2, "an event is an object, `{…}`"), (4, "an event is an object, `{…}`")]),
            ("[{}, {]", 0, vec![(1, "not JSON: key must be a string (byte 7)")]),
            ("{}\n{x}\n{}", 2, vec![(2, "not JSON: key must be a string (byte 2)")]),
            ("{x}\n{}", 1, vec![(1, "not JSON: key must be a string (byte 2)")]),
            ("{}x", 1, vec![(2, "not JSON: expected value (byte 3)")]),
        ] {
            let records = records_of(body.as_bytes(), "", true);
            assert_eq!(records.ends.len(), accepted, "{body}");
            let wanted: Vec<_> = reasons.iter().map(|(at, why)| (*at, (*why).to_owned())).collect();
            assert_eq!(records.reasons, wanted, "{body}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_within_bounds() {
        let text = b"{\"a\":1}".repeat(1000);
        let mut gzip = flate2::read::GzEncoder::new(text.as_slice(), flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        assert_eq!(unpack(packed.clone(), "gzip", text.len()).unwrap(), text);
        assert_eq!(unpack(packed.clone(), "gzip", text.len() - 1), Err(Packed::TooLarge));
        packed.truncate(20);
        assert_eq!(unpack(packed, "gzip", text.len()), Err(Packed::Damaged));
        assert_eq!(unpack(zstd::encode_all(text.as_slice(), 0).unwrap(), "zstd", text.len()).unwrap(), text);
        assert_eq!(unpack(text.clone(), "br", text.len()), Err(Packed::Unknown));
        assert_eq!(unpack(text.clone(), "", text.len()).unwrap(), text);
    }
}
