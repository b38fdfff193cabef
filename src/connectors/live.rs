//! What brings records to a source for as long as it is read: a thread of its own, which ends with it.

use std::future::Future;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::connector::{BoxFuture, Partition, Place, Read, Source, SourceError};

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
        let span = tracing::Span::current();
        let work = move || {
            let _told_of = span.entered();
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

/// A partition to which work in a thread brings for as long as it is read.
pub(super) fn brought_to<F>(
    mut partition: Partition,
    name: &'static str,
    work: impl Fn() -> F + Clone + Send + 'static,
) -> Partition
where
    F: Future<Output = ()>,
{
    let (own, start, link) = (partition.name.clone(), partition.start.clone(), partition.link.clone());
    let open = move |place: &Place| {
        let source = (partition.open)(place)?;
        let work = work.clone();
        let until_stopped = |stopped: Stopped| async move {
            tokio::select! {
                () = work() => {}
                _ = stopped => {}
            }
        };
        let _running = Running::start(name, until_stopped).map_err(|message| SourceError { message })?;
        Ok(Box::new(Reader { source, _running }) as Box<dyn Source>)
    };
    Partition { name: own, start, open: Box::new(open), link }
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
