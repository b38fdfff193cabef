//! Streams of every format, cut where their bytes say, and what their rows are.

use millstream::data::format::{Csv, Format, KeyValue, Logfmt, Pattern, Text};
use millstream::data::formats::Decoder;
use millstream::data::formats::grok::grok;
use millstream::data::formats::pattern::regex;
use millstream::data::framing::{Block, Decoded, Framer};
use millstream::data::json::{event_of, parse_value, write_value};
use millstream::data::layout::{Demand, FieldPath, Layout};
use millstream::data::value::{Value, compare};
use serde::de::IgnoredAny as Ignored;

/// A layout that reads some fields, and the demand for them.
fn wanted() -> (Layout, Demand) {
    let mut layout = Layout::default();
    let mut demand = Demand { body: true, ..Demand::default() };
    for path in [["a"].as_slice(), &["b"], &["a", "b"], &["ts"]] {
        if let Some(field) = layout.intern(FieldPath::event(path)) {
            demand.value(field);
            if let [_] = path {
                demand.place(field);
            }
        }
    }
    (layout, demand)
}

/// Reads a stream that comes in two pieces; rows must be JSON, and every record a row or refused.
fn stream(format: &Format, data: &[u8]) {
    let (layout, demand) = wanted();
    let mut decoder = Decoder::new(format, &layout, &demand).expect("a format");
    let mut framer = Framer::new(format);
    let cut = data.get(data.len() / 2).map_or(0, |byte| usize::from(*byte) * data.len() / 256);
    let mut blocks = framer.push(data[..cut].to_vec(), 0);
    blocks.extend(framer.push(data[cut..].to_vec(), cut as u64));
    blocks.extend(framer.finish());
    for block in blocks {
        let decoded = decoder.decode(block);
        rows(&layout, &decoded);
    }
}

fn rows(layout: &Layout, decoded: &Decoded) {
    let Decoded { batch, refused, records, starts } = decoded;
    assert_eq!(batch.rows + refused.len(), *records as usize, "a record is lost or there twice");
    assert_eq!(starts.len(), *records as usize);
    assert!(refused.iter().all(|r| !r.reason.is_empty()));
    for row in 0..batch.rows {
        if let Some(raw) = &batch.raw {
            let text = raw.row(row);
            serde_json::from_str::<Ignored>(text).unwrap_or_else(|e| panic!("a row is no JSON: {e}: {text}"));
        }
        let event = event_of(layout, batch, row);
        let mut written = Vec::new();
        write_value(&event, &mut written);
        let written = String::from_utf8(written).expect("text");
        let again: Value = parse_value(&written).unwrap_or_else(|e| panic!("written wrong: {e:?}: {written}"));
        assert!(compare(event.as_val(), again.as_val()).is_eq(), "{written}");
    }
}

/// JSON, also record by record against another reader.
pub fn json(data: &[u8]) {
    stream(&Format::Json, data);
    let (layout, demand) = wanted();
    let mut decoder = Decoder::new(&Format::Json, &layout, &demand).expect("a format");
    let block = Block::from_records(data.to_vec(), vec![data.len() as u32]);
    let ours = decoder.decode(block).batch.rows == 1;
    if ours {
        serde_json::from_slice::<Ignored>(data).expect("what is taken is JSON");
    } else if !data.trim_ascii().is_empty() {
        assert!(serde_json::from_slice::<serde_json::Value>(data).is_err(), "JSON is refused");
    }
}

/// CSV in several dialects.
pub fn csv(data: &[u8]) {
    let plain = Csv { infer: true, ..Csv::PLAIN };
    let dialects = [
        Csv { comment: Some(b'#'), escape: Some(b'\\'), trim: true, ..plain.clone() },
        Csv { columns: Some(vec!["a".into(), "b".into()]), fill: true, ..plain.clone() },
        Csv { quote: None, delimiter: b'\t', ..plain.clone() },
        plain,
    ];
    for dialect in dialects {
        stream(&Format::Csv(Box::new(dialect)), data);
    }
}

/// MessagePack.
pub fn msgpack(data: &[u8]) {
    stream(&Format::MessagePack, data);
}

/// logfmt.
pub fn logfmt(data: &[u8]) {
    stream(&Format::Logfmt(Logfmt { infer: data.len() % 2 == 0 }), data);
}

/// Lines by patterns: the first line is one.
fn patterns(data: &[u8]) {
    let Some(end) = data.iter().position(|b| *b == b'\n') else { return };
    let (pattern, rest) = data.split_at(end);
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    if pattern.len() > 200 {
        return;
    }
    for read in [regex(pattern), grok(pattern, &[])].into_iter().flatten() {
        stream(&Format::Pattern(Pattern { language: "regex", alternatives: vec![read] }), rest);
    }
}

/// The other formats that read a line at a time.
pub fn lines(data: &[u8]) {
    let pairs = |pair: &str, sign: &str| KeyValue {
        pair_separator: pair.into(),
        value_separator: sign.into(),
        quote: b'"',
        infer: true,
    };
    stream(&Format::Text(Text { field: "a".into() }), data);
    stream(&Format::CombinedLog, data);
    patterns(data);
    stream(&Format::KeyValue(pairs(" ", "=")), data);
    stream(&Format::KeyValue(pairs("; ", ": ")), data);
}
