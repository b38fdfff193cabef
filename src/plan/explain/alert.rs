//! What `explain` says of alerts.

use super::{key, one_line};
use crate::alert::machine::Hold;
use crate::plan::alert::{Alert, Notify};

pub(super) fn alert(alert: &Alert, lines: &mut Vec<String>) {
    let held = |hold: Hold| if hold == Hold::None { String::new() } else { format!(" for {hold}") };
    for (level, conditions) in alert.rules.levels.iter().zip(&alert.levels) {
        let clear = match &conditions.clear {
            Some(clear) => format!("`{}`", one_line(&clear.text)),
            None => "it is not so".to_owned(),
        };
        let (when, hold, clear_hold) = (one_line(&conditions.when.text), held(level.hold), held(level.clear_hold));
        lines.push(format!("{}: fires when `{when}`{hold}, resolves when {clear}{clear_hold}", level.name));
    }
    lines.extend(alert.rules.no_data_after.map(|after| format!("fires when a key is silent for {after}")));
    if alert.rules.sustain {
        lines.push("time that passes without a row counts".to_owned());
    }
    let groups =
        if alert.by.is_empty() { "all rows together".to_owned() } else { format!("for each {}", key(&alert.by)) };
    let beyond = if alert.forgets_quiet { "; beyond, the quietest that is well is forgotten" } else { "" };
    lines.push(format!("keeps a state machine {groups}, {} at most{beyond}", alert.max_keys));
    let order = if alert.by_arrival { "as they come" } else { "by event time, each when the watermark has reached it" };
    lines.push(format!("judges rows {order}"));
}

pub(super) fn notify(notify: &Notify, lines: &mut Vec<String>) {
    for (name, policy) in &notify.settings.alerts {
        let told = policy.notify.iter().filter_map(|route| notify.settings.receivers.get(route.receiver));
        let told: Vec<&str> = told.map(|receiver| receiver.name.as_str()).collect();
        lines.push(match told.as_slice() {
            [] => format!("{name}: recorded, nobody is told"),
            told => format!("{name}: tells {}", told.join(", ")),
        });
    }
}
