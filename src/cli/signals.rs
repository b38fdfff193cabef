//! Signals, which stop a run.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::service::interrupts::Interrupts;

use super::exit;
use super::load::say;

/// How long a run that is told to stop may take to bring what it has read to its sinks.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Takes signals from now on, also those that come before there is a run to stop.
pub fn listen() -> Interrupts {
    let interrupts = Interrupts::default();
    let (ready, listening) = channel::<()>();
    let of_run = interrupts.clone();
    // Without the thread, signals end the process at once, as they do by default.
    let thread = std::thread::Builder::new().name("signals".to_owned());
    if thread.spawn(move || wait_for_signals(&of_run, &ready)).is_ok() {
        let _ = listening.recv();
    }
    interrupts
}

/// The first SIGINT or SIGTERM stops the run in good order, a second one at once, and so does taking too long.
fn wait_for_signals(interrupts: &Interrupts, ready: &Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let _ = ready.send(());
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        interrupts.stop();
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
