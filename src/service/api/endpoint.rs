//! What can be asked for: each endpoint says what it takes and gives, from which the routes and the OpenAPI description are
//! made alike.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Shared;
use super::problem::Content as Problem;
use crate::service::access::Role;

/// Below this stands everything that is asked for by programs.
pub const BASE: &str = "/api/v1";

type Made = fn(&mut SchemaGenerator) -> Value;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// What an endpoint takes or gives.
#[derive(Clone, Copy)]
enum Carried {
    Json(Made),
    Text(&'static str),
}

/// Something that can be asked for.
pub struct Endpoint {
    /// How.
    pub method: Method,
    /// Where; `{name}` stands for a part that is chosen.
    pub path: &'static str,
    /// Who may.
    pub role: Role,
    about: &'static str,
    query: Option<Made>,
    body: Option<Carried>,
    answer: Carried,
    handler: MethodRouter<Shared>,
}

impl Endpoint {
    fn new<H, T>(method: Method, path: &'static str, role: Role, about: &'static str, handler: H) -> Endpoint
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let (query, body, answer) = (None, None, Carried::Text("text/plain"));
        Endpoint { method, path, role, about, query, body, answer, handler: on(filter, handler) }
    }

    /// Something to read.
    pub fn get<H: Handler<T, Shared>, T: 'static>(path: &'static str, about: &'static str, handler: H) -> Endpoint {
        Endpoint::new(Method::GET, path, Role::Read, about, handler)
    }

    /// Something that people who operate pipelines do.
    pub fn post<H: Handler<T, Shared>, T: 'static>(path: &'static str, about: &'static str, handler: H) -> Endpoint {
        Endpoint::new(Method::POST, path, Role::Operate, about, handler)
    }

    /// Something that is put where it can be read again.
    pub fn put<H: Handler<T, Shared>, T: 'static>(path: &'static str, about: &'static str, handler: H) -> Endpoint {
        Endpoint::new(Method::PUT, path, Role::Admin, about, handler)
    }

    /// Something that is taken away.
    pub fn delete<H: Handler<T, Shared>, T: 'static>(path: &'static str, about: &'static str, handler: H) -> Endpoint {
        Endpoint::new(Method::DELETE, path, Role::Admin, about, handler)
    }

    /// Others may.
    pub fn role(self, role: Role) -> Endpoint {
        Endpoint { role, ..self }
    }

    /// It is asked with these parameters.
    pub fn query<Q: JsonSchema>(self) -> Endpoint {
        // Where it is used, what it is made of is wanted, and not a reference to it.
        let made: Made = |generator| Q::json_schema(generator).to_value();
        Endpoint { query: Some(made), ..self }
    }

    /// It takes JSON.
    pub fn takes<B: JsonSchema>(self) -> Endpoint {
        Endpoint { body: Some(Carried::Json(schema_of::<B>)), ..self }
    }

    /// It takes a text.
    pub fn takes_text(self, media: &'static str) -> Endpoint {
        Endpoint { body: Some(Carried::Text(media)), ..self }
    }

    /// It gives JSON.
    pub fn gives<A: JsonSchema>(self) -> Endpoint {
        Endpoint { answer: Carried::Json(schema_of::<A>), ..self }
    }

    /// It gives a text.
    pub fn gives_text(self, media: &'static str) -> Endpoint {
        Endpoint { answer: Carried::Text(media), ..self }
    }

    /// What answers.
    pub fn handler(&self) -> MethodRouter<Shared> {
        self.handler.clone()
    }

    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let of_path = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = of_path
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
            .collect();
        if let Some(query) = self.query {
            parameters.extend(parameters_of(&query(generator)));
        }
        let mut content = |content: Carried| match content {
            Carried::Json(made) => json!({ "application/json": { "schema": made(generator) } }),
            // A text that is JSON or YAML is read as what it says.
            Carried::Text(media) if !media.starts_with("text/") => json!({ media: { "schema": {} } }),
            Carried::Text(media) => json!({ media: { "schema": { "type": "string" } } }),
        };
        let mut described = json!({
            "summary": self.about,
            "operationId": self.name(),
            "parameters": parameters,
            "responses": {
                "200": { "description": "Done.", "content": content(self.answer) },
                "default": { "description": "Why not.", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } },
            },
            "x-role": self.role.word(),
        });
        if let (Some(body), Some(members)) = (self.body, described.as_object_mut()) {
            members.insert("requestBody".to_owned(), json!({ "required": true, "content": content(body) }));
        }
        described
    }

    /// A name of its own: `get_pipelines_id`.
    fn name(&self) -> String {
        let path = self.path.strip_prefix(BASE).unwrap_or(self.path);
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.fold(self.method.as_str().to_ascii_lowercase(), |name, word| format!("{name}_{word}"))
    }
}

/// The members of an object's schema, as parameters.
fn parameters_of(schema: &Value) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(members) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        json!({
            "name": name, "in": "query", "required": required.contains(&json!(name)),
            "description": about, "schema": schema,
        })
    };
    members.iter().map(parameter).collect()
}

/// The OpenAPI 3.1 description of endpoints.
pub fn openapi(endpoints: &[Endpoint]) -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let described = endpoint.describe(&mut generator);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.as_str().to_ascii_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What runs in one process: pipelines, their rows, alerts, dead letters and state.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }, {}],
    })
}
