//! Options out of the JSON Schema of pipeline files: the same doc comments that editors show.

use serde_json::Value;

use super::entry::Choice;

/// A schema whose definitions can be looked up.
pub struct Schemas {
    root: Value,
}

/// What a value may be: kinds in words, and the words or keys that are known of it.
#[derive(Default)]
struct Shape {
    kinds: Vec<String>,
    inner: Vec<Choice>,
}

impl Schemas {
    /// Of a schema's text.
    pub fn new(text: &str) -> Self {
        Schemas { root: serde_json::from_str(text).unwrap_or_default() }
    }

    /// The whole.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// A definition.
    pub fn definition(&self, name: &str) -> Option<&Value> {
        self.root.get("definitions")?.get(name)
    }

    /// What a schema says of itself; what it leads to may say more than the place that leads there.
    pub fn about(&self, schema: &Value) -> String {
        let own = told(schema);
        let led = led(schema).and_then(|name| self.definition(name)).map(told).unwrap_or_default();
        match (own.is_empty(), led.is_empty()) {
            (true, _) => led,
            (_, true) => own,
            _ if led.starts_with(own.trim_end_matches('.')) => led,
            _ => own,
        }
    }

    /// The keys of an object's schema, those that have to be there first.
    pub fn keys(&self, schema: &Value) -> Vec<Choice> {
        self.shape(schema, &mut Vec::new()).inner
    }

    /// Plain values that have a name of their own, with what is said of them: a `duration`.
    pub fn values(&self) -> Vec<(String, &Value)> {
        let definitions = self.root.get("definitions").and_then(Value::as_object).into_iter().flatten();
        let plain =
            definitions.filter(|(_, definition)| is_plain(definition) && definition.get("description").is_some());
        let mut values: Vec<(String, &Value)> = plain.map(|(name, definition)| (spelled(name), definition)).collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values.dedup_by(|a, b| a.0 == b.0);
        values
    }

    /// An option.
    pub fn option(&self, name: &str, schema: &Value, needed: bool) -> Choice {
        self.choice(name, schema, needed, &mut Vec::new())
    }

    fn choice<'s>(&'s self, name: &str, schema: &'s Value, needed: bool, within: &mut Vec<&'s str>) -> Choice {
        let shape = self.shape(schema, within);
        let own = told(schema);
        let led = || led(schema).and_then(|name| self.definition(name)).map(told);
        let about = if own.is_empty() { led().unwrap_or_default() } else { own };
        let says = about.contains("Default") || about.contains("Left out");
        Choice {
            name: name.to_owned(),
            kind: shape.kinds.join(" or "),
            needed,
            default: schema.get("default").filter(|_| !says).map(plain),
            example: schema.get("examples").and_then(|e| e.get(0)).map(plain),
            about,
            inner: shape.inner,
        }
    }

    /// What a schema allows. `within` are the definitions that lead here: one that leads to itself is not followed again.
    fn shape<'s>(&'s self, schema: &'s Value, within: &mut Vec<&'s str>) -> Shape {
        if let Some(name) = led(schema) {
            let spelled = spelled(name);
            let Some(definition) = self.definition(name) else { return Shape::kind(spelled) };
            if within.contains(&name) || is_plain(definition) {
                return Shape::kind(spelled);
            }
            if let Some(kinds) = kinds_of(definition) {
                return Shape::of_kinds(&kinds);
            }
            within.push(name);
            let shape = self.shape(definition, within);
            within.pop();
            return shape;
        }
        if let Some(word) = schema.get("const") {
            let about = text(schema, "description");
            return Shape {
                kinds: vec![code(word)],
                inner: vec![Choice { name: plain(word), about, ..Choice::default() }],
            };
        }
        let mut shape = Shape::default();
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            words.iter().for_each(|word| shape.add(code(word)));
            return shape;
        }
        let alternatives = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
        for alternative in alternatives.filter(|a| !is_variable(a) && !only_requires(a)) {
            let mut own = self.shape(alternative, within);
            // A map with one key is one of several things to choose.
            if alternative.get("properties").and_then(Value::as_object).is_some_and(|keys| keys.len() == 1) {
                own.inner.iter_mut().for_each(|choice| choice.needed = false);
            }
            shape.union(own);
        }
        shape.described_words();
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter(|k| *k != "null").collect(),
            _ if schema.get("properties").is_some() => vec!["object"],
            _ if shape.kinds.is_empty() && schema.get("not").is_none() => return Shape::kind("any value".to_owned()),
            _ => Vec::new(),
        };
        for kind in types {
            match kind {
                "string" => shape.add("text".to_owned()),
                "boolean" => shape.add("bool".to_owned()),
                "array" => {
                    let items = schema.get("items").map(|items| self.shape(items, within)).unwrap_or_default();
                    let of = if items.kinds.is_empty() {
                        "list".to_owned()
                    } else {
                        format!("list of {}", items.kinds.join(" or "))
                    };
                    shape.add(of);
                    shape.inner.extend(items.inner);
                }
                "object" => shape.union(self.object(schema, within)),
                other => shape.add(other.to_owned()),
            }
        }
        shape
    }

    fn object<'s>(&'s self, schema: &'s Value, within: &mut Vec<&'s str>) -> Shape {
        let mut shape = Shape::default();
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let keys = || schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, key) in keys() {
            let mut choice = self.choice(name, key, required.contains(&name.as_str()), within);
            // A map with one key says what that is for.
            if keys().count() == 1 && key.get("description").is_none() && schema.get("description").is_some() {
                choice.about = text(schema, "description");
            }
            shape.inner.push(choice);
        }
        match schema.get("additionalProperties").filter(|more| more.is_object()) {
            Some(more) => {
                let more = self.shape(more, within);
                shape.add(format!("map of {}", more.kinds.join(" or ")));
                shape.inner.extend(more.inner);
            }
            None => shape.add("map".to_owned()),
        }
        shape
    }
}

impl Shape {
    fn kind(kind: String) -> Self {
        Shape { kinds: vec![kind], inner: Vec::new() }
    }

    /// A map with one of these kinds as a key: each has an entry of its own, which says what it takes.
    fn of_kinds(kinds: &[&str]) -> Self {
        let names: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let about = format!(
            "One by its kind, with the options of that kind: {}. `millstream reference KIND` shows them.",
            names.join(", ")
        );
        let choice = Choice { name: "KIND".to_owned(), kind: "map".to_owned(), about, ..Choice::default() };
        Shape { kinds: vec!["map".to_owned()], inner: vec![choice] }
    }

    fn add(&mut self, kind: String) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    fn union(&mut self, other: Shape) {
        other.kinds.into_iter().for_each(|kind| self.add(kind));
        for choice in other.inner {
            if !self.inner.iter().any(|own| own.name == choice.name) {
                self.inner.push(choice);
            }
        }
    }

    /// Words that say something of themselves are listed with that; in the kind it is enough that they are words.
    fn described_words(&mut self) {
        self.inner.retain(|choice| !(choice.kind.is_empty() && choice.about.is_empty()));
        let words: Vec<String> =
            self.inner.iter().filter(|c| c.kind.is_empty()).map(|c| format!("`{}`", c.name)).collect();
        if !words.is_empty() {
            let first = self.kinds.iter().position(|kind| words.contains(kind)).unwrap_or_default();
            self.kinds.retain(|kind| !words.contains(kind));
            self.kinds.insert(first.min(self.kinds.len()), "one of the words below".to_owned());
        }
    }
}

/// The definition that a schema is, or that it wraps with a description of its own.
fn led(schema: &Value) -> Option<&str> {
    let wrapped = || match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => only.get("$ref"),
        _ => None,
    };
    schema.get("$ref").or_else(wrapped)?.as_str()?.strip_prefix("#/definitions/")
}

/// The kinds of a definition whose forms are each named after one, as those of a section's entries are.
fn kinds_of(definition: &Value) -> Option<Vec<&str>> {
    let forms = definition.get("oneOf")?.as_array()?;
    let kind = |form: &'_ Value| {
        let title = form.get("title")?.as_str()?;
        form.get("properties")?.get(title).map(|_| ())
    };
    if forms.is_empty() || forms.iter().any(|form| kind(form).is_none()) {
        return None;
    }
    Some(forms.iter().filter_map(|form| form.get("title")?.as_str()).collect())
}

/// Whether a definition is that of a plain value, which is best known by its name.
fn is_plain(definition: &Value) -> bool {
    let structured = ["properties", "oneOf", "anyOf", "enum", "additionalProperties"];
    !structured.iter().any(|key| definition.get(key).is_some())
}

/// What a schema says of itself, and of the values of a map.
fn told(schema: &Value) -> String {
    let values = schema.get("additionalProperties").map(|more| text(more, "description")).unwrap_or_default();
    format!("{} {values}", text(schema, "description")).trim().to_owned()
}

/// Whether an alternative is only there because a variable may stand for any value.
fn is_variable(schema: &Value) -> bool {
    schema.get("pattern").and_then(Value::as_str) == Some("\\$\\{")
}

/// Whether an alternative only says which keys go together.
fn only_requires(schema: &Value) -> bool {
    schema.as_object().is_some_and(|members| members.len() == 1 && members.contains_key("required"))
}

/// The sets of keys of which one has to be there.
pub fn one_of(schema: &Value) -> Vec<&str> {
    let sets = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let keys = sets.filter(|set| only_requires(set)).filter_map(|set| set.get("required")?.as_array()).flatten();
    keys.filter_map(Value::as_str).collect()
}

fn text(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// A value as an author writes it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn code(value: &Value) -> String {
    format!("`{}`", plain(value))
}

/// `OnErrorWord` as `on error word`; the number of a second definition of the same name is left out.
fn spelled(name: &str) -> String {
    let mut words = String::new();
    for c in name.trim_end_matches(|c: char| c.is_ascii_digit()).chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds(schema: Value) -> (String, Vec<String>) {
        let definitions = json!({
            "Duration2": { "type": "string", "description": "A span.", "pattern": "x" },
            "Word": { "oneOf": [{ "const": "a", "description": "First." }, { "const": "b", "description": "Second." }] },
            "Tree": { "type": "object", "additionalProperties": { "$ref": "#/definitions/Tree" } },
        });
        let schemas = Schemas { root: json!({ "definitions": definitions }) };
        let choice = schemas.option("x", &schema, false);
        (choice.kind, choice.inner.into_iter().map(|inner| format!("{}: {}", inner.name, inner.about)).collect())
    }

    #[test]
    fn kinds_in_words() {
        let plain = |schema| kinds(schema).0;
        assert_eq!(plain(json!({ "type": ["object", "null"] })), "map");
        assert_eq!(plain(json!({ "allOf": [{ "$ref": "#/definitions/Duration2" }] })), "duration");
        assert_eq!(
            plain(json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "pattern": "\\$\\{" }] })),
            "integer"
        );
        assert_eq!(
            plain(json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })),
            "text or list of text"
        );
        assert_eq!(
            plain(json!({ "anyOf": [{ "const": "off" }, { "$ref": "#/definitions/Duration2" }] })),
            "`off` or duration"
        );
        assert_eq!(plain(json!({ "enum": ["json", "csv"] })), "`json` or `csv`");
        assert_eq!(plain(json!({ "$ref": "#/definitions/Tree" })), "map of tree");
        assert_eq!(plain(json!({ "description": "Whatever." })), "any value");
    }

    #[test]
    fn words_and_keys_come_with_what_they_mean() {
        let (kind, inner) = kinds(json!({ "$ref": "#/definitions/Word" }));
        assert_eq!(kind, "one of the words below");
        assert_eq!(inner, ["a: First.", "b: Second."]);
        let (kind, inner) =
            kinds(json!({ "properties": { "y": { "type": "boolean", "description": "Z." } }, "required": ["y"] }));
        assert_eq!((kind.as_str(), inner), ("map", vec!["y: Z.".to_owned()]));
    }
}
