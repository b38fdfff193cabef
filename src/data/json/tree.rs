//! Edits by the general path: the row as a list of members, each with its own text until something changes it. It takes
//! every edit and every row; [`super::splice`] does the common ones faster and answers the same.

use std::borrow::Cow;
use std::sync::Arc;

use compact_str::CompactString;

use super::scan::{Members, byte, value as value_end};
use super::text::write_text;
use super::value::{inner, scanned, write_val};
use crate::data::batch::{Batch, Edit};
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::data::value::{Map, Val, Value};

/// A value of the row, as far as it was taken apart.
pub(super) enum Node<'a> {
    /// As it was read.
    Text(&'a str),
    /// What a step wrote.
    Val(Val<'a>),
    /// An object that was looked into.
    Object(Vec<Member<'a>>),
}

/// A member of an object.
pub(super) struct Member<'a> {
    pub name: Cow<'a, str>,
    /// The name as it was spelled, up to its value, if it was read.
    pub head: Option<&'a str>,
    pub node: Node<'a>,
}

/// The current event of a row as a tree.
pub fn event_of(layout: &Layout, batch: &Batch, row: usize) -> Value {
    edited(layout, batch, row).into_value()
}

/// Writes the current event of a row.
pub(super) fn write_row(layout: &Layout, batch: &Batch, row: usize, out: &mut Vec<u8>) {
    edited(layout, batch, row).write(out);
}

fn edited<'a>(layout: &'a Layout, batch: &'a Batch, row: usize) -> Node<'a> {
    let mut node = match &batch.raw {
        Some(raw) => Node::Text(raw.row(row)),
        None => Node::Object(Vec::new()),
    };
    let names =
        |field: &FieldId| layout.path(*field).filter(|p| p.root == Root::Event).map(|p: &FieldPath| p.names.as_slice());
    for edit in &batch.edits {
        match edit {
            Edit::Set { field, column, touched } => {
                let passed_over = touched.as_ref().is_some_and(|t| t.get(row) == Some(&false));
                let Some(names) = names(field).filter(|_| !passed_over) else { continue };
                if column.is_missing(row) {
                    node.remove(names);
                } else {
                    node.put(names, Node::Val(column.get(row)));
                }
            }
            Edit::Rename { from, to } => {
                if let (Some([from]), Some([to])) = (names(from), names(to)) {
                    node.rename(from, to);
                }
            }
            Edit::Keep { fields } => {
                let kept: Vec<&[CompactString]> = fields.iter().filter_map(names).collect();
                node.keep(&kept);
            }
        }
    }
    node
}

impl<'a> Node<'a> {
    /// Its members, if it is an object.
    pub fn members(&mut self) -> Option<&mut Vec<Member<'a>>> {
        match self {
            Node::Text(text) if text.starts_with('{') => *self = Node::Object(read_members(text)),
            Node::Val(Val::Big(Value::Map(map))) => {
                let member = |(name, value): &'a (CompactString, Value)| Member {
                    name: Cow::Borrowed(name),
                    head: None,
                    node: Node::Val(value.as_val()),
                };
                *self = Node::Object(map.0.iter().map(member).collect());
            }
            _ => {}
        }
        match self {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Writes at a path, making objects on the way; what is no object on the way gives place to one.
    pub fn put(&mut self, path: &'a [CompactString], value: Node<'a>) {
        let Some((name, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if self.members().is_none() {
            *self = Node::Object(Vec::new());
        }
        let Some(members) = self.members() else { return };
        let at = unite(members, name).unwrap_or_else(|| {
            members.push(Member { name: Cow::Borrowed(name), head: None, node: Node::Object(Vec::new()) });
            members.len() - 1
        });
        if let Some(member) = members.get_mut(at) {
            member.node.put(rest, value);
        }
    }

    /// Takes out what stands at a path, if anything does. The whole event cannot be taken out.
    pub fn remove(&mut self, path: &[CompactString]) {
        let Some((name, rest)) = path.split_first() else { return };
        let Some(members) = self.members() else { return };
        if rest.is_empty() {
            members.retain(|m| m.name != name.as_str());
        } else if let Some(member) = unite(members, name).and_then(|at| members.get_mut(at)) {
            member.node.remove(rest);
        }
    }

    fn rename(&mut self, from: &CompactString, to: &'a CompactString) {
        let Some(members) = self.members() else { return };
        if from == to || unite(members, from).is_none() {
            return;
        }
        members.retain(|m| m.name != to.as_str());
        if let Some(member) = members.iter_mut().find(|m| m.name == from.as_str()) {
            member.name = Cow::Borrowed(to.as_str());
            member.head = None;
        }
    }

    /// Lets only what stands at or under these paths stay; an object of which nothing stays goes.
    fn keep(&mut self, paths: &[&[CompactString]]) -> bool {
        if paths.iter().any(|p| p.is_empty()) {
            return true;
        }
        let Some(members) = self.members() else {
            *self = Node::Object(Vec::new());
            return false;
        };
        for name in paths.iter().filter_map(|p| p.first()) {
            unite(members, name);
        }
        members.retain_mut(|member| {
            let inside: Vec<&[CompactString]> = paths
                .iter()
                .filter_map(|p| p.split_first().filter(|(name, _)| name.as_str() == member.name).map(|(_, rest)| rest))
                .collect();
            !inside.is_empty() && member.node.keep(&inside)
        });
        !members.is_empty()
    }

    /// Writes it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Text(text) => out.extend_from_slice(text.as_bytes()),
            Node::Val(val) => write_val(*val, out),
            Node::Object(members) => {
                out.push(b'{');
                for (i, member) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    match member.head {
                        Some(head) => out.extend_from_slice(head.as_bytes()),
                        None => {
                            write_text(&member.name, out);
                            out.push(b':');
                        }
                    }
                    member.node.write(out);
                }
                out.push(b'}');
            }
        }
    }

    fn into_value(self) -> Value {
        match self {
            Node::Text(text) => scanned(text, 0),
            Node::Val(val) => val.to_value(),
            Node::Object(members) => {
                let mut map = Map::default();
                for member in members {
                    map.insert(&member.name, member.node.into_value());
                }
                Value::Map(Arc::new(map))
            }
        }
    }
}

/// Of members with one name leaves one: where the first stood, with the value of the last. Where it is.
fn unite(members: &mut Vec<Member<'_>>, name: &str) -> Option<usize> {
    let first = members.iter().position(|m| m.name == name)?;
    while let Some(next) = members.iter().skip(first + 1).position(|m| m.name == name) {
        let later = members.remove(first + 1 + next);
        if let Some(member) = members.get_mut(first) {
            *member = later;
        }
    }
    Some(first)
}

/// The members of an object's text, which was scanned before.
pub(super) fn read_members(text: &str) -> Vec<Member<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut members = Members::new(bytes, 0);
    while let Ok(Some(member)) = members.next() {
        let Ok(end) = value_end(bytes, member.value, 1) else { break };
        let spelled = text.get(member.key..member.key_end).unwrap_or_default();
        let name = if member.escaped {
            Cow::Owned(inner(text, member.key, member.key_end, true).into())
        } else {
            Cow::Borrowed(spelled.get(1..spelled.len() - 1).unwrap_or_default())
        };
        let head = text.get(member.key..member.value);
        found.push(Member { name, head, node: Node::Text(text.get(member.value..end).unwrap_or_default()) });
        members.value_ends(end);
    }
    debug_assert_eq!(byte(bytes, members.end().saturating_sub(1)), b'}');
    found
}
