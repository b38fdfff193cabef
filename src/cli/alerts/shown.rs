//! Alerts as people read them.

use serde_json::Value;

use crate::cli::table::{Align, printable, shortened, table};
use crate::inspect::spelling::counted;
use crate::service::alerts::known::{Level, Way};

/// How much of a title is shown in a table.
const SHOWN: usize = 60;

/// A member as text; empty if it is not there.
pub fn text(row: &Value, name: &str) -> String {
    match row.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A key as people write it.
fn key(row: &Value) -> String {
    written(row.get("key").and_then(Value::as_object))
}

fn written(key: Option<&serde_json::Map<String, Value>>) -> String {
    match key {
        Some(parts) if parts.len() == 1 => parts.values().map(plain).collect(),
        Some(parts) => {
            parts.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(" ")
        }
        None => String::new(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(row: &Value, name: &str) -> Vec<Value> {
    row.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// What receivers know of an alert, or why not.
fn told(receivers: &[Value]) -> String {
    let one = |row: &Value| {
        let name = text(row, "receiver");
        match (text(row, "not_told").as_str(), text(row, "told_at").as_str()) {
            ("", "") => format!("{name}: not told"),
            ("", _) => name,
            (why, _) => {
                let by = text(row, "by");
                let until = text(row, "until");
                let by = if by.is_empty() { by } else { format!(" by {by}") };
                let until = if until.is_empty() { until } else { format!(" until {until}") };
                format!("{name}: {}{by}{until}", why.replace('_', " "))
            }
        }
    };
    receivers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What is not inactive.
pub fn active(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nothing is pending, and nothing fires\n".to_owned();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let acknowledged = text(row, "acknowledged_by");
            let mut told = told(&list(row, "receivers"));
            if !acknowledged.is_empty() {
                told = format!("{told} (acknowledged by {acknowledged})");
            }
            let named = ["alert", "state", "severity", "since"].map(|name| text(row, name));
            let [alert, state, severity, since] = named;
            vec![alert, key(row), state, severity, since, shortened(&text(row, "title"), SHOWN), told]
        })
        .collect();
    let names = ["alert", "key", "state", "severity", "since", "title", "told"];
    table(&names.map(|name| (name, Align::Left)), &cells)
}

/// What happened, a line each, with what it was about below.
pub fn history(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nothing has happened\n".to_owned();
    }
    rows.iter().map(happened).collect()
}

fn happened(row: &Value) -> String {
    let time = text(row, "time");
    match text(row, "what").as_str() {
        "transition" => transition(row, &time),
        "notification" => {
            let title = printable(&text(row, "title"));
            let (receiver, status, reason) = (text(row, "receiver"), text(row, "status"), text(row, "reason"));
            format!("{time}  {receiver} is told: {status} ({reason}): {title}\n  as {}\n", text(row, "notification"))
        }
        what => {
            let (by, comment, about) = (text(row, "by"), text(row, "comment"), text(row, "about"));
            let until = text(row, "until");
            let until = if until.is_empty() { until } else { format!(", until {until}") };
            let comment = if comment.is_empty() { comment } else { format!(": {comment}") };
            format!("{time}  {what} by {by}: {}{until}{}\n", printable(&about), printable(&comment))
        }
    }
}

fn transition(row: &Value, time: &str) -> String {
    let named = ["alert", "was", "state", "severity", "reason", "at", "since"].map(|name| text(row, name));
    let [alert, was, state, severity, reason, at, since] = named;
    let key = key(row);
    let of = if key.is_empty() { alert } else { format!("{alert} {key}") };
    let severity = if severity.is_empty() { severity } else { format!(" ({severity})") };
    let mut lines = format!("{time}  {of}: {was} → {state}{severity}, {}\n", reason.replace('_', " "));
    let title = text(row, "title");
    if !title.is_empty() {
        lines.push_str(&format!("  {}\n", printable(&title)));
    }
    lines.push_str(&format!("  at {at}, since {since}\n"));
    let condition = text(row, "condition");
    if !condition.is_empty() {
        lines.push_str(&format!("  `{}` of {}\n", printable(&condition), printable(&text(row, "values"))));
    }
    for outcome in list(row, "told") {
        let until = text(&outcome, "until");
        let until = if until.is_empty() { until } else { format!(" until {until}") };
        let by = text(&outcome, "by");
        let by = if by.is_empty() { by } else { format!(" by {by}") };
        let what = text(&outcome, "outcome").replace('_', " ");
        lines.push_str(&format!("  {}: {what}{by}{until}\n", text(&outcome, "receiver")));
    }
    lines
}

/// Silences that hold.
pub fn silences(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no silence holds\n".to_owned();
    }
    let cell = |row: &Value| {
        let matchers = list(row, "matchers").iter().map(plain).collect::<Vec<_>>().join(" ");
        let named = ["silence", "until", "by", "comment"].map(|name| text(row, name));
        let [silence, until, by, comment] = named;
        vec![silence, matchers, until, by, comment]
    };
    let names = ["silence", "matchers", "until", "by", "comment"];
    table(&names.map(|name| (name, Align::Left)), &rows.iter().map(cell).collect::<Vec<_>>())
}

/// Why nobody was told.
pub fn reasons(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "everybody was told\n".to_owned();
    }
    let line = |row: &Value| {
        let receiver = text(row, "receiver");
        let receiver = if receiver.is_empty() { receiver } else { format!("{receiver}: ") };
        format!("{receiver}{}\n", printable(&text(row, "text")))
    };
    rows.iter().map(line).collect()
}

/// What was silenced.
pub fn silenced(answer: &Value) -> String {
    let matched = answer.get("matched").and_then(Value::as_u64).unwrap_or(0);
    let (id, until, matched) = (text(answer, "silence"), text(answer, "until"), counted(matched, "alert"));
    format!("silence {id} holds until {until}; of what fires now it silences {matched}\n")
}

/// What was acknowledged.
pub fn acknowledged(answer: &Value) -> String {
    let keys: Vec<String> = list(answer, "keys").iter().map(|key| written(key.as_object())).collect();
    format!("{} {} is acknowledged by {}\n", text(answer, "alert"), keys.join(", "), text(answer, "by"))
}

/// The steps that lead to an alert.
pub fn way(way: &Way) -> String {
    let level = |level: &Level| format!("{}: `{}` for {}\n", level.severity, level.when, level.hold);
    let levels: String = way.levels.iter().map(level).collect();
    let entries: Vec<String> = way.entries.iter().map(|entry| format!("{} ({})", entry.name, entry.kind)).collect();
    format!("{levels}{}\n\n", entries.join(" ← "))
}
