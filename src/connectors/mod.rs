//! The connectors that Millstream has, one file each, listed by hand. Nothing else names one of them: the engine and the
//! configuration get these lists.

mod alert_form;
pub mod alertmanager;
pub mod answered;
mod appended_file;
mod back_off;
pub mod discard;
pub mod email;
pub mod file_sink;
pub mod file_source;
mod file_stream;
mod find_again;
mod follow;
mod gathered;
pub mod generate;
mod glob;
mod http_answer;
mod http_ask;
mod http_auth;
mod http_body;
pub mod http_call;
pub mod http_client;
pub mod http_listen;
pub mod http_login;
mod http_poll;
pub mod http_port;
mod http_post;
mod http_reach;
mod http_reply;
mod http_said;
mod http_schedule;
pub mod http_server;
pub mod http_sink;
mod http_standing;
mod http_stream;
pub mod input_file;
pub mod journalled;
mod json_path;
mod live;
mod mqtt_known;
mod mqtt_link;
mod mqtt_options;
mod mqtt_session;
mod mqtt_sieve;
pub mod mqtt_sink;
pub mod mqtt_source;
mod mqtt_v4;
mod mqtt_v5;
mod notification;
mod output;
mod output_file;
mod output_files;
mod output_mark;
pub mod own;
mod pack;
pub mod pagerduty;
mod pending;
pub mod reach;
mod reconnect;
pub mod sent;
pub mod slack;
mod smtp;
pub mod sqlite_sink;
pub mod sqlite_source;
pub mod stdin;
pub mod stdout;
mod table;
pub mod teams;
pub mod tls;
mod told;
mod undo_log;
pub mod unpack;
pub mod webhook;
mod websocket_link;
pub mod websocket_sink;
pub mod websocket_source;
mod writeback;
mod written;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod sink_recovery;

use crate::base::system::reason as io_reason;
use crate::connector::{SinkKind, SourceKind};

/// Every source connector.
pub const SOURCES: &[SourceKind] = &[
    SourceKind::of::<file_source::FileSource>(),
    SourceKind::of::<stdin::StdinSource>(),
    SourceKind::of::<sqlite_source::SqliteSource>(),
    SourceKind::of::<generate::GenerateSource>(),
    SourceKind::of::<own::OwnSource>(),
    SourceKind::of::<http_server::HttpServerSource>(),
    SourceKind::of::<http_client::HttpClientSource>(),
    SourceKind::of::<mqtt_source::MqttSource>(),
    SourceKind::of::<websocket_source::WebsocketSource>(),
];

/// Every sink connector.
pub const SINKS: &[SinkKind] = &[
    SinkKind::of::<stdout::StdoutSink>(),
    SinkKind::of::<file_sink::FileSink>(),
    SinkKind::of::<sqlite_sink::SqliteSink>(),
    SinkKind::of::<http_sink::HttpSink>(),
    SinkKind::of::<mqtt_sink::MqttSink>(),
    SinkKind::of::<websocket_sink::WebsocketSink>(),
    SinkKind::of::<webhook::WebhookSink>(),
    SinkKind::of::<slack::SlackSink>(),
    SinkKind::of::<teams::TeamsSink>(),
    SinkKind::of::<pagerduty::PagerdutySink>(),
    SinkKind::of::<email::EmailSink>(),
    SinkKind::of::<alertmanager::AlertmanagerSink>(),
    SinkKind::of::<discard::DiscardSink>(),
];
