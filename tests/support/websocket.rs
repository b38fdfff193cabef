//! A server that speaks WebSocket: says what it is told to, hears what it is sent, cuts connections.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

#[derive(Clone, Debug)]
enum Say {
    This(Message),
    /// Ends connections without a word.
    Cut,
}

pub struct Server {
    pub port: u16,
    say: broadcast::Sender<Say>,
    heard: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().unwrap().join();
    }
}

impl Server {
    pub fn start() -> Server {
        Server::at(0)
    }

    /// The same with TLS: shows a certificate for `localhost`, which is its own authority, in PEM.
    pub fn start_tls() -> (Server, String) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let shown = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.unwrap().with_no_client_auth().with_single_cert(vec![shown.der().clone()], private).unwrap();
        (Server::listen(0, Some(TlsAcceptor::from(Arc::new(config)))), shown.pem())
    }

    /// The same at a port, as soon as it is free.
    pub fn at(port: u16) -> Server {
        Server::listen(port, None)
    }

    fn listen(port: u16, tls: Option<TlsAcceptor>) -> Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            loop {
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        });
        let port = listener.local_addr().unwrap().port();
        let (say, _) = broadcast::channel(1 << 16);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (of_server, to_hear) = (say.clone(), Arc::clone(&heard));
        let (stop, stopped) = oneshot::channel::<()>();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (say, heard) = (of_server.subscribe(), Arc::clone(&to_hear));
                match tls.clone() {
                    None => drop(tokio::spawn(talk(stream, say, heard))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            talk(stream, say, heard).await;
                        }
                    })),
                }
            }
        };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Server { port, say, heard, stop: Some(stop), thread: Some(thread) }
    }

    /// Says something to everybody who is there; how many there are.
    pub fn say(&self, message: impl Into<Message>) -> usize {
        self.say.send(Say::This(message.into())).unwrap_or(0)
    }

    pub fn cut(&self) {
        let _ = self.say.send(Say::Cut);
    }

    /// What was heard: `authorization: …` of each request, then messages.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn talk<S>(stream: S, mut say: broadcast::Receiver<Say>, heard: Arc<Mutex<Vec<String>>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let hear = Arc::clone(&heard);
    #[allow(clippy::result_large_err, reason = "the library's")]
    let look = move |request: &Request, response: Response| {
        let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        hear.lock().unwrap().push(format!("authorization: {shown}"));
        Ok(response)
    };
    let Ok(mut connection) = tokio_tungstenite::accept_hdr_async(stream, look).await else { return };
    loop {
        tokio::select! {
            said = say.recv() => match said {
                Ok(Say::This(message)) => if connection.send(message).await.is_err() { return },
                Ok(Say::Cut) | Err(_) => return,
            },
            message = connection.next() => match message {
                Some(Ok(message)) => if let Ok(text) = message.to_text() && !text.is_empty() {
                    heard.lock().unwrap().push(text.to_owned());
                },
                _ => return,
            },
        }
    }
}
