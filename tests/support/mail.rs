//! A mail server that keeps what comes: it speaks SMTP, with STARTTLS or TLS from the first byte, wants a password if it is
//! told so, and answers as a test wants.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A message that came.
#[derive(Debug, Clone, Default)]
pub struct Came {
    pub from: String,
    pub to: Vec<String>,
    /// The message as it was sent, without what dots are doubled for.
    pub text: String,
    pub secure: bool,
    pub login: Option<String>,
}

impl Came {
    /// The value of a header, on one line.
    pub fn header(&self, name: &str) -> String {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = unfolded.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or_else(String::new, |(_, value)| value.to_owned())
    }
}

/// What it does at a line.
#[derive(Clone, Copy)]
pub enum Does {
    /// What is right.
    Right,
    /// Says this.
    Says(&'static str),
    /// Cuts the connection.
    Cuts,
    /// Says nothing, for as long as the client waits.
    Hangs,
}

type Behaves = Box<dyn FnMut(&str) -> Does + Send>;

#[derive(Default)]
struct Known {
    came: Mutex<Vec<Came>>,
    behaves: Mutex<Option<Behaves>>,
    lines: Mutex<Vec<String>>,
    /// It is stopped.
    away: AtomicBool,
}

/// How it listens.
#[derive(Clone, Default)]
pub struct Listens {
    /// With this, it offers STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// TLS is there from the first byte.
    pub implicit: bool,
    /// Who may send: a name and a password.
    pub login: Option<(&'static str, &'static str)>,
}

pub struct MailServer {
    pub port: u16,
    listens: Listens,
    known: Arc<Known>,
    /// What accepts, and connections that were made.
    running: Option<(JoinHandle<()>, Arc<Mutex<Vec<TcpStream>>>)>,
}

impl MailServer {
    /// Listens until it is stopped, or the test ends.
    pub fn start(listens: Listens) -> MailServer {
        let mut server = MailServer { port: 0, listens, known: Arc::default(), running: None };
        server.again();
        server
    }

    /// Listens at its address.
    pub fn again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (listens, known) = (self.listens.clone(), Arc::clone(&self.known));
        known.away.store(false, Ordering::SeqCst);
        let open = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&open);
        let accept = move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if known.away.load(Ordering::SeqCst) {
                    return;
                }
                made.lock().unwrap().push(stream.try_clone().unwrap());
                let session = Session { listens: listens.clone(), known: Arc::clone(&known), came: Came::default() };
                // Whoever goes in the middle of it has gone.
                std::thread::spawn(move || session.begin(stream));
            }
        };
        self.running = Some((std::thread::spawn(accept), open));
    }

    /// Cuts every connection, and listens no more.
    pub fn stop(&mut self) {
        let (thread, open) = self.running.take().unwrap();
        self.known.away.store(true, Ordering::SeqCst);
        // It waits for somebody.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        thread.join().unwrap();
        for stream in open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Answers like this from now on; it is asked of each line, and of a message as `.`.
    pub fn behaves(&self, behaves: impl FnMut(&str) -> Does + Send + 'static) {
        *self.known.behaves.lock().unwrap() = Some(Box::new(behaves));
    }

    pub fn came(&self) -> Vec<Came> {
        self.known.came.lock().unwrap().clone()
    }

    /// Every line that was said to it.
    pub fn lines(&self) -> Vec<String> {
        self.known.lines.lock().unwrap().clone()
    }
}

/// A connection to it.
struct Session {
    listens: Listens,
    known: Arc<Known>,
    came: Came,
}

impl Session {
    fn begin(mut self, stream: TcpStream) -> io::Result<()> {
        if self.listens.implicit {
            let tls = self.listens.tls.take().unwrap();
            self.came.secure = true;
            let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
            stream.write_all(b"220 mail.test ESMTP\r\n")?;
            return self.talk(&mut stream).map(|_| ());
        }
        let mut plain = stream;
        plain.write_all(b"220 mail.test ESMTP\r\n")?;
        if !self.talk(&mut plain)? {
            return Ok(());
        }
        let tls = self.listens.tls.take().unwrap();
        self.came.secure = true;
        let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), plain);
        self.talk(&mut stream).map(|_| ())
    }

    /// Talks until the client goes; whether it wants TLS.
    fn talk(&mut self, stream: &mut (impl Read + Write)) -> io::Result<bool> {
        loop {
            let line = line_of(stream)?;
            self.known.lines.lock().unwrap().push(line.clone());
            let does = self.does(&line);
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let right = match (does, verb.as_str()) {
                (Does::Right, "STARTTLS") if self.listens.tls.is_some() => {
                    stream.write_all(b"220 go on\r\n")?;
                    return Ok(true);
                }
                (Does::Right, "DATA") => {
                    stream.write_all(b"354 go on\r\n")?;
                    self.came.text = message_of(stream)?;
                    match self.does(".") {
                        Does::Right => {
                            self.known.came.lock().unwrap().push(self.came.clone());
                            "250 taken".to_owned()
                        }
                        other => return self.otherwise(other, stream).map(|_| false),
                    }
                }
                (Does::Right, _) => self.answer(&verb, &line, stream)?,
                (Does::Says(said), _) => said.to_owned(),
                (other, _) => return self.otherwise(other, stream).map(|_| false),
            };
            stream.write_all(format!("{right}\r\n").as_bytes())?;
            if verb == "QUIT" {
                return Ok(false);
            }
        }
    }

    /// Does what is not right. The session goes on only where something was said.
    fn otherwise(&mut self, does: Does, stream: &mut (impl Read + Write)) -> io::Result<()> {
        match does {
            Does::Says(said) => {
                stream.write_all(format!("{said}\r\n").as_bytes())?;
                self.talk(stream).map(|_| ())
            }
            Does::Hangs => stream.read(&mut [0; 1]).map(|_| ()),
            Does::Cuts | Does::Right => Ok(()),
        }
    }

    fn does(&self, line: &str) -> Does {
        let mut behaves = self.known.behaves.lock().unwrap();
        behaves.as_mut().map_or(Does::Right, |behaves| behaves(line))
    }

    fn answer(&mut self, verb: &str, line: &str, stream: &mut (impl Read + Write)) -> io::Result<String> {
        let address =
            || line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inside, _)| inside.to_owned());
        Ok(match verb {
            "EHLO" => {
                let starttls = if self.listens.tls.is_some() { "250-STARTTLS\r\n" } else { "" };
                let auth = if self.listens.login.is_some() { "250-AUTH LOGIN PLAIN\r\n" } else { "" };
                format!("250-mail.test\r\n{starttls}{auth}250 SIZE 1000000")
            }
            "AUTH" => self.log_in(line, stream)?,
            "MAIL" if self.listens.login.is_some() && self.came.login.is_none() => "530 log in first".to_owned(),
            "MAIL" => {
                self.came.from = address().unwrap_or_default();
                self.came.to.clear();
                "250 ok".to_owned()
            }
            "RCPT" => {
                self.came.to.extend(address());
                "250 ok".to_owned()
            }
            "RSET" | "NOOP" => "250 ok".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "502 no such word".to_owned(),
        })
    }

    fn log_in(&mut self, line: &str, stream: &mut (impl Read + Write)) -> io::Result<String> {
        let decoded = |text: &str| String::from_utf8(STANDARD.decode(text.trim()).unwrap()).unwrap();
        let mut words = line.split(' ').skip(1);
        let shown = match words.next() {
            Some("PLAIN") => decoded(words.next().unwrap_or_default()),
            _ => {
                stream.write_all(b"334 VXNlcm5hbWU6\r\n")?;
                let user = decoded(&line_of(stream)?);
                stream.write_all(b"334 UGFzc3dvcmQ6\r\n")?;
                format!("\0{user}\0{}", decoded(&line_of(stream)?))
            }
        };
        let right = self.listens.login.is_some_and(|(user, password)| shown == format!("\0{user}\0{password}"));
        self.came.login = right.then(|| shown.split('\0').nth(1).unwrap().to_owned());
        Ok(if right { "235 welcome".to_owned() } else { "535 who are you".to_owned() })
    }
}

/// A line, read byte by byte: what is behind it may be for TLS.
fn line_of(stream: &mut impl Read) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn message_of(stream: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let line = line_of(stream)?;
        if line == "." {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
    }
}
