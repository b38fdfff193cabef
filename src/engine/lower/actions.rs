//! Stateless steps and sinks: their expressions compiled, an action to be made for each flow that they stand in.

use std::sync::Arc;

use compact_str::CompactString;

use crate::connector::path;
use crate::connector::template::Template;
use crate::data::format::{Csv, Format};
use crate::data::json::Joining;
use crate::data::layout::{FieldId, FieldPath, Layout};
use crate::data::validate::Schema;
use crate::data::value::Value;
use crate::engine::action::{Action, Prepare};
use crate::engine::actions::encode::{CsvColumns, Encode, RowText, Rows};
use crate::engine::actions::explode::ExplodeAction;
use crate::engine::actions::parse::ParseAction;
use crate::engine::actions::sample::Sampler;
use crate::engine::actions::validate::ValidateAction;
use crate::expr::{Expr, Program};
use crate::plan::explode::Explode;
use crate::plan::parse::Parse;
use crate::plan::validate::Validate;
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
            Operator::Parse(parse) => self.parse(parse),
            Operator::Explode(explode) => self.explode(explode),
            Operator::Validate(validate) => validated(validate)?,
            Operator::Route { branches } => {
                let programs = programs(&mut branches.iter().map(|(_, e)| e))?;
                let ports = branches.iter().map(|(name, _)| Port::Named(name.clone()));
                let branches: Vec<_> = ports.zip(programs).collect();
                Box::new(move || Ok(Action::Route(branches.clone())))
            }
            Operator::Lookup(lookup) => self.lookup(lookup)?,
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
            Operator::Window(_)
            | Operator::Dedupe(_)
            | Operator::Throttle(_)
            | Operator::Join(_)
            | Operator::Alert(_)
            | Operator::Notify(_) => {
                return Err("a step with state stands behind an exchange".to_owned());
            }
        })
    }

    fn parse(&self, parse: &Parse) -> ActionMaker {
        let joining =
            Joining { from: self.names(parse.field), keep: parse.keep, into: parse.into.map(|into| self.names(into)) };
        let (field, format, name) = (parse.field, parse.format.clone(), joining.from.join("."));
        Box::new(move || {
            let (name, format, joining) = (name.clone(), format.clone(), joining.clone());
            Ok(Action::Parse(Box::new(ParseAction { field, name, format, joining })))
        })
    }

    fn explode(&self, explode: &Explode) -> ActionMaker {
        let (field, to) = (self.names(explode.field), self.names(explode.to));
        let keep_empty = explode.keep_empty;
        Box::new(move || Ok(Action::Explode(ExplodeAction { field: field.clone(), to: to.clone(), keep_empty })))
    }

    /// The names of a field from the outside in.
    fn names(&self, field: FieldId) -> Vec<CompactString> {
        self.layout.path(field).map(|path| path.names.clone()).unwrap_or_default()
    }
}

fn validated(validate: &Validate) -> Result<ActionMaker, String> {
    let schema = Arc::new(Schema::compile(&validate.schema).map_err(|e| e.reason)?);
    Ok(Box::new(move || Ok(Action::Validate(ValidateAction { schema: Arc::clone(&schema) }))))
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
    let format = match &sink.format {
        Format::Csv(dialect) => {
            let names = dialect.columns.iter().flatten();
            let columns = names.filter_map(|n| Some((n.clone(), layout.find(&FieldPath::event([n]))?)));
            Rows::Csv(Arc::new(CsvColumns { dialect: Csv::clone(dialect), columns: columns.collect() }))
        }
        Format::MessagePack => Rows::MessagePack,
        Format::Logfmt(_) => Rows::Logfmt,
        Format::Line => Rows::Lines,
        _ => Rows::Json,
    };
    let mut templates = Vec::new();
    for template in &sink.templates {
        let (parsed, _) = Template::parse(&template.text)?;
        let inside = sink.paths.then(|| Arc::from(path::split(&template.text).0));
        templates.push(RowText { template: parsed, fields: template.fields.clone(), inside });
    }
    // Last, where the rows' format looks for it.
    if let Some(line) = &sink.line {
        let (template, _) = Template::parse(&line.text)?;
        templates.push(RowText { template, fields: line.fields.clone(), inside: None });
    }
    let (timed, identity, told_apart) = (sink.timed, sink.identity, sink.told_apart);
    Ok(Box::new(move || {
        let (format, templates) = (format.clone(), templates.clone());
        Ok(Action::Encode(Encode { format, templates, timed, identity, told_apart }))
    }))
}
