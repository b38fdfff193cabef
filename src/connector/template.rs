//! Texts with `{{ field }}` in them, as sinks have for paths and titles; with [`super::row_template`] the only place that
//! knows minijinja.
//!
//! Filters are Jinja's, with `date('%Y-%m-%d')` for times. What a template names must be there in the row: a missing
//! field is an error, not an empty text, unless `default('…')` stands behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use minijinja::value::Value as Jinja;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use crate::base::time::{Timestamp, parse_rfc3339};
use crate::data::value::{Val, Value};

/// The name that the one template of an environment has.
pub(super) const NAME: &str = "template";

/// What every template is read in: the filters that there are, and nothing escaped.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("date", date);
    environment
}

/// A text that depends on the row, ready to be made.
#[derive(Clone, Debug)]
pub struct Template {
    /// What it reads, in the order in which [`Template::render`] is given the values.
    fields: Arc<[String]>,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// Plain text and fields alone, which is most templates.
    Pieces(Arc<[Piece]>),
    /// Everything else.
    Jinja(Arc<Environment<'static>>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// An index into the values.
    Field(usize),
}

impl Template {
    /// Reads a template. The second answer names what it reads, sorted: top-level fields (`site` for `site.floor`) and
    /// metadata (`meta.path`); [`Template::render`] wants their values in this order. The error says what is wrong with
    /// the text.
    pub fn parse(text: &str) -> Result<(Template, Vec<String>), String> {
        let mut environment = environment();
        // Jinja takes one line end off; here a text ends as it was written.
        let kept = if text.ends_with('\n') { "\n" } else { "" };
        environment.add_template_owned(NAME, format!("{text}{kept}")).map_err(|e| format!("`{text}` {}", wrong(&e)))?;
        let parsed = environment.get_template(NAME).map_err(|e| wrong(&e))?;
        let mut fields: Vec<String> = parsed.undeclared_variables(true).iter().map(|path| field_of(path)).collect();
        fields.sort();
        fields.dedup();
        // A filter that does not exist is found by using it.
        let unknown = |e: &Error| {
            matches!(e.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest)
        };
        if let Some(e) = parsed.render(Jinja::from_object(BTreeMap::<String, Jinja>::new())).err().filter(unknown) {
            return Err(format!("`{text}` {}", wrong(&e)));
        }
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let shape = match pieces(text, &fields) {
            Some(pieces) => Shape::Pieces(pieces.into()),
            None => Shape::Jinja(Arc::new(environment)),
        };
        Ok((Template { fields: fields.clone().into(), shape }, fields))
    }

    /// The text for a row: `values` are those of the fields that [`Template::parse`] named, in that order. The error
    /// says which field is missing, or what else keeps the text from being made.
    pub fn render(&self, values: &[Val<'_>]) -> Result<String, String> {
        match &self.shape {
            Shape::Pieces(pieces) => self.join(pieces, values),
            Shape::Jinja(environment) => {
                let template = environment.get_template(NAME).map_err(|e| wrong(&e))?;
                template.render(self.context(values)).map_err(|e| self.failed(&e, values))
            }
        }
    }

    fn join(&self, pieces: &[Piece], values: &[Val<'_>]) -> Result<String, String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(index) => match values.get(*index).copied().unwrap_or(Val::Unit) {
                    Val::Unit => return Err(self.missing(*index)),
                    Val::Text(value) => text.push_str(value),
                    other => text.push_str(&jinja(other).to_string()),
                },
            }
        }
        Ok(text)
    }

    /// Null and missing are both left out, so that they are undefined.
    fn context(&self, values: &[Val<'_>]) -> Jinja {
        let (mut row, mut meta) = (BTreeMap::new(), BTreeMap::new());
        for (field, value) in self.fields.iter().zip(values).filter(|(_, value)| !matches!(value, Val::Unit)) {
            match field.strip_prefix("meta.") {
                Some(name) => meta.insert(name.to_owned(), jinja(*value)),
                None => row.insert(field.clone(), jinja(*value)),
            };
        }
        if !meta.is_empty() || self.fields.iter().any(|f| f.starts_with("meta.")) {
            row.insert("meta".into(), Jinja::from_object(meta));
        }
        Jinja::from_object(row)
    }

    fn missing(&self, index: usize) -> String {
        format!("the row has no `{}`", self.fields.get(index).map_or("", String::as_str))
    }

    fn failed(&self, error: &Error, values: &[Val<'_>]) -> String {
        // Which of them the template can do without is not known here.
        let absent = self.fields.iter().zip(values).filter(|(_, value)| matches!(value, Val::Unit));
        let absent: Vec<String> = absent.map(|(name, _)| format!("no `{name}`")).collect();
        match error.kind() {
            ErrorKind::UndefinedError if !absent.is_empty() => format!("the row has {}", absent.join(" and ")),
            ErrorKind::UndefinedError => "the row lacks a nested field that the template reads".into(),
            _ => format!("the template {}", wrong(error)),
        }
    }
}

/// Every path that a template reads, sorted: `site.floor`, `meta.path`. None of a text that is no template.
pub fn paths(text: &str) -> Vec<String> {
    let mut environment = environment();
    if environment.add_template(NAME, text).is_err() {
        return Vec::new();
    }
    let read = environment.get_template(NAME).map(|parsed| parsed.undeclared_variables(true)).unwrap_or_default();
    let mut paths: Vec<String> = read.into_iter().collect();
    paths.sort();
    paths
}

/// What a path that a template reads is called: its first name, of metadata the first two.
fn field_of(path: &str) -> String {
    match path.split_once('.') {
        Some(("meta", rest)) => format!("meta.{}", rest.split('.').next().unwrap_or(rest)),
        Some((first, _)) => first.to_owned(),
        None => path.to_owned(),
    }
}

/// The template as plain text and fields, if that is all it is.
fn pieces(text: &str, fields: &[String]) -> Option<Vec<Piece>> {
    if text.contains("{%") || text.contains("{#") {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("{{") {
        let (inside, behind) = after.split_once("}}")?;
        let index = fields.iter().position(|f| f == inside.trim())?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        pieces.push(Piece::Field(index));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Some(pieces)
}

fn jinja(value: Val<'_>) -> Jinja {
    match value {
        Val::Unit => Jinja::UNDEFINED,
        Val::Bool(b) => b.into(),
        Val::Int(i) => i.into(),
        Val::Float(f) => f.into(),
        Val::Text(t) => t.into(),
        Val::Big(Value::List(items)) => Jinja::from_iter(items.iter().map(|v| jinja(v.as_val()))),
        Val::Big(Value::Map(map)) => {
            let members = map.0.iter().map(|(k, v)| (k.to_string(), jinja(v.as_val())));
            Jinja::from_object(members.collect::<BTreeMap<_, _>>())
        }
        Val::Big(Value::Number(spelled)) => spelled.as_str().into(),
        Val::Big(other) => jinja(other.as_val()),
    }
}

fn wrong(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("cannot be used: {what}")
}

/// The filter `date`: a time as RFC 3339 text or a number (seconds below 1e11, milliseconds below 1e14, microseconds
/// below 1e17, else nanoseconds), written by a strftime pattern in UTC or the zone that is given.
fn date(value: &Jinja, pattern: &str, zone: Option<&str>) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let refuse = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    let at = instant(value).ok_or_else(|| refuse(format!("`date` needs a time, and `{value}` is none")))?;
    let at =
        jiff::Timestamp::from_microsecond(at.0).map_err(|_| refuse(format!("`{value}` is outside of the calendar")))?;
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|_| refuse(format!("there is no time zone `{name}`")))?,
    };
    jiff::fmt::strtime::format(pattern, &at.to_zoned(zone))
        .map_err(|e| refuse(format!("`{pattern}` is no date pattern: {e}")))
}

fn instant(value: &Jinja) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        return parse_rfc3339(text.as_bytes());
    }
    let number = f64::try_from(value.clone()).ok()?;
    let scale = match number.abs() {
        n if n < 1e11 => 1e6,
        n if n < 1e14 => 1e3,
        n if n < 1e17 => 1.0,
        _ => 1e-3,
    };
    // In range: what is not an instant of the calendar is refused next.
    let at = Timestamp((number * scale).floor() as i64);
    at.is_event_time().then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, values: &[Val<'_>]) -> Result<String, String> {
        let (template, fields) = Template::parse(text)?;
        assert_eq!(fields.len(), values.len(), "{fields:?}");
        template.render(values)
    }

    #[test]
    fn fields_and_filters() {
        let time = Val::Text("2026-01-31T23:30:00.5Z");
        assert_eq!(made("plain", &[]).as_deref(), Ok("plain"));
        assert_eq!(made("{{b}}/{{ a }}.x", &[Val::Int(1), Val::Text("ü")]).as_deref(), Ok("ü/1.x"));
        assert_eq!(made("{{ a }}", &[Val::Float(21.0)]).as_deref(), Ok("21.0"));
        assert_eq!(made("{{ t | date('%Y-%m-%d') }}\n", &[time]).as_deref(), Ok("2026-01-31\n"));
        assert_eq!(made("{{ t | date('%d %H', 'Europe/Berlin') }}", &[time]).as_deref(), Ok("01 00"));
        assert_eq!(made("{{ t | date('%F') }}", &[Val::Int(1_769_902_200_500)]).as_deref(), Ok("2026-01-31"));
        assert_eq!(made("{{ a | upper }} {{ a | lower }}", &[Val::Text("Ab")]).as_deref(), Ok("AB ab"));
        assert_eq!(made("{{ a | round(1) }}", &[Val::Float(31.26)]).as_deref(), Ok("31.3"));
        assert_eq!(made("{{ a | default('none') }}", &[Val::Unit]).as_deref(), Ok("none"));
        assert_eq!(made("{{ meta.path }}-{{ meta.path|upper }}", &[Val::Text("p")]).as_deref(), Ok("p-P"));
        let site = Value::Map(Arc::new(crate::data::value::Map(vec![("floor".into(), Value::Int(3))])));
        assert_eq!(made("{{ site.floor }}", &[site.as_val()]).as_deref(), Ok("3"));
        assert_eq!(made("{% if a > 1 %}many{% else %}one{% endif %}", &[Val::Int(2)]).as_deref(), Ok("many"));
    }

    #[test]
    fn names_come_sorted() {
        let (_, fields) = Template::parse("{{ z }}{{ site.floor }}{{ site.name }}{{ meta.path }}{{ a }}").unwrap();
        assert_eq!(fields, ["a", "meta.path", "site", "z"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(made("{{ a }}", &[Val::Unit]).unwrap_err(), "the row has no `a`");
        assert_eq!(made("{{ a | upper }}{{ b }}", &[Val::Int(1), Val::Unit]).unwrap_err(), "the row has no `b`");
        assert_eq!(made("{{ meta.path }}", &[Val::Unit]).unwrap_err(), "the row has no `meta.path`");
        let error = made("{{ a | date('%F') }}", &[Val::Text("soon")]).unwrap_err();
        assert!(error.contains("`date` needs a time, and `soon` is none"), "{error}");
        assert!(made("{{ a | date('%F') }}", &[Val::Float(f64::MAX)]).is_err());
        assert!(Template::parse("{{ a").unwrap_err().contains("cannot be used"));
        assert!(Template::parse("{{ a | uper }}").unwrap_err().contains("uper"), "an unknown filter");
    }
}
