//! The README's tour of `serve`, with its own file and its own commands, a line after the other.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[path = "support/program.rs"]
mod program;

use self::program::{read, until, with_texts};

const README: &str = include_str!("../README.md");

/// A block of the README, its ports replaced.
fn block(fence: &str, ports: &[(&str, u16)]) -> String {
    let (_, rest) = README.split_once(&format!("```{fence}\n")).unwrap();
    let (text, _) = rest.split_once("\n```").unwrap();
    ports.iter().fold(text.to_owned() + "\n", |text, (written, port)| text.replace(written, &port.to_string()))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What `curl -d BODY URL` does; the status.
fn curl(line: &str, port: u16) -> Option<u16> {
    let body = line.split('\'').nth(1).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "POST /readings HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(home: &Path, line: &str, serves: u16) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_millstream"));
    let mut shell = Command::new("sh");
    // The program itself, and no shell before it: who kills it means it.
    let line = line.replace("millstream ", &format!("{} ", program.display()));
    shell.args(["-c", &format!("exec {line}")]).current_dir(home).env("NO_COLOR", "1").stdin(Stdio::null());
    if line.contains("&&") {
        shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(home);
    }
    // Where it is if nobody says, in the README.
    shell.env("MILLSTREAM_URL", format!("http://127.0.0.1:{serves}"));
    shell
}

#[test]
fn from_nothing_to_an_alert_that_fired_was_silenced_and_is_over() {
    let (listens, serves) = (free_port(), free_port());
    let ports = [("8080", listens), ("7070", serves)];
    let home = with_texts(&[("freezers.yaml", &block("yaml freezers.yaml", &ports))]);
    let told = || read(home.path(), "farm/told.ndjson");
    let mut server = None;
    let mut called = false;
    for line in block("sh serve", &ports).lines() {
        if let Some(line) = line.strip_suffix(" &") {
            server = Some(Server(shell(home.path(), line, serves).stderr(Stdio::null()).spawn().unwrap()));
        } else if line.starts_with("curl") {
            until("the row is taken", || curl(line, listens) == Some(202));
            if !std::mem::replace(&mut called, true) {
                until("people are told", || told().contains("north is at -4"));
            }
        } else {
            let run = || shell(home.path(), line, serves).output().unwrap();
            // What a verb shows is as of the last checkpoint: it may have to be asked again.
            let shows = match line {
                line if line.ends_with("ctl list") => "running",
                line if line.contains("alerts ") => "firing",
                line if line.contains("why-not") => "people: silence",
                line if line.contains("silence add") => "holds until",
                _ => "",
            };
            until(line, || {
                let output = run();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                output.status.success() && said.contains(shows)
            });
        }
    }
    until("that north is over", || told().contains("\"resolved\""));
    assert!(!told().contains("south"), "{}", told());
    assert!(told().contains("north is at -4"), "{}", told());
    drop(server);
}
