//! Notifications at those who receive them by HTTP, sent by the program itself: what each is sent, field by field, and what
//! happens when they cannot take it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/notifications.rs"]
mod notifications;
#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use notifications::{fired_and_resolved, group, lines, notification, row, transition};
use program::{run, said, with_texts};
use receiver::{Came, Receiver, ok};

/// A pipeline that tells rows to a receiver of this kind, with these options.
fn home(kind: &str, options: &Value, rows: &[Value]) -> TempDir {
    let yaml =
        format!("name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  ops:\n    {kind}: {options}\n");
    with_texts(&[("t.yaml", &yaml), ("in.ndjson", &lines(rows))])
}

fn told(kind: &str, options: &Value, rows: &[Value]) -> Output {
    run(home(kind, options, rows).path(), &["run", "--quiet", "t.yaml"])
}

fn bodies(came: &[Came]) -> Vec<Value> {
    came.iter().map(|came| serde_json::from_slice(&came.body).unwrap()).collect()
}

fn url(to: &Receiver) -> String {
    format!("http://{}/s3cret?sig=s3cret", to.address)
}

/// What a receiver of this kind is sent for rows.
fn sent(kind: &str, mut options: Value, rows: &[Value]) -> Vec<Value> {
    let to = Receiver::start();
    options["url"] = json!(url(&to));
    let output = told(kind, &options, rows);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    let came = to.came();
    assert!(came.iter().all(|came| came.header("content-type") == "application/json"));
    assert!(came.iter().all(|came| came.path == "/s3cret?sig=s3cret" && came.method == "POST"));
    bodies(&came)
}

fn everything() -> Vec<Value> {
    let [fired, resolved] = fired_and_resolved();
    vec![fired, resolved, group(), transition("firing"), transition("resolved"), row()]
}

#[test]
fn webhooks_get_the_notification_as_it_is() {
    let to = Receiver::start();
    let options = json!({
        "url": url(&to), "headers": {"X-Team": "heating"}, "auth": {"bearer": "s3cret"},
        "sign": {"scheme": "github", "secret": "s3cret"},
    });
    let rows = everything();
    assert!(told("webhook", &options, &rows).status.success());
    let came = to.came();
    assert_eq!(bodies(&came), rows);
    assert_eq!(came[0].text(), rows[0].to_string());
    for (name, value) in
        [("x-team", "heating"), ("authorization", "Bearer s3cret"), ("content-type", "application/json")]
    {
        assert_eq!(came[0].header(name), value);
    }
    assert!(came[0].header("x-hub-signature-256").starts_with("sha256="));
    let ids: std::collections::BTreeSet<_> = came.iter().map(|came| came.header("idempotency-key")).collect();
    assert!(ids.len() == rows.len() && ids.iter().all(|id| id.len() == 32));
}

#[test]
fn webhooks_get_what_alertmanager_would_send() {
    let options = json!({"payload": "alertmanager", "external_url": "https://millstream.example.org"});
    let sent = sent("webhook", options, &everything());
    for body in &sent {
        assert_eq!((&body["version"], &body["receiver"]), (&json!("4"), &json!("ops")));
        let alerts = body["alerts"].as_array().unwrap();
        for alert in alerts {
            let over = alert["status"] == "resolved";
            assert_eq!(alert["endsAt"] != "0001-01-01T00:00:00Z", over, "{alert}");
        }
        let fires = alerts.iter().any(|alert| alert["status"] == "firing");
        assert_eq!(body["status"], if fires { "firing" } else { "resolved" });
    }
    assert_eq!(sent[2]["truncatedAlerts"], 4);
    assert_eq!(
        sent[2]["commonLabels"],
        json!({"alertname": "overheating", "team_name": "heating", "severity": "critical"})
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn webhooks_get_a_body_of_ones_own() {
    let body =
        "{\"text\": {{ (status ~ ': ' ~ title) | tojson }}, \"n\": {{ alerts | length }}, \"all\": {{ row | tojson }}}";
    let [fired, _] = fired_and_resolved();
    let made = sent("webhook", json!({"body": body}), &[fired.clone(), row()]);
    assert_eq!(made[0], json!({"text": "firing: boiler <1> is at 31.3 °C", "n": 1, "all": fired}));
    assert_eq!(made[1]["all"], row());
    assert_eq!(made[1]["text"], "firing: ops: device=a, temperature=21.5, ok=true, at=2026-01-01T00:00:00Z");
    // There is nothing else to send when it cannot be filled in.
    let to = Receiver::start();
    let home = home("webhook", &json!({"url": url(&to), "body": "{{ gone }}"}), &[row()]);
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let letters = said(&run(home.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(letters.contains("the row has no `gone`"), "{letters}");
    assert!(to.came().is_empty());
}

#[test]
fn slack_is_told() {
    let sent = sent("slack", json!({}), &everything());
    for message in &sent {
        let attachment = &message["attachments"][0];
        assert!(message["text"].as_str().unwrap().starts_with('*'));
        for block in attachment["blocks"].as_array().unwrap() {
            let text = block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str()).unwrap();
            assert!(!text.is_empty() && text.chars().count() <= 3_000);
        }
    }
    // Values call nobody.
    assert!(sent[0].to_string().contains("boiler &lt;1&gt;"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn slack_is_told_in_words_of_ones_own() {
    let options = json!({
        "channel": "#ops", "username": "mill", "icon_emoji": ":fire:",
        "title": "<!here> {{ title }}", "text": "{% for a in alerts %}• {{ a.title }}: {{ a.values.temperature | round(1) }}\n{% endfor %}",
        "color": "{{ 'danger' if status == 'firing' else 'good' }}",
    });
    let [fired, resolved] = fired_and_resolved();
    let sent = sent("slack", options, &[fired, resolved]);
    let message = |color: &str, state: &str| {
        json!({
            "text": "<!here> boiler &lt;1&gt; is at 31.3 °C", "channel": "#ops", "username": "mill", "icon_emoji": ":fire:",
            "attachments": [{
                "color": color, "fallback": format!("[{state}] boiler <1> is at 31.3 °C"),
                "blocks": [
                    {"type": "section", "text": {"type": "mrkdwn", "text": "• boiler &lt;1&gt; is at 31.3 °C: 31.3"}},
                    {"type": "context", "elements": [{"type": "mrkdwn", "text": "heating · ops"}]},
                ],
            }],
        })
    };
    assert_eq!(sent, [message("danger", "FIRING"), message("good", "RESOLVED")]);
}

#[test]
fn a_template_that_cannot_be_filled_in_keeps_nobody_from_being_told() {
    let to = Receiver::start();
    let [fired, _] = fired_and_resolved();
    let options = json!({"url": url(&to), "title": "{{ no_such_field }}", "text": "{{ alerts[0].values.temperature | round(1) }}"});
    let output = told("slack", &options, &[fired]);
    assert!(output.status.success() && said(&output).contains("no_such_field"), "{}", said(&output));
    let message = &bodies(&to.came())[0];
    assert_eq!(message["text"], "*[FIRING] boiler &lt;1&gt; is at 31.3 °C*");
    assert_eq!(message["attachments"][0]["blocks"][0]["text"]["text"], "31.3");
}

#[test]
fn teams_is_told() {
    let sent = sent("teams", json!({}), &everything());
    for message in &sent {
        assert_eq!(message["type"], "message");
        let attachment = &message["attachments"][0];
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        assert_eq!(
            (&attachment["content"]["type"], &attachment["content"]["version"]),
            (&json!("AdaptiveCard"), &json!("1.4"))
        );
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn what_is_too_much_for_teams_is_left_out() {
    let alerts: Vec<Value> = (0..20)
        .map(|n| {
            let mut alert = notifications::alert(&format!("d{n}"), true);
            alert["values"]["note"] = json!("é".repeat(900));
            alert["labels"]["note"] = json!("ü".repeat(900));
            alert
        })
        .collect();
    let sent = sent(
        "teams",
        json!({"text": "{{ row.body }}{{ 'x' * 100000 if title == 'long' else '' }}"}),
        &[notification("many", &alerts, 7), notification("long", &alerts, 0)],
    );
    for message in &sent {
        assert!(message.to_string().len() <= 28_000, "{}", message.to_string().len());
    }
    let body = sent[0]["attachments"][0]["content"]["body"].as_array().unwrap();
    let shown = body.iter().filter(|block| block["type"] == "FactSet").count() as u64;
    assert!(shown > 3, "{shown}");
    assert_eq!(body.last().unwrap()["text"], format!("… and {} more", 27 - shown));
}

#[test]
fn pagerduty_gets_an_event_for_each_alert() {
    let sent = sent("pagerduty", json!({"routing_key": "s3cret"}), &everything());
    let actions: Vec<&str> = sent.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve", "trigger", "trigger", "resolve", "trigger", "resolve", "trigger"]);
    assert_eq!(sent[0]["dedup_key"], sent[1]["dedup_key"]);
    assert_eq!(sent[5]["dedup_key"], sent[6]["dedup_key"]);
    let keys: std::collections::BTreeSet<&str> =
        sent.iter().map(|event| event["dedup_key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 6);
    for event in &sent {
        assert_eq!(event["routing_key"], "s3cret");
        if event["event_action"] == "trigger" {
            let payload = &event["payload"];
            assert!(["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap()));
            assert!(
                !payload["source"].as_str().unwrap().is_empty() && !payload["summary"].as_str().unwrap().is_empty()
            );
        }
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn pagerduty_keeps_groups_together_and_knows_who_is_at_it() {
    let mut acknowledged = notifications::alert("a", true);
    acknowledged["acknowledged_by"] = json!("ann");
    let one = notification("a", &[acknowledged], 0);
    let events = sent("pagerduty", json!({"routing_key": "k"}), &[one]);
    assert_eq!(events[0]["event_action"], "acknowledge");
    let over = notification("over", &[notifications::alert("a", false), notifications::alert("b", false)], 0);
    let options =
        json!({"routing_key": "k", "per": "group", "summary": "{{ 'long ' * 1000 }}", "source": "{{ pipeline }}"});
    let events = sent("pagerduty", options, &[group(), over]);
    assert_eq!(events[0]["dedup_key"], "heating:{alertname=\"overheating\"}");
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert_eq!((&events[0]["event_action"], &events[1]["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!(events[0]["payload"]["summary"].as_str().unwrap().chars().count(), 1_024);
    assert_eq!(events[0]["payload"]["source"], "heating");
    let long = sent("pagerduty", json!({"routing_key": "k", "dedup_key": "{{ 'x' * 300 }}"}), &[row()]);
    assert_eq!(long[0]["dedup_key"].as_str().unwrap().len(), 32);
}

/// Whoever cannot take it now is sent it again; whoever never will is not, and nobody hears the secret.
#[test]
fn what_fails_is_sent_again_and_what_is_refused_is_a_dead_letter() {
    for kind in ["webhook", "slack", "teams", "pagerduty"] {
        let to = Receiver::start();
        let mut tried = 0;
        to.answers(move |_| {
            tried += 1;
            match tried {
                1 => (429, vec![("retry-after", "0".to_owned())], "slow down".to_owned()),
                2 => (500, Vec::new(), "a moment".to_owned()),
                3 => (503, vec![("retry-after", "0".to_owned())], String::new()),
                4 => (202, Vec::new(), String::new()),
                5 => (400, Vec::new(), "invalid_payload".to_owned()),
                _ => ok(),
            }
        });
        let mut options = json!({"url": url(&to), "retry": {"first": "1ms", "most": "5ms"}});
        if kind == "pagerduty" {
            options["routing_key"] = json!("s3cret");
        }
        let [fired, resolved] = fired_and_resolved();
        let home = home(kind, &options, &[fired, resolved]);
        let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
        let came = to.came();
        assert_eq!(came.len(), 5, "{kind}: {}", said(&output));
        assert!(came[..4].iter().all(|again| again.body == came[0].body), "{kind}");
        let shown = said(&output) + &said(&run(home.path(), &["dead-letters", "list", "t.yaml"]));
        assert!(shown.contains("the answer was 400 Bad Request: invalid_payload"), "{kind}: {shown}");
        assert!(!shown.contains("s3cret"), "{kind}: {shown}");
        // What was refused may be taken when it is sent once more.
        assert!(run(home.path(), &["dead-letters", "retry", "t.yaml"]).status.success(), "{kind}");
        assert_eq!(to.came()[5].body, came[4].body, "{kind}");
        let state: Vec<u8> = std::fs::read_dir(home.path().join(".millstream"))
            .unwrap()
            .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default())
            .collect();
        assert!(!String::from_utf8_lossy(&state).contains("s3cret"), "{kind}: the state knows no secret");
    }
}

/// A receiver that says nothing, one that goes away before its answer is whole, and one that then takes it.
#[test]
fn those_who_hang_or_die_are_sent_it_again() {
    for kind in ["webhook", "slack", "teams", "pagerduty"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let takes = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut hung = Vec::new();
            for (at, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut head = vec![0; 1 << 16];
                let read = stream.read(&mut head).unwrap_or(0);
                match at {
                    0 => hung.push(stream),
                    1 => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(),
                    2 => stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nhalf of").unwrap(),
                    _ => {
                        takes.lock().unwrap().push(head[..read].to_vec());
                        let _ = stream
                            .write_all(b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                    }
                }
            }
        });
        let mut options = json!({
            "url": format!("http://127.0.0.1:{port}/s3cret"), "timeout": "400ms", "retry": {"first": "1ms", "most": "5ms"},
        });
        if kind == "pagerduty" {
            options["routing_key"] = json!("s3cret");
        }
        let [fired, _] = fired_and_resolved();
        let output = told(kind, &options, &[fired]);
        assert!(output.status.success(), "{kind}: {}", said(&output));
        assert!(!said(&output).contains("s3cret"), "{kind}: {}", said(&output));
        assert!(!taken.lock().unwrap().is_empty(), "{kind}");
    }
}

#[test]
fn one_event_that_is_refused_keeps_no_other_from_pagerduty() {
    let to = Receiver::start();
    to.answers(|came| {
        if came.text().contains("\"b is at") {
            (400, Vec::new(), "no".to_owned())
        } else {
            (202, Vec::new(), String::new())
        }
    });
    let options = json!({"url": url(&to), "routing_key": "k"});
    let home = home("pagerduty", &options, &[group()]);
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let letters = said(&run(home.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(letters.contains("the answer was 400"), "{letters}");
    assert_eq!(to.came().len(), 3);
}
