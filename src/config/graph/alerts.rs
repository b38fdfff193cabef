//! What alerts must not be over what they read, and beside each other.

use std::collections::{BTreeMap, VecDeque};

use crate::alert::machine::Hold;
use crate::alert::policy::{AlertPolicy, Settings};
use crate::base::time::TimeSpan;
use crate::config::context::Context;
use crate::data::layout::FieldId;
use crate::plan::window::Window;
use crate::plan::{NodeKind, Operator, Port};

use super::checks::upstream;
use super::{Draft, Graph};

/// Reports what is wrong with the alerts of a pipeline.
pub fn check(graph: &Graph, context: &mut Context<'_>) {
    over_windows(graph, context);
    coarse_keys(graph, context);
    for draft in &graph.drafts {
        if let Some(NodeKind::Step(Operator::Notify(notify))) = &draft.kind {
            circles(&notify.settings, graph, context);
            expiries(&notify.settings, graph, context);
        }
    }
}

/// Reports alerts that count windows and read none.
fn over_windows(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate() {
        let Some(NodeKind::Step(Operator::Alert(alert))) = &draft.kind else { continue };
        let levels = alert.rules.levels.iter();
        let mut holds = levels.flat_map(|level| [level.hold, level.clear_hold]);
        let Some(hold) = holds.find(|hold| matches!(hold, Hold::Windows { .. })) else { continue };
        let window = |draft: &Draft, port: &Port| {
            *port == Port::Main && matches!(&draft.kind, Some(NodeKind::Step(Operator::Window(_))))
        };
        if upstream(at, graph, &window).is_none() {
            let message = format!("`{}` counts windows (`{hold}`), and what it reads comes from none", draft.name);
            let help = "put a `window` step before it, or count rows: `3 events`, or time: `2m`";
            context.error("no-windows", message, &draft.span).help(help);
        }
    }
}

/// Warns of alerts that have fewer keys than the windows that they read: rows of several keys take turns in one state.
fn coarse_keys(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate() {
        let Some(NodeKind::Step(Operator::Alert(alert))) = &draft.kind else { continue };
        let Some((name, window)) = window_of(at, graph) else { continue };
        let read =
            |field: &FieldId| alert.by.iter().any(|part| part.expr.whole_event || part.expr.reads.contains(field));
        let missing = window.by.iter().map(|part| part.field).filter(|field| !read(field));
        let missing: Vec<String> = missing.filter_map(|field| Some(context.layout.path(field)?.to_string())).collect();
        let [first, ..] = missing.as_slice() else { continue };
        let of = if alert.by.is_empty() { "for all rows together" } else { "for each of its keys" };
        let message = format!(
            "`{}` has one state {of}, and `{name}` makes a row for each `{}`: the rows take turns in it",
            draft.name,
            missing.join("`, `")
        );
        let help = format!("name `{first}` in the `by` of the alert, or leave it out of that of `{name}`");
        context.warning("alert-key-too-coarse", message, &draft.span).help(help);
    }
}

/// The window step that an alert reads, if nothing comes between that may leave out some of its keys.
fn window_of(at: usize, graph: &Graph) -> Option<(&str, &Window)> {
    let mut at = at;
    for _ in 0..graph.drafts.len() {
        let [input] = graph.inputs.get(at).map(Vec::as_slice).filter(|inputs| inputs[..].len() == 1)? else {
            return None;
        };
        let draft = graph.drafts.get(input.node.index()).filter(|_| input.port == Port::Main)?;
        match &draft.kind {
            Some(NodeKind::Step(Operator::Window(window))) => return Some((&draft.name, window)),
            Some(NodeKind::Step(Operator::Set { .. })) => at = input.node.index(),
            _ => return None,
        }
    }
    None
}

/// Warns of alerts that inhibit each other, in pairs or in a circle: of what fires together nothing is told.
fn circles(settings: &Settings, graph: &Graph, context: &mut Context<'_>) {
    for name in settings.alerts.keys() {
        let Some(circle) = circle(name, settings) else { continue };
        // Each is reported once, by the alert whose name is the least.
        if circle.iter().any(|other| *other < name.as_str()) {
            continue;
        }
        let message = match circle.as_slice() {
            [one, other] => {
                format!("`{one}` and `{other}` inhibit each other: while both fire, nobody is told of either")
            }
            more => {
                format!("`{}` inhibit each other in a circle: while all fire, nobody is told of any", more.join("`, `"))
            }
        };
        let draft = graph.drafts.iter().find(|draft| draft.name == *name);
        if let Some(draft) = draft {
            let help = "leave `inhibited_by` out of the one that is to be told, or give it `matchers`";
            context.warning("inhibit-each-other", message, &draft.span).help(help);
        }
    }
}

/// The shortest way from an alert along what inhibits it back to itself.
fn circle<'s>(from: &'s str, settings: &'s Settings) -> Option<Vec<&'s str>> {
    let inhibitors = |name: &str| {
        let by = settings.alerts.get(name).map_or(&[][..], |policy| policy.inhibited_by.as_slice());
        by.iter().filter(|by| by.matchers.is_empty()).filter_map(|by| by.alert.as_deref())
    };
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(name) = next.pop_front() {
        for by in inhibitors(name).filter(|by| *by != name) {
            if by == from {
                let mut way = vec![name];
                while let Some(before) = way.last().and_then(|name| came.get(name)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(by) && settings.alerts.contains_key(by) {
                came.insert(by, name);
                next.push_back(by);
            }
        }
    }
    None
}

/// How long a receiver takes an alert for firing that does not say so, where it is not told.
const RESOLVE_AFTER: TimeSpan = TimeSpan::seconds(86_400);

/// Warns of receivers that take what fires for resolved before they are told again that it fires.
fn expiries(settings: &Settings, graph: &Graph, context: &mut Context<'_>) {
    for (name, policy) in &settings.alerts {
        for (receiver, after) in told(policy, settings, graph) {
            let message = match policy.repeat_every {
                Some(every) if every >= after => format!(
                    "`{receiver}` takes `{name}` for resolved after {after}, and is told again that it fires only after {every}"
                ),
                None if after < RESOLVE_AFTER => format!(
                    "`{receiver}` takes `{name}` for resolved after {after}, and is not told again that it fires"
                ),
                _ => continue,
            };
            if let Some(draft) = graph.drafts.iter().find(|draft| draft.name == *name) {
                let help = "give the alert a `repeat_every` that is shorter than the `resolve_after` of the receiver";
                context.warning("resolved-too-early", message, &draft.span).help(help);
            }
        }
    }
}

/// The receivers of an alert that take it for resolved by themselves, and after how long.
fn told<'g>(policy: &'g AlertPolicy, settings: &'g Settings, graph: &'g Graph) -> Vec<(&'g str, TimeSpan)> {
    let mut receivers: Vec<usize> = policy.notify.iter().map(|route| route.receiver).collect();
    receivers.sort_unstable();
    receivers.dedup();
    let after = |receiver: usize| {
        let name = &settings.receivers.get(receiver)?.name;
        let draft: &Draft = graph.drafts.iter().find(|draft| draft.name == *name)?;
        let Some(NodeKind::Sink(sink)) = &draft.kind else { return None };
        let after = TimeSpan::parse(sink.options.get("resolve_after")?.as_str()?).ok()?;
        Some((name.as_str(), after))
    };
    receivers.into_iter().filter_map(after).collect()
}
