//! Gathers the reference from where things are declared: the schema of pipeline files, the tables of functions and
//! aggregates, the exit codes.

use serde_json::Value;

use super::entry::{Entry, Family, code};
use super::options::{Schemas, one_of};
use crate::cli::exit;
use crate::config::{Registry, schema};
use crate::expr::{EFFECTS, functions, functions_of_rhai};
use crate::plan::about;
use crate::plan::aggregate::Function;

/// The sections of a file with the definitions of their entries.
const SECTIONS: [(Family, &str); 3] = [(Family::Source, "Source"), (Family::Step, "Step"), (Family::Sink, "Sink")];

/// Everything, by family.
pub fn collect(registry: &Registry<'_>) -> Vec<Entry> {
    let schemas = Schemas::new(&schema::schema(registry));
    let mut all = keys(&schemas);
    for (family, definition) in SECTIONS {
        all.extend(kinds(&schemas, family, definition));
    }
    all.extend(windows(&schemas));
    let value = |(name, schema): (String, &Value)| of_schema(&schemas, Family::Value, &name, schema);
    all.extend(schemas.values().into_iter().map(value));
    all.extend(aggregates());
    all.extend(every_function());
    all.extend(formats(&schemas));
    all.extend(exit::CODES.iter().map(|(code, about)| Entry::new(Family::Exit, code.to_string(), sentence(about))));
    all.sort_by_key(|entry| Family::ALL.iter().position(|family| *family == entry.family));
    all
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

fn members<'v>(schema: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn required(schema: &Value, key: &str) -> bool {
    schema.get("required").and_then(Value::as_array).is_some_and(|keys| keys.iter().any(|k| k == key))
}

/// An entry for something that takes a value.
fn of_schema(schemas: &Schemas, family: Family, name: &str, schema: &Value) -> Entry {
    let option = schemas.option(name, schema, false);
    let mut entry = Entry::new(family, name, schemas.about(schema));
    if !matches!(option.kind.as_str(), "map" | "") {
        entry.facts.push(("Takes", option.kind));
    }
    entry.facts.extend(option.default.map(|default| ("Default", code(&default))));
    entry.facts.extend(option.example.map(|example| ("For example", code(&example))));
    let words = !option.inner.is_empty() && option.inner.iter().all(|inner| inner.kind.is_empty());
    let heading = if words { "Words" } else { "Options" };
    entry.sections.push((heading, option.inner));
    entry.sections.retain(|(_, options)| !options.is_empty());
    entry
}

/// The keys of the file, then those beside the kind of an entry.
fn keys(schemas: &Schemas) -> Vec<Entry> {
    let mut all = Vec::new();
    for (name, schema) in members(schemas.root(), "properties") {
        // What stands in the sections has entries of its own.
        let section = schema.get("additionalProperties").is_some_and(|of| of.get("$ref").is_some());
        let mut entry = if section {
            Entry::new(Family::Key, name, schemas.about(schema))
        } else {
            of_schema(schemas, Family::Key, name, schema)
        };
        entry.group = "the file".to_owned();
        if required(schemas.root(), name) {
            entry.facts.push(("Needed", "in every pipeline".to_owned()));
        }
        all.push(entry);
    }
    let mut beside: Vec<(Entry, Vec<&str>)> = Vec::new();
    for (family, definition) in SECTIONS {
        let forms = forms(schemas, definition);
        for (name, schema) in shared(&forms) {
            let entry = of_schema(schemas, Family::Key, name, schema);
            let same = |(other, _): &&mut (Entry, Vec<&str>)| other.name == entry.name && other.about == entry.about;
            match beside.iter_mut().find(same) {
                Some((_, families)) => families.push(family.page()),
                None => beside.push((entry, vec![family.page()])),
            }
        }
    }
    let mut beside: Vec<Entry> = beside
        .into_iter()
        .map(|(mut entry, families)| {
            let (last, others) = families.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
            let and = if others.is_empty() { "" } else { " and " };
            entry.group = format!("{}{and}{last}", others.join(", "));
            entry.facts.insert(0, ("Stands beside the kind of", entry.group.clone()));
            entry
        })
        .collect();
    beside.sort_by_key(|entry| std::cmp::Reverse(entry.group.len()));
    all.extend(beside);
    all
}

/// The forms that an entry of a section may have, one for each kind.
fn forms<'s>(schemas: &'s Schemas, definition: &str) -> Vec<(&'s str, &'s Value)> {
    let forms = schemas.definition(definition).and_then(|d| d.get("oneOf")?.as_array());
    let titled = |form: &'s Value| form.get("title").and_then(Value::as_str).map(|title| (title, form));
    forms.into_iter().flatten().filter_map(titled).collect()
}

/// The keys that every form has.
fn shared<'s>(forms: &[(&'s str, &'s Value)]) -> Vec<(&'s str, &'s Value)> {
    let has = |form: &Value, key: &str| form.get("properties").is_some_and(|p| p.get(key).is_some());
    let Some((_, first)) = forms.first() else { return Vec::new() };
    let keys = members(first, "properties").map(|(name, schema)| (name.as_str(), schema));
    keys.filter(|(name, _)| forms.iter().all(|(kind, form)| kind != name && has(form, name))).collect()
}

/// The kinds of a section's entries.
fn kinds(schemas: &Schemas, family: Family, definition: &str) -> Vec<Entry> {
    let forms = forms(schemas, definition);
    let everywhere: Vec<&str> = shared(&forms).iter().map(|(name, _)| *name).collect();
    let entry = |(kind, form): &(&str, &Value)| {
        let mut entry = Entry::new(family, *kind, "");
        let mut beside = Vec::new();
        for (name, schema) in members(form, "properties") {
            if name == kind {
                entry = of_schema(schemas, family, kind, schema);
                let needed = one_of(resolved(schemas, schema));
                if !needed.is_empty() {
                    let names: Vec<String> = needed.iter().map(|name| format!("`{name}`")).collect();
                    entry.facts.push(("Needs one of", names.join(", ")));
                }
            } else if !everywhere.contains(&name.as_str()) {
                beside.push(schemas.option(name, schema, required(form, name)));
            }
        }
        if !beside.is_empty() {
            entry.sections.push(("Beside it", beside));
        }
        let refused = |name: &str| form.get("properties").and_then(|p| p.get(name)) == Some(&Value::Bool(false));
        let names = everywhere.iter().filter(|name| !refused(name));
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        entry.facts.push(("Keys beside it", names.join(", ")));
        entry
    };
    forms.iter().map(entry).collect()
}

/// What a schema leads to, or itself.
fn resolved<'s>(schemas: &'s Schemas, schema: &'s Value) -> &'s Value {
    let wrapped = schema.get("allOf").and_then(|all| all.get(0)).unwrap_or(schema);
    let name = wrapped.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/definitions/"));
    name.and_then(|name| schemas.definition(name)).unwrap_or(schema)
}

/// The shapes of windows: those keys of the step of which one has to be there.
fn windows(schemas: &Schemas) -> Vec<Entry> {
    let forms = forms(schemas, "Step");
    let step = forms.iter().find(|(kind, _)| *kind == "window");
    let Some(options) = step.and_then(|(_, form)| form.get("properties")?.get("window")) else { return Vec::new() };
    let options = resolved(schemas, options);
    let shape = |name: &str| {
        let schema = options.get("properties")?.get(name)?;
        Some(of_schema(schemas, Family::Window, name, schema))
    };
    one_of(options).into_iter().filter_map(shape).collect()
}

fn aggregates() -> Vec<Entry> {
    let is_here = |name: &str| name == "fold" || Function::NAMES.contains(&name);
    let here = about::AGGREGATES.iter().filter(|about| is_here(about.name));
    let entry = |about: &about::About| {
        let mut entry = Entry::new(Family::Aggregate, about.name, about.summary);
        entry.usage = Some(about.signature.to_owned());
        entry.facts = vec![("Keeps", about.state.to_owned()), ("Error", about.error.to_owned())];
        entry
    };
    here.map(entry).collect()
}

fn every_function() -> Vec<Entry> {
    let function = |f: &crate::expr::Function| {
        let mut entry = Entry::new(Family::Function, f.name, f.summary);
        entry.group = f.family.to_owned();
        entry.usage = Some(f.signature.to_owned());
        entry.facts.push(("For example", format!("{} is {}", code(f.example.0), code(f.example.1))));
        entry
    };
    let effect = |effect: &crate::expr::Effect| {
        let mut entry = Entry::new(Family::Function, effect.name, effect.summary);
        entry.group = "event, in scripts".to_owned();
        entry.usage = Some(effect.signature.to_owned());
        entry
    };
    let rhai = |(name, call): (&'static str, &str)| {
        let mut entry = Entry::new(Family::Function, name, "A function of Rhai's own: see The Rhai Book.");
        entry.group = "Rhai".to_owned();
        entry.facts.push(("Called as", code(call)));
        entry
    };
    let own = functions().iter().map(function).chain(EFFECTS.iter().map(effect));
    own.chain(functions_of_rhai().into_iter().map(rhai)).collect()
}

/// Formats without options, which the schema only names.
const PLAIN: [(&str, &str); 4] = [
    ("json", "JSON, a value a line."),
    (
        "combined_log",
        "Lines of the access log of Apache and nginx, common or combined: `client`, `ident`, `user`, `time` (RFC 3339), `method`, \
         `path`, `protocol`, `status` and `bytes` (integers), `referer`, `user_agent`; `-` is null. A request line that is \
         none is kept as `request`, what follows the known fields as `rest`.",
    ),
    (
        "logfmt",
        "`name=value` parted by spaces, a row a line. The members of a map are named with a dot: `site.floor=3`; lists are \
         JSON in quotes, null is nothing: `note=`. A text that would read back as something else is quoted. What would end a \
         name becomes `_`. A row that is no map is called `value`.",
    ),
    (
        "msgpack",
        "MessagePack values, one after the other; a message of a broker holds one. Read: a name is text, or a whole number that \
         becomes its digits. A 32-bit float keeps the digits that tell it from others: 20.1 stays 20.1. Binary data becomes \
         Base64, a timestamp RFC 3339; other extension types, numbers that are not finite and text that is not UTF-8 are \
         refused, and so is nesting deeper than 128. A record that is refused is shown in Base64, and `raw` of a test is written so. Behind a byte that \
         begins no value nobody knows where the next one begins: the record with it is refused and nothing more of \
         the stream is read; a run that resumes there says so again. Written: each value in the fewest bytes; numbers with a point are 64-bit floats, an \
         integer beyond 64 bits is the nearest float.",
    ),
];

/// Every format, with the options that it has where it is read and where it is written.
fn formats(schemas: &Schemas) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for (definition, heading, verb) in
        [("SourceFormat", "Read with", "read"), ("SinkFormat", "Written with", "written")]
    {
        let Some(schema) = schemas.definition(definition) else { continue };
        for (name, schema) in choices(schema) {
            let (about, options) = match schema {
                Some(schema) => (schemas.about(schema), schemas.keys(schema)),
                None => {
                    let plain = PLAIN.iter().find(|(plain, _)| *plain == name);
                    (plain.map(|(_, about)| (*about).to_owned()).unwrap_or_default(), Vec::new())
                }
            };
            let entry = match all.iter_mut().find(|entry| entry.name == name) {
                Some(entry) => entry,
                None => {
                    all.push(Entry::new(Family::Format, name, ""));
                    let Some(entry) = all.last_mut() else { continue };
                    entry
                }
            };
            match entry.facts.first_mut() {
                Some((_, how)) if how != verb && !how.ends_with(verb) => how.push_str(&format!(" and {verb}")),
                Some(_) => {}
                None => entry.facts.push(("Is", verb.to_owned())),
            }
            if entry.about.is_empty() {
                entry.about = about;
            } else if !about.is_empty() && entry.about != about {
                entry.facts.push(("Where it is written", about));
            }
            let known = entry.sections.iter().any(|(own, _)| *own == heading);
            if !options.is_empty() && !known {
                entry.sections.push((heading, options));
            }
        }
    }
    all
}

/// The names that a schema lets one choose from: words, and maps with one key.
fn choices(schema: &Value) -> Vec<(String, Option<&Value>)> {
    let mut found: Vec<(String, Option<&Value>)> = Vec::new();
    for form in ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten() {
        let words = form.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let word = form.get("const").and_then(Value::as_str).map(|word| (word, Some(form)));
        let maps = members(form, "properties").map(|(name, options)| (name.as_str(), Some(options)));
        for (name, options) in words.map(|word| (word, None)).chain(word).chain(maps) {
            match found.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = options.or(*known),
                None => found.push((name.to_owned(), options)),
            }
        }
    }
    found
}
