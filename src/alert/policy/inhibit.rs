//! Which firing alerts keep which others from being told.

use std::collections::{BTreeMap, BTreeSet};

use super::alerts::Alert;
use super::instance::{Fingerprint, Instance};
use super::settings::Inhibit;

/// What fires and inhibits: how high its severity is, and which it is.
type Source = (usize, Fingerprint);

/// Each rule with what fires on both of its sides, by the values that must be equal.
#[derive(Debug, Default)]
pub(super) struct Inhibitions {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// The alert that is inhibited, and the place of the rule in it.
    target: usize,
    place: usize,
    source: usize,
    sources: BTreeMap<String, BTreeSet<Source>>,
    targets: BTreeMap<String, BTreeSet<Fingerprint>>,
}

impl Rule {
    fn written<'a>(&self, alerts: &'a [Alert]) -> Option<&'a Inhibit> {
        alerts.get(self.target)?.policy.inhibited_by.get(self.place)
    }

    /// An alert inhibits itself only at a higher severity: two of its keys must not silence each other.
    fn wants_higher(&self) -> bool {
        self.source == self.target
    }

    /// What of these sources inhibits something of this severity.
    fn found(&self, sources: &BTreeSet<Source>, rank: usize, who: Fingerprint) -> Option<Fingerprint> {
        let inhibits = |source: &&Source| source.1 != who && (!self.wants_higher() || source.0 > rank);
        // All of the alert itself that are higher stand last; of others only one can be `who`.
        sources.iter().rev().take(2).find(inhibits).map(|(_, source)| *source)
    }
}

impl Inhibitions {
    /// The rules of these alerts; those that name an alert which is not there never hold.
    pub(super) fn new(alerts: &[Alert]) -> Self {
        let mut rules = Vec::new();
        for (target, alert) in alerts.iter().enumerate() {
            for (place, rule) in alert.policy.inhibited_by.iter().enumerate() {
                let named = |name: &String| alerts.iter().position(|alert| *alert.name == **name);
                let source = rule.alert.as_ref().map_or(Some(target), named);
                let (sources, targets) = Default::default();
                rules.extend(source.map(|source| Rule { target, place, source, sources, targets }));
            }
        }
        Inhibitions { rules }
    }

    /// An instance that fires is known to all rules that it has a part in.
    pub(super) fn add(&mut self, alerts: &[Alert], who: Fingerprint, instance: &Instance) {
        for rule in &mut self.rules {
            let Some(written) = rule.written(alerts) else { continue };
            if rule.target == instance.alert {
                rule.targets.entry(instance.joined(&written.equal)).or_default().insert(who);
            }
            if rule.source == instance.alert && is_source(written, instance) {
                let rank = alerts.get(rule.source).map_or(0, |alert| alert.rank(&instance.told.severity));
                rule.sources.entry(instance.joined(&written.equal)).or_default().insert((rank, who));
            }
        }
    }

    /// It fires no more, or is about to be another one. Those that may be told of now are added to `freed`.
    pub(super) fn remove(
        &mut self,
        alerts: &[Alert],
        who: Fingerprint,
        instance: &Instance,
        freed: &mut BTreeSet<Fingerprint>,
    ) {
        for rule in &mut self.rules {
            let Some(written) = rule.written(alerts) else { continue };
            if rule.target == instance.alert {
                let equal = instance.joined(&written.equal);
                if let Some(targets) = rule.targets.get_mut(&equal) {
                    targets.remove(&who);
                    if targets.is_empty() {
                        rule.targets.remove(&equal);
                    }
                }
            }
            if rule.source != instance.alert || !is_source(written, instance) {
                continue;
            }
            let equal = instance.joined(&written.equal);
            let rank = alerts.get(rule.source).map_or(0, |alert| alert.rank(&instance.told.severity));
            let wants_higher = rule.wants_higher();
            let Some(sources) = rule.sources.get_mut(&equal) else { continue };
            let highest = sources.last().map_or(0, |(rank, _)| *rank);
            sources.remove(&(rank, who));
            let lower = sources.last().map_or(0, |(rank, _)| *rank) < highest;
            // Else what inhibited still does.
            if (wants_higher && lower) || (!wants_higher && sources.len() < 2) {
                freed.extend(rule.targets.get(&equal).into_iter().flatten());
            }
            if sources.is_empty() {
                rule.sources.remove(&equal);
            }
        }
    }

    /// What inhibits an instance that fires.
    pub(super) fn of(&self, alerts: &[Alert], who: Fingerprint, instance: &Instance) -> Option<Fingerprint> {
        let rules = self.rules.iter().filter(|rule| rule.target == instance.alert);
        let mut found = rules.filter_map(|rule| {
            let sources = rule.sources.get(&instance.joined(&rule.written(alerts)?.equal))?;
            let rank = alerts.get(rule.target)?.rank(&instance.told.severity);
            rule.found(sources, rank, who)
        });
        found.next()
    }
}

fn is_source(rule: &Inhibit, instance: &Instance) -> bool {
    let severity = rule.severities.is_empty() || rule.severities.iter().any(|s| **s == *instance.told.severity);
    severity && rule.matchers.iter().all(|matcher| matcher.holds(|name| instance.label(name)))
}
