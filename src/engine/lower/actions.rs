//! Stateless steps and sinks: their expressions compiled, an action to be made for each flow that they stand in.

use std::sync::Arc;

use crate::connector::path;
use crate::connector::template::Template;
use crate::data::format::{Csv, Format};
use crate::data::layout::{FieldId, FieldPath, Layout};
use crate::data::value::Value;
use crate::engine::action::{Action, CsvColumns, Encode, Prepare, RowText};
use crate::engine::actions::sample::Sampler;
use crate::expr::{Expr, Program};
use crate::plan::{Operator, Port, Sink};

use super::Lower;

/// Makes an action anew for each flow.
pub(super) type ActionMaker = Box<dyn Fn() -> Result<Action, String>>;

impl Lower<'_> {
    /// The action of a step that keeps nothing.
    pub(super) fn stateless(&self, operator: &Operator) -> Result<ActionMaker, String> {
        let programs = |exprs: &mut dyn Iterator<Item = &Expr>| -> Result<Vec<Program>, String> {
            exprs.map(|e| self.compile(e)).collect()
        };
        Ok(match operator {
            Operator::Filter { condition } => {
                let program = self.compile(condition)?;
                Box::new(move || Ok(Action::Filter(program.clone())))
            }
            Operator::Script { script, .. } => {
                let program = self.compile(script)?;
                Box::new(move || Ok(Action::Script(program.clone())))
            }
            Operator::Set { fields } => {
                let programs = programs(&mut fields.iter().map(|(_, e)| e))?;
                let fields: Vec<_> = fields.iter().map(|(f, _)| *f).zip(programs).collect();
                Box::new(move || Ok(Action::Set(fields.clone())))
            }
            Operator::Keep { fields } => {
                let fields: Arc<[FieldId]> = fields.as_slice().into();
                Box::new(move || Ok(Action::Keep(Arc::clone(&fields))))
            }
            Operator::Drop { fields } => {
                let fields = fields.clone();
                Box::new(move || Ok(Action::Drop(fields.clone())))
            }
            Operator::Rename { fields } => {
                let fields = fields.clone();
                Box::new(move || Ok(Action::Rename(fields.clone())))
            }
            Operator::Route { branches } => {
                let programs = programs(&mut branches.iter().map(|(_, e)| e))?;
                let ports = branches.iter().map(|(name, _)| Port::Named(name.clone()));
                let branches: Vec<_> = ports.zip(programs).collect();
                Box::new(move || Ok(Action::Route(branches.clone())))
            }
            Operator::Sample(sample) => {
                let by = programs(&mut sample.by.iter().map(|part| &part.expr))?;
                let sampler = Sampler { by, identity: sample.identity, greatest: sample.share.greatest() };
                let sampler = Arc::new(sampler);
                Box::new(move || Ok(Action::Sample(Arc::clone(&sampler))))
            }
            Operator::Tag(tag) => {
                let (field, right) = (tag.field, tag.right);
                Box::new(move || Ok(Action::Tag(field, right)))
            }
            Operator::Window(_) | Operator::Dedupe(_) | Operator::Throttle(_) | Operator::Join(_) => {
                return Err("a step with state stands behind an exchange".to_owned());
            }
        })
    }
}

/// The action before an exchange: computes what a step with state needs of each row.
pub(super) fn prepare_action(prepare: Prepare) -> ActionMaker {
    Box::new(move || Ok(Action::Prepare(prepare.clone())))
}

/// Compiles an expression; the error is for its author.
pub(super) fn compile(expr: &Expr, layout: &Layout, vars: &[(String, Value)]) -> Result<Program, String> {
    Program::compile(expr, layout, vars).map_err(|d| match &d.span {
        Some(span) => format!("{} ({})", d.message, span.place()),
        None => d.message,
    })
}

/// The action that writes a sink's rows.
pub(super) fn encode(sink: &Sink, layout: &Layout) -> Result<ActionMaker, String> {
    let csv = match &sink.format {
        Format::Csv(dialect) => {
            let names = dialect.columns.iter().flatten();
            let columns = names.filter_map(|n| Some((n.clone(), layout.find(&FieldPath::event([n]))?)));
            Some(Arc::new(CsvColumns { dialect: Csv::clone(dialect), columns: columns.collect() }))
        }
        _ => None,
    };
    let mut templates = Vec::new();
    for template in &sink.templates {
        let (parsed, _) = Template::parse(&template.text)?;
        let inside = sink.paths.then(|| Arc::from(path::split(&template.text).0));
        templates.push(RowText { template: parsed, fields: template.fields.clone(), inside });
    }
    let timed = sink.timed;
    Ok(Box::new(move || Ok(Action::Encode(Encode { csv: csv.clone(), templates: templates.clone(), timed }))))
}
