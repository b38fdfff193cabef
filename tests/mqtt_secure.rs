//! Ways into a real Mosquitto: by password, by TLS with a certificate of one's own, over WebSocket; and what is said to those
//! who are not let in.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/listening.rs"]
mod listening;
#[path = "support/program.rs"]
mod program;
#[path = "support/tls.rs"]
mod tls;

use std::process::Command;

use broker::Broker;
use listening::Listening;
use tls::certificates;

fn pipeline(url: &str, options: &str) -> String {
    format!(
        "name: t\nsources:\n  in:\n    mqtt: {{ url: \"{url}\", topics: a, {options} }}\n\
         sinks:\n  out: {{ file: {{ path: out.ndjson, visible: at_once }} }}\n"
    )
}

/// A broker of people with passwords, with `lines` in its configuration.
fn of_people(home: tempfile::TempDir, lines: &str) -> Broker {
    let path = home.path().join("people");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&path).args(["me", "secret"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    Broker::at(home, &format!("{lines}\nallow_anonymous false\npassword_file HOME/people"))
}

/// Publishes a row, and sees that it comes.
fn comes(broker: &Broker, listening: &Listening, how: &[&str]) {
    listening.until_said("subscribed");
    broker.publish("a", ["{\"n\":1}".to_owned()], &[&["-q", "1"], how].concat());
    assert_eq!(listening.rows(1).first().unwrap()["n"], 1);
}

#[test]
fn a_password_is_shown_and_never_said() {
    let broker = of_people(tempfile::tempdir().unwrap(), "listener PORT 127.0.0.1");
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    for version in ["5", "3.1.1"] {
        let wrong = format!("user: me, password: wr0ng, version: {version}");
        let listening = Listening::start(&pipeline(&url, &wrong));
        listening.until_said("the broker does not let us in");
        assert!(!listening.said().contains("wr0ng"), "{}", listening.said());
        let right = format!("user: me, password: secret, version: {version}, client_id: v{version}");
        let listening = Listening::start(&pipeline(&url, &right));
        comes(&broker, &listening, &["-u", "me", "-P", "secret"]);
        assert!(!listening.said().contains("secret"), "{}", listening.said());
    }
}

#[test]
fn certificates_are_shown_on_both_sides() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let lines = "listener PORT 127.0.0.1\ncafile HOME/ca.pem\ncertfile HOME/localhost.pem\nkeyfile HOME/localhost-key.pem\n\
                 require_certificate true";
    let broker = of_people(home, lines);
    let at = |name: &str| broker.home.path().join(name).to_str().unwrap().to_owned();
    let (ca, certificate, key) = (at("ca.pem"), at("client.pem"), at("client-key.pem"));
    let url = format!("mqtts://localhost:{}", broker.port);
    let own = format!("ca: {ca}, certificate: {certificate}, key: {key}");
    for version in ["5", "3.1.1"] {
        let options = |tls: &str| {
            format!("version: {version}, client_id: v{version}, user: me, password: secret, tls: {{ {tls} }}")
        };
        for (tls, said) in [("", "UnknownIssuer"), (format!("ca: {ca}").as_str(), "ertificate")] {
            let listening = Listening::start(&pipeline(&url, &options(tls)));
            listening.until("it is told why", |text| text.contains("not connected") && text.contains(said));
        }
        let listening = Listening::start(&pipeline(&url, &options(&own)));
        let how =
            ["-u", "me", "-P", "secret", "-h", "localhost", "--cafile", &ca, "--cert", &certificate, "--key", &key];
        comes(&broker, &listening, &how);
        if version == "5" {
            // The broker keeps back what is too large.
            continue;
        }
        drop(listening);
        // What is too large is one dead letter, and the connection stays.
        let mut listening = Listening::start(&pipeline(&url, &(options(&own) + ", max_message: 1KB")));
        listening.until("it goes on", |text| text.contains("session=true"));
        broker.publish("a", ["x".repeat(100_000), "{\"n\":2}".to_owned()], &[&["-q", "1"], &how[..]].concat());
        assert_eq!(listening.rows(1).first().unwrap()["n"], 2);
        assert_eq!(listening.said().matches("connected entry=").count(), 1, "{}", listening.said());
        listening.stop();
    }
}

#[test]
fn messages_come_over_websocket() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let (plain, secure) = (broker::free_port(), broker::free_port());
    let lines = format!(
        "listener PORT 127.0.0.1\nallow_anonymous true\nlistener {plain} 127.0.0.1\nprotocol websockets\n\
         listener {secure} 127.0.0.1\nprotocol websockets\ncertfile HOME/localhost.pem\nkeyfile HOME/localhost-key.pem"
    );
    let broker = Broker::at(home, &lines);
    let ca = broker.home.path().join("ca.pem");
    let tls = format!("tls: {{ ca: {} }}", ca.to_str().unwrap());
    for (url, options) in [
        (format!("ws://localhost:{plain}/mqtt"), "client_id: a".to_owned()),
        (format!("ws://localhost:{plain}/mqtt"), "client_id: b, version: 3.1.1".to_owned()),
        (format!("wss://localhost:{secure}/mqtt"), format!("client_id: c, {tls}")),
        (format!("wss://localhost:{secure}/mqtt"), format!("client_id: d, version: 3.1.1, {tls}")),
    ] {
        comes(&broker, &Listening::start(&pipeline(&url, &options)), &[]);
    }
}
