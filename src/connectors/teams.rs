//! Sink `teams`: writes notifications into a channel of Microsoft Teams, as Adaptive Cards to a webhook of Workflows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http_post::{Post, receiver_options};
use super::notification::{Alert, Level, Notification, cut};
use super::sent::{Delivery, NotSent, Sender, Sent, promise as sent_promise};
use super::tls::ClientTls;
use super::told::Told;
use crate::base::diag::Diagnostics;
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::row_template::Escape;
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// Bytes of a message; Teams takes 28 KB.
const MOST_BYTES: usize = 28_000;
/// Alerts whose facts a card shows.
const SHOWN: usize = 20;
/// Characters of a fact's value.
const FACT: usize = 1_000;
/// Buttons of a card.
const LINKS: usize = 5;

/// The sink `teams`.
pub struct TeamsSink;

receiver_options! {
    /// Writes notifications into a channel of Microsoft Teams: `teams: { url: "${TEAMS_URL}" }`, with the address of the
    /// workflow "Post to a channel when a webhook request is received". A message is an Adaptive Card of at most 28 KB; of more
    /// alerts than fit it says how many they are.
    {
        /// The address of the workflow: all of it is a secret.
        #[schemars(length(min = 1), example = &"${TEAMS_URL}")]
        pub url: String,
        /// The heading: a template. Left out: the state and the notification's title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub title: Option<String>,
        /// What stands below it: a template, in the Markdown that cards know. Left out: the notification's body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// Whether since when each alert fires, its key and its values are shown.
        #[serde(default = "default_facts")]
        pub facts: bool,
    }
}

fn default_facts() -> bool {
    true
}

impl SinkConnector for TeamsSink {
    const NAME: &'static str = "teams";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref()).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        Post::check(&options.url, "url", node, found);
        Told::check("title", options.title.as_deref(), Escape::Nothing, node, found);
        Told::check("text", options.text.as_deref(), Escape::Nothing, node, found);
        options.check_common(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why =
            "writes each until Teams has taken it; after a crash some are written again, and Teams shows them twice";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let teams = Teams::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(teams), &context)?))
    }
}

/// Writes to Teams.
struct Teams {
    post: Post,
    title: Told,
    text: Told,
    facts: bool,
    entry: String,
}

impl Teams {
    fn open(options: Options, context: &OpenContext) -> Result<Teams, String> {
        Ok(Teams {
            post: Post::open(&options.url, options.way(), None, context)?,
            title: Told::of("title", options.title.as_deref(), Escape::Nothing)?,
            text: Told::of("text", options.text.as_deref(), Escape::Nothing)?,
            facts: options.facts,
            entry: context.name.clone(),
        })
    }

    /// The message, with as much in it as it may have.
    fn message(&self, notification: &Notification) -> Value {
        let title = cut(&self.title.or(notification, || notification.headline()), 500);
        let text = self.text.or(notification, || notification.body.clone());
        let mut most = if self.facts { notification.alerts.len().min(SHOWN) } else { 0 };
        let mut text = cut(&text, MOST_BYTES / 2);
        loop {
            let message = self.card(notification, (&title, &text), most);
            if message.to_string().len() <= MOST_BYTES || (most == 0 && text.is_empty()) {
                return message;
            }
            match most {
                0 => text = cut(&text, text.chars().count() / 2),
                _ => most -= 1,
            }
        }
    }

    fn card(&self, notification: &Notification, (title, text): (&str, &str), most: usize) -> Value {
        let block = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
        let mut heading = block(title);
        heading["size"] = json!("Large");
        heading["weight"] = json!("Bolder");
        heading["color"] = json!(color_of(notification));
        let mut body = vec![heading];
        if !text.is_empty() {
            body.push(block(text));
        }
        let several = notification.alerts.len() > 1;
        for alert in notification.alerts.iter().take(most) {
            body.extend(about(notification, alert, several));
        }
        let more = notification.omitted + (notification.alerts.len() - most) as u64;
        if self.facts && more > 0 {
            body.push(block(&format!("… and {more} more")));
        }
        let mut card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": body,
        });
        let links = links_of(notification, most.max(1));
        if !links.is_empty() {
            card["actions"] = json!(links);
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        })
    }
}

impl Sender for Teams {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let notification = Notification::of(delivery, &self.entry).map_err(|why| NotSent::Refused { why })?;
            self.post.json(&self.message(&notification)).await
        })
    }
}

/// What a card shows of an alert.
fn about(notification: &Notification, alert: &Alert, several: bool) -> Vec<Value> {
    let mut blocks = Vec::new();
    if several {
        let heading = cut(&alert.headline(), 300);
        blocks.push(json!({"type": "TextBlock", "text": heading, "weight": "Bolder", "wrap": true, "separator": true}));
    }
    let facts = alert.facts();
    let facts = facts.iter().filter(|(name, _)| notification.of_alerts || name != "State");
    let facts: Vec<Value> =
        facts.map(|(name, value)| json!({"title": cut(name, 100), "value": cut(value, FACT)})).collect();
    blocks.push(json!({"type": "FactSet", "facts": facts}));
    blocks
}

fn links_of(notification: &Notification, most: usize) -> Vec<Value> {
    let all = notification.alerts.iter().take(most).flat_map(Alert::links);
    let mut links: Vec<Value> = Vec::new();
    for (name, url) in all {
        let link = json!({"type": "Action.OpenUrl", "title": cut(&name, 50), "url": url});
        if links.len() < LINKS && !links.contains(&link) {
            links.push(link);
        }
    }
    links
}

fn color_of(notification: &Notification) -> &'static str {
    match (notification.firing, notification.level()) {
        (false, _) => "good",
        (true, Level::Critical | Level::Error) => "attention",
        (true, Level::Warning) => "warning",
        (true, Level::Info) => "accent",
    }
}
