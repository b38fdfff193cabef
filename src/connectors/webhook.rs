//! Sink `webhook`: calls an address for each notification, with the notification as it is, as Alertmanager would write it, or
//! with a body of the author's.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::alert_form;
use super::http_answer::Statuses;
use super::http_auth::Signature;
use super::http_call::url_of;
use super::http_login::{Caller, Login};
use super::http_post::{self, Post, receiver_options};
use super::notification::Notification;
use super::sent::{Delivery, NotSent, Sender, Sent, promise as sent_promise};
use super::tls::ClientTls;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::row_template::{Escape, RowTemplate};
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// The sink `webhook`.
pub struct WebhookSink;

receiver_options! {
    /// Calls an address for each notification: `webhook: { url: "${ALERT_URL}" }`. The call is made until it is taken (a status
    /// of 200 to 299), always under the same `Idempotency-Key`. Rows that are no notification are sent, too.
    {
        /// Where notifications are sent. All of it may be a secret: no message shows it.
        #[schemars(length(min = 1), example = &"${ALERT_URL}")]
        pub url: String,
        /// Headers: `{ X-Team: heating }`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<String, String>,
        /// What is sent.
        #[serde(default)]
        pub payload: Payload,
        /// A body of one's own instead: a template in which the fields of the notification are variables, and `row` is all
        /// of it: `{"text": {{ title | tojson }}}`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub body: Option<String>,
        /// With `payload: alertmanager` what stands as `externalURL`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub external_url: Option<String>,
        /// Who sends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub auth: Option<Login>,
        /// Signs bodies, as those who receive webhooks of these kinds check them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sign: Option<Signature>,
        /// What statuses mean, where it is not what they usually do.
        #[serde(default)]
        pub statuses: Statuses,
    }
}

/// What a webhook is sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The notification as it is, with all that is known.
    #[default]
    Millstream,
    /// What Alertmanager sends to webhooks (version 4), for those who take that.
    Alertmanager,
}

impl SinkConnector for WebhookSink {
    const NAME: &'static str = "webhook";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref())
            .with_urls(options.auth.iter().filter_map(Login::token_url))
            .with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        Post::check(&options.url, "url", node, found);
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-http", message, place).help(help));
        };
        for (name, value) in &options.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                wrong("headers", format!("`{name}` is no name of a header"), "a name has letters, digits and `-`");
            } else if HeaderValue::from_str(value).is_err() {
                wrong("headers", format!("the value of `{name}` cannot be sent"), "a value has one line");
            }
        }
        if options.body.is_some() && options.payload != Payload::default() {
            wrong("payload", "with a `body` there is no other `payload`".to_owned(), "leave one of them out");
        }
        if options.external_url.is_some() && options.payload != Payload::Alertmanager {
            let message = "`external_url` is part of `payload: alertmanager` alone".to_owned();
            wrong("external_url", message, "leave it out, or add `payload: alertmanager`");
        }
        if let Some(body) = &options.body {
            RowTemplate::check(body, Escape::Nothing, node.get("body").unwrap_or(node), found);
        }
        if let Some(auth) = &options.auth {
            auth.check(node.get("auth").unwrap_or(node), found);
        }
        options.statuses.check(node.get("statuses").unwrap_or(node), found);
        options.check_common(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = "calls for each until the call is taken, always under the same `Idempotency-Key`: who goes by it is called once";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let caller = Webhook::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(caller), &context)?))
    }
}

/// Calls the address.
struct Webhook {
    client: reqwest::Client,
    caller: Caller,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<RowTemplate>,
    options: Options,
    entry: String,
}

impl Webhook {
    fn open(options: Options, context: &OpenContext) -> Result<Webhook, String> {
        let url = url_of(&options.url).map_err(|_| "the `url` is no address to send to".to_owned())?;
        let client = options.way().client(&url, &context.directory)?;
        let of = |(name, value): (&String, &String)| {
            let value = HeaderValue::from_str(value).ok().map(|mut value| {
                value.set_sensitive(true);
                value
            });
            HeaderName::from_bytes(name.as_bytes()).ok().zip(value)
        };
        let headers: Option<Vec<_>> = options.headers.iter().map(of).collect();
        let body = options.body.as_ref().map(|body| RowTemplate::parse(body, Escape::Nothing)).transpose();
        Ok(Webhook {
            caller: Caller::new(options.auth.clone(), client.clone()),
            client,
            url,
            headers: headers.ok_or("a header cannot be sent")?,
            body: body.map_err(|wrong| format!("`body` is no template: {}", wrong.message))?,
            options,
            entry: context.name.clone(),
        })
    }

    fn body(&self, delivery: &Delivery) -> Result<(Vec<u8>, &'static str), String> {
        const JSON: &str = "application/json";
        let notification = || Notification::of(delivery, &self.entry);
        if let Some(body) = &self.body {
            let text = body.render(&notification()?.names)?;
            let json = text.trim_start().starts_with(['{', '[']);
            return Ok((text.into_bytes(), if json { JSON } else { "text/plain; charset=utf-8" }));
        }
        if self.options.payload == Payload::Alertmanager {
            let external_url = self.options.external_url.as_deref().unwrap_or_default();
            let body = alert_form::webhook(&notification()?, &self.entry, external_url);
            return Ok((body.to_string().into_bytes(), JSON));
        }
        let text = delivery.rows.first().map(|row| row.text.as_slice()).unwrap_or_default();
        Ok((text.strip_suffix(b"\n").unwrap_or(text).to_vec(), JSON))
    }

    fn request(&self, delivery: &Delivery, (body, kind): &(Vec<u8>, &str)) -> RequestBuilder {
        let mut request = self.client.post(self.url.clone()).header("Idempotency-Key", delivery.id());
        if !self.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, *kind);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.clone());
        }
        let signed = self.options.sign.iter();
        for (name, value) in signed.flat_map(|sign| sign.headers(body, jiff::Timestamp::now().as_second())) {
            request = request.header(name, value);
        }
        request.body(body.clone())
    }
}

impl Sender for Webhook {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let body = self.body(delivery).map_err(|why| NotSent::Refused { why })?;
            http_post::send(&self.caller, &self.options.statuses, || Ok(self.request(delivery, &body))).await
        })
    }
}
