//! The socket beside a running state: whoever wants to change the state asks the run to pause. It stops at a checkpoint,
//! closes the state, lends its lock, and goes on from that checkpoint when the connection ends, however it ends. So there is
//! one way to change a state, whether its pipeline runs or not, and what is changed is part of the checkpoint that the run
//! goes on from. The lock is a file that both processes have open: nobody else can come between, whichever of them ends.
//!
//! The socket lies in a directory that only its owner may enter. Who connects sends one line, why the state is wanted; the
//! answer is one line, `paused`, or `refused: ` and a reason.
//!
//! Some lines are for the run itself, which goes on: how its connections are, and what somebody says to it.

use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};

use super::state::{Lock, StateError};
use crate::base::tasks;

/// How long either side waits for a line that should come at once.
const LINE_WITHIN: Duration = Duration::from_secs(5);
/// How long a run may take to come to a checkpoint.
const PAUSED_WITHIN: Duration = Duration::from_secs(60);
/// How long whoever reads a state waits for a checkpoint of what has come.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// More than any line has that is answered to whoever wants a pause.
const LINE_BYTES: u64 = 4 << 10;
/// More than what is asked has, and what a run answers of itself.
const ASKED_BYTES: u64 = 4 << 20;
const PAUSED: &str = "paused";
/// What is asked by whoever wants to know how the run's connections are, and changes nothing.
pub const LINKS: &str = "links";
/// What is asked for by whoever reads the state: a checkpoint of what has come so far.
pub const SETTLE: &str = "checkpoint";
/// What comes before something that is said to the run.
pub const SAY: &str = "say ";
const REFUSED: &str = "refused: ";

/// Takes requests to pause, until it is dropped.
pub struct Control {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

/// A request to pause; when it is dropped, its sender learns that nobody will.
pub struct Request {
    stream: UnixStream,
    /// Why the state is wanted: the verb; or what the run is asked or told.
    pub why: String,
}

/// A run is paused until this is dropped.
pub struct Pause {
    lock: Option<Lock>,
    _stream: UnixStream,
}

impl Pause {
    /// The lock of the state, which the run lends; once.
    pub fn take_lock(&mut self) -> Option<Lock> {
        self.lock.take()
    }
}

fn socket_path(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".control");
    PathBuf::from(name).join("socket")
}

/// What somebody asks who has just connected.
async fn asked(mut stream: tokio::net::UnixStream) -> io::Result<Request> {
    let mut text = String::new();
    tokio::io::BufReader::new((&mut stream).take(ASKED_BYTES)).read_line(&mut text).await?;
    let stream = stream.into_std()?;
    // Whoever answers waits for it to be taken.
    stream.set_nonblocking(false)?;
    Ok(Request { stream, why: text.trim_end().to_owned() })
}

impl Control {
    /// Listens beside a state that this process holds. The error is a sentence; a run can do without.
    pub fn listen(state: &Path) -> Result<Control, String> {
        let path = socket_path(state);
        let wrong = |e: io::Error| format!("no requests can be taken at `{}`: {e}", path.display());
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
        }
        // Whoever left it is gone: this process holds the state.
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(wrong(e)),
            _ => {}
        }
        let _watched = tasks::watched()?;
        let listener = tokio::net::UnixListener::bind(&path).map_err(wrong)?;
        Ok(Control { listener, path })
    }

    /// The next request; `None` when nothing more can come.
    pub async fn next(&self) -> Option<Request> {
        loop {
            let (stream, _) = self.listener.accept().await.ok()?;
            // Who says nothing wants nothing.
            if let Ok(Ok(request)) = tokio::time::timeout(LINE_WITHIN, asked(stream)).await
                && !request.why.is_empty()
            {
                return Some(request);
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A socket without a listener refuses connections; it is tidier without.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Request {
    /// The state is closed: lends the lock, and waits until whoever asked is done with it.
    pub fn paused(mut self, lock: &Lock) {
        let told = lend(&self.stream, lock).and_then(|()| self.stream.set_read_timeout(None));
        if told.is_ok() {
            let mut nothing = [0; 64];
            while self.stream.read(&mut nothing).is_ok_and(|read| read > 0) {}
        }
    }

    /// Answers who wanted to know something, with one line.
    pub fn answer(mut self, line: &str) {
        // Who no longer listens needs no answer.
        let _ = writeln!(self.stream, "{line}");
    }

    /// The run cannot pause.
    pub fn refuse(mut self, why: &str) {
        // Who no longer listens needs no answer.
        let _ = writeln!(self.stream, "{REFUSED}{why}");
    }
}

/// Tells that the run is paused, and with it hands over the lock.
fn lend(stream: &UnixStream, lock: &Lock) -> io::Result<()> {
    let text = format!("{PAUSED}\n");
    let files = [lock.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&files));
    let sent = retry_on_intr(|| {
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(stream, &text, &mut beside, SendFlags::NOSIGNAL)
    })?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The line that is answered, and the lock if one comes with it.
fn answer(stream: &UnixStream) -> io::Result<(String, Option<Lock>)> {
    let (mut text, mut lock) = (Vec::new(), None);
    while !text.ends_with(b"\n") && text.len() < LINE_BYTES as usize {
        let mut bytes = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let got = retry_on_intr(|| {
            let mut bytes = [IoSliceMut::new(&mut bytes)];
            recvmsg(stream, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                lock = files.last().map(|file| Lock::lent(file.into())).or(lock);
            }
        }
        text.extend_from_slice(bytes.get(..got.bytes).unwrap_or_default());
        if got.bytes == 0 {
            break;
        }
    }
    Ok((String::from_utf8_lossy(&text).trim_end().to_owned(), lock))
}

/// Asks whoever runs with a state how its connections are: one line, if it answers.
pub fn links(state: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket_path(state)).ok()?;
    stream.set_read_timeout(Some(LINE_WITHIN)).and_then(|()| writeln!(stream, "{LINKS}")).ok()?;
    let mut text = String::new();
    BufReader::new(stream.take(ASKED_BYTES)).read_line(&mut text).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// Has whoever runs with a state make a checkpoint of what has come so far, and waits for it, not for long: what is read then is
/// as of now, or of a little before.
pub fn settle(state: &Path) {
    let Ok(mut stream) = UnixStream::connect(socket_path(state)) else { return };
    let asked = stream.set_read_timeout(Some(SETTLED_WITHIN)).and_then(|()| writeln!(stream, "{SETTLE}"));
    if asked.is_ok() {
        // However it is answered, what is there is read.
        let _ = stream.read(&mut [0; 16]);
    }
}

/// Says something to whoever runs with a state: its answer, a line, once it is part of a checkpoint; `None` if nobody answers.
pub fn tell(state: &Path, text: &str) -> Result<Option<String>, StateError> {
    let Ok(mut stream) = UnixStream::connect(socket_path(state)) else { return Ok(None) };
    let mut answer = String::new();
    let asked = stream
        .set_read_timeout(Some(PAUSED_WITHIN))
        .and_then(|()| writeln!(stream, "{SAY}{text}"))
        .and_then(|()| BufReader::new(stream.take(ASKED_BYTES)).read_line(&mut answer));
    match asked {
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(StateError::new(format!(
                "the run that has the state `{}` did not come to a checkpoint within {} s; that may still take effect",
                state.display(),
                PAUSED_WITHIN.as_secs()
            )))
        }
        // It ended before it answered.
        Err(_) => Ok(None),
        Ok(_) => Ok(Some(answer.trim_end().to_owned()).filter(|answer| !answer.is_empty())),
    }
}

/// How often somebody is asked who ended before it paused: mostly it is there again in a moment.
pub const ASKED_AGAIN: u32 = 20;
/// How long is waited before.
pub const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Asks whoever runs with a state to pause; `None` if nobody listens beside it.
pub fn pause(state: &Path, why: &str) -> Result<Option<Pause>, StateError> {
    for _ in 0..ASKED_AGAIN {
        match ask_to_pause(state, why)? {
            Some(Paused::Now(pause)) => return Ok(Some(pause)),
            Some(Paused::Ended) => std::thread::sleep(AGAIN_AFTER),
            None => return Ok(None),
        }
    }
    Err(StateError::new(format!("the run that has the state `{}` ends each time before it pauses", state.display())))
}

/// What came of asking.
enum Paused {
    Now(Pause),
    /// It ended before.
    Ended,
}

fn ask_to_pause(state: &Path, why: &str) -> Result<Option<Paused>, StateError> {
    let Ok(mut stream) = UnixStream::connect(socket_path(state)) else { return Ok(None) };
    let asked = stream
        .set_read_timeout(Some(PAUSED_WITHIN))
        .and_then(|()| writeln!(stream, "{why}"))
        .and_then(|()| answer(&stream));
    let failed = |why: &str| Err(StateError::new(format!("the run that has the state `{}` {why}", state.display())));
    let (text, lock) = match asked {
        Ok((text, lock)) => (Ok(text), lock),
        Err(e) => (Err(e), None),
    };
    match text.as_deref() {
        Ok(PAUSED) => Ok(Some(Paused::Now(Pause { lock, _stream: stream }))),
        Ok("") => Ok(Some(Paused::Ended)),
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            Ok(Some(Paused::Ended))
        }
        Ok(answer) => failed(&format!("cannot pause: {}", answer.strip_prefix(REFUSED).unwrap_or(answer))),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            failed(&format!("did not come to a checkpoint within {} s; stop it first", PAUSED_WITHIN.as_secs()))
        }
        Err(e) => failed(&format!("cannot be asked: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{Holder, StateFile, StateReader};
    use super::*;

    fn holder(command: &str) -> Holder {
        Holder { pipeline: "p.yaml".into(), command: command.into() }
    }

    fn next(control: &Control) -> Request {
        tasks::block_on(control.next()).unwrap().unwrap()
    }

    #[test]
    fn a_run_pauses_until_the_asker_is_done_or_gone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("p.db");
        assert!(pause(&state, "purge").unwrap().is_none());
        let control = Control::listen(&state).unwrap();
        let lock = StateFile::open(&state, &holder("run")).unwrap().close();
        let (told, tells) = std::sync::mpsc::channel();
        let runs = std::thread::spawn(move || {
            let request = next(&control);
            told.send(request.why.clone()).unwrap();
            request.paused(&lock);
            told.send("goes on".to_owned()).unwrap();
            next(&control).refuse("it reads standard input");
            drop(next(&control));
        });
        let paused = pause(&state, "purge").unwrap().unwrap();
        assert_eq!(tells.recv().unwrap(), "purge");
        assert!(tells.try_recv().is_err());
        drop(paused);
        assert_eq!(tells.recv().unwrap(), "goes on");
        let why = |asked: Result<Option<Pause>, StateError>| asked.err().unwrap().message;
        assert!(why(pause(&state, "purge")).ends_with("cannot pause: it reads standard input"));
        // It ends before it pauses, and is not there again.
        assert!(pause(&state, "purge").unwrap().is_none());
        runs.join().unwrap();
        assert!(pause(&state, "purge").unwrap().is_none());
    }

    #[test]
    fn nobody_comes_between_a_run_and_whoever_it_lends_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("p.db");
        let control = Control::listen(&state).unwrap();
        let lock = StateFile::open(&state, &holder("run")).unwrap().close();
        let is_free = || StateFile::open(&state, &holder("other run")).is_ok();
        let runs = std::thread::spawn(move || {
            next(&control).paused(&lock);
            lock
        });
        let mut paused = pause(&state, "purge").unwrap().unwrap();
        assert!(!is_free(), "before the asker opens it");
        let file = StateFile::open_with(&state, &holder("purge"), paused.take_lock().unwrap()).unwrap();
        assert_eq!(StateReader::held(&state).map(|held| held.command), Some("purge".into()));
        assert!(!is_free(), "while it has it");
        drop(file);
        assert!(!is_free(), "before the run goes on");
        drop(paused);
        let lock = runs.join().unwrap();
        assert!(!is_free());
        let file = StateFile::open_with(&state, &holder("run"), lock).unwrap();
        assert_eq!(StateReader::held(&state).map(|held| held.command), Some("run".into()));
        drop(file);
        assert!(is_free());
    }

    #[test]
    fn a_lock_outlives_the_run_that_lent_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("p.db");
        let control = Control::listen(&state).unwrap();
        let lock = StateFile::open(&state, &holder("run")).unwrap().close();
        let runs = std::thread::spawn(move || next(&control).paused(&lock));
        let mut paused = pause(&state, "purge").unwrap().unwrap();
        let lent = paused.take_lock().unwrap();
        drop(paused);
        runs.join().unwrap();
        assert!(StateFile::open(&state, &holder("other run")).is_err());
        drop(lent);
        assert!(StateFile::open(&state, &holder("other run")).is_ok());
    }

    #[test]
    fn only_the_owner_may_enter() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let _control = Control::listen(&directory.path().join("p.db")).unwrap();
        let about = std::fs::metadata(directory.path().join("p.db.control")).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o700);
    }
}
