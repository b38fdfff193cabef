//! What the author of a pipeline says of its notifications.

use std::collections::BTreeMap;

use super::matcher::Matcher;
use super::mute::MuteTime;
use crate::base::time::TimeSpan;

/// The notification policy of one pipeline.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings {
    /// The pipeline's name, as notifications say it.
    pub pipeline: String,
    /// Who is told, in the order of their numbers.
    pub receivers: Vec<Receiver>,
    /// The alerts by name.
    pub alerts: BTreeMap<String, AlertPolicy>,
}

/// Somebody who is told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Receiver {
    /// The name that state and history know it by: it must stay the same when the pipeline is changed.
    pub name: String,
    /// How many notifications it takes, over all alerts.
    pub rate: Option<Rate>,
}

/// What holds for one alert. The default tells nobody, at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AlertPolicy {
    /// Its severities, the lowest first; what is not in it is below all that are.
    pub severities: Vec<String>,
    /// Who is told of what. A receiver that is named twice is told what either route takes, once.
    pub notify: Vec<Route>,
    /// Labels whose values make a group; what has the same ones is told together. `None`: each key alone. Empty: all keys
    /// together. A group is of one alert: alerts that are grouped by the same labels are told apart nevertheless.
    pub group_by: Option<Vec<String>>,
    /// How long the first of a group waits for others. Holds for a key alone too; zero tells at once.
    pub group_wait: TimeSpan,
    /// The least time between two notifications of one group to one receiver. Holds for a key alone too.
    pub group_interval: TimeSpan,
    /// How long after the last notification what still fires is told again.
    pub repeat_every: Option<TimeSpan>,
    /// What keeps it from being told while something else fires.
    pub inhibited_by: Vec<Inhibit>,
    /// When nobody is told.
    pub mute: Vec<MuteTime>,
    /// How many notifications of it one receiver is sent. What is beyond is told together when there is room again.
    pub rate: Option<Rate>,
    /// For so long after a run begins, what fires is gathered and told as one summary for each receiver.
    pub startup_grace: TimeSpan,
    /// Transitions that are older than this when they come are recorded and not told.
    pub notify_max_age: Option<TimeSpan>,
}

/// One receiver of an alert.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Route {
    /// Its number in [`Settings::receivers`].
    pub receiver: usize,
    /// The severities that it is told of; all, if there are none.
    pub severities: Vec<String>,
    /// Whether it is told that what it was told of is over.
    pub resolved: bool,
}

/// Something whose firing keeps an alert from being told, whether or not it is told itself. Two alerts that inhibit each other
/// are both kept back while both fire.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inhibit {
    /// The alert that does it. `None`, or the alert itself: another of its keys, at a higher severity.
    pub alert: Option<String>,
    /// The severities at which it does it; any, if there are none.
    pub severities: Vec<String>,
    /// What its labels must be.
    pub matchers: Vec<Matcher>,
    /// Labels that both must have the same values of. A label that both lack is the same.
    pub equal: Vec<String>,
}

/// So many within such a time, whenever it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// At least one, and at most [`crate::base::limit::NOTIFICATION_RATE`].
    pub count: u32,
    /// The time.
    pub per: TimeSpan,
}

impl AlertPolicy {
    /// How high a severity is: its place among those of the alert, the lowest being 1.
    pub fn rank(&self, severity: &str) -> usize {
        self.severities.iter().position(|known| known == severity).map_or(0, |at| at + 1)
    }
}
