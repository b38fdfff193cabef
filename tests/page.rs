//! The page in a real browser, over a real daemon with real pipelines.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/browser.rs"]
mod browser;
#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;

use browser::Browser;
use program::{command, said, until, with_texts};
use server::{Answer, free_port, send};

const LIVE: &str = "
name: live
description: Thermometers, made up as long as somebody looks.
sources:
  readings:
    generate:
      rate: 200
      every: 20ms
      disorder: 4s
      seed: 1
      fields:
        device: { cycle: [attic, cellar, kitchen] }
        ts: { time: rfc3339 }
        temperature: { normal: { mean: 21, stddev: 3 }, digits: 1 }
    time: { field: ts, out_of_order: 2s }
steps:
  averages:
    window:
      tumbling: 10s
      by: device
      aggregate: { average: avg(temperature) }
  regions:
    from: readings
    route: { hot: temperature > 24 }
sinks:
  figures: { from: averages, file: { path: out/figures.ndjson } }
  late: { from: averages.late, file: { path: out/late.ndjson } }
  hot: { from: regions.hot, file: { path: out/hot.ndjson } }
  others: { from: regions, discard: {} }
  mild:
    from: readings
    alert: { by: device, when: temperature > 10, title: '{{ device }} is mild' }
";

const BROKEN: &str = "
name: broken
sources: { rows: { generate: { fields: { a: 1 } } } }
steps: { big: { filtre: a > 1 } }
sinks: { out: { discard: {} } }
";

const COMPLETE: &str = "
name: complete
sources: { rows: { generate: { count: 10, fields: { a: 1 } } } }
sinks: { out: { discard: {} } }
";

/// A daemon with three pipelines.
struct Daemon {
    home: TempDir,
    port: u16,
    child: Child,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Daemon {
        let files = [("p/live.yaml", LIVE), ("p/broken.yaml", BROKEN), ("p/complete.yaml", COMPLETE)];
        Daemon::start_in(with_texts(&files), arguments)
    }

    fn start_in(home: TempDir, arguments: &[&str]) -> Daemon {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let said = fs::File::create(home.path().join("said")).unwrap();
        let mut command = command(home.path(), &["serve", "--pipelines", "p", "--listen", &address, "--host", "t"]);
        let child = command.args(arguments).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        until("the interface", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Daemon { home, port, child }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        send(self.port, &format!("GET {path} HTTP/1.1{headers}"), b"").unwrap()
    }

    fn pipeline(&self, id: &str) -> Value {
        let answer = send(self.port, &format!("GET /api/v1/pipelines/{id} HTTP/1.1"), b"").unwrap();
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn row(id: &str, css: &str) -> String {
    format!("document.querySelector('[data-id={id}] {css}')")
}

fn phase(id: &str) -> String {
    format!("{}?.textContent", row(id, ".badge"))
}

/// Texts whose colour is too near to that of what is behind them: less than 4.5 to 1.
const PALE: &str = "(() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = node => { for (; node; node = node.parentElement) {
        const colour = parts(getComputedStyle(node).backgroundColor);
        if (colour.length < 4 || colour[3] > 0.99) return colour;
    } return [255, 255, 255]; };
    const own = node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    return [...document.body.querySelectorAll(':not(svg *)')].filter(node => own(node) && node.checkVisibility()).filter(node => {
        const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05) < 4.5;
    }).map(node => `${node.className} ${node.textContent.slice(0, 40)}`);
})()";

/// In both colours, wide and narrow, everything can be read and nothing stands beside the screen.
fn legible(browser: &Browser) {
    let mut pages = BTreeSet::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [1280, 390] {
            browser.size(width, 900);
            browser.until("document.documentElement.scrollWidth <= innerWidth");
            let pale = browser.eval(PALE);
            assert_eq!(pale, Value::Array(vec![]), "{scheme}, {width}");
        }
        pages.insert(browser.eval("getComputedStyle(document.body).backgroundColor").to_string());
    }
    assert_eq!(pages.len(), 2, "light and dark are the same");
    browser.size(1280, 900);
}

#[test]
fn pipelines_are_shown_and_told_what_to_do() {
    let daemon = Daemon::start(&[]);
    let browser = Browser::start();
    browser.go(&daemon.address());
    browser.until(&format!("{} === 'running'", phase("live")));
    browser.until(&format!("{} === 'broken'", phase("broken")));
    browser.until(&format!("{} === 'complete'", phase("complete")));
    browser.until(&format!("{}.textContent.includes('did you mean `filter`?')", row("broken", "pre")));
    browser.until(&format!("/^[1-9]/.test({}.textContent)", row("live", "[data-label=\"Rows/s\"]")));
    browser.until(&format!("/^[1-3]$/.test({}.textContent)", row("live", "[data-label=Alerts]")));
    legible(&browser);

    browser.write("#filter", "compl");
    browser.until("document.querySelectorAll('[data-id]').length === 1");
    browser.write("#filter", "\u{e003}\u{e003}\u{e003}\u{e003}\u{e003}");
    browser.until("document.querySelectorAll('[data-id]').length === 3");
    browser.click(".chips [data-phase=broken]");
    browser.until("document.querySelectorAll('[data-id]').length === 1");
    browser.click(".chips [data-phase='']");

    browser.click("[data-id=live] [data-verb=pause]");
    browser.until(&format!("{} === 'paused'", phase("live")));
    browser.click("[data-id=live] [data-verb=resume]");
    browser.until(&format!("{} === 'running'", phase("live")));

    // It is asked first, and whoever leaves it changes nothing.
    browser.click("[data-id=live] [data-verb=stop]");
    browser.click("#confirm [value=no]");
    browser.until("!document.querySelector('#confirm').open");
    assert_eq!(daemon.pipeline("live")["phase"], "running");
    browser.click("[data-id=live] [data-verb=stop]");
    browser.click("#confirm .main");
    browser.until(&format!("{} === 'stopped'", phase("live")));
    assert_eq!(daemon.pipeline("live")["phase"], "stopped");
    browser.until("document.querySelector('#said').textContent.includes('stops at a checkpoint')");
    browser.click("[data-id=live] [data-verb=start]");
    browser.until(&format!("{} === 'running'", phase("live")));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_graph_is_drawn_live() {
    let daemon = Daemon::start(&[]);
    let browser = Browser::start();
    browser.go(&format!("{}#/pipelines/live", daemon.address()));
    browser.until("document.querySelectorAll('[data-entry]').length > 0");
    let shown = browser.eval("[...document.querySelectorAll('[data-entry]')].map(node => node.dataset.entry)");
    let full = daemon.pipeline("live");
    let names: Vec<&Value> = full["entries"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(shown.as_array().unwrap().iter().collect::<Vec<_>>(), names);
    let lines: usize = full["entries"].as_array().unwrap().iter().map(|e| e["from"].as_array().unwrap().len()).sum();
    browser.until(&format!("document.querySelectorAll('path.line').length === {lines}"));
    // No two entries stand on each other.
    browser.until(
        "(boxes => boxes.every((a, i) => boxes.slice(i + 1).every(b => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top)))([...document.querySelectorAll('.box')].map(node => node.getBoundingClientRect()))",
    );
    browser.until(
        "[...document.querySelectorAll('.entry.source text')].some(text => /^[1-9].*\\/s$/.test(text.textContent))",
    );
    browser.until("Boolean(document.querySelector('[data-entry=averages] .flag').textContent.includes('late'))");
    browser.until("document.querySelectorAll('path.flows').length > 3");
    browser.click("[data-entry=averages]");
    browser.until("document.querySelector('.panel').innerText.includes('held back by')");
    // By the keyboard, too.
    browser.write("[data-entry=averages]", " ");
    browser.until("document.querySelector('.panel').hidden");
    browser.write("[data-entry=averages]", "\u{e007}");
    browser.until("document.querySelector('.panel h3').checkVisibility()");
    browser.until("document.querySelector('.file').textContent.includes('as long as somebody looks')");
    browser.until("[...document.querySelectorAll('section h2')].some(head => head.textContent === 'Partitions')");
    browser.until("[...document.querySelectorAll('section')].some(part => part.innerText.includes('attic is mild'))");
    legible(&browser);

    browser.go(&format!("{}#/pipelines/broken", daemon.address()));
    browser.until("document.querySelector('.reason')?.textContent.includes('did you mean `filter`?')");
    legible(&browser);
    // A changed file is read, and what came of it is said.
    let file = daemon.home.path().join("p/broken.yaml");
    fs::write(&file, BROKEN.replace("filtre", "filter").replace("generate: {", "generate: { rate: 5,")).unwrap();
    browser.until("document.querySelector('.title .badge')?.textContent === 'running'");
    browser.until("document.querySelectorAll('[data-entry]').length === 3");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_token_is_asked_for_and_an_end_is_said() {
    let home = with_texts(&[("p/complete.yaml", COMPLETE)]);
    let made = program::run(home.path(), &["token", "add", "me", "--role", "read", "--pipelines", "p"]);
    assert!(made.status.success(), "{}", said(&made));
    let token = program::text(&made.stdout).trim().to_owned();
    let mut daemon = Daemon::start_in(home, &["--tokens"]);
    let browser = Browser::start();
    browser.go(&daemon.address());
    browser.write("#token", "not-a-token");
    browser.click("#login .main");
    browser.until("document.querySelector('#login-why').textContent.includes('not known')");
    browser.write("#token", &token);
    browser.click("#login .main");
    browser.until(&format!("{} === 'complete'", phase("complete")));
    // Whoever may only read is told so.
    browser.click("[data-id=complete] [data-verb=reload]");
    browser.until("document.querySelector('#said').textContent.includes('`operate`')");

    daemon.child.kill().unwrap();
    browser.until("document.querySelector('#reach').textContent.includes('not reachable')");
    assert_eq!(browser.eval("document.querySelectorAll('[data-id]').length"), 1, "what was known is still shown");
}

#[test]
fn its_files_are_small_and_asked_about_before_they_are_used_again() {
    let daemon = Daemon::start_in(with_texts(&[("p/complete.yaml", COMPLETE)]), &["--tokens"]);
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service/page");
    let mut sent = 0;
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let name = file.file_name().into_string().unwrap();
        assert!(text.lines().count() <= 500, "{name} is too long to read");
        for elsewhere in ["://", " style=", "onclick=\"", "innerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!text.replace("http://www.w3.org/2000/svg", "").contains(elsewhere), "{name} has {elsewhere}");
        }
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        let whole = daemon.get(&path, "");
        assert_eq!((whole.status, whole.body), (200, text), "{path}");
        let policy = "content-security-policy: default-src 'self'; frame-ancestors 'none'";
        assert!(whole.head.contains(policy) && whole.head.contains("cache-control: no-cache"), "{}", whole.head);
        let value = |head: &str, name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        let tag = value(&whole.head, "etag: ").unwrap().replace("w/", "W/");
        let again = daemon.get(&path, &format!("\r\nIf-None-Match: \"other\", {tag}"));
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let packed = daemon.get(&path, "\r\nAccept-Encoding: br, gzip");
        assert!(packed.head.contains("content-encoding: gzip"), "{}", packed.head);
        sent += value(&packed.head, "content-length: ").unwrap().parse::<usize>().unwrap();
    }
    assert!(sent < 40 << 10, "{sent} bytes");
}
