//! Alerts in the form that Prometheus gave them: labels and annotations, a start and an end. Webhooks and Alertmanager take
//! them so.

use serde_json::{Map, Value, json};

use super::notification::{Alert, Notification};

/// The end of an alert that has none.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// The labels of an alert. Names have letters, digits and `_`, as Prometheus wants them: other characters become `_`, and
/// before a digit stands one. Of two names that become the same the first keeps it, the other has `_2` behind it. Empty
/// values are left out, as they mean the same as none.
pub(super) fn labels(alert: &Alert) -> Map<String, Value> {
    let mut all = vec![("alertname".to_owned(), alert.name())];
    all.extend(alert.labels().into_iter().filter(|(name, _)| name != "alertname"));
    all.extend(alert.key().into_iter().filter(|(name, _)| !alert.labels().iter().any(|(own, _)| own == name)));
    if !all.iter().any(|(name, _)| name == "severity") {
        all.push(("severity".to_owned(), alert.severity().to_owned()));
    }
    mended(all)
}

/// Names as Prometheus has them, with their values.
pub(super) fn mended(pairs: Vec<(String, String)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let name = name_of(&name);
        let free = (2..).map(|n| format!("{name}_{n}")).find(|other| !map.contains_key(other));
        let name = if map.contains_key(&name) { free.unwrap_or(name) } else { name };
        map.insert(name, json!(value));
    }
    map
}

/// A name as Prometheus has it.
pub(super) fn name_of(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = text.chars().map(allowed).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// What is said of an alert, for people: `summary`, `description`, the condition, and a value each.
pub(super) fn annotations(alert: &Alert) -> Map<String, Value> {
    let mut all = vec![("summary".to_owned(), alert.headline()), ("description".to_owned(), alert.body().to_owned())];
    all.extend(alert.text("condition").map(|text| ("condition".to_owned(), text.to_owned())));
    let facts = alert.facts();
    all.extend(facts.iter().find(|(name, _)| name == "Values").map(|(_, text)| ("values".to_owned(), text.clone())));
    all.extend(alert.links());
    mended(all)
}

/// Where an alert comes from: its first link.
pub(super) fn generator_url(alert: &Alert) -> String {
    alert.links().into_iter().next().map_or_else(String::new, |(_, url)| url)
}

/// The body of a webhook as Alertmanager sends it, version 4.
pub(super) fn webhook(notification: &Notification, entry: &str, external_url: &str) -> Value {
    let alerts: Vec<Value> = notification.alerts.iter().map(alert_of).collect();
    let common = |name: &str| common(alerts.iter().filter_map(|alert| alert.get(name)?.as_object()));
    let group = notification.names.get("group").and_then(Value::as_object).cloned().unwrap_or_default();
    let group = group.iter().map(|(name, value)| (name.clone(), super::notification::shown(value))).collect();
    let receiver = notification.text("receiver");
    json!({
        "version": "4",
        "groupKey": notification.text("group_key"),
        "truncatedAlerts": notification.omitted,
        "status": if notification.firing { "firing" } else { "resolved" },
        "receiver": if receiver.is_empty() { entry } else { receiver },
        "groupLabels": mended(group),
        "commonLabels": common("labels"),
        "commonAnnotations": common("annotations"),
        "externalURL": external_url,
        "alerts": alerts,
    })
}

fn alert_of(alert: &Alert) -> Value {
    json!({
        "status": if alert.firing() { "firing" } else { "resolved" },
        "labels": labels(alert),
        "annotations": annotations(alert),
        "startsAt": alert.began().unwrap_or(NO_END),
        "endsAt": alert.ended().unwrap_or(NO_END),
        "generatorURL": generator_url(alert),
        "fingerprint": alert.fingerprint(),
    })
}

/// What all have, with the same value.
fn common<'a>(mut all: impl Iterator<Item = &'a Map<String, Value>>) -> Map<String, Value> {
    let mut common = all.next().cloned().unwrap_or_default();
    for other in all {
        common.retain(|name, value| other.get(name) == Some(value));
    }
    common
}
