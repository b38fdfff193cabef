//! Notifications as a pipeline's alerts make them, for those who receive them.
// Each test file uses its own part of it.
#![allow(dead_code)]

use serde_json::{Value, json};

/// An alert of a device that was too hot.
pub fn alert(device: &str, firing: bool) -> Value {
    json!({
        "alert": "overheating",
        "state": if firing { "firing" } else { "resolved" },
        "reason": if firing { "when" } else { "clear" },
        "severity": "critical",
        "key": {"device_id": device},
        "labels": {"alertname": "overheating", "device_id": device, "severity": "critical", "team.name": "heating"},
        "title": format!("{device} is at 31.3 °C"),
        "body": "Above 30 °C for 2 windows.",
        "since": "2026-01-01T00:00:00Z",
        "fired_at": "2026-01-01T00:02:00Z",
        "at": if firing { "2026-01-01T00:02:00Z" } else { "2026-01-01T00:09:00Z" },
        "resolved_at": if firing { Value::Null } else { json!("2026-01-01T00:09:00Z") },
        "condition": "temperature > 30",
        "values": {"device_id": device, "window_start": "2026-01-01T00:01:00Z", "temperature": 31.26000001, "readings": 60},
        "window_start": "2026-01-01T00:01:00Z",
        "window_end": "2026-01-01T00:02:00Z",
        "links": {"runbook": "https://example.org/runbooks/overheating?a=1&b=2"},
        "fingerprint": format!("{:016x}", device.bytes().fold(7u64, |hash, byte| hash * 31 + u64::from(byte))),
        "acknowledged_by": null,
    })
}

/// A notification of these; `omitted` more are not in it.
pub fn notification(title: &str, alerts: &[Value], omitted: u64) -> Value {
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing").count();
    json!({
        "notification": "0123456789abcdef0123456789abcdef",
        "pipeline": "heating",
        "receiver": "ops",
        "status": if firing > 0 { "firing" } else { "resolved" },
        "reason": if firing > 0 { "new" } else { "resolved" },
        "severity": "critical",
        "title": title,
        "body": if alerts.len() == 1 { alerts[0]["body"].clone() } else { json!("") },
        "group": {"alertname": "overheating"},
        "group_key": "{alertname=\"overheating\"}",
        "firing": firing,
        "resolved": alerts.len() - firing,
        "omitted": omitted,
        "alerts": alerts,
    })
}

/// One that fires, and that it is over.
pub fn fired_and_resolved() -> [Value; 2] {
    let one = |firing| notification("boiler <1> is at 31.3 °C", &[alert("boiler <1>", firing)], 0);
    [one(true), one(false)]
}

/// Some of a group, one of which is over.
pub fn group() -> Value {
    notification("3 alerts of overheating", &[alert("a", true), alert("b", true), alert("c", false)], 4)
}

/// A transition, as `from: ALERT` reads it.
pub fn transition(state: &str) -> Value {
    json!({
        "alert": "overheating", "device_id": "a", "state": state, "was": "pending", "severity": "warning",
        "reason": "when", "at": "2026-01-01T00:02:00Z", "since": "2026-01-01T00:00:00Z", "fired_at": "2026-01-01T00:02:00Z",
        "title": "a is hot", "body": "", "labels": {"alertname": "overheating", "device_id": "a"},
        "values": {"temperature": 31}, "number": 2,
    })
}

/// A row that has nothing to do with alerts.
pub fn row() -> Value {
    json!({"device": "a", "temperature": 21.5, "ok": true, "at": "2026-01-01T00:00:00Z"})
}

/// Rows as a file of them.
pub fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}
