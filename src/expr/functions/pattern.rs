//! Regular expressions, in the syntax of the `regex` crate: linear in the length of the text, no look-around, no
//! back-references. A pattern is written most easily between backticks, where `\d` needs no second backslash.

use bumpalo::Bump;
use bumpalo::collections::String as Made;
use regex::{Regex, RegexBuilder};
use std::rc::Rc;
use std::sync::Arc;

use super::kept::Kept;
use super::{Function, Out, Return, any, count, function, list, text, truth};
use crate::base::limit;
use crate::data::value::{Map, Val, Value};
use crate::expr::fault::Fault;

thread_local! {
    static PATTERNS: Kept<Regex> = const { Kept::new() };
}

pub(super) fn functions() -> Vec<Function> {
    let of_pattern = |f: Function| f.checked(1, |pattern| compile(pattern).map(drop));
    let all = vec![
        function(
            "regex_match(text, pattern)",
            "Whether a regular expression matches anywhere in a text; `^` and `$` hold it to the ends.",
            (r#"regex_match("sensor-17", `^sensor-\d+$`)"#, "true"),
            matches,
        ),
        function(
            "regex_extract(text, pattern, group?)",
            "What a regular expression matches first: the group of a number or name, or else the first group, or the whole if there is none; `()` without a match.",
            (r#"regex_extract("floor 3, room 12", `room (\d+)`)"#, r#""12""#),
            extract,
        ),
        function(
            "regex_extract_all(text, pattern, group?)",
            "All that a regular expression matches, as a list; the group as `regex_extract` takes it.",
            (r#"regex_extract_all("3 of 12", `\d+`)"#, r#"["3", "12"]"#),
            extract_all,
        )
        .lists(),
        function(
            "regex_groups(text, pattern)",
            "The named groups of the first match as a map; `()` without a match.",
            (r#"regex_groups("a=1", `(?<key>\w+)=(?<value>\w+)`)"#, r#"#{key: "a", value: "1"}"#),
            groups,
        )
        .lists(),
        function(
            "regex_replace(text, pattern, with)",
            "The text with every match replaced; `$1` or `${name}` in `with` stands for a group, `$$` for a dollar.",
            (r#"regex_replace("12-34", `(\d+)-(\d+)`, "$2-$1")"#, r#""34-12""#),
            replace,
        ),
        function(
            "regex_split(text, pattern)",
            "The parts of a text between the matches, as a list.",
            (r#"regex_split("a, b;c", `[,;]\s*`)"#, r#"["a", "b", "c"]"#),
            split,
        )
        .lists(),
        function(
            "regex_count(text, pattern)",
            "How many times a regular expression matches.",
            (r#"regex_count("a1b22", `\d+`)"#, "2"),
            |a, _| Ok(count(pattern(a)?.find_iter(text(a, 0)?).count()).into()),
        ),
    ];
    all.into_iter().map(of_pattern).collect()
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(limit::PATTERN_BYTES).build().map_err(|error| {
        let said = error.to_string();
        match error {
            regex::Error::CompiledTooBig(_) => "is a pattern too large to compile".to_owned(),
            // The library draws the place over several lines; the last says what is wrong.
            _ => format!("is not a pattern: {}", said.lines().last().unwrap_or(&said).trim_start_matches("error: ")),
        }
    })
}

fn pattern(args: &[Val<'_>]) -> Result<Rc<Regex>, Fault> {
    let pattern = text(args, 1)?;
    PATTERNS.with(|kept| kept.get(pattern, compile)).map_err(|why| Fault::Unfit(1, why))
}

/// The number of the group that is asked for.
fn group(args: &[Val<'_>], pattern: &Regex) -> Result<usize, Fault> {
    match any(args, 2) {
        _ if args.len() < 3 => Ok(usize::from(pattern.captures_len() > 1)),
        Val::Text(name) => pattern
            .capture_names()
            .position(|n| n == Some(name))
            .ok_or_else(|| Fault::Unfit(2, format!("is {name:?}, and the pattern has no group of that name"))),
        _ => {
            let number = super::int(args, 2)?;
            let last = pattern.captures_len() - 1;
            usize::try_from(number).ok().filter(|n| *n <= last).ok_or_else(|| {
                Fault::Unfit(2, format!("is {number}, and the groups of the pattern are 0 (the whole) to {last}"))
            })
        }
    }
}

fn matches<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    truth(pattern(args)?.is_match(text(args, 0)?))
}

fn extract<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (whole, pattern) = (text(args, 0)?, pattern(args)?);
    let found = match group(args, &pattern)? {
        0 => pattern.find(whole),
        group => pattern.captures(whole).and_then(|found| found.get(group)),
    };
    Ok(found.map_or(Val::Unit, |found| Val::Text(found.as_str())).into())
}

fn extract_all<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (whole, pattern) = (text(args, 0)?, pattern(args)?);
    let group = group(args, &pattern)?;
    let value = |found: regex::Captures<'_>| found.get(group).map_or(Value::Null, |m| Value::Text(m.as_str().into()));
    list(pattern.captures_iter(whole).map(value).collect())
}

fn groups<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let pattern = pattern(args)?;
    let Some(found) = pattern.captures(text(args, 0)?) else { return Ok(Val::Unit.into()) };
    let named = pattern.capture_names().flatten().map(|name| {
        let value = found.name(name).map_or(Value::Null, |m| Value::Text(m.as_str().into()));
        (name.into(), value)
    });
    Ok(Out::Made(Value::Map(Arc::new(Map(named.collect())))))
}

fn replace<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (whole, pattern, with) = (text(args, 0)?, pattern(args)?, text(args, 2)?);
    let mut made = Made::with_capacity_in(whole.len(), arena);
    let (mut from, mut put) = (0, String::new());
    for found in pattern.captures_iter(whole) {
        let Some(at) = found.get(0) else { continue };
        made.push_str(whole.get(from..at.start()).unwrap_or_default());
        put.clear();
        found.expand(with, &mut put);
        made.push_str(&put);
        from = at.end();
        if made.len() > limit::SCRIPT_TEXT_BYTES {
            return Err(Fault::TooLong);
        }
    }
    made.push_str(whole.get(from..).unwrap_or_default());
    if made.len() > limit::SCRIPT_TEXT_BYTES {
        return Err(Fault::TooLong);
    }
    Ok(Val::Text(made.into_bump_str()).into())
}

fn split<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let pattern = pattern(args)?;
    list(pattern.split(text(args, 0)?).map(|part| Value::Text(part.into())).collect())
}
