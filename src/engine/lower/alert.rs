//! Alerts: the columns that their machines read, and what is said of transitions.

use std::sync::Arc;

use crate::alert::machine::{Grid, Rules};
use crate::base::time::TimeSpan;
use crate::connector::template::Template as Parsed;
use crate::engine::action::Prepare;
use crate::engine::ops::alert::{AlertSpec, AlertStep, Condition, Saying, Text};
use crate::engine::ops::notify::{NotifySpec, NotifyStep};
use crate::expr::Expr;
use crate::plan::alert::{Alert, Notify};
use crate::plan::window::Shape;
use crate::plan::{Node, NodeId, NodeKind, Operator, Plan, Template};

use super::Lower;
use super::actions::{ActionMaker, prepare_action};
use super::steps::{MakeOperator, Stateful};

impl Lower<'_> {
    pub(super) fn alert(&mut self, id: NodeId, node: &Node, alert: &Alert) -> Result<(Stateful, ActionMaker), String> {
        let mut compute = Vec::new();
        let key = self.key(&node.name, &alert.by, &mut compute)?;
        let mut levels = Vec::with_capacity(alert.levels.len());
        for level in &alert.levels {
            let clear = level.clear.as_ref().map(|clear| self.condition(clear)).transpose()?;
            levels.push([Some(self.condition(&level.when)?), clear]);
        }
        let said = |expr: &Expr| expr.text.trim().to_owned();
        let named = |named: &[(String, Template)]| -> Result<Vec<(String, Text)>, String> {
            named.iter().map(|(name, template)| Ok((name.clone(), text(template)?))).collect()
        };
        let names = |part: &crate::plan::KeyPart| self.layout.path(part.field).map(|path| path.names.clone());
        let saying = Saying {
            name: node.name.clone(),
            key: alert.by.iter().map(|part| names(part).unwrap_or_default()).collect(),
            conditions: alert.levels.iter().map(|level| (said(&level.when), level.clear.as_ref().map(said))).collect(),
            title: alert.says.title.as_ref().map(text).transpose()?,
            body: alert.says.body.as_ref().map(text).transpose()?,
            labels: named(&alert.says.labels)?,
            links: named(&alert.says.links)?,
        };
        let spec = AlertSpec {
            key: key.clone(),
            levels,
            rules: Rules { grid: grid(self.plan, id), ..alert.rules.clone() },
            by_arrival: alert.by_arrival,
            max_keys: alert.max_keys,
            forgets_quiet: alert.forgets_quiet,
            window: alert.window,
            saying: Arc::new(saying),
            track: self.how.track,
        };
        let make: MakeOperator = Box::new(move |layout, needed| Box::new(AlertStep::new(&spec, layout, needed)));
        let action = prepare_action(Prepare { compute, numbers: Vec::new(), digest: None, key });
        Ok((stateful(make), action))
    }

    /// A condition; where nothing is asked for it, what it reads has to be there.
    fn condition(&self, expr: &Expr) -> Result<Condition, String> {
        let program = self.compile(expr)?.as_condition();
        let asks = expr.whole_event || expr.text.contains("()");
        let reads = if asks { Vec::new() } else { expr.reads.clone() };
        Ok(Condition { program, reads })
    }

    pub(super) fn notify(&mut self, notify: &Notify) -> (Stateful, ActionMaker) {
        let spec = NotifySpec { settings: notify.settings.clone(), virtual_time: notify.virtual_time };
        let make: MakeOperator = Box::new(move |layout, needed| Box::new(NotifyStep::new(&spec, layout, needed)));
        let nothing = Prepare { compute: Vec::new(), numbers: Vec::new(), digest: None, key: Vec::new() };
        (stateful(make), prepare_action(nothing))
    }
}

/// An operator whose keys are not shared out and that judges no lateness.
fn stateful(make: MakeOperator) -> Stateful {
    Stateful { make, keyed: false, late: None, behind: TimeSpan::ZERO, watches: Vec::new(), side: None }
}

fn text(template: &Template) -> Result<Text, String> {
    let (parsed, fields) = Parsed::parse(&template.text)?;
    Ok(Text { template: parsed, fields })
}

/// How the windows that an alert reads follow each other: those of the nearest window step above it.
fn grid(plan: &Plan, of: NodeId) -> Grid {
    let mut seen = Vec::new();
    let mut next = vec![of];
    while let Some(id) = next.pop() {
        for input in plan.node(id).map_or(&[][..], |node| &node.inputs) {
            let Some(node) = plan.node(input.node).filter(|_| !seen.contains(&input.node)) else { continue };
            seen.push(input.node);
            match &node.kind {
                NodeKind::Step(Operator::Window(window)) => {
                    return match &window.shape {
                        Shape::Tumbling { size, .. } => Grid::Step(*size),
                        Shape::Sliding { every, .. } => Grid::Step(*every),
                        Shape::Calendar { .. } => Grid::Touching,
                        Shape::Session { .. } | Shape::Count { .. } => Grid::Each,
                    };
                }
                _ => next.push(input.node),
            }
        }
    }
    Grid::Each
}
