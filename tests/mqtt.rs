//! Messages of a real Mosquitto, taken by the program itself: what it takes, how it gets in, what it says.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/listening.rs"]
mod listening;
#[path = "support/program.rs"]
mod program;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use broker::Broker;
use listening::Listening;
use serde_json::Value;

const PLAIN: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in:
    mqtt: { url: "mqtt://127.0.0.1:PORT", topics: TOPICS, OPTIONS }
steps:
  said:
    script: |
      topic = meta.topic;
      qos = meta.qos;
      retain = meta.retain;
      kind = meta.content_type;
      site = meta.properties.site;
sinks:
  out: { file: { path: out.ndjson, visible: at_once } }
"#;

fn pipeline(port: u16, topics: &str, options: &str) -> String {
    PLAIN.replace("PORT", &port.to_string()).replace("TOPICS", topics).replace("OPTIONS", options)
}

fn numbers(from: u64, to: u64) -> impl Iterator<Item = String> {
    (from..to).map(|n| format!("{{\"n\":{n}}}"))
}

#[test]
fn messages_come_with_what_is_said_of_them() {
    let broker = Broker::start("");
    for version in ["5", "3.1.1"] {
        broker.publish("kept/one", ["{\"n\":0}".to_owned()], &["-q", "1", "-r"]);
        let options = format!("qos: 2, version: {version}, client_id: \"v{version}\"");
        let mut listening = Listening::start(&pipeline(broker.port, "[a/+/b, \"c/#\", kept/+]", &options));
        listening.until_said("topic=\"kept/+\"");
        let properties = ["-V", "5", "-D", "PUBLISH", "user-property", "site", "x y"];
        let properties = [&properties[..], &["-D", "PUBLISH", "content-type", "application/json"]].concat();
        for (topic, qos, n) in [("a/1/b", "0", 1), ("a/1/c", "1", 2), ("c", "1", 3), ("c/d/e", "2", 4)] {
            broker.publish(topic, numbers(n, n + 1), &[&properties[..], &["-q", qos]].concat());
        }
        let rows = listening.rows(4);
        let of = |n: u64| rows.iter().find(|row| row["n"] == n).unwrap_or_else(|| panic!("{n} of {rows:?}"));
        assert_eq!(of(0)["topic"], "kept/one");
        assert_eq!(of(0)["retain"], true);
        for (n, topic, qos) in [(1, "a/1/b", 0), (3, "c", 1), (4, "c/d/e", 2)] {
            let row = of(n);
            assert_eq!((&row["topic"], &row["qos"], &row["retain"]), (&topic.into(), &qos.into(), &false.into()));
            let (kind, site) =
                if version == "5" { ("application/json".into(), "x y".into()) } else { Default::default() };
            assert_eq!((&row["kind"], &row["site"]), (&kind, &site), "{version}");
        }
        listening.stop();
        // Nothing of it is brought again, and what came meanwhile is.
        broker.publish("c", numbers(5, 8), &["-q", "1"]);
        listening.run();
        let rows = listening.rows(7);
        assert_eq!(rows.len(), 7, "{rows:?}");
        listening.stop();
    }
}

/// What was subscribed to and is no longer asked for does not come, although the broker keeps the session.
#[test]
fn subscriptions_that_are_gone_are_taken_back() {
    let broker = Broker::start("");
    for version in ["5", "3.1.1"] {
        let options = format!("version: {version}, client_id: \"v{version}\"");
        let mut listening = Listening::start(&pipeline(broker.port, "[one, two]", &options));
        listening.until_said("topic=\"two\"");
        listening.stop();
        listening.write(&pipeline(broker.port, "[two, three]", &options));
        listening.run();
        listening.until_said("topic=\"three\"");
        listening.until_said("unsubscribed");
        for (topic, n) in [("one", 1), ("two", 2), ("three", 3)] {
            broker.publish(topic, numbers(n, n + 1), &["-q", "1"]);
        }
        let rows = listening.rows(2);
        let mut topics: Vec<&Value> = rows.iter().map(|row| &row["topic"]).collect();
        topics.sort_by_key(|topic| topic.to_string());
        assert_eq!(topics, ["three", "two"], "{version}");
        listening.stop();
    }
}

/// Two of one group have every message once between them.
#[test]
fn a_group_shares_what_comes() {
    let broker = Broker::start("");
    let topics = "\"$share/group/s/#\"";
    let one = Listening::start(&pipeline(broker.port, topics, "client_id: one"));
    let other = Listening::start(&pipeline(broker.port, topics, "client_id: other, version: 3.1.1"));
    one.until_said("subscribed");
    other.until_said("subscribed");
    broker.publish("s/x", numbers(0, 200), &["-q", "1"]);
    one.until("both have all", |_| one.rows(0).len() + other.rows(0).len() >= 200);
    let mut seen: Vec<u64> =
        [one.rows(1), other.rows(1)].concat().iter().map(|row| row["n"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}

/// A broker that has lost its memory is subscribed to again.
#[test]
fn a_broker_that_comes_back_without_its_memory_is_told_again() {
    let mut broker = Broker::start("");
    let listening = Listening::start(&pipeline(broker.port, "a", ""));
    listening.until_said("subscribed");
    broker.kill();
    std::fs::remove_file(broker.home.path().join("mosquitto.db")).ok();
    listening.until_said("the broker has gone");
    broker.again();
    listening.until("subscribed twice", |said| said.matches(" subscribed").count() == 2);
    broker.publish("a", numbers(1, 2), &["-q", "1"]);
    assert_eq!(listening.rows(1).len(), 1);
}

/// A broker that says that another client has come by the same name. Mosquitto 2.0.11 ends the connection without a word.
#[test]
fn another_client_of_the_same_name_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        // CONNACK, and DISCONNECT with the reason 0x8e.
        stream.write_all(&[0x20, 3, 0, 0, 0, 0xe0, 2, 0x8e, 0]).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let listening = Listening::start(&pipeline(port, "a", "client_id: same"));
    listening.until_said("another client has come by the same `client_id`");
    broker.join().unwrap();
}

/// The same shows when connections end at once again and again.
#[test]
fn connections_that_are_ended_at_once_are_told_apart() {
    let broker = Broker::start("");
    let port = broker.port.to_string();
    let listening = Listening::start(&pipeline(broker.port, "a", "client_id: same"));
    listening.until_said("subscribed");
    let mut command = std::process::Command::new("mosquitto_sub");
    let mut other = command.args(["-h", "127.0.0.1", "-p", &port, "-i", "same", "-t", "b"]).spawn().unwrap();
    listening.until_said("perhaps another client comes by the same `client_id`");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// A broker says for us that we are gone; what is published while we are is not seen with a clean start.
#[test]
fn a_will_is_published_and_a_clean_start_forgets() {
    let broker = Broker::start("");
    for version in ["5", "3.1.1"] {
        let will = format!("will: {{ topic: gone/v{version}, payload: bye, qos: 1, retain: true }}");
        let options = format!("version: {version}, client_id: \"v{version}\", clean_start: true, {will}");
        let mut listening = Listening::start(&pipeline(broker.port, "a", &options));
        listening.until_said("subscribed");
        broker.publish("a", numbers(1, 2), &["-q", "1"]);
        listening.rows(1);
        listening.kill();
        let mut hear = std::process::Command::new("mosquitto_sub");
        hear.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-t", &format!("gone/v{version}"), "-C", "1"]);
        assert_eq!(program::text(&hear.output().unwrap().stdout), "bye\n");
        broker.publish("a", numbers(2, 3), &["-q", "1"]);
        listening.run();
        listening.until_said("subscribed");
        broker.publish("a", numbers(3, 4), &["-q", "1"]);
        let rows = listening.rows(2);
        let seen: Vec<&Value> = rows.iter().map(|row| &row["n"]).collect();
        assert_eq!(seen, [1, 3], "{version}");
        listening.stop();
    }
}

/// Of many messages each has what is said of it, also next to some that cannot be read.
#[test]
fn what_is_said_of_messages_stays_with_them() {
    let broker = Broker::start("");
    let mut listening = Listening::start(&pipeline(broker.port, "[a, b]", "qos: 1"));
    listening.until_said("topic=\"b\"");
    listening.stop();
    // They come together when it is there again.
    for n in 0..40 {
        let topic = if n % 2 == 0 { "a" } else { "b" };
        let text = if n % 5 == 0 { "{\"n\":".to_owned() } else { format!("{{\"n\":{n}}}") };
        broker.publish(topic, [text], &["-q", "1"]);
    }
    listening.run();
    let rows = listening.rows(32);
    assert_eq!(rows.len(), 32);
    for row in rows {
        let n = row["n"].as_u64().unwrap();
        assert_eq!(row["topic"], if n % 2 == 0 { "a" } else { "b" }, "{n}");
    }
    listening.stop();
}

/// In 3.1.1 nobody can tell a broker how large a message may be: one that is larger becomes a dead letter, and what comes
/// behind it comes.
#[test]
fn what_is_too_large_is_one_dead_letter() {
    let websocket = broker::free_port();
    let broker = Broker::start(&format!(
        "listener PORT 127.0.0.1\nallow_anonymous true\nlistener {websocket} 127.0.0.1\nprotocol websockets\n"
    ));
    let large = |n: u64| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(300_000));
    for (qos, url) in [("0", ""), ("1", ""), ("2", ""), ("1", "ws")] {
        let options = format!("version: 3.1.1, qos: {qos}, client_id: \"c{qos}{url}\", max_message: 1KB");
        let mut yaml = pipeline(broker.port, "a", &options);
        if url == "ws" {
            yaml = yaml.replace(&format!("mqtt://127.0.0.1:{}", broker.port), &format!("ws://127.0.0.1:{websocket}/"));
        }
        let mut listening = Listening::start(&yaml);
        listening.until_said("subscribed");
        let texts = [large(1), "{\"n\":2}".to_owned(), large(3), large(4), "{\"n\":5}".to_owned()];
        broker.publish("a", texts, &["-q", qos]);
        let seen: Vec<Value> = listening.rows(2).iter().map(|row| row["n"].clone()).collect();
        assert_eq!(seen, [2, 5], "{qos}");
        assert_eq!(listening.said().matches("connected entry=").count(), 1, "{}", listening.said());
        listening.stop();
        let list = ["dead-letters", "list", "--format", "ndjson", "t.yaml"];
        let letters = program::run(listening.home.path(), &list);
        let letters = program::said(&letters);
        assert_eq!(letters.matches("more than the 1000 of `max_message`").count(), 3, "{letters}");
        assert!(letters.contains(r#"{\"n\":1,\"pad\":\"xxx"#), "its beginning is kept: {letters}");
    }
}
