//! Threads and time that all of this process shares. What waits has no thread: it is a task, which takes one when there is
//! something to do and gives it back when there is not, so that a thousand pipelines that are idle have none.
//!
//! A task may block, on a file or a lock: it holds up nobody else, for threads are as many as there are tasks that have
//! something to do at the time. Clocks and sockets are watched by one thread, which does nothing else.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Builder;
use std::time::Duration;

use tokio::runtime::{EnterGuard, Handle};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

/// How long a thread without work is kept.
const KEPT: Duration = Duration::from_secs(2);

/// Something to do.
type Work = Box<dyn FnOnce() + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a thread without work waits for some.
#[derive(Default)]
struct Seat {
    work: Mutex<Option<Work>>,
    brought: Condvar,
}

#[derive(Default)]
struct Threads {
    /// Those without work; the one that had some last is taken first, so that the others can go.
    idle: Vec<Arc<Seat>>,
    /// What no thread could be begun for: whoever is through with something takes it.
    late: VecDeque<Work>,
    /// How many there are.
    count: usize,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { idle: Vec::new(), late: VecDeque::new(), count: 0 });

/// Does something on a thread of its own. It may block.
///
/// # Errors
/// There is no thread, nor can one be begun.
pub fn run(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // What is told there is told of the same pipeline as here.
    let span = Span::current();
    let work: Work = Box::new(move || span.in_scope(work));
    let seat = {
        let mut threads = lock(&THREADS);
        let Some(seat) = threads.idle.pop() else {
            threads.count += 1;
            drop(threads);
            return begin_thread(work);
        };
        seat
    };
    *lock(&seat.work) = Some(work);
    seat.brought.notify_one();
    Ok(())
}

fn begin_thread(work: Work) -> io::Result<()> {
    // If it cannot be begun, what it was begun for is still here.
    let place = Arc::new(Mutex::new(Some(work)));
    let own = Arc::clone(&place);
    let begun = Builder::new().name("task".to_owned()).spawn(move || {
        let work = lock(&own).take();
        drop(own);
        if let Some(work) = work {
            work_on(work);
        }
    });
    let Err(why) = begun else { return Ok(()) };
    let mut threads = lock(&THREADS);
    threads.count -= 1;
    if threads.count == 0 {
        return Err(why);
    }
    threads.late.extend(lock(&place).take());
    Ok(())
}

/// A thread: works until there has been nothing to do for a while.
fn work_on(mut work: Work) {
    let seat = Arc::new(Seat::default());
    loop {
        // Whoever wants to know of a panic has caught it.
        let _ = catch_unwind(AssertUnwindSafe(work));
        let late = {
            let mut threads = lock(&THREADS);
            let late = threads.late.pop_front();
            if late.is_none() {
                threads.idle.push(Arc::clone(&seat));
            }
            late
        };
        let Some(next) = late.or_else(|| wait(&seat)) else { return };
        work = next;
    }
}

/// Waits for work; `None` if none came.
fn wait(seat: &Arc<Seat>) -> Option<Work> {
    let mut work = lock(&seat.work);
    loop {
        if let Some(work) = work.take() {
            return Some(work);
        }
        let (waited, late) = seat.brought.wait_timeout(work, KEPT).unwrap_or_else(PoisonError::into_inner);
        work = waited;
        if late.timed_out() && work.is_none() {
            // Whoever brings work takes the seat first, and holds no lock that is waited for here.
            drop(work);
            let mut threads = lock(&THREADS);
            if let Some(at) = threads.idle.iter().position(|other| Arc::ptr_eq(other, seat)) {
                threads.idle.remove(at);
                threads.count -= 1;
                return None;
            }
            drop(threads);
            work = lock(&seat.work);
        }
    }
}

/// What watches clocks and sockets, for as long as the process lives.
///
/// # Errors
/// A sentence: it could not be begun.
fn watcher() -> Result<&'static Handle, String> {
    static WATCHER: OnceLock<Result<Handle, String>> = OnceLock::new();
    let begin = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("clocks and sockets cannot be watched: {e}"))?;
        let handle = runtime.handle().clone();
        let thread = Builder::new().name("watcher".to_owned());
        let begun = thread.spawn(move || runtime.block_on(std::future::pending::<()>()));
        begun.map_err(|e| format!("no thread to watch clocks and sockets: {e}"))?;
        Ok(handle)
    };
    WATCHER.get_or_init(begin).as_ref().map_err(Clone::clone)
}

/// What is made while this is held, a timer or a socket, is watched with all others.
///
/// # Errors
/// A sentence: it could not be begun.
pub fn watched() -> Result<EnterGuard<'static>, String> {
    watcher().map(Handle::enter)
}

/// Waits on this thread for a future.
///
/// # Errors
/// A sentence: what it waits for cannot be watched.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, String> {
    Ok(watcher()?.block_on(future))
}

/// It waits to be woken.
const WAITS: u8 = 0;
/// A thread has it, or will.
const RUNS: u8 = 1;
/// It was woken meanwhile.
const AGAIN: u8 = 2;

struct Task {
    state: AtomicU8,
    /// `None` when it is through.
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    watcher: &'static Handle,
}

impl Task {
    fn go_on(self: Arc<Self>) {
        let again = Arc::clone(&self);
        if let Err(why) = run(move || again.poll()) {
            tracing::error!("nothing goes on, for no thread can be begun: {why}");
            // The first one that can be begun does this, too.
            lock(&THREADS).late.push_back(Box::new(move || self.poll()));
        }
    }

    fn poll(self: Arc<Self>) {
        let _watched = self.watcher.enter();
        let waker = Waker::from(Arc::clone(&self));
        let mut context = Context::from_waker(&waker);
        let mut future = lock(&self.future);
        loop {
            self.state.store(RUNS, Ordering::Release);
            let Some(polled) = future.as_mut() else { return };
            let polled = catch_unwind(AssertUnwindSafe(|| polled.as_mut().poll(&mut context)));
            if !matches!(polled, Ok(Poll::Pending)) {
                // It may have much to drop, which may panic like itself.
                let _ = catch_unwind(AssertUnwindSafe(|| *future = None));
                return;
            }
            if self.state.compare_exchange(RUNS, WAITS, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.state.swap(AGAIN, Ordering::AcqRel) == WAITS {
            self.go_on();
        }
    }
}

/// Whether a task has come to its end, for those who wait on a thread.
#[derive(Default)]
struct Ending {
    ended: Mutex<bool>,
    told: Condvar,
}

/// Says so when it goes, however that comes.
struct Tells(Arc<Ending>);

impl Drop for Tells {
    fn drop(&mut self) {
        *lock(&self.0.ended) = true;
        self.0.told.notify_all();
    }
}

/// A task that was begun.
pub struct Begun<T> {
    result: oneshot::Receiver<T>,
    ending: Arc<Ending>,
}

/// It did not come to its end: it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl<T> Future for Begun<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map(|result| result.map_err(|_| Panicked))
    }
}

impl<T> Begun<T> {
    /// Whether it has come to its end.
    pub fn is_finished(&self) -> bool {
        *lock(&self.ending.ended)
    }

    /// Waits on this thread until it has.
    pub fn wait(&self) {
        let mut ended = lock(&self.ending.ended);
        while !*ended {
            ended = self.ending.told.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Begins a task; it goes on by itself, whether or not anybody waits for it.
///
/// # Errors
/// A sentence: there is no thread for it.
pub fn begin<F>(future: F) -> Result<Begun<F::Output>, String>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let ((tell, result), ending) = (oneshot::channel(), Arc::new(Ending::default()));
    let tells = Tells(Arc::clone(&ending));
    let future = async move {
        let _tells = tells;
        // Perhaps nobody waits for it.
        let _ = tell.send(future.await);
    };
    let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future.in_current_span());
    let task = Arc::new(Task { state: AtomicU8::new(RUNS), future: Mutex::new(Some(future)), watcher: watcher()? });
    run(move || task.poll()).map_err(|e| format!("no thread for a task: {e}"))?;
    Ok(Begun { result, ending })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;

    #[test]
    fn tasks_that_block_hold_up_nobody() {
        // They wait for each other, which needs a thread for each.
        let all = Arc::new(Barrier::new(20));
        let waits = |_| {
            let all = Arc::clone(&all);
            begin(async move { all.wait().is_leader() }).unwrap()
        };
        let begun: Vec<_> = (0..20).map(waits).collect();
        let leaders = begun.into_iter().filter_map(|task| block_on(task).unwrap().ok()).filter(|leads| *leads);
        assert_eq!(leaders.count(), 1);
    }

    #[test]
    fn many_that_wait_are_woken_each() {
        let (tell, told) = tokio::sync::watch::channel(0);
        let waits = |n: usize| {
            let mut told = told.clone();
            begin(async move {
                told.wait_for(|at| *at > n).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                n
            })
            .unwrap()
        };
        let begun: Vec<_> = (0..500).map(waits).collect();
        for at in 1..=500 {
            tell.send_replace(at);
        }
        let sum: usize = begun.into_iter().map(|task| block_on(task).unwrap().unwrap()).sum();
        assert_eq!(sum, 499 * 500 / 2);
    }

    #[test]
    fn one_that_panics_ends_alone() {
        let held = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&held);
        let panics = begin(async move {
            let _counts = counts;
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("as it should");
        });
        let panics: Begun<()> = panics.unwrap();
        panics.wait();
        assert!(panics.is_finished());
        assert_eq!(block_on(panics), Ok(Err(Panicked)));
        let began = Instant::now();
        while Arc::strong_count(&held) > 1 && began.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&held), 1, "what it held is let go");
        assert_eq!(block_on(begin(async { 7 }).unwrap()), Ok(Ok(7)));
    }

    #[test]
    fn one_that_is_woken_while_it_runs_runs_again() {
        let mut left = 1_000;
        let wakes = std::future::poll_fn(move |context| {
            context.waker().wake_by_ref();
            left -= 1;
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(block_on(begin(wakes).unwrap()), Ok(Ok(())));
    }
}
