//! Sink `email`: sends notifications by mail, over SMTP.

use std::sync::Arc;

use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::http_post::default_timeout;
use super::notification::{Notification, Style, cut};
use super::sent::{
    Batch, Delivery, Latency, NotSent, Retry, Sender, Sending, Sent, default_buffer, promise as sent_promise,
};
use super::smtp::{Safety, Server};
use super::tls::ClientTls;
use super::told::Told;
use super::written::{Duration, Names, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::row_template::{Escape, escaped_for_html};
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};
use crate::data::hash::row_id;

/// Characters of a subject.
const SUBJECT: usize = 200;
/// Addresses of one message.
const MOST_ADDRESSES: usize = 100;

/// The sink `email`.
pub struct EmailSink;

/// Sends notifications by mail, by SMTP: `email: { server: mail.example.org, from: alerts@example.org, to: ops@example.org }`.
/// The `Message-ID` is made from what the notification is, so that one that is sent again is known again; those of a group
/// are shown together.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The mail server.
    #[schemars(length(min = 1), example = &"mail.example.org")]
    pub server: String,
    /// Its port. Left out: 587, with `tls: implicit` 465, with `tls: none` 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How what is sent is kept secret.
    #[serde(default)]
    pub tls: Security,
    /// Certificates of authorities, in PEM, that are believed beside those that the system believes: `ca.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether the server has to show a certificate of its name by an authority that is believed. Without it, whoever stands
    /// in between can read everything, also the password.
    #[serde(default = "default_verify")]
    pub verify: bool,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password. Write it as `${PASSWORD}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Who sends: `alerts@example.org`, `Millstream <alerts@example.org>`.
    #[schemars(length(min = 1), example = &"Millstream <alerts@example.org>")]
    pub from: String,
    /// Who is sent to.
    #[schemars(example = &"ops@example.org")]
    pub to: Names,
    /// Who is sent a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc: Option<Names>,
    /// Who is answered to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The subject: a template. Left out: the state and the notification's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text: a template. Left out: of each alert since when, its key, its values and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same in HTML: a template in which values are escaped. Left out: the same as the text, unless that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The longest wait for an answer.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How often it is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// When notifications are sent.
    #[serde(default)]
    pub latency: Latency,
    /// Bytes of notifications that wait before what feeds the sink is held back.
    #[serde(default = "default_buffer")]
    pub buffer: Size,
    /// Bytes of notifications that wait on the disk, beside the state, when `buffer` is full; only then what feeds the sink is
    /// held back. Left out: none do.
    #[serde(default)]
    pub buffer_on_disk: Option<Size>,
}

/// How what is sent by mail is kept secret on its way to the server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// The server is asked to begin TLS; if it does not, nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// Not.
    None,
}

fn default_verify() -> bool {
    true
}

impl Options {
    /// The port that is meant.
    fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Security::Starttls => 587,
            Security::Implicit => 465,
            Security::None => 25,
        })
    }

    fn templates(&self) -> [(&'static str, Option<&str>, Escape); 3] {
        [
            ("subject", self.subject.as_deref(), Escape::Nothing),
            ("text", self.text.as_deref(), Escape::Nothing),
            ("html", self.html.as_deref(), Escape::Html),
        ]
    }

    /// Every address that is written, with its option.
    fn addresses(&self) -> Vec<(&'static str, &str)> {
        let mut all = vec![("from", self.from.as_str())];
        all.extend(self.to.0.iter().map(|to| ("to", to.as_str())));
        all.extend(self.cc.iter().flat_map(|cc| &cc.0).map(|cc| ("cc", cc.as_str())));
        all.extend(self.reply_to.iter().map(|to| ("reply_to", to.as_str())));
        all
    }

    fn sending(&self) -> Sending {
        Sending {
            batch: Batch::default(),
            retry: self.retry,
            latency: self.latency,
            buffer: self.buffer,
            buffer_on_disk: self.buffer_on_disk,
            concurrency: 1,
            key: None,
            templates: 0,
        }
    }
}

impl SinkConnector for EmailSink {
    const NAME: &'static str = "email";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach { peers: vec![(options.server.clone(), options.port())], ..Reach::default() }.with_paths(&options.ca)
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-email", message, place).help(help));
        };
        for (option, text) in options.addresses() {
            if text.parse::<Mailbox>().is_err() {
                let help = "write for example `ops@example.org`, or `Operators <ops@example.org>`";
                wrong(option, format!("`{}` is no address of mail", text.escape_debug()), help);
            }
        }
        if options.to.0.is_empty() || options.addresses().len() > MOST_ADDRESSES {
            wrong("to", format!("a message goes to between 1 and {MOST_ADDRESSES} addresses"), "write a list for them");
        }
        let is_address = options.server.parse::<std::net::IpAddr>().is_ok();
        if options.server.is_empty() || (options.server.contains(['/', ':', '@', ' ']) && !is_address) {
            wrong(
                "server",
                "`server` is the name of a host alone".to_owned(),
                "write for example `server: mail.example.org`, and `port` beside it",
            );
        }
        match (&options.user, &options.password) {
            (Some(_), Some(password)) if password.is_empty() => {
                wrong("password", "the `password` is empty".to_owned(), "set the variable that it comes from");
            }
            (Some(_), None) => wrong("user", "`user` needs a `password`".to_owned(), "add `password: \"${PASSWORD}\"`"),
            (None, Some(_)) => wrong("password", "it is nobody's `password`".to_owned(), "add `user`"),
            _ => {}
        }
        if options.tls == Security::None && options.user.is_some() && !is_here(&options.server) {
            let message = "with `tls: none` the password would be seen by whoever stands in between".to_owned();
            wrong("tls", message, "leave `tls` out, or leave `user` and `password` out");
        }
        if options.tls == Security::None && options.ca.is_some() {
            wrong("ca", "with `tls: none` nobody shows a certificate".to_owned(), "leave `ca` out");
        }
        if options.ca.is_some() && !options.verify {
            wrong("verify", "with `verify: false` any certificate will do".to_owned(), "leave `verify` out");
        }
        if options.timeout.0 <= TimeSpan::ZERO {
            wrong("timeout", "`timeout` has to be longer than nothing".to_owned(), "write for example `timeout: 30s`");
        }
        for (option, text, escape) in options.templates() {
            Told::check(option, text, escape, node, found);
        }
        options.sending().check(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = "sends each until the server has taken it, always under the same `Message-ID`";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let mailer = Mailer::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(mailer), &context)?))
    }
}

/// Whether a server is this machine.
fn is_here(server: &str) -> bool {
    server == "localhost" || server.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Sends mail.
struct Mailer {
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    told: [Told; 3],
    /// Whether the text is the author's, and no HTML is.
    text_alone: bool,
    entry: String,
    /// Who has the message of this id already, of one that others have not.
    partly: Mutex<Option<(String, Vec<Address>)>>,
}

impl Mailer {
    fn open(options: Options, context: &OpenContext) -> Result<Mailer, String> {
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|_| format!("`{text}` is no address of mail"));
        let all = |names: &Names| names.0.iter().map(|name| mailbox(name)).collect::<Result<Vec<_>, _>>();
        let [subject, text, html] = options.templates();
        let told = |(option, text, escape)| Told::of(option, text, escape);
        let safety = match options.tls {
            Security::Starttls => Safety::Starttls,
            Security::Implicit => Safety::Implicit,
            Security::None => Safety::Never,
        };
        let port = options.port();
        let tls = ClientTls { ca: options.ca.clone(), verify: options.verify, ..ClientTls::default() };
        let login = options.user.clone().zip(options.password.clone());
        Ok(Mailer {
            server: Server {
                host: options.server.clone(),
                port,
                safety,
                tls: tls.config(&context.directory)?,
                login: login.map(|(user, password)| Credentials::new(user, password)),
                timeout: options.timeout.0.to_std(),
                kept: Mutex::new(None),
            },
            from: mailbox(&options.from)?,
            to: all(&options.to)?,
            cc: options.cc.as_ref().map(all).transpose()?.unwrap_or_default(),
            reply_to: options.reply_to.as_deref().map(mailbox).transpose()?,
            text_alone: options.text.is_some() && options.html.is_none(),
            told: [told(subject)?, told(text)?, told(html)?],
            entry: context.name.clone(),
            partly: Mutex::new(None),
        })
    }

    fn message(&self, notification: &Notification, id: &str) -> Result<Vec<u8>, String> {
        let domain = self.from.email.domain();
        let [subject, text, html] = &self.told;
        let subject = one_line(&subject.or(notification, || notification.headline()));
        let mut builder = Message::builder().from(self.from.clone()).subject(subject).date_now();
        builder = builder.message_id(Some(format!("<{id}@{domain}>")));
        let group = notification.text("group_key");
        if notification.of_alerts && !group.is_empty() {
            let group = format!("{}\0{group}", notification.text("pipeline"));
            builder = builder.references(format!("<group-{:032x}@{domain}>", row_id(0, group.as_bytes())));
        }
        builder = self.to.iter().cloned().fold(builder, lettre::message::MessageBuilder::to);
        builder = self.cc.iter().cloned().fold(builder, lettre::message::MessageBuilder::cc);
        builder = self.reply_to.iter().cloned().fold(builder, lettre::message::MessageBuilder::reply_to);
        // Whoever is on holiday need not answer.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let text = text
            .or(notification, || format!("{}\n\n{}\n", notification.headline(), notification.details(Style::Plain)));
        let text = if text.trim().is_empty() { notification.headline() } else { text };
        let made = match self.text_alone {
            true => builder.singlepart(SinglePart::plain(text)),
            false => {
                let html = html.or(notification, || page(notification));
                builder.multipart(MultiPart::alternative_plain_html(text, html))
            }
        };
        made.map(|message| message.formatted()).map_err(|e| format!("no message can be made of it: {e}"))
    }

    /// Sends a message to those who do not have it yet.
    async fn deliver(&self, id: String, message: &[u8]) -> Result<(), NotSent> {
        let mut partly = self.partly.lock().await;
        let have = partly.take_if(|(of, _)| *of == id).map(|(_, have)| have).unwrap_or_default();
        let all = self.to.iter().chain(&self.cc).map(|to| &to.email);
        let mut to: Vec<Address> = all.filter(|address| !have.contains(address)).cloned().collect();
        to.dedup();
        let outcome = match self.server.send(&self.from.email, &to, message).await {
            Ok(outcome) => outcome,
            // That nobody else takes it does not unsend it.
            Err(NotSent::Refused { why }) if !have.is_empty() => {
                tracing::warn!(sink = self.entry, why, "a message was refused for some of those that it went to");
                return Ok(());
            }
            Err(why) => {
                *partly = (!have.is_empty()).then_some((id, have));
                return Err(why);
            }
        };
        if !outcome.refused.is_empty() {
            let why = outcome.refused.join("; ");
            tracing::warn!(sink = self.entry, why, "a message was refused for some of those that it went to");
        }
        match outcome.later {
            None => Ok(()),
            Some(why) => {
                *partly = Some((id, have.into_iter().chain(outcome.taken).collect()));
                Err(NotSent::Failed { why, after: None })
            }
        }
    }
}

impl Sender for Mailer {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let refused = |why| NotSent::Refused { why };
            let notification = Notification::of(delivery, &self.entry).map_err(refused)?;
            let message = self.message(&notification, &delivery.id()).map_err(refused)?;
            self.deliver(delivery.id(), &message).await
        })
    }
}

/// A text on one line, for a header.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(spaced.trim(), SUBJECT)
}

/// What is told, as a page of HTML.
fn page(notification: &Notification) -> String {
    format!(
        "<!DOCTYPE html>\n<html><body style=\"font-family:sans-serif\">\n<h2>{}</h2>\n<p>{}</p>\n</body></html>\n",
        escaped_for_html(&notification.headline()),
        notification.details(Style::Html)
    )
}
