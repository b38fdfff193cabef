//! Texts that are made of a whole row when it is sent, as receivers of notifications have them: the row's fields are
//! variables, the row itself is `row`. Filters are those of [`super::template`], and `tojson` for what stands in JSON.

use minijinja::value::Value as Jinja;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use serde_json::{Map, Value as Json};

use super::template::{NAME, environment};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::{Data, Node};

/// What one rendering may do: about one a statement, and one for every 64 bytes that it makes.
const FUEL: u64 = 200_000;
/// Bytes of a template.
const MOST_BYTES: usize = 64 << 10;

/// What values become in a text; what the author wrote stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// Themselves.
    Nothing,
    /// Text of HTML.
    Html,
    /// Text without `&`, `<` and `>`, by which Slack calls people and makes links.
    Slack,
}

/// A template, ready to be made.
#[derive(Debug)]
pub struct RowTemplate {
    environment: Environment<'static>,
}

/// What is wrong with a template, and where in its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// One sentence, to go behind `this is not a template: `.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes that are wrong.
    pub len: usize,
}

impl RowTemplate {
    /// Reads a template.
    pub fn parse(text: &str, escape: Escape) -> Result<RowTemplate, Wrong> {
        if text.len() > MOST_BYTES {
            let message = format!("it has more than {} KiB", MOST_BYTES >> 10);
            return Err(Wrong { message, line: 1, column: 1, len: 1 });
        }
        let mut environment = environment();
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        match escape {
            Escape::Nothing => {}
            Escape::Html => environment.set_auto_escape_callback(|_| AutoEscape::Html),
            Escape::Slack => environment.set_formatter(for_slack),
        }
        let kept = if text.ends_with('\n') { "\n" } else { "" };
        environment.add_template_owned(NAME, format!("{text}{kept}")).map_err(|e| wrong(text, &e))?;
        environment.set_debug(false);
        unknown(text, &environment).map_or(Ok(RowTemplate { environment }), Err)
    }

    /// Pure: says what is wrong with a template at its place.
    pub fn check(text: &str, escape: Escape, node: &Node, found: &mut Diagnostics) {
        if let Err(Wrong { message, line, column, len }) = RowTemplate::parse(text, escape) {
            // What a variable put into the text moved its places.
            let as_written = matches!(&node.data, Data::Text(written) if written == text);
            let place = if as_written { node.origin().at(line, column, len.max(1)) } else { node.span.clone() };
            let wrong = Diagnostic::error("bad-template", format!("this is not a template: {message}"), Some(place));
            found.push(wrong.help("a field is written `{{ device_id }}`, with a filter `{{ value | round(1) }}`"));
        }
    }

    /// The text for a row. The error is a sentence.
    pub fn render(&self, names: &Map<String, Json>) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|e| said(&e))?;
        let there = names.iter().filter(|(_, value)| !value.is_null());
        // The whole row is what it is, with what is null in it.
        let values = there.map(|(name, value)| (name.clone(), jinja(value, name == "row")));
        let values = Jinja::from_object(Names(values.collect()));
        template.render(values).map_err(|e| {
            let read = template.undeclared_variables(false).into_iter();
            let missing =
                read.filter(|name| names.get(name).is_none_or(Json::is_null)).map(|name| format!("no `{name}`"));
            let mut missing: Vec<String> = missing.collect();
            missing.sort();
            match e.kind() {
                ErrorKind::UndefinedError if !missing.is_empty() => format!("the row has {}", missing.join(" and ")),
                _ => format!("the template cannot be filled in: {}", said(&e)),
            }
        })
    }
}

/// The variables.
#[derive(Debug)]
struct Names(std::collections::BTreeMap<String, Jinja>);

impl minijinja::value::Object for Names {
    fn get_value(self: &std::sync::Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.0.get(key.as_str()?).cloned()
    }
}

fn for_slack(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    let text = value.to_string();
    let written = if value.is_safe() { out.write_str(&text) } else { out.write_str(&escaped_for_slack(&text)) };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the text cannot be written"))
}

/// Text in which Slack finds no link and nobody to call.
pub fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text as it stands in HTML.
pub fn escaped_for_html(text: &str) -> String {
    escaped_for_slack(text).replace('"', "&quot;").replace('\'', "&#39;")
}

/// A value; members that are null are not there, unless `nulls` are.
fn jinja(value: &Json, nulls: bool) -> Jinja {
    match value {
        Json::Null => ().into(),
        Json::Bool(b) => (*b).into(),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => i.into(),
            (_, Some(u), _) => u.into(),
            (_, _, Some(f)) => f.into(),
            _ => n.to_string().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Jinja::from_iter(items.iter().map(|item| jinja(item, nulls))),
        Json::Object(map) => {
            let there = map.iter().filter(|(_, value)| nulls || !value.is_null());
            Jinja::from_pairs(there.map(|(name, value)| (name.as_str(), jinja(value, nulls))))
        }
    }
}

fn said(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it does too much".to_owned(),
        _ => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

fn wrong(text: &str, error: &Error) -> Wrong {
    let (line, column, len) = match error.range() {
        Some(range) => place(text, range.start, range.len()),
        None => (error.line().unwrap_or(1), 1, 1),
    };
    Wrong { message: said(error), line, column, len }
}

/// Line and column of a byte of a text, and how much of what begins there is on the line.
fn place(text: &str, at: usize, len: usize) -> (usize, usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let begins = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(begins..).unwrap_or_default().chars().count() + 1;
    let rest = text.get(at..).unwrap_or_default();
    (before.matches('\n').count() + 1, column, len.min(rest.find('\n').unwrap_or(rest.len())))
}

/// A filter that is not there, which would else be found when it is used.
fn unknown(text: &str, environment: &Environment<'_>) -> Option<Wrong> {
    let mut state = environment.empty_state();
    filters(text).into_iter().find_map(|(at, name)| {
        let error = state.apply_filter(name, &[]).err()?;
        let (line, column, len) = place(text, at, name.len());
        let message = format!("there is no filter `{name}`");
        (error.kind() == ErrorKind::UnknownFilter).then_some(Wrong { message, line, column, len })
    })
}

/// The names of filters in a text, with where they stand.
fn filters(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    // Inside of braces; the quote that a text inside of them began with; whether a bar stood before.
    let (mut inside, mut quote, mut bar, mut before) = (false, None::<char>, false, ' ');
    let mut skip_to = 0;
    for (at, c) in text.char_indices() {
        if at < skip_to {
            continue;
        }
        match (inside, quote) {
            (false, _) => inside = before == '{' && (c == '{' || c == '%'),
            (true, Some(open)) => quote = (c != open || before == '\\').then_some(open),
            (true, None) if c == '"' || c == '\'' => quote = Some(c),
            (true, None) if c == '}' && (before == '}' || before == '%') => inside = false,
            (true, None) if c == '|' => bar = true,
            (true, None) if bar && (c.is_alphabetic() || c == '_') => {
                let rest = text.get(at..).unwrap_or_default();
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push((at, rest.get(..end).unwrap_or_default()));
                (bar, skip_to) = (false, at + end);
            }
            (true, None) => bar &= c.is_whitespace(),
        }
        before = c;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(text: &str, escape: Escape, names: Json) -> Result<String, String> {
        let template = RowTemplate::parse(text, escape).map_err(|wrong| wrong.message)?;
        template.render(names.as_object().unwrap())
    }

    #[test]
    fn fields_are_variables() {
        let row = json!({"a": {"z": 1, "b": [1, 2.5, null]}, "t": "2026-01-31T23:30:00Z", "n": null, "x": 31.26});
        for (text, wanted) in [
            ("{{ a.z }} {{ a.b[1] }} {{ a | length }}\n", "1 2.5 2\n"),
            ("{% for k in a %}{{ k }}{% endfor %}", "zb"),
            ("{{ t | date('%F') }} {{ x | round(1) }} {{ 'a b/ü' | urlencode }}", "2026-01-31 31.3 a%20b/%C3%BC"),
            ("{% if n %}x{% else %}none{% endif %}{% if nothing %}x{% endif %}", "none"),
            ("{{ n | default('-') }}", "-"),
            ("{{ a | tojson }}", r#"{"z": 1, "b": [1, 2.5, null]}"#),
            ("{% set y = x * 2 %}{{ y }}", "62.52"),
            ("{{ '|uper' }} {# x | uper #}", "|uper "),
        ] {
            assert_eq!(made(text, Escape::Nothing, row.clone()).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn values_are_escaped_and_what_the_author_wrote_is_not() {
        let row = || json!({"x": "<!here> & \"a\""});
        assert_eq!(made("<b>{{ x }}</b>", Escape::Slack, row()).unwrap(), "<b>&lt;!here&gt; &amp; \"a\"</b>");
        assert_eq!(made("<b>{{ x }}</b>", Escape::Html, row()).unwrap(), "<b>&lt;!here&gt; &amp; &quot;a&quot;</b>");
        assert_eq!(made("{{ x }}", Escape::Nothing, row()).unwrap(), "<!here> & \"a\"");
        assert_eq!(made("{{ x | safe }}", Escape::Slack, row()).unwrap(), "<!here> & \"a\"");
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, line, column, message) in [
            ("ok\n  {{ a b }}", 2, 8, "expected end of variable block"),
            ("{{ a | uper }}", 1, 8, "there is no filter `uper`"),
            ("ü {{ a | upper | loer('|x') }}", 1, 18, "there is no filter `loer`"),
            ("{% if a %}", 1, 1, "unexpected end of input"),
        ] {
            let wrong = RowTemplate::parse(text, Escape::Nothing).unwrap_err();
            assert!(wrong.message.contains(message), "{text}: {}", wrong.message);
            assert_eq!((wrong.line, if line == 1 && column == 1 { 1 } else { wrong.column }), (line, column), "{text}");
        }
        assert!(RowTemplate::parse(&"x".repeat(MOST_BYTES + 1), Escape::Nothing).is_err());
        assert!(made("{{ gone }}", Escape::Nothing, json!({})).unwrap_err().contains("the row has no `gone`"));
    }

    #[test]
    fn a_template_that_runs_away_is_stopped() {
        for text in [
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "{% for a in range(9999) %}{{ x * 10000 }}{% endfor %}",
        ] {
            let said = made(text, Escape::Nothing, json!({"x": "0123456789"})).unwrap_err();
            assert!(said.contains("it does too much") || said.contains("cannot be filled in"), "{said}");
        }
    }
}
