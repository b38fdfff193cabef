//! Messages of a real Mosquitto under load, while connections are cut, the broker is restarted and the program is killed:
//! of QoS 1 and 2 none is lost, and what the broker brings again counts once.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/listening.rs"]
mod listening;
#[path = "support/program.rs"]
mod program;

use broker::{Broker, Proxy};
use listening::Listening;

const PLAIN: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in:
    mqtt: { url: "mqtt://127.0.0.1:PORT", topics: load, keep_alive: 5s, OPTIONS }
sinks:
  out: { file: { path: out.ndjson } }
"#;

/// Messages that are published.
const MANY: usize = 20_000;

fn pipeline(port: u16, options: &str) -> String {
    PLAIN.replace("PORT", &port.to_string()).replace("OPTIONS", options)
}

/// Every message is there once, and in order.
fn all_once(listening: &Listening, many: usize) {
    let rows = listening.rows(many);
    let seen: Vec<usize> = rows.iter().map(|row| usize::try_from(row["n"].as_u64().unwrap()).unwrap()).collect();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((sorted.len(), seen.len()), (many, many), "as many different ones as there are rows");
    assert_eq!(sorted, (0..many).collect::<Vec<_>>());
}

fn publish(broker: &Broker, many: usize, qos: &str) {
    broker.publish("load", (0..many).map(|n| format!("{{\"n\":{n}}}")), &["-q", qos]);
}

fn is_cut(options: &str, qos: &str) {
    let broker = Broker::start("");
    let proxy = Proxy::before(broker.port);
    let listening = Listening::start(&pipeline(proxy.port, options));
    listening.until_said("subscribed");
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&broker, MANY, qos));
        // While messages come. Cut more often, it would be suspected that another client has our name, and waited longer.
        for part in 1..=2 {
            listening.rows(MANY / 4 * part);
            proxy.cut();
        }
    });
    all_once(&listening, MANY);
}

#[test]
fn connections_are_cut() {
    is_cut("qos: 1", "1");
}

#[test]
fn connections_of_the_old_version_are_cut() {
    is_cut("qos: 1, version: 3.1.1", "1");
}

#[test]
fn connections_are_cut_while_messages_of_qos_2_come() {
    is_cut("qos: 2", "2");
}

#[test]
fn connections_of_the_old_version_are_cut_while_messages_of_qos_2_come() {
    is_cut("qos: 2, version: 3.1.1", "2");
}

fn is_killed(options: &str, qos: &str) {
    let broker = Broker::start("");
    let mut listening = Listening::start(&pipeline(broker.port, options));
    listening.until_said("subscribed");
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&broker, MANY, qos));
        for part in 1..=6 {
            listening.rows(MANY / 8 * part);
            listening.kill();
            listening.run();
        }
    });
    all_once(&listening, MANY);
}

#[test]
fn the_program_is_killed() {
    is_killed("qos: 1", "1");
}

#[test]
fn the_program_of_the_old_version_is_killed() {
    is_killed("qos: 1, version: 3.1.1", "1");
}

#[test]
fn the_program_is_killed_while_messages_of_qos_2_come() {
    is_killed("qos: 2", "2");
}

/// The broker ends well and has its sessions when it is there again.
#[test]
fn the_broker_is_restarted() {
    let mut broker = Broker::start("");
    for options in ["qos: 1", "qos: 2, client_id: two", "qos: 2, version: 3.1.1, client_id: old"] {
        // Nobody takes them yet.
        let mut listening = Listening::start(&pipeline(broker.port, options));
        listening.until_said("subscribed");
        listening.stop();
        publish(&broker, MANY, if options.starts_with("qos: 1") { "1" } else { "2" });
        listening.run();
        for part in 1..4 {
            listening.rows(MANY / 8 * part);
            broker.stop();
            broker.again();
        }
        all_once(&listening, MANY);
        listening.stop();
    }
}
