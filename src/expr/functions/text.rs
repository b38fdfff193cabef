//! Functions on text. Positions and lengths are in characters.

use bumpalo::Bump;
use bumpalo::collections::String as Made;
use std::sync::Arc;

use super::{Function, Out, Return, any, count, function, int, text};
use crate::base::limit;
use crate::data::value::{Val, Value, compare};
use crate::expr::fault::Fault;
use crate::expr::ops::{Spelling, spelled};

pub(super) fn functions() -> Vec<Function> {
    [asking(), changing(), rebuilding(), joining()].into_iter().flatten().collect()
}

fn asking() -> Vec<Function> {
    vec![
        function("len(x)", "Characters of a text, elements of a list, members of a map.", ("len(\"año\")", "3"), len),
        function("is_empty(x)", "Whether a text, list or map holds nothing.", ("is_empty(\"\")", "true"), is_empty),
        function(
            "contains(x, part)",
            "Whether a text has a part, a list an element, a map a member.",
            ("contains(\"alarm\", \"arm\")", "true"),
            contains,
        ),
        function(
            "starts_with(text, part)",
            "Whether a text begins with another.",
            ("starts_with(\"sensor-1\", \"sensor\")", "true"),
            starts_with,
        ),
        function(
            "ends_with(text, part)",
            "Whether a text ends with another.",
            ("ends_with(\"a.csv\", \".csv\")", "true"),
            ends_with,
        ),
        function(
            "index_of(x, part)",
            "Where a part of a text or an element of a list first stands, from 0; -1 if it does not.",
            ("index_of(\"a-b\", \"-\")", "1"),
            index_of,
        ),
    ]
}

fn changing() -> Vec<Function> {
    vec![
        function("upper(text)", "The text in capital letters.", ("upper(\"ok\")", "\"OK\""), upper),
        function("lower(text)", "The text in small letters.", ("lower(\"OK\")", "\"ok\""), lower),
        function("trim(text)", "The text without white space around it.", ("trim(\"  a \")", "\"a\""), trim),
        function(
            "trim_start(text)",
            "The text without white space before it.",
            ("trim_start(\" a\")", "\"a\""),
            trim_start,
        ),
        function("trim_end(text)", "The text without white space after it.", ("trim_end(\"a \")", "\"a\""), trim_end),
    ]
}

fn rebuilding() -> Vec<Function> {
    vec![
        function(
            "replace(text, old, new)",
            "The text with every `old` replaced.",
            ("replace(\"1,5\", \",\", \".\")", "\"1.5\""),
            replace,
        ),
        function(
            "substring(text, start, length?)",
            "Characters from `start` (from 0; negative counts from the end).",
            ("substring(\"sensor-17\", 7)", "\"17\""),
            substring,
        ),
        function(
            "strip_prefix(text, part)",
            "The text without a beginning, unchanged if it has another.",
            ("strip_prefix(\"dev/a\", \"dev/\")", "\"a\""),
            strip_prefix,
        ),
        function(
            "strip_suffix(text, part)",
            "The text without an ending, unchanged if it has another.",
            ("strip_suffix(\"a.csv\", \".csv\")", "\"a\""),
            strip_suffix,
        ),
    ]
}

fn joining() -> Vec<Function> {
    vec![
        function(
            "pad_left(text, length, with?)",
            "The text with spaces (or `with`) before it, up to `length` characters.",
            ("pad_left(\"7\", 3, \"0\")", "\"007\""),
            pad_left,
        ),
        function(
            "pad_right(text, length, with?)",
            "The text with spaces (or `with`) after it, up to `length` characters.",
            ("pad_right(\"7\", 3)", "\"7  \""),
            pad_right,
        ),
        function("repeat(text, times)", "The text several times.", ("repeat(\"ab\", 2)", "\"abab\""), repeat),
        function(
            "split(text, between)",
            "The parts of a text as a list.",
            ("split(\"a,b\", \",\")", "[\"a\", \"b\"]"),
            split,
        )
        .lists(),
        function(
            "part(text, between, number)",
            "One part of a split text, from 0 (negative counts from the end); `()` beyond.",
            ("part(\"site/a/temp\", \"/\", 1)", "\"a\""),
            part,
        ),
        function(
            "join(list, between)",
            "The elements of a list as one text.",
            ("join([1, \"b\"], \"-\")", "\"1-b\""),
            join,
        ),
    ]
}

fn len<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let n = match any(args, 0) {
        Val::Text(text) => text.chars().count(),
        Val::Big(Value::List(list)) => list.len(),
        Val::Big(Value::Map(map)) => map.0.len(),
        other => return Err(Fault::of(0, other)),
    };
    Ok(count(n).into())
}

fn is_empty<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let empty = match any(args, 0) {
        Val::Text(text) => text.is_empty(),
        Val::Big(Value::List(list)) => list.is_empty(),
        Val::Big(Value::Map(map)) => map.0.is_empty(),
        other => return Err(Fault::of(0, other)),
    };
    Ok(Val::Bool(empty).into())
}

fn contains<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let sought = any(args, 1);
    let found = match any(args, 0) {
        Val::Text(whole) => whole.contains(text(args, 1)?),
        Val::Big(Value::List(list)) => list.iter().any(|v| compare(v.as_val(), sought).is_eq()),
        Val::Big(Value::Map(map)) => map.get(text(args, 1)?).is_some(),
        other => return Err(Fault::of(0, other)),
    };
    Ok(Val::Bool(found).into())
}

fn starts_with<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Bool(text(args, 0)?.starts_with(text(args, 1)?)).into())
}

fn ends_with<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Bool(text(args, 0)?.ends_with(text(args, 1)?)).into())
}

fn index_of<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    if let Val::Big(Value::List(list)) = any(args, 0) {
        let at = list.iter().position(|v| compare(v.as_val(), any(args, 1)).is_eq());
        return Ok(at.map_or(Val::Int(-1), count).into());
    }
    let whole = text(args, 0)?;
    let at = whole.find(text(args, 1)?).and_then(|at| whole.get(..at));
    Ok(at.map_or(Val::Int(-1), |before| count(before.chars().count())).into())
}

/// Text changed letter by letter.
fn changed<'a>(from: &'a str, arena: &'a Bump, letters: impl Iterator<Item = char>) -> Val<'a> {
    let mut made = Made::with_capacity_in(from.len(), arena);
    made.extend(letters);
    Val::Text(made.into_bump_str())
}

fn upper<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let from = text(args, 0)?;
    Ok(changed(from, arena, from.chars().flat_map(char::to_uppercase)).into())
}

fn lower<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let from = text(args, 0)?;
    // The whole-text function knows the final sigma.
    if from.is_ascii() {
        return Ok(changed(from, arena, from.chars().map(|c| c.to_ascii_lowercase())).into());
    }
    Ok(Val::Text(arena.alloc_str(&from.to_lowercase())).into())
}

fn trim<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Text(text(args, 0)?.trim()).into())
}

fn trim_start<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Text(text(args, 0)?.trim_start()).into())
}

fn trim_end<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(Val::Text(text(args, 0)?.trim_end()).into())
}

fn replace<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (from, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    if old.is_empty() {
        return Err(Fault::Unfit(1, "is empty, and replacing nothing has no meaning".into()));
    }
    let mut made = Made::new_in(arena);
    for (i, piece) in from.split(old).enumerate() {
        if i > 0 {
            made.push_str(new);
        }
        made.push_str(piece);
        if made.len() > limit::SCRIPT_TEXT_BYTES {
            return Err(Fault::TooLong);
        }
    }
    Ok(Val::Text(made.into_bump_str()).into())
}

/// The byte at which character `n` begins, at most the end.
fn byte_of(text: &str, n: usize) -> usize {
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

fn substring<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let whole = text(args, 0)?;
    let start = int(args, 1)?;
    let start = match usize::try_from(start) {
        Ok(n) => n,
        Err(_) => whole.chars().count().saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let rest = whole.get(byte_of(whole, start)..).unwrap_or_default();
    let taken = match args.get(2) {
        Some(_) => rest.get(..byte_of(rest, usize::try_from(int(args, 2)?).unwrap_or(0))).unwrap_or_default(),
        None => rest,
    };
    Ok(Val::Text(taken).into())
}

fn strip_prefix<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let whole = text(args, 0)?;
    Ok(Val::Text(whole.strip_prefix(text(args, 1)?).unwrap_or(whole)).into())
}

fn strip_suffix<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let whole = text(args, 0)?;
    Ok(Val::Text(whole.strip_suffix(text(args, 1)?).unwrap_or(whole)).into())
}

/// The padding of a text: enough characters of `with`, over and over, to make it `length` long.
fn padding<'a>(args: &[Val<'a>], arena: &'a Bump) -> Result<&'a str, Fault> {
    let whole = text(args, 0)?;
    let length = usize::try_from(int(args, 1)?).unwrap_or(0);
    let with = if args.len() > 2 { text(args, 2)? } else { " " };
    if with.is_empty() {
        return Err(Fault::Unfit(2, "is empty, and padding needs a character".into()));
    }
    if length > limit::SCRIPT_TEXT_BYTES / 4 {
        return Err(Fault::TooLong);
    }
    let mut made = Made::new_in(arena);
    made.extend(with.chars().cycle().take(length.saturating_sub(whole.chars().count())));
    Ok(made.into_bump_str())
}

fn both<'a>(first: &str, second: &str, arena: &'a Bump) -> Val<'a> {
    let mut made = Made::with_capacity_in(first.len() + second.len(), arena);
    made.push_str(first);
    made.push_str(second);
    Val::Text(made.into_bump_str())
}

fn pad_left<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    Ok(both(padding(args, arena)?, text(args, 0)?, arena).into())
}

fn pad_right<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    Ok(both(text(args, 0)?, padding(args, arena)?, arena).into())
}

fn repeat<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let piece = text(args, 0)?;
    let times = usize::try_from(int(args, 1)?).unwrap_or(0);
    if piece.len().saturating_mul(times) > limit::SCRIPT_TEXT_BYTES {
        return Err(Fault::TooLong);
    }
    let mut made = Made::with_capacity_in(piece.len() * times, arena);
    if !piece.is_empty() {
        (0..times).for_each(|_| made.push_str(piece));
    }
    Ok(Val::Text(made.into_bump_str()).into())
}

/// The text between parts, which must not be empty.
fn between<'a>(args: &[Val<'a>]) -> Result<&'a str, Fault> {
    match text(args, 1)? {
        "" => Err(Fault::Unfit(1, "is empty; say what stands between the parts".into())),
        between => Ok(between),
    }
}

fn split<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (whole, between) = (text(args, 0)?, between(args)?);
    let parts: Vec<Value> = whole.split(between).map(|p| Value::Text(p.into())).collect();
    Ok(Out::Made(Value::List(Arc::new(parts))))
}

fn part<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (whole, between, number) = (text(args, 0)?, between(args)?, int(args, 2)?);
    let found = match usize::try_from(number) {
        Ok(n) => whole.split(between).nth(n),
        Err(_) => {
            let from_end = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
            whole.rsplit(between).nth(from_end.saturating_sub(1))
        }
    };
    Ok(found.map_or(Val::Unit, Val::Text).into())
}

fn join<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let Val::Big(Value::List(list)) = any(args, 0) else { return Err(Fault::of(0, any(args, 0))) };
    let between = text(args, 1)?;
    let mut made = Made::new_in(arena);
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            made.push_str(between);
        }
        let mut room = Spelling::default();
        let kind = item.as_val().kind();
        let piece = spelled(item.as_val(), &mut room)
            .ok_or_else(|| Fault::Unfit(0, format!("holds {kind}, which cannot be joined to text")))?;
        made.push_str(piece);
        if made.len() > limit::SCRIPT_TEXT_BYTES {
            return Err(Fault::TooLong);
        }
    }
    Ok(Val::Text(made.into_bump_str()).into())
}
