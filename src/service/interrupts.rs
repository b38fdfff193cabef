//! What interrupts a run: whoever stops it, and requests of other verbs for its state, for which it pauses.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::tasks::{self, Begun};
use crate::connectors::http_port::GoesOn;
use crate::engine::run::Handle;
use crate::store::control::{Control, LINKS, Request, SAY, SETTLE};

use super::links::{self, Links};
use super::open::journal_of;

/// What interrupts a run, from before it begins until nobody wants it to go on.
#[derive(Clone, Default)]
pub struct Interrupts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The run to stop, while there is one.
    handle: Mutex<Option<Handle>>,
    /// It is to stop, and not to go on.
    stopped: AtomicBool,
    /// Requests that wait for the state. One may come when there is no run to stop.
    asked: Mutex<VecDeque<Request>>,
    /// It pauses, and is there again in a moment.
    goes_on: Mutex<Option<GoesOn>>,
    /// The connections of its sources and sinks.
    links: Mutex<Links>,
}

/// Hands on what somebody says; where there is no run that takes it there is no answer.
async fn answer(request: Request, run: Option<Handle>) {
    let command = request.why.strip_prefix(SAY).map(serde_json::from_str);
    let answer = match (command, run) {
        (Some(Ok(command)), Some(run)) => run.say(&command).await,
        (Some(Err(e)), _) => Some(Err(format!("the run does not understand this: {e}"))),
        _ => None,
    };
    if let Some(line) = answer.and_then(|answer| serde_json::to_string(&answer).ok()) {
        request.answer(&line);
    }
}

/// Answers when a checkpoint has what has come.
async fn settle(request: Request, run: Option<Handle>) {
    if let Some(run) = run {
        run.settle().await;
    }
    request.answer("done");
}

/// How long after a run has begun its sources may take to be there again.
const AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// A run has begun: its sources are there again in a moment.
pub fn linger(goes_on: GoesOn) {
    // If nothing can wait for it, its ports close now.
    let _ = tasks::begin(async move {
        tokio::time::sleep(AGAIN_WITHIN).await;
        drop(goes_on);
    });
}

/// Requests are taken until this is dropped.
pub struct Requests {
    of_run: Interrupts,
    stop: Option<oneshot::Sender<()>>,
    task: Begun<()>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop = None;
        self.task.wait();
        // It does not go on.
        drop(lock(&self.of_run.0.goes_on).take());
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interrupts {
    /// Stops the run, or the one that begins next, for good.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.interrupt();
    }

    fn interrupt(&self) {
        if let Some(handle) = &*lock(&self.0.handle) {
            handle.stop();
        }
    }

    /// Takes requests for a state, which this process holds; if its run `cannot_pause` they are refused, and that says why. The
    /// error is a sentence; a run can do without.
    pub fn take_requests(&self, state: &Path, cannot_pause: Option<&'static str>) -> Result<Requests, String> {
        let (control, of_run, journal) = (Control::listen(state)?, self.clone(), journal_of(state));
        let (stop, mut stopped) = oneshot::channel();
        let task = tasks::begin(async move {
            loop {
                let request = tokio::select! {
                    _ = &mut stopped => return,
                    request = control.next() => request,
                };
                match (request, cannot_pause) {
                    (None, _) => return,
                    (Some(request), _) if request.why == LINKS => {
                        request.answer(&links::line(&lock(&of_run.0.links)));
                    }
                    (Some(request), _) if request.why == SETTLE => {
                        let _ = tasks::begin(settle(request, of_run.running()));
                    }
                    (Some(request), _) if request.why.starts_with(SAY) => {
                        // It is answered when it is part of a checkpoint; others are not to wait for that.
                        let _ = tasks::begin(answer(request, of_run.running()));
                    }
                    (Some(request), Some(why)) => request.refuse(why),
                    (Some(request), None) => {
                        // The run takes it when it has stopped for it, not before: it would be stopped for nothing then.
                        lock(&of_run.0.goes_on).get_or_insert_with(|| GoesOn::new(&journal));
                        let mut asked = lock(&of_run.0.asked);
                        asked.push_back(request);
                        of_run.interrupt();
                    }
                }
            }
        });
        Ok(Requests { of_run: self.clone(), stop: Some(stop), task: task? })
    }

    /// These are the connections of the run that begins.
    pub fn show(&self, links: Links) {
        *lock(&self.0.links) = links;
    }

    /// How its connections are.
    pub fn links(&self) -> Vec<links::Told> {
        links::told_of(&lock(&self.0.links))
    }

    /// There is a run; it is stopped at once if something interrupted before.
    pub fn begin(&self, handle: Handle) {
        *lock(&self.0.handle) = Some(handle);
        if self.stopped() || !lock(&self.0.asked).is_empty() {
            self.interrupt();
        } else if let Some(goes_on) = lock(&self.0.goes_on).take() {
            linger(goes_on);
        }
    }

    /// The run has ended.
    pub fn end(&self) {
        *lock(&self.0.handle) = None;
    }

    /// The run that goes on.
    pub fn running(&self) -> Option<Handle> {
        lock(&self.0.handle).clone()
    }

    /// Whether it is to stop for good.
    pub fn stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// A request that waits for the state.
    pub fn request(&self) -> Option<Request> {
        lock(&self.0.asked).pop_front()
    }
}
