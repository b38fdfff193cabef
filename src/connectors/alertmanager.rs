//! Sink `alertmanager`: hands alerts to Prometheus Alertmanager, which groups, silences and routes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use super::alert_form::{annotations, generator_url, labels, mended, name_of};
use super::http_call::{shown, url_of};
use super::http_login::Login;
use super::http_post::{Post, receiver_options};
use super::notification::{Alert, Notification};
use super::sent::{Delivery, NotSent, Sender, Sent, promise as sent_promise};
use super::tls::ClientTls;
use super::told::Told;
use super::written::{Duration, Names};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::row_template::{Escape, RowTemplate};
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// Where Alertmanager takes alerts.
const PATH: &str = "api/v2/alerts";

/// The sink `alertmanager`.
pub struct AlertmanagerSink;

receiver_options! {
    /// Hands alerts to Prometheus Alertmanager: `alertmanager: { url: "http://alertmanager:9093" }`. Labels are the alert's own,
    /// its key's fields, `alertname` and `severity`; a character that Prometheus allows in no name becomes `_`. A row that is no
    /// notification has its texts as labels, and is resolved when its `status` is `resolved`.
    {
        /// Where Alertmanager is; of a cluster all of them. An alert goes to each, and is taken when one has taken it.
        #[schemars(example = &"http://alertmanager:9093")]
        pub url: Names,
        /// How far ahead the end of an alert that fires is written. A notification that says again that it fires moves it on; if
        /// none comes, Alertmanager takes it for resolved then. Longer than notifications are apart.
        #[serde(default = "default_resolve_after")]
        pub resolve_after: Duration,
        /// Labels beside the alert's own: templates, in which the notification is that of one alert.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String>,
        /// Annotations beside or instead of `summary`, `description`, `condition` and `values`: templates.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub annotations: BTreeMap<String, String>,
        /// Who sends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub auth: Option<Login>,
    }
}

fn default_resolve_after() -> Duration {
    Duration(TimeSpan::seconds(24 * 3_600))
}

impl SinkConnector for AlertmanagerSink {
    const NAME: &'static str = "alertmanager";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::nothing()
            .with_urls(options.url.0.iter().chain(&options.proxy))
            .with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        options.url.0.iter().for_each(|url| Post::check(url, "url", node, found));
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-alertmanager", message, place).help(help));
        };
        if options.url.0.is_empty() {
            wrong("url", "there is nobody to send to".to_owned(), "write for example `url: http://alertmanager:9093`");
        }
        if options.resolve_after.0 < TimeSpan::seconds(1) {
            wrong(
                "resolve_after",
                "`resolve_after` is at least 1s".to_owned(),
                "write for example `resolve_after: 1d`",
            );
        }
        for (option, map) in [("labels", &options.labels), ("annotations", &options.annotations)] {
            for name in map.keys().filter(|name| name_of(name) != **name) {
                let message = format!("`{name}` is no name that Prometheus knows");
                wrong(option, message, "a name has letters, digits and `_`, and begins with no digit");
            }
        }
        for (option, map) in [("labels", &options.labels), ("annotations", &options.annotations)] {
            for (name, text) in map {
                let place = node.get(option).and_then(|map| map.get(name)).unwrap_or(node);
                RowTemplate::check(text, Escape::Nothing, place, found);
            }
        }
        if let Some(auth) = &options.auth {
            auth.check(node.get("auth").unwrap_or(node), found);
        }
        options.check_common(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = "sends each until an Alertmanager has taken it; the same alert sent again is the same alert there";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let pusher = Pusher::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(pusher), &context)?))
    }
}

/// One of a cluster.
struct Member {
    post: Post,
    shown: String,
    /// Whether it was said that it takes nothing.
    away: AtomicBool,
}

/// Pushes alerts.
struct Pusher {
    members: Vec<Member>,
    labels: Vec<(String, Told)>,
    annotations: Vec<(String, Told)>,
    resolve_after: std::time::Duration,
    entry: String,
}

impl Pusher {
    fn open(options: Options, context: &OpenContext) -> Result<Pusher, String> {
        let member = |url: &String| {
            let mut url = url_of(url).map_err(|_| "a `url` is no address to send to".to_owned())?;
            if !url.path().ends_with(PATH) {
                url.set_path(&format!("{}/{PATH}", url.path().trim_end_matches('/')));
            }
            let post = Post::open(url.as_str(), options.way(), options.auth.clone(), context)?;
            Ok::<Member, String>(Member { post, shown: shown(&url), away: AtomicBool::new(false) })
        };
        let told = |option: &'static str, map: &BTreeMap<String, String>| {
            let all = map.iter().map(|(name, text)| Ok((name.clone(), Told::of(option, Some(text), Escape::Nothing)?)));
            all.collect::<Result<Vec<_>, String>>()
        };
        Ok(Pusher {
            members: options.url.0.iter().map(member).collect::<Result<_, _>>()?,
            labels: told("labels", &options.labels)?,
            annotations: told("annotations", &options.annotations)?,
            resolve_after: options.resolve_after.0.to_std(),
            entry: context.name.clone(),
        })
    }

    /// The alerts of a notification at a time of day.
    fn alerts(&self, notification: &Notification, now: jiff::Timestamp) -> Value {
        notification.alerts.iter().map(|alert| self.alert(&notification.about(alert), alert, now)).collect()
    }

    fn alert(&self, about: &Notification, alert: &Alert, now: jiff::Timestamp) -> Value {
        let own = |told: &[(String, Told)]| {
            let all = told.iter().filter_map(|(name, told)| Some((name.clone(), told.own(about)?)));
            mended(all.collect())
        };
        let with = |mut map: Map<String, Value>, own: Map<String, Value>| {
            map.extend(own);
            map
        };
        let instant = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let began = alert.began().and_then(instant).unwrap_or(now);
        let ended = match alert.firing() {
            // What began ahead of the clock does not end before it has begun.
            true => now.max(began).checked_add(self.resolve_after).unwrap_or(jiff::Timestamp::MAX),
            false => alert.ended().and_then(instant).unwrap_or(now).max(began),
        };
        json!({
            "labels": with(labels(alert), own(&self.labels)),
            "annotations": with(annotations(alert), own(&self.annotations)),
            "startsAt": began.to_string(),
            "endsAt": ended.to_string(),
            "generatorURL": generator_url(alert),
        })
    }
}

impl Sender for Pusher {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let notification = Notification::of(delivery, &self.entry).map_err(|why| NotSent::Refused { why })?;
            let alerts = self.alerts(&notification, jiff::Timestamp::now());
            let came =
                futures_util::future::join_all(self.members.iter().map(|member| member.post.json(&alerts))).await;
            let taken = came.iter().any(Result::is_ok);
            for (member, came) in self.members.iter().zip(&came).filter(|_| taken) {
                let away = came.is_err();
                if member.away.swap(away, Ordering::Relaxed) != away {
                    let to = &member.shown;
                    match came {
                        Err(why) => {
                            tracing::warn!(sink = self.entry, to, ?why, "takes no alerts; others of the cluster do")
                        }
                        Ok(()) => tracing::info!(sink = self.entry, to, "takes alerts again"),
                    }
                }
            }
            if taken {
                return Ok(());
            }
            let refused = |came: &Result<(), NotSent>| matches!(came, Err(NotSent::Refused { .. }));
            let passing = came.iter().position(|came| !refused(came)).unwrap_or(0);
            came.into_iter().nth(passing).unwrap_or(Ok(()))
        })
    }
}
