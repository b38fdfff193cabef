//! Source `mqtt`: takes messages from a broker, and acknowledges them when they are durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::journalled::{journalled_telling, notes};
use super::live::Running;
use super::mqtt_known::{Kept, session_of};
use super::mqtt_options::{Version, bad_filter, mqtt_options};
use super::mqtt_session::{Session, hold_on};
use super::tls::ClientTls;
use super::written::{Duration, Names, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::JOURNAL_COVERED_BYTES;
use crate::base::promise::Replay;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector, SourceError,
};
use crate::store::journal::Journal;

/// The largest message that may be allowed: with others it has to fit into what a journal takes at once.
const MOST_MESSAGE: u64 = 16 << 20;
/// How long a broker keeps the session while nobody is there, where the options do not say.
const SESSION_EXPIRY: TimeSpan = TimeSpan::seconds(86_400);
/// Messages that are on their way at once, where the options do not say.
const RECEIVE_MAXIMUM: u16 = 1_024;

/// The source `mqtt`.
pub struct MqttSource;

mqtt_options! {
    /// Takes messages from an MQTT broker. A message of QoS 1 or 2 is acknowledged when it is on the disk: what happens to this
    /// program or its machine loses none, and what the broker then brings again counts once. It connects for as long as the
    /// pipeline runs, however often the broker goes. An event can read `meta.topic`, `meta.qos`, `meta.retain` and, in MQTT 5,
    /// `meta.content_type` and `meta.properties` (the user properties: a map of texts; none if they are beyond 256 KiB).
    {
        /// What is subscribed to: `sensors/+/reading` has one level open, `sensors/#` all that follow. Pipelines that name the
        /// same group in `$share/GROUP/sensors/#` share the messages among them.
        pub topics: Names,
        /// The highest quality of service: 0 (may be lost), 1 or 2.
        #[serde(default = "default_qos")]
        #[schemars(range(max = 2))]
        pub qos: u8,
    }
    /// Whether every connection begins anew: what is published while there is none is not seen then.
    #[serde(default)]
    pub clean_start: bool,
    /// MQTT 5: how long the broker keeps what is published while we are not there. 1d if it is not said; in 3.1.1 the broker
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<Duration>,
    /// MQTT 5: messages that are on their way to us at once, unacknowledged. 1,024 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub receive_maximum: Option<u16>,
    /// Bytes of a message with its topic. In MQTT 5 the broker keeps larger ones back; in 3.1.1 they become dead letters, of
    /// which the beginning is kept.
    #[serde(default = "default_message")]
    pub max_message: Size,
}

fn default_qos() -> u8 {
    1
}

fn default_message() -> Size {
    Size(4 << 20)
}

impl Options {
    fn check_topics(&self, node: &Node, found: &mut Diagnostics) {
        let place = Some(node.get("topics").unwrap_or(node).span.clone());
        let wrong = |message: String| Diagnostic::error("bad-topic", message, place.clone());
        if self.topics.0.is_empty() {
            found.push(wrong("nothing is subscribed to".into()).help("write for example `topics: [sensors/#]`"));
        }
        for (at, filter) in self.topics.0.iter().enumerate() {
            if let Some(why) = bad_filter(filter) {
                found.push(wrong(why).help("write for example `sensors/+/reading` or `sensors/#`"));
            } else if self.topics.0.iter().take(at).any(|before| before == filter) {
                found.push(wrong(format!("`{filter}` is there twice")).help("write it once"));
            }
        }
    }
}

impl SourceConnector for MqttSource {
    const NAME: &'static str = "mqtt";
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, None).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        options.way().check(node, found);
        options.check_topics(node, found);
        let mut wrong = |key: &str, message: &str, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-mqtt", message, place).help(help));
        };
        if options.qos > 2 {
            wrong("qos", "a QoS is 0, 1 or 2", "write for example `qos: 1`");
        }
        if options.max_message.0 < 128 || options.max_message.0 > MOST_MESSAGE {
            wrong("max_message", "a message has between 128 bytes and 16 MiB", "write for example `max_message: 1MB`");
        }
        if options.receive_maximum == Some(0) {
            wrong("receive_maximum", "no message could be on its way", "leave `receive_maximum` out");
        }
        let old = options.version == Version::V311;
        if old && options.receive_maximum.is_some() {
            wrong(
                "receive_maximum",
                "MQTT 3.1.1 has no `receive_maximum`",
                "leave it out; the broker has such a limit",
            );
        }
        if let Some(expiry) = options.session_expiry {
            if old {
                wrong("session_expiry", "in MQTT 3.1.1 the broker decides this", "leave `session_expiry` out");
            } else if options.clean_start {
                wrong("session_expiry", "with `clean_start` no session is kept", "leave one of the two out");
            } else if expiry.0 < TimeSpan::seconds(1) {
                wrong("session_expiry", "a session is kept for 1s at least", "write for example `session_expiry: 1h`");
            }
        }
    }

    fn bounded(_: &Options) -> bool {
        false
    }

    fn replay(options: &Options) -> Replay {
        if options.qos == 0 { Replay::Taken } else { Replay::Journal }
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |message: String| SourceError { message };
        let mut broker = options.way().broker(&context).map_err(failed)?;
        let v5 = options.version == Version::V5;
        broker.clean = options.clean_start;
        broker.session_expiry = match options.clean_start {
            true => 0,
            false => {
                let expiry = options.session_expiry.map_or(SESSION_EXPIRY, |expiry| expiry.0);
                u32::try_from(expiry.to_std().as_secs()).unwrap_or(u32::MAX)
            }
        };
        broker.receive_maximum = v5.then(|| options.receive_maximum.unwrap_or(RECEIVE_MAXIMUM));
        broker.max_message = u32::try_from(options.max_message.0).unwrap_or(u32::MAX);
        let id = session_of(&options.url, &broker.client_id);
        let journal = Journal::shared(&context.journal).map_err(|e| failed(e.message().to_owned()))?;
        let mut kept = Kept::open(&context.journal, &context.name, id);
        for note in notes(&journal, &context.name)? {
            kept.note(&note);
        }
        // What a checkpoint covers already goes as soon as another source lets it.
        kept.store().map_err(failed)?;
        let kept = Arc::new(Mutex::new(kept));
        let told = Arc::clone(&kept);
        let note = move |note: &[u8]| told.lock().unwrap_or_else(PoisonError::into_inner).note(note);
        let (producer, mut partition) = journalled_telling(&journal, &context.name, Arc::new(note))?;
        let filters: BTreeMap<String, u8> = options.topics.0.iter().map(|t| (t.clone(), options.qos)).collect();
        let session = Session {
            name: context.name,
            id,
            broker,
            filters,
            wanted: context.meta,
            producer,
            link: partition.link.clone(),
            kept: Arc::clone(&kept),
        };
        let (start, link) = (partition.start.clone(), partition.link.clone());
        let open = move |place: &Place| {
            let source = (partition.open)(place)?;
            let running = hold_on(session.clone()).map_err(failed)?;
            let (journal, kept) = (Arc::clone(&journal), Arc::clone(&kept));
            Ok(Box::new(Reader { source, journal, kept, _running: running }) as Box<dyn Source>)
        };
        Ok(vec![Partition { name: String::new(), start, open: Box::new(open), link }].into())
    }
}

/// What is read of the journal, while somebody brings to it.
struct Reader {
    source: Box<dyn Source>,
    journal: Arc<Journal>,
    kept: Arc<Mutex<Kept>>,
    _running: Running,
}

impl Source for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        self.source.next()
    }

    fn committed(&mut self, place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        // What the journal says of messages goes with what is covered, so that it is stored first. Nothing is said to be
        // covered while too little is for files to go: another source's checkpoint could remove them.
        if self.journal.bytes() <= JOURNAL_COVERED_BYTES {
            return Box::pin(std::future::ready(Ok(())));
        }
        let stored = self.kept.lock().unwrap_or_else(PoisonError::into_inner).store();
        match stored {
            Ok(()) => self.source.committed(place),
            Err(message) => Box::pin(std::future::ready(Err(SourceError { message }))),
        }
    }
}
