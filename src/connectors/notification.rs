//! What receivers tell people, found in a row: in a notification of alerts as it is, in a transition of an alert as a
//! notification of that one, in any other row as a notification of the row.

use serde_json::{Map, Value, json};

use super::sent::Delivery;
use crate::connector::row_template::{escaped_for_html, escaped_for_slack};

/// Characters of a title that is made of a row.
const TITLE: usize = 200;
/// Alerts that a text tells of; of others it says how many they are.
const TOLD: usize = 20;

/// What is told.
#[derive(Debug, Clone)]
pub(super) struct Notification {
    /// What templates know: the row's fields, those of a notification where the row has none of the name, and `row`.
    pub names: Map<String, Value>,
    /// Whether any alert in it fires.
    pub firing: bool,
    /// The highest.
    pub severity: String,
    /// One line.
    pub title: String,
    /// What is said beside it; may be empty.
    pub body: String,
    /// Those that it is about; at least one.
    pub alerts: Vec<Alert>,
    /// How many alerts it is about that are not in it.
    pub omitted: u64,
    /// Whether the row is a notification, or a transition of an alert.
    pub of_alerts: bool,
}

/// An alert in a notification.
#[derive(Debug, Clone)]
pub(super) struct Alert {
    map: Map<String, Value>,
}

impl Notification {
    /// What the row of a delivery tells; `entry` is the sink's name. The error is why it is not sent.
    pub fn of(delivery: &Delivery, entry: &str) -> Result<Notification, String> {
        let text = delivery.rows.first().map(|row| row.text.as_slice()).unwrap_or_default();
        match serde_json::from_slice(text) {
            Ok(Value::Object(row)) => Ok(Self::of_row(row, entry, &delivery.id())),
            Ok(value) => Ok(Self::of_row(Map::from_iter([("value".to_owned(), value)]), entry, &delivery.id())),
            Err(e) => Err(format!("the row is no JSON that can be read: {e}")),
        }
    }

    /// The same of a row that was read.
    pub fn of_row(row: Map<String, Value>, entry: &str, id: &str) -> Notification {
        let is_one = row.get("alerts").and_then(Value::as_array).is_some_and(|list| list.iter().all(Value::is_object));
        let is_transition = !is_one && row.get("alert").is_some_and(Value::is_string) && row.contains_key("was");
        let made = match (is_one, is_transition) {
            (true, _) => Map::new(),
            (_, true) => of_alert(entry, id, alert_of_transition(&row)),
            _ => of_alert(entry, id, alert_of_row(&row, entry, id)),
        };
        let mut names = made;
        names.extend(row.iter().map(|(name, value)| (name.clone(), value.clone())));
        if !is_one {
            // A field of these names is another thing there.
            for name in ["title", "status", "severity"] {
                let own = names.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
                if !own {
                    names.remove(name);
                }
            }
        }
        let mut notification = Self::read(&names, is_one || is_transition);
        let told = [
            ("title", json!(notification.title)),
            ("status", json!(if notification.firing { "firing" } else { "resolved" })),
            ("severity", json!(notification.severity)),
        ];
        for (name, value) in told {
            names.entry(name).or_insert(value);
        }
        names.entry("details").or_insert_with(|| json!(notification.details(Style::Plain)));
        names.entry("row").or_insert(Value::Object(row));
        notification.names = names;
        notification
    }

    fn read(names: &Map<String, Value>, of_alerts: bool) -> Notification {
        let list = names.get("alerts").and_then(Value::as_array).into_iter().flatten();
        let alerts: Vec<Alert> = list.filter_map(|alert| Some(Alert { map: alert.as_object()?.clone() })).collect();
        let firing = match names.get("status").and_then(Value::as_str) {
            Some(status @ ("firing" | "resolved")) if of_alerts => status == "firing",
            _ => alerts.iter().any(Alert::firing),
        };
        let first = |name: &str| {
            let own = text_of(names, name);
            // Of several alerts each has its own.
            match alerts.as_slice() {
                [only] if own.is_empty() => text_of(&only.map, name),
                _ => own,
            }
        };
        let (title, body, severity) = (first("title"), first("body"), first("severity"));
        let title =
            if title.is_empty() { alerts.first().map_or_else(String::new, Alert::name) } else { title.to_owned() };
        Notification {
            names: Map::new(),
            firing,
            severity: severity.to_owned(),
            title,
            body: body.to_owned(),
            omitted: names.get("omitted").and_then(Value::as_u64).unwrap_or(0),
            alerts,
            of_alerts,
        }
    }

    /// A notification of one of its alerts alone.
    pub fn about(&self, alert: &Alert) -> Notification {
        let mut names = self.names.clone();
        names.extend([
            ("status".to_owned(), json!(if alert.firing() { "firing" } else { "resolved" })),
            ("title".to_owned(), json!(if alert.title().is_empty() { self.title.as_str() } else { alert.title() })),
            ("body".to_owned(), json!(alert.body())),
            ("severity".to_owned(), json!(alert.severity())),
            ("firing".to_owned(), json!(usize::from(alert.firing()))),
            ("resolved".to_owned(), json!(usize::from(!alert.firing()))),
            ("omitted".to_owned(), json!(0)),
            ("alerts".to_owned(), json!([alert.map])),
        ]);
        let mut about = Self::read(&names, self.of_alerts);
        names.insert("details".to_owned(), json!(about.details(Style::Plain)));
        about.names = names;
        about
    }

    /// How bad it is, for the eye: a row of which nothing is known is no alarm.
    pub fn level(&self) -> Level {
        if self.of_alerts || !self.severity.is_empty() { Level::of(&self.severity) } else { Level::Info }
    }

    /// A text among its names.
    pub fn text(&self, name: &str) -> &str {
        text_of(&self.names, name)
    }

    /// The title, of alerts with the state before it: `[FIRING:3] Too hot`.
    pub fn headline(&self) -> String {
        if !self.of_alerts {
            return self.title.clone();
        }
        let (state, fires) = if self.firing { ("FIRING", true) } else { ("RESOLVED", false) };
        let count = self.alerts.iter().filter(|alert| alert.firing() == fires).count() as u64 + self.omitted;
        match count {
            0 | 1 => format!("[{state}] {}", self.title),
            several => format!("[{state}:{several}] {}", self.title),
        }
    }

    /// What there is to know beside the title.
    pub fn details(&self, style: Style) -> String {
        let mut parts = Vec::new();
        let only = self.alerts.len() == 1;
        if !self.body.is_empty() {
            parts.push(style.plain(&self.body));
        }
        for alert in self.alerts.iter().take(TOLD) {
            let mut lines = Vec::new();
            if !only {
                let state = if alert.firing() { "firing" } else { "resolved" };
                lines.push(style.strong(&format!("{} ({state})", alert.headline())));
                if !alert.body().is_empty() && alert.body() != self.body {
                    lines.push(style.plain(alert.body()));
                }
            }
            let facts = alert.facts();
            let facts = facts.iter().filter(|(name, _)| self.of_alerts || name != "State");
            lines.extend(facts.map(|(name, value)| style.fact(name, value)));
            lines.extend(alert.links().iter().map(|(name, url)| style.link(name, url)));
            parts.push(lines.join(style.line_end()));
        }
        let more = self.omitted + (self.alerts.len().saturating_sub(TOLD)) as u64;
        if more > 0 {
            parts.push(format!("… and {more} more"));
        }
        parts.join(style.part_end())
    }
}

impl Alert {
    /// What it is called.
    pub fn name(&self) -> String {
        text_of(&self.map, "alert").to_owned()
    }

    /// Whether it fires; otherwise it is resolved.
    pub fn firing(&self) -> bool {
        !matches!(text_of(&self.map, "state"), "resolved" | "inactive")
    }

    /// How bad it is; may be empty.
    pub fn severity(&self) -> &str {
        text_of(&self.map, "severity")
    }

    /// One line; may be empty.
    pub fn title(&self) -> &str {
        text_of(&self.map, "title")
    }

    /// What is said beside it; may be empty.
    pub fn body(&self) -> &str {
        text_of(&self.map, "body")
    }

    /// The title, or the name.
    pub fn headline(&self) -> String {
        if self.title().is_empty() { self.name() } else { self.title().to_owned() }
    }

    /// A text that it has, such as a time; nothing if it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        Some(text_of(&self.map, name)).filter(|text| !text.is_empty())
    }

    /// When it began: it fired then, or what led to it began.
    pub fn began(&self) -> Option<&str> {
        self.text("fired_at").or_else(|| self.text("since")).or_else(|| self.text("at"))
    }

    /// When it ended, if it did.
    pub fn ended(&self) -> Option<&str> {
        let at = || self.text("resolved_at").or_else(|| self.text("at"));
        if self.firing() { None } else { at() }
    }

    /// The same for the same alert and key, and no other's.
    pub fn fingerprint(&self) -> &str {
        text_of(&self.map, "fingerprint")
    }

    /// Texts by which it is known.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.pairs("labels")
    }

    /// The fields of its key.
    pub fn key(&self) -> Vec<(String, String)> {
        self.pairs("key")
    }

    /// What was judged, as it is.
    pub fn values(&self) -> Map<String, Value> {
        self.map.get("values").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Where more is to be seen: a name and an address.
    pub fn links(&self) -> Vec<(String, String)> {
        let mut links = self.pairs("links");
        links.retain(|(_, url)| url.starts_with("https://") || url.starts_with("http://"));
        links
    }

    fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let map = self.map.get(name).and_then(Value::as_object).into_iter().flatten();
        map.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), shown(value))).collect()
    }

    /// What there is to know of it, for people: a name and a text each.
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![("State".to_owned(), self.state())];
        let mut add = |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_owned(), value)));
        add("Severity", self.text("severity").map(str::to_owned));
        let key = self.key();
        for (name, value) in &key {
            add(name, Some(value.clone()));
        }
        let known = |name: &str| ["alertname", "severity"].contains(&name) || key.iter().any(|(own, _)| own == name);
        let labels = self.labels();
        for (name, value) in labels.iter().filter(|(name, _)| !known(name)) {
            add(name, Some(value.clone()));
        }
        add(
            "Reason",
            self.text("reason").filter(|reason| !["when", "new", "clear"].contains(reason)).map(str::to_owned),
        );
        add("Condition", self.text("condition").map(str::to_owned));
        let window = self.text("window_start").zip(self.text("window_end"));
        add("Window", window.map(|(start, end)| format!("{start} – {end}")));
        let said = |name: &str| labels.iter().chain(&key).any(|(own, _)| own == name);
        let judged = |name: &str| !said(name) && !["window_start", "window_end"].contains(&name);
        let values: Vec<String> = (self.pairs("values").into_iter())
            .filter(|(name, _)| judged(name))
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        add("Values", (!values.is_empty()).then(|| values.join(", ")));
        add("Acknowledged by", self.text("acknowledged_by").map(str::to_owned));
        facts
    }

    fn state(&self) -> String {
        let state = self.text("state").unwrap_or("firing");
        match (self.firing(), self.began(), self.ended()) {
            (true, Some(since), _) => format!("{state} since {since}"),
            (false, Some(since), Some(at)) if since != at => format!("{state} at {at}, fired at {since}"),
            (false, _, Some(at)) => format!("{state} at {at}"),
            _ => state.to_owned(),
        }
    }
}

/// How texts are marked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Not.
    Plain,
    /// As Slack reads it.
    Slack,
    /// HTML.
    Html,
}

impl Style {
    fn plain(self, text: &str) -> String {
        match self {
            Style::Plain => text.to_owned(),
            Style::Slack => escaped_for_slack(text),
            Style::Html => escaped_for_html(text).replace('\n', "<br>\n"),
        }
    }

    fn strong(self, text: &str) -> String {
        let plain = self.plain(text);
        match self {
            Style::Plain => plain,
            Style::Slack => format!("*{}*", plain.replace('*', "∗")),
            Style::Html => format!("<strong>{plain}</strong>"),
        }
    }

    fn fact(self, name: &str, value: &str) -> String {
        match self {
            Style::Plain => format!("{name}: {value}"),
            _ => format!("{} {}", self.strong(&format!("{name}:")), self.plain(value)),
        }
    }

    fn link(self, name: &str, url: &str) -> String {
        match self {
            Style::Plain => format!("{name}: {url}"),
            Style::Slack => {
                format!("<{}|{}>", escaped_for_slack(url).replace('|', "%7C"), self.plain(name).replace('|', "¦"))
            }
            Style::Html => format!("<a href=\"{}\">{}</a>", escaped_for_html(url), self.plain(name)),
        }
    }

    fn line_end(self) -> &'static str {
        if self == Style::Html { "<br>\n" } else { "\n" }
    }

    fn part_end(self) -> &'static str {
        if self == Style::Html { "<br>\n<br>\n" } else { "\n\n" }
    }
}

/// The fields of a notification of one alert.
fn of_alert(entry: &str, id: &str, alert: Map<String, Value>) -> Map<String, Value> {
    let one = Alert { map: alert };
    let firing = one.firing();
    let mut made = Map::new();
    let mut put = |name: &str, value: Value| made.insert(name.to_owned(), value);
    put("notification", json!(id));
    put("receiver", json!(entry));
    put("status", json!(if firing { "firing" } else { "resolved" }));
    put("severity", json!(one.severity()));
    put("title", json!(one.headline()));
    put("body", json!(one.body()));
    put("group", json!({}));
    put("group_key", json!(one.fingerprint()));
    put("firing", json!(usize::from(firing)));
    put("resolved", json!(usize::from(!firing)));
    put("omitted", json!(0));
    put("alerts", json!([one.map]));
    made
}

/// Fields of a transition that its alert has under the same names.
const OF_TRANSITION: [&str; 11] =
    ["alert", "state", "severity", "reason", "at", "since", "fired_at", "title", "body", "labels", "values"];

fn alert_of_transition(row: &Map<String, Value>) -> Map<String, Value> {
    let mut alert: Map<String, Value> =
        OF_TRANSITION.iter().filter_map(|name| Some(((*name).to_owned(), row.get(*name)?.clone()))).collect();
    let apart = |name: &str| OF_TRANSITION.contains(&name) || ["was", "number"].contains(&name);
    let key: Map<String, Value> =
        row.iter().filter(|(name, _)| !apart(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    let what = format!("{}\0{}", text_of(row, "alert"), Value::Object(key.clone()));
    let hash = crate::data::hash::row_id(0, what.as_bytes()) as u64;
    alert.insert("fingerprint".to_owned(), json!(format!("{hash:016x}")));
    if text_of(row, "state") == "resolved" {
        alert.insert("resolved_at".to_owned(), row.get("at").cloned().unwrap_or_default());
    }
    alert.insert("key".to_owned(), Value::Object(key));
    alert
}

fn alert_of_row(row: &Map<String, Value>, entry: &str, id: &str) -> Map<String, Value> {
    let own = |names: &[&str]| names.iter().map(|name| text_of(row, name)).find(|text| !text.is_empty());
    let name = own(&["alertname", "alert"]).unwrap_or(entry);
    let resolved = own(&["status", "state"]) == Some("resolved");
    let fields: Vec<String> = row.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
    let title = own(&["title", "summary", "message", "msg"]).map(str::to_owned);
    let title = title.unwrap_or_else(|| cut(&format!("{entry}: {}", fields.join(", ")), TITLE));
    // Texts tell rows apart; numbers are what was measured.
    let mut labels = Map::from_iter([("alertname".to_owned(), json!(name))]);
    let told = ["title", "summary", "message", "msg", "body", "status", "state", "alert", "at"];
    let is_label = |name: &str, value: &Value| (value.is_string() || value.is_boolean()) && !told.contains(&name);
    for (name, value) in row.iter().filter(|(name, value)| is_label(name, value)) {
        if !name.starts_with("window_") {
            labels.insert(name.clone(), json!(shown(value)));
        }
    }
    let mut alert = Map::new();
    let mut put = |name: &str, value: Value| alert.insert(name.to_owned(), value);
    put("alert", json!(name));
    put("state", json!(if resolved { "resolved" } else { "firing" }));
    put("severity", json!(own(&["severity", "level"]).unwrap_or_default()));
    put("title", json!(title));
    put("body", json!(own(&["body"]).unwrap_or_default()));
    put("labels", Value::Object(labels));
    for name in ["at", "window_start", "window_end"] {
        put(name, row.get(name).cloned().unwrap_or_default());
    }
    put("values", Value::Object(row.clone()));
    put("fingerprint", json!(id.get(..16).unwrap_or(id)));
    alert
}

fn text_of<'a>(map: &'a Map<String, Value>, name: &str) -> &'a str {
    map.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A value as people read it: three digits behind the point do.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() && (1e-3..1e15).contains(&f.abs()) => {
                let rounded = format!("{f:.3}");
                rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

/// At most so many characters of a text; the last says that there were more.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// How bad something is, of what receivers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Somebody has to get up.
    Critical,
    /// Something does not work; what nobody has said otherwise of.
    Error,
    /// Something may not work soon.
    Warning,
    /// Good to know.
    Info,
}

impl Level {
    /// What a severity means, whoever wrote it.
    pub fn of(severity: &str) -> Level {
        match severity.to_ascii_lowercase().as_str() {
            "critical" | "crit" | "fatal" | "emergency" | "alert" | "disaster" | "page" | "p1" | "sev1" => {
                Level::Critical
            }
            "warning" | "warn" | "minor" | "medium" | "average" | "p3" | "sev3" => Level::Warning,
            "info" | "information" | "informational" | "notice" | "low" | "debug" | "none" | "ok" | "p4" | "p5" => {
                Level::Info
            }
            _ => Level::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(row: Value) -> Notification {
        Notification::of_row(row.as_object().unwrap().clone(), "ops", "0123456789abcdef0123456789abcdef")
    }

    #[test]
    fn any_row_is_a_notification() {
        let told = of(json!({"device": "a", "n": 1, "status": "ok", "severity": 3, "x": null}));
        assert_eq!(
            (told.firing, told.of_alerts, told.headline()),
            (true, false, "ops: device=a, n=1, status=ok, severity=3, x=null".to_owned())
        );
        // What the row has is what templates read; what it has not is there.
        assert_eq!((told.text("status"), told.names["severity"].clone()), ("ok", json!("")));
        assert_eq!((told.names["n"].clone(), told.text("group_key")), (json!(1), "0123456789abcdef"));
        assert_eq!(told.names["row"]["severity"], 3);
        assert_eq!(
            told.alerts[0].labels(),
            [("alertname".to_owned(), "ops".to_owned()), ("device".to_owned(), "a".to_owned())]
        );
        assert_eq!(told.details(Style::Plain), "device: a\nValues: n = 1, status = ok, severity = 3");
        assert!(!of(json!({"status": "resolved"})).firing);
        // What looks like a notification and is none.
        for odd in [json!({"alerts": 3}), json!({"alerts": [1]}), json!({"alert": "x", "state": "firing"}), json!({})] {
            let told = of(odd.clone());
            assert!(!told.of_alerts && told.alerts.len() <= 1, "{odd}");
            told.details(Style::Html);
        }
        assert_eq!(of(json!({"alerts": []})).details(Style::Slack), "");
    }

    #[test]
    fn one_of_several_alerts_is_told_of_alone() {
        let alert =
            |name: &str, state: &str| json!({"alert": name, "state": state, "severity": "warning", "title": name});
        let told = of(
            json!({"title": "two", "severity": "critical", "omitted": 2, "alerts": [alert("a", "firing"), alert("b", "resolved")]}),
        );
        assert_eq!((told.headline().as_str(), told.severity.as_str()), ("[FIRING:3] two", "critical"));
        let one = told.about(&told.alerts[1]);
        assert_eq!((one.headline().as_str(), one.severity.as_str()), ("[RESOLVED] b", "warning"));
        assert_eq!((one.text("title"), one.names["firing"].clone(), one.omitted), ("b", json!(0), 0));
    }

    #[test]
    fn values_are_shown_as_people_read_them() {
        for (value, wanted) in [
            (json!(31.260_000_1), "31.26"),
            (json!(21.0), "21"),
            (json!(0.000_012), "0.000012"),
            (json!(-0.5), "-0.5"),
            (json!(7), "7"),
            (json!("x"), "x"),
            (json!([1, "a"]), "[1,\"a\"]"),
        ] {
            assert_eq!(shown(&value), wanted);
        }
        assert_eq!((cut("äöü", 3), cut("äöüß", 3)), ("äöü".to_owned(), "äö…".to_owned()));
        assert_eq!(
            [Level::of("CRIT"), Level::of("odd"), Level::of("info")],
            [Level::Critical, Level::Error, Level::Info]
        );
    }
}
