//! `serve`: many pipelines in one process, real ones, changed, broken, stopped and killed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use self::daemon::Daemon;
use self::program::{read, run, said, until, with_texts};

/// Rows without end, counted by window.
const LIVE: &str = "\
sources:
  gen: { generate: { rate: 200, fields: { n: { sequence: {} }, device: { cycle: [a, b] } } } }
steps:
  per: { window: { tumbling: 1s, by: device, aggregate: { rows: count() } } }
sinks:
  out: { file: { path: live.ndjson } }
";
const BATCH: &str = "\
sources:
  in: { file: { path: in.txt, }, format: text }
sinks:
  done: { file: { path: batch.ndjson } }
";

fn write(home: &Path, name: &str, text: &str) {
    fs::write(home.join(name), text).unwrap();
}

fn reloads(daemon: &Daemon, id: &str) -> Vec<(String, String)> {
    let view = daemon.get(&format!("/api/v1/pipelines/{id}"));
    let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
    view["reloads"].as_array().unwrap().iter().map(|r| (text(&r["result"]), text(&r["why"]))).collect()
}

#[test]
fn pipelines_of_a_directory_run_and_one_that_is_broken_harms_nobody() {
    let home = with_texts(&[
        ("live.yaml", LIVE),
        ("batch.yaml", BATCH),
        ("in.txt", "one\ntwo\n"),
        ("broken.yaml", "sources: {}\n"),
    ]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("batch", "complete");
    daemon.until_phase("live", "running");
    assert_eq!(daemon.phase("broken"), "broken");
    let all = daemon.get("/api/v1/pipelines");
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["batch", "broken", "live"]);
    assert!(all[1]["why"].as_str().unwrap().contains("broken.yaml:1:"), "{}", all[1]["why"]);
    assert_eq!(all[0]["taken"], 2);
    assert_eq!(read(home.path(), "batch.ndjson").lines().count(), 2);
    daemon.until("rows", |daemon| (daemon.get("/api/v1/pipelines/live")["rate"].as_f64()? > 50.0).then_some(()));
    let live = daemon.get("/api/v1/pipelines/live");
    assert_eq!(live["entries"][1]["kind"], "window");
    assert_eq!(live["running"]["steps"][0]["held_back_by"]["source"], "gen");
    let (ready, told) = daemon.ask("GET", "/readyz", &[], "");
    assert_eq!((ready, told.as_str()), (503, r#"{"pipelines":3,"not_running":1,"disconnected":0,"stale":0}"#));
    // A file that is put right runs; one that is gone stops.
    write(home.path(), "broken.yaml", &LIVE.replace("live.ndjson", "third.ndjson"));
    daemon.until_phase("broken", "running");
    assert_eq!(daemon.ask("GET", "/readyz", &[], "").0, 200);
    fs::remove_file(home.path().join("broken.yaml")).unwrap();
    daemon.until_phase("broken", "404");
    assert_eq!(daemon.stop(), Some(0));
    // What it kept is what `run` keeps.
    let status = said(&run(home.path(), &["status", "live.yaml"]));
    assert!(status.contains("stopped; `run` goes on"), "{status}");
}

#[test]
fn a_changed_file_is_taken_from_the_checkpoint_or_the_one_before_goes_on() {
    let home = with_texts(&[("live.yaml", LIVE)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("live", "running");
    until("a window", || read(home.path(), "live.ndjson").lines().count() > 2);
    // Another sink: every step means what it did.
    let more = format!("{LIVE}  second: {{ from: per, file: {{ path: second.ndjson }} }}\n");
    write(home.path(), "live.yaml", &more);
    daemon.until("the change", |daemon| (reloads(daemon, "live").len() == 2).then_some(()));
    assert_eq!(reloads(&daemon, "live")[1].0, "applied");
    until("rows at the second sink", || read(home.path(), "second.ndjson").lines().count() > 2);
    // A mistake: what runs goes on.
    write(home.path(), "live.yaml", &more.replace("count()", "cuont()"));
    daemon.until("the refusal", |daemon| (reloads(daemon, "live").len() == 3).then_some(()));
    assert_eq!(reloads(&daemon, "live")[2].0, "kept");
    assert!(reloads(&daemon, "live")[2].1.contains("cuont"), "{:?}", reloads(&daemon, "live"));
    // A step that means something else: it would have to forget.
    write(home.path(), "live.yaml", &more.replace("tumbling: 1s", "tumbling: 2s"));
    daemon.until("the refusal", |daemon| (reloads(daemon, "live").len() == 4).then_some(()));
    assert!(reloads(&daemon, "live")[3].1.contains("`per` keeps something else now"));
    assert_eq!(daemon.phase("live"), "running");
    // Somebody says that it may.
    let (status, answer) = daemon.ask("POST", "/api/v1/pipelines/live/reload", &[], "{}");
    assert_eq!(status, 409, "{answer}");
    daemon.post("/api/v1/pipelines/live/reload", r#"{"reset":"per"}"#);
    until("windows of two seconds", || {
        read(home.path(), "live.ndjson").lines().any(|l| {
            let row: serde_json::Value = serde_json::from_str(l).unwrap();
            let end = row["window_end"].as_str().unwrap();
            row["rows"].as_u64() > Some(150) && !end.is_empty()
        })
    });
    // One that cannot open what it needs: the one before comes back.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let current = more.replace("tumbling: 1s", "tumbling: 2s");
    let hook = format!("  hook: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}\nsteps:\n");
    let with_hook = current
        .replace("steps:\n", &hook)
        .replace("sinks:\n", "sinks:\n  hooked: { from: hook, file: { path: hooked.ndjson } }\n");
    write(home.path(), "live.yaml", &with_hook);
    daemon.until("the fall back", |daemon| {
        let last = reloads(daemon, "live").pop().unwrap();
        (last.0 == "kept" && last.1.contains("another program does")).then_some(())
    });
    daemon.until_phase("live", "running");
    drop(taken);
    daemon.post("/api/v1/pipelines/live/reload", "");
    daemon.until("the change", |daemon| {
        (daemon.get("/api/v1/pipelines/live")["entries"].as_array()?.len() == 6).then_some(())
    });
    daemon.until_phase("live", "running");
    // Nothing was lost or repeated in all of this: every number came once.
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn rows_are_neither_lost_nor_repeated_over_reloads_stops_and_kills() {
    let numbers = "sources:\n  gen: { generate: { rate: 2000, count: 12000, fields: { n: { sequence: {} } } } }\nsinks:\n  out: { file: { path: n.ndjson, mode: append } }\ncheckpoint: { every: 50ms }\n";
    let home = with_texts(&[("n.yaml", numbers)]);
    let mut daemon = Daemon::start(home.path(), &[]);
    for round in 0..6 {
        let before = read(home.path(), "n.ndjson").lines().count();
        until("some rows", || read(home.path(), "n.ndjson").lines().count() > before + 200);
        match round % 3 {
            0 => {
                daemon.kill();
                daemon = Daemon::start(home.path(), &[]);
            }
            1 => {
                let sink =
                    format!("  more{round}: {{ from: gen, file: {{ path: more{round}.ndjson, mode: append }} }}\n");
                let text = read(home.path(), "n.yaml").replace("checkpoint:", &format!("{sink}checkpoint:"));
                write(home.path(), "n.yaml", &text);
                daemon.post("/api/v1/pipelines/n/reload", "");
            }
            _ => {
                daemon.post("/api/v1/pipelines/n/stop", "");
                daemon.until_phase("n", "stopped");
                daemon.post("/api/v1/pipelines/n/start", "");
            }
        }
    }
    daemon.until_phase("n", "complete");
    let rows: Vec<u64> = read(home.path(), "n.ndjson")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, (0..12_000).collect::<Vec<_>>());
}

#[test]
fn what_fails_is_tried_again_and_what_is_stopped_stays_so() {
    let hook = "sources:\n  hook: { http_server: { listen: \"127.0.0.1:PORT\", path: /in } }\nsinks:\n  out: { file: { path: hooked.ndjson } }\n";
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = with_texts(&[("hook.yaml", &hook.replace("PORT", &port)), ("live.yaml", LIVE)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("hook", "waiting");
    assert!(daemon.get("/api/v1/pipelines/hook")["why"].as_str().unwrap().contains("another program does"));
    drop(taken);
    daemon.until_phase("hook", "running");
    assert!(daemon.get("/api/v1/pipelines/hook")["restarts"].as_u64() > Some(0));
    daemon.until_phase("live", "running");
    daemon.post("/api/v1/pipelines/live/stop", "");
    daemon.until_phase("live", "stopped");
    // Its state is free: others may have it.
    let status = said(&run(home.path(), &["status", "live.yaml"]));
    assert!(status.contains("nobody has it open"), "{status}");
    daemon.kill();
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("hook", "running");
    assert_eq!(daemon.phase("live"), "stopped", "also after the process was killed");
    daemon.post("/api/v1/pipelines/live/start", "");
    daemon.until_phase("live", "running");
    daemon.post("/api/v1/pipelines/live/drain", "");
    daemon.until_phase("live", "complete");
    let rows: u64 = read(home.path(), "live.ndjson")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["rows"].as_u64().unwrap())
        .sum();
    let status = said(&run(home.path(), &["status", "live.yaml", "--format", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let per = status["ledger"].as_array().unwrap().iter().find(|row| row["entry"] == "per").unwrap();
    assert_eq!((per["taken"].as_u64(), per["held"].as_u64()), (Some(rows), Some(0)), "all windows closed");
    assert_eq!(daemon.ask("POST", "/api/v1/pipelines/live/drain", &[], "").0, 409);
}

#[test]
fn a_panic_stops_one_pipeline_which_is_run_again() {
    let numbers = "sources:\n  gen: { generate: { rate: 500, fields: { n: { sequence: {} } } } }\nsinks:\n  out: { file: { path: NAME.ndjson } }\ncheckpoint: { every: 50ms }\n";
    let of = |name: &str| numbers.replace("NAME", name);
    let home = with_texts(&[("a.yaml", &of("a")), ("b.yaml", &of("b"))]);
    let daemon = Daemon::start_with(home.path(), &[], &[("MILLSTREAM_FAULT", "checkpoint.gathered:9!")]);
    let view = |id: &str| daemon.get(&format!("/api/v1/pipelines/{id}"));
    let fell = daemon.until("a panic", |_| ["a", "b"].into_iter().find(|id| view(id)["restarts"] == 1));
    let other = if fell == "a" { "b" } else { "a" };
    assert!(daemon.said().contains("internal error"), "{}", daemon.said());
    daemon.until_phase(fell, "running");
    assert_eq!((daemon.phase(other), view(other)["restarts"].clone()), ("running".to_owned(), 0.into()));
    // What it had written and not kept is taken back and comes once.
    let file = format!("{fell}.ndjson");
    let before = read(home.path(), &file).lines().count();
    until("more rows", || read(home.path(), &file).lines().count() > before + 500);
    let numbers = read(home.path(), &file);
    for (line, n) in numbers.lines().zip(0u64..) {
        assert_eq!(line, format!("{{\"n\":{n}}}"));
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn what_a_running_pipeline_reads_wrong_and_a_file_that_is_refused_are_in_the_list() {
    let yaml = "sources:\n  gen: { generate: { rate: 5000, fields: { temperature: { sequence: {} } } } }\nsteps:\n  hot: { filter: temprature != 5 }\nsinks:\n  out: { discard: {} }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let daemon = Daemon::start(home.path(), &[]);
    let why = |daemon: &Daemon| daemon.get("/api/v1/pipelines")[0]["why"].as_str().map(str::to_owned);
    let said = daemon.until("what it reads", why);
    assert!(said.starts_with("./p.yaml:4:18: `hot` reads `temprature`") && said.contains("`temperature`?"), "{said}");
    daemon.until("a line of the log", |daemon| daemon.said().contains("`hot` reads `temprature`").then_some(()));
    assert_eq!(daemon.phase("p"), "running");
    write(home.path(), "p.yaml", "sources: 1\n");
    daemon.until("the mistake", |daemon| {
        why(daemon).filter(|why| why.contains("the one before goes on") && why.contains("p.yaml:1:"))
    });
    write(home.path(), "p.yaml", &yaml.replace("temprature", "temperature"));
    daemon.until("that all is well", |daemon| why(daemon).is_none().then_some(()));
}

#[test]
fn who_is_asked_whether_it_is_ready_says_that_no_checkpoint_is_made() {
    // Nobody takes what it prints: no barrier comes through, and what is read is not kept.
    let stuck = "sources:\n  gen: { generate: { fields: { n: { sequence: {} } } } }\nsinks:\n  out: { stdout: {} }\ncheckpoint: { every: 50ms }\n";
    let home = with_texts(&[("stuck.yaml", stuck)]);
    let daemon = Daemon::start_silent(home.path());
    daemon.until_phase("stuck", "running");
    daemon.until("that it is not ready", |daemon| {
        let (status, told) = daemon.ask("GET", "/readyz", &[], "");
        (status == 503 && told.contains("\"stale\":1")).then_some(())
    });
    assert_eq!(daemon.ask("GET", "/healthz", &[], "").0, 200);
}

#[test]
fn pipelines_are_put_and_deleted_and_share_a_port() {
    let home = with_texts(&[("one.yaml", "")]);
    fs::remove_file(home.path().join("one.yaml")).unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let hook = |name: &str| {
        format!(
            "sources:\n  hook: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /{name} }} }}\nsinks:\n  out: {{ file: {{ path: out/{name}.ndjson, visible: at_once }} }}\n"
        )
    };
    fs::create_dir(home.path().join("out")).unwrap();
    let allowed = ["--allow-directory", "out", "--allow-host", &format!("127.0.0.1:{port}")];
    let daemon = Daemon::start(home.path(), &allowed);
    for name in ["one", "two"] {
        let (status, answer) = daemon.ask("PUT", &format!("/api/v1/pipelines/{name}"), &[], &hook(name));
        assert_eq!(status, 200, "{answer}");
        daemon.until_phase(name, "running");
        assert_eq!(read(home.path(), &format!("{name}.yaml")), hook(name));
    }
    let send = |name: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request = format!(
            "POST /{name} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse::<u16>().ok()
    };
    assert_eq!((send("one"), send("two")), (Some(202), Some(202)), "two pipelines answer on one port");
    until("both rows", || {
        ["out/one.ndjson", "out/two.ndjson"].iter().all(|f| read(home.path(), f).lines().count() == 1)
    });
    // One goes, the other goes on.
    assert_eq!(daemon.ask("DELETE", "/api/v1/pipelines/one", &[], "").0, 200);
    assert!(!home.path().join("one.yaml").exists() && home.path().join(".millstream/one.db").exists());
    assert_eq!(daemon.phase("one"), "404");
    assert_eq!((send("one"), send("two")), (Some(404), Some(202)));
    // What has mistakes changes nothing.
    let (status, answer) = daemon.ask("PUT", "/api/v1/pipelines/two", &[], "sources: 1\n");
    assert_eq!(status, 422);
    assert!(answer.contains("diagnostics") && read(home.path(), "two.yaml") == hook("two"), "{answer}");
    for bad in ["..%2Fx", ".x", "a%20b"] {
        assert_eq!(daemon.ask("PUT", &format!("/api/v1/pipelines/{bad}"), &[], &hook("x")).0, 400, "{bad}");
    }
    let checked: serde_json::Value =
        serde_json::from_str(&daemon.ask("POST", "/api/v1/check", &[], "sources: 1\n").1).unwrap();
    assert_eq!(checked["valid"], false);
    assert_eq!(daemon.ask("POST", "/api/v1/check", &[], &"x".repeat(2 << 20)).0, 413);
    assert_eq!(send("two"), Some(202));
}

#[test]
fn only_who_may_is_let_in() {
    let home = with_texts(&[("live.yaml", LIVE)]);
    let token = |name: &str, role: &str| {
        let output = run(home.path(), &["token", "add", name, "--role", role, "--pipelines", "."]);
        assert!(output.status.success(), "{}", said(&output));
        format!("Bearer {}", said(&output).trim())
    };
    let (reads, operates, admin) = (token("r", "read"), token("o", "operate"), token("a", "admin"));
    let daemon = Daemon::start(home.path(), &["--tokens", "--host", "mill.example"]);
    let ask = |method: &str, path: &str, token: &str| daemon.ask(method, path, &[("Authorization", token)], "").0;
    daemon.until("it runs", |_| (ask("GET", "/readyz", &admin) == 200).then_some(()));
    let list = "/api/v1/pipelines";
    let stop = "/api/v1/pipelines/live/stop";
    assert_eq!(daemon.ask("GET", list, &[], "").0, 401);
    assert_eq!(ask("GET", list, "Bearer ms_nonsense"), 401);
    assert_eq!(ask("GET", list, &reads.replace("Bearer", "Basic")), 401);
    assert_eq!((ask("GET", list, &reads), ask("GET", "/metrics", &reads)), (200, 200));
    assert_eq!((ask("POST", stop, &reads), ask("POST", stop, &operates)), (403, 200));
    assert_eq!(
        (ask("DELETE", "/api/v1/pipelines/live", &operates), ask("DELETE", "/api/v1/pipelines/live", &admin)),
        (403, 200)
    );
    assert_eq!(daemon.ask("GET", "/healthz", &[], "").0, 200);
    // A page of somebody else, or a name that somebody made mean this address.
    for (host, status) in [("mill.example:80", 200), ("evil.example", 421)] {
        assert_eq!(daemon.ask("GET", list, &[("Host", host), ("Authorization", &reads)], "").0, status, "{host}");
    }
    let from_page = [("Authorization", operates.as_str()), ("Origin", "http://evil.example")];
    assert_eq!(daemon.ask("POST", stop, &from_page, "").0, 403);
    // A token that is taken away is refused at once.
    assert!(run(home.path(), &["token", "remove", "r", "--pipelines", "."]).status.success());
    assert_eq!(ask("GET", list, &reads), 401);
    let audit = read(home.path(), ".millstream/serve/audit.ndjson");
    let deleted = audit.lines().find(|line| line.contains("\"DELETE\"") && line.contains("200")).unwrap();
    assert!(deleted.contains("\"who\":\"a\""), "{deleted}");
    assert!(!audit.contains(reads.trim_start_matches("Bearer ")));
    // Others could reach it: not without TLS, and not without tokens.
    let open = |more: &[&str]| {
        said(&run(home.path(), &[&["serve", "--pipelines", ".", "--listen", "0.0.0.0:0"], more].concat()))
    };
    assert!(open(&[]).contains("nothing would be encrypted"));
    let empty = with_texts(&[]);
    let output = run(empty.path(), &["serve", "--pipelines", ".", "--listen", "0.0.0.0:0", "--plain"]);
    assert!(said(&output).contains("nobody has a token"), "{}", said(&output));
}

#[test]
fn what_connectors_tell_is_told_of_their_pipeline() {
    let sends = "sources:\n  gen: { generate: { rate: 10, fields: { n: { sequence: {} } } } }\nsinks:\n  out: { http: { url: \"http://127.0.0.1:9/\" } }\n";
    let home = with_texts(&[("one.yaml", sends), ("other.yaml", sends)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until("what sinks tell of both", |daemon| {
        let said = daemon.said();
        let lines =
            said.lines().filter(|line| line.contains("cannot be reached") || line.contains("a delivery failed"));
        let of = |line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?["span"]["pipeline"].as_str().map(str::to_owned)
        };
        let of: std::collections::BTreeSet<String> = lines.filter_map(of).collect();
        (of.len() == 2).then_some(())
    });
}

#[test]
fn the_log_tells_and_its_levels_change_while_it_runs() {
    let late = "sources:\n  in: { file: { path: in.ndjson, follow: true }, time: { field: t } }\nsteps:\n  per: { window: { tumbling: 1s, aggregate: { rows: count() } } }\nsinks:\n  out: { file: { path: out.ndjson } }\n";
    let rows = "{\"t\":\"2026-01-01T00:00:00Z\"}\n{\"t\":\"2026-01-01T00:01:00Z\"}\n{\"t\":\"2026-01-01T00:00:00Z\"}\nnonsense\n";
    let home = with_texts(&[("late.yaml", late), ("in.ndjson", rows)]);
    let daemon = Daemon::start(home.path(), &[]);
    let line = daemon.until("late rows", |daemon| {
        daemon
            .said()
            .lines()
            .find(|line| line.contains("rows went wrong") && line.contains("1 late"))
            .map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["pipeline"].as_str(), line["entry"].as_str()),
        (Some("WARN"), Some("late"), Some("per"))
    );
    assert_eq!(daemon.get("/api/v1/log")["levels"], "millstream=info");
    assert!(!daemon.said().contains("\"DEBUG\""));
    let (status, answer) = daemon.ask("PUT", "/api/v1/log", &[], r#"{"levels":"millstream=debug"}"#);
    assert_eq!(status, 200, "{answer}");
    daemon.until("more words", |daemon| daemon.said().contains("\"DEBUG\"").then_some(()));
    assert_eq!(daemon.ask("PUT", "/api/v1/log", &[], r#"{"levels":"a=b=c"}"#).0, 400);
}

#[test]
fn whoever_starts_it_is_told_when_it_is_ready_that_it_lives_and_when_it_ends() {
    let home = with_texts(&[("live.yaml", LIVE)]);
    let path = home.path().join("notify.socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let daemon = Daemon::start_with(home.path(), &[], &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let until_told = |what: &str| {
        let mut message = [0; 512];
        while let Ok(length) = socket.recv(&mut message) {
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == what.as_bytes()) {
                return;
            }
        }
        panic!("{what} was not told");
    };
    until_told("READY=1");
    assert_eq!(daemon.ask("GET", "/healthz", &[], "").0, 200, "it is ready when it says so");
    until_told("WATCHDOG=1");
    assert_eq!(daemon.stop(), Some(0));
    until_told("STOPPING=1");
}

#[test]
fn what_is_taken_away_from_a_state_holds_up_nobody() {
    let home = with_texts(&[("live.yaml", LIVE), ("two.yaml", &LIVE.replace("live", "two")), ("two.yml", LIVE)]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until_phase("live", "running");
    daemon.until_phase("two", "running");
    assert!(daemon.said().contains("have one name"), "{}", daemon.said());
    // Nobody can ask for its state any more; it stops all the same.
    fs::remove_dir_all(home.path().join(".millstream/live.db.control")).unwrap();
    daemon.post("/api/v1/pipelines/live/stop", "");
    daemon.until_phase("live", "stopped");
    fs::remove_dir_all(home.path().join(".millstream/two.db.control")).unwrap();
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn metrics_are_such_as_prometheus_reads() {
    let home = with_texts(&[("live.yaml", LIVE), ("broken.yaml", "sources: {}\n")]);
    let daemon = Daemon::start(home.path(), &[]);
    daemon.until("a checkpoint and windows", |daemon| {
        let text = daemon.ask("GET", "/metrics", &[], "").1;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        let ready = value("millstream_checkpoints_total{pipeline=\"live\"}")? > 1.0
            && value("millstream_rows_in_total{pipeline=\"live\",entry=\"out\"}")? > 2.0
            && value("millstream_sink_latency_seconds_count{pipeline=\"live\",entry=\"out\"}")? > 0.0;
        ready.then_some(())
    });
    let text = daemon.ask("GET", "/metrics", &[], "").1;
    for line in [
        "millstream_pipeline_phase{pipeline=\"live\",phase=\"running\"} 1.0",
        "millstream_pipeline_phase{pipeline=\"broken\",phase=\"broken\"} 1.0",
        "millstream_source_partitions{pipeline=\"live\",entry=\"gen\",is=\"active\"} 1.0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_description_names_every_path() {
    let home = with_texts(&[]);
    let daemon = Daemon::start(home.path(), &[]);
    let described = daemon.get("/api/v1/openapi.json");
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() > 8);
    for (path, methods) in paths {
        for (method, about) in methods.as_object().unwrap() {
            assert!(about["summary"].as_str().is_some_and(|s| s.ends_with('.')), "{method} {path}");
            let asked = path.replace("{id}", "nothing");
            let (status, body) = daemon.ask(&method.to_uppercase(), &asked, &[], "");
            assert!(status < 500 && status != 405, "{method} {path}: {status} {body}");
        }
    }
    let text = described.to_string();
    let refers = text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in refers {
        assert!(described["components"]["schemas"].get(name).is_some(), "{name} is not described");
    }
    assert_eq!(daemon.ask("GET", "/api/v1/nothing", &[], "").0, 404);
    assert_eq!(daemon.ask("PATCH", "/api/v1/pipelines", &[], "").0, 405);
}
