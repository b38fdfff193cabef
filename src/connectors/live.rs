//! What brings records to a source for as long as it is read: a thread of its own, which ends with it.

use std::future::Future;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::connector::{BoxFuture, Place, Read, Source, SourceError};

/// Work in a thread, until this is dropped.
pub(super) struct Running {
    /// Closed when it is to end.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Told, by an error, that the work is to end.
pub(super) type Stopped = oneshot::Receiver<()>;

impl Running {
    /// Begins work, which ends by itself or soon after it is told to. The error is a sentence.
    pub fn start<F>(name: &str, work: impl FnOnce(Stopped) -> F + Send + 'static) -> Result<Running, String>
    where
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime for a connection: {e}"))?;
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(work(stopped));
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|e| format!("cannot start a thread for a connection: {e}"))?;
        Ok(Running { stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for the end of work that ends by itself.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        self.join();
    }
}

/// What is read of the journal, while somebody brings to it.
pub(super) struct Reader {
    pub source: Box<dyn Source>,
    pub _running: Running,
}

impl Source for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        self.source.next()
    }

    fn committed(&mut self, place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        self.source.committed(place)
    }
}
