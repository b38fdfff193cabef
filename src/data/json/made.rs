//! Rows that a step made: nothing but values that were set, written by a template that is worked out once a batch.

use super::encode::{Encoder, write_cell};
use crate::data::batch::{Batch, Edit};
use crate::data::column::{Cell, Column};
use crate::data::layout::Root;

/// An object and what its members are made of.
pub(super) struct Template<'a> {
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    name: &'a str,
    /// `"name":`.
    key: Vec<u8>,
    part: Part<'a>,
}

enum Part<'a> {
    Leaf(&'a Column, Option<&'a [bool]>),
    Object(Template<'a>),
}

impl<'a> Template<'a> {
    /// The template of a batch of made rows. `None` if fields were renamed, written twice or into one another: then the
    /// order of the edits matters.
    pub fn new(encoder: &'a Encoder, batch: &'a Batch) -> Option<Self> {
        let mut template = Template { members: Vec::new() };
        for edit in &batch.edits {
            let Edit::Set { field, column, touched } = edit else { return None };
            let path = encoder.layout().path(*field)?;
            if path.root != Root::Event {
                continue;
            }
            let (last, way) = path.names.split_last()?;
            let place = way.iter().try_fold(&mut template, |at, name| at.object(name))?;
            if place.members.iter().any(|m| m.name == last.as_str()) {
                return None;
            }
            place.add(last, Part::Leaf(column, touched.as_ref().map(|t| t.as_slice())));
        }
        Some(template)
    }

    /// The object of a name, new if there is none. `None` if a value stands there, or if others came in between: then its
    /// place depends on which of its members a row has.
    fn object(&mut self, name: &'a str) -> Option<&mut Template<'a>> {
        if !self.members.iter().any(|m| m.name == name) {
            self.add(name, Part::Object(Template { members: Vec::new() }));
        }
        match &mut self.members.last_mut().filter(|m| m.name == name)?.part {
            Part::Object(template) => Some(template),
            Part::Leaf(..) => None,
        }
    }

    fn add(&mut self, name: &'a str, part: Part<'a>) {
        let mut key = Vec::new();
        super::text::write_text(name, &mut key);
        key.push(b':');
        self.members.push(Member { name, key, part });
    }

    /// Writes a row; members without a value, and objects without members, are left out.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_members(row, out);
        out.push(b'}');
    }

    fn write_members(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let mut any = false;
        for member in &self.members {
            let before = out.len();
            if any {
                out.push(b',');
            }
            out.extend_from_slice(&member.key);
            let written = match &member.part {
                Part::Leaf(column, touched) => {
                    let cell = column.cells.get(row).copied().unwrap_or(Cell::Missing);
                    let there = cell != Cell::Missing && touched.is_none_or(|t| t.get(row) != Some(&false));
                    if there {
                        write_cell(column, cell, out);
                    }
                    there
                }
                Part::Object(template) => {
                    out.push(b'{');
                    let some = template.write_members(row, out);
                    out.push(b'}');
                    some
                }
            };
            if written {
                any = true;
            } else {
                out.truncate(before);
            }
        }
        any
    }
}
