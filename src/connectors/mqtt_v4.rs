//! The client of MQTT 3.1.1. Who speaks it cannot tell the broker how large a message may be: those that are larger are cut
//! short before the client sees them, which would end the connection for one, again and again ([`Sieve`]).

use std::sync::Arc;

use bytes::Bytes;
use rumqttc_v4::{
    AckMode, AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, LastWill, ManualAck, MqttOptions,
    NetworkOptions, Packet, PubAck, PubRec, PublishNoticeError, PublishOptions, QoS, StateError, SubscribeFilterInput,
    SubscribeReasonCode, TlsConfiguration, Transport,
};

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::io_reason;
use super::mqtt_link::{
    Broker, CONNECT_WITHIN, Client, Event, IN_FLIGHT, Lost, Message, NotSent, Outgoing, REQUESTS, Wire,
};
use super::mqtt_options::MOST_PACKET;
use super::mqtt_sieve::{KEPT, MOST_CUT, Mark, Sieve};
use super::websocket_link::Duplex;
use crate::connector::BoxFuture;

pub(super) fn client_of(broker: &Broker) -> Result<(Arc<dyn Client>, Box<dyn Wire>), String> {
    let mut options = options(broker)?;
    let mark = Mark::new();
    match broker.websocket {
        None => sieve(&mut options, broker, mark),
        // What is inside of its frames is not seen before it is whole; the library takes frames of 16 MiB at most.
        Some(_) => drop(options.set_max_packet_size(MOST_PACKET, MOST_PACKET)),
    }
    let built = AsyncClient::builder(options).capacity(REQUESTS).try_build();
    let (client, mut events) = built.map_err(|e| format!("the options of MQTT do not go together: {e}"))?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_WITHIN.as_secs());
    events.set_network_options(network);
    Ok((Arc::new(Hand(client)), Box::new(Events { events, mark, most: broker.max_message as usize })))
}

/// Puts a sieve between the connection and the client; TLS is agreed on before it.
fn sieve(options: &mut MqttOptions, broker: &Broker, mark: Mark) {
    let most = broker.max_message as usize;
    let (host, tls) = (broker.host.clone(), broker.tls.clone());
    options.set_transport(Transport::Tcp);
    options.set_socket_connector(move |address, network| {
        let (host, tls) = (host.clone(), tls.clone());
        async move {
            let stream = rumqttc_v4::default_socket_connect(address, network).await?;
            let stream: Box<dyn Duplex> = match tls {
                None => Box::new(stream),
                Some(config) => {
                    let wrong = |e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e);
                    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                    let name = ServerName::try_from(name).map_err(wrong)?;
                    Box::new(TlsConnector::from(config).connect(name, stream).await?)
                }
            };
            Ok(Sieve::new(stream, most, mark))
        }
    });
}

fn options(broker: &Broker) -> Result<MqttOptions, String> {
    let id = broker.client_id.as_str();
    let tls = broker.tls.clone().map(TlsConfiguration::Rustls);
    let mut options = match (&broker.websocket, tls) {
        (None, None) => MqttOptions::new(id, (broker.host.clone(), broker.port)),
        (None, Some(tls)) => {
            let mut options = MqttOptions::new(id, (broker.host.clone(), broker.port));
            options.set_transport(Transport::tls_with_config(tls));
            options
        }
        (Some(url), None) => {
            MqttOptions::new(id, rumqttc_v4::Broker::websocket(url.as_str()).map_err(|e| e.to_string())?)
        }
        (Some(url), Some(tls)) => {
            MqttOptions::websocket_with_tls_config(id, url.as_str(), tls).map_err(|e| e.to_string())?
        }
    };
    options.set_keep_alive(broker.keep_alive).set_ack_mode(AckMode::Manual);
    options.try_set_clean_session(broker.clean).map_err(|e| e.to_string())?;
    let most = usize::try_from(broker.max_message).unwrap_or(usize::MAX);
    options.set_max_packet_size(most.max(MOST_CUT), most.max(MOST_CUT));
    options.try_set_inflight(IN_FLIGHT).map_err(|e| e.to_string())?;
    match (&broker.user, &broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user.as_str(), password.clone());
        }
        (Some(user), None) => {
            options.set_username(user.as_str());
        }
        (None, _) => {}
    }
    if let Some(will) = &broker.will {
        let payload = will.payload.clone().into_bytes();
        options.set_last_will(LastWill::new(will.topic.as_str(), payload, qos_of(will.qos), will.retain));
    }
    Ok(options)
}

fn qos_of(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

struct Events {
    events: EventLoop,
    mark: Mark,
    most: usize,
}

impl Events {
    /// Of a message that is too large: the bytes of its packet. Its beginning is left of it.
    fn beyond(&self, topic: &Bytes, payload: &mut Bytes) -> Option<u64> {
        let size = topic.len() + payload.len();
        self.mark.take(payload).or_else(|| {
            payload.truncate(if size > self.most { KEPT } else { size });
            (size > self.most).then_some(size as u64)
        })
    }
}

impl Wire for Events {
    fn next(&mut self) -> BoxFuture<'_, Result<Event, Lost>> {
        Box::pin(async move {
            Ok(match self.events.poll().await.map_err(lost)? {
                rumqttc_v4::Event::Incoming(Packet::ConnAck(ack)) => {
                    Event::Connected { session: ack.session_present, largest: None }
                }
                rumqttc_v4::Event::Incoming(Packet::Publish(mut publish)) => Event::Message(Message {
                    beyond: self.beyond(&publish.topic, &mut publish.payload),
                    topic: publish.topic,
                    payload: publish.payload,
                    qos: publish.qos as u8,
                    packet: publish.pkid,
                    again: publish.dup,
                    retain: publish.retain,
                    content_type: None,
                    properties: Vec::new(),
                }),
                rumqttc_v4::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Event::Acknowledged,
                rumqttc_v4::Event::Incoming(Packet::PubRel(release)) => Event::Released(release.pkid),
                rumqttc_v4::Event::Outgoing(rumqttc_v4::Outgoing::PubRec(packet)) => Event::Received(packet),
                _ => Event::Other,
            })
        })
    }
}

fn lost(why: ConnectionError) -> Lost {
    match why {
        ConnectionError::RequestsDone => Lost { over: true, ..Lost::because("it was ended") },
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
        ) => Lost::because("the broker does not let us in; look at `user`, `password` and its rules"),
        ConnectionError::ConnectionRefused(code) => Lost::because(format!("the broker refuses us ({code:?})")),
        ConnectionError::MqttState(StateError::ConnectionAborted) => Lost::because("the broker has gone"),
        ConnectionError::MqttState(StateError::AwaitPingResp) => Lost::because("the broker does not answer any more"),
        ConnectionError::Io(e)
        | ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(rumqttc_v4::Error::Io(e))) => {
            Lost::because(io_reason(&e))
        }
        ConnectionError::NetworkTimeout => Lost::because("the broker does not answer"),
        other => Lost::because(other),
    }
}

struct Hand(AsyncClient);

impl Client for Hand {
    fn acknowledge(&self, packet: u16, qos: u8) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ack = match qos {
                1 => ManualAck::PubAck(PubAck::new(packet)),
                _ => ManualAck::PubRec(PubRec::new(packet)),
            };
            // Without a client it comes again.
            let _ = self.0.manual_ack(ack).await;
        })
    }

    fn subscribe(&self, filters: Vec<(String, u8)>) -> BoxFuture<'_, Result<Vec<Result<u8, String>>, String>> {
        Box::pin(async move {
            let filters = filters.into_iter().map(|(filter, qos)| SubscribeFilterInput::new(filter, qos_of(qos)));
            let asked = self.0.subscribe_many_tracked(filters).await.map_err(|e| e.to_string())?;
            let answer = asked.wait_async().await.map_err(|e| e.to_string())?;
            let granted = |code| match code {
                SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                SubscribeReasonCode::Failure => Err("the broker says no more".to_owned()),
            };
            Ok(answer.return_codes.into_iter().map(granted).collect())
        })
    }

    fn unsubscribe(&self, filters: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let asked = self.0.unsubscribe_many_tracked(filters).await.map_err(|e| e.to_string())?;
            asked.wait_completion_async().await.map_err(|e| e.to_string())
        })
    }

    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), NotSent>> {
        Box::pin(async move {
            let options = PublishOptions::new(qos_of(message.qos)).retain(message.retain);
            let sent = self.0.publish_tracked(message.topic, message.payload, options).await;
            let sent = sent.map_err(|e| NotSent::Refused(e.to_string()))?;
            sent.wait_completion_async().await.map_err(|why| match why {
                PublishNoticeError::SessionPersistence(why) => NotSent::Refused(why),
                _ => NotSent::Lost,
            })
        })
    }

    fn disconnect(&self) {
        // Without a client there is nobody to say it to.
        let _ = self.0.try_disconnect_now();
    }
}
