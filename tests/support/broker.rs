//! A Mosquitto of a test's own: its configuration, its port, its end. And somebody who subscribes there.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Broker {
    pub home: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Broker {
    /// Starts one. `lines` go into its configuration, in which `PORT` is its port and `HOME` its directory; without a
    /// listener among them it has a plain one.
    pub fn start(lines: &str) -> Broker {
        Broker::at(tempfile::tempdir().unwrap(), lines)
    }

    /// The same in a directory that has what it needs.
    pub fn at(home: tempfile::TempDir, lines: &str) -> Broker {
        let port = free_port();
        let listener = if lines.contains("listener ") { "" } else { "listener PORT 127.0.0.1\nallow_anonymous true\n" };
        // Started by root it would become somebody who may not read what a test writes.
        let config = format!(
            "user root\npersistence true\npersistence_location HOME/\nmax_queued_messages 0\n{listener}{lines}\n"
        );
        let config = config.replace("PORT", &port.to_string()).replace("HOME", home.path().to_str().unwrap());
        fs::write(home.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Broker { home, port, child: None };
        broker.again();
        broker
    }

    /// Starts it again after it was stopped.
    pub fn again(&mut self) {
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|p| Path::new(p).exists());
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let mut command = Command::new(program.unwrap_or("mosquitto"));
        command.arg("-c").arg(self.home.path().join("mosquitto.conf")).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self.home.path().join("log")).unwrap();
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it ended: {}", log());
            assert!(started.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it well: what it has is on the disk.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Publishes texts one after the other, with what else the program is told; comes back when the broker has them.
    pub fn publish(&self, topic: &str, texts: impl IntoIterator<Item = String>, options: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", topic, "-l"]).args(options);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for text in texts {
            writeln!(input, "{text}").unwrap();
        }
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A subscriber of a real client; what it hears is in a file.
pub struct Subscriber {
    file: PathBuf,
    child: Child,
}

impl Subscriber {
    /// `format` as `mosquitto_sub` has it.
    pub fn of(broker: &Broker, (topics, qos): (&str, &str), format: &str) -> Subscriber {
        let file = broker.home.path().join(format!("heard-{}", topics.len()));
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-V", "5", "-q", qos, "-t", topics]);
        command.args(["-F", format, "-i", "heard", "-c", "-x", "3600"]);
        let child = command.stdout(fs::File::create(&file).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        Subscriber { file, child }
    }

    pub fn heard(&self) -> Vec<String> {
        fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
