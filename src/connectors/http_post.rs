//! Posts to receivers by HTTP: what all of them may be told, and how a request is sent until it is answered.

use std::path::Path;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

use super::http_answer::{Answer, Statuses, answer_of};
use super::http_call::{self, CallError, url_of};
use super::http_login::{Caller, Login};
use super::http_reach::resolver;
use super::sent::NotSent;
use super::tls::ClientTls;
use super::written::Duration;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::OpenContext;

/// How an address is reached.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// How the other side is known.
    pub tls: Option<&'a ClientTls>,
    /// A proxy on the way.
    pub proxy: Option<&'a str>,
    /// Whether a name of the public kind may lead to a private address.
    pub private: bool,
    /// The longest wait for an answer.
    pub timeout: Duration,
}

impl Way<'_> {
    /// Pure: what the types do not hold.
    pub fn check(self, node: &Node, found: &mut Diagnostics) {
        if self.timeout.0 <= TimeSpan::ZERO {
            let place = Some(node.get("timeout").unwrap_or(node).span.clone());
            let wrong = Diagnostic::error("bad-http", "`timeout` has to be longer than nothing", place);
            found.push(wrong.help("write for example `timeout: 30s`"));
        }
        http_call::check("http://localhost", self.proxy, node, found);
        if let Some(tls) = self.tls {
            tls.check(node.get("tls").unwrap_or(node), found);
        }
    }

    /// The client that goes it.
    pub fn client(self, place: &Url, directory: &Path) -> Result<Client, String> {
        let builder = http_call::builder(self.tls, self.proxy, directory)?
            .timeout(self.timeout.0.to_std())
            // What answers elsewhere was not written by the author, and a redirected request may lose its body.
            .redirect(Policy::none());
        http_call::build(match resolver(place, self.private) {
            Some(resolver) => builder.dns_resolver(resolver),
            None => builder,
        })
    }
}

/// Sends a request as whoever calls, and says what the answer means. If a token that was fetched is refused, it is sent once
/// more with a new one.
pub(super) async fn send(
    caller: &Caller,
    statuses: &Statuses,
    request: impl Fn() -> Result<RequestBuilder, String>,
) -> Result<(), NotSent> {
    for again in [true, false] {
        let mut request = request().map_err(|why| NotSent::Refused { why })?;
        let shown = caller.authorization().await.map_err(not_known)?;
        if let Some(shown) = &shown {
            request = request.header(AUTHORIZATION, shown.clone());
        }
        let came = request.send().await;
        let stranger = came.as_ref().is_ok_and(|r| r.status() == StatusCode::UNAUTHORIZED);
        if stranger && again && caller.refused(shown.as_ref()).await {
            continue;
        }
        return match answer_of(came, statuses).await {
            Answer::Taken => Ok(()),
            Answer::Not(why) => Err(why),
        };
    }
    Err(NotSent::Failed { why: "who sends is not known there".to_owned(), after: None })
}

/// There is no token to show.
fn not_known(error: CallError) -> NotSent {
    let CallError { reason, passes, after } = error;
    if passes { NotSent::Unreachable { why: reason, after } } else { NotSent::Failed { why: reason, after } }
}

/// Posts JSON to one address, which may be a secret as a whole.
pub(super) struct Post {
    client: Client,
    caller: Caller,
    url: Url,
}

impl Post {
    /// Pure: what is wrong with an address, which is not shown.
    pub fn check(url: &str, key: &str, node: &Node, found: &mut Diagnostics) {
        if url_of(url).is_err() {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            let wrong = Diagnostic::error("bad-http", "this is no address to send to", place);
            found.push(wrong.help("write all of it, `https://…`, or the variable that holds it: `${ALERT_URL}`"));
        }
    }

    /// Makes a client; nothing is sent.
    pub fn open(url: &str, way: Way<'_>, login: Option<Login>, context: &OpenContext) -> Result<Post, String> {
        let url = url_of(url).map_err(|_| "the `url` is no address to send to".to_owned())?;
        let client = way.client(&url, &context.directory)?;
        Ok(Post { caller: Caller::new(login, client.clone()), client, url })
    }

    /// Posts a value.
    pub async fn json(&self, body: &serde_json::Value) -> Result<(), NotSent> {
        let body = body.to_string();
        let request = || {
            let request = self.client.post(self.url.clone());
            Ok(request.header(CONTENT_TYPE, "application/json").body(body.clone()))
        };
        send(&self.caller, &Statuses::default(), request).await
    }
}

/// The options of a receiver: its own, and behind them what all have in common.
macro_rules! receiver_options {
    ($(#[$about:meta])* { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct Options {
            $($own)*
            /// The longest wait for an answer.
            #[serde(default = "super::http_post::default_timeout")]
            pub timeout: super::written::Duration,
            /// How often it is tried again. What the other side asks for by `Retry-After` is kept to.
            #[serde(default)]
            pub retry: super::sent::Retry,
            /// When notifications are sent.
            #[serde(default)]
            pub latency: super::sent::Latency,
            /// Bytes of notifications that wait before what feeds the sink is held back.
            #[serde(default = "super::sent::default_buffer")]
            pub buffer: super::written::Size,
            /// Bytes of notifications that wait on the disk, beside the state, when `buffer` is full; only then what feeds
            /// the sink is held back. Left out: none do.
            #[serde(default)]
            pub buffer_on_disk: Option<super::written::Size>,
            /// Whether a name of the public kind may lead to a private address.
            #[serde(default)]
            pub private: bool,
            /// A proxy on the way: `http://proxy:3128`, `socks5h://proxy:1080`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub proxy: Option<String>,
            /// How the other side is known, and shown who we are.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tls: Option<super::tls::ClientTls>,
        }

        impl Options {
            fn way(&self) -> super::http_post::Way<'_> {
                super::http_post::Way {
                    tls: self.tls.as_ref(),
                    proxy: self.proxy.as_deref(),
                    private: self.private,
                    timeout: self.timeout,
                }
            }

            fn sending(&self) -> super::sent::Sending {
                super::sent::Sending {
                    batch: super::sent::Batch::default(),
                    retry: self.retry,
                    latency: self.latency,
                    buffer: self.buffer,
                    buffer_on_disk: self.buffer_on_disk,
                    concurrency: 1,
                    key: None,
                    templates: 0,
                }
            }

            /// Pure: what is wrong with what all receivers have in common.
            fn check_common(&self, node: &crate::base::tree::Node, found: &mut crate::base::diag::Diagnostics) {
                self.way().check(node, found);
                self.sending().check(node, found);
            }
        }
    };
}

pub(super) use receiver_options;

pub(super) fn default_timeout() -> Duration {
    Duration(TimeSpan::seconds(30))
}
