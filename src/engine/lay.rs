//! Laying flows: which stateless steps stand behind a root, who reads whom among them, and where rows leave.

use std::collections::HashMap;

use crate::data::layout::FieldId;
use crate::plan::demand::stale_after;
use crate::plan::{Node, NodeId, NodeKind, Operator, Port};

use super::flow::{Flow, FlowNode, Readers, Target};
use super::lower::{Lower, Made, is_reader};

impl Lower<'_> {
    /// The stateless part behind a root, and the readers at its exits.
    pub(super) fn flow(
        &self,
        root: NodeId,
        order: &[NodeId],
        made: &HashMap<NodeId, Made>,
    ) -> Result<(Flow, Vec<usize>), String> {
        let mut places: HashMap<NodeId, usize> = HashMap::new();
        let mut nodes: Vec<FlowNode> = Vec::new();
        let mut exits = Vec::new();
        for id in order {
            let Some(node) = self.plan.node(*id).filter(|n| *id != root && !matches!(n.kind, NodeKind::Source(_)))
            else {
                continue;
            };
            let fed = node.inputs.iter().any(|input| {
                (input.node == root || places.contains_key(&input.node)) && self.leaves(root, input.node, &input.port)
            });
            if !fed {
                continue;
            }
            let make = made.get(id).and_then(|m| m.action.as_ref());
            let action = make.ok_or_else(|| format!("`{}` cannot be run", node.name))?()?;
            let mut readers = Readers::new();
            if is_reader(node) {
                readers.push((Port::Main, vec![Target::Exit(exits.len())]));
                exits.push(self.readers.get(id).copied().unwrap_or_default());
            }
            let mut needed = self.input_demand(*id);
            let after = self.demands.of_all(*id);
            let refresh = !is_reader(node) && stale_after(&self.layout, &self.written(node), &after);
            needed.union(&after);
            places.insert(*id, nodes.len());
            nodes.push(FlowNode { node: *id, action, readers, needed, refresh });
        }
        let mut root_readers = Readers::new();
        for (id, place) in &places {
            for input in self.plan.node(*id).map_or(&[][..], |n| &n.inputs) {
                let readers = match places.get(&input.node) {
                    Some(from) if self.leaves(root, input.node, &input.port) => {
                        nodes.get_mut(*from).map(|n| &mut n.readers)
                    }
                    None if input.node == root => Some(&mut root_readers),
                    _ => None,
                };
                if let Some(readers) = readers {
                    read_by(readers, &input.port, Target::Node(*place));
                }
            }
        }
        let needed = self.demands.of_all(root);
        Ok((Flow { root, readers: root_readers, nodes, exits: exits.len(), needed }, exits))
    }

    /// The fields that a step changes. Keeping a member changes what lies around it.
    fn written(&self, node: &Node) -> Vec<FieldId> {
        let is_member = |field: &&FieldId| self.layout.path(**field).is_some_and(|path| path.names.len() > 1);
        match &node.kind {
            NodeKind::Step(Operator::Script { script, .. }) => script.writes.clone(),
            NodeKind::Step(Operator::Set { fields }) => fields.iter().map(|(f, _)| *f).collect(),
            NodeKind::Step(Operator::Keep { fields }) => fields.iter().filter(is_member).copied().collect(),
            NodeKind::Step(Operator::Drop { fields }) => fields.clone(),
            NodeKind::Step(Operator::Lookup(lookup)) => lookup.fields.iter().map(|(f, _)| *f).collect(),
            NodeKind::Step(Operator::Rename { fields }) => fields.iter().flat_map(|(a, b)| [*a, *b]).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether rows of a port come out of a flow's own nodes: all of the root's ports do; of a step with state that the
    /// flow ends at only `.errors`, the rows whose key or arguments cannot be computed.
    fn leaves(&self, root: NodeId, node: NodeId, port: &Port) -> bool {
        node == root || *port == Port::Errors || !self.plan.node(node).is_some_and(is_reader)
    }
}

/// Adds a reader of a port, in the order of nodes.
fn read_by(readers: &mut Readers, port: &Port, target: Target) {
    let order = |t: &Target| match t {
        Target::Node(index) => *index,
        Target::Exit(_) => usize::MAX,
    };
    match readers.iter_mut().find(|(p, _)| p == port) {
        Some((_, targets)) => {
            if !targets.contains(&target) {
                targets.push(target);
                targets.sort_by_key(order);
            }
        }
        None => readers.push((port.clone(), vec![target])),
    }
}
