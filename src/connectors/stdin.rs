//! Source `stdin`: standard input, handed on as it comes.

use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::io_reason;
use crate::base::diag::Diagnostics;
use crate::base::limit::CHUNK_BYTES;
use crate::base::promise::Replay;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Chunk, Link, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector,
    SourceError,
};

/// Chunks read ahead of the engine; more would only keep memory.
const READ_AHEAD: usize = 2;

/// The source `stdin`.
pub struct StdinSource;

/// Reads standard input until it is closed. Rows are handed on as they come, so it suits a pipe that never ends, too.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Options {}

/// Standard input belongs to the process and can be read once.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl SourceConnector for StdinSource {
    const NAME: &'static str = "stdin";
    type Options = Options;

    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }

    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}

    fn bounded(_: &Options) -> bool {
        true
    }

    fn replay(_: &Options) -> Replay {
        Replay::None
    }

    fn open(_: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let name = context.name;
        let open = move |place: &Place| {
            if place.position > 0 {
                let message = "standard input cannot be read again from where a run stopped; start afresh";
                return Err(SourceError { message: message.into() });
            }
            if TAKEN.swap(true, Ordering::SeqCst) {
                let message = format!("`{name}`: standard input is read already; only one source can be `stdin`");
                return Err(SourceError { message });
            }
            spawn(std::io::stdin()).map(|source| Box::new(source) as Box<dyn Source>)
        };
        Ok(vec![Partition {
            name: String::new(),
            start: Place::default(),
            open: Box::new(open),
            link: Link::default(),
        }]
        .into())
    }
}

/// What the reading thread hands over: bytes, or why there are no more.
type Piece = Result<Vec<u8>, String>;

/// A stream that a thread of its own reads: reading blocks, and only a thread that nobody waits for lets the process end
/// while it does.
struct Stream {
    pieces: mpsc::Receiver<Piece>,
    position: u64,
}

fn spawn(mut input: impl std::io::Read + Send + 'static) -> Result<Stream, SourceError> {
    let (sender, pieces) = mpsc::channel(READ_AHEAD);
    let work = move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => Err(format!("cannot read standard input: {}", io_reason(&e))),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("stdin".into()).spawn(work);
    started
        .map_err(|e| SourceError { message: format!("cannot start a thread for standard input: {}", io_reason(&e)) })?;
    Ok(Stream { pieces, position: 0 })
}

impl Source for Stream {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        Box::pin(async move {
            // Receiving from the channel is cancel-safe; nothing is awaited after it.
            match self.pieces.recv().await {
                None => Ok(Read::End),
                Some(Err(message)) => Err(SourceError { message }),
                Some(Ok(bytes)) => {
                    let position = self.position;
                    self.position += bytes.len() as u64;
                    Ok(Read::Chunk(Chunk { bytes, position, ..Chunk::default() }))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::read_all;

    /// Gives its pieces one a read.
    struct Pieces(Vec<&'static [u8]>);

    impl std::io::Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn pieces_come_as_they_are_read() {
        let mut source = spawn(Pieces(vec![b"{\"a\":1}\n{\"a\"", b":2}\n", b"x"])).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let Ok(Read::Chunk(first)) = runtime.block_on(source.next()) else { panic!("no chunk") };
        assert_eq!((first.bytes.as_slice(), first.position), (&b"{\"a\":1}\n{\"a\""[..], 0));
        assert_eq!(read_all(&mut source), b":2}\nx");
    }

    #[test]
    fn a_failing_stream_says_why() {
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the line is cut"))
            }
        }
        let mut source = spawn(Broken).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(source.next()).unwrap_err();
        assert_eq!(error.message, "cannot read standard input: the line is cut");
    }
}
