//! Settings made ready: each alert with its receivers and what depends on when the run began.

use std::sync::Arc;

use super::Settings;
use super::mute::muted_until;
use super::settings::AlertPolicy;
use crate::base::time::{TimeSpan, Timestamp};

/// Groups of several keys are told at most this often: each time all of the group is looked at.
const LEAST_INTERVAL: TimeSpan = TimeSpan::seconds(1);
const MINUTE: i64 = 60_000_000;

/// An alert.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) name: Arc<str>,
    pub(super) policy: AlertPolicy,
    pub(super) targets: Vec<Target>,
    /// Until when what fires is gathered.
    pub(super) grace: Timestamp,
    /// What was found out of mute times last: of which minute, and until when it is muted.
    muted: Option<(i64, Option<Timestamp>)>,
}

/// A receiver of an alert, with all routes that lead to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) receiver: usize,
    routes: Vec<(Vec<String>, bool)>,
}

impl Target {
    fn routes<'a>(&'a self, severity: &'a str) -> impl Iterator<Item = bool> + 'a {
        let takes = move |severities: &[String]| severities.is_empty() || severities.iter().any(|s| s == severity);
        self.routes.iter().filter(move |(severities, _)| takes(severities)).map(|(_, resolved)| *resolved)
    }

    /// Whether it is told of a severity.
    pub(super) fn takes(&self, severity: &str) -> bool {
        self.routes(severity).next().is_some()
    }

    /// Whether it is told that something of this severity is over.
    pub(super) fn resolves(&self, severity: &str) -> bool {
        self.routes(severity).any(|resolved| resolved)
    }
}

impl Alert {
    /// The alerts of a pipeline, by name.
    pub(super) fn all(settings: &Settings, started: Timestamp) -> Vec<Alert> {
        let alerts = settings.alerts.iter().map(|(name, policy)| {
            let mut targets: Vec<Target> = Vec::new();
            for route in policy.notify.iter().filter(|route| route.receiver < settings.receivers.len()) {
                let taken = (route.severities.clone(), route.resolved);
                match targets.iter_mut().find(|target| target.receiver == route.receiver) {
                    Some(target) => target.routes.push(taken),
                    None => targets.push(Target { receiver: route.receiver, routes: vec![taken] }),
                }
            }
            let mut policy = policy.clone();
            if policy.group_by.is_some() {
                policy.group_interval = policy.group_interval.max(LEAST_INTERVAL);
            }
            let grace = started.plus(policy.startup_grace);
            Alert::of(name.as_str().into(), policy, targets, grace)
        });
        alerts.collect()
    }

    /// An alert that tells these targets.
    pub(super) fn of(name: Arc<str>, policy: AlertPolicy, targets: Vec<Target>, grace: Timestamp) -> Alert {
        Alert { name, policy, targets, grace, muted: None }
    }

    /// Targets that are told of everything.
    pub(super) fn everything(receivers: &[usize]) -> Vec<Target> {
        receivers.iter().map(|receiver| Target { receiver: *receiver, routes: vec![(Vec::new(), true)] }).collect()
    }

    /// Until when it is muted, if it is. Clocks of zones show full minutes where those of UTC do, so one answer holds for a
    /// minute.
    pub(super) fn muted(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.policy.mute.is_empty() {
            return None;
        }
        let minute = now.0.div_euclid(MINUTE);
        match self.muted {
            Some((_, Some(until))) if now < until && self.muted.is_some_and(|(m, _)| m <= minute) => Some(until),
            Some((known, None)) if known == minute => None,
            _ => {
                let until = muted_until(&self.policy.mute, now);
                self.muted = Some((minute, until));
                until
            }
        }
    }

    /// How high a severity is.
    pub(super) fn rank(&self, severity: &str) -> usize {
        self.policy.rank(severity)
    }
}
