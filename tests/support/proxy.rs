//! A proxy before a port of this machine: its connections can be held, and cut at any moment.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What it does with what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Does {
    /// Passes it on.
    #[default]
    Pass,
    /// Nothing, until it does something else.
    Hold,
    /// Cuts a connection at this piece of who made it: the first is what it says when it comes.
    CutAt(usize),
}

#[derive(Default)]
struct Shared {
    does: Mutex<Does>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
    /// Connections that were made, and those that were cut.
    counted: Mutex<(usize, usize)>,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn before(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        // Ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                of_thread.counted.lock().unwrap().0 += 1;
                let Ok(other) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let mut open = of_thread.open.lock().unwrap();
                for (from, to, begins) in [(&stream, &other, true), (&other, &stream, false)] {
                    open.push(from.try_clone().unwrap());
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = Arc::clone(&of_thread);
                    std::thread::spawn(move || shared.pass(from, to, begins));
                }
            }
        });
        Proxy { port: own, shared }
    }

    /// From now on, also with the connections that are there.
    pub fn does(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
        self.shared.changed.notify_all();
    }

    /// Cuts every connection, in the middle of whatever goes over it.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often somebody has come.
    pub fn came(&self) -> usize {
        self.shared.counted.lock().unwrap().0
    }

    /// How often a connection was cut at a piece.
    pub fn was_cut(&self) -> usize {
        self.shared.counted.lock().unwrap().1
    }
}

impl Shared {
    /// Passes on one direction of a connection; `begins` is that of who made it.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, begins: bool) {
        let (mut buffer, mut pieces) = ([0; 4096], 0);
        while let Ok(count) = from.read(&mut buffer) {
            pieces += usize::from(begins);
            let does = self.changed.wait_while(self.does.lock().unwrap(), |does| *does == Does::Hold).unwrap();
            if matches!(*does, Does::CutAt(piece) if begins && pieces >= piece) {
                self.counted.lock().unwrap().1 += 1;
                break;
            }
            drop(does);
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
}
