//! Values against another implementation, streams cut anywhere, and what is broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::base::limit::RECORD_BYTES;
use crate::data::format::Format;
use crate::data::formats::Decoder;
use crate::data::framing::{Block, Framer};
use crate::data::json;
use crate::data::layout::{Demand, Layout};

/// What each record becomes: where it stands, and the JSON or what is wrong with it, where, and the record.
type Read = Vec<(u64, Result<String, (String, String, Vec<u8>)>)>;

fn blocks(bytes: &[u8], cuts: &[usize]) -> Vec<Block> {
    let mut framer = Framer::new(&Format::MessagePack);
    let (mut blocks, mut from) = (Vec::new(), 0);
    for to in cuts.iter().copied().chain([bytes.len()]) {
        if to > from {
            blocks.extend(framer.push(bytes[from..to].to_vec(), from as u64));
            from = to;
        }
    }
    blocks.extend(framer.finish());
    blocks
}

fn decode(bytes: &[u8], cuts: &[usize]) -> Read {
    let mut decoder = Decoder::new(&Format::MessagePack, &Layout::default(), &Demand::default()).unwrap();
    let mut records = Vec::new();
    for block in blocks(bytes, cuts) {
        let position = block.position;
        let decoded = decoder.decode(block);
        assert_eq!(decoded.records as usize, decoded.batch.rows + decoded.refused.len());
        let at = |ordinal: u32| position + u64::from(decoded.starts[ordinal as usize]);
        let raw = decoded.batch.raw.clone().unwrap_or_default();
        records.extend(decoded.batch.ordinals.iter().enumerate().map(|(row, o)| (at(*o), Ok(raw.row(row).to_owned()))));
        let original = |r: &crate::data::framing::Refused| STANDARD.decode(&r.original).unwrap();
        records.extend(
            decoded.refused.iter().map(|r| (at(r.ordinal), Err((r.reason.clone(), r.place.clone(), original(r))))),
        );
    }
    records.sort_by_key(|(at, _)| *at);
    records
}

fn one(bytes: &[u8]) -> Result<String, (String, String)> {
    let mut records = decode(bytes, &[]);
    assert_eq!(records.len(), 1);
    records.remove(0).1.map_err(|(reason, place, _)| (reason, place))
}

fn ok(bytes: &[u8]) -> String {
    one(bytes).unwrap()
}

fn wrong(bytes: &[u8], reason: &str, byte: usize) {
    assert_eq!(one(bytes), Err((reason.to_owned(), format!("byte {byte}"))));
}

#[test]
fn every_kind_of_value_is_read() {
    assert_eq!(ok(b"\x83\xa1a\xc0\xa1b\xc3\xa1c\x93\x01\xff\xd0\x80"), r#"{"a":null,"b":true,"c":[1,-1,-128]}"#);
    assert_eq!(ok(b"\x93\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xcc\xff\xcd\x01\x00"), "[18446744073709551615,255,256]");
    assert_eq!(
        ok(b"\x94\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\0\0\0\0\0\0\0\xce\0\0\0\x07"),
        "[-32768,-2147483648,-9223372036854775808,7]"
    );
    assert_eq!(ok(b"\x92\xca\x41\xa0\xcc\xcd\xcb\x40\x34\0\0\0\0\0\0"), "[20.1,20.0]");
    assert_eq!(ok(b"\x81\x01\x82\xff\xcc\xff\xcc\xff\xa1\x0a"), r#"{"1":{"-1":255,"255":"\n"}}"#);
    assert_eq!(ok(b"\x92\xc4\x03\x00\xff\x10\xd9\x01x"), r#"["AP8Q","x"]"#);
    assert_eq!(ok(b"\x92\xdc\x00\x01\x00\xdf\x00\x00\x00\x01\xa1a\xdb\x00\x00\x00\x01b"), r#"[[0],{"a":"b"}]"#);
}

#[test]
fn times_become_text_and_other_extensions_are_refused() {
    assert_eq!(ok(b"\xd6\xff\x00\x00\x00\x01"), r#""1970-01-01T00:00:01Z""#);
    let both = (500_000_000_u64 << 34 | (1 << 33)).to_be_bytes();
    assert_eq!(ok(&[&b"\xd7\xff"[..], &both].concat()), r#""2242-03-16T12:56:32.5Z""#);
    let before = [&b"\xc7\x0c\xff"[..], &250_000_000_u32.to_be_bytes(), &(-1_i64).to_be_bytes()].concat();
    assert_eq!(ok(&before), r#""1969-12-31T23:59:59.25Z""#);
    let far = [&b"\xc7\x0c\xff\0\0\0\0"[..], &i64::MAX.to_be_bytes()].concat();
    wrong(&far, "this is not a time: type -1, 12 bytes", 1);
    wrong(b"\xd4\xff\0", "this is not a time: type -1, 1 bytes", 1);
    wrong(b"\x91\xd4\x05\0", "only times are read of extension types: type 5, 1 bytes", 2);
}

#[test]
fn what_is_broken_is_refused_at_its_place_and_the_next_value_read() {
    let records = decode(b"\x01\x91\xa2\xc3\x28\x02\x81\xc0\x03\x04\xca\x7f\x80\0\0\x81\xa1", &[]);
    let row = |at, text: &str| (at, Ok(text.to_owned()));
    let bad = |at, reason: &str, byte: usize, original: &[u8]| {
        (at, Err((reason.to_owned(), format!("byte {byte}"), original.to_vec())))
    };
    let expected = [
        row(0, "1"),
        bad(1, "this is not valid UTF-8", 3, b"\x91\xa2\xc3\x28"),
        row(5, "2"),
        bad(6, "a name is neither text nor a whole number", 2, b"\x81\xc0\x03"),
        row(9, "4"),
        bad(10, "this number is not finite, and an event holds no such number", 1, b"\xca\x7f\x80\0\0"),
        bad(15, "this is not MessagePack, or not all of it: the value ends too early", 3, b"\x81\xa1"),
    ];
    assert_eq!(records, expected);
}

#[test]
fn behind_a_byte_that_begins_no_value_nothing_is_read() {
    let bytes = b"\x01\x92\x02\xc1\x03\x04\x05";
    for cuts in [vec![], vec![1], vec![2, 3], vec![1, 2, 3, 4, 5, 6]] {
        let reason = "no MessagePack value begins with the byte 0xc1, so nothing from this record to the end of the stream \
                      can be read";
        let lost = (reason.to_owned(), "byte 3".to_owned(), b"\x92\x02\xc1".to_vec());
        assert_eq!(decode(bytes, &cuts), [(0, Ok("1".to_owned())), (1, Err(lost))]);
    }
}

#[test]
fn depth_and_size_have_limits() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0]].concat();
    assert_eq!(ok(&nested(127)).len(), 2 * 127 + 1);
    wrong(&nested(128), "this nests deeper than 128", 128);
    // However deep it is, it ends where it ends.
    assert_eq!(decode(&[nested(1_000_000), vec![7]].concat(), &[]).len(), 2);
    let size = RECORD_BYTES as u32;
    let long = [&b"\x05\xdb"[..], &size.to_be_bytes(), &vec![b'x'; RECORD_BYTES], b"\x06"].concat();
    for step in [1 << 20, usize::MAX] {
        let cuts: Vec<usize> = (0..long.len()).step_by(step).collect();
        let records = decode(&long, &cuts);
        let (reason, place, original) = records[1].1.clone().unwrap_err();
        assert_eq!((records.len(), &records[2]), (3, &(RECORD_BYTES as u64 + 6, Ok("6".to_owned()))));
        assert_eq!(reason, format!("the value has {} bytes, more than the {RECORD_BYTES} that one may have", size + 5));
        assert_eq!((records[1].0, place, original.len()), (1, format!("byte {}", RECORD_BYTES + 1), 1024));
    }
}

#[test]
fn a_message_holds_one_value() {
    let mut decoder = Decoder::new(&Format::MessagePack, &Layout::default(), &Demand::default()).unwrap();
    let decoded = decoder.decode(Block::from_records(b"\x01\x02\x03".to_vec(), vec![1, 1, 3]));
    assert_eq!((decoded.records, decoded.batch.ordinals.as_slice()), (3, &[0][..]));
    let reasons: Vec<&str> = decoded.refused.iter().map(|r| r.reason.as_str()).collect();
    let early = "this is not MessagePack, or not all of it: the value ends too early";
    assert_eq!(reasons, [early, "one value has ended, and a message holds only one"]);
}

/// Values as JSON has them.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200..70_000_i64).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..20).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    super::write::write(&json::parse_value(&value.to_string()).unwrap(), &mut out);
    out
}

#[test]
fn what_no_float_holds_is_written_as_near_as_can_be() {
    let of = |text: &str| {
        let mut out = Vec::new();
        super::write::write(&json::parse_value(text).unwrap(), &mut out);
        ok(&out)
    };
    assert_eq!(of("18446744073709551615"), "18446744073709551615");
    assert_eq!(
        of("-18446744073709551615"),
        "-1.8446744073709552e19".parse::<f64>().map(|f| json!(f).to_string()).unwrap()
    );
    assert_eq!(of("1e999"), r#""1e999""#);
}

proptest! {
    #[test]
    fn what_another_writes_is_read_and_the_other_way_round(value in any_value()) {
        let theirs = rmp_serde::to_vec(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(&ok(&theirs)).unwrap(), &value);
        let ours = written(&value);
        prop_assert_eq!(&rmp_serde::from_slice::<Value>(&ours).unwrap(), &value);
        prop_assert_eq!(ours.len(), theirs.len());
    }

    #[test]
    fn where_a_stream_is_cut_does_not_matter_whatever_is_in_it(
        values in prop::collection::vec(any_value(), 1..6),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let mut bytes: Vec<u8> = values.iter().flat_map(written).collect();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = decode(&bytes, &[]);
        for (_, found) in &whole {
            if let Ok(text) = found {
                prop_assert!(serde_json::from_str::<Value>(text).is_ok(), "{}", text);
            }
        }
        prop_assert_eq!(&whole, &decode(&bytes, &cuts));
        prop_assert_eq!(&whole, &decode(&bytes, &(0..bytes.len()).collect::<Vec<_>>()));
    }
}
