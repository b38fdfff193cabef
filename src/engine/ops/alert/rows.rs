//! Makes rows of transitions: what a sink with `from: ALERT` reads, and what receivers are told of.

use std::sync::Arc;

use compact_str::CompactString;

use crate::alert::machine::{Reason, Rules, Transition};
use crate::base::time::Timestamp;
use crate::connector::template::Template;
use crate::data::batch::Batch;
use crate::data::column::{ColumnBuilder, as_u32};
use crate::data::framing::Block;
use crate::data::json;
use crate::data::layout::{Demand, Layout};
use crate::data::value::{Map, Val, Value};
use crate::engine::action::Tools;
use crate::engine::ops::TickOutput;
use crate::engine::ops::window::keys::Key;
use crate::plan::Port;

/// What is said of an alert's transitions.
pub struct Saying {
    /// The alert's name.
    pub name: String,
    /// Where each part of the key goes, a path.
    pub key: Vec<Vec<CompactString>>,
    /// By level, when it is so, and when it is over if that is written.
    pub conditions: Vec<(String, Option<String>)>,
    /// One line.
    pub title: Option<Text>,
    /// More.
    pub body: Option<Text>,
    /// Further labels.
    pub labels: Vec<(String, Text)>,
    /// Where to look.
    pub links: Vec<(String, Text)>,
}

/// A template and the names of what it reads, in its order.
pub struct Text {
    /// The template.
    pub template: Template,
    /// Top-level fields.
    pub fields: Vec<String>,
}

/// The row that a transition is about.
pub struct About<'a> {
    /// As it was written; empty if there never was one.
    pub text: &'a str,
    /// Its window.
    pub window: Option<(Timestamp, Timestamp)>,
}

/// Collects the rows of a tick.
pub struct TransitionRows {
    saying: Arc<Saying>,
    tools: Tools,
    text: Vec<u8>,
    ends: Vec<u32>,
    places: Vec<u32>,
    times: Vec<Timestamp>,
    keys: Vec<ColumnBuilder>,
}

impl TransitionRows {
    /// No rows; `needed` is what is read of them.
    pub fn new(saying: &Arc<Saying>, layout: &Arc<Layout>, needed: &Demand) -> Self {
        TransitionRows {
            tools: Tools::new(layout, needed),
            text: Vec::new(),
            ends: Vec::new(),
            places: Vec::new(),
            times: Vec::new(),
            keys: saying.key.iter().map(|_| ColumnBuilder::default()).collect(),
            saying: Arc::clone(saying),
        }
    }

    /// Notes a key that ranks rows; its row among the ranks' keys.
    pub fn key(&mut self, key: &Key) -> u32 {
        let row = self.keys.first().map_or(0, ColumnBuilder::len);
        for (part, builder) in self.keys.iter_mut().enumerate() {
            builder.push(key.parts().get(part).map_or(Val::Unit, Value::as_val));
        }
        as_u32(row)
    }

    /// Adds a transition of a key that stands at this place of the ranks.
    pub fn add(&mut self, told: &Transition, rules: &Rules, key: &[Value], about: &About<'_>, place: u32) {
        let row = self.saying.row(told, rules, key, about);
        json::write_value(&Value::Map(Arc::new(row)), &mut self.text);
        self.ends.push(as_u32(self.text.len()));
        self.places.push(place);
        self.times.push(told.at);
    }

    /// Hands over what was collected.
    pub fn finish(&mut self, out: &mut TickOutput) {
        out.ranks.keys = self.keys.iter_mut().map(|builder| Arc::new(std::mem::take(builder).finish())).collect();
        if self.ends.is_empty() {
            return;
        }
        out.made += self.ends.len() as u64;
        let (places, times) = (std::mem::take(&mut self.places), std::mem::take(&mut self.times));
        let block = Block::from_records(std::mem::take(&mut self.text), std::mem::take(&mut self.ends));
        let mut batch: Batch = self.tools.decoder.decode(block).batch;
        let at = |row: &u32| times.get(*row as usize).copied().unwrap_or(Timestamp::MIN);
        batch.times = batch.ordinals.iter().map(at).collect();
        batch.ordinals = batch.ordinals.iter().map(|row| places.get(*row as usize).copied().unwrap_or(0)).collect();
        out.ports.push((Port::Main, batch));
    }
}

impl Saying {
    /// The row of a transition.
    fn row(&self, told: &Transition, rules: &Rules, key: &[Value], about: &About<'_>) -> Map {
        let mut values = json::parse_value(about.text).unwrap_or(Value::Null);
        if values.nests_beyond(crate::base::limit::JSON_DEPTH - 2) {
            // The row of the transition would nest deeper than rows may.
            values = text(about.text);
        }
        let level = told.level.or(told.was_level);
        // Silence alone is as bad as the least severity.
        let severity = rules.levels.get(level.unwrap_or(0)).map_or("", |level| &level.name);
        let silence = || rules.no_data_after.map(|after| format!("no row for {after}")).unwrap_or_default();
        let condition = level.and_then(|level| self.conditions.get(level)).map(|(when, clear)| match told.reason {
            Reason::Clear => clear.as_ref().unwrap_or(when),
            _ => when,
        });
        let condition = condition.cloned().unwrap_or_else(silence);
        let own = self.own_title(key);
        let mut row = Map::default();
        row.insert("alert", text(&self.name));
        for (path, value) in self.key.iter().zip(key) {
            put(&mut row, path, value.clone());
        }
        let mut of_key = Map::default();
        for (path, value) in self.key.iter().zip(key) {
            put(&mut of_key, path, value.clone());
        }
        row.insert("key", Value::Map(Arc::new(of_key)));
        row.insert("state", text(told.state.as_str()));
        row.insert("was", text(told.was.as_str()));
        row.insert("severity", text(severity));
        row.insert("reason", text(told.reason.as_str()));
        row.insert("at", time(told.at));
        row.insert("since", time(told.since));
        row.insert("fired_at", told.fired_at.map_or(Value::Null, time));
        row.insert("title", self.title.as_ref().map_or_else(|| text(&own), |t| t.made(&values, &own)));
        row.insert("body", self.body.as_ref().map_or(Value::Null, |t| t.made(&values, "")));
        row.insert("labels", self.labels(severity, key, &values));
        let links = self.links.iter().map(|(name, link)| (name.into(), link.made(&values, ""))).collect();
        row.insert("links", Value::Map(Arc::new(Map(links))));
        row.insert("condition", text(&condition));
        row.insert("window_start", about.window.map_or(Value::Null, |(start, _)| time(start)));
        row.insert("window_end", about.window.map_or(Value::Null, |(_, end)| time(end)));
        row.insert("values", values);
        row.insert("number", Value::Int(i64::try_from(told.number).unwrap_or(i64::MAX)));
        row.insert("quiet", Value::Bool(told.quiet));
        row
    }

    /// The name and the key, for want of a title.
    fn own_title(&self, key: &[Value]) -> String {
        let parts: Vec<String> = key.iter().map(plain).collect();
        if parts.is_empty() { self.name.clone() } else { format!("{}: {}", self.name, parts.join(", ")) }
    }

    fn labels(&self, severity: &str, key: &[Value], values: &Value) -> Value {
        let mut labels = Map::default();
        labels.insert("alertname", text(&self.name));
        for (path, value) in self.key.iter().zip(key) {
            labels.insert(&path.join("."), text(&plain(value)));
        }
        labels.insert("severity", text(severity));
        for (name, label) in &self.labels {
            labels.insert(name, label.made(values, ""));
        }
        Value::Map(Arc::new(labels))
    }
}

impl Text {
    /// The text for a row. What it needs and the row has not is said in it: nobody is left untold for that.
    fn made(&self, values: &Value, without: &str) -> Value {
        let field = |name: &String| match values {
            Value::Map(map) => map.get(name).map_or(Val::Unit, Value::as_val),
            _ => Val::Unit,
        };
        let fields: Vec<Val<'_>> = self.fields.iter().map(field).collect();
        match self.template.render(&fields) {
            Ok(made) => text(&made),
            Err(why) if without.is_empty() => text(&format!("({why})")),
            Err(why) => text(&format!("{without} ({why})")),
        }
    }
}

/// A value as a label has it: text without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Null => String::new(),
        other => {
            let mut text = Vec::new();
            json::write_value(other, &mut text);
            String::from_utf8(text).unwrap_or_default()
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn time(at: Timestamp) -> Value {
    Value::Text(at.to_string().into())
}

/// Puts a value at a path, making the maps around it.
fn put(map: &mut Map, path: &[CompactString], value: Value) {
    match path {
        [] => {}
        [name] => map.insert(name, value),
        [name, rest @ ..] => {
            let mut inner = match map.get(name) {
                Some(Value::Map(inner)) => Map::clone(inner),
                _ => Map::default(),
            };
            put(&mut inner, rest, value);
            map.insert(name, Value::Map(Arc::new(inner)));
        }
    }
}
