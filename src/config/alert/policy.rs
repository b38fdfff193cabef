//! When and how often receivers are told.

use crate::alert::policy::{AlertPolicy, Inhibit, Matcher, MuteTime, Rate};
use crate::base::time::TimeSpan;
use crate::config::context::Context;
use crate::config::number::Count;
use crate::config::read::{Duration, OneOrMany, Text, keys};

use super::AlertOptions;

keys! {
    /// What keeps an alert from being told while it fires.
    pub struct Inhibition as "inhibited_by" {
        /// Another alert of the pipeline. Default: this one, with a higher severity.
        alert: Option<Text>,
        /// Only with one of these severities.
        severities: Option<OneOrMany<Text>>,
        /// Only with these labels: `site=berlin`, `device=~"a.*"`, `team!=x`.
        matchers: Option<OneOrMany<Text>>,
        /// Only where these labels are the same in both.
        equal: Option<OneOrMany<Text>>,
    }
    later []
}

keys! {
    /// Times that come again: those clock times on those days that are all of what is written.
    pub struct Mute as "mute" {
        /// Days of the week: `sat`, `mon-fri`.
        days: Option<OneOrMany<Text>>,
        /// Days of the month: `1`, `24-26`, `-1` for the last.
        dates: Option<OneOrMany<Text>>,
        /// Months: `december`, `jul-aug`.
        months: Option<OneOrMany<Text>>,
        /// Times of day, over midnight too: `22:00-06:00`.
        times: Option<OneOrMany<Text>>,
        /// The IANA zone of all that. Default `UTC`.
        zone: Option<Text>,
    }
    later []
}

keys! {
    /// How many in how long.
    pub struct RateOptions as "rate" {
        /// Notifications.
        count: Count,
        /// In how long.
        per: Duration,
    }
    later []
}

/// How old a transition may be that is told, where the author does not say.
const MAX_AGE: TimeSpan = TimeSpan::seconds(3_600);
/// The wait of a group.
const GROUP_WAIT: TimeSpan = TimeSpan::seconds(30);
/// The time between two notifications of a group.
const GROUP_INTERVAL: TimeSpan = TimeSpan::seconds(300);

/// The policy of an alert, without whom it tells.
pub fn policy(options: &AlertOptions, context: &mut Context<'_>) -> Option<AlertPolicy> {
    let texts = |many: &Option<OneOrMany<Text>>| -> Vec<String> {
        many.iter().flat_map(|many| many.0.iter().map(|text| text.text.clone())).collect()
    };
    let grouped = options.group_by.is_some();
    let span = |written: &Option<Duration>, what: &str, default: TimeSpan, context: &mut Context<'_>| match written {
        Some(span) => span.not_negative(what, context),
        None => Some(default),
    };
    let or_none = |default: TimeSpan| if grouped { default } else { TimeSpan::ZERO };
    let group_wait = span(&options.group_wait, "`group_wait`", or_none(GROUP_WAIT), context);
    let group_interval = span(&options.group_interval, "`group_interval`", or_none(GROUP_INTERVAL), context);
    let startup_grace = span(&options.startup_grace, "`startup_grace`", TimeSpan::ZERO, context);
    let notify_max_age = span(&options.notify_max_age, "`notify_max_age`", MAX_AGE, context);
    let repeat_every = match &options.repeat_every {
        Some(every) => every.positive("`repeat_every`", context).map(Some),
        None => Some(None),
    };
    let rate = match &options.rate {
        Some(rate) => rate
            .per
            .positive("`per`", context)
            .map(|per| Some(Rate { count: u32::try_from(rate.count.number).unwrap_or(u32::MAX), per })),
        None => Some(None),
    };
    let mut inhibited_by = Some(Vec::new());
    for by in options.inhibited_by.iter().flat_map(|many| &many.0) {
        let matchers = by.matchers.iter().flat_map(|many| &many.0).map(|text| matcher(text, context));
        let matchers: Option<Vec<Matcher>> = matchers.collect();
        let alert = by.alert.as_ref().map(|text| text.text.clone());
        match (matchers, &mut inhibited_by) {
            (Some(matchers), Some(list)) => {
                list.push(Inhibit { alert, severities: texts(&by.severities), matchers, equal: texts(&by.equal) });
            }
            _ => inhibited_by = None,
        }
    }
    let mut mute = Some(Vec::new());
    for time in options.mute.iter().flat_map(|many| &many.0) {
        let zone = time.zone.as_ref().map_or("UTC", |text| &text.text);
        let parts = [&time.days, &time.dates, &time.months, &time.times].map(texts);
        match (MuteTime::parse(&parts[0], &parts[1], &parts[2], &parts[3], zone), &mut mute) {
            (Ok(made), Some(list)) => list.push(made),
            (Err(why), _) => {
                let written = [&time.days, &time.dates, &time.months, &time.times];
                let first = written.into_iter().flatten().flat_map(|many| &many.0).chain(&time.zone).next();
                let (message, help) = why.split_once("; ").unwrap_or((&why, ""));
                if let Some(text) = first {
                    context.error("bad-mute", message, &text.span).help(help);
                }
                mute = None;
            }
            _ => {}
        }
    }
    Some(AlertPolicy {
        severities: severities(options),
        group_by: options.group_by.as_ref().map(|labels| labels.0.iter().map(|text| text.text.clone()).collect()),
        group_wait: group_wait?,
        group_interval: group_interval?,
        repeat_every: repeat_every?,
        inhibited_by: inhibited_by?,
        mute: mute?,
        rate: rate?,
        startup_grace: startup_grace?,
        notify_max_age: Some(notify_max_age?),
        ..AlertPolicy::default()
    })
}

/// The severities of an alert from the least to the worst.
pub(super) fn severities(options: &AlertOptions) -> Vec<String> {
    match &options.levels {
        Some(levels) => levels.0.iter().map(|(name, _)| name.text.clone()).collect(),
        None => {
            let word = options.severity.as_ref().map_or(crate::plan::alert::DEFAULT_SEVERITY, |text| &text.text);
            vec![word.to_owned()]
        }
    }
}

fn matcher(text: &Text, context: &mut Context<'_>) -> Option<Matcher> {
    match Matcher::parse(&text.text) {
        Ok(matcher) => Some(matcher),
        Err(why) => {
            let (message, help) = why.split_once("; ").unwrap_or((&why, ""));
            context.error("bad-matcher", message, &text.span).help(help);
            None
        }
    }
}
