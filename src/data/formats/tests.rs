//! Records of every kind as the JSON they become; round trips, mutations, and blocks cut anywhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::data::format::{CaptureKind, KeyValue, Logfmt, Pattern, Text};
use crate::data::framing::Framer;
use crate::data::layout::FieldPath;

const LOGFMT: Format = Format::Logfmt(Logfmt { infer: true });

fn key_value(pair: &str, value: &str) -> Format {
    let (pair_separator, value_separator) = (pair.to_owned(), value.to_owned());
    Format::KeyValue(KeyValue { pair_separator, value_separator, quote: b'"', infer: true })
}

fn grok_of(pattern: &str) -> Format {
    Format::Pattern(Pattern { language: "grok", alternatives: vec![grok::grok(pattern, &[]).unwrap()] })
}

fn regex_of(pattern: &str, types: &[(&str, CaptureKind)]) -> Format {
    let mut alternative = pattern::regex(pattern).unwrap();
    for (name, kind) in types {
        alternative.captures.iter_mut().find(|c| c.path.join(".") == *name).unwrap().kind = *kind;
    }
    Format::Pattern(Pattern { language: "regex", alternatives: vec![alternative] })
}

/// Every format, with a record that it reads.
fn all() -> Vec<(Format, &'static str)> {
    vec![
        (Format::Text(Text { field: "line".into() }), "a line of \"text\""),
        (LOGFMT, r#"at=info msg="it is \"on\"" took=3.50 ok"#),
        (key_value(";", ":"), r#"a: 1; b: "x; y" ;c:"#),
        (key_value(" ", "="), r#"a=1 "b c"="x y"  d=true"#),
        (Format::CombinedLog, LINE),
        (grok_of("%{COMBINEDAPACHELOG}"), LINE),
        (grok_of("^%{IP:a.b} %{NOTSPACE:[a][c]} .*%{INT:n:int}"), LINE),
        (regex_of(r"^(?<x>\d+)? (?<y>.*)$", &[("x", CaptureKind::Float)]), "12 words"),
    ]
}

const LINE: &str =
    r#"192.0.2.1 - anna [10/Oct/2026:13:55:36 +0200] "GET /a?b=1 HTTP/1.1" 200 2326 "-" "Mozilla/5.0 (\"x\")""#;

/// What each record becomes: its ordinal and the JSON, or what is wrong with it and where.
fn decode(format: &Format, bytes: &[u8], cuts: &[usize]) -> Vec<(u64, Result<String, (String, String)>)> {
    let mut framer = Framer::new(format);
    let mut blocks = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        if to > from {
            blocks.extend(framer.push(bytes[from..to].to_vec(), from as u64));
            from = to;
        }
    }
    blocks.extend(framer.finish());
    let mut decoder = Decoder::new(format, &Layout::default(), &Demand::default()).unwrap();
    let mut records = Vec::new();
    for block in blocks {
        let position = block.position;
        let decoded = decoder.decode(block);
        assert_eq!(decoded.records as usize, decoded.batch.rows + decoded.refused.len());
        let at = |ordinal: u32| position + u64::from(decoded.starts[ordinal as usize]);
        let raw = decoded.batch.raw.as_ref().unwrap();
        let rows = decoded.batch.ordinals.iter().enumerate().map(|(row, o)| (at(*o), Ok(raw.row(row).to_owned())));
        records.extend(rows);
        records.extend(decoded.refused.iter().map(|r| (at(r.ordinal), Err((r.reason.clone(), r.place.clone())))));
    }
    records.sort_by_key(|(at, _)| *at);
    records
}

/// What one record becomes.
fn one(format: &Format, record: &str) -> Result<Value, (String, String)> {
    let mut records = decode(format, record.as_bytes(), &[]);
    assert_eq!(records.len(), 1, "{record}");
    records.remove(0).1.map(|text| serde_json::from_str(&text).unwrap())
}

fn wrong(format: &Format, record: &str) -> (String, String) {
    one(format, record).unwrap_err()
}

fn fault(reason: &str, byte: usize) -> (String, String) {
    (reason.to_owned(), format!("byte {byte}"))
}

#[test]
fn text_is_one_field() {
    let format = Format::Text(Text { field: "line".into() });
    let records = decode(&format, b"a \"b\"\r\n\n \t\n\xff\xfe\nlast", &[]);
    let ok = |text: &str| Ok(text.to_owned());
    let bad = Err(fault("this is not valid UTF-8", 1));
    assert_eq!(records, [(0, ok(r#"{"line":"a \"b\""}"#)), (11, bad), (14, ok(r#"{"line":"last"}"#))]);
}

#[test]
fn a_record_that_grows_beyond_the_limit_is_refused_and_its_neighbours_read() {
    let mut bytes = b"a\n".to_vec();
    bytes.resize(bytes.len() + crate::base::limit::RECORD_BYTES / 2, 1);
    bytes.extend_from_slice(b"\nb\n");
    let records = decode(&Format::Text(Text { field: "line".into() }), &bytes, &[]);
    let read: Vec<bool> = records.iter().map(|(_, found)| found.is_ok()).collect();
    assert_eq!(read, [true, false, true]);
    assert!(records[1].1.as_ref().unwrap_err().0.contains("more than the"));
}

#[test]
fn logfmt_reads_pairs_names_and_quotes() {
    let read = |text: &str| decode(&LOGFMT, text.as_bytes(), &[]).remove(0).1;
    let all = r#"at=info n=3.50 big=12345678901234567890 neg=-0 ok url=/a?b=c empty= quoted="7" esc="a\"b\\\n\u00e4\x41\q" t=true"#;
    assert_eq!(
        read(all).unwrap(),
        r#"{"at":"info","n":3.50,"big":12345678901234567890,"neg":-0,"ok":true,"url":"/a?b=c","empty":null,"quoted":"7","esc":"a\"b\\\näA\\q","t":true}"#
    );
    assert_eq!(read("a=1 b=2 a=3 c=4 b=5").unwrap(), r#"{"a":3,"b":5,"c":4}"#);
    let texts = Format::Logfmt(Logfmt { infer: false });
    assert_eq!(one(&texts, "a=1 b= c=true d"), Ok(json!({ "a": "1", "b": "", "c": "true", "d": true })));
    assert_eq!(wrong(&LOGFMT, "plain words"), fault("there is no `name=value` in this record", 1));
    assert_eq!(wrong(&LOGFMT, "a=1 =2"), fault("there is no name before `=`", 5));
    assert_eq!(wrong(&LOGFMT, "a=\"1"), fault("a quote is opened and never closed", 3));
    assert_eq!(wrong(&LOGFMT, "a=\"1\"b"), fault("white space should follow the closing quote", 6));
    assert_eq!(wrong(&LOGFMT, "a=1 \"b\""), fault("a quote stands where a name should: is a `=` missing?", 5));
}

#[test]
fn repeated_names_of_a_wide_record_count_once() {
    let record: String = (0..1000).map(|i| format!("k{}={i} ", i % 700)).collect();
    let value = one(&LOGFMT, &record).unwrap();
    let members = value.as_object().unwrap();
    assert_eq!((members.len(), &members["k0"], &members["k699"]), (700, &json!(700), &json!(699)));
    let order: Vec<&String> = members.keys().collect();
    assert_eq!(order.len(), 700);
}

#[test]
fn pairs_have_the_separators_that_were_chosen() {
    let semicolons = key_value(";", ":");
    let expected = json!({ "a": 1, "b": "x; \"y", "c d": null, "e": "f:g" });
    assert_eq!(one(&semicolons, r#" a : 1;; b: "x; \"y" ;c d:; e:f:g;"#), Ok(expected));
    assert_eq!(wrong(&semicolons, "a: 1; b"), fault("there is no `:` after `b`", 8));
    assert_eq!(wrong(&semicolons, "a: 1; : 2"), fault("there is no name before `:`", 7));
    assert_eq!(wrong(&semicolons, "a: \"x\" y; b: 1"), fault("a separator should follow the closing quote", 8));
    assert_eq!(wrong(&semicolons, ";;"), fault("there is no pair in this record", 1));
    assert_eq!(one(&key_value("&", "="), "q=a+b&n=007&x=1.0"), Ok(json!({ "q": "a+b", "n": "007", "x": 1.0 })));
    assert_eq!(one(&key_value(", ", "=>"), "a=>1, b=>c,d"), Ok(json!({ "a": 1, "b": "c,d" })));
    assert_eq!(wrong(&key_value(" ", "="), "a=1 \"b"), fault("a quote is opened and never closed", 5));
}

#[test]
fn access_logs_have_types_and_nulls() {
    let expected = json!({
        "client": "192.0.2.1", "ident": null, "user": "anna", "time": "2026-10-10T13:55:36+02:00", "method": "GET",
        "path": "/a?b=1", "protocol": "HTTP/1.1", "status": 200, "bytes": 2326, "referer": null,
        "user_agent": "Mozilla/5.0 (\"x\")",
    });
    assert_eq!(one(&Format::CombinedLog, LINE), Ok(expected.clone()));
    let common = one(&Format::CombinedLog, LINE.split(" \"-\"").next().unwrap()).unwrap();
    assert_eq!(common.as_object().unwrap().len(), 9);
    let more = one(&Format::CombinedLog, &format!("{LINE} \"203.0.113.9\" 0.012")).unwrap();
    assert_eq!(more["rest"], "\"203.0.113.9\" 0.012");
    let probe =
        one(&Format::CombinedLog, &LINE.replace("GET /a?b=1 HTTP/1.1", r"\x16\x03\x01\x22").replace(" 2326", " -"));
    let probe = probe.unwrap();
    assert_eq!(
        (&probe["method"], &probe["request"], &probe["bytes"]),
        (&Value::Null, &json!("\u{16}\u{3}\u{1}\""), &Value::Null)
    );
    let bytes = one(&Format::CombinedLog, &LINE.replace("/a?b=1", r"/\xff\xe4")).unwrap();
    assert_eq!(bytes["path"], r"/\xff\xe4");
    let no_time = LINE.replace("/Oct/", "/Okt/");
    assert_eq!(
        wrong(&Format::CombinedLog, &no_time),
        fault("this is not a time like `10/Oct/2026:13:55:36 +0200`", 19)
    );
    assert_eq!(wrong(&Format::CombinedLog, "no log"), fault("the identity of the client should stand here", 4));
    let status = LINE.replace(" 200 ", " 2x0 ");
    assert_eq!(wrong(&Format::CombinedLog, &status), fault("`status` should be a whole number or `-` here", 69));
    // Grok's pattern of the same sees the same line in its own words.
    let by_grok = one(&grok_of("%{COMBINEDAPACHELOG}"), LINE).unwrap();
    assert_eq!(
        (&by_grok["clientip"], &by_grok["response"], &by_grok["httpversion"]),
        (&json!("192.0.2.1"), &json!(200), &json!("1.1"))
    );
    assert_eq!(by_grok["agent"], r#""Mozilla/5.0 (\"x\")""#);
}

#[test]
fn patterns_capture_paths_types_and_what_took_part() {
    let types = [("n", CaptureKind::Int), ("f", CaptureKind::Float), ("b", CaptureKind::Bool)];
    let format = regex_of(r"^(?<n>\S+) (?<f>\S+)(?: (?<b>\S+))?(?: (?<x.y>\S+))?$", &types);
    assert_eq!(one(&format, "+007 .50 true z"), Ok(json!({ "n": 7, "f": 0.5, "b": true, "x": { "y": "z" } })));
    assert_eq!(one(&format, "-0 1e3"), Ok(json!({ "n": 0, "f": 1000.0 })));
    assert_eq!(wrong(&format, "1 2 maybe"), fault("`maybe` is not `true` or `false`", 5));
    assert_eq!(wrong(&format, "1.5 2"), fault("`1.5` is not a whole number", 1));
    assert_eq!(wrong(&format, "1 inf"), fault("`inf` is not a number", 3));
    assert_eq!(wrong(&format, "1"), fault("this does not fit the pattern: it ends where ` ` should stand", 2));
    let beyond = decode(&format, b"12345678901234567890123 1.50", &[]).remove(0).1;
    assert_eq!(beyond.unwrap(), r#"{"n":12345678901234567890123,"f":1.50}"#);
    let several = grok_of("%{IP:who.ip}|%{HOSTNAME:who.name}|(?<rest>.*)");
    assert_eq!(one(&several, "::1"), Ok(json!({ "who": { "ip": "::1" } })));
    assert_eq!(one(&several, "host.example"), Ok(json!({ "who": { "name": "host.example" } })));
    assert_eq!(one(&several, "*"), Ok(json!({ "rest": "*" })));
    let clash = pattern::regex("(?<a>.)(?<a.b>.)").unwrap_err();
    assert_eq!(clash.reason, "`a.b` cannot be a field beside one that lies inside it or around it");
}

#[test]
fn mistakes_in_patterns_have_their_place() {
    let error = pattern::regex(r"^(?<a>\d+) (\w").unwrap_err();
    assert_eq!(
        (error.reason.as_str(), error.range),
        ("this is not a regular expression: unclosed group", Some(11..12))
    );
    assert_eq!(pattern::regex("a+").unwrap_err().reason, "the pattern names no group, so it gives no field");
    assert!(pattern::regex("(?<a>x(?=y))").unwrap_err().help.unwrap().starts_with("look-ahead"));
    let wrong = |text: &str| grok::grok(text, &[]).unwrap_err();
    let unknown = wrong("%{IP:a} %{NUMBR:b}");
    assert_eq!((unknown.reason.as_str(), unknown.range), ("unknown grok pattern `NUMBR`", Some(8..18)));
    assert_eq!(unknown.help.as_deref(), Some("did you mean `NUMBER`?"));
    assert_eq!(wrong("%{IP:a").range, Some(0..2));
    assert_eq!(wrong("%{IP:a} (x").range, Some(8..9));
    assert_eq!(wrong("%{IP:a:itn}").help.as_deref(), Some("did you mean `int`?"));
    let own = [("A".to_owned(), "x%{B}".to_owned()), ("B".to_owned(), "%{A}".to_owned())];
    assert!(grok::grok("%{A:x}", &own).unwrap_err().reason.contains("holds itself"));
    // What doubles with each level ends as well.
    let bomb: Vec<_> = (0..23).map(|i| (format!("P{i}"), format!("%{{P{}}}%{{P{}}}", i + 1, i + 1))).collect();
    assert!(grok::grok("%{P0:x}", &[bomb, vec![("P23".into(), "y".into())]].concat()).is_err());
}

#[test]
fn the_library_matches_what_it_says() {
    for (name, _) in grok::LIBRARY {
        grok::grok(&format!("^%{{{name}:it}}$"), &[])
            .unwrap_or_else(|e| std::panic::panic_any(format!("{name}: {e:?}")));
    }
    let whole = |name: &str, text: &str| one(&grok_of(&format!("^%{{{name}:it}}$")), text).is_ok();
    let fits = [
        ("INT", "-12"),
        ("NUMBER", "-1.5e3"),
        ("NUMBER", ".5"),
        ("BASE16NUM", "0xFf"),
        ("WORD", "über"),
        ("NOTSPACE", "a.b"),
        ("QS", r#""a \" b""#),
        ("UUID", "550e8400-e29b-41d4-a716-446655440000"),
        ("EMAILADDRESS", "a.b+c@example.com"),
        ("MAC", "00:1A:2b:3c:4d:5e"),
        ("MAC", "001a.2b3c.4d5e"),
        ("IP", "192.0.2.255"),
        ("IP", "2001:db8::1"),
        ("IP", "::"),
        ("IP", "1:2:3:4:5:6:7:8"),
        ("IP", "::ffff:192.0.2.1"),
        ("IP", "fe80::1%eth0"),
        ("HOSTNAME", "a-b.example.com"),
        ("HOSTPORT", "example.com:8080"),
        ("HOSTPORT", "192.0.2.1:80"),
        ("PATH", "/var/log/x.log"),
        ("PATH", r"C:\Temp\x"),
        ("URI", "https://user:pw@example.com:8443/a/b?c=d&e=[1]"),
        ("URI", "http://[2001:db8::1]:80/"),
        ("MONTH", "September"),
        ("TIME", "23:59:59.123"),
        ("TIMESTAMP_ISO8601", "2026-03-01T10:20:30.5Z"),
        ("TIMESTAMP_ISO8601", "2026-03-01 10:20:30,123+02:00"),
        ("TIMESTAMP_ISO8601", "2026-03-01 10:20"),
        ("HTTPDATE", "10/Oct/2026:13:55:36 -0700"),
        ("SYSLOGTIMESTAMP", "Mar  1 10:20:30"),
        ("DATESTAMP_RFC2822", "Mon, 2 Mar 2026 10:20:30 +0100"),
        ("LOGLEVEL", "WARNING"),
        ("LOGLEVEL", "Err"),
        ("DATE", "31.12.2026"),
        ("SYSLOGLINE", "Mar  1 10:20:30 host sshd[42]: Failed password"),
        ("TTY", "/dev/pts/0"),
    ];
    let unfit: Vec<_> = fits.iter().filter(|(name, text)| !whole(name, text)).collect();
    assert!(unfit.is_empty(), "{unfit:?}");
    let unfits = [
        ("IP", "256.1.1.1"),
        ("IP", "1:2:3"),
        ("INT", "1.5"),
        ("UUID", "550e8400"),
        ("HTTPDATE", "10/Foo/2026:13:55:36 -0700"),
        ("TIME", "25:00"),
    ];
    let fit: Vec<_> = unfits.iter().filter(|(name, text)| whole(name, text)).collect();
    assert!(fit.is_empty(), "{fit:?}");
    let syslog = one(&grok_of("%{SYSLOGLINE}"), "Mar  1 10:20:30 host sshd[42]: Failed").unwrap();
    let expected = json!({ "timestamp": "Mar  1 10:20:30", "logsource": "host", "program": "sshd", "pid": 42, "message": "Failed" });
    assert_eq!(syslog, expected);
}

#[test]
fn only_what_is_read_gets_a_column() {
    let mut layout = Layout::default();
    let status = layout.intern(FieldPath::event(["status"])).unwrap();
    let demand = Demand { values: vec![status], ..Demand::default() };
    let mut decoder = Decoder::new(&Format::CombinedLog, &layout, &demand).unwrap();
    let decoded = decoder.decode(Block { bytes: format!("x\n{LINE}\n").into_bytes(), ..Block::default() });
    assert_eq!((decoded.records, decoded.batch.ordinals.as_slice()), (2, &[1][..]));
    assert_eq!(decoded.batch.get(status, 0).to_value(), crate::data::value::Value::Int(200));
    // Records that came one by one are counted one by one, also an empty one.
    let mut bytes = LINE.as_bytes().to_vec();
    let ends = vec![0, bytes.len() as u32, bytes.len() as u32 + 1];
    bytes.push(b'x');
    let decoded = decoder.decode(Block::from_records(bytes, ends));
    assert_eq!((decoded.records, decoded.batch.ordinals.as_slice(), decoded.refused.len()), (3, &[1][..], 2));
}

/// Names that need no quotes.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Zä_@][a-zA-Z0-9_.ä-]{0,8}"
}

fn scalar() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec!["", "true", "false", "null", "7", "-1.5e3", "007", "a=b", "\\", "\"", "{}"]);
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        words.prop_map(Value::from),
    ]
}

fn logfmt_text(text: &str) -> String {
    let mut out = Vec::new();
    json::write_text(text, &mut out);
    String::from_utf8(out).unwrap()
}

/// The record that a JSON text is written as.
fn as_logfmt(text: &str) -> String {
    let layout = Layout::default();
    let mut decoder = json::Decoder::new(&layout, &Demand { body: true, ..Demand::default() });
    let decoded = decoder.decode(Block { bytes: text.as_bytes().to_vec(), ..Block::default() });
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    encode_logfmt(&layout, &decoded.batch, &mut out, &mut ends);
    assert_eq!(ends, [out.len() as u32]);
    String::from_utf8(out).unwrap()
}

#[test]
fn rows_are_written_as_logfmt() {
    let row = r#"{"at":"info","n":3.50,"i":7,"big":12345678901234567890,"t":true,"no":null,"s":{"floor":3,"e":{}},"l":[1,"a b"],"w":"a b","e":"","q":"7","z":"007","b":"true","k l=":"x\\y\n","":1}"#;
    let expected = concat!(
        r#"at=info n=3.5 i=7 big=12345678901234567890 t=true no= s.floor=3 s.e={} l="[1,\"a b\"]" w="a b" e="" q="7" z=007 "#,
        r#"b="true" k_l_="x\\y\n" _=1"#,
        "\n"
    );
    assert_eq!(as_logfmt(row), expected);
    assert_eq!(as_logfmt("[1,2]"), "value=[1,2]\n");
    assert_eq!(as_logfmt("{}"), "\n");
}

proptest! {
    #[test]
    fn rows_that_were_written_as_logfmt_read_back(
        pairs in prop::collection::vec((name(), scalar()), 1..12),
    ) {
        let row: serde_json::Map<String, Value> = pairs.into_iter().collect();
        let row = Value::Object(row);
        let line = as_logfmt(&row.to_string());
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(one(&LOGFMT, &line), Ok(row));
    }

    #[test]
    fn logfmt_that_was_written_reads_back(pairs in prop::collection::vec((name(), any::<String>()), 1..12)) {
        let record: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={}", logfmt_text(v))).collect();
        let expected: serde_json::Map<String, Value> = pairs.into_iter().map(|(n, v)| (n, json!(v))).collect();
        prop_assert_eq!(one(&LOGFMT, &record.join(" ")), Ok(Value::Object(expected)));
    }

    #[test]
    fn pairs_that_were_written_read_back(
        pairs in prop::collection::vec((name(), any::<String>()), 1..12),
        separators in prop::sample::select(vec![(";", ":"), ("&", "="), (", ", " => "), (" ", "="), ("\t", "="), ("||", "==")]),
    ) {
        let record: Vec<String> =
            pairs.iter().map(|(n, v)| format!("{n}{}{}", separators.1, logfmt_text(v))).collect();
        let expected: serde_json::Map<String, Value> = pairs.into_iter().map(|(n, v)| (n, json!(v))).collect();
        let format = key_value(separators.0, separators.1);
        prop_assert_eq!(one(&format, &record.join(separators.0)), Ok(Value::Object(expected)));
    }

    #[test]
    fn whatever_comes_is_a_row_or_refused_wherever_it_is_cut(
        which in 0usize..8,
        lines in prop::collection::vec((0usize..4, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let (format, record) = &all()[which];
        let mut bytes = Vec::new();
        for (edits, at, byte) in lines {
            let mut line = record.as_bytes().to_vec();
            for edit in 0..edits {
                let at = (at.index(line.len()) * (edit + 1)) % line.len();
                match edit {
                    0 => line[at] = byte,
                    1 => line.insert(at, b'"'),
                    _ => line.truncate(at.max(1)),
                }
            }
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        let whole = decode(format, &bytes, &[]);
        for (_, found) in &whole {
            if let Ok(text) = found {
                prop_assert!(serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object()), "{}", text);
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(whole, decode(format, &bytes, &cuts));
    }
}
