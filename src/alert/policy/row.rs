//! Notification rows: what receivers are sent.

use serde_json::{Map, Value, json};

use super::told::Told;
use crate::base::limit;
use crate::base::time::Timestamp;

/// Why a receiver is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// It still fires.
    Repeat,
    /// Something is over, and nothing else is new.
    Resolved,
    /// Of something that it was told of the severity is another one.
    Changed,
    /// Something fires that it was not told of.
    New,
    /// What was held back is told together.
    Summary,
}

impl Why {
    /// The word of notification rows.
    pub fn word(self) -> &'static str {
        match self {
            Why::Repeat => "repeat",
            Why::Resolved => "resolved",
            Why::Changed => "changed",
            Why::New => "new",
            Why::Summary => "summary",
        }
    }
}

/// One alert of a notification.
pub(super) struct Item<'a> {
    pub(super) told: &'a Told,
    /// As the receiver sees it: it may be over for one that is not told of its severity.
    pub(super) fires: bool,
    /// Of what fires, its own; of what is over, the one that the receiver was told.
    pub(super) severity: &'a str,
    /// How high that is.
    pub(super) rank: usize,
    /// When the run began that made it fire.
    pub(super) since: Timestamp,
    pub(super) acknowledged_by: Option<&'a str>,
}

/// What a notification has beside its alerts.
pub(super) struct Head<'a> {
    pub(super) id: u128,
    pub(super) pipeline: &'a str,
    pub(super) receiver: &'a str,
    pub(super) why: Why,
    pub(super) group: &'a [(String, String)],
    pub(super) group_key: &'a str,
}

/// The row. Counts are of all items; those beyond the limits are left out, the last first.
pub(super) fn render(head: &Head<'_>, items: &[Item<'_>]) -> Value {
    let firing = items.iter().filter(|item| item.fires).count();
    let status = if firing > 0 { "firing" } else { "resolved" };
    let told_of = items.iter().filter(|item| item.fires || firing == 0);
    let severity = told_of.max_by_key(|item| item.rank).map_or("", |item| item.severity);
    let mut alerts = Vec::new();
    let mut bytes = 0;
    for item in items.iter().take(limit::NOTIFICATION_ALERTS) {
        bytes += size(item.told);
        if bytes > limit::NOTIFICATION_BYTES && !alerts.is_empty() {
            break;
        }
        alerts.push(alert(item));
    }
    let (title, body) = texts(head, items, firing, severity);
    let group: Map<String, Value> = head.group.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "notification": format!("{:032x}", head.id),
        "pipeline": head.pipeline,
        "receiver": head.receiver,
        "status": status,
        "reason": head.why.word(),
        "severity": severity,
        "title": title,
        "body": body,
        "group": group,
        "group_key": head.group_key,
        "firing": firing,
        "resolved": items.len() - firing,
        "omitted": items.len() - alerts.len(),
        "alerts": alerts,
    })
}

/// Of the only alert its own texts, else how many there are and the titles of the first.
fn texts(head: &Head<'_>, items: &[Item<'_>], firing: usize, severity: &str) -> (String, String) {
    /// Titles that a summary names.
    const NAMED: usize = 10;
    if let [item] = items {
        return (item.told.title.clone(), item.told.body.clone());
    }
    let count = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let counts = [count(firing, "firing"), count(items.len() - firing, "resolved")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let of = if head.group_key.is_empty() { head.pipeline } else { head.group_key };
    let severity = if firing > 0 && !severity.is_empty() { format!(", {severity}") } else { String::new() };
    let title = format!("{of}: {}{severity}", counts.join(", "));
    let mut body = String::new();
    for item in items.iter().take(NAMED) {
        let state = if item.fires { item.severity } else { "resolved" };
        body.push_str(&format!("- {} ({state})\n", item.told.title));
    }
    if items.len() > NAMED {
        body.push_str(&format!("- and {} more\n", items.len() - NAMED));
    }
    (title, body)
}

/// About as many bytes as it has in a row.
fn size(told: &Told) -> usize {
    let pairs = |list: &[(String, String)]| list.iter().map(|(a, b)| a.len() + b.len() + 6).sum::<usize>();
    let labels = pairs(&told.labels) + pairs(&told.links);
    told.title.len() + told.body.len() + told.values.len() + told.condition.len() + labels + 400
}

fn alert(item: &Item<'_>) -> Value {
    let told = item.told;
    let mut labels: Map<String, Value> =
        told.all_labels().into_iter().map(|(name, value)| (name, json!(value))).collect();
    labels.insert("severity".to_owned(), json!(item.severity));
    let links: Map<String, Value> = told.links.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "alert": told.alert.as_ref(),
        "state": if item.fires { "firing" } else { "resolved" },
        "reason": told.reason.as_ref(),
        "severity": item.severity,
        "key": told.key,
        "labels": labels,
        "title": told.title,
        "body": told.body,
        "since": item.since.to_string(),
        "fired_at": time(told.fired_at),
        "at": told.at.to_string(),
        "resolved_at": time((!item.fires).then_some(told.at)),
        "condition": told.condition.as_ref(),
        "values": serde_json::from_str::<Value>(&told.values).unwrap_or_default(),
        "window_start": time(told.window.map(|(start, _)| start)),
        "window_end": time(told.window.map(|(_, end)| end)),
        "links": links,
        "fingerprint": format!("{:016x}", told.fingerprint()),
        "acknowledged_by": item.acknowledged_by,
    })
}
