//! What a pipeline reaches that came over the API: what the operator allows, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use self::daemon::Daemon;
use self::program::{read, run, said, with_texts};

const ENV: [(&str, &str); 2] = [("SITE_NAME", "north"), ("DATABASE_PASSWORD", "hunter2")];
const SECRET: &str = "the secret of another\n";

fn pipeline(source: &str, more: &str) -> String {
    format!("sources:\n  in: {source}\n{more}sinks:\n  out: {{ file: {{ path: out/rows.ndjson }} }}\n")
}

/// A home with something that is nobody's business.
fn home() -> tempfile::TempDir {
    let home = with_texts(&[("secret.txt", SECRET), ("in/a.ndjson", "{\"n\":1}\n"), ("out/x", "")]);
    fs::write(home.path().join("in/schema.json"), "{}").unwrap();
    home
}

fn start(home: &Path, host: &str) -> Daemon {
    let allowed =
        ["--allow-directory", "in", "--allow-directory", "out", "--allow-variable", "SITE_*", "--allow-host", host];
    Daemon::start_with(home, &allowed, &ENV)
}

#[test]
fn what_is_not_allowed_is_refused_before_it_is_looked_at() {
    let home = home();
    let daemon = start(home.path(), "127.0.0.1:9");
    let all = "{ file: { path: \"in/*.ndjson\" } }";
    for (source, more, about) in [
        ("{ file: { path: secret.txt }, format: text }", "", "secret.txt"),
        ("{ file: { path: [in/a.ndjson, ../x] } }", "", "../x"),
        ("{ file: { path: /etc/passwd }, format: text }", "", "/etc/passwd"),
        ("{ file: { path: in/../secret.txt }, format: text }", "", "in/../secret.txt"),
        ("{ sqlite: { path: .millstream/x.db, table: t, by: id } }", "", ".millstream/x.db"),
        ("{ http_server: { listen: \"0.0.0.0:9\", path: /in } }", "", "0.0.0.0:9"),
        ("{ http_client: { url: \"http://10.0.0.1/\", every: 1s } }", "", "10.0.0.1:80"),
        ("{ http_client: { url: \"http://127.0.0.1:9/\", proxy: \"http://proxy:1\", every: 1s } }", "", "proxy:1"),
        ("{ mqtt: { url: \"mqtt://broker\", topics: [a] } }", "", "broker:1883"),
        ("{ mqtt: { url: \"mqtts://127.0.0.1:9\", topics: [a], tls: { ca: secret.txt } } }", "", "secret.txt"),
        ("{ websocket: { url: \"ws://elsewhere/\" } }", "", "elsewhere:80"),
        (all, "vars: { x: \"${DATABASE_PASSWORD}\" }\n", "DATABASE_PASSWORD"),
        (all, "vars: { x: \"${file:secret.txt}\" }\n", "secret.txt"),
        (all, "state: elsewhere.db\n", "elsewhere.db"),
        (all, "steps:\n  v: { validate: secret.txt }\n", "secret.txt"),
        (all, "steps:\n  l: { lookup: { table: { csv: secret.txt }, on: n, into: x } }\n", "secret.txt"),
        (all, "receivers:\n  r: { email: { server: mail, from: a@b.c, to: [a@b.c] } }\n", "mail:587"),
        (all, "receivers:\n  r: { slack: { url: \"https://hooks.slack.com/x\" } }\n", "hooks.slack.com:443"),
    ] {
        // Whom nobody tells anything is not looked at.
        let alert = "  hot: { from: in, alert: { when: n > 1, order: arrival, notify: [r] } }\n";
        let text = pipeline(source, more) + if more.starts_with("receivers") { alert } else { "" };
        let (status, answer) = daemon.ask("PUT", "/api/v1/pipelines/p", &[], &text);
        assert_eq!(status, 422, "{text}\n{answer}");
        assert!(answer.contains("not-allowed") && answer.contains(about), "{text}\n{answer}");
        let (_, checked) = daemon.ask("POST", "/api/v1/check", &[], &text);
        for answer in [answer, checked] {
            assert!(!answer.contains("hunter2") && !answer.contains("of another"), "{answer}");
        }
    }
    assert!(!home.path().join("p.yaml").exists());
    let outside = pipeline(all, "").replace("out/rows", "rows");
    assert_eq!(daemon.ask("PUT", "/api/v1/pipelines/p", &[], &outside).0, 422);
    let by_row = pipeline(all, "").replace("out/rows", "{{ n }}/rows");
    assert_eq!(daemon.ask("PUT", "/api/v1/pipelines/p", &[], &by_row).0, 422);
}

#[test]
fn what_is_allowed_runs_and_a_file_in_the_directory_is_its_authors() {
    let home = home();
    let daemon = start(home.path(), "127.0.0.1");
    let allowed = pipeline(
        "{ file: { path: \"in/*.ndjson\" } }",
        "vars: { site: \"${SITE_NAME}\" }\nsteps:\n  v: { validate: in/schema.json }\n  s: { set: { site: vars.site } }\n",
    );
    let (status, answer) = daemon.ask("PUT", "/api/v1/pipelines/over", &[], &allowed);
    assert_eq!(status, 200, "{answer}");
    daemon.until_phase("over", "complete");
    assert_eq!(read(home.path(), "out/rows.ndjson"), "{\"n\":1,\"site\":\"north\"}\n");
    // The operator's own file says what may not come over the API.
    let own = pipeline("{ file: { path: secret.txt }, format: text }", "").replace("out/rows", "own");
    fs::write(home.path().join("own.yaml"), &own).unwrap();
    daemon.until_phase("own", "complete");
    assert!(read(home.path(), "own.ndjson").contains("of another"));
    // The same text over the API, in its place, is refused, and the operator's goes on.
    assert_eq!(daemon.ask("PUT", "/api/v1/pipelines/own", &[], &own).0, 422);
    assert_eq!(daemon.phase("own"), "complete");
    daemon.kill();

    // Where less is allowed, what came over the API does not run any more, also after a kill; the operator's does.
    let daemon = Daemon::start_with(home.path(), &[], &ENV);
    daemon.until_phase("over", "broken");
    let view = daemon.get("/api/v1/pipelines/over");
    assert!(view["why"].as_str().unwrap().contains("--allow-directory"), "{view}");
    assert_eq!(daemon.phase("own"), "complete");
    // Somebody who can write the directory answers for what stands there.
    fs::write(home.path().join("over.yaml"), format!("# looked at\n{allowed}")).unwrap();
    daemon.until_phase("over", "complete");
}

#[test]
fn directories_with_pipelines_in_them_cannot_be_allowed() {
    let home = home();
    for (directory, why) in [(".", "has the pipelines"), ("..", "has the pipelines"), ("nowhere", "not a directory")] {
        let output =
            run(home.path(), &["serve", "--pipelines", ".", "--listen", "127.0.0.1:0", "--allow-directory", directory]);
        let said = said(&output);
        assert_ne!(output.status.code(), Some(0));
        assert!(said.contains(why), "{said}");
    }
    // What serve keeps is not there before its first start.
    fs::create_dir_all(home.path().join("kept")).unwrap();
    let data = ["serve", "--pipelines", ".", "--data", "kept", "--listen", "127.0.0.1:0", "--allow-directory", "kept"];
    let output = run(home.path(), &data);
    assert!(said(&output).contains("what `serve` keeps"), "{}", said(&output));
    for (host, why) in [("http://x", "has no port after its colon"), ("a*", "is no host")] {
        let output = run(home.path(), &["serve", "--pipelines", ".", "--allow-host", host]);
        assert!(said(&output).contains(why), "{}", said(&output));
    }
}
