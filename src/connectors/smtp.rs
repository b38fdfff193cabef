//! Mail servers, as a client talks to them. TLS is that of every other connector; with STARTTLS nothing that came before it
//! counts behind it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::io_reason;
use super::notification::cut;
use super::sent::NotSent;

/// How long a connection is kept for the next message.
const KEPT: Duration = Duration::from_secs(20);
/// Bytes of what a server says before TLS.
const MOST_SAID: usize = 16 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 500;

/// When a connection is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Safety {
    /// After the server has said that it can.
    Starttls,
    /// From its first byte.
    Implicit,
    /// Never.
    Never,
}

/// A mail server.
pub(super) struct Server {
    pub host: String,
    pub port: u16,
    pub safety: Safety,
    pub tls: Arc<ClientConfig>,
    pub login: Option<Credentials>,
    /// The longest wait for a step.
    pub timeout: Duration,
    /// The connection of the last message.
    pub kept: Mutex<Option<(AsyncSmtpConnection, Instant)>>,
}

/// What became of a message.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Who has it.
    pub taken: Vec<Address>,
    /// Who may have it the next time, and the first of what was said.
    pub later: Option<String>,
    /// Who never will, with what was said.
    pub refused: Vec<String>,
}

impl Server {
    /// Sends a message; the error is why nobody has it.
    pub async fn send(&self, from: &Address, to: &[Address], message: &[u8]) -> Result<Outcome, NotSent> {
        let mut connection = self.connection().await?;
        let sent = tokio::time::timeout(self.timeout * 2, say(&mut connection, from, to, message)).await;
        match sent {
            Ok(Ok(outcome)) => {
                *self.kept.lock().await = Some((connection, Instant::now()));
                Ok(outcome)
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(NotSent::Unreachable { why: "no answer in time".to_owned(), after: None }),
        }
    }

    /// The connection that was kept, if it still holds, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, NotSent> {
        if let Some((mut kept, since)) = self.kept.lock().await.take()
            && since.elapsed() < KEPT
            && matches!(tokio::time::timeout(self.timeout, kept.command(Noop)).await, Ok(Ok(_)))
        {
            return Ok(kept);
        }
        match tokio::time::timeout(self.timeout, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(NotSent::Unreachable { why: "no answer in time".to_owned(), after: None }),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, NotSent> {
        let lost = |e: &io::Error| NotSent::Unreachable { why: io_reason(e), after: None };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| lost(&e))?;
        // A conversation of short lines: each would wait for the other side to say that the last one came.
        stream.set_nodelay(true).map_err(|e| lost(&e))?;
        let hello = stream.local_addr().map_or_else(
            |_| ClientId::default(),
            |own| match own {
                SocketAddr::V4(own) => ClientId::Ipv4(*own.ip()),
                SocketAddr::V6(own) => ClientId::Ipv6(*own.ip()),
            },
        );
        let stream: Box<dyn AsyncTokioStream> = match self.safety {
            Safety::Never => Box::new(stream),
            Safety::Implicit => Box::new(self.secure(stream, &[]).await?),
            Safety::Starttls => {
                let stream = self.until_starttls(stream, &hello).await?;
                // The greeting came before TLS; whoever reads it next has to be greeted all the same.
                Box::new(self.secure(stream, b"220 ready\r\n").await?)
            }
        };
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let mut connection = connected.map_err(|e| not_let_in(&e))?;
        if let Some(login) = &self.login {
            let shown = connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await;
            shown.map_err(|e| not_let_in(&e))?;
        }
        Ok(connection)
    }

    async fn secure(&self, stream: TcpStream, first: &'static [u8]) -> Result<Secured, NotSent> {
        let failed = |why: String| NotSent::Unreachable { why, after: None };
        let name =
            ServerName::try_from(self.host.clone()).map_err(|_| failed("its name is none for TLS".to_owned()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let stream = stream.map_err(|e| failed(format!("TLS: {}", io_reason(&e))))?;
        Ok(Secured { first, stream })
    }

    /// Talks to the server up to where TLS begins.
    async fn until_starttls(&self, mut stream: TcpStream, hello: &ClientId) -> Result<TcpStream, NotSent> {
        let lost = |e: io::Error| NotSent::Unreachable { why: io_reason(&e), after: None };
        let answered = |(code, text): (u16, String)| match code {
            200..300 => Ok(text),
            400..500 => Err(NotSent::Unreachable { why: text, after: None }),
            _ => Err(NotSent::Failed { why: text, after: None }),
        };
        answered(answer(&mut stream).await.map_err(lost)?)?;
        stream.write_all(format!("EHLO {hello}\r\n").as_bytes()).await.map_err(lost)?;
        let can = answered(answer(&mut stream).await.map_err(lost)?)?;
        if !can.split(&[' ', '\n'][..]).any(|word| word.eq_ignore_ascii_case("STARTTLS")) {
            let why = "it offers no STARTTLS, and nothing is sent in the open; write `tls: none` if that is meant";
            return Err(NotSent::Failed { why: why.to_owned(), after: None });
        }
        stream.write_all(b"STARTTLS\r\n").await.map_err(lost)?;
        answered(answer(&mut stream).await.map_err(lost)?)?;
        Ok(stream)
    }
}

/// An answer: its code, and its text, line by line. It is read byte by byte, so that what follows is left for TLS.
async fn answer(stream: &mut TcpStream) -> io::Result<(u16, String)> {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if text.len() + line.len() > MOST_SAID {
                return Err(io::Error::other("it talks without end"));
            }
            line.push(stream.read_u8().await?);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let code = line.get(..3).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other("it is no mail server"))?;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line.get(4..).unwrap_or_default());
        if line.get(3..4) != Some("-") {
            return Ok((code, text));
        }
    }
}

/// Says a message over a connection.
async fn say(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    message: &[u8],
) -> Result<Outcome, NotSent> {
    connection.command(Mail::new(Some(from.clone()), Vec::new())).await.map_err(|e| not_taken(&e))?;
    let mut outcome = Outcome::default();
    for address in to {
        match connection.command(Rcpt::new(address.clone(), Vec::new())).await.map_err(|e| not_taken(&e)) {
            Ok(_) => outcome.taken.push(address.clone()),
            Err(NotSent::Failed { why, .. }) => outcome.later = outcome.later.or(Some(why)),
            Err(NotSent::Refused { why }) => outcome.refused.push(format!("{address}: {why}")),
            Err(gone) => return Err(gone),
        }
    }
    match (outcome.taken.is_empty(), &outcome.later) {
        (false, _) => {}
        (true, Some(why)) => return Err(NotSent::Failed { why: why.clone(), after: None }),
        (true, None) => return Err(NotSent::Refused { why: outcome.refused.join("; ") }),
    }
    connection.command(Data).await.map_err(|e| not_taken(&e))?;
    connection.message(message).await.map_err(|e| not_taken(&e))?;
    Ok(outcome)
}

/// What a refusal before the message means: who may send is for a person to put right.
fn not_let_in(error: &Error) -> NotSent {
    match not_taken(error) {
        NotSent::Refused { why } => NotSent::Failed { why, after: None },
        other => other,
    }
}

/// What an answer to a message means.
fn not_taken(error: &Error) -> NotSent {
    let line: String = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let why = cut(&line, SHOWN);
    match error.status().map(u16::from) {
        // Shutting down, and somebody who has to log in.
        Some(421) => NotSent::Unreachable { why, after: None },
        Some(530 | 534 | 535 | 538) => NotSent::Failed { why, after: None },
        _ if error.is_transient() => NotSent::Failed { why, after: None },
        _ if error.is_permanent() => NotSent::Refused { why },
        _ if error.is_client() => NotSent::Failed { why, after: None },
        _ => NotSent::Unreachable { why, after: None },
    }
}

/// A connection over TLS, and what is read before anything that comes by it.
#[derive(Debug)]
struct Secured {
    first: &'static [u8],
    stream: tokio_rustls::client::TlsStream<TcpStream>,
}

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let (now, later) = self.first.split_at(self.first.len().min(into.remaining()));
        into.put_slice(now);
        self.first = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
