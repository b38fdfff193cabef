//! Alerts at Prometheus Alertmanager: the real one, asked by its own interface what it has.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/broker.rs"]
mod broker;
#[path = "support/notifications.rs"]
mod notifications;
#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use broker::free_port;
use notifications::{alert, group, lines, notification, row};
use program::{run, said, until, with_texts};
use receiver::{Receiver, ok};

/// An Alertmanager of the test's own.
struct Alertmanager {
    port: u16,
    child: Child,
    _home: TempDir,
}

impl Alertmanager {
    fn start() -> Alertmanager {
        let home = with_texts(&[("a.yml", "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")]);
        let port = free_port();
        let mut command = Command::new("prometheus-alertmanager");
        command.args(["--config.file=a.yml", "--storage.path=data", "--cluster.listen-address="]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(home.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("Alertmanager, as Debian has it: `apt-get install prometheus-alertmanager`");
        let started = Alertmanager { port, child, _home: home };
        until("Alertmanager", || started.get("/-/ready").is_some());
        started
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// Alerts that fire, by what one of their labels says.
    fn firing(&self, label: &str) -> Vec<String> {
        let list: Vec<Value> = serde_json::from_str(&self.get("/api/v2/alerts").unwrap()).unwrap();
        let mut found: Vec<String> =
            list.iter().filter_map(|alert| Some(alert["labels"][label].as_str()?.to_owned())).collect();
        found.sort();
        found
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn home(options: &Value) -> TempDir {
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  am:\n    alertmanager: {options}\n"
    );
    with_texts(&[("t.yaml", &yaml)])
}

fn tell(home: &Path, rows: &[Value]) -> String {
    std::fs::write(home.join("in.ndjson"), lines(rows)).unwrap();
    let output = run(home, &["run", "--quiet", "--fresh", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

#[test]
fn alerts_fire_and_resolve_there() {
    let there = Alertmanager::start();
    let options = json!({
        "url": format!("http://127.0.0.1:{}", there.port), "labels": {"site": "{{ pipeline }}"},
        "annotations": {"summary": "!{{ title }}"},
    });
    let home = home(&options);
    assert_eq!(tell(home.path(), &[group()]), "");
    assert_eq!(there.firing("device_id"), ["a", "b"]);
    let list: Vec<Value> = serde_json::from_str(&there.get("/api/v2/alerts").unwrap()).unwrap();
    let a = list.iter().find(|alert| alert["labels"]["device_id"] == "a").unwrap();
    let labels = json!({
        "alertname": "overheating", "device_id": "a", "severity": "critical", "team_name": "heating", "site": "heating",
    });
    assert_eq!(a["labels"], labels);
    assert_eq!(a["startsAt"], "2026-01-01T00:02:00.000Z");
    assert_eq!(a["generatorURL"], "https://example.org/runbooks/overheating?a=1&b=2");
    assert_eq!(a["annotations"]["summary"], "!a is at 31.3 °C");
    assert_eq!(a["annotations"]["description"], "Above 30 °C for 2 windows.");
    assert_eq!(a["annotations"]["condition"], "temperature > 30");
    assert_eq!(a["annotations"]["values"], "temperature = 31.26, readings = 60");
    let starts: jiff::Timestamp = a["startsAt"].as_str().unwrap().parse().unwrap();
    let ends: jiff::Timestamp = a["endsAt"].as_str().unwrap().parse().unwrap();
    assert!(ends > starts && ends > jiff::Timestamp::now());
    // One of them is over, the other says so again.
    let over = notification("over", &[alert("a", false)], 0);
    let again = notification("again", &[alert("b", true)], 0);
    tell(home.path(), &[over, again]);
    assert_eq!(there.firing("device_id"), ["b"]);
    // A row that is no notification is an alert, too, until one says that it is over.
    tell(home.path(), &[row()]);
    assert_eq!(there.firing("device"), ["a"]);
    let mut over = row();
    over["status"] = json!("resolved");
    tell(home.path(), &[over]);
    assert_eq!(there.firing("device"), Vec::<String>::new());
}

#[test]
fn it_takes_what_no_name_of_prometheus_may_be() {
    let there = Alertmanager::start();
    let home = home(&json!({"url": [format!("http://127.0.0.1:{}/", there.port)]}));
    let mut odd = alert("a", true);
    odd["labels"] = json!({"alertname": "x", "2nd floor": "y", "größe": "z", "a.b": "1", "a b": "2", "empty": ""});
    assert_eq!(tell(home.path(), &[notification("odd", &[odd], 0)]), "");
    let list: Vec<Value> = serde_json::from_str(&there.get("/api/v2/alerts").unwrap()).unwrap();
    let labels = json!({
        "alertname": "overheating", "_2nd_floor": "y", "gr__e": "z", "a_b": "1", "a_b_2": "2", "device_id": "a",
        "severity": "critical",
    });
    assert_eq!(list[0]["labels"], labels);
}

#[test]
fn one_of_a_cluster_is_enough() {
    let (mut first, second) = (Receiver::start(), Receiver::start());
    let to = |receiver: &Receiver| format!("http://ann:s3cret@{}/am", receiver.address);
    let home = home(&json!({"url": [to(&first), to(&second)], "retry": {"first": "1ms", "most": "5ms"}}));
    assert_eq!(tell(home.path(), &[group()]), "");
    assert_eq!(first.came()[0].body, second.came()[0].body);
    assert_eq!(
        (first.came()[0].path.as_str(), first.came()[0].header("authorization")),
        ("/am/api/v2/alerts", "Basic YW5uOnMzY3JldA==")
    );
    first.leave();
    let told = tell(home.path(), &[group(), group()]);
    assert!(told.contains("takes no alerts; others of the cluster do") && !told.contains("s3cret"), "{told}");
    assert_eq!(second.came().len(), 3);
    // When none takes it, it is tried again until one does.
    let mut tried = 0;
    second.answers(move |_| {
        tried += 1;
        if tried < 3 { (503, vec![("retry-after", "0".to_owned())], String::new()) } else { ok() }
    });
    tell(home.path(), &[group()]);
    assert_eq!(second.came().len(), 6);
}
