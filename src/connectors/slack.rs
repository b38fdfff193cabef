//! Sink `slack`: writes notifications into a channel of Slack, by an incoming webhook.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http_post::{Post, receiver_options};
use super::notification::{Level, Notification, Style, cut};
use super::sent::{Delivery, NotSent, Sender, Sent, promise as sent_promise};
use super::tls::ClientTls;
use super::told::Told;
use crate::base::diag::Diagnostics;
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::row_template::{Escape, escaped_for_slack};
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// Characters of a message's own text; Slack cuts off what is behind 40,000.
const MOST_TEXT: usize = 4_000;
/// Characters of the text of one block, of which Slack takes 3,000.
const MOST_BLOCK: usize = 3_000;
/// Blocks that a text is spread over; Slack takes 50 in a message.
const MOST_BLOCKS: usize = 10;

/// The sink `slack`.
pub struct SlackSink;

receiver_options! {
    /// Writes notifications into a channel of Slack: `slack: { url: "${SLACK_URL}" }`, with an
    /// [incoming webhook](https://api.slack.com/messaging/webhooks). The colour says how bad it is, and when it is over. In
    /// templates values call nobody and make no links: `&`, `<` and `>` in them are escaped, but behind `| safe`.
    {
        /// The address of the incoming webhook: all of it is a secret.
        #[schemars(length(min = 1), example = &"${SLACK_URL}")]
        pub url: String,
        /// The channel, where the webhook may choose it: `#ops`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub channel: Option<String>,
        /// Who is shown to write, where the webhook may choose it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub username: Option<String>,
        /// The picture beside it: `:fire:`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub icon_emoji: Option<String>,
        /// The first line, in Slack's mrkdwn: a template. Left out: the state and the notification's title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(example = &"<!here> {{ title }}")]
        pub title: Option<String>,
        /// What stands below it: a template. Left out: of each alert since when, its key, its values and links.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// The colour beside it: a template, `#RRGGBB`, `good`, `warning` or `danger`. Left out: by state and severity.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub color: Option<String>,
    }
}

impl SinkConnector for SlackSink {
    const NAME: &'static str = "slack";
    const SENDS: bool = true;
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref()).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        Post::check(&options.url, "url", node, found);
        for (option, text) in options.templates() {
            Told::check(option, text, Escape::Slack, node, found);
        }
        options.check_common(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why =
            "writes each until Slack has taken it; after a crash some are written again, and Slack shows them twice";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let slack = Slack::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(slack), &context)?))
    }
}

impl Options {
    fn templates(&self) -> [(&'static str, Option<&str>); 3] {
        [("title", self.title.as_deref()), ("text", self.text.as_deref()), ("color", self.color.as_deref())]
    }
}

/// Writes to Slack.
struct Slack {
    post: Post,
    told: [Told; 3],
    options: Options,
    entry: String,
}

impl Slack {
    fn open(options: Options, context: &OpenContext) -> Result<Slack, String> {
        let [title, text, color] = options.templates();
        let told = |(option, text)| Told::of(option, text, Escape::Slack);
        Ok(Slack {
            post: Post::open(&options.url, options.way(), None, context)?,
            told: [told(title)?, told(text)?, told(color)?],
            options,
            entry: context.name.clone(),
        })
    }

    fn message(&self, notification: &Notification) -> Value {
        let [title, text, color] = &self.told;
        let headline = cut(&notification.headline(), MOST_TEXT / 8);
        let title = title.or(notification, || format!("*{}*", escaped_for_slack(&headline).replace('*', "∗")));
        let text = text.or(notification, || notification.details(Style::Slack));
        let color = color.or(notification, || color_of(notification).to_owned());
        let mut blocks: Vec<Value> = pieces(&text)
            .into_iter()
            .map(|text| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}))
            .collect();
        let from: Vec<&str> = ["pipeline", "receiver"]
            .iter()
            .map(|name| notification.text(name))
            .filter(|text| !text.is_empty())
            .collect();
        if !from.is_empty() {
            let text = cut(&escaped_for_slack(&from.join(" · ")), 300);
            blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}));
        }
        let mut message = json!({
            "text": cut(&title, MOST_TEXT),
            "attachments": [{"color": color.trim(), "fallback": headline, "blocks": blocks}],
        });
        let chosen = [
            ("channel", &self.options.channel),
            ("username", &self.options.username),
            ("icon_emoji", &self.options.icon_emoji),
        ];
        for (name, value) in chosen {
            if let (Some(value), Some(message)) = (value, message.as_object_mut()) {
                message.insert(name.to_owned(), json!(value));
            }
        }
        message
    }
}

impl Sender for Slack {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let notification = Notification::of(delivery, &self.entry).map_err(|why| NotSent::Refused { why })?;
            self.post.json(&self.message(&notification)).await
        })
    }
}

fn color_of(notification: &Notification) -> &'static str {
    match (notification.firing, notification.level()) {
        (false, _) => "#2eb67d",
        (true, Level::Critical) => "#a30200",
        (true, Level::Error) => "#e01e5a",
        (true, Level::Warning) => "#ecb22e",
        (true, Level::Info) => "#36c5f0",
    }
}

/// A text in pieces that fit into a block each, cut at line ends where there are any.
fn pieces(text: &str) -> Vec<String> {
    let (mut pieces, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() && pieces.len() < MOST_BLOCKS {
        let most = rest.char_indices().nth(MOST_BLOCK).map_or(rest.len(), |(at, _)| at);
        let head = rest.get(..most).unwrap_or(rest);
        let end = match head.rfind('\n') {
            _ if most == rest.len() => most,
            Some(line_end) if line_end > 0 => line_end,
            // Not in the middle of what stands for `&`, `<` or `>`.
            _ => head.rfind('&').filter(|at| head.len() - at < 5).unwrap_or(most),
        };
        let (piece, behind) = rest.split_at(end);
        pieces.push(piece.to_owned());
        rest = behind.trim_start_matches('\n');
    }
    if !rest.is_empty()
        && let Some(last) = pieces.last_mut()
    {
        *last = cut(&format!("{}\n…", cut(last, MOST_BLOCK - 2)), MOST_BLOCK);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_spread_over_blocks() {
        assert!(pieces(" \n").is_empty());
        assert_eq!(pieces("a\nb"), ["a\nb"]);
        let lines = "0123456789\n".repeat(600);
        let all = pieces(&lines);
        assert!(all.len() == 3 && all.iter().all(|piece| piece.chars().count() <= MOST_BLOCK));
        assert_eq!(all.join("\n"), lines.trim());
        let one = format!("{}&amp;{}", "é".repeat(2_997), "x".repeat(100));
        assert_eq!(pieces(&one)[1], format!("&amp;{}", "x".repeat(100)));
        let endless = pieces(&"x".repeat(1_000_000));
        assert_eq!(endless.len(), MOST_BLOCKS);
        assert!(endless.iter().all(|piece| piece.chars().count() <= MOST_BLOCK) && endless[9].ends_with('…'));
    }
}
