//! What every connector of the network holds, run through the program itself against the one that it really talks to: each
//! case is written once ([`cases`]), each connector brings the other side ([`sources`], [`sinks`]).
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../support/broker.rs"]
mod broker;
mod cases;
#[path = "../support/listening.rs"]
mod listening;
#[path = "../support/mail.rs"]
mod mail;
#[path = "../support/peer.rs"]
mod peer;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/receiver.rs"]
mod receiver;
mod rig;
#[path = "../support/server.rs"]
mod server;
mod sinks;
mod sources;
#[path = "../support/websocket.rs"]
mod websocket;

/// Cases that have no meaning for a connector, and why.
const WITHOUT: &[(&str, &str, &str)] = &[
    ("http_server", "the_other_side_is_down", "it is called, and calls nobody: who sends comes again by himself"),
    ("http_server", "the_other_side_is_restarted", "the same"),
    ("http_poll", "cut_at_its_second_word", "it asks in one piece, and then hears"),
    ("http_stream", "cut_at_its_second_word", "the same"),
    (
        "http_server",
        "cut_at_its_second_word",
        "who sends does so in two pieces at most: that the second is cut is `cut_while_rows_come`",
    ),
    ("http_sink", "cut_at_its_second_word", "a request of one row is one piece"),
    ("webhook", "cut_at_its_second_word", "the same"),
    ("slack", "cut_at_its_second_word", "the same"),
    ("teams", "cut_at_its_second_word", "the same"),
    ("pagerduty", "cut_at_its_second_word", "the same"),
    ("alertmanager", "cut_at_its_second_word", "the same"),
];

macro_rules! suite {
    ($connector:ident, $rig:expr, [$($case:ident),* $(,)?]) => {
        mod $connector {
            $(
                #[test]
                fn $case() {
                    let is_it = |(connector, case, _): &&(&str, &str, &str)| {
                        *connector == stringify!($connector) && *case == stringify!($case)
                    };
                    if let Some((_, _, why)) = crate::WITHOUT.iter().find(is_it) {
                        println!("without a meaning here: {why}");
                        return;
                    }
                    crate::cases::$case(&mut $rig);
                }
            )*
        }
    };
}

macro_rules! connectors {
    ($($connector:ident: $rig:expr),* $(,)?) => {
        $(
            suite!($connector, $rig, [
                killed_while_rows_come,
                the_other_side_is_down,
                the_other_side_is_restarted,
                stopped_while_rows_come,
                cut_while_it_connects,
                cut_at_its_first_word,
                cut_at_its_second_word,
                cut_while_nothing_comes,
                cut_while_rows_come,
                cut_while_it_stops,
                stopped_twice,
                held_back,
            ]);
        )*
    };
}

connectors! {
    mqtt: crate::sources::Mqtt::new("1", "version: 5"),
    mqtt_old: crate::sources::Mqtt::new("1", "version: 3.1.1"),
    mqtt_qos_2: crate::sources::Mqtt::new("2", "version: 5"),
    mqtt_old_qos_2: crate::sources::Mqtt::new("2", "version: 3.1.1"),
    websocket_source: crate::sources::Websocket::new(),
    http_server: crate::sources::HttpServer::new(),
    http_poll: crate::sources::HttpClient::polled(),
    http_stream: crate::sources::HttpClient::streamed(),
    mqtt_sink: crate::sinks::Mqtt::new("version: 5"),
    mqtt_sink_old: crate::sinks::Mqtt::new("version: 3.1.1"),
    mqtt_sink_qos_2: crate::sinks::Mqtt::new("qos: 2"),
    websocket_sink: crate::sinks::Websocket::new(),
    http_sink: crate::sinks::Http::new(),
    webhook: crate::sinks::Http::of("webhook", ""),
    slack: crate::sinks::Http::of("slack", ""),
    teams: crate::sinks::Http::of("teams", "text: 'n = {{ n }}'"),
    pagerduty: crate::sinks::Http::of("pagerduty", "routing_key: k"),
    alertmanager: crate::sinks::Http::of("alertmanager", ""),
    email: crate::sinks::Email::new(),
}
