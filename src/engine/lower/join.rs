//! Joins: a step that marks each side's rows before they meet, and what makes the operator.

use std::sync::Arc;

use crate::data::layout::{Demand, FieldId, FieldPath, Root};
use crate::engine::action::Action;
use crate::engine::actions::join::PrepareJoin;
use crate::engine::missing::{ReadField, Watch};
use crate::engine::ops::join::{JoinSpec, JoinStep, Select};
use crate::expr::{Expr, Program};
use crate::plan::demand::stale_after;
use crate::plan::join::{Join, Tag};
use crate::plan::{Input, Node, NodeId, NodeKind, Operator, Plan, Port};

use super::Lower;
use super::actions::ActionMaker;
use super::steps::{MakeOperator, Stateful, reason};

/// The mark of a row of the right side.
fn side_path(join: &str) -> FieldPath {
    FieldPath { root: Root::Computed, names: vec![join.into(), "side".into()] }
}

/// Puts a step in front of each input of a join that marks its rows: a step takes its inputs as one. Their numbers are
/// beyond those of the nodes that are there. A join that has them already stays as it is.
pub(in crate::engine) fn tag_sides(plan: &mut Plan) -> Result<(), String> {
    for at in 0..plan.nodes.len() {
        let Some(node) = plan.nodes.get(at) else { continue };
        let is_tag =
            |input: &Input| plan.node(input.node).is_some_and(|n| matches!(n.kind, NodeKind::Step(Operator::Tag(_))));
        if !matches!(node.kind, NodeKind::Step(Operator::Join(_))) || node.inputs.iter().any(is_tag) {
            continue;
        }
        let join = NodeId(u16::try_from(at).map_err(|_| "the pipeline has too many entries".to_owned())?);
        let field = plan.layout.intern(side_path(&node.name));
        let field = field.ok_or_else(|| "the pipeline names too many fields".to_owned())?;
        let mut tagged = Vec::with_capacity(2);
        let tags: Vec<Node> = [false, true]
            .into_iter()
            .zip(&node.inputs)
            .map(|(right, input)| Node {
                inputs: vec![input.clone()],
                kind: NodeKind::Step(Operator::Tag(Tag { field, right, join })),
                ..node.clone()
            })
            .collect();
        for tag in tags {
            let number = u16::try_from(plan.nodes.len()).map_err(|_| "the pipeline has too many entries".to_owned())?;
            tagged.push(Input { node: NodeId(number), port: Port::Main });
            plan.nodes.push(tag);
        }
        if let Some(node) = plan.nodes.get_mut(at) {
            node.inputs = tagged;
        }
    }
    Ok(())
}

impl Lower<'_> {
    /// A join, and the action before its exchange.
    pub(super) fn join(&mut self, id: NodeId, node: &Node, join: &Join) -> Result<(Stateful, ActionMaker), String> {
        let side = self.field(side_path(&node.name))?;
        let mut prepare = PrepareJoin { side, compute: [Vec::new(), Vec::new()], key: Vec::new() };
        for (index, (left, right)) in join.left.on.iter().zip(&join.right.on).enumerate() {
            let field = self.part(&node.name, index, [left, right], &mut prepare.compute)?;
            prepare.key.push(field);
        }
        let select = if join.select.is_empty() { None } else { Some(self.select(id, node, join)?) };
        let watches = select.iter().flat_map(|select| select.watches.clone()).collect();
        let spec = JoinSpec {
            side,
            key: prepare.key.clone(),
            names: [join.left.name.clone(), join.right.name.clone()],
            before: join.before,
            after: join.after,
            outer: join.outer(),
            select,
            track: self.how.track,
        };
        let make: MakeOperator = Box::new(move |layout, needed| Box::new(JoinStep::new(&spec, layout, needed)));
        let late = reason(join.late, "late: whatever it could match is gone");
        let prepare = Arc::new(prepare);
        let action: ActionMaker = Box::new(move || Ok(Action::PrepareJoin(Arc::clone(&prepare))));
        Ok((Stateful { make, keyed: true, late, behind: join.behind(), watches, side: Some(side) }, action))
    }

    /// The column of one part of the key. Where both sides name the same field it is that.
    fn part(
        &mut self,
        name: &str,
        index: usize,
        sides: [&Expr; 2],
        compute: &mut [Vec<(Program, FieldId)>; 2],
    ) -> Result<FieldId, String> {
        let [left, right] = sides;
        let programs = [self.compile(left)?, self.compile(right)?];
        let [own, other] = programs.each_ref().map(Program::column_of);
        if let Some(field) = own.filter(|_| own == other) {
            return Ok(field);
        }
        let names = vec![name.into(), format!("on{index}").into()];
        let field = self.field(FieldPath { root: Root::Computed, names })?;
        for (side, program) in compute.iter_mut().zip(programs) {
            side.push((program, field));
        }
        Ok(field)
    }

    fn select(&self, id: NodeId, node: &Node, join: &Join) -> Result<Select, String> {
        let mut needed = Demand { body: true, ..Demand::default() };
        let mut fields = Vec::with_capacity(join.select.len());
        for (field, expr) in &join.select {
            expr.reads.iter().for_each(|read| needed.value(*read));
            fields.push((*field, self.compile(expr)?));
        }
        let written: Vec<FieldId> = join.select.iter().map(|(field, _)| *field).collect();
        let refresh = stale_after(&self.layout, &written, &self.demands.of(id, &Port::Main));
        let watches = [&join.left, &join.right].map(|side| {
            let read = join.select.iter().flat_map(|(_, expr)| ReadField::of(&node.name, expr, &self.layout));
            let of_side = |read: &ReadField| {
                self.layout.path(read.field).is_some_and(|path| path.names.first().is_some_and(|n| *n == side.name))
            };
            Arc::new(Watch::new("row", read.filter(of_side).collect()))
        });
        Ok(Select { fields, needed, refresh, watches })
    }
}
