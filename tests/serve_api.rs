//! The interface of `serve` over real pipelines: alerts, dead letters, state, rows as they pass, and `ctl`.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use self::daemon::Daemon;
use self::program::{command, read, run, said, text, until, with_texts};

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a row to a source that listens, or will soon.
fn send(port: u16, row: &str) {
    let sent = || -> Option<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let head =
            format!("POST /in HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", row.len());
        stream.write_all(format!("{head}{row}").as_bytes()).ok()?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).ok()?;
        Some(answer.starts_with("HTTP/1.1 202"))
    };
    until("the row is taken", || sent() == Some(true));
}

fn hot(port: u16) -> String {
    format!(
        "\
sources:
  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}
steps:
  known: {{ set: {{ place: '\"room \" + device' }} }}
sinks:
  hot:
    from: known
    alert:
      by: device
      when: temperature > 30
      order: arrival
      title: \"{{{{ device }}}} is hot\"
      notify: [people]
receivers:
  people: {{ file: {{ path: people.ndjson, visible: at_once }} }}
checkpoint: {{ every: 100ms }}
"
    )
}

#[test]
fn an_alert_fires_is_acknowledged_and_silenced_while_its_pipeline_runs() {
    let port = free_port();
    let home = with_texts(&[("hot.yaml", &hot(port))]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("hot", "running");
    send(port, r#"{"device":"a","temperature":40}"#);
    let at = "/api/v1/pipelines/hot";
    let firing = daemon.until("it fires", |daemon| {
        let alerts = daemon.get(&format!("{at}/alerts"));
        alerts.as_array()?.first().cloned()
    });
    assert_eq!((firing["alert"].as_str(), firing["state"].as_str()), (Some("hot"), Some("firing")), "{firing}");
    until("people are told", || read(home.path(), "people.ndjson").contains("a is hot"));
    let why = daemon.get(&format!("{at}/alerts/why?alert=hot&key=a"));
    assert!(why.to_string().contains("40"), "{why}");
    let known =
        daemon.post(&format!("{at}/acknowledgements"), r#"{"alert":"hot","key":"a","by":"ann","comment":"on my way"}"#);
    assert!(known.is_object(), "{known}");
    assert!(daemon.get(&format!("{at}/alerts")).to_string().contains("ann"));
    let silence =
        daemon.post(&format!("{at}/silences"), r#"{"matchers":["device=\"b\""],"for":"1h","comment":"being mended"}"#);
    let id = silence["silence"].as_str().unwrap_or_else(|| panic!("{silence}")).to_owned();
    daemon.until_phase("hot", "running");
    send(port, r#"{"device":"b","temperature":50}"#);
    daemon.until("the silenced one fires", |daemon| {
        daemon.get(&format!("{at}/alerts")).as_array().is_some_and(|all| all.len() == 2).then_some(())
    });
    let why_not = daemon.get(&format!("{at}/alerts/why-not?alert=hot&key=b"));
    assert!(why_not.to_string().contains("silence"), "{why_not}");
    assert!(!read(home.path(), "people.ndjson").contains("b is hot"));
    assert_eq!(daemon.get(&format!("{at}/silences"))[0]["comment"], "being mended");
    assert_eq!(daemon.ask("DELETE", &format!("{at}/silences/{id}"), &[], "").0, 200);
    until("what was kept back is told", || read(home.path(), "people.ndjson").contains("b is hot"));
    for device in ["a", "b"] {
        daemon.until_phase("hot", "running");
        send(port, &json!({ "device": device, "temperature": 20 }).to_string());
    }
    daemon.until("all is well", |daemon| daemon.get(&format!("{at}/alerts")).as_array()?.is_empty().then_some(()));
    let history = daemon.get(&format!("{at}/alerts/history?limit=1000"));
    assert!(history.as_array().unwrap().len() >= 4, "{history}");
    // What cannot be is said.
    let bad = |body: &str| daemon.ask("POST", &format!("{at}/silences"), &[], body);
    assert_eq!(bad(r#"{"matchers":[],"for":"1h"}"#).0, 400);
    assert_eq!(bad(r#"{"matchers":["device=\"b\""]}"#).0, 400);
    assert_eq!(bad(r#"{"matchers":["device"],"for":"1h"}"#).0, 400);
    assert_eq!(daemon.ask("DELETE", &format!("{at}/silences/none"), &[], "").0, 409);
}

#[test]
fn dead_letters_are_read_sent_again_and_taken_away() {
    let port = free_port();
    let yaml = format!(
        "sources:\n  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}\nsteps:\n  ratio: {{ set: {{ ratio: a % b }} }}\n  per: {{ from: ratio, window: {{ count: 100, by: b, aggregate: {{ n: count() }} }} }}\nsinks:\n  out: {{ from: ratio, file: {{ path: out.ndjson, visible: at_once }} }}\n  counts: {{ from: per, file: {{ path: counts.ndjson }} }}\ncheckpoint: {{ every: 100ms }}\n"
    );
    let home = with_texts(&[("p.yaml", &yaml)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("p", "running");
    for row in [r#"{"a":5,"b":3}"#, r#"{"a":5,"b":0}"#, r#"{"a":7,"b":0}"#] {
        send(port, row);
    }
    let at = "/api/v1/pipelines/p";
    let letters = daemon.until("both letters", |daemon| {
        let letters = daemon.get(&format!("{at}/dead-letters"));
        (letters["total"] == 2).then_some(letters)
    });
    assert_eq!(letters["letters"][0]["entry"], "ratio");
    assert_eq!(letters["letters"][0]["original"], r#"{"a":5,"b":0}"#);
    let page = daemon.get(&format!("{at}/dead-letters?limit=1"));
    let after = page["next"].as_u64().unwrap();
    let rest = daemon.get(&format!("{at}/dead-letters?limit=1&after={after}"));
    assert_eq!(rest["letters"][0]["original"], r#"{"a":7,"b":0}"#);
    assert!(rest["next"].is_null());
    let tried = daemon.post(&format!("{at}/dead-letters/retry"), r#"{"dry_run":true}"#);
    assert_eq!(tried["dead"], 2, "{tried}");
    daemon.until_phase("p", "running");
    let sent = daemon.post(&format!("{at}/dead-letters/retry"), &json!({ "letters": { "ids": [after] } }).to_string());
    assert_eq!(sent["dead"], 1, "{sent}");
    let purged = daemon.post(&format!("{at}/dead-letters/purge"), r#"{"letters":{"entry":"ratio"}}"#);
    assert_eq!(purged["purged"], 2);
    assert_eq!(daemon.get(&format!("{at}/dead-letters"))["total"], 0);
    daemon.until_phase("p", "running");
    // What is kept, by key.
    let steps = daemon.until("state", |daemon| {
        let steps = daemon.get(&format!("{at}/state"));
        (!steps.as_array()?.is_empty()).then_some(steps)
    });
    assert_eq!(steps[0]["step"], "per");
    let keys = daemon.until("its key", |daemon| {
        let keys = daemon.get(&format!("{at}/state/per?key=3"));
        (keys.as_array()?.len() == 1).then_some(keys)
    });
    assert_eq!(keys[0]["key"], json!([3]));
    assert_eq!(daemon.ask("GET", &format!("{at}/state/none"), &[], "").0, 404);
    assert_eq!(daemon.ask("GET", &format!("{at}/dead-letters?cause=none"), &[], "").0, 400);
}

#[test]
fn rows_are_seen_as_they_pass() {
    let yaml = "sources:\n  gen: { generate: { rate: 200, fields: { n: { sequence: {} }, device: { cycle: [a, b] }, secret: 1, user: { mail: x } } } }\nsinks:\n  out: { discard: {} }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let daemon = Daemon::start(home.path(), &["--redact", "user.mail"]);
    daemon.until_phase("p", "running");
    let look = |query: &str| -> Vec<Value> {
        let mut stream = TcpStream::connect(&daemon.address).unwrap();
        let request = format!("GET /api/v1/pipelines/p/tap/gen?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.address);
        stream.write_all(request.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let rows = lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        rows.filter(|row: &Value| row.get("row").is_some()).take(5).collect()
    };
    let rows = look("where=device%20%3D%3D%20%22b%22&redact=secret&limit=5");
    assert_eq!(rows.len(), 5);
    for row in &rows {
        let row = &row["row"];
        assert_eq!((&row["device"], &row["secret"], &row["user"]["mail"]), (&json!("b"), &json!("***"), &json!("***")));
    }
    let every: Vec<i64> = look("every=10&limit=5").iter().map(|row| row["row"]["n"].as_i64().unwrap()).collect();
    assert!(every.windows(2).all(|pair| pair[1] - pair[0] == 10), "{every:?}");
    let bad = |path: &str| daemon.ask("GET", &format!("/api/v1/pipelines/p/tap/{path}"), &[], "").0;
    assert_eq!((bad("gne"), bad("gen?where=n%20%3E"), bad("gen?every=x")), (404, 400, 400));
}

#[test]
fn a_pipeline_is_told_how_the_others_go() {
    let own = "\
sources:
  self: { millstream: { every: 100ms } }
sinks:
  not_running:
    alert:
      by: pipeline
      when: well == false
      order: arrival
      title: \"{{ pipeline }} does not run\"
      body: \"{{ why }}\"
      notify: [people]
  all: { from: self, file: { path: all.ndjson, visible: at_once } }
receivers:
  people: { file: { path: people.ndjson, visible: at_once } }
checkpoint: { every: 100ms }
";
    let batch =
        "sources:\n  in: { file: { path: in.txt }, format: text }\nsinks:\n  out: { file: { path: out.ndjson } }\n";
    let home =
        with_texts(&[("own.yaml", own), ("batch.yaml", batch), ("in.txt", "one\n"), ("broken.yaml", "sources: 1\n")]);
    let daemon = Daemon::start(home.path(), &[]);
    until("people are told", || read(home.path(), "people.ndjson").contains("broken does not run"));
    std::fs::write(home.path().join("broken.yaml"), batch.replace("out.ndjson", "other.ndjson")).unwrap();
    until("that it is over", || read(home.path(), "people.ndjson").contains("\"status\":\"resolved\""));
    let told = |what: &str, of: &dyn Fn(&Value) -> bool| {
        until(what, || read(home.path(), "all.ndjson").lines().any(|line| of(&serde_json::from_str(line).unwrap())));
    };
    told("one that is complete", &|row| {
        row["pipeline"] == "batch" && row["phase"] == "complete" && row["well"] == true
    });
    told("itself", &|row| row["pipeline"] == "own" && row["checkpoint_age"].is_number());
    assert_eq!(daemon.stop(), Some(0));
    // In a process of its own it has nothing to tell.
    let alone = run(home.path(), &["run", "own.yaml"]);
    assert!(said(&alone).contains("only `millstream serve` has pipelines to tell of"), "{}", said(&alone));
}

#[test]
fn ctl_does_what_the_interface_does() {
    let yaml = "sources:\n  gen: { generate: { rate: 100, fields: { n: { sequence: {} } } } }\nsinks:\n  out: { discard: {} }\n";
    let home = with_texts(&[("p.yaml", yaml), ("later/q.yaml", yaml), ("later/bad.yaml", "sources: 1\n")]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("p", "running");
    let url = format!("http://{}", daemon.address);
    let ctl = |arguments: &[&str]| {
        let output = command(home.path(), &[&["ctl", "--url", &url], arguments].concat()).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, list, _) = ctl(&["list"]);
    assert_eq!(code, Some(0));
    assert!(list.lines().nth(1).is_some_and(|line| line.starts_with("p ") && line.contains("running")), "{list}");
    assert_eq!(ctl(&["stop", "p"]).0, Some(0));
    daemon.until_phase("p", "stopped");
    assert_eq!(ctl(&["start", "p"]).0, Some(0));
    daemon.until_phase("p", "running");
    // Sources read nothing while it is paused, also over a change; everything else goes on.
    assert_eq!(ctl(&["pause", "p"]).1, "p: paused\n");
    let taken = || daemon.get("/api/v1/pipelines/p")["taken"].as_u64().unwrap();
    std::fs::write(home.path().join("p.yaml"), format!("{yaml}# changed\n")).unwrap();
    assert_eq!(ctl(&["reload", "p"]).0, Some(0));
    daemon.until_phase("p", "paused");
    // At a hundred rows a second nothing comes for twenty looks in a row.
    let (mut paused, mut still) = (taken(), 0);
    daemon.until("that nothing more comes", |_| {
        still = if taken() == paused { still + 1 } else { 0 };
        paused = taken();
        (still == 20).then_some(())
    });
    assert_eq!(daemon.phase("p"), "paused");
    assert_eq!(ctl(&["resume", "p"]).1, "p: running\n");
    daemon.until("rows", |_| (taken() > paused).then_some(()));
    let plan: Value = serde_json::from_str(&ctl(&["plan", "p"]).1).unwrap();
    assert!(plan["resumes"] == true && plan["accepted"] == true && plan["checkpoint"].is_u64(), "{plan}");
    let other = yaml.replace("gen:", "other:");
    std::fs::write(home.path().join("later/p.yaml"), other).unwrap();
    let plan: Value = serde_json::from_str(&ctl(&["plan", "p", "later/p.yaml"]).1).unwrap();
    assert_eq!((&plan["accepted"], &plan["sources_gone"][0]), (&false.into(), &"gen".into()), "{plan}");
    assert_eq!(ctl(&["plan", "p", "later/bad.yaml"]).0, Some(1));
    assert_eq!(ctl(&["put", "later/q.yaml"]), (Some(0), "q: applied\n".to_owned(), String::new()));
    daemon.until_phase("q", "running");
    let (code, rows, _) = ctl(&["tap", "q", "gen", "--limit", "3", "--where", "n >= 0"]);
    assert_eq!((code, rows.lines().count()), (Some(0), 3), "{rows}");
    assert_eq!(ctl(&["delete", "q"]).0, Some(0));
    daemon.until_phase("q", "404");
    let (code, _, why) = ctl(&["put", "later/bad.yaml"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("the pipeline has mistakes") && why.contains("bad.yaml"), "{why}");
    assert!(ctl(&["show", "none"]).2.contains("there is no pipeline `none`"));
    assert!(ctl(&["log", "millstream=warn"]).1.contains("millstream=warn"));
    assert!(ctl(&["api", "get", "/healthz"]).1.contains("alive"));
    let gone = command(home.path(), &["ctl", "--url", "http://127.0.0.1:9", "list"]).output().unwrap();
    assert!(said(&gone).contains("http://127.0.0.1:9 cannot be asked"), "{}", said(&gone));
}

#[test]
fn the_interface_speaks_tls_to_who_trusts_it() {
    let yaml = "sources:\n  gen: { generate: { rate: 100, fields: { n: { sequence: {} } } } }\nsinks:\n  out: { discard: {} }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let shown = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(home.path().join("cert.pem"), shown.pem()).unwrap();
    std::fs::write(home.path().join("key.pem"), key.serialize_pem()).unwrap();
    let daemon = Daemon::start(home.path(), &["--tls-certificate", "cert.pem", "--tls-key", "key.pem"]);
    assert!(daemon.said().contains("https://"), "{}", daemon.said());
    let url = format!("https://localhost:{}", daemon.address.rsplit(':').next().unwrap());
    let list = |more: &[&str]| said(&run(home.path(), &[&["ctl", "--url", &url], more, &["list"]].concat()));
    daemon.until("its list", |_| list(&["--ca", "cert.pem"]).contains("running").then_some(()));
    assert!(list(&[]).contains("cannot be asked"), "{}", list(&[]));
    for more in [&[][..], &["--tls"], &["--ready"]] {
        let asked = run(home.path(), &[&["health", "--listen", &daemon.address], more].concat());
        assert!(asked.status.success(), "{}", said(&asked));
    }
    assert_ne!(daemon.ask("GET", "/healthz", &[], "").0, 200, "without TLS nobody answers");
}
