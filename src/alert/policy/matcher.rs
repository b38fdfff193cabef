//! Matchers: what the labels of an alert must be for a silence or an inhibition to hold.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::base::limit;

/// How a label is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches a regular expression.
    Matches,
    /// `!~`: it does not.
    MatchesNot,
}

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Matches => "=~",
            Op::MatchesNot => "!~",
        }
    }
}

/// What one label must be. A label that is not there has the empty text as its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How its value is compared.
    pub op: Op,
    /// With what.
    pub value: String,
    /// Of the operators that have one.
    pattern: Option<Regex>,
}

impl TryFrom<String> for Matcher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Matcher::parse(&text)
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> String {
        matcher.to_string()
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.op, &self.value) == (&other.label, other.op, &other.value)
    }
}

impl Matcher {
    /// A matcher; the error says what is wrong with its regular expression.
    pub fn new(label: &str, op: Op, value: &str) -> Result<Self, String> {
        if label.len() + value.len() > limit::MATCHER_BYTES {
            return Err(format!("a matcher has more than {} bytes; write it shorter", limit::MATCHER_BYTES));
        }
        let pattern = match op {
            Op::Equal | Op::NotEqual => None,
            Op::Matches | Op::MatchesNot => Some(whole(value)?),
        };
        Ok(Matcher { label: label.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// Reads `severity=critical`, `site!=x`, `device=~"a.*"`, `name!~"b|c"`; a value in double quotes may have anything in
    /// it, with `\"` and `\\` for a quote and a backslash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |why: &str| {
            format!(
                "`{text}` is not a matcher: {why}; write it like `severity=critical`, `site!=x` or `device=~\"a.*\"`"
            )
        };
        let at = text.find(['=', '!', '~']).ok_or_else(|| wrong("it has no operator"))?;
        let (label, rest) = text.split_at(at);
        let ops = [Op::Matches, Op::MatchesNot, Op::NotEqual, Op::Equal];
        let found = ops.into_iter().find_map(|op| Some((op, rest.strip_prefix(op.sign())?)));
        let (op, value) = found.ok_or_else(|| wrong("its operator is none of `=`, `!=`, `=~` and `!~`"))?;
        let label = label.trim();
        if label.is_empty() {
            return Err(wrong("it has no label"));
        }
        if label.contains(|c: char| c.is_whitespace() || c == '"') {
            return Err(wrong("a label has no blanks and no quotes"));
        }
        let value = match value.trim().strip_prefix('"') {
            None => value.trim().to_owned(),
            Some(quoted) => unquote(quoted).map_err(wrong)?,
        };
        Self::new(label, op, &value)
    }

    /// Whether labels, found by name, are what it wants.
    pub fn holds<'a>(&self, label: impl FnOnce(&str) -> Option<&'a str>) -> bool {
        let value = label(&self.label).unwrap_or_default();
        let matches = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.op {
            Op::Equal => value == self.value,
            Op::NotEqual => value != self.value,
            Op::Matches => matches(),
            Op::MatchesNot => !matches(),
        }
    }

    /// Whether it holds for a label that is not there: one that does may be a slip of the pen.
    pub fn holds_without(&self) -> bool {
        self.holds(|_| None)
    }
}

/// As it is read.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "_-.:/".contains(c);
        write!(f, "{}{}", self.label, self.op.sign())?;
        if !self.value.is_empty() && self.value.chars().all(plain) {
            return f.write_str(&self.value);
        }
        write!(f, "\"{}\"", self.value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// The value of a text whose opening quote is behind us.
fn unquote(quoted: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next() {
            None => return Err("its closing quote is missing"),
            Some('"') => break,
            Some('\\') => match rest.next() {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                // `\d` and its like belong to a regular expression.
                Some(other) => value.extend(['\\', other]),
                None => return Err("its closing quote is missing"),
            },
            Some(other) => value.push(other),
        }
    }
    if rest.as_str().trim().is_empty() { Ok(value) } else { Err("something follows its closing quote") }
}

/// A regular expression that must match a whole value.
fn whole(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(limit::PATTERN_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression `{pattern}` is too large; write it with fewer repetitions")
        }
        error => {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            format!("the regular expression `{pattern}` cannot be read: {why}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(matcher: &str, value: Option<&'static str>) -> bool {
        Matcher::parse(matcher).unwrap().holds(|_| value)
    }

    #[test]
    fn compares_whole_values() {
        assert!(holds("severity=critical", Some("critical")));
        assert!(!holds("severity=critical", Some("critical2")));
        assert!(holds("severity != critical", Some("warning")));
        assert!(holds("device=~\"a.*\"", Some("ab")));
        assert!(!holds("device=~\"a|b\"", Some("ab")));
        assert!(holds("device=~a.*|b", Some("b")));
        assert!(holds("device!~\"a\\d+\"", Some("a1b")));
        assert!(!holds("device!~\"a\\d+\"", Some("a12")));
        assert!(holds("text=~\"a.b\"", Some("a\nb")));
    }

    #[test]
    fn a_label_that_is_missing_is_empty() {
        assert!(holds("site=\"\"", None));
        assert!(holds("site!=x", None));
        assert!(!holds("site=~.+", None));
        assert!(Matcher::parse("site!=x").unwrap().holds_without());
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["a=b", "a=\"b c\"", "a=~\"x.*\"", r#"a!="q\"u\\o""#, "a!~\"\"", "a=\"\""] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.to_string(), text);
            assert_eq!(Matcher::parse(&matcher.to_string()).unwrap(), matcher);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |text: &str| Matcher::parse(text).unwrap_err();
        assert!(wrong("severity").contains("it has no operator; write it like"));
        assert!(wrong("=x").contains("it has no label"));
        assert!(wrong("a b=x").contains("no blanks"));
        assert!(wrong("a~x").contains("none of `=`"));
        assert!(wrong("a=\"x").contains("closing quote is missing"));
        assert!(wrong("a=\"x\"y").contains("follows"));
        assert!(wrong("a=~(").contains("unclosed group"));
        assert!(wrong("a=~(?:(?:x{1000}){1000}){1000}").contains("too large"));
        assert!(wrong(&format!("a={}", "x".repeat(limit::MATCHER_BYTES))).contains("shorter"));
    }
}
