//! Steps with state: what each needs of its rows before the exchange, and what makes its operator.

use std::sync::Arc;

use crate::base::time::TimeSpan;
use crate::data::layout::{Demand, FieldId, FieldPath, Layout, Root};
use crate::engine::action::{Numbers, Prepare};
use crate::engine::missing::Watch;
use crate::engine::ops::Operator as Running;
use crate::engine::ops::pace::{Held, Pace, PaceSpec};
use crate::engine::ops::script::{KeyedScript, ScriptSpec};
use crate::engine::ops::window::accumulate::{Aggregate, Folding};
use crate::engine::ops::window::early::Points;
use crate::engine::ops::window::{OutputField, WindowSpec, WindowStep, Windows};
use crate::expr::{Expr, Program};
use crate::plan::aggregate::{Call, Function, Output};
use crate::plan::demand::stale_after;
use crate::plan::pace::{Dedupe, THROTTLED, Throttle};
use crate::plan::window::{Emit, Late, Window};
use crate::plan::{Input, KeyPart, Node, NodeId, Operator, Port};

use super::Lower;
use super::actions::{ActionMaker, prepare_action};

/// Makes the operator of one share. The demand is what is read of its output.
pub(super) type MakeOperator = Box<dyn Fn(&Arc<Layout>, &Demand) -> Box<dyn Running> + Send + Sync>;

/// A step with state before its stage is made: the layout is not finished yet.
pub(super) struct Stateful {
    pub(super) make: MakeOperator,
    /// Whether it has a key, and so can be shared out.
    pub(super) keyed: bool,
    /// Why late rows that nobody reads are dead letters; `None` if they are only counted.
    pub(super) late: Option<&'static str>,
    /// How far the watermark behind it is behind its own.
    pub(super) behind: TimeSpan,
    /// What looks for fields that its rows never have.
    pub(super) watches: Vec<Arc<Watch>>,
    /// Of a join: the column that says whose a row is.
    pub(super) side: Option<FieldId>,
}

/// What is checked of the column that an aggregate of numbers reads.
fn numbers_of(field: FieldId, function: &Function, expr: &Expr) -> Numbers {
    let argument = expr.text.trim().to_owned();
    Numbers { field, call: function.call(&argument), argument, place: expr.origin.span.place() }
}

impl Lower<'_> {
    /// A step with state, and the action before its exchange.
    pub(super) fn stateful(
        &mut self,
        id: NodeId,
        node: &Node,
        operator: &Operator,
    ) -> Result<(Stateful, ActionMaker), String> {
        match operator {
            Operator::Window(window) => self.window(id, node, window),
            Operator::Dedupe(dedupe) => self.dedupe(node, dedupe),
            Operator::Throttle(throttle) => self.throttle(id, node, throttle),
            Operator::Join(join) => self.join(id, node, join),
            Operator::Alert(alert) => self.alert(id, node, alert),
            Operator::Notify(notify) => Ok(self.notify(notify)),
            Operator::Script { script, by, state_ttl, .. } => {
                let mut compute = Vec::new();
                let key = self.key(&node.name, by, &mut compute)?;
                let program = self.compile(script)?;
                let spec = ScriptSpec { program, key: key.clone(), ttl: *state_ttl, track: self.how.track };
                let make: MakeOperator =
                    Box::new(move |layout, needed| Box::new(KeyedScript::new(&spec, layout, needed)));
                Ok((
                    Stateful { make, keyed: true, late: None, behind: TimeSpan::ZERO, watches: Vec::new(), side: None },
                    prepare_action(Prepare { compute, numbers: Vec::new(), digest: None, key }),
                ))
            }
            _ => Err(format!("`{}` keeps no state", node.name)),
        }
    }

    /// The columns of a key; parts that are no plain field are computed.
    pub(super) fn key(
        &mut self,
        name: &str,
        by: &[KeyPart],
        compute: &mut Vec<(Program, FieldId)>,
    ) -> Result<Vec<FieldId>, String> {
        let mut key = Vec::with_capacity(by.len());
        for (index, part) in by.iter().enumerate() {
            key.push(self.column(name, &format!("by{index}"), &part.expr, compute)?);
        }
        Ok(key)
    }

    fn column(
        &mut self,
        name: &str,
        what: &str,
        expr: &Expr,
        compute: &mut Vec<(Program, FieldId)>,
    ) -> Result<FieldId, String> {
        let program = self.compile(expr)?;
        if let Some(field) = program.column_of() {
            return Ok(field);
        }
        let field = self.field(FieldPath { root: Root::Computed, names: vec![name.into(), what.into()] })?;
        compute.push((program, field));
        Ok(field)
    }

    /// The column of what a call aggregates. What is written twice is computed once.
    fn argument(
        &mut self,
        name: &str,
        index: usize,
        window: &Window,
        before: &[(Aggregate, FieldId)],
        compute: &mut Vec<(Program, FieldId)>,
    ) -> Result<Option<FieldId>, String> {
        let Some(call) = window.calls.get(index) else { return Ok(None) };
        let Some(expr) = &call.argument else { return Ok(None) };
        let condition = call.function.takes_condition();
        let same = |other: &Call| {
            other.function.takes_condition() == condition
                && other.argument.as_ref().is_some_and(|a| a.text == expr.text)
        };
        let earlier = window.calls.iter().zip(before).find(|(call, _)| same(call));
        if let Some((_, (aggregate, _))) = earlier {
            return Ok(aggregate.argument);
        }
        let what = format!("argument{index}");
        if !condition {
            return self.column(name, &what, expr, compute).map(Some);
        }
        let field = self.field(FieldPath { root: Root::Computed, names: vec![name.into(), what.into()] })?;
        compute.push((self.compile(expr)?.as_condition(), field));
        Ok(Some(field))
    }

    fn window(&mut self, id: NodeId, node: &Node, window: &Window) -> Result<(Stateful, ActionMaker), String> {
        let mut compute = Vec::new();
        let key = self.key(&node.name, &window.by, &mut compute)?;
        let mut numbers = Vec::new();
        let mut calls: Vec<(Aggregate, FieldId)> = Vec::with_capacity(window.calls.len());
        for (index, call) in window.calls.iter().enumerate() {
            let argument = self.argument(&node.name, index, window, &calls, &mut compute)?;
            let (folding, expr) = match &call.function {
                Function::Fold(fold) => {
                    let folding = Folding::new(fold, &self.layout, |expr| self.compile(expr))?;
                    (Some(Arc::new(folding)), Some(&fold.each))
                }
                _ => (None, call.argument.as_ref()),
            };
            if let (true, Some(field), Some(expr)) = (call.function.takes_numbers(), argument, &call.argument) {
                numbers.push(numbers_of(field, &call.function, expr));
            }
            let place = expr.map_or(String::new(), |expr| expr.origin.span.place());
            calls.push((Aggregate { function: call.function.clone(), argument, place, folding }, call.result));
        }
        let mut outputs = Vec::with_capacity(window.outputs.len());
        for (field, output) in &window.outputs {
            let output = match output {
                Output::Call(call) => {
                    let call = window.calls.get(*call).ok_or_else(|| format!("`{}` lacks an aggregate", node.name))?;
                    OutputField::Call(call.result)
                }
                Output::Expr(expr) => OutputField::Program(self.compile(expr)?),
            };
            outputs.push((*field, output));
        }
        let written: Vec<FieldId> = window.by.iter().map(|p| p.field).chain(outputs.iter().map(|(f, _)| *f)).collect();
        let spec = WindowSpec {
            windows: Windows::of(&window.shape)?,
            // Windows that leave once go by a watermark that is held back as long as they would take late events.
            allow_late: if window.emit == Emit::Once { TimeSpan::ZERO } else { window.allow_late },
            early: Points::of(window),
            held_back: window.holds_back(),
            key: key.clone(),
            by: window.by.iter().map(|p| p.field).collect(),
            calls,
            outputs,
            bounds: window.bounds,
            track: self.how.track,
            refresh: stale_after(&self.layout, &written, &self.demands.of(id, &Port::Main)),
        };
        let (keyed, late) = (!key.is_empty(), reason(window.late, "late: its windows are gone"));
        let behind = window.holds_back();
        let make: MakeOperator = Box::new(move |layout, needed| Box::new(WindowStep::new(&spec, layout, needed)));
        Ok((
            Stateful { make, keyed, late, behind, watches: Vec::new(), side: None },
            prepare_action(Prepare { compute, numbers, digest: None, key }),
        ))
    }

    fn dedupe(&mut self, node: &Node, dedupe: &Dedupe) -> Result<(Stateful, ActionMaker), String> {
        let mut compute = Vec::new();
        let mut key = self.key(&node.name, &dedupe.by, &mut compute)?;
        let mut digest = None;
        if key.is_empty() {
            let mut part = |n: &str| {
                self.field(FieldPath { root: Root::Computed, names: vec![node.name.as_str().into(), n.into()] })
            };
            let parts = [part("digest0")?, part("digest1")?];
            key.extend(parts);
            digest = Some(parts);
        }
        let (key_fields, span, held) = (key.clone(), dedupe.within, Held::Duplicate);
        let spec = PaceSpec { key: key_fields, limit: 1, span, held, track: self.how.track };
        let make: MakeOperator = Box::new(move |_, _| Box::new(Pace::new(&spec)));
        let late = reason(dedupe.late, "late: whether it repeats another is no longer known");
        Ok((
            Stateful { make, keyed: true, late, behind: TimeSpan::ZERO, watches: Vec::new(), side: None },
            prepare_action(Prepare { compute, numbers: Vec::new(), digest, key }),
        ))
    }

    fn throttle(&mut self, id: NodeId, node: &Node, throttle: &Throttle) -> Result<(Stateful, ActionMaker), String> {
        let mut compute = Vec::new();
        let key = self.key(&node.name, &throttle.by, &mut compute)?;
        let held = Input { node: id, port: Port::Named(THROTTLED.to_owned()) };
        let read = self.plan.nodes.iter().any(|node| node.inputs.contains(&held));
        let spec = PaceSpec {
            key: key.clone(),
            limit: throttle.limit,
            span: throttle.per,
            held: if read { Held::Port(held.port) } else { Held::Dropped },
            track: self.how.track,
        };
        let make: MakeOperator = Box::new(move |_, _| Box::new(Pace::new(&spec)));
        let late = reason(throttle.late, "late: what went on around it is no longer known");
        let keyed = !key.is_empty();
        let action = prepare_action(Prepare { compute, numbers: Vec::new(), digest: None, key });
        Ok((Stateful { make, keyed, late, behind: TimeSpan::ZERO, watches: Vec::new(), side: None }, action))
    }
}

/// Why a late row is a dead letter, if it is to be one.
pub(super) fn reason(late: Late, why: &'static str) -> Option<&'static str> {
    (late == Late::DeadLetter).then_some(why)
}
