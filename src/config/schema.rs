//! The JSON Schema of pipeline files (draft 7), for editors. Made of the same declarations that files are read with, and of
//! the registry's connectors, so it cannot say anything else than `check` does.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::Registry;
use super::alert::AlertOptions;
use super::checkpoint::CheckpointOptions;
use super::document::OnErrorWord;
use super::format::{FormatIn, FormatOut};
use super::read::{Code, Duration, Named, OneOrMany, Text};
use super::source::schema::SchemaIn;
use super::step::dedupe::DedupeOptions;
use super::step::join::JoinOptions;
use super::step::lookup::LookupOptions;
use super::step::parse::ParseOptions;
use super::step::sample::SampleOptions;
use super::step::throttle::ThrottleOptions;
use super::step::{By, explode, validate};
use super::time::TimeOptions;
use super::window::WindowOptions;
use crate::connector::{SinkKind, SourceKind};

/// The schema as text, ending in a line end.
pub fn schema(registry: &Registry<'_>) -> String {
    let mut generator = SchemaSettings::draft07().into_generator();
    let source = |source: &SourceKind, generator: &mut SchemaGenerator| Kind {
        refused: source.json.then_some("format"),
        ..connector(source.name, source.schema, generator)
    };
    let sources: Vec<Kind> = registry.sources.iter().map(|s| source(s, &mut generator)).collect();
    let sink = |sink: &SinkKind, generator: &mut SchemaGenerator| Kind {
        refused: sink.json.then_some("format"),
        ..connector(sink.name, sink.schema, generator)
    };
    let connectors =
        |generator: &mut SchemaGenerator| -> Vec<Kind> { registry.sinks.iter().map(|s| sink(s, generator)).collect() };
    let mut sinks = connectors(&mut generator);
    sinks.push(alert(&mut generator));
    let receivers = connectors(&mut generator);
    let steps = steps(&mut generator);
    let entries = [
        ("Source", sources, source_keys(&mut generator)),
        ("Step", steps, step_keys(&mut generator)),
        ("Sink", sinks, sink_keys(&mut generator)),
        ("Receiver", receivers, receiver_keys(&mut generator)),
    ];
    let mut definitions = Map::new();
    for (name, kinds, shared) in entries {
        definitions.insert(name.to_owned(), entry(kinds, &shared));
    }
    let test = test(&mut generator).to_value();
    let checkpoint = generator.subschema_for::<CheckpointOptions>().to_value();
    definitions.extend(generator.take_definitions(true));
    definitions.values_mut().for_each(tidy);
    definitions.insert("Test".to_owned(), test);
    let mut whole = document(&checkpoint);
    if let Value::Object(members) = &mut whole {
        members.insert("definitions".to_owned(), Value::Object(definitions));
    }
    let mut text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    text.push('\n');
    text
}

/// The file's top level.
fn document(checkpoint: &Value) -> Value {
    let names = json!({ "pattern": "^[a-z][a-z0-9_]*$" });
    let section = |about: &str, of: &str| {
        json!({
            "description": about,
            "type": "object",
            "propertyNames": names,
            "additionalProperties": { "$ref": format!("#/definitions/{of}") },
        })
    };
    let mut steps = section(
        "What happens to the events, in order: each step reads the one written above it unless it says `from`.",
        "Step",
    );
    if let Some(kind) = steps.get_mut("type") {
        *kind = json!(["object", "null"]);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A Millstream pipeline",
        "description": "`sources` feed `steps`, steps feed `sinks`.",
        "type": "object",
        "properties": {
            "name": {
                "description": "The pipeline's name. Default: the file's name without its ending.",
                "type": "string",
                "pattern": "^[a-z][a-z0-9_-]*$|\\$\\{",
            },
            "description": { "description": "What the pipeline is for.", "type": "string" },
            "checkpoint": checkpoint,
            "state": {
                "description": "The file that the state is kept in, relative to the pipeline's file. Default: `<name>.db` in the directory of `--data`, else of the variable `MILLSTREAM_DATA`, else `.millstream` beside the pipeline's file.",
                "type": "string",
                "minLength": 1,
            },
            "vars": {
                "description": "Constants that expressions read as `vars.name`. `${NAME:-default}` takes an environment variable.",
                "type": "object",
                "propertyNames": names,
            },
            "sources": section("Where events come from.", "Source"),
            "steps": steps,
            "sinks": section(
                "Where rows go. A sink without `from` reads the one entry that no step reads.",
                "Sink",
            ),
            "receivers": {
                "description": "Whom alerts tell: sinks that `notify` names. What they are given is notifications.",
                "type": "object",
                "propertyNames": names,
                "additionalProperties": { "$ref": "#/definitions/Receiver" },
            },
            "tests": {
                "description": "Tests of the pipeline: what sources are given and what entries then have to pass on.",
                "type": "array",
                "items": { "$ref": "#/definitions/Test" },
            },
        },
        "required": ["sources", "sinks"],
        "additionalProperties": false,
    })
}

/// One kind of an entry.
struct Kind {
    name: &'static str,
    /// What it does; `None` where the options say so.
    about: Option<&'static str>,
    options: Schema,
    /// Keys that only this kind has beside it.
    beside: Vec<(&'static str, Value)>,
    /// The key of its family that it does not take.
    refused: Option<&'static str>,
}

/// The kind that a connector is. One that needs no options can be written with nothing after its name.
fn connector(name: &'static str, schema: fn(&mut SchemaGenerator) -> Schema, generator: &mut SchemaGenerator) -> Kind {
    let mut options = schema(generator);
    // What stands in a definition is brought to draft 7 by the generator; this stands in place.
    for transform in generator.transforms_mut() {
        transform.transform(&mut options);
    }
    let needs_none = options.get("required").is_none_or(|r| r.as_array().is_none_or(Vec::is_empty));
    if needs_none && options.get("type") == Some(&json!("object")) {
        options.insert("type".to_owned(), json!(["object", "null"]));
    }
    Kind { name, about: None, options, beside: Vec::new(), refused: None }
}

/// An entry: one kind, and the keys that its family shares.
fn entry(kinds: Vec<Kind>, shared: &[(&'static str, Value)]) -> Value {
    let forms: Vec<Value> = kinds
        .into_iter()
        .map(|kind| {
            let mut properties = Map::new();
            properties.insert(kind.name.to_owned(), described(kind.options.to_value(), kind.about));
            for (key, schema) in kind.beside.iter().chain(shared) {
                properties.insert((*key).to_owned(), schema.clone());
            }
            if let Some(key) = kind.refused {
                properties.insert(key.to_owned(), false.into());
            }
            json!({
                "title": kind.name,
                "type": "object",
                "properties": properties,
                "required": [kind.name],
                "additionalProperties": false,
            })
        })
        .collect();
    json!({ "oneOf": forms })
}

/// A schema with a description of its own; a reference has room for one only around it.
fn described(schema: Value, about: Option<&str>) -> Value {
    match (schema, about) {
        (schema, None) => schema,
        (Value::Object(mut members), Some(about)) if !members.contains_key("$ref") => {
            members.insert("description".to_owned(), about.into());
            Value::Object(members)
        }
        (schema, Some(about)) => json!({ "description": about, "allOf": [schema] }),
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator, about: &str) -> Value {
    described(generator.subschema_for::<T>().to_value(), Some(about))
}

fn shared(generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    vec![
        ("description", of::<Text>(generator, "What it is for, in a sentence.")),
        (
            "on_error",
            of::<OnErrorWord>(
                generator,
                "What becomes of an event that cannot be processed, or that a sink is refused, when nobody reads the entry's `.errors`. Default `dead_letter`.",
            ),
        ),
    ]
}

fn source_keys(generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    let mut keys = vec![
        (
            "time",
            of::<TimeOptions>(generator, "How event time is found. Without it, an event's time is when it arrived."),
        ),
        ("format", of::<FormatIn>(generator, "How records are read. Default `json`: one value a line.")),
        ("schema", generator.subschema_for::<SchemaIn>().to_value()),
    ];
    keys.extend(shared(generator));
    keys
}

fn step_keys(generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    let about = "What is read: a name, `name.port` or a list of them. Default: the step above, for the first step every source.";
    let mut keys = vec![("from", of::<OneOrMany<Text>>(generator, about))];
    keys.extend(shared(generator));
    keys
}

fn sink_keys(generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    let about = "What is read: a name, `name.port` or a list of them. Default: the one entry that no step reads.";
    let mut keys = vec![
        ("from", of::<OneOrMany<Text>>(generator, about)),
        ("format", of::<FormatOut>(generator, "How rows are written. Default `json`: one value a line.")),
    ];
    keys.extend(shared(generator));
    keys
}

fn receiver_keys(generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    let resolved = json!({ "type": "boolean", "description": "Whether it is told of resolves. Default `true`." });
    let mut keys = vec![
        ("format", of::<FormatOut>(generator, "How notifications are written. Default `json`: one value a line.")),
        (
            "severities",
            of::<OneOrMany<Text>>(generator, "The severities that it is told of, under `notify`. Default: all."),
        ),
        ("resolved", resolved),
    ];
    keys.extend(shared(generator));
    keys
}

fn alert(generator: &mut SchemaGenerator) -> Kind {
    let options = generator.subschema_for::<AlertOptions>();
    Kind {
        name: "alert",
        about: Some(
            "Calls out when a condition holds: a state machine for each key, and a policy of whom to tell when.",
        ),
        options,
        beside: Vec::new(),
        refused: Some("format"),
    }
}

fn script(generator: &mut SchemaGenerator) -> Kind {
    Kind {
        name: "script",
        about: Some(
            "A script in Rhai. Assigning to a name that is no local (`let`) writes the event's field; `drop()` discards the \
             event, `emit(value)` sends one more.",
        ),
        options: json_schema!({ "type": "string" }),
        beside: vec![
            ("by", of::<By>(generator, "The key of the script's `state`, a map kept across events.")),
            ("state_ttl", of::<Duration>(generator, "Forgets a key's state when it has had no event for so long.")),
            (
                "ports",
                of::<OneOrMany<Text>>(
                    generator,
                    "Ports that `emit(\"port\", value)` may name; read them as `name.port`.",
                ),
            ),
        ],
        refused: None,
    }
}

/// The kinds of steps.
fn steps(generator: &mut SchemaGenerator) -> Vec<Kind> {
    let plain = |name, about, options| Kind { name, about: Some(about), options, beside: Vec::new(), refused: None };
    let fields = generator.subschema_for::<OneOrMany<Text>>();
    let set = json_schema!({
        "type": "object",
        "additionalProperties": {
            "description": "A text is an expression; anything else a constant. A constant text is written '\"text\"'.",
        },
    });
    vec![
        plain("filter", "Passes on the events for which the expression is true.", generator.subschema_for::<Code>()),
        script(generator),
        plain("set", "Writes fields in order, each seeing those before it: `fahrenheit: celsius * 9 / 5 + 32`.", set),
        plain("keep", "Lets only these fields stay.", fields.clone()),
        plain("drop", "Takes these fields out.", fields),
        plain(
            "rename",
            "Renames fields where they stand: `old_name: new_name`.",
            generator.subschema_for::<Named<Text>>(),
        ),
        plain(
            "parse",
            "Reads the text in a field, as JSON, logfmt or any other format, and puts what it finds into the event.",
            generator.subschema_for::<ParseOptions>(),
        ),
        plain("explode", "Makes an event of each element of a list.", explode::schema(generator)),
        plain(
            "validate",
            "Passes on the events that fit a JSON Schema, untouched; the others go to `.errors` with what does not fit.",
            validate::schema(),
        ),
        plain(
            "route",
            "Sends each event to the first branch whose condition is true; branches are read as `name.branch`, and what none \
             took by the bare name.",
            generator.subschema_for::<Named<Code>>(),
        ),
        plain("dedupe", "Holds back events that repeat one before them.", generator.subschema_for::<DedupeOptions>()),
        plain(
            "throttle",
            "Lets at most `limit` events of a key go on in any span of `per`, in event time and in whatever order they come.",
            generator.subschema_for::<ThrottleOptions>(),
        ),
        plain("sample", "Lets a part of the events go on.", generator.subschema_for::<SampleOptions>()),
        Kind {
            // It says itself what it reads.
            refused: Some("from"),
            ..plain("join", "Puts events of two inputs together.", generator.subschema_for::<JoinOptions>())
        },
        plain(
            "lookup",
            "Takes over columns from the row of a table (CSV, SQLite) that has the event's key.",
            generator.subschema_for::<LookupOptions>(),
        ),
        plain("window", "Groups events by key and time.", generator.subschema_for::<WindowOptions>()),
    ]
}

/// A test.
fn test(generator: &mut SchemaGenerator) -> Schema {
    let duration = generator.subschema_for::<Duration>();
    let only = |key: &str, value: Value, about: &str| json!({ "type": "object", "description": about, "properties": { key: value }, "required": [key], "additionalProperties": false });
    let rows = json!({ "type": "array", "description": "Rows; a subset of their fields is enough." });
    json_schema!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "What the test shows." },
            "given": {
                "description": "For each source its events.",
                "type": ["object", "null"],
                "additionalProperties": {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            only("raw", json!({ "type": "string" }), "A record as it would be read."),
                            only("advance", duration.to_value(), "Silence: the clock moves on by this much."),
                            { "type": "object", "description": "An event." },
                            { "not": { "type": "object" } },
                        ],
                    },
                },
            },
            "expect": {
                "description": "For entries, `name` or `name.port`, what they have to pass on.",
                "type": ["object", "null"],
                "additionalProperties": {
                    "anyOf": [
                        rows,
                        only("count", json!({ "type": "integer", "minimum": 0 }), "So many rows."),
                        only("contains", rows.clone(), "These in any order, perhaps among others."),
                    ],
                },
            },
        },
        "required": ["name", "given", "expect"],
        "additionalProperties": false,
    })
}

/// Takes out what the reader does not take (`null` for a key that may be left out) and lets in what it does: `${NAME}`
/// where a number or a bool belongs.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                // What is left of "this or null" is no choice.
                if let [Value::Object(_)] = choices.as_slice()
                    && let Some(Value::Object(only)) = choices.pop()
                {
                    members.remove("anyOf");
                    match only.contains_key("$ref") {
                        true => drop(members.insert("allOf".to_owned(), json!([only]))),
                        false => members.extend(only.into_iter().filter(|(key, _)| key != "description")),
                    }
                }
            }
            if let Some(Value::Array(kinds)) = members.get_mut("type")
                && kinds.len() == 2
                && kinds.last() == Some(&json!("null"))
                && kinds.first() != Some(&json!("object"))
            {
                let first = kinds.swap_remove(0);
                members.insert("type".to_owned(), first);
            }
            // The widths of Rust's numbers, which no draft knows; `minimum` and `maximum` say what there is to say.
            let width = |f: &str| ["int", "uint", "float", "double"].iter().any(|width| f.starts_with(width));
            if members.get("format").and_then(Value::as_str).is_some_and(width) {
                members.remove("format");
            }
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = unwrapped(description);
            }
            members.values_mut().for_each(tidy);
            let kind = members.get("type").and_then(Value::as_str);
            if matches!(kind, Some("integer" | "number" | "boolean")) && !members.contains_key("const") {
                let description = members.remove("description");
                let own = Value::Object(std::mem::take(members));
                members.extend(description.map(|d| ("description".to_owned(), d)));
                let variable = json!({ "type": "string", "pattern": "\\$\\{" });
                members.insert("anyOf".to_owned(), json!([own, variable]));
            }
        }
        _ => {}
    }
}

/// A doc comment as prose: its line ends are those of the source code, only empty lines part paragraphs.
fn unwrapped(text: &str) -> String {
    let paragraphs: Vec<String> =
        text.split("\n\n").map(|p| p.lines().map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    paragraphs.join("\n\n")
}
