//! Sink `pagerduty`: opens, acknowledges and resolves alerts in PagerDuty, by its Events API v2.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::http_post::{Post, receiver_options};
use super::notification::{Alert, Level, Notification, cut};
use super::sent::{Delivery, NotSent, Sender, Sent, promise as sent_promise};
use super::tls::ClientTls;
use super::told::Told;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::row_template::Escape;
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};
use crate::data::hash::row_id;

/// Characters of a summary.
const SUMMARY: usize = 1_024;
/// Characters of a key.
const KEY: usize = 255;
/// Bytes of an event; PagerDuty takes 512 KB.
const MOST_BYTES: usize = 500_000;

/// The sink `pagerduty`.
pub struct PagerdutySink;

receiver_options! {
    /// Opens and resolves alerts in PagerDuty: `pagerduty: { routing_key: "${PAGERDUTY_KEY}" }`. Each alert of a notification is
    /// an event of its own, so that each resolves on its own; its `dedup_key` is always the same for an alert and its key, so
    /// that an event that comes again opens nothing twice.
    {
        /// The integration key of the service: a secret.
        #[schemars(length(min = 1), example = &"${PAGERDUTY_KEY}")]
        pub routing_key: String,
        /// Where events are sent: for services in Europe `https://events.eu.pagerduty.com/v2/enqueue`.
        #[serde(default = "default_url")]
        #[schemars(length(min = 1))]
        pub url: String,
        /// What one event is about.
        #[serde(default)]
        pub per: Per,
        /// The line that people read first: a template. Left out: the title. In it, and in the other templates, the
        /// notification is that of one alert, with `per: group` all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub summary: Option<String>,
        /// What has the problem: a template. Left out: the alert's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub source: Option<String>,
        /// What events are put together by: a template. Left out: the alert and its key, with `per: group` the group; for
        /// rows that are no notification each row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dedup_key: Option<String>,
        /// Who is said to send.
        #[serde(default = "default_client")]
        pub client: String,
        /// Where more is to be seen of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_url: Option<String>,
    }
}

/// What an event is about.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// An alert of one key.
    #[default]
    Alert,
    /// All alerts of a notification; it resolves when none fires any more.
    Group,
}

fn default_url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

fn default_client() -> String {
    "Millstream".to_owned()
}

impl SinkConnector for PagerdutySink {
    const NAME: &'static str = "pagerduty";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref()).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        Post::check(&options.url, "url", node, found);
        if options.routing_key.is_empty() {
            let place = Some(node.get("routing_key").unwrap_or(node).span.clone());
            let wrong = Diagnostic::error("no-secret", "the `routing_key` is empty", place);
            found.push(wrong.help("set the variable that it comes from"));
        }
        for (option, text) in options.templates() {
            Told::check(option, text, Escape::Nothing, node, found);
        }
        options.check_common(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = "sends each until it is taken, always under the same `dedup_key`: PagerDuty opens one alert for it";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let pager = Pager::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(pager), &context)?))
    }
}

impl Options {
    fn templates(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("summary", self.summary.as_deref()),
            ("source", self.source.as_deref()),
            ("dedup_key", self.dedup_key.as_deref()),
        ]
    }
}

/// Sends events.
struct Pager {
    post: Post,
    told: [Told; 3],
    options: Options,
    entry: String,
}

impl Pager {
    fn open(options: Options, context: &OpenContext) -> Result<Pager, String> {
        let [summary, source, dedup_key] = options.templates();
        let told = |(option, text)| Told::of(option, text, Escape::Nothing);
        Ok(Pager {
            post: Post::open(&options.url, options.way(), None, context)?,
            told: [told(summary)?, told(source)?, told(dedup_key)?],
            options,
            entry: context.name.clone(),
        })
    }

    fn events(&self, notification: &Notification, id: &str) -> Vec<Value> {
        match self.options.per {
            Per::Alert => {
                let about = notification.alerts.iter().map(|alert| (notification.about(alert), Some(alert)));
                about.map(|(about, alert)| self.event(&about, alert, id)).collect()
            }
            Per::Group => vec![self.event(notification, None, id)],
        }
    }

    /// One event; of a group if there is no alert.
    fn event(&self, about: &Notification, alert: Option<&Alert>, id: &str) -> Value {
        let mut event = json!({
            "routing_key": self.options.routing_key,
            "event_action": action(about, alert),
            "dedup_key": self.dedup_key(about, alert, id),
        });
        if !about.firing {
            return event;
        }
        event["client"] = json!(self.options.client);
        if let Some(url) = &self.options.client_url {
            event["client_url"] = json!(url);
        }
        let links = about.alerts.iter().take(10).flat_map(Alert::links);
        event["links"] = links.map(|(name, url)| json!({"href": url, "text": name})).collect();
        let first = alert.or(about.alerts.first());
        let mut payload = json!({
            "summary": cut(&self.told[0].or(about, || about.title.clone()), SUMMARY),
            "source": self.source(about, first),
            "severity": severity(about),
            "custom_details": details(about, first.filter(|_| about.alerts.len() == 1)),
        });
        let optional = [
            ("timestamp", first.and_then(Alert::began).unwrap_or_default().to_owned()),
            ("group", about.text("group_key").to_owned()),
            ("class", first.map(Alert::name).unwrap_or_default()),
        ];
        for (name, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
            payload[name] = json!(cut(&text, 1_024));
        }
        event["payload"] = payload;
        if event.to_string().len() > MOST_BYTES {
            event["payload"]["custom_details"] = json!({"left_out": "it was too large"});
        }
        event
    }

    fn source(&self, about: &Notification, first: Option<&Alert>) -> String {
        let key = || first.map(|first| first.key().into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(", "));
        let pipeline =
            || [about.text("pipeline"), &self.entry].into_iter().find(|text| !text.is_empty()).map(str::to_owned);
        let source =
            self.told[1].or(about, || key().filter(|key| !key.is_empty()).or_else(pipeline).unwrap_or_default());
        cut(&source, SUMMARY)
    }

    fn dedup_key(&self, about: &Notification, alert: Option<&Alert>, id: &str) -> String {
        let of = [about.text("pipeline"), &self.entry].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let without = || match alert {
            _ if !about.of_alerts => format!("{of}:{id}"),
            Some(alert) => format!("{of}:{}", alert.fingerprint()),
            None => format!("{of}:{}", about.text("group_key")),
        };
        let key = self.told[2].or(about, without);
        match key.chars().count() > KEY {
            // Cut off it might be another's.
            true => format!("{:032x}", row_id(0, key.as_bytes())),
            false => key,
        }
    }
}

impl Sender for Pager {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let notification = Notification::of(delivery, &self.entry).map_err(|why| NotSent::Refused { why })?;
            let mut refused = None;
            for event in self.events(&notification, &delivery.id()) {
                match self.post.json(&event).await {
                    Ok(()) => {}
                    // The others are told all the same.
                    Err(NotSent::Refused { why }) => refused = Some(why),
                    Err(passing) => return Err(passing),
                }
            }
            refused.map_or(Ok(()), |why| Err(NotSent::Refused { why }))
        })
    }
}

fn action(about: &Notification, alert: Option<&Alert>) -> &'static str {
    let acknowledged = alert.is_some_and(|alert| alert.text("acknowledged_by").is_some());
    match (about.firing, acknowledged) {
        (false, _) => "resolve",
        (true, true) => "acknowledge",
        (true, false) => "trigger",
    }
}

fn severity(about: &Notification) -> &'static str {
    match Level::of(&about.severity) {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
    }
}

/// What is shown beside the summary: of one alert its facts, of several a text.
fn details(about: &Notification, only: Option<&Alert>) -> Value {
    let mut details = Map::new();
    if !about.body.is_empty() {
        details.insert("body".to_owned(), json!(about.body));
    }
    match only {
        Some(alert) => {
            for (name, text) in alert.facts() {
                details.entry(name).or_insert(json!(text));
            }
            details.insert("values".to_owned(), Value::Object(alert.values()));
        }
        None => {
            details.insert("alerts".to_owned(), json!(about.text("details")));
        }
    }
    Value::Object(details)
}
