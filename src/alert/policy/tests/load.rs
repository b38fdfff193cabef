//! Many keys at once: what is told is bounded, and so is what is kept.

use super::*;

const MANY: usize = 20_000;

fn storm(policy: AlertPolicy) -> Run {
    let mut run = Run::new(settings(policy));
    for key in 0..MANY {
        run.is("hot", &format!("k{key:05}"), Stage::Firing, "critical");
    }
    run
}

#[test]
fn a_storm_in_one_group_is_one_notification() {
    let group = AlertPolicy {
        group_by: Some(Vec::new()),
        group_wait: seconds(30),
        group_interval: seconds(300),
        ..AlertPolicy::default()
    };
    let mut run = storm(group);
    run.at(30);
    assert_eq!(run.sent.len(), 1);
    let row = &run.sent[0].1.row;
    let shown = row["alerts"].as_array().unwrap().len();
    assert!((500..=limit::NOTIFICATION_ALERTS).contains(&shown), "{shown}");
    assert_eq!((&row["firing"], &row["omitted"]), (&json!(MANY), &json!(MANY - shown)));
    assert!(row.to_string().len() < 2 * limit::NOTIFICATION_BYTES, "{}", row.to_string().len());
    for key in 0..MANY {
        run.is("hot", &format!("k{key:05}"), Stage::Resolved, "");
    }
    run.at(1000);
    assert_eq!(run.sent.len(), 2);
    assert_eq!(run.sent[1].1.row["resolved"], json!(MANY));
    assert!(run.policy.active(second(1000)).is_empty());
}

#[test]
fn a_storm_of_keys_alone_is_told_of_each() {
    let mut run = storm(AlertPolicy::default());
    assert_eq!(run.sent.len(), MANY);
    let ids: BTreeSet<u128> = run.sent.iter().map(|(_, notification)| notification.id).collect();
    assert_eq!(ids.len(), MANY);
    run.store();
    let rows = |kind: &str| run.rows.keys().filter(|key| key.starts_with(kind.as_bytes())).count();
    assert_eq!((rows("key/"), rows("group/"), rows("history/")), (MANY, MANY, limit::ALERT_HISTORY));
    run.store();
    let bytes: usize = run.rows.values().map(Vec::len).sum();
    assert!(bytes < MANY * 2_000, "{bytes}");
    // The next time only what changed is handed out.
    run.at(1).is("hot", "k00000", Stage::Resolved, "");
    let mut changes = Vec::new();
    run.policy.changes(&mut changes);
    assert!(changes.len() < 10, "{}", changes.len());
}

#[test]
fn what_is_too_long_is_cut() {
    let mut run = Run::new(settings(AlertPolicy::default()));
    let long = "ö".repeat(limit::ALERT_TEXT_BYTES * 8);
    let told = run.told("hot", "a", Stage::Firing, "critical");
    let values = json!({ "device": "a", "log": long, "temperature": 31 }).to_string();
    run.take(Told { title: long.clone(), body: long, values, ..told });
    let alert = &run.sent[0].1.row["alerts"][0];
    assert!(alert["title"].as_str().unwrap().len() <= limit::ALERT_TEXT_BYTES);
    assert!(alert["body"].as_str().unwrap().ends_with("ö…"));
    assert_eq!(alert["values"], json!({ "device": "a", "temperature": 31 }));
}
