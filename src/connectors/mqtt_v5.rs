//! The client of MQTT 5.

use std::sync::Arc;

use rumqttc::{
    AckMode, AsyncClient, ConnectReturnCode, ConnectionError, DisconnectReasonCode, EventLoop, LastWill, ManualAck,
    MqttOptions, NetworkOptions, Packet, PersistedAckMode, PersistedSession, PubAck, PubAckReason, PubRec,
    PubRecReason, PublishNoticeError, PublishOptions, PublishProperties, QoS, RetainForwardRule, SessionStore,
    SessionStoreError, SessionStoreKey, StateError, SubscribeFilterInput, SubscribeReasonCode, TlsConfiguration,
    Transport,
};

use super::io_reason;
use super::mqtt_link::{
    Broker, CONNECT_WITHIN, Client, Event, IN_FLIGHT, Lost, Message, NotSent, Outgoing, REQUESTS, Wire,
};
use crate::connector::BoxFuture;

pub(super) fn client_of(broker: &Broker) -> Result<(Arc<dyn Client>, Box<dyn Wire>), String> {
    let options = options(broker)?;
    let built = AsyncClient::builder(options).capacity(REQUESTS).try_build();
    let (client, events) = built.map_err(|e| format!("the options of MQTT do not go together: {e}"))?;
    Ok((Arc::new(Hand(client)), Box::new(Events { events, primed: !broker.clean })))
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
        (Some(url), None) => MqttOptions::new(id, rumqttc::Broker::websocket(url.as_str()).map_err(|e| e.to_string())?),
        (Some(url), Some(tls)) => {
            MqttOptions::websocket_with_tls_config(id, url.as_str(), tls).map_err(|e| e.to_string())?
        }
    };
    options.set_keep_alive(broker.keep_alive).set_clean_start(broker.clean).set_connect_timeout(CONNECT_WITHIN);
    options.set_ack_mode(AckMode::Manual);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options.set_session_expiry_interval(Some(broker.session_expiry));
    options.set_receive_maximum(broker.receive_maximum);
    options.set_max_packet_size(Some(broker.max_message));
    // Otherwise all packet ids that there are are looked through whenever something is sent.
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    match (&broker.user, &broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user.as_str(), password.clone());
        }
        (Some(user), None) => {
            options.set_username(user.as_str());
        }
        (None, Some(password)) => {
            options.set_password(password.clone());
        }
        (None, None) => {}
    }
    if let Some(will) = &broker.will {
        let payload = will.payload.clone().into_bytes();
        options.set_last_will(LastWill::new(will.topic.as_str(), payload, qos_of(will.qos), will.retain, None));
    }
    if !broker.clean {
        // Subscriptions can be changed in a session that was begun by another run.
        options.set_session_store(NothingUnderWay);
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

/// Stands for what a client of the same name had under way before: nothing, for what is sent is kept elsewhere. Without it
/// the client takes no request in a session that it has not begun itself.
#[derive(Debug)]
struct NothingUnderWay;

impl SessionStore for NothingUnderWay {
    fn load<'a>(
        &'a self,
        key: &'a SessionStoreKey,
    ) -> BoxFuture<'a, Result<Option<PersistedSession>, SessionStoreError>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(IN_FLIGHT),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(
        &'a self,
        _: &'a SessionStoreKey,
        _: &'a PersistedSession,
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Events {
    events: EventLoop,
    /// Whether the client has yet to be told that nothing is under way.
    primed: bool,
}

impl Wire for Events {
    fn next(&mut self) -> BoxFuture<'_, Result<Event, Lost>> {
        Box::pin(async move {
            let event = self.events.poll().await.map_err(lost)?;
            let rumqttc::Event::Incoming(packet) = event else {
                return Ok(match event {
                    rumqttc::Event::Outgoing(rumqttc::Outgoing::PubRec(packet)) => Event::Received(packet),
                    _ => Event::Other,
                });
            };
            Ok(match packet {
                Packet::ConnAck(ack) => {
                    if std::mem::take(&mut self.primed) {
                        // From here on it would be written with every request.
                        self.events.options.clear_session_store();
                    }
                    let largest = ack.properties.and_then(|properties| properties.max_packet_size);
                    Event::Connected { session: ack.session_present, largest }
                }
                Packet::Publish(publish) => {
                    let properties = publish.properties.unwrap_or_default();
                    Event::Message(Message {
                        topic: publish.topic,
                        payload: publish.payload,
                        qos: publish.qos as u8,
                        packet: publish.pkid,
                        again: publish.dup,
                        retain: publish.retain,
                        content_type: properties.content_type,
                        properties: properties.user_properties,
                        beyond: None,
                    })
                }
                Packet::PubAck(_) | Packet::PubComp(_) => Event::Acknowledged,
                Packet::PubRel(release) => Event::Released(release.pkid),
                _ => Event::Other,
            })
        })
    }
}

fn lost(why: ConnectionError) -> Lost {
    match why {
        ConnectionError::RequestsDone => Lost { over: true, ..Lost::because("it was ended") },
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => Lost { taken_over: true, ..Lost::because("another client has come by the same `client_id`") },
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            Lost::because(format!("the broker has ended the connection ({reason_code:?})"))
        }
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
        ) => Lost::because("the broker does not let us in; look at `user`, `password` and its rules"),
        ConnectionError::ConnectionRefused(code) => Lost::because(format!("the broker refuses us ({code:?})")),
        ConnectionError::MqttState(StateError::ConnectionAborted) => Lost::because("the broker has gone"),
        ConnectionError::MqttState(StateError::AwaitPingResp) => Lost::because("the broker does not answer any more"),
        ConnectionError::Io(e)
        | ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(rumqttc::Error::Io(e))) => {
            Lost::because(io_reason(&e))
        }
        ConnectionError::Timeout(_) => Lost::because("the broker does not answer"),
        other => Lost::because(other),
    }
}

struct Hand(AsyncClient);

impl Client for Hand {
    fn acknowledge(&self, packet: u16, qos: u8) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ack = match qos {
                1 => ManualAck::PubAck(PubAck::new(packet, None)),
                _ => ManualAck::PubRec(PubRec::new(packet, None)),
            };
            // Without a client it comes again.
            let _ = self.0.manual_ack(ack).await;
        })
    }

    fn subscribe(&self, filters: Vec<(String, u8)>) -> BoxFuture<'_, Result<Vec<Result<u8, String>>, String>> {
        Box::pin(async move {
            let filters = filters.into_iter().map(|(filter, qos)| {
                SubscribeFilterInput::new(filter, qos_of(qos)).retain_forward_rule(RetainForwardRule::OnNewSubscribe)
            });
            let asked = self.0.subscribe_many_tracked(filters).await.map_err(|e| e.to_string())?;
            let answer = asked.wait_async().await.map_err(|e| e.to_string())?;
            let granted = |code| match code {
                SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                SubscribeReasonCode::NotAuthorized => Err("it is not allowed".to_owned()),
                other => Err(format!("{other:?}")),
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
            let mut options = PublishOptions::new(qos_of(message.qos)).retain(message.retain);
            if message.content_type.is_some() || !message.properties.is_empty() {
                options = options.properties(PublishProperties {
                    content_type: message.content_type,
                    user_properties: message.properties,
                    ..PublishProperties::default()
                });
            }
            let sent = self.0.publish_tracked(message.topic, message.payload, options).await;
            let sent = sent.map_err(|e| NotSent::Refused(e.to_string()))?;
            sent.wait_completion_async().await.map_err(|why| match why {
                PublishNoticeError::Recv
                | PublishNoticeError::SessionReset
                | PublishNoticeError::Qos0NotFlushed
                | PublishNoticeError::BrokerOnlySessionResume => NotSent::Lost,
                PublishNoticeError::V5PubAck(
                    code @ (PubAckReason::QuotaExceeded
                    | PubAckReason::ImplementationSpecificError
                    | PubAckReason::UnspecifiedError),
                ) => NotSent::NotNow(format!("{code:?}")),
                PublishNoticeError::V5PubRec(
                    code @ (PubRecReason::QuotaExceeded
                    | PubRecReason::ImplementationSpecificError
                    | PubRecReason::UnspecifiedError),
                ) => NotSent::NotNow(format!("{code:?}")),
                PublishNoticeError::V5PubAck(code) => NotSent::Refused(format!("{code:?}")),
                PublishNoticeError::V5PubRec(code) => NotSent::Refused(format!("{code:?}")),
                PublishNoticeError::V5PubComp(code) => NotSent::Refused(format!("{code:?}")),
                other => NotSent::Refused(other.to_string()),
            })
        })
    }

    fn disconnect(&self) {
        // Without a client there is nobody to say it to.
        let _ = self.0.try_disconnect_now();
    }
}
