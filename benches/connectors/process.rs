//! Programs that are measured: started in a directory of their own, and gone when they are dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Failure;

/// A program that runs.
pub struct Running {
    child: Child,
    /// Where it runs.
    pub home: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Whether it has ended; an error if it failed.
    pub fn ended(&mut self) -> Result<bool, Failure> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("it ended: {status}").into()),
        }
    }
}

/// A directory on the disk that syncing means something on.
fn home() -> Result<TempDir, Failure> {
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("connectors");
    std::fs::create_dir_all(&data)?;
    Ok(tempfile::tempdir_in(data)?)
}

fn start(mut command: Command, home: TempDir) -> Result<Running, Failure> {
    let child = command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    Ok(Running { child, home })
}

/// Millstream with a pipeline, and rows in `in.ndjson`.
pub fn millstream(yaml: &str, rows: usize) -> Result<Running, Failure> {
    let home = home()?;
    std::fs::write(home.path().join("p.yaml"), yaml)?;
    write_rows(home.path(), rows)?;
    let program = std::env::var_os("MILLSTREAM").map_or_else(|| env!("CARGO_BIN_EXE_millstream").into(), PathBuf::from);
    let mut command = Command::new(program);
    command.args(["run", "--quiet", "p.yaml"]);
    start(command, home)
}

/// This program as a bare one.
pub fn bare(what: &str, arguments: &[String], rows: usize) -> Result<Running, Failure> {
    let home = home()?;
    write_rows(home.path(), rows)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", what]).args(arguments);
    start(command, home)
}

/// Mosquitto as it comes, on a port.
pub fn mosquitto(port: u16) -> Result<Running, Failure> {
    let home = home()?;
    std::fs::write(home.path().join("m.conf"), format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))?;
    let path = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(path.unwrap_or("mosquitto"));
    command.args(["-c", "m.conf"]).stderr(Stdio::null());
    let running = start(command, home)?;
    until_listens(port)?;
    Ok(running)
}

/// One row, about 110 bytes.
pub fn row(number: usize) -> String {
    format!(
        r#"{{"n":{number},"device_id":"device-{:04}","temperature":{}.5,"status":"ok","ts":"2026-01-01T00:00:00.000Z"}}"#,
        number % 1_000,
        number % 40
    )
}

fn write_rows(home: &Path, rows: usize) -> Result<(), Failure> {
    let text: String = (0..rows).map(|number| row(number) + "\n").collect();
    Ok(std::fs::write(home.join("in.ndjson"), text)?)
}

/// A port that nobody has.
pub fn port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until somebody listens.
pub fn until_listens(port: u16) -> Result<(), Failure> {
    until(|| Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
}

/// Waits for something.
pub fn until(mut holds: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let started = Instant::now();
    while !holds()? {
        if started.elapsed() > Duration::from_secs(120) {
            return Err("it does not come".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
