//! Bad input of every kind through the real binary: good records around a bad one pass, the bad one goes to `.errors`
//! with what is wrong and where, every record ends as one or the other, and memory stays bounded.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use tempfile::TempDir;

/// What becomes of the bytes between two good records.
enum What {
    /// Rows, as they leave.
    Passes(&'static [&'static str]),
    /// Errors: a part of each reason, and the place.
    Refused(&'static [(&'static str, &'static str)]),
}
use What::{Passes, Refused};

/// Records of one format.
struct Kind {
    /// `format`, as it is written.
    format: &'static str,
    /// Keys beside it.
    beside: &'static str,
    /// What stands before the bad bytes and after them.
    good: [&'static [u8]; 2],
    /// The rows of those two.
    rows: [&'static str; 2],
}

const NUMBERS: [&str; 2] = [r#"{"n":1}"#, r#"{"n":2}"#];
const JSON: Kind =
    Kind { format: "json", beside: "", good: [b"{\"n\":1}\n", b"\n{\"n\":2}\n"], rows: [r#"{"n":1}"#, r#"{"n":2}"#] };
const TIMED: Kind = Kind {
    format: "json",
    beside: "    time: { field: ts, max_future: 1d }\n",
    good: [b"{\"ts\":1767225600}\n", b"\n{\"ts\":1767225601}\n"],
    rows: [r#"{"ts":1767225600}"#, r#"{"ts":1767225601}"#],
};
const CSV: Kind = Kind {
    format: "csv",
    beside: "",
    good: [b"a,b\n1,2\n", b"\n8,9\n"],
    rows: [r#"{"a":1,"b":2}"#, r#"{"a":8,"b":9}"#],
};
const LOGFMT: Kind = Kind { format: "logfmt", beside: "", good: [b"n=1\n", b"\nn=2\n"], rows: NUMBERS };
const KEY_VALUE: Kind = Kind { format: "{ key_value: {} }", ..LOGFMT };
const MESSAGE_PACK: Kind =
    Kind { format: "msgpack", beside: "", good: [b"\x81\xa1n\x01", b"\x81\xa1n\x02"], rows: NUMBERS };
const TEXT: Kind = Kind {
    format: "text",
    beside: "",
    good: [b"one\n", b"\ntwo\n"],
    rows: [r#"{"message":"one"}"#, r#"{"message":"two"}"#],
};
const REGEX: Kind = Kind {
    format: r"{ regex: '^(?<n>\d+)$' }",
    beside: "",
    good: [b"1\n", b"\n2\n"],
    rows: [r#"{"n":"1"}"#, r#"{"n":"2"}"#],
};
const GROK: Kind = Kind { format: "{ grok: '^%{INT:n}$' }", ..REGEX };

/// Runs a pipeline over this input.
fn run(directory: &TempDir, kind: &Kind, input: &[u8]) -> (Output, Vec<String>, Vec<Value>) {
    std::fs::write(directory.path().join("in"), input).expect("written");
    ran(directory, kind)
}

/// Runs a pipeline over the input that is there: what came out and what went wrong.
fn ran(directory: &TempDir, kind: &Kind) -> (Output, Vec<String>, Vec<Value>) {
    let Kind { format, beside, .. } = kind;
    let pipeline = format!(
        "name: p\nsources:\n  in:\n    file: {{ path: in }}\n    format: {format}\n{beside}sinks:\n  out: {{ from: in, file: {{ path: out }} }}\n  \
         wrong: {{ from: in.errors, file: {{ path: wrong }} }}\n"
    );
    std::fs::write(directory.path().join("p.yaml"), pipeline).expect("written");
    let output = millstream(directory.path());
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(directory.path().join(name)).expect("a file");
        text.lines().map(str::to_owned).collect()
    };
    let wrong = lines("wrong").iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (output, lines("out"), wrong)
}

fn millstream(directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(["run", "p.yaml"]).current_dir(directory).env("NO_COLOR", "1").stdin(Stdio::null());
    command.output().expect("it runs")
}

/// Runs every case between two good records.
fn between(kind: &Kind, cases: &[(&str, &[u8], What)]) {
    let directory = TempDir::new().expect("a directory");
    for (name, bad, what) in cases {
        let input = [kind.good[0], bad, kind.good[1]].concat();
        let (passes, refused): (&[&str], &[(&str, &str)]) = match what {
            Passes(rows) => (rows, &[]),
            Refused(errors) => (&[], errors),
        };
        let rows: Vec<&str> = [kind.rows[0]].iter().chain(passes).chain(&[kind.rows[1]]).copied().collect();
        compare(&format!("{}: {name}", kind.format), run(&directory, kind, &input), &rows, refused);
    }
}

fn compare(name: &str, ran: (Output, Vec<String>, Vec<Value>), rows: &[&str], refused: &[(&str, &str)]) {
    let (output, out, wrong) = ran;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    assert!(!said.contains("panicked"), "{name}: {said}");
    assert_eq!(out, rows, "{name}: {wrong:?}");
    let found: Vec<(&str, &str)> = wrong.iter().map(|w| (text(w, "reason"), text(w, "place"))).collect();
    let same =
        |(found, wanted): (&(&str, &str), &(&str, &str))| found.0.contains(wanted.0) && stands(found.1, wanted.1);
    assert!(found.len() == refused.len() && found.iter().zip(refused).all(same), "{name}: {found:#?}");
    assert!(wrong.iter().all(|w| text(w, "entry") == "in" && w["original"].is_string()), "{name}: {wrong:?}");
    let counted = format!("p: {} row", rows.len() + refused.len());
    assert!(said.contains(&counted), "{name}: not all records are counted: {said}");
}

/// Whether a place is this one: of a record that could not be read also where that stands in the file.
fn stands(place: &str, wanted: &str) -> bool {
    match place.strip_suffix(" of in").and_then(|place| place.rsplit_once("byte ")) {
        Some((within, at)) => {
            let within = within.strip_suffix(" of the record at ").unwrap_or(within);
            within == wanted && at.parse().is_ok_and(|at: u64| at > 0)
        }
        None => place == wanted && !wanted.starts_with("byte "),
    }
}

fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_default()
}

#[test]
fn json_that_is_cut_or_wrong() {
    between(
        &JSON,
        &[
            ("cut before a value", br#"{"a":"#, Refused(&[("the text ends where a value should stand", "byte 6")])),
            ("cut in a string", br#"{"a":"b"#, Refused(&[("the text ends inside a string", "byte 8")])),
            ("cut in an object", b"{", Refused(&[("the text ends inside an object", "byte 2")])),
            ("cut in UTF-8", b"{\"a\":\"\xe2\x82", Refused(&[("not valid UTF-8", "byte 7")])),
            ("text after it", br#"{"a":1} x"#, Refused(&[("more text after the value", "byte 9")])),
            ("two in one line", br#"{"a":1}{"a":2}"#, Refused(&[("more text after the value", "byte 8")])),
            ("a comment", br#"{"a":1} // x"#, Refused(&[("more text after the value", "byte 9")])),
            ("a carriage return alone", b"{\"a\":1}\r{\"a\":2}", Refused(&[("more text after the value", "byte 9")])),
            ("a comma too many in an object", br#"{"a":1,}"#, Refused(&[("a member's name in quotes", "byte 8")])),
            ("a comma too many in a list", b"[1,]", Refused(&[("a value should stand here", "byte 4")])),
            ("no colon", br#"{"a" 1}"#, Refused(&[("`:` should stand here", "byte 6")])),
            ("single quotes", b"{'a':1}", Refused(&[("a member's name in quotes", "byte 2")])),
            ("no quotes", b"{a:1}", Refused(&[("a member's name in quotes", "byte 2")])),
            ("a word of another language", br#"{"a":True}"#, Refused(&[("a value should stand here", "byte 6")])),
            ("a word that goes on", br#"{"a":truex}"#, Refused(&[("`,` or `}` should stand here", "byte 10")])),
            ("a page instead", b"<html>", Refused(&[("a value should stand here", "byte 1")])),
            ("a byte order mark in the middle", b"\xef\xbb\xbf{}", Refused(&[("a value should stand here", "byte 1")])),
            ("NUL bytes", &[0; 64], Refused(&[("a value should stand here", "byte 1")])),
            ("every byte", b"\x01\x02\x7f\x80\xff\xfe\x00", Refused(&[("not valid UTF-8", "byte 4")])),
        ],
    );
}

#[test]
fn json_numbers_texts_and_names() {
    between(
        &JSON,
        &[
            ("NaN", br#"{"a":NaN}"#, Refused(&[("a value should stand here", "byte 6")])),
            ("infinity", br#"{"a":-Infinity}"#, Refused(&[("not a JSON number", "byte 6")])),
            ("a leading zero", br#"{"a":01}"#, Refused(&[("not a JSON number", "byte 6")])),
            ("a plus", br#"{"a":+1}"#, Refused(&[("a value should stand here", "byte 6")])),
            ("hexadecimal", br#"{"a":0x1F}"#, Refused(&[("`,` or `}` should stand here", "byte 7")])),
            ("nothing before the point", br#"{"a":.5}"#, Refused(&[("a value should stand here", "byte 6")])),
            ("nothing behind the point", br#"{"a":1.}"#, Refused(&[("not a JSON number", "byte 6")])),
            ("half an exponent", br#"{"a":1e}"#, Refused(&[("not a JSON number", "byte 6")])),
            ("an exponent beyond doubles", br#"{"a":1e400}"#, Passes(&[r#"{"a":1e400}"#])),
            (
                "an integer beyond 64 bits",
                br#"{"a":99999999999999999999999}"#,
                Passes(&[r#"{"a":99999999999999999999999}"#]),
            ),
            ("minus zero", br#"{"a":-0}"#, Passes(&[r#"{"a":-0}"#])),
            ("broken UTF-8 in a text", b"{\"a\":\"\xff\"}", Refused(&[("not valid UTF-8", "byte 7")])),
            ("broken UTF-8 in a name", b"{\"\xfe\":1}", Refused(&[("not valid UTF-8", "byte 3")])),
            ("an overlong encoding", b"{\"a\":\"\xc0\x80\"}", Refused(&[("not valid UTF-8", "byte 7")])),
            ("a surrogate in UTF-8", b"{\"a\":\"\xed\xa0\x80\"}", Refused(&[("not valid UTF-8", "byte 7")])),
            ("half a surrogate pair", br#"{"a":"\ud800"}"#, Refused(&[("half of a surrogate pair", "byte 7")])),
            ("the other half", br#"{"a":"\udc00x"}"#, Refused(&[("half of a surrogate pair", "byte 7")])),
            ("an unknown escape", br#"{"a":"\x41"}"#, Refused(&[("this escape does not exist", "byte 7")])),
            ("a short escape", br#"{"a":"\u12"}"#, Refused(&[("needs four hexadecimal digits", "byte 11")])),
            ("NUL in a text", b"{\"a\":\"\0\"}", Refused(&[("a control character", "byte 7")])),
            ("a tab in a text", b"{\"a\":\"\t\"}", Refused(&[("a control character", "byte 7")])),
            ("a name twice", br#"{"a":1,"a":2}"#, Passes(&[r#"{"a":1,"a":2}"#])),
            ("an empty name", br#"{"":1}"#, Passes(&[r#"{"":1}"#])),
            ("no object", b"5\nnull\n\"x\"", Passes(&["5", "null", "\"x\""])),
            ("carriage returns", b"{\"a\":1}\r\n\r", Passes(&[r#"{"a":1}"#])),
            ("empty lines", b"\n\n \n\t\n", Passes(&[])),
        ],
    );
}

#[test]
fn json_that_is_deep_or_long() {
    let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
    let deeper = [br#"{"a":"#.repeat(100_000), b"1".to_vec(), b"}".repeat(100_000)].concat();
    let long = [b"\"".to_vec(), b"x".repeat(10_000_000), b"\"".to_vec()].concat();
    let longer = b"7".repeat(17 << 20);
    between(
        &JSON,
        &[
            ("deep lists", &deep, Refused(&[("nested more than 127 deep", "byte 128")])),
            ("very deep objects", &deeper, Refused(&[("nested more than 127 deep", "byte 636")])),
            (
                "ten megabytes of nonsense",
                &b"x".repeat(10_000_000),
                Refused(&[("a value should stand here", "byte 1")]),
            ),
            ("more than a record may have", &longer, Refused(&[("is a line end missing?", "byte 16777217")])),
        ],
    );
    let directory = TempDir::new().expect("a directory");
    let (_, out, wrong) = run(&directory, &JSON, &[b"1\n", long.as_slice(), b"\n2\n"].concat());
    assert_eq!((out.iter().map(String::len).collect::<Vec<_>>(), wrong.len()), (vec![1, 10_000_002, 1], 0));
}

#[test]
fn streams_that_begin_or_end_oddly() {
    let directory = TempDir::new().expect("a directory");
    let marked = b"\xef\xbb\xbf{\"n\":1}\n{\"n\":2}";
    compare("a mark first, no line end last", run(&directory, &JSON, marked), &NUMBERS, &[]);
    let cut = [("the text ends where a value should stand", "byte 6")];
    compare("cut", run(&directory, &JSON, b"{\"n\":1}\n{\"n\":"), &[r#"{"n":1}"#], &cut);
    let wide: Vec<u8> = "\u{feff}{}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let found = [("not valid UTF-8", "byte 1"), ("a value should stand here", "byte 1")];
    compare("UTF-16", run(&directory, &JSON, &wide), &[], &found);
    for kind in [JSON, CSV, LOGFMT, MESSAGE_PACK, TEXT] {
        compare(kind.format, run(&directory, &kind, b""), &[], &[]);
    }
    compare("only a header", run(&directory, &CSV, b"a,b\n"), &[], &[]);
    let open = [("a quote is opened and never closed", "byte 3")];
    compare("a header that does not close", run(&directory, &CSV, b"a,\"b\n1,2\n"), &[], &open);
    compare("a quote that does not close", run(&directory, &CSV, b"a,b\n1,\"2\n3,4\n"), &[], &open);
    let rows = [r#"{"a":1,"a":2}"#];
    let latin = "the header of `in` is not valid UTF-8 at byte 6, so the fields have no names: save the file as UTF-8";
    let latin = [(latin, "byte 1"), (latin, "byte 1")];
    compare("a header in Latin-1", run(&directory, &CSV, b"id,Gr\xf6\xdfe\n1,2\n3,4\n"), &[], &latin);
    compare("a name twice in a header", run(&directory, &CSV, b"\xef\xbb\xbfa,a\n1,2\n"), &rows, &[]);
}

#[test]
fn times_that_are_none() {
    const HERE: &str = "p.yaml:6:20";
    const UNREAD: What = Refused(&[("is not a time: it is neither RFC 3339", HERE)]);
    const OUTSIDE: What = Refused(&[("is not a time: it is outside the years 0000 to 9999", HERE)]);
    const FUTURE: What = Refused(&[("ahead of the clock", HERE)]);
    between(
        &TIMED,
        &[
            ("missing", b"{}", Refused(&[("the event has no time: the field is missing", HERE)])),
            ("null", br#"{"ts":null}"#, Refused(&[("the event has no time: the field is null", HERE)])),
            ("no object", b"[]", Refused(&[("the event has no time: the field is missing", HERE)])),
            ("a word", br#"{"ts":"soon"}"#, UNREAD),
            ("empty", br#"{"ts":""}"#, UNREAD),
            ("a bool", br#"{"ts":true}"#, UNREAD),
            ("a list", br#"{"ts":[1]}"#, UNREAD),
            ("a day that is not", br#"{"ts":"2026-02-30T00:00:00Z"}"#, UNREAD),
            ("an hour that is not", br#"{"ts":"2026-01-01T25:00:00Z"}"#, UNREAD),
            ("an offset that is not", br#"{"ts":"2026-01-01T00:00:00+99:00"}"#, UNREAD),
            ("a day alone", br#"{"ts":"2026-01-01"}"#, UNREAD),
            ("a fifth digit of the year", br#"{"ts":"10000-01-01T00:00:00Z"}"#, UNREAD),
            ("beyond the calendar", br#"{"ts":1e30}"#, OUTSIDE),
            ("beyond 64 bits", br#"{"ts":99999999999999999999}"#, OUTSIDE),
            ("beyond doubles", br#"{"ts":1e400}"#, OUTSIDE),
            ("a wild clock", br#"{"ts":"9999-12-31T23:59:59Z"}"#, FUTURE),
            ("the largest number", br#"{"ts":9223372036854775807}"#, FUTURE),
            ("the least number", br#"{"ts":-9223372036854775808}"#, Passes(&[r#"{"ts":-9223372036854775808}"#])),
            ("before 1970", br#"{"ts":-1}"#, Passes(&[r#"{"ts":-1}"#])),
            ("a leap second", br#"{"ts":"2016-12-31T23:59:60Z"}"#, Passes(&[r#"{"ts":"2016-12-31T23:59:60Z"}"#])),
        ],
    );
}

#[test]
fn csv_of_every_kind() {
    let wide = b",".repeat(5_000);
    between(
        &CSV,
        &[
            ("too few fields", b"3", Refused(&[("the record has 1 field, the header 2", "byte 1")])),
            ("too many fields", b"3,4,5", Refused(&[("the record has 3 fields, the header 2", "byte 1")])),
            ("very many fields", &wide, Refused(&[("the record has 5001 fields, the header 2", "byte 1")])),
            ("broken UTF-8", b"3,\xff", Refused(&[("not valid UTF-8", "byte 3")])),
            ("a quote within", b"3\"x,4", Passes(&[r#"{"a":"3\"x","b":4}"#])),
            ("text after a quote", b"\"3\"x,4", Passes(&[r#"{"a":"3x","b":4}"#])),
            ("NUL", b"3,\0", Passes(&[r#"{"a":3,"b":"\u0000"}"#])),
            ("a line end in quotes", b"\"3\n3\",4", Passes(&[r#"{"a":"3\n3","b":4}"#])),
            ("carriage returns", b"3,4\r5,6\r", Passes(&[r#"{"a":3,"b":4}"#, r#"{"a":5,"b":6}"#])),
            ("empty lines", b"\n\n\r\n", Passes(&[])),
            ("numbers that are none", b"NaN,0x1F", Passes(&[r#"{"a":"NaN","b":"0x1F"}"#])),
        ],
    );
}

#[test]
fn lines_of_every_kind() {
    between(
        &LOGFMT,
        &[
            ("an open quote", b"a=\"x", Refused(&[("a quote is opened and never closed", "byte 3")])),
            ("no name", b"=x", Refused(&[("there is no name before `=`", "byte 1")])),
            ("a quote as a name", b"@@@ ### \"\"\"", Refused(&[("a quote stands where a name should", "byte 9")])),
            ("broken UTF-8", b"a=\xff", Refused(&[("not valid UTF-8", "byte 3")])),
            ("a name twice", b"a=1 a=2", Passes(&[r#"{"a":2}"#])),
            ("blanks", b"   ", Passes(&[])),
        ],
    );
    between(
        &KEY_VALUE,
        &[
            ("no sign", b"garbage", Refused(&[("there is no `=` after `garbage`", "byte 8")])),
            ("an open quote", b"a=\"x", Refused(&[("a quote is opened and never closed", "byte 3")])),
            ("broken UTF-8", b"a=\xff", Refused(&[("not valid UTF-8", "byte 3")])),
        ],
    );
    for kind in [REGEX, GROK] {
        between(
            &kind,
            &[
                ("another text", b"12 x", Refused(&[("it goes on with ` x` where the pattern ends", "byte 3")])),
                ("broken UTF-8", b"1\xff", Refused(&[("not valid UTF-8", "byte 2")])),
            ],
        );
    }
    between(
        &TEXT,
        &[
            ("broken UTF-8", b"\xff", Refused(&[("not valid UTF-8", "byte 1")])),
            ("NUL", b"\0", Passes(&[r#"{"message":"\u0000"}"#])),
        ],
    );
    let directory = TempDir::new().expect("a directory");
    let kind = Kind { format: "combined_log", ..JSON };
    let line = "1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326 \"-\" \"x\"\n";
    let wrong = [
        ("1.2.3.4 - - [10/Oct/2000:13:55:36 -0700]\n".to_owned(), "a space should stand here", "byte 41"),
        (line.replace('"', ""), "the request in quotes should stand here", "byte 42"),
        (line.replace("Oct", "Foo"), "this is not a time", "byte 14"),
        (line.replace(" 200 ", " abc "), "`status` should be a whole number", "byte 59"),
        ("junk\n".to_owned(), "a client address should stand here", "byte 1"),
    ];
    let input: String = [line].into_iter().chain(wrong.iter().map(|(l, ..)| l.as_str())).chain([line]).collect();
    let (_, out, found) = run(&directory, &kind, input.as_bytes());
    assert_eq!(out.len(), 2);
    for (found, (_, reason, place)) in found.iter().zip(&wrong) {
        assert!(text(found, "reason").contains(reason) && stands(text(found, "place"), place), "{found}");
    }
    assert_eq!(found.len(), wrong.len());
}

#[test]
fn message_pack_of_every_kind() {
    let deep = [b"\x91".repeat(1_000), b"\xc0".to_vec()].concat();
    between(
        &MESSAGE_PACK,
        &[
            (
                "an unknown extension",
                b"\x81\xa1a\xd4\x05\x00",
                Refused(&[("only times are read of extension", "byte 4")]),
            ),
            ("a list as a name", b"\x81\x90\x02", Refused(&[("a name is neither text nor a whole number", "byte 2")])),
            ("very deep", &deep, Refused(&[("nests deeper than 128", "byte 128")])),
            ("broken UTF-8", b"\x81\xa1a\xa1\xff", Refused(&[("not valid UTF-8", "byte 5")])),
            ("NaN", b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0", Refused(&[("not finite", "byte 4")])),
            ("infinity", b"\x81\xa1a\xca\x7f\x80\0\0", Refused(&[("not finite", "byte 4")])),
            ("the largest integer", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Passes(&["18446744073709551615"])),
            ("a time", b"\x81\xa1a\xd6\xff\0\0\0\0", Passes(&[r#"{"a":"1970-01-01T00:00:00Z"}"#])),
            ("bytes", b"\x81\xa1a\xc4\x02\xff\xfe", Passes(&[r#"{"a":"//4="}"#])),
            ("a name twice", b"\x82\xa1a\x01\xa1a\x02", Passes(&[r#"{"a":1,"a":2}"#])),
        ],
    );
    let directory = TempDir::new().expect("a directory");
    let [first, second] = MESSAGE_PACK.good;
    let lies: [(&[u8], &str, &str); 5] = [
        (b"\xdd\xff\xff\xff\xff", "the value ends too early", "byte 10"),
        (b"\xdb\xff\xff\xff\xff", "the value ends too early", "byte 10"),
        (b"\xc6\x7f\xff\xff\xff", "the value ends too early", "byte 10"),
        (b"\xdf\xff\xff\xff\xff", "a name is neither text nor a whole number", "byte 6"),
        (b"\xc1", "no MessagePack value begins with the byte 0xc1", "byte 1"),
    ];
    for (lie, reason, place) in lies {
        let input = [first, lie, second].concat();
        compare("a lie", run(&directory, &MESSAGE_PACK, &input), &[r#"{"n":1}"#], &[(reason, place)]);
    }
    let short = [first, b"\x81\xa1a\xd9\x02x", second].concat();
    let rows = [r#"{"n":1}"#, "\"n\"", "2"];
    compare("a short lie", run(&directory, &MESSAGE_PACK, &short), &rows, &[("not valid UTF-8", "byte 7")]);
}

/// A long input: what it begins with, what comes how often, what it ends with. It is never held whole: what this
/// process holds would count as its children's.
struct Long<'a>(&'a [u8], &'a [u8], usize, &'a [u8]);

impl Long<'_> {
    fn write(&self, to: &mut impl std::io::Write) {
        let Long(first, piece, times, last) = self;
        to.write_all(first).expect("written");
        (0..*times).for_each(|_| to.write_all(piece).expect("written"));
        to.write_all(last).expect("written");
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let million = b"x".repeat(1 << 20);
    let record = [b"1,".to_vec(), b"y".repeat(1_000), b"\n".to_vec()].concat();
    let cases = [
        ("a line that does not end", JSON, Long(b"1\n", &million, 100, b"\n2\n")),
        ("a quote that does not close", CSV, Long(b"a,b\n1,\"2\n", &record, 60_000, b"")),
        ("a header that does not close", CSV, Long(b"a,\"b\n", &record, 60_000, b"")),
        ("a record of commas", CSV, Long(b"a,b\n", &[b','; 4096], 10_000, b"\n1,2\n")),
        ("a length that lies", MESSAGE_PACK, Long(b"\x01\xdb\xff\xff\xff\xff", &million, 100, b"")),
        ("a list without an end", MESSAGE_PACK, Long(b"", &[0x91; 4096], 5_000, b"")),
        ("a bomb", JSON, Long(b"", &million, 400, b"\n")),
    ];
    let directory = TempDir::new().expect("a directory");
    for (name, kind, input) in cases {
        let mut file = std::fs::File::create(directory.path().join("in")).expect("a file");
        if name == "a bomb" {
            let mut encoder = GzEncoder::new(file, Compression::fast());
            input.write(&mut encoder);
            encoder.finish().expect("packed");
        } else {
            input.write(&mut file);
        }
        let (output, ..) = ran(&directory, &kind);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        let most = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage").max_rss() / 1024;
        assert!(most < 200, "{name}: {most} MiB");
    }
}

#[test]
fn text_where_a_number_is_expected() {
    let directory = TempDir::new().expect("a directory");
    // What a step is, what it says is the text, against what, and how many rows come of the others.
    let steps = [
        ("filtered", "filter: bar > 6", "bar", "the number 6", 1),
        ("mirrored", "filter: 6 < bar && device != \"none\"", "bar", "the number 6", 1),
        ("routed", "route: { high: bar >= 6 }", "bar", "the number 6", 2),
        ("marked", "set: { high: bar > limit }", "bar", "`limit`, the number 6.5", 3),
        ("written", "script: \"if bar > 6 { high = true; }\"", "bar", "the number 6", 3),
        ("looped", "script: \"while bar > 6 { bar -= 1; }\"", "bar", "the number 6", 3),
        ("listed", "filter: \"[bar].some(|b| b > 6)\"", "b", "the number 6", 1),
        (
            "counted",
            "window: { tumbling: 1m, by: device, aggregate: { high: count_if(bar > 6) } }",
            "bar",
            "the number 6",
            3,
        ),
        (
            "folded",
            "window: { tumbling: 1m, by: device, aggregate: { n: { fold: { init: 0, each: 'if bar > 6 { acc + 1 } else { acc }' } } } }",
            "bar",
            "the number 6",
            3,
        ),
        (
            "closed",
            "window: { tumbling: 1m, by: device, aggregate: { high: last(bar) > 6 } }",
            "last(bar)",
            "the number 6",
            3,
        ),
        (
            "joined",
            "join: { left: in, right: { other: in }, on: device, within: 0s, select: { high: other.bar > 6 } }",
            "other.bar",
            "the number 6",
            3,
        ),
    ];
    let mut yaml = "name: p\nsources:\n  in: { file: { path: in }, time: { field: ts } }\nsteps:\n".to_owned();
    for (name, step, ..) in steps {
        let from = if name == "joined" { "" } else { "from: in, " };
        yaml += &format!("  {name}: {{ {from}{step} }}\n");
    }
    yaml += "sinks:\n";
    for (name, ..) in steps {
        yaml += &format!("  {name}_out: {{ from: {name}, file: {{ path: {name} }} }}\n");
        yaml += &format!("  {name}_wrong: {{ from: {name}.errors, file: {{ path: {name}.wrong }} }}\n");
    }
    let line = |device: &str, bar: &str| {
        format!("{{\"ts\":\"2026-01-01T00:00:00Z\",\"device\":\"{device}\",\"bar\":{bar},\"limit\":6.5}}\n")
    };
    let input = [line("a", "7"), line("b", "\"ERR\""), line("c", "null"), line("d", "5")].concat();
    std::fs::write(directory.path().join("in"), input).expect("written");
    std::fs::write(directory.path().join("p.yaml"), yaml).expect("written");
    let output = millstream(directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for (number, (name, _, what, other, rows)) in steps.into_iter().enumerate() {
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("a file");
        assert_eq!(read(name).lines().count(), rows, "{name}: {}", read(name));
        let wrong: Value = serde_json::from_str(&read(&format!("{name}.wrong"))).expect("one row");
        let reason = format!("`{what}` is the text \"ERR\": it has no order with {other}");
        assert_eq!((text(&wrong, "entry"), text(&wrong, "reason")), (name, reason.as_str()));
        assert!(text(&wrong, "place").starts_with(&format!("p.yaml:{}:", number + 5)), "{wrong}");
        assert!(text(&wrong, "original").contains("\"device\":\"b\""), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_found_in_its_file() {
    let directory = TempDir::new().expect("a directory");
    let rows: String = (0..5000).map(|n| format!("{n},{}\n", n * 2)).collect();
    for (kind, input) in
        [(&CSV, format!("a,b\n{rows}broken\n1,2\n\"x\",3,4\n")), (&JSON, "{\"n\":1}\n\n{\"n\":\n[\n".to_owned())]
    {
        let (_, _, wrong) = run(&directory, kind, input.as_bytes());
        assert_eq!(wrong.len(), 2, "{wrong:#?}");
        for row in wrong {
            let (_, at) = text(&row, "place").rsplit_once(" of the record at byte ").expect("a place");
            let at: usize = at.strip_suffix(" of in").and_then(|at| at.parse().ok()).expect("a place");
            let original = text(&row, "original").trim_end();
            assert!(input.get(at - 1..).is_some_and(|rest| rest.starts_with(original)), "{row}");
        }
    }
}
