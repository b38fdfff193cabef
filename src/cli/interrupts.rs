//! What interrupts a run: signals, which stop it, and requests of other verbs for its state, for which it pauses.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::engine::run::Handle;
use crate::store::control::{Control, LINKS, Request};

use super::exit;
use super::links::{self, Links};
use super::load::say;

/// How long a run that is told to stop may take to bring what it has read to its sinks.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// What interrupts a run, from before it begins until the process ends.
pub struct Interrupts {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    asks: Sender<Request>,
}

#[derive(Default)]
struct Shared {
    /// The run to stop, while there is one.
    handle: Mutex<Option<Handle>>,
    /// A signal came.
    signalled: AtomicBool,
    /// Requests that wait for the state. One may come when there is no run to stop.
    asked: AtomicUsize,
    /// The connections of its sources and sinks.
    links: Mutex<Links>,
}

impl Shared {
    fn handle(&self) -> MutexGuard<'_, Option<Handle>> {
        self.handle.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn stop(&self) {
        if let Some(handle) = &*self.handle() {
            handle.stop();
        }
    }
}

impl Interrupts {
    /// Takes signals from now on, also those that come before there is a run to stop.
    pub fn listen() -> Self {
        let shared = Arc::new(Shared::default());
        let (ready, listening) = channel::<()>();
        let for_signals = Arc::clone(&shared);
        // Without the thread, signals end the process at once, as they do by default.
        let thread = std::thread::Builder::new().name("signals".to_owned());
        if thread.spawn(move || wait_for_signals(&for_signals, &ready)).is_ok() {
            let _ = listening.recv();
        }
        let (asks, requests) = channel();
        Interrupts { shared, requests, asks }
    }

    /// Takes requests for the state, which this process holds. The error is a sentence; a run can do without.
    pub fn take_requests(&self, state: &Path) -> Result<(), String> {
        let control = Control::listen(state)?;
        let (shared, asks) = (Arc::clone(&self.shared), self.asks.clone());
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            while let Some(request) = control.next() {
                if request.why == LINKS {
                    request.answer(&links::line(&shared.links.lock().unwrap_or_else(|e| e.into_inner())));
                    continue;
                }
                shared.asked.fetch_add(1, Ordering::AcqRel);
                if asks.send(request).is_err() {
                    return;
                }
                shared.stop();
            }
        });
        thread.map(|_| ()).map_err(|e| format!("no thread for requests: {e}"))
    }

    /// These are the connections of the run that begins.
    pub fn show(&self, links: Links) {
        *self.shared.links.lock().unwrap_or_else(|e| e.into_inner()) = links;
    }

    /// There is a run; it is stopped at once if something interrupted before.
    pub fn begin(&self, handle: Handle) {
        *self.shared.handle() = Some(handle);
        if self.signalled() || self.shared.asked.load(Ordering::Acquire) > 0 {
            self.shared.stop();
        }
    }

    /// The run has ended.
    pub fn end(&self) {
        *self.shared.handle() = None;
    }

    /// Whether a signal came.
    pub fn signalled(&self) -> bool {
        self.shared.signalled.load(Ordering::Acquire)
    }

    /// A request that waits for the state.
    pub fn request(&self) -> Option<Request> {
        let request = self.requests.try_recv().ok()?;
        self.shared.asked.fetch_sub(1, Ordering::AcqRel);
        Some(request)
    }
}

/// The first SIGINT or SIGTERM stops the run in good order, a second one at once, and so does taking too long.
fn wait_for_signals(shared: &Shared, ready: &Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let _ = ready.send(());
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        shared.signalled.store(true, Ordering::Release);
        shared.stop();
        tokio::select! {
            _ = interrupt.recv() => {},
            _ = terminate.recv() => {},
            () = tokio::time::sleep(STOP_WITHIN) => {
                let within = STOP_WITHIN.as_secs();
                say(&format!(
                    "error: the run did not stop within {within} s; the next one does again what is not in the last checkpoint"
                ));
                std::process::exit(i32::from(exit::FAILED));
            }
        }
        std::process::exit(i32::from(exit::STOPPED));
    });
}
