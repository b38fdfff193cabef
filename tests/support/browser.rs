//! A browser without a window, steered over WebDriver: Chromium, as Debian has it.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name under which WebDriver writes an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _home: TempDir,
}

impl Browser {
    /// Starts one that knows nothing yet.
    pub fn start() -> Browser {
        let home = TempDir::new().expect("a directory");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // What it leaves behind goes with the test.
        let mut driver =
            command.env("TMPDIR", home.path()).spawn().expect("`apt-get install chromium chromium-driver`");
        let mut said = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = said.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        // Whoever writes into a pipe that nobody reads waits.
        std::thread::spawn(move || said.for_each(drop));
        let port = port.expect("chromedriver says its port");
        let mut browser = Browser { driver, port, session: String::new(), _home: home };
        let profile = format!("--user-data-dir={}", browser._home.path().join("profile").display());
        let mut arguments = vec!["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
        arguments.extend(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        arguments.extend(["--disable-dev-shm-usage", "--window-size=1280,900", &profile]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.ask("POST", "/session", &wanted);
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        browser
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            line.clear();
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text)?;
        let mut answer: Value = serde_json::from_slice(&text)?;
        Ok(answer["value"].take())
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body).expect("chromedriver answers");
        assert!(answer["error"].is_null(), "{path} {body}: {} {}", answer["error"], answer["message"]);
        answer
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}/{what}", self.session), body)
    }

    pub fn go(&self, address: &str) {
        self.post("url", &json!({ "url": address }));
    }

    /// What an expression is in the page.
    pub fn eval(&self, expression: &str) -> Value {
        self.post("execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        let began = Instant::now();
        while self.eval(expression) != json!(true) {
            let page = || self.eval("document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "not so: {expression}\nthe page shows:\n{}", page());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn element(&self, css: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": css }));
        format!("element/{}", found[ELEMENT].as_str().expect("an element"))
    }

    /// Clicks as a hand does: what is hidden or covered cannot be.
    pub fn click(&self, css: &str) {
        self.until(&format!("Boolean(document.querySelector({css:?})?.checkVisibility())"));
        self.post(&format!("{}/click", self.element(css)), &json!({}));
    }

    /// Types into an element.
    pub fn write(&self, css: &str, text: &str) {
        self.until(&format!("Boolean(document.querySelector({css:?})?.checkVisibility())"));
        self.post(&format!("{}/value", self.element(css)), &json!({ "text": text }));
    }

    pub fn size(&self, width: u32, height: u32) {
        self.command(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// `light` or `dark`.
    pub fn scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.command("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    fn command(&self, name: &str, parameters: &Value) {
        self.post("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }));
    }

    /// What the console has said since it was asked last.
    pub fn console(&self) -> Vec<String> {
        let said = self.post("se/log", &json!({ "type": "browser" }));
        let texts = said.as_array().expect("a list").iter();
        texts.map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.send("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
