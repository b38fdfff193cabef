//! Where a text stops fitting a pattern. The pattern is cut into pieces that stand one after the other; of its beginnings
//! the longest that is found in the text tells which piece does not follow, and where; how far the text goes along with
//! that piece is seen by stepping through it.

use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::{AssertionKind, Ast, Group, GroupKind, RepetitionKind, RepetitionRange, parse::Parser};

use super::shown;
use crate::data::format::Piece;

/// Pieces of one pattern; what comes behind the last belongs to it.
const MOST: usize = 128;

/// Cuts an expression into pieces. `names` are the ranges of it that have names of their own, as they were written, those
/// around others first: a name that holds none is one piece.
pub(super) fn pieces(regex: &str, names: &[(Range<usize>, String)]) -> Vec<Piece> {
    let Ok(ast) = Parser::new().parse(regex) else { return Vec::new() };
    let mut cutting = Cutting { regex, names, pieces: Vec::new(), literal: None, flags: String::new() };
    cutting.cut(&ast, 0);
    cutting.pieces
}

struct Cutting<'a> {
    regex: &'a str,
    names: &'a [(Range<usize>, String)],
    pieces: Vec<Piece>,
    /// Where the last piece began, if it is characters alone: more of them join it.
    literal: Option<usize>,
    /// Flags that hold for what comes next, such as `(?i)`.
    flags: String,
}

impl Cutting<'_> {
    fn cut(&mut self, ast: &Ast, open: usize) {
        let span = ast.span();
        let range = span.start.offset..span.end.offset;
        match ast {
            Ast::Empty(_) => {}
            Ast::Flags(_) => self.flags.push_str(self.regex.get(range).unwrap_or_default()),
            Ast::Concat(parts) => parts.asts.iter().for_each(|part| self.cut(part, open)),
            Ast::Group(group) if self.is_open(group, &range) => {
                self.literal = None;
                let (before, flags) = (self.pieces.len(), self.flags.len());
                if let GroupKind::NonCapturing(own) = &group.kind {
                    let own = self.regex.get(own.span.start.offset..own.span.end.offset).unwrap_or_default();
                    self.flags += &if own.is_empty() { String::new() } else { format!("(?{own})") };
                }
                self.cut(&group.ast, open + 1);
                self.flags.truncate(flags);
                self.literal = None;
                // The group ends with its last piece.
                if let Some(last) = self.pieces.get_mut(before..).and_then(|inside| inside.last_mut()) {
                    (last.end, last.open) = (range.end, open);
                }
            }
            Ast::Literal(_) => {
                let from = self.literal.unwrap_or(range.start);
                if self.literal.is_some() {
                    self.pieces.pop();
                }
                self.push(from..range.end, open, false);
                self.literal = Some(from);
            }
            _ => {
                self.literal = None;
                self.push(range, open, takes_anything(ast));
            }
        }
    }

    /// Whether a group may be cut: what has a name is one piece, unless there are others in it.
    fn is_open(&self, group: &Group, range: &Range<usize>) -> bool {
        let mut named = self.names.iter().filter(|(named, _)| named.start >= range.start && named.end <= range.end);
        let several = holds_several(&group.ast);
        match named.clone().any(|(named, _)| named == range) {
            true => several && named.any(|(named, _)| named != range),
            false => several || matches!(group.kind, GroupKind::NonCapturing(_)),
        }
    }

    fn push(&mut self, range: Range<usize>, open: usize, anything: bool) {
        let name = self.spelled(&range);
        let alone = format!("{}{}", self.flags, self.regex.get(range.clone()).unwrap_or_default());
        if self.pieces.len() == MOST {
            self.pieces.pop();
        }
        self.pieces.push(Piece { end: range.end, open, name, alone, anything });
    }

    /// A piece as it was written: names for what has one.
    fn spelled(&self, range: &Range<usize>) -> String {
        let (mut text, mut at) = (String::new(), range.start);
        for (named, name) in self.names {
            if named.start >= at && named.end <= range.end {
                text.push_str(self.regex.get(at..named.start).unwrap_or_default());
                text.push_str(name);
                at = named.end;
            }
        }
        text.push_str(self.regex.get(at..range.end).unwrap_or_default());
        text
    }
}

/// Whether something stands behind something else in it, in groups or not.
fn holds_several(ast: &Ast) -> bool {
    match ast {
        Ast::Concat(_) => true,
        Ast::Group(group) => holds_several(&group.ast),
        _ => false,
    }
}

/// Whether a piece goes over whatever there is, so that what follows it may stand anywhere behind.
fn takes_anything(ast: &Ast) -> bool {
    match ast {
        Ast::Group(group) => takes_anything(&group.ast),
        Ast::Repetition(repeated) => {
            let endless = match &repeated.op.kind {
                RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => true,
                RepetitionKind::Range(range) => matches!(range, RepetitionRange::AtLeast(_)),
                RepetitionKind::ZeroOrOne => false,
            };
            endless && matches!(*repeated.ast, Ast::Dot(_))
        }
        _ => false,
    }
}

/// Whether a piece is the end of the text, as it is written.
fn is_end(name: &str) -> bool {
    let ast = Parser::new().parse(name);
    matches!(&ast, Ok(Ast::Assertion(it)) if matches!(it.kind, AssertionKind::EndLine | AssertionKind::EndText))
}

/// The beginnings of a pattern, compiled when they are first asked for.
#[derive(Debug)]
pub(super) struct Beginnings {
    regex: String,
    pieces: Vec<Piece>,
    compiled: Vec<OnceLock<Option<Regex>>>,
    /// Each piece alone.
    alone: Vec<OnceLock<Option<DFA>>>,
}

/// Where a text stops fitting.
pub(super) struct Misfit {
    /// The byte, counted from 0.
    pub byte: usize,
    /// What does not fit there, a clause about `it`, the text.
    pub what: String,
}

impl Beginnings {
    pub(super) fn new(regex: &str, pieces: &[Piece]) -> Self {
        let compiled = pieces.iter().map(|_| OnceLock::new()).collect();
        let alone = pieces.iter().map(|_| OnceLock::new()).collect();
        Beginnings { regex: regex.to_owned(), pieces: pieces.to_vec(), compiled, alone }
    }

    /// The pattern up to and with so many pieces.
    fn beginning(&self, count: usize) -> Option<&Regex> {
        let at = count.checked_sub(1)?;
        let (piece, place) = (self.pieces.get(at)?, self.compiled.get(at)?);
        let compile = || Regex::new(&format!("{}{}", self.regex.get(..piece.end)?, ")".repeat(piece.open))).ok();
        place.get_or_init(compile).as_ref()
    }

    /// Where a text that does not fit the pattern stops fitting it.
    pub(super) fn misfit(&self, text: &str) -> Misfit {
        // What has a longer beginning in it has every shorter one.
        let (mut fits, mut fails) = (0, self.pieces.len());
        while fits + 1 < fails {
            let middle = fits.midpoint(fails);
            match self.beginning(middle).is_some_and(|beginning| beginning.is_match(text)) {
                true => fits = middle,
                false => fails = middle,
            }
        }
        let Some(next) = self.pieces.get(fits).map(|piece| piece.name.as_str()) else {
            return Misfit { byte: 0, what: String::new() };
        };
        let last = fits.checked_sub(1).and_then(|at| self.pieces.get(at));
        let wanted = shown(next);
        let found = self.beginning(fits).and_then(|beginning| Some((beginning.find(text)?, beginning)));
        let Some((found, beginning)) = found else {
            return Misfit { byte: 0, what: format!("nothing in it is `{wanted}`") };
        };
        if last.is_some_and(|last| last.anything) {
            let byte = beginning.shortest_match(text).unwrap_or(found.end());
            return Misfit { byte, what: format!("nothing from here on is `{wanted}`") };
        }
        let begins = found.end();
        let byte = self.reach(fits, text, begins).unwrap_or(begins);
        let rest = shown(text.get(begins..).unwrap_or_default());
        let what = match (text.get(byte..).unwrap_or_default(), rest.is_empty()) {
            (_, true) => format!("it ends where `{wanted}` should stand"),
            _ if is_end(next) => format!("it goes on with `{rest}` where the pattern ends"),
            _ if byte == begins => format!("`{rest}` stands where `{wanted}` should"),
            ("", _) => format!("`{rest}` stands where `{wanted}` should, and ends too soon"),
            (stops, _) => {
                format!("`{rest}` stands where `{wanted}` should, and no longer fits at `{}`", shown(stops))
            }
        };
        Misfit { byte, what }
    }

    /// The byte at which a text goes along with a piece no further that should stand at `from`.
    fn reach(&self, piece: usize, text: &str, from: usize) -> Option<usize> {
        let compile = || {
            // Whatever matches, so that one way of fitting does not hide another.
            let config = DFA::config().match_kind(MatchKind::All).unicode_word_boundary(true);
            DFA::builder().configure(config).build(&self.pieces.get(piece)?.alone).ok()
        };
        let dfa = self.alone.get(piece)?.get_or_init(compile).as_ref()?;
        let mut cache = dfa.create_cache();
        let input = Input::new(text).range(from..).anchored(Anchored::Yes);
        let mut state = dfa.start_state_forward(&mut cache, &input).ok()?;
        for (at, byte) in text.bytes().enumerate().skip(from) {
            state = dfa.next_state(&mut cache, state, byte).ok()?;
            if state.is_dead() {
                return (from..=at).rev().find(|at| text.is_char_boundary(*at));
            }
            // It fits alone, and what is wrong is something about where it stands.
            if state.is_match() || state.is_quit() {
                return None;
            }
        }
        Some(text.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::data::format::{Alternative, Pattern};
    use crate::data::formats::grok::grok;
    use crate::data::formats::pattern::{Matcher, regex};

    /// What is said of a text, and its byte, counted from 1.
    fn said(alternatives: Vec<Alternative>, text: &str) -> (String, usize) {
        let pattern = Pattern { language: "grok", alternatives };
        let fault = Matcher::new(&pattern).unwrap().read(text, &mut Vec::new()).unwrap_err();
        (fault.reason, fault.byte + 1)
    }

    fn check(alternative: &Alternative, cases: &[(&str, &str, usize)]) {
        for (text, what, byte) in cases {
            let whole = format!("this does not fit the pattern: {what}");
            assert_eq!(said(vec![alternative.clone()], text), (whole, *byte), "{text}");
        }
    }

    #[test]
    fn the_piece_of_an_expression_that_does_not_follow() {
        check(
            &regex(r"^(?<level>[A-Z]+) (?<code>\d+)(?: ms)?: (?<text>.*) end$").unwrap(),
            &[
                ("", "it ends where `(?<level>[A-Z]+)` should stand", 1),
                ("info 5: x end", "`info 5: x end` stands where `(?<level>[A-Z]+)` should", 1),
                ("INFO", "it ends where ` ` should stand", 5),
                ("INFO five", "`five` stands where `(?<code>\\d+)` should", 6),
                ("INFO 5 s: x end", "` s: x end` stands where `: ` should", 7),
                ("INFO 5 ms: x y z", "nothing from here on is ` end`", 12),
            ],
        );
        check(&regex(r"^(?<n>\d+)$").unwrap(), &[("12 x", "it goes on with ` x` where the pattern ends", 3)]);
        check(
            &regex(r"(?<at>(\d+)-(\d+)) (?:é|x)(?<b>b)").unwrap(),
            &[
                ("none", "nothing in it is `(\\d+)`", 1),
                ("from 12/5", "`/5` stands where `-` should", 8),
                ("1-2 éc", "`c` stands where `(?<b>b)` should", 7),
            ],
        );
        check(
            &regex("^(?i:(?<id>[a-c]{3}é-[0-9]+))$").unwrap(),
            &[
                ("ABx", "`ABx` stands where `[a-c]{3}` should, and no longer fits at `x`", 3),
                ("ABCü", "`ü` stands where `é-` should", 4),
                ("ABCé", "`é` stands where `é-` should, and ends too soon", 6),
            ],
        );
        check(&regex("(?<a>a)|(?<b>b)").unwrap(), &[("c", "nothing in it is `(?<a>a)|(?<b>b)`", 1)]);
        check(
            &regex("(?i)(?x) (?<a> a ) # first\n (?<b> b )").unwrap(),
            &[("Ac", "`c` stands where `(?<b> b )` should", 2)],
        );
    }

    #[test]
    fn the_element_of_a_grok_pattern_that_does_not_follow() {
        let own = [("ORDER".to_owned(), "[A-Z]{2}[0-9]+".to_owned())];
        let of = |pattern: &str| grok(pattern, &own).unwrap();
        check(
            &of(r"^%{IP:client} \[%{TIMESTAMP_ISO8601:at}\] %{ORDER:order} %{INT:status:int}$"),
            &[
                ("10.0.0.x", "`10.0.0.x` stands where `%{IP:client}` should, and no longer fits at `x`", 8),
                ("10.0.0.", "`10.0.0.` stands where `%{IP:client}` should, and ends too soon", 8),
                ("none", "`none` stands where `%{IP:client}` should", 1),
                ("10.0.0.1 - x", "` - x` stands where ` \\[` should, and no longer fits at `- x`", 10),
                ("10.0.0.1 [2026-13-01T00:00:00Z] AB1 200", "`3-01T00:00:00Z] AB1 200` stands where `-` should", 17),
                (
                    "10.0.0.1 [2026-12-01T00:00:00Z] A1 200",
                    "`A1 200` stands where `%{ORDER:order}` should, and no longer fits at `1 200`",
                    34,
                ),
                ("10.0.0.1 [2026-12-01T00:00:00Z] AB1 2x0", "it goes on with `x0` where the pattern ends", 38),
            ],
        );
        check(&of("%{WORD:a} %{GREEDYDATA:b} %{INT:n}$"), &[("x y z", "`z` stands where `%{INT:n}` should", 5)]);
    }

    #[test]
    fn of_several_patterns_the_one_that_comes_furthest() {
        let of = |pattern: &str| grok(pattern, &[]).unwrap();
        let all = vec![of("^%{INT:n}$"), of("^%{WORD:a} %{INT:n}$"), of("^%{WORD:b}$")];
        let reason = "this fits none of the 3 patterns; `^%{WORD:a} %{INT:n}$` comes furthest: `x` stands where `%{INT:n}` should";
        assert_eq!(said(all, "ab x"), (reason.to_owned(), 4));
    }
}
