//! Records that fit a regular expression: what its named groups capture are the fields.
//!
//! The expression may match anywhere in the record; `^` and `$` tie it to its ends. A group that took no part has no
//! field. A name with dots (`client.ip`) is a path.

use regex::{CaptureLocations, Regex};

use super::misfit::{self, Beginnings};
use super::{Malformed, shown};
use crate::data::format::{Alternative, Capture, CaptureKind, Pattern};
use crate::data::json;

/// Names inside one another that a captured field may have.
const PATH_DEPTH: usize = 32;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// What is wrong, one sentence.
    pub reason: String,
    /// How to mend it, if there is more to say.
    pub help: Option<String>,
    /// Where in the pattern: the bytes to mark.
    pub range: Option<std::ops::Range<usize>>,
}

impl PatternError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        PatternError { reason: reason.into(), help: None, range: None }
    }
}

/// A regular expression and its named groups, all of them text.
pub fn regex(written: &str) -> Result<Alternative, PatternError> {
    let compiled = compile(written)?;
    let named = compiled.capture_names().enumerate().filter_map(|(group, name)| Some((name?, vec![group])));
    let capture = |(name, groups): (&str, Vec<usize>)| Capture { path: path_of(name), groups, kind: CaptureKind::Text };
    let captures: Vec<Capture> = named.map(capture).collect();
    if captures.is_empty() {
        return Err(PatternError {
            help: Some("name what is to become a field: `(?<status>[0-9]+)`".to_owned()),
            ..PatternError::new("the pattern names no group, so it gives no field")
        });
    }
    let pieces = misfit::pieces(written, &[]);
    let alternative = Alternative { written: written.to_owned(), regex: written.to_owned(), captures, pieces };
    check(&alternative)?;
    Ok(alternative)
}

/// Whether the fields can stand beside one another.
pub(super) fn check(alternative: &Alternative) -> Result<(), PatternError> {
    tree(&alternative.captures).map(drop).map_err(PatternError::new)
}

/// The names of a field from its spelling.
pub(super) fn path_of(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

/// Compiles an expression; what is wrong with it has its place.
pub(super) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    Regex::new(pattern).map_err(|error| match error {
        regex::Error::Syntax(text) => syntax_error(pattern, &text),
        regex::Error::CompiledTooBig(limit) => PatternError {
            help: Some("repeat less: `{1,1000}` of a large piece is as many copies of it".to_owned()),
            ..PatternError::new(format!("the pattern needs more than {limit} bytes when compiled"))
        },
        other => PatternError::new(other.to_string()),
    })
}

/// Takes apart what the library says: the expression with a mark below it, then a sentence.
fn syntax_error(pattern: &str, text: &str) -> PatternError {
    const INDENT: usize = 4;
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("this cannot be read");
    let mut error = PatternError::new(format!("this is not a regular expression: {reason}"));
    if reason.contains("look-around") {
        error.help = Some("look-ahead and look-behind are not supported: they make matching slow on some input".into());
    } else if reason.contains("backreferences") {
        error.help = Some("references to groups are not supported: they make matching slow on some input".into());
    }
    let mark = text.lines().find(|line| line.trim_start().starts_with('^') && line.trim_matches([' ', '^']).is_empty());
    if let (Some(mark), false) = (mark, pattern.contains('\n')) {
        let from = mark.find('^').unwrap_or(INDENT).saturating_sub(INDENT);
        let count = mark.trim_start().chars().take_while(|c| *c == '^').count();
        let byte = |chars: usize| pattern.char_indices().nth(chars).map_or(pattern.len(), |(at, _)| at);
        error.range = Some(byte(from)..byte(from + count));
    }
    error
}

/// What a pattern's fields look like as JSON.
#[derive(Debug)]
enum Member {
    Leaf { head: Vec<u8>, groups: Vec<usize>, kind: CaptureKind },
    Object { head: Vec<u8>, members: Vec<Member> },
}

impl Member {
    fn head(&self) -> &[u8] {
        match self {
            Member::Leaf { head, .. } | Member::Object { head, .. } => head,
        }
    }
}

/// The members of the object that captures become.
fn tree(captures: &[Capture]) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    for capture in captures {
        let name = capture.path.join(".");
        if capture.path.len() > PATH_DEPTH {
            return Err(format!("`{name}` has more than {PATH_DEPTH} names inside one another"));
        }
        if capture.path.iter().any(String::is_empty) {
            return Err(format!("`{name}` is not a field"));
        }
        let clash = || format!("`{name}` cannot be a field beside one that lies inside it or around it");
        let Some((last, way)) = capture.path.split_last() else { continue };
        let place = way.iter().try_fold(&mut members, |place, name| inside(place, name)).ok_or_else(clash)?;
        let head = head_of(last);
        if place.iter().any(|m: &Member| m.head() == head) {
            return Err(clash());
        }
        place.push(Member::Leaf { head, groups: capture.groups.clone(), kind: capture.kind });
    }
    Ok(members)
}

/// The members of an object among others, a new one if there is none of this name.
fn inside<'m>(members: &'m mut Vec<Member>, name: &str) -> Option<&'m mut Vec<Member>> {
    let head = head_of(name);
    let at = members.iter().position(|m| m.head() == head).unwrap_or_else(|| {
        members.push(Member::Object { head, members: Vec::new() });
        members.len() - 1
    });
    match members.get_mut(at)? {
        Member::Object { members, .. } => Some(members),
        Member::Leaf { .. } => None,
    }
}

fn head_of(name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    json::write_text(name, &mut head);
    head.push(b':');
    head
}

/// Reads records by a pattern.
#[derive(Debug)]
pub(super) struct Matcher {
    alternatives: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    regex: Regex,
    places: CaptureLocations,
    members: Vec<Member>,
    /// As its author wrote it.
    written: String,
    beginnings: Beginnings,
}

impl Matcher {
    /// Compiles a pattern, which was checked when the pipeline was read.
    pub fn new(pattern: &Pattern) -> Result<Self, String> {
        let one = |alternative: &Alternative| {
            let regex = compile(&alternative.regex).map_err(|e| e.reason)?;
            Ok(Compiled {
                places: regex.capture_locations(),
                regex,
                members: tree(&alternative.captures)?,
                written: alternative.written.clone(),
                beginnings: Beginnings::new(&alternative.regex, &alternative.pieces),
            })
        };
        Ok(Matcher { alternatives: pattern.alternatives.iter().map(one).collect::<Result<_, String>>()? })
    }

    /// Writes a record as JSON.
    pub fn read(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
        for Compiled { regex, places, members, .. } in &mut self.alternatives {
            if regex.captures_read(places, text).is_some() {
                out.push(b'{');
                write(members, text, places, out)?;
                out.push(b'}');
                return Ok(());
            }
        }
        Err(self.misfit(text))
    }

    /// Where a text that fits no pattern stops fitting, in the pattern in which it comes furthest.
    #[cold]
    fn misfit(&self, text: &str) -> Malformed {
        let all = self.alternatives.iter().map(|alternative| (alternative.beginnings.misfit(text), alternative));
        let furthest = all.reduce(|best, next| if next.0.byte > best.0.byte { next } else { best });
        let Some((misfit, alternative)) = furthest else { return Malformed::new(0, "there is no pattern") };
        let reason = match self.alternatives.len() {
            1 => format!("this does not fit the pattern: {}", misfit.what),
            n => {
                let written = shown(&alternative.written);
                format!("this fits none of the {n} patterns; `{written}` comes furthest: {}", misfit.what)
            }
        };
        Malformed::new(misfit.byte, reason)
    }
}

/// Writes members that have a value; whether there was one.
fn write(members: &[Member], text: &str, places: &CaptureLocations, out: &mut Vec<u8>) -> Result<bool, Malformed> {
    let mut any = false;
    for member in members {
        let before = out.len();
        if any {
            out.push(b',');
        }
        out.extend_from_slice(member.head());
        let written = match member {
            Member::Leaf { groups, kind, .. } => match groups.iter().find_map(|group| places.get(*group)) {
                None => false,
                Some((from, to)) => {
                    write_as(*kind, text.get(from..to).unwrap_or_default(), from, out)?;
                    true
                }
            },
            Member::Object { members, .. } => {
                out.push(b'{');
                let some = write(members, text, places, out)?;
                out.push(b'}');
                some
            }
        };
        if written {
            any = true;
        } else {
            out.truncate(before);
        }
    }
    Ok(any)
}

/// Writes a captured text, which stands at byte `at` of the record, as what it is to be.
fn write_as(kind: CaptureKind, captured: &str, at: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let wrong = |what: &str| Err(Malformed::new(at, format!("`{}` is not {what}", shown(captured))));
    match kind {
        CaptureKind::Text => json::write_text(captured, out),
        CaptureKind::Bool if matches!(captured, "true" | "false") => out.extend_from_slice(captured.as_bytes()),
        CaptureKind::Bool => return wrong("`true` or `false`"),
        // A number that has no exact place in 64 bits passes as it is spelled, like any other.
        CaptureKind::Int => match whole_number(captured) {
            Some(spelled) => out.extend_from_slice(spelled.as_bytes()),
            None => return wrong("a whole number"),
        },
        CaptureKind::Float if json::is_number(captured) => out.extend_from_slice(captured.as_bytes()),
        CaptureKind::Float => match captured.parse::<f64>().ok().filter(|f| f.is_finite()) {
            Some(float) => json::write_float(float, out),
            None => return wrong("a number"),
        },
    }
    Ok(())
}

/// A whole number as JSON spells it: without a plus sign and leading zeros.
fn whole_number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = match digits.trim_start_matches('0') {
        "" => return Some("0".to_owned()),
        digits => digits,
    };
    Some(format!("{sign}{digits}"))
}
