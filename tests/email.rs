//! Notifications by mail, sent by the program itself to a server that speaks SMTP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::process::Output;

use millstream::connectors::tls::ServerTls;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/mail.rs"]
mod mail;
#[path = "support/notifications.rs"]
mod notifications;
#[path = "support/program.rs"]
mod program;
#[path = "support/tls.rs"]
mod tls;

use mail::{Came, Does, Listens, MailServer};
use notifications::{fired_and_resolved, group, lines, row};
use program::{run, said, with_texts};

fn home(server: &MailServer, more: Value, rows: &[Value]) -> TempDir {
    let mut options = json!({
        "server": "localhost", "port": server.port, "tls": "none",
        "from": "Millstream <alerts@example.org>", "to": ["ops@example.org"],
        "retry": {"first": "1ms", "most": "5ms"},
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let yaml =
        format!("name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  ops:\n    email: {options}\n");
    with_texts(&[("t.yaml", &yaml), ("in.ndjson", &lines(rows))])
}

fn told(server: &MailServer, more: Value, rows: &[Value]) -> Output {
    run(home(server, more, rows).path(), &["run", "--quiet", "t.yaml"])
}

/// A message without what differs from run to run.
fn steady(came: &Came) -> String {
    let boundary = came.header("content-type");
    let boundary = boundary.split_once("boundary=\"").map(|(_, rest)| rest.trim_end_matches('"').to_owned());
    let text = boundary.map_or_else(|| came.text.clone(), |boundary| came.text.replace(&boundary, "BOUNDARY"));
    text.replace(&came.header("date"), "DATE").replace('\r', "")
}

#[test]
fn a_notification_is_a_message() {
    let server = MailServer::start(Listens::default());
    let [fired, resolved] = fired_and_resolved();
    let more = json!({"to": ["ops@example.org", "Ann <ann@example.org>"], "cc": "boss@example.org", "reply_to": "desk@example.org"});
    let output = told(&server, more.clone(), &[fired, resolved, group(), row()]);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    let came = server.came();
    assert_eq!(came.len(), 4);
    assert_eq!(came[0].from, "alerts@example.org");
    assert_eq!(came[0].to, ["ops@example.org", "ann@example.org", "boss@example.org"]);
    for (name, value) in [
        ("from", "Millstream <alerts@example.org>"),
        ("to", "ops@example.org, Ann <ann@example.org>"),
        ("cc", "boss@example.org"),
        ("reply-to", "desk@example.org"),
        ("auto-submitted", "auto-generated"),
    ] {
        assert_eq!(came[0].header(name), value);
    }
    assert_eq!(came[0].header("references"), came[2].header("references"));
    assert!(came[0].header("references").starts_with("<group-"));
    let ids: std::collections::BTreeSet<String> = came.iter().map(|came| came.header("message-id")).collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| id.len() == 32 + "<@example.org>".len()), "{ids:?}");
    insta::assert_snapshot!(came.iter().map(steady).collect::<Vec<_>>().join("\n════\n"));
}

#[test]
fn what_a_row_has_makes_no_header_of_its_own() {
    let server = MailServer::start(Listens::default());
    let evil = "hot\r\nBcc: eve@example.org\r\n\r\nbody\r\n.\r\nMAIL FROM:<eve@example.org>";
    let mut fired = fired_and_resolved()[0].clone();
    fired["title"] = json!(evil);
    fired["body"] = json!("a\r\n.\r\nQUIT\r\n");
    let more = json!({"subject": "{{ title }}", "text": "{{ title }}\n.\n{{ body }}", "html": "<b>{{ title }}</b>"});
    assert!(told(&server, more, &[fired]).status.success());
    let came = server.came();
    assert_eq!(came.len(), 1);
    assert_eq!(came[0].to, ["ops@example.org"]);
    let (head, _) = came[0].text.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{head}");
    assert!(!server.lines().iter().any(|line| line.contains("MAIL FROM:<eve")), "{:?}", server.lines());
}

#[test]
fn templates_are_the_authors_and_html_is_escaped() {
    let server = MailServer::start(Listens::default());
    let [fired, _] = fired_and_resolved();
    assert!(told(&server, json!({"text": "{{ title }}\n"}), std::slice::from_ref(&fired)).status.success());
    let more = json!({"subject": "{{ severity | upper }}: {{ title }}", "html": "<p>{{ title }}</p>"});
    assert!(told(&server, more, &[fired]).status.success());
    let came = server.came();
    assert!(came[0].header("content-type").starts_with("text/plain"), "{}", came[0].text);
    assert!(came[1].header("content-type").starts_with("multipart/alternative"), "{}", came[1].text);
    assert!(came[1].text.contains("boiler &lt;1&gt;"), "{}", came[1].text);
}

fn server_tls(home: &TempDir) -> std::sync::Arc<rustls::ServerConfig> {
    tls::certificates(home.path());
    let shown = ServerTls { certificate: "localhost.pem".into(), key: "localhost-key.pem".into(), client_ca: None };
    shown.config(home.path()).unwrap()
}

#[test]
fn mail_goes_over_tls_and_who_sends_logs_in() {
    let keys = TempDir::new().unwrap();
    let config = server_tls(&keys);
    let [fired, resolved] = fired_and_resolved();
    let ca = keys.path().join("ca.pem");
    for (mode, implicit) in [("starttls", false), ("implicit", true)] {
        let login = Some(("mill", "s3cret"));
        let server = MailServer::start(Listens { tls: Some(config.clone()), implicit, login });
        let more = json!({"tls": mode, "ca": ca, "user": "mill", "password": "s3cret"});
        let output = told(&server, more, &[fired.clone(), resolved.clone()]);
        assert!(output.status.success() && said(&output).is_empty(), "{mode}: {}", said(&output));
        let came = server.came();
        assert_eq!(came.len(), 2, "{mode}");
        assert!(came.iter().all(|came| came.secure && came.login.as_deref() == Some("mill")), "{mode}");
        // One connection does for both.
        assert_eq!(server.lines().iter().filter(|line| line.starts_with("AUTH")).count(), 1, "{mode}");
    }
}

#[test]
fn nothing_is_said_to_those_who_are_not_known() {
    let keys = TempDir::new().unwrap();
    let config = server_tls(&keys);
    let [fired, _] = fired_and_resolved();
    let give_up = json!({"first": "1ms", "most": "1ms", "give_up_after": "1ms"});
    // A server without TLS, where TLS is asked for: whoever stands in between may have taken it out.
    let plain = MailServer::start(Listens { login: Some(("mill", "s3cret")), ..Listens::default() });
    let more = json!({"tls": "starttls", "user": "mill", "password": "s3cret", "retry": give_up});
    let output = told(&plain, more, std::slice::from_ref(&fired));
    assert!(said(&output).contains("it offers no STARTTLS"), "{}", said(&output));
    assert!(plain.lines().iter().all(|line| line.starts_with("EHLO")), "{:?}", plain.lines());
    // A wrong password is for a person to put right: it is tried again until it is given up, and is not shown.
    let locked = MailServer::start(Listens { tls: Some(config), implicit: false, login: Some(("mill", "other")) });
    let more = json!({
        "tls": "starttls", "ca": keys.path().join("ca.pem"), "user": "mill", "password": "s3cret", "retry": give_up,
    });
    let output = told(&locked, more, &[fired]);
    assert!(said(&output).contains("535") && !said(&output).contains("s3cret"), "{}", said(&output));
    assert!(locked.came().is_empty());
}

#[test]
fn what_fails_is_sent_again_under_its_id() {
    for (at, does) in [
        ("RCPT", Does::Says("450 later")),
        (".", Does::Says("451 later")),
        ("MAIL", Does::Says("421 closing")),
        ("DATA", Does::Cuts),
        (".", Does::Cuts),
        ("EHLO", Does::Cuts),
        (".", Does::Hangs),
        ("EHLO", Does::Hangs),
    ] {
        let server = MailServer::start(Listens::default());
        let mut times = 0;
        server.behaves(move |line| {
            times += u32::from(line.starts_with(at));
            if line.starts_with(at) && times < 3 { does } else { Does::Right }
        });
        let [fired, resolved] = fired_and_resolved();
        let output = told(&server, json!({"timeout": "500ms"}), &[fired, resolved]);
        assert!(output.status.success(), "{at}: {}", said(&output));
        let came = server.came();
        assert_eq!(came.len(), 2, "{at}");
        assert_ne!(came[0].header("message-id"), came[1].header("message-id"), "{at}");
    }
}

#[test]
fn what_is_refused_is_a_dead_letter() {
    let server = MailServer::start(Listens::default());
    server.behaves(|line| if line.contains("ops@") { Does::Says("550 no such user") } else { Does::Right });
    let [fired, _] = fired_and_resolved();
    let refused = home(&server, json!({}), std::slice::from_ref(&fired));
    assert!(run(refused.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let letters = said(&run(refused.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(letters.contains("550") && letters.contains("no such user"), "{letters}");
    // The others have it all the same.
    let output = told(&server, json!({"to": ["ops@example.org", "ann@example.org"]}), &[fired]);
    assert!(output.status.success() && said(&output).contains("refused for some"), "{}", said(&output));
    assert_eq!(server.came()[0].to, ["ann@example.org"]);
}

#[test]
fn those_who_have_it_are_not_sent_it_again() {
    let server = MailServer::start(Listens::default());
    let mut times = 0;
    server.behaves(move |line| {
        times += u32::from(line.contains("<ann@"));
        if line.contains("<ann@") && times < 3 { Does::Says("450 greylisted") } else { Does::Right }
    });
    let [fired, _] = fired_and_resolved();
    let output = told(&server, json!({"to": ["ops@example.org", "ann@example.org"]}), &[fired]);
    assert!(output.status.success(), "{}", said(&output));
    let to: Vec<Vec<String>> = server.came().into_iter().map(|came| came.to).collect();
    assert_eq!(to, [["ops@example.org"], ["ann@example.org"]]);
}
