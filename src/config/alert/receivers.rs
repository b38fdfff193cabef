//! Whom alerts tell: names of `receivers`, and receivers in place. Each becomes a sink of the pipeline, and all alerts
//! together get one entry that tells them ([`Notify`]).

use crate::alert::policy::{AlertPolicy, Receiver, Route, Settings};
use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::tree::{Data, Entry, Node};
use crate::config::context::{Context, Unknown};
use crate::config::graph::{Draft, Family, From, Ports, Reference};
use crate::config::read::{OneOrMany, Read, Text, wrong_type};
use crate::config::sink;
use crate::data::layout::FieldPath;
use crate::plan::alert::{NOTIFIER, Notify};
use crate::plan::{NodeKind, Operator, Sink};

use super::policy::{policy, severities};
use super::{AlertOptions, LatencyWord};

/// Keys beside the kind of a receiver that say what it is told.
const BESIDE: [&str; 2] = ["severities", "resolved"];

/// The list under `notify`, read when the names of receivers are known.
#[derive(Clone, Debug)]
pub struct Receivers(Vec<Node>);

impl Read for Receivers {
    fn read(node: &Node, _: &Span, _: &mut Context<'_>) -> Option<Self> {
        Some(Receivers(match &node.data {
            Data::List(items) => items.clone(),
            _ => vec![node.clone()],
        }))
    }
}

impl schemars::JsonSchema for Receivers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Receivers".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let named = serde_json::json!({
            "type": "object",
            "properties": {
                "receiver": { "type": "string", "description": "The name of a receiver." },
                "severities": { "description": "The severities that it is told of. Default: all." },
                "resolved": { "type": "boolean", "description": "Whether it is told of resolves. Default `true`." },
            },
            "required": ["receiver"],
            "additionalProperties": false,
        });
        let one = serde_json::json!({ "anyOf": [{ "type": "string" }, named, { "$ref": "#/definitions/Receiver" }] });
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// An alert whose receivers are not known yet.
pub struct Waiting {
    /// Its entry.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// Its options.
    pub options: AlertOptions,
}

/// Receivers on their way to sinks of the pipeline.
struct Known<'a> {
    /// Those that have a name of their own, as they are written; the pipeline's come before those that pipelines share.
    written: Vec<&'a Entry>,
    /// Their names in the order of the ports.
    names: Vec<String>,
    drafts: Vec<Draft>,
    taken: Vec<String>,
}

/// Makes sinks of all receivers and the entry that tells them, and adds them to the drafts. `written` is the section
/// `receivers`, and that of the file which pipelines share.
pub fn expand(
    pipeline: &str,
    (own, shared): (&[Entry], &[Entry]),
    alerts: Vec<Waiting>,
    drafts: &mut Vec<Draft>,
    context: &mut Context<'_>,
) {
    let taken = drafts.iter().map(|draft| draft.name.clone()).collect();
    let written = own.iter().chain(shared).collect();
    let mut known = Known { written, names: Vec::new(), drafts: Vec::new(), taken };
    for entry in own {
        if let Some(draft) = drafts.iter().find(|draft| draft.name == entry.key) {
            let message = format!("the name `{}` is taken by a {}", entry.key, draft.family.noun());
            context.error("duplicate-name", message, &entry.key_span).help("give the receiver another name");
        }
    }
    let mut settings = Settings { pipeline: pipeline.to_owned(), ..Settings::default() };
    let mut whole = true;
    for alert in &alerts {
        let routes = known.routes(alert, context);
        match (routes, policy(&alert.options, context)) {
            (Some(notify), Some(policy)) => {
                let keys = AlertPolicy { notify, ..policy };
                settings.alerts.insert(alert.name.clone(), keys);
            }
            _ => whole = false,
        }
    }
    for alert in &alerts {
        inhibitors(alert, &alerts, context);
    }
    let unused: Vec<&Entry> = own.iter().filter(|entry| !known.names.contains(&entry.key)).collect();
    for entry in &unused {
        let message = format!("no alert notifies the receiver `{}`", entry.key);
        context.warning("unused-receiver", message, &entry.key_span).help("name it under `notify`, or take it out");
    }
    let Some(first) = alerts.first() else { return };
    // It is there all the same: an alert that told it and is gone must tell it that it is over.
    for entry in unused {
        whole &= known.add(entry, entry.key.clone(), None, context).is_some();
    }
    if let Some(draft) = drafts.iter().find(|draft| draft.name == NOTIFIER) {
        let message = format!("`{NOTIFIER}` is what tells the receivers of a pipeline's alerts");
        context.error("duplicate-name", message, &draft.span).help("give this entry another name");
        return;
    }
    settings.receivers = known.names.iter().map(|name| Receiver { name: name.clone(), rate: None }).collect();
    let from = alerts.iter().map(|alert| Reference::new(Text { text: alert.name.clone(), span: alert.span.clone() }));
    drafts.push(Draft {
        name: NOTIFIER.to_owned(),
        span: first.span.clone(),
        family: Family::Sink,
        description: None,
        on_error: Default::default(),
        from: From::Written(from.collect()),
        ports: Ports { errors: true, late: false, named: Some(known.names.clone()) },
        kind: whole.then(|| NodeKind::Step(Operator::Notify(Box::new(Notify { settings, virtual_time: false })))),
        named: Vec::new(),
    });
    drafts.append(&mut known.drafts);
}

/// Reports alerts and severities that inhibit an alert and that are none.
fn inhibitors(alert: &Waiting, alerts: &[Waiting], context: &mut Context<'_>) {
    for by in alert.options.inhibited_by.iter().flat_map(|many| &many.0) {
        let source = match &by.alert {
            None => Some(alert),
            Some(name) => alerts.iter().find(|other| other.name == name.text),
        };
        let Some(source) = source else {
            let names: Vec<&str> = alerts.iter().map(|other| other.name.as_str()).collect();
            let what = Unknown { code: "unknown-alert", noun: "alert", place: "", listing: "the alerts are" };
            if let Some(name) = &by.alert {
                context.unknown(&what, &name.text, &name.span, &names, &[]);
            }
            continue;
        };
        let written = by.severities.iter().flat_map(|many| &many.0);
        written.for_each(|text| severity(text, source, context));
    }
}

/// Reports a severity that an alert has not.
fn severity(text: &Text, of: &Waiting, context: &mut Context<'_>) {
    let known = severities(&of.options);
    if !known.contains(&text.text) {
        let place = format!(" of `{}`", of.name);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let what = Unknown { code: "unknown-severity", noun: "severity", place: &place, listing: "it has" };
        context.unknown(&what, &text.text, &text.span, &known, &[]);
    }
}

impl Known<'_> {
    /// Whom an alert tells.
    fn routes(&mut self, alert: &Waiting, context: &mut Context<'_>) -> Option<Vec<Route>> {
        let items = alert.options.notify.as_ref().map_or(&[][..], |receivers| &receivers.0);
        let routes: Vec<Option<Route>> = items.iter().map(|item| self.route(alert, item, context)).collect();
        routes.into_iter().collect()
    }

    fn route(&mut self, alert: &Waiting, item: &Node, context: &mut Context<'_>) -> Option<Route> {
        let (entries, name) = match &item.data {
            Data::Map(entries) => (entries.as_slice(), None),
            Data::Text(_) => (&[][..], Some(Text::read(item, &item.span, context)?)),
            _ => {
                wrong_type(item, "a receiver: a name, or a kind of sink with its options", context);
                return None;
            }
        };
        let beside = |key: &str| entries.iter().find(|entry| entry.key == key);
        let name = match (name, beside("receiver")) {
            (None, Some(named)) => {
                let keys = ["receiver", BESIDE[0], BESIDE[1]];
                let what =
                    Unknown { code: "unknown-key", noun: "key", place: " of a receiver", listing: "the keys here are" };
                for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
                    context.unknown(&what, &entry.key, &entry.key_span, &keys, &[]);
                }
                Some(Text::read(&named.value, &named.key_span, context)?)
            }
            (name, _) => name,
        };
        let severities = match beside("severities") {
            Some(entry) => OneOrMany::<Text>::read(&entry.value, &entry.key_span, context)?.0,
            None => Vec::new(),
        };
        severities.iter().for_each(|text| severity(text, alert, context));
        let resolved = match beside("resolved") {
            Some(entry) => bool::read(&entry.value, &entry.key_span, context)?,
            None => true,
        };
        let receiver = match name {
            Some(name) => self.named(&name, context)?,
            None => self.in_place(alert, item, entries, context)?,
        };
        Some(Route { receiver, severities: severities.into_iter().map(|text| text.text).collect(), resolved })
    }

    /// A receiver of the section `receivers`.
    fn named(&mut self, name: &Text, context: &mut Context<'_>) -> Option<usize> {
        if let Some(at) = self.names.iter().position(|known| *known == name.text) {
            return Some(at);
        }
        let Some(entry) = self.written.iter().copied().find(|entry| entry.key == name.text) else {
            let names: Vec<&str> = self.written.iter().map(|entry| entry.key.as_str()).collect();
            let what = Unknown { code: "unknown-receiver", noun: "receiver", place: "", listing: "the receivers are" };
            if names.is_empty() || nearest(&name.text, names.iter().copied()).is_none() && names.is_empty() {
                let report =
                    context.error("unknown-receiver", format!("there is no receiver `{}`", name.text), &name.span);
                report.help("name it under `receivers:`, or write it in place: `webhook: { url: … }`");
            } else {
                context.unknown(&what, &name.text, &name.span, &names, &[]);
            }
            return None;
        };
        self.add(entry, entry.key.clone(), None, context)
    }

    /// A receiver that is written where it is used.
    fn in_place(
        &mut self,
        alert: &Waiting,
        item: &Node,
        entries: &[Entry],
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let kept: Vec<Entry> = entries.iter().filter(|entry| !BESIDE.contains(&entry.key.as_str())).cloned().collect();
        let kind = kept.iter().find(|entry| !sink::SHARED.contains(&entry.key.as_str()));
        let word = kind.map_or("receiver", |entry| entry.key.as_str()).to_owned();
        let key_span = kind.map_or(&item.span, |entry| &entry.key_span).clone();
        let base = format!("{}_{word}", alert.name);
        let free = |name: &String| !self.taken.contains(name) && !self.names.contains(name);
        let name = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}_{n}"))).find(free)?;
        let entry = Entry { key: name.clone(), key_span, value: Node { data: Data::Map(kept), ..item.clone() } };
        let latency = alert.options.latency;
        self.add(&entry, name, latency, context)
    }

    /// Makes a sink of a receiver: the number of its port.
    fn add(
        &mut self,
        entry: &Entry,
        name: String,
        latency: Option<LatencyWord>,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        if self.names.contains(&name) {
            return self.names.iter().position(|known| *known == name);
        }
        let number = self.names.len();
        self.names.push(name.clone());
        context.named.clear();
        let word = match latency {
            Some(LatencyWord::Immediate) => "immediate",
            Some(LatencyWord::Exact) | None => "exact",
        };
        let mut draft = sink::read_as(entry, Some(word), context);
        let port = Text { text: format!("{NOTIFIER}.{name}"), span: entry.key_span.clone() };
        draft.from = From::Written(vec![Reference::new(port)]);
        draft.named = Vec::new();
        context.named.clear();
        let told_apart = context.intern(FieldPath::event(["notification"]), &entry.key_span)?;
        if let Some(NodeKind::Sink(Sink { told_apart: place, .. })) = &mut draft.kind {
            *place = Some(told_apart);
        }
        context.named.clear();
        let whole = draft.kind.is_some();
        self.drafts.push(draft);
        whole.then_some(number)
    }
}
