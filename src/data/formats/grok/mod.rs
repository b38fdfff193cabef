//! Grok: regular expressions with names for their pieces, `%{IP:client} %{WORD:method} %{INT:status:int}`.
//!
//! `%{NAME}` stands for a pattern of the library or of the author's own, `%{NAME:field}` captures what it matches,
//! `%{NAME:field:int}` as an integer (`float`, `bool`, `text`). A field is a path (`client.ip`, also `[client][ip]`).
//! Groups that the pattern names itself, `(?<field>…)`, are fields too. What stands twice under one name is the field where
//! the first of them that took part is. Like any pattern it may match anywhere in the record.

mod library;

use std::ops::Range;

use super::pattern::{PatternError, compile, path_of};
use crate::base::suggest::nearest;
use crate::data::format::{Alternative, Capture, CaptureKind};

pub use library::LIBRARY;

/// Patterns inside one another: more is a pattern that holds itself.
const DEPTH: usize = 24;
/// Bytes of an expanded pattern.
const EXPANDED: usize = 1 << 16;
/// What groups of captured patterns are called; no field is called so.
const GROUP: &str = "grok__";

/// Expands a pattern; `own` are the author's patterns, which come before those of the library.
pub fn grok(written: &str, own: &[(String, String)]) -> Result<Alternative, PatternError> {
    let mut expansion = Expansion { own, ..Expansion::default() };
    expansion.expand(written, 0)?;
    let Expansion { regex, fields, copied, mut names, .. } = expansion;
    // Those around others come first.
    names.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let compiled = compile(&regex).map_err(|mut error| {
        error.range = error.range.and_then(|range| in_written(&range, &copied));
        error
    })?;
    let mut captures: Vec<Capture> = Vec::new();
    for (group, name) in compiled.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?))) {
        let field = name.strip_prefix(GROUP).and_then(|number| fields.get(number.parse::<usize>().ok()?));
        let (path, kind) = field.cloned().unwrap_or_else(|| (path_of(name), CaptureKind::Text));
        match captures.iter_mut().find(|c| c.path == path) {
            Some(capture) => capture.groups.push(group),
            None => captures.push(Capture { path, groups: vec![group], kind }),
        }
    }
    if captures.is_empty() {
        return Err(PatternError {
            help: Some("name what is to become a field: `%{INT:status}`".to_owned()),
            ..PatternError::new("the pattern captures no field")
        });
    }
    let pieces = super::misfit::pieces(&regex, &names);
    let alternative = Alternative { written: written.to_owned(), regex, captures, pieces };
    super::pattern::check(&alternative)?;
    Ok(alternative)
}

/// Whether a pattern of the author's own can be expanded and compiled; it need not capture anything.
pub fn check(written: &str, own: &[(String, String)]) -> Result<(), PatternError> {
    let mut expansion = Expansion { own, ..Expansion::default() };
    expansion.expand(written, 0)?;
    let copied = expansion.copied;
    compile(&expansion.regex).map(drop).map_err(|mut error| {
        error.range = error.range.and_then(|range| in_written(&range, &copied));
        error
    })
}

/// A place in the expanded pattern as one in what was written, where it was copied from there.
fn in_written(range: &Range<usize>, copied: &[(usize, Range<usize>)]) -> Option<Range<usize>> {
    copied.iter().find_map(|(at, from)| {
        let into = range.start.checked_sub(*at).filter(|into| *into < from.len())?;
        Some(from.start + into..(from.start + into + range.len()).min(from.end))
    })
}

#[derive(Default)]
struct Expansion<'a> {
    own: &'a [(String, String)],
    regex: String,
    /// What the groups `grok__0`, `grok__1` … capture.
    fields: Vec<(Vec<String>, CaptureKind)>,
    /// Where pieces of what was written stand in `regex`.
    copied: Vec<(usize, Range<usize>)>,
    /// Where patterns that have names stand in `regex`, as they are referred to.
    names: Vec<(Range<usize>, String)>,
}

impl Expansion<'_> {
    fn expand(&mut self, pattern: &str, depth: usize) -> Result<(), PatternError> {
        let mut at = 0;
        while let Some(found) = pattern.get(at..).and_then(|rest| rest.find("%{")) {
            self.copy(pattern, at..at + found, depth);
            let start = at + found;
            let rest = pattern.get(start..).unwrap_or_default();
            let Some(len) = rest.find('}') else {
                let error = PatternError::new("`%{` is never closed by `}`");
                return Err(PatternError { range: Some(start..start + 2), ..error });
            };
            let inner = rest.get(2..len).unwrap_or_default();
            self.reference(inner, depth).map_err(|mut error| {
                // A mistake inside a named pattern stands at its name.
                error.range = Some(start..start + len + 1);
                error
            })?;
            at = start + len + 1;
        }
        self.copy(pattern, at..pattern.len(), depth);
        if self.regex.len() > EXPANDED {
            return Err(PatternError::new(format!("the pattern is longer than {EXPANDED} bytes when expanded")));
        }
        Ok(())
    }

    fn copy(&mut self, pattern: &str, range: Range<usize>, depth: usize) {
        if depth == 0 {
            self.copied.push((self.regex.len(), range.clone()));
        }
        self.regex.push_str(pattern.get(range).unwrap_or_default());
    }

    /// Expands `NAME`, `NAME:field` or `NAME:field:type`.
    fn reference(&mut self, inner: &str, depth: usize) -> Result<(), PatternError> {
        let mut parts = inner.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let own = self.own.iter().find(|(n, _)| n == name).map(|(_, pattern)| pattern.as_str());
        let pattern = own.or_else(|| LIBRARY.iter().find(|(n, _)| *n == name).map(|(_, pattern)| *pattern));
        let pattern = pattern.ok_or_else(|| self.unknown(name))?.to_owned();
        if depth >= DEPTH || self.regex.len() > EXPANDED {
            return Err(PatternError::new(format!("`{name}` holds itself, or too much of others")));
        }
        let start = self.regex.len();
        match parts.next() {
            None => self.regex.push_str("(?:"),
            Some(field) => {
                let kind = capture_kind(parts.next().unwrap_or("text"))?;
                self.regex.push_str(&format!("(?P<{GROUP}{}>", self.fields.len()));
                self.fields.push((field_path(field), kind));
            }
        }
        self.expand(&pattern, depth + 1)?;
        self.regex.push(')');
        self.names.push((start..self.regex.len(), format!("%{{{inner}}}")));
        Ok(())
    }

    fn unknown(&self, name: &str) -> PatternError {
        let own = self.own.iter().map(|(name, _)| name.as_str());
        let near = nearest(name, own.chain(LIBRARY.iter().map(|(name, _)| *name)));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "patterns of your own go into `patterns`: `patterns: { NAME: \"[a-z]+\" }`".to_owned(),
        };
        PatternError { help: Some(help), ..PatternError::new(format!("unknown grok pattern `{name}`")) }
    }
}

/// What a field's text is read as.
fn capture_kind(word: &str) -> Result<CaptureKind, PatternError> {
    match word {
        "text" | "string" => Ok(CaptureKind::Text),
        "int" | "integer" | "long" => Ok(CaptureKind::Int),
        "float" | "double" => Ok(CaptureKind::Float),
        "bool" | "boolean" => Ok(CaptureKind::Bool),
        other => {
            let help = match nearest(other, ["int", "float", "bool", "text"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "the types are `int`, `float`, `bool` and `text`".to_owned(),
            };
            Err(PatternError { help: Some(help), ..PatternError::new(format!("unknown type `{other}`")) })
        }
    }
}

/// `client.ip` or `[client][ip]`.
fn field_path(field: &str) -> Vec<String> {
    match field.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.split("][").map(str::to_owned).collect(),
        None => path_of(field),
    }
}
