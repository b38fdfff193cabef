//! What the options of MQTT's source and sink have in common.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::mqtt_link::Broker;
use super::tls::ClientTls;
use super::written::Duration;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::OpenContext;

/// The largest packet that MQTT can say.
pub(super) const MOST_PACKET: usize = 268_435_455;
/// The longest text that MQTT can say.
const MOST_TEXT: usize = 65_535;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Version::V5 => "5",
            Version::V311 => "3.1.1",
        })
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl serde::de::Visitor<'_> for Written {
            type Value = Version;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a version of MQTT: `5` or `3.1.1`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                match text {
                    "5" | "5.0" => Ok(Version::V5),
                    "3.1.1" => Ok(Version::V311),
                    _ => Err(E::custom(format!("there is no version `{text}` of MQTT here; write `5` or `3.1.1`"))),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Version, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Version, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Version, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "MqttVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A version of MQTT: `5` or `3.1.1`.", "enum": [5, "5", "3.1.1"] })
    }
}

/// What the broker publishes for us when we are gone without a word.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Will {
    /// Where it is published.
    #[schemars(length(min = 1), example = "status/millstream")]
    pub topic: String,
    /// What is published.
    #[serde(default)]
    pub payload: String,
    /// Its quality of service.
    #[serde(default)]
    #[schemars(range(max = 2))]
    pub qos: u8,
    /// Whether the broker keeps it for those who subscribe later.
    #[serde(default)]
    pub retain: bool,
}

/// Options that say how the broker is reached, as a source or a sink has them.
pub(super) struct Way<'a> {
    pub url: &'a str,
    pub version: Version,
    pub client_id: Option<&'a str>,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub tls: Option<&'a ClientTls>,
    pub keep_alive: Duration,
    pub will: Option<&'a Will>,
}

pub(super) fn default_keep_alive() -> Duration {
    Duration(TimeSpan::seconds(30))
}

/// The options of a connector of MQTT: what source and sink have in common, with its own behind the address and at the end.
macro_rules! mqtt_options {
    ($(#[$about:meta])* { $($what:tt)* } $($own:tt)*) => {
        $(#[$about])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct Options {
            /// Where the broker is: `mqtt://host:1883`, `mqtts://` with TLS, `ws://` and `wss://` over WebSocket.
            #[schemars(length(min = 1), example = "mqtt://localhost:1883")]
            pub url: String,
            $($what)*
            /// The version of the protocol: `5` or `3.1.1`.
            #[serde(default)]
            pub version: Version,
            /// The name that the broker knows us by; no two clients may have the same at a time. Without it, one made of the
            /// names of the pipeline and this entry: then the same pipeline must not run twice at one broker.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1))]
            pub client_id: Option<String>,
            /// Who we are.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub user: Option<String>,
            /// How we show it. Write it as `${PASSWORD}`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub password: Option<String>,
            /// Whom `mqtts://` and `wss://` believe, and what they show.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tls: Option<super::tls::ClientTls>,
            /// How long it is silent before it is asked whether the other side is still there.
            #[serde(default = "super::mqtt_options::default_keep_alive")]
            pub keep_alive: Duration,
            /// What the broker publishes when we are gone without a word.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub will: Option<super::mqtt_options::Will>,
            $($own)*
        }

        impl Options {
            fn way(&self) -> super::mqtt_options::Way<'_> {
                super::mqtt_options::Way {
                    url: &self.url,
                    version: self.version,
                    client_id: self.client_id.as_deref(),
                    user: self.user.as_deref(),
                    password: self.password.as_deref(),
                    tls: self.tls.as_ref(),
                    keep_alive: self.keep_alive,
                    will: self.will.as_ref(),
                }
            }
        }
    };
}

pub(super) use mqtt_options;

impl Way<'_> {
    /// Pure.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-mqtt", message, place).help(help));
        };
        match Address::of(self.url) {
            Err(why) => wrong("url", why, "write it like `mqtt://localhost:1883`, `mqtts://…`, `ws://…` or `wss://…`"),
            Ok(address) if self.tls.is_some() && !address.tls => {
                wrong("tls", "this `url` is spoken to without TLS".to_owned(), "write `mqtts://` or `wss://`");
            }
            Ok(_) => {}
        }
        if self.client_id.is_some_and(|id| id.is_empty() || id.len() > MOST_TEXT) {
            wrong("client_id", "a client needs a name".to_owned(), "leave `client_id` out: it gets one of its own");
        }
        if self.version == Version::V311 && self.password.is_some() && self.user.is_none() {
            wrong("password", "in MQTT 3.1.1 a password needs a user".to_owned(), "add `user`");
        }
        let seconds = self.keep_alive.0.to_std().as_secs();
        if self.keep_alive.0 < TimeSpan::seconds(1) || seconds > u64::from(u16::MAX) {
            wrong("keep_alive", "`keep_alive` is between 1s and 18h".to_owned(), "write for example `keep_alive: 30s`");
        }
        if let Some(will) = self.will {
            if will.qos > 2 {
                wrong("will", "a QoS is 0, 1 or 2".to_owned(), "write for example `qos: 1`");
            }
            if let Some(why) = bad_topic(&will.topic) {
                wrong("will", why, "write the topic that it is published to, without wildcards");
            }
        }
        if let Some(tls) = self.tls {
            tls.check(node.get("tls").unwrap_or(node), found);
        }
    }

    /// I/O: reads what TLS needs. The name of a client that has none is its own in every run.
    pub fn broker(&self, context: &OpenContext) -> Result<Broker, String> {
        let address = Address::of(self.url)?;
        let tls = match (address.tls, self.tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.config(&context.directory)?),
            (true, None) => Some(ClientTls::default().config(&context.directory)?),
        };
        let client_id = self.client_id.map_or_else(|| format!("ms-{:016x}", context.seed), str::to_owned);
        Ok(Broker {
            shown: format!("{}:{}", address.host, address.port),
            host: address.host,
            port: address.port,
            websocket: address.websocket.then(|| self.url.to_owned()),
            tls,
            version: self.version,
            client_id,
            user: self.user.map(str::to_owned),
            password: self.password.map(str::to_owned),
            keep_alive: u16::try_from(self.keep_alive.0.to_std().as_secs()).unwrap_or(u16::MAX),
            will: self.will.cloned(),
            clean: true,
            session_expiry: 0,
            receive_maximum: None,
            max_message: MOST_PACKET as u32,
        })
    }
}

/// An address taken apart.
struct Address {
    host: String,
    port: u16,
    websocket: bool,
    tls: bool,
}

impl Address {
    fn of(url: &str) -> Result<Address, String> {
        let parsed = Url::parse(url).map_err(|e| format!("this is no address of a broker: {e}"))?;
        let (port, websocket, tls) = match parsed.scheme() {
            "mqtt" | "tcp" => (1883, false, false),
            "mqtts" | "ssl" => (8883, false, true),
            "ws" => (80, true, false),
            "wss" => (443, true, true),
            other => return Err(format!("a broker is not reached by `{other}://`")),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("who we are does not belong into the address; write `user` and `password`".to_owned());
        }
        let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) else {
            return Err("the address has no host".to_owned());
        };
        Ok(Address { host: host.to_owned(), port: parsed.port().unwrap_or(port), websocket, tls })
    }
}

/// What is wrong with a topic to publish to, if anything is.
pub(super) fn bad_topic(topic: &str) -> Option<String> {
    let why = if topic.is_empty() {
        "is empty"
    } else if topic.len() > MOST_TEXT {
        "has more than 65,535 bytes"
    } else if topic.contains(['+', '#', '\0']) {
        "has a wildcard or a zero in it"
    } else {
        return None;
    };
    Some(format!("the topic `{}` {why}", topic.chars().take(80).collect::<String>()))
}

/// What is wrong with a filter of topics, if anything is.
pub(super) fn bad_filter(filter: &str) -> Option<String> {
    let wrong = |why: &str| Some(format!("the filter `{filter}` {why}"));
    let levels = match filter.strip_prefix("$share/") {
        None => filter,
        Some(shared) => match shared.split_once('/') {
            Some((group, rest)) if !group.is_empty() && !group.contains(['+', '#']) => rest,
            _ => return wrong("has no group; a shared one is `$share/GROUP/FILTER`"),
        },
    };
    if levels.is_empty() {
        return wrong("names no topic");
    }
    if filter.len() > MOST_TEXT || filter.contains('\0') {
        return wrong("is too long, or has a zero in it");
    }
    let last = levels.split('/').count() - 1;
    let odd = |(at, level): (usize, &str)| {
        (level.contains('#') && (level != "#" || at != last)) || (level.contains('+') && level != "+")
    };
    match levels.split('/').enumerate().any(odd) {
        true => wrong("has a wildcard where none can be: `+` is a whole level, `#` the whole last one"),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_mqtt() {
        for right in ["a", "/", "a/b", "+", "#", "a/+/b", "a/#", "+/+/#", "$share/g/a/#", "$SYS/#", "a//b"] {
            assert_eq!(bad_filter(right), None);
        }
        for wrong in ["", "a#", "a/#/b", "#/a", "a+", "+a/b", "$share/g", "$share//a", "$share/g/", "$share/+/a", "\0"]
        {
            assert!(bad_filter(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let of = |url: &str| Address::of(url).map(|a| (a.host, a.port, a.websocket, a.tls));
        assert_eq!(of("mqtt://a"), Ok(("a".into(), 1883, false, false)));
        assert_eq!(of("mqtts://a:1"), Ok(("a".into(), 1, false, true)));
        assert_eq!(of("wss://a/mqtt"), Ok(("a".into(), 443, true, true)));
        assert_eq!(of("ws://[::1]:9001"), Ok(("[::1]".into(), 9001, true, false)));
        for wrong in ["a", "http://a", "mqtt://", "mqtt://u@a", "mqtt://u:secret@a"] {
            assert!(!of(wrong).unwrap_err().contains("secret"), "{wrong}");
        }
    }
}
