//! Paths to a value within JSON: `data.items`, `pages[0].next`, `["odd.name"]`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A path, ready to be followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl JsonPath {
    /// Reads a path; `$` may stand before it. The error is a sentence.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let wrong = || format!("`{text}` is no path; write names with dots between them: `data.items`");
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (step, after) = bracket(inside).ok_or_else(wrong)?;
                steps.push(step);
                rest = after;
            } else {
                // A dot stands between names; before the first only where `$` does.
                let dotted = rest.strip_prefix('.');
                let name = match dotted {
                    Some(name) if rest.len() < text.len() => name,
                    None if rest.len() == text.len() => rest,
                    _ => return Err(wrong()),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (name, after) = name.split_at(end);
                if name.is_empty() || name.contains([']', '"', '\'', '*', ' ']) {
                    return Err(wrong());
                }
                steps.push(Step::Name(name.to_owned()));
                rest = after;
            }
        }
        Ok(JsonPath(steps))
    }

    /// The value there, as it is spelled. The error says what is no JSON.
    pub fn find<'a>(&self, value: &'a RawValue) -> Result<Option<&'a RawValue>, serde_json::Error> {
        let mut found = value;
        for step in &self.0 {
            let inner = match (step, found.get().as_bytes().first()) {
                (Step::Name(name), Some(b'{')) => {
                    serde_json::from_str::<BTreeMap<String, &RawValue>>(found.get())?.remove(name)
                }
                (Step::Index(index), Some(b'[')) => {
                    serde_json::from_str::<Vec<&RawValue>>(found.get())?.get(*index).copied()
                }
                _ => None,
            };
            let Some(inner) = inner else { return Ok(None) };
            found = inner;
        }
        Ok(Some(found))
    }
}

/// What stands in brackets, and what follows them.
fn bracket(inside: &str) -> Option<(Step, &str)> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (name, after) = inside.get(1..)?.split_once(quote)?;
        return Some((Step::Name(name.to_owned()), after.strip_prefix(']')?));
    }
    let (index, after) = inside.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let text = r#"{"a":{"b":[1,{"c":2.50}],"d.e":null},"f":"x"}"#;
        let value: &RawValue = serde_json::from_str(text).unwrap();
        for (path, wanted) in [
            ("", Some(text)),
            ("$", Some(text)),
            ("f", Some("\"x\"")),
            ("a.b[1].c", Some("2.50")),
            ("$.a.b[0]", Some("1")),
            ("$['a'][\"d.e\"]", Some("null")),
            ("a.x", None),
            ("f.x", None),
            ("a.b[2]", None),
            ("a[0]", None),
        ] {
            let found = JsonPath::parse(path).unwrap().find(value).unwrap();
            assert_eq!(found.map(RawValue::get), wanted, "{path}");
        }
        for path in [".", "a.", "a..b", "$a", ".a", "a[", "a[x]", "a['b]", "a b", "*", "a]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
