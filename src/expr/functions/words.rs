//! Words and pieces of text, and how alike two texts are.

use bumpalo::Bump;
use bumpalo::collections::String as Made;

use super::{Function, Return, any, count, function, int, list, made, optional, text};
use crate::base::limit;
use crate::data::value::{Val, Value};
use crate::expr::fault::Fault;

pub(super) fn functions() -> Vec<Function> {
    [casing(), pieces()].into_iter().flatten().collect()
}

fn casing() -> Vec<Function> {
    vec![
        function(
            "capitalize(text)",
            "The text with its first letter as a capital.",
            (r#"capitalize("hot day")"#, r#""Hot day""#),
            capitalize,
        ),
        function(
            "title_case(text)",
            "The text with the first letter of each word as a capital and the others small.",
            (r#"title_case("NEW york")"#, r#""New York""#),
            title_case,
        ),
        function(
            "snake_case(text)",
            "The words of a text, or of a name in any of these spellings, as `air_quality`.",
            (r#"snake_case("airQuality")"#, r#""air_quality""#),
            |a, arena| respelled(a, "_", false, false, arena),
        ),
        function(
            "kebab_case(text)",
            "The words of a text as `air-quality`.",
            (r#"kebab_case("Air quality")"#, r#""air-quality""#),
            |a, arena| respelled(a, "-", false, false, arena),
        ),
        function(
            "camel_case(text)",
            "The words of a text as `airQuality`.",
            (r#"camel_case("air_quality")"#, r#""airQuality""#),
            |a, arena| respelled(a, "", false, true, arena),
        ),
        function(
            "pascal_case(text)",
            "The words of a text as `AirQuality`.",
            (r#"pascal_case("air_quality")"#, r#""AirQuality""#),
            |a, arena| respelled(a, "", true, true, arena),
        ),
    ]
}

fn pieces() -> Vec<Function> {
    vec![
        function("words(text)", "What stands between white space, as a list.", (r#"words(" two  words ")"#, r#"["two", "words"]"#), |a, _| list(text(a, 0)?.split_whitespace().map(|w| Value::Text(w.into())).collect())).lists(),
        function("before(text, part)", "What stands before the first `part`; the whole text if there is none.", (r#"before("key=a=b", "=")"#, r#""key""#), |a, _| divided(a, |whole, part| whole.split_once(part).map_or(whole, |(left, _)| left))),
        function("after(text, part)", "What stands after the first `part`; empty if there is none.", (r#"after("key=a=b", "=")"#, r#""a=b""#), |a, _| divided(a, |whole, part| whole.split_once(part).map_or("", |(_, right)| right))),
        function("before_last(text, part)", "What stands before the last `part`; the whole text if there is none.", (r#"before_last("a.tar.gz", ".")"#, r#""a.tar""#), |a, _| divided(a, |whole, part| whole.rsplit_once(part).map_or(whole, |(left, _)| left))),
        function("after_last(text, part)", "What stands after the last `part`; empty if there is none.", (r#"after_last("a.tar.gz", ".")"#, r#""gz""#), |a, _| divided(a, |whole, part| whole.rsplit_once(part).map_or("", |(_, right)| right))),
        function("occurrences(text, part)", "How many times a part stands in a text, without overlap.", (r#"occurrences("banana", "an")"#, "2"), occurrences),
        function("shorten(text, length, mark?)", "The text cut to so many characters, the mark (`…`) included.", (r#"shorten("overheating", 5)"#, r#""over…""#), shorten),
        function("slice(x, start, end?)", "Elements of a list or characters of a text, from `start` to before `end` (from 0; negative counts from the end).", (r#"slice([1, 2, 3, 4], 1, -1)"#, "[2, 3]"), slice).lists(),
        function("levenshtein(a, b)", "How many characters must be put in, taken out or changed to make one text of the other.", (r#"levenshtein("kitten", "sitting")"#, "3"), levenshtein),
    ]
}

fn capitalize<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let whole = text(args, 0)?;
    let mut letters = whole.chars();
    let mut made = Made::with_capacity_in(whole.len(), arena);
    made.extend(letters.next().into_iter().flat_map(char::to_uppercase));
    made.push_str(letters.as_str());
    Ok(Val::Text(made.into_bump_str()).into())
}

fn title_case<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let mut written = String::new();
    let mut inside = false;
    for letter in text(args, 0)?.chars() {
        // An apostrophe does not begin a word: `don't`.
        let word = letter.is_alphanumeric() || (inside && matches!(letter, '\'' | '’'));
        if word && !inside {
            written.extend(letter.to_uppercase());
        } else {
            written.extend(letter.to_lowercase());
        }
        inside = word;
    }
    made(&written, arena)
}

/// The words of a name: they end at what is no letter or digit, before a capital after a small letter or digit, and
/// before the last capital of several that a small letter follows (`HTTPServer`).
fn name_words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let (mut words, mut word) = (Vec::new(), String::new());
    for (i, letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| letters.get(i));
        let small_after = letters.get(i + 1).is_some_and(|c| c.is_lowercase());
        let begins = letter.is_uppercase()
            && before.is_some_and(|b| b.is_lowercase() || b.is_numeric() || (b.is_uppercase() && small_after));
        if (begins || !letter.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn respelled<'a>(args: &[Val<'a>], between: &str, first: bool, others: bool, arena: &'a Bump) -> Return<'a> {
    let mut written = String::new();
    for (i, word) in name_words(text(args, 0)?).iter().enumerate() {
        let capital = if i == 0 { first } else { others };
        if i > 0 {
            written.push_str(between);
        }
        let mut letters = word.chars();
        if capital {
            written.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        }
        written.push_str(letters.as_str());
    }
    made(&written, arena)
}

/// A text cut at a part, which must not be empty.
fn divided<'a>(args: &[Val<'a>], cut: for<'t> fn(&'t str, &str) -> &'t str) -> Return<'a> {
    let (whole, part) = (text(args, 0)?, part(args)?);
    Ok(Val::Text(cut(whole, part)).into())
}

/// The part that is looked for.
fn part<'a>(args: &[Val<'a>]) -> Result<&'a str, Fault> {
    match text(args, 1)? {
        "" => Err(Fault::Unfit(1, "is empty; say what to look for".into())),
        part => Ok(part),
    }
}

fn occurrences<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    Ok(count(text(args, 0)?.matches(part(args)?).count()).into())
}

fn shorten<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let whole = text(args, 0)?;
    let length = usize::try_from(int(args, 1)?).unwrap_or(0);
    let mark = optional(args, 2)?.unwrap_or("…");
    if whole.chars().nth(length).is_none() {
        return Ok(Val::Text(whole).into());
    }
    let room = length
        .checked_sub(mark.chars().count())
        .ok_or_else(|| Fault::Unfit(1, format!("is {length}, and the mark {mark:?} alone is longer")))?;
    let end = whole.char_indices().nth(room).map_or(whole.len(), |(at, _)| at);
    made(&format!("{}{mark}", whole.get(..end).unwrap_or_default()), arena)
}

/// The places from which and before which something is taken, of `length`.
fn bounds(args: &[Val<'_>], length: usize) -> Result<(usize, usize), Fault> {
    let place = |i: usize| {
        let given = int(args, i)?;
        let distance = usize::try_from(given.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(if given < 0 { length.saturating_sub(distance) } else { distance.min(length) })
    };
    let end = if args.len() > 2 { place(2)? } else { length };
    Ok((place(1)?.min(end), end))
}

fn slice<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    match any(args, 0) {
        Val::Big(Value::List(items)) => {
            let (start, end) = bounds(args, items.len())?;
            list(items.get(start..end).unwrap_or_default().to_vec())
        }
        _ => {
            let whole = text(args, 0)?;
            let (start, end) = bounds(args, whole.chars().count())?;
            let byte = |n: usize| whole.char_indices().nth(n).map_or(whole.len(), |(at, _)| at);
            Ok(Val::Text(whole.get(byte(start)..byte(end)).unwrap_or_default()).into())
        }
    }
}

/// The distance of Levenshtein; work grows with the product of the lengths, which is bounded.
fn levenshtein<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (a, b) = (text(args, 0)?, text(args, 1)?);
    let most = limit::COMPARED_CHARACTERS;
    for (i, side) in [a, b].iter().enumerate() {
        if side.chars().nth(most).is_some() {
            return Err(Fault::Unfit(i, format!("is longer than {most} characters, which is too much to compare")));
        }
    }
    Ok(count(strsim::levenshtein(a, b)).into())
}
