//! What functions do at their edges, and what they say of arguments that they do not take.

use super::harness::{problems, value};
use crate::expr::{Kind, Scope};

fn holds(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(value(text, r#"{"a": 7, "list": [[0, 0], [4, 0], [0, 4]]}"#), *expected, "{text}");
    }
}

#[test]
fn text_is_taken_apart() {
    holds(&[
        (r#"snake_case("HTTPServer2Go")"#, r#""http_server2_go""#),
        (r#"pascal_case("air-quality index")"#, r#""AirQualityIndex""#),
        (r#"title_case("don't panic")"#, r#""Don't Panic""#),
        (r#"shorten("überall", 7)"#, r#""überall""#),
        (r#"slice("überall", -3)"#, r#""all""#),
        (r#"slice([1, 2, 3], 2, 1)"#, "[]"),
        (r#"before("a=b", "!")"#, r#""a=b""#),
        (r#"regex_extract("a-b", `(?<l>\w)-(?<r>\w)`, "r")"#, r#""b""#),
        (r#"regex_extract("a-b", `\w-`)"#, r#""a-""#),
        (r#"regex_extract("ab", `x`) ?? "none""#, r#""none""#),
        (r#"regex_replace("a.b", `\.`, "$$")"#, r#""a$b""#),
        (r#"regex_match("x", "(" + "")"#, "error: `\"(\" + \"\"` is not a pattern: unclosed group at test:1:1"),
        (
            r#"regex_extract("x", `(x)`, 2)"#,
            "error: `2` is 2, and the groups of the pattern are 0 (the whole) to 1 at test:1:1",
        ),
        (r#"base64_decode("_-8") "#, "error: `\"_-8\"` encodes bytes that are not UTF-8 at test:1:1"),
        (r#"url_decode("%zz")"#, "error: `\"%zz\"` has a `%` without two hexadecimal digits after it at test:1:1"),
        (r#"levenshtein("", "añb")"#, "3"),
    ]);
}

#[test]
fn numbers_keep_their_kind() {
    holds(&[
        ("floor_to(-7, 5)", "-10"),
        ("round_to(-7.5, 5)", "-10.0"),
        (
            "round_to(9223372036854775807, 2)",
            "error: the result of `round_to(9223372036854775807, 2)` does not fit a 64-bit integer at test:1:1",
        ),
        ("modulo(-1, 3)", "2"),
        ("modulo(1, -3)", "-2"),
        ("modulo(-0.5, 1)", "0.5"),
        ("modulo(1, 0)", "error: `modulo(1, 0)` divides by zero: `0` is 0 at test:1:1"),
        ("format_number(-1234, 0, \".\")", r#""-1.234""#),
        ("format_number(2.345, 2)", r#""2.35""#),
        ("format_number(-0.001, 2)", r#""0.00""#),
        ("format_number(12, 2)", r#""12.00""#),
        ("to_base(-255, 2)", r#""-11111111""#),
        ("parse_int(\"0x1F\", 16)", "31"),
        ("parse_int(\"0x-1\", 16) ?? \"none\"", r#""none""#),
        ("parse_number(\"1e2\")", "100.0"),
        ("signed(200, 8)", "-56"),
        ("shift_left(1, 63)", "-9223372036854775808"),
        ("shift_left(1, 64)", "error: `64` is 64, and an integer has the bits 0 to 63 at test:1:1"),
        ("log(1000, 10)", "3.0"),
        ("acos(2)", "error: the result of `acos(2)` is not a number at test:1:1"),
    ]);
}

#[test]
fn calendars_know_their_zones() {
    holds(&[
        // A day of 23 hours, and one of 25.
        (
            r#"time_between(start_of("2026-03-29T12:00:00Z", "day", "Europe/Berlin"), start_of("2026-03-30T12:00:00Z", "day", "Europe/Berlin"), "1h")"#,
            "23.0",
        ),
        (r#"in_zone("2026-10-25T01:30:00.25Z", "Europe/Berlin")"#, r#""2026-10-25T02:30:00.25+01:00""#),
        (
            r#"format_time(parse_time("2026-10-25 02:30", "%Y-%m-%d %H:%M", "Europe/Berlin"))"#,
            r#""2026-10-25T00:30:00Z""#,
        ),
        (
            r#"format_time(parse_time("2026-10-25 02:30 -0500", "%Y-%m-%d %H:%M %z", "Europe/Berlin"))"#,
            r#""2026-10-25T07:30:00Z""#,
        ),
        (
            r#"format_time(add_calendar("2026-03-28T12:00:00Z", 1, "day", "Europe/Berlin"))"#,
            r#""2026-03-29T11:00:00Z""#,
        ),
        (r#"format_time(add_calendar("2024-02-29T00:00:00Z", -1, "year"))"#, r#""2023-02-28T00:00:00Z""#),
        (r#"format_time(start_of("2026-05-20T10:45:30Z", "hour", "Asia/Kolkata"))"#, r#""2026-05-20T10:30:00Z""#),
        (r#"format_time(start_of("2026-01-01T00:00:00Z", "week"))"#, r#""2025-12-29T00:00:00Z""#),
        (r#"format_time(start_of("2026-05-20T10:45:30Z", "quarter"))"#, r#""2026-04-01T00:00:00Z""#),
        (r#"format_time(floor_time("1969-12-31T23:59:00Z", "1h"))"#, r#""1969-12-31T23:00:00Z""#),
        (r#"days_between("2026-01-02T01:00:00Z", "2026-01-01T22:30:00Z", "Europe/Berlin")"#, "-1"),
        (r#"week("2027-01-01T00:00:00Z")"#, "53"),
        (r#"format_time(from_unix(1767225600))"#, r#""2026-01-01T00:00:00Z""#),
        (r#"format_time(from_unix(1767225600123))"#, r#""2026-01-01T00:00:00.123Z""#),
        (r#"format_time(from_unix(0.25, "s"))"#, r#""1970-01-01T00:00:00.25Z""#),
        (r#"format_time(from_unix(-1, "ns"))"#, r#""1969-12-31T23:59:59.999999Z""#),
        (r#"add_time(a, "300000d")"#, "25920000000000007"),
        (r#"add_time(a, "5000000d")"#, "error: the result is outside the years 0000 to 9999 at test:1:1"),
        (
            r#"hour(a, "Mars" + "")"#,
            "error: `\"Mars\" + \"\"` is not a time zone; they are named like `Europe/Berlin` at test:1:1",
        ),
    ]);
}

#[test]
fn places_and_addresses() {
    holds(&[
        ("round(geo_distance(0, 0, 0, 180))", "20015114"),
        ("geo_bearing(0, 0, -1, 0)", "180.0"),
        ("in_box(0, 179.5, -1, 179, 1, -179)", "true"),
        ("in_box(0, 0, -1, 179, 1, -179)", "false"),
        ("in_polygon(1, 1, list)", "true"),
        ("in_polygon(3, 3, list)", "false"),
        ("in_polygon(1, 1, #{type: \"Polygon\", coordinates: [list]})", "true"),
        ("in_polygon(1, 1, #{type: \"MultiPolygon\", coordinates: [[[[8, 8], [9, 8], [9, 9]]], [list]]})", "true"),
        (
            "in_polygon(1, 1, #{type: \"Feature\", geometry: #{type: \"Point\", coordinates: [1, 1]}})",
            "error: `#{…}` is not a polygon: a list of at least three points `[lon, lat]`, a list of such rings, or a GeoJSON Polygon or MultiPolygon at test:1:1",
        ),
        (
            "geo_distance(91, 0, 0, 0)",
            "error: `91` is 91, and a latitude is between -90 and 90; latitude comes first at test:1:1",
        ),
        ("geohash(48.669, -4.329, 5)", r#""gbsuv""#),
        (r#"in_cidr("::ffff:10.1.2.3", "10.0.0.0/8")"#, "true"),
        (r#"in_cidr("fd00::1", "10.0.0.0/8")"#, "false"),
        (r#"in_cidr("10.0.0.1", "0.0.0.0/0")"#, "true"),
        (r#"in_cidr("10.0.0.1", "10.0.0.1")"#, "true"),
        (r#"in_cidr("10.0.0.1", ["fd00::/8", "10.0.0.0/31"])"#, "true"),
        (
            r#"in_cidr("10.0.0.1", ["x"])"#,
            "error: `[\"x\"]` holds \"x\", which is not a network like `10.0.0.0/8` or `fd00::/8` at test:1:1",
        ),
        (r#"ip_network("2001:db8:1:2:3::4", 24)"#, r#""2001:db8:1:2::/64""#),
        (r#"url_host("http://[2001:db8::1]:81/x")"#, r#""2001:db8::1""#),
        (r#"url_port("http://[2001:db8::1]:81/x")"#, "81"),
        (r#"url_path("https://example.com?x")"#, r#""/""#),
        (r#"url_param("https://example.com?x&y=%26", "y")"#, r#""&""#),
        (r#"url_host("mailto:a@example.com") ?? "none""#, r#""none""#),
        (r#"is_subdomain("notexample.com", "example.com")"#, "false"),
        (r#"uuid_v5("a", "6ba7b811-9dad-11d1-80b4-00c04fd430c8") == uuid_v5("a", "url")"#, "true"),
    ]);
}

#[test]
fn values_inside_values() {
    holds(&[
        ("get_path(event, \"list.-1.1\")", "4"),
        ("get_path(event, \"list.9\", 5)", "5"),
        ("get_path(a, \"x\") ?? \"none\"", r#""none""#),
        ("flatten(#{a: #{b: 1, c: #{}}, d: [1]}, \"_\")", r#"{"a_b":1,"a_c":{},"d":[1]}"#),
        ("merge(#{a: 1, b: #{c: 2}}, #{b: 3})", r#"{"a":1,"b":3}"#),
        ("is_json(\"[1]\")", "true"),
    ]);
}

#[test]
fn constants_are_looked_at_before_anything_runs() {
    let said = |text: &str| problems(text, Kind::Expression, &Scope::default());
    let (code, message, place, _) = said(r#"name.regex_match("(")"#).remove(0);
    assert_eq!((code.as_str(), place.as_str()), ("bad-argument", "1:18"));
    assert_eq!(message, "`\"(\"` is not a pattern: unclosed group");
    assert_eq!(said(r#"hour(ts, "Berlin")"#)[0].1, "`\"Berlin\"` is not a time zone; did you mean \"Europe/Berlin\"?");
    assert!(said(r#"regex_match(name, "(" + b)"#).is_empty());
}
