//! Ways to HTTP servers, by the program itself: TLS with certificates of one's own, proxies, who is not reached; and what is
//! asked for and said: times of the clock, versions, pages, other formats, headers, streams that end.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/tls.rs"]
mod tls;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command};

use axum::response::Response;
use nix::sys::signal::Signal;
use peer::{Asked, Peer, answer};
use program::{command, read, run, said, stop, until};
use receiver::Receiver;
use tempfile::TempDir;

/// A directory with a pipeline that asks `url`; `options` are those of the connector, `of_source` those beside it.
fn asks(url: &str, options: &str, of_source: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    tls::certificates(home.path());
    write(&home, url, options, of_source, "");
    home
}

fn write(home: &TempDir, url: &str, options: &str, of_source: &str, script: &str) {
    let options = options.replace('\n', "\n      ");
    let yaml = format!(
        "name: t\ncheckpoint: {{ every: 20ms }}\nsources:\n  in:\n    http_client:\n      url: \"{url}\"\n      {options}\n    {of_source}\n{script}sinks:\n  out: {{ file: {{ path: out.ndjson, visible: at_once }} }}\n"
    );
    fs::write(home.path().join("t.yaml"), yaml).unwrap();
}

fn begin(home: &TempDir) -> Child {
    command(home.path(), &["run", "--quiet", "t.yaml"]).env("MILLSTREAM_LOG", "warn").spawn().unwrap()
}

fn rows(home: &TempDir) -> Vec<String> {
    read(home.path(), "out.ndjson").lines().map(str::to_owned).collect()
}

/// Runs it to its end, which is a good one.
fn whole(home: &TempDir) -> Vec<String> {
    let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    rows(home)
}

fn json(body: impl Into<String>) -> Response {
    answer(200, &[("content-type", "application/json")], body.into())
}

#[test]
fn a_server_is_asked_when_the_clock_says_so() {
    let peer = Peer::start(|_| json("[{\"n\":1}]"));
    let home = asks(&format!("http://127.0.0.1:{}/", peer.port), "cron: \"* * * * * *\"\nzone: Europe/Berlin", "");
    let child = begin(&home);
    until("it was asked twice", || peer.asked().len() >= 2 && rows(&home).len() >= 2);
    stop(child, Signal::SIGTERM);
}

const OWN: &str = "tls: { ca: ca.pem, certificate: client.pem, key: client-key.pem }";

#[test]
fn both_sides_show_certificates() {
    let peer = Peer::start(|_| json("[{\"n\":1}]"));
    let home = asks("http://localhost", "", "");
    let url = format!("https://localhost:{}/list", tls::before(peer.port, home.path()));
    for (options, wanted) in [("", "UnknownIssuer"), ("tls: { ca: ca.pem }", "ertificate")] {
        // It is tried for as long as it takes.
        write(&home, &url, options, "", "");
        let mut command = command(home.path(), &["run", "--quiet", "t.yaml"]);
        let file = fs::File::create(home.path().join("said")).unwrap();
        let child = command.env("MILLSTREAM_LOG", "warn").stderr(file).spawn().unwrap();
        until("it says why", || read(home.path(), "said").contains(wanted));
        stop(child, Signal::SIGTERM);
    }
    write(&home, &url, OWN, "", "");
    assert_eq!(whole(&home), ["{\"n\":1}"]);
    assert_eq!(peer.asked().len(), 1, "nobody else came through");
}

#[test]
fn rows_are_sent_to_whom_certificates_are_shown() {
    let to = Receiver::start();
    let home = asks("http://localhost", "", "");
    let port = tls::before(to.address.port(), home.path());
    let yaml = format!(
        "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out:\n    http: {{ url: \"https://localhost:{port}/in\", {OWN} }}\n"
    );
    fs::write(home.path().join("t.yaml"), yaml).unwrap();
    fs::write(home.path().join("in.ndjson"), "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(to.came().iter().map(receiver::Came::text).collect::<Vec<_>>(), ["{\"n\":1}", "{\"n\":2}"]);
}

/// Somebody between: agrees on where to with `greet`, and then passes everything on to a port of this machine.
fn between(port: u16, greet: fn(&mut TcpStream) -> String) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let (asked, asks) = std::sync::mpsc::channel();
    // Ends with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            asked.send(greet(&mut stream)).unwrap();
            let to = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (mut from, mut to) in [(stream.try_clone().unwrap(), to.try_clone().unwrap()), (to, stream)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (own, asks)
}

/// SOCKS 5 without a login (RFC 1928): the name that is asked for.
fn socks(stream: &mut TcpStream) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    stream.read_exact(&mut vec![0; usize::from(head[1])]).unwrap();
    stream.write_all(&[5, 0]).unwrap();
    let mut request = [0; 5];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(request[..4], [5, 1, 0, 3], "to a name");
    let mut name = vec![0; usize::from(request[4]) + 2];
    stream.read_exact(&mut name).unwrap();
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).unwrap();
    String::from_utf8_lossy(&name[..name.len() - 2]).into_owned()
}

/// A tunnel of HTTP: the first line of its request.
fn tunnel(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    String::from_utf8_lossy(&head).lines().next().unwrap().to_owned()
}

#[test]
fn proxies_find_whom_nobody_here_knows() {
    let peer = Peer::start(|_| json("[{\"n\":1}]"));
    let (port, names) = between(peer.port, socks);
    let home = asks(
        "http://api.invalid/list",
        &format!("proxy: \"socks5h://127.0.0.1:{port}\"\nauth: {{ bearer: t0ken }}"),
        "",
    );
    assert_eq!(whole(&home), ["{\"n\":1}"]);
    assert_eq!(names.recv().unwrap(), "api.invalid");
    assert_eq!(peer.asked()[0].header("authorization"), Some("Bearer t0ken"));
    // With TLS a proxy of HTTP sees where to and nothing else.
    let (port, heads) = between(tls::before(peer.port, home.path()), tunnel);
    write(&home, "https://localhost:4/list", &format!("proxy: \"http://127.0.0.1:{port}\"\n{OWN}"), "", "");
    assert_eq!(whole(&home), ["{\"n\":1}"]);
    assert_eq!(heads.recv().unwrap(), "CONNECT localhost:4 HTTP/1.1");
}

#[test]
fn an_answer_that_was_not_modified_gives_nothing() {
    const SINCE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let peer = Peer::start(|asked| match asked.header("if-modified-since") {
        Some(SINCE) => answer(304, &[], ""),
        _ => answer(200, &[("last-modified", SINCE)], "[{\"n\":1}]"),
    });
    let home = asks(&format!("http://127.0.0.1:{}/", peer.port), "every: 5ms", "");
    let child = begin(&home);
    until("more questions", || peer.asked().len() > 5);
    child_killed(child);
    let asked = peer.asked().len();
    let child = begin(&home);
    until("more questions", || peer.asked().len() > asked + 5);
    stop(child, Signal::SIGTERM);
    assert_eq!(rows(&home), ["{\"n\":1}"], "also after it was killed");
}

fn child_killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_address_of_the_next_page_is_in_the_answer() {
    let peer = Peer::start(|asked| match asked.query("at").as_deref() {
        None => json("{\"items\":[{\"n\":1}],\"links\":{\"next\":\"/list?at=2\"}}"),
        Some("2") => json("{\"items\":[{\"n\":2}],\"links\":{\"next\":\"?at=3\"}}"),
        _ => json("{\"items\":[{\"n\":3}],\"links\":{\"next\":null}}"),
    });
    let options = "records: items\npagination: { next_url: links.next }";
    let home = asks(&format!("http://127.0.0.1:{}/list", peer.port), options, "");
    assert_eq!(whole(&home), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
}

#[test]
fn answers_may_have_another_format() {
    for (format, body, wanted) in [
        (
            "logfmt",
            "level=info n=1\nlevel=warn n=2\n",
            "{\"level\":\"info\",\"n\":\"1\"}\n{\"level\":\"warn\",\"n\":\"2\"}\n",
        ),
        ("text", "one\r\n\r\ntwo", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n"),
    ] {
        let peer = Peer::start(move |_| answer(200, &[], body));
        let home = asks(&format!("http://127.0.0.1:{}/", peer.port), "", &format!("format: {format}"));
        let found = whole(&home).join("\n") + "\n";
        // Each value may be written in its own way.
        let names = |text: &str| text.replace(['"', ' '], "").replace("message:", "text:");
        assert_eq!(names(&found), names(wanted));
    }
}

#[test]
fn the_cursor_may_be_a_name_in_the_address() {
    let peer = Peer::start(|asked| {
        let since: u64 = asked.uri.path().strip_prefix("/since/").unwrap().parse().unwrap();
        json(format!("[{{\"n\":{}}}]", (since + 1).min(3)))
    });
    let url = format!("http://127.0.0.1:{}/since/{{{{ cursor }}}}", peer.port);
    let home = asks(&url, "every: 5ms\ncursor: { field: n, start: 0 }", "");
    let child = begin(&home);
    until("all rows", || rows(&home).len() == 3);
    let asked = peer.asked().len();
    until("more questions", || peer.asked().len() > asked + 3);
    stop(child, Signal::SIGTERM);
    assert_eq!(rows(&home), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
}

const SAID: &str = "steps:\n  said:\n    script: |\n      request = meta.headers.x_request_id;\n      kind = meta.event;\n      id = meta.event_id;\n";

#[test]
fn events_read_the_headers_that_were_chosen_and_what_a_stream_says_of_them() {
    let large = "x".repeat(5_000);
    let peer = Peer::start(move |asked| {
        // The standard has it that who is answered so does not come again.
        if asked.header("last-event-id") == Some("4") {
            return answer(204, &[], "");
        }
        let head = [("content-type", "text/event-stream"), ("x-request-id", "abc"), ("set-cookie", "no")];
        let body = format!(
            "retry: 1\nevent: a\nid: 1\ndata: {{\"n\":1}}\n\nid: 2\ndata: {{\"n\":2}}\n\nid: 3\ndata: {large}\n\nid: 4\ndata: {{\"n\":4}}\n\n"
        );
        answer(200, &head, body)
    });
    let home = asks("http://localhost", "", "");
    let options = "stream: sse\nmax_body: 1KB\nmeta_headers: [X-Request-Id]";
    write(&home, &format!("http://127.0.0.1:{}/", peer.port), options, "", SAID);
    let child = begin(&home);
    until("all of them", || rows(&home).len() == 3 && peer.asked().len() == 2);
    stop(child, Signal::SIGTERM);
    assert_eq!(
        rows(&home),
        [
            "{\"n\":1,\"request\":\"abc\",\"kind\":\"a\",\"id\":\"1\"}",
            "{\"n\":2,\"request\":\"abc\",\"kind\":\"message\",\"id\":\"2\"}",
            "{\"n\":4,\"request\":\"abc\",\"kind\":\"message\",\"id\":\"4\"}"
        ]
    );
    assert_eq!(peer.asked().len(), 2, "and then never again");
    let letters = said(&run(home.path(), &["dead-letters", "list", "t.yaml"]));
    assert!(letters.contains("the event has 5000 bytes, more than the 1000 of `max_body`"), "{letters}");
    // Polled answers have headers, too; what lets somebody in cannot be chosen.
    let polled = Peer::start(|_: &Asked| answer(200, &[("x-request-id", "def")], "[{\"n\":1}]"));
    let url = format!("http://127.0.0.1:{}/", polled.port);
    let script = "steps:\n  said:\n    script: request = meta.headers.x_request_id\n";
    write(&home, &url, "meta_headers: [X-Request-Id]", "", script);
    assert!(run(home.path(), &["run", "--fresh", "t.yaml"]).status.success());
    assert_eq!(rows(&home), ["{\"n\":1,\"request\":\"def\"}"]);
    write(&home, &url, "meta_headers: [Set-Cookie]", "", "");
    let output = run(home.path(), &["check", "t.yaml"]);
    assert!(said(&output).contains("`Set-Cookie` may hold what lets somebody in"), "{}", said(&output));
}

/// A name of the public kind that leads to this machine, as one that an attacker has set up would.
#[test]
fn private_addresses_are_reached_only_where_it_is_written() {
    let to = Receiver::start();
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("hosts"), "127.0.0.1 api.example.org\n").unwrap();
    fs::write(home.path().join("in.ndjson"), "{\"n\":1}\n").unwrap();
    let sends = |private: bool| {
        let yaml = format!(
            "name: t\nsources:\n  in: {{ file: {{ path: in.ndjson, follow: true }} }}\nsinks:\n  out:\n    http: {{ url: \"http://api.example.org:{}/in\", private: {private} }}\n",
            to.address.port()
        );
        fs::write(home.path().join("t.yaml"), yaml).unwrap();
        // With names of its own, which need a view of the file system of its own.
        let mut command = Command::new("unshare");
        let program = env!("CARGO_BIN_EXE_millstream");
        let script = format!("mount --bind hosts /etc/hosts && echo begun >&2 && exec {program} run --quiet t.yaml");
        command.args(["-mr", "sh", "-c", &script]).current_dir(home.path()).env("MILLSTREAM_LOG", "warn");
        command.stderr(fs::File::create(home.path().join("said")).unwrap()).spawn()
    };
    let Ok(child) = sends(false) else {
        println!("there is no `unshare` to give a program names of its own");
        return;
    };
    let heard = || read(home.path(), "said");
    until("it says why, or cannot begin", || heard().contains("private address") || heard().contains("unshare:"));
    if heard().contains("unshare:") {
        println!("a program cannot be given names of its own here: {}", heard());
        return;
    }
    assert!(heard().contains("`api.example.org` leads to a private address; write `private: true` if it may"));
    stop(child, Signal::SIGTERM);
    assert_eq!(to.came().len(), 0);
    let child = sends(true).unwrap();
    until("it comes", || to.came().len() == 1);
    stop(child, Signal::SIGTERM);
}
