//! Whether one condition can hold only where another does.

use rhai::{Expr as Tree, FnCallExpr, Stmt};

use crate::expr::Expr;
use crate::expr::analyse::parse;
use crate::expr::ops::Op;
use crate::expr::spell::spell;
use crate::expr::syntax::chain;

/// A condition taken apart: all of its parts have to hold.
#[derive(Clone, Debug)]
pub struct Condition {
    parts: Vec<Part>,
}

/// A part as it is spelled, and if it compares a field with a number, how.
#[derive(Clone, Debug)]
struct Part {
    text: String,
    bound: Option<(String, Op, f64)>,
}

impl Condition {
    /// Takes a condition apart; `None` where its parts cannot be told from others.
    pub fn of(expr: &Expr) -> Option<Condition> {
        let ast = parse(&expr.text).ok()?;
        let parts = match ast.statements() {
            [Stmt::Expr(whole)] => match &**whole {
                Tree::And(items, _) => items.iter().map(part).collect::<Option<Vec<Part>>>()?,
                one => vec![part(one)?],
            },
            [Stmt::FnCall(call, at)] => vec![part(&Tree::FnCall(call.clone(), *at))?],
            _ => return None,
        };
        Some(Condition { parts })
    }
}

fn part(expr: &Tree) -> Option<Part> {
    let text = spell(expr);
    // What is cut or left out may differ.
    if text.contains('…') {
        return None;
    }
    let bound = match expr {
        Tree::FnCall(call, _) if call.is_operator_call() => bound(call),
        _ => None,
    };
    Some(Part { text, bound })
}

fn bound(call: &FnCallExpr) -> Option<(String, Op, f64)> {
    let [left, right] = call.args.as_slice() else { return None };
    let op = Op::from_symbol(&call.name).filter(|op| op.is_comparison())?;
    let number = |expr: &Tree| match expr {
        // Beyond 2^53 a float is not exact.
        Tree::IntegerConstant(i, _) if i.unsigned_abs() < (1 << 53) => Some(*i as f64),
        Tree::FloatConstant(f, _) => Some(**f),
        _ => None,
    };
    let field = |expr: &Tree| {
        let taken = chain(expr);
        let plain = matches!(taken.root, Tree::Variable(..)) && taken.names().len() == taken.segments.len();
        plain.then(|| spell(expr))
    };
    match (field(left), number(right), number(left), field(right)) {
        (Some(field), Some(number), ..) => Some((field, op, number)),
        (.., Some(number), Some(field)) => Some((field, op.mirrored(), number)),
        _ => None,
    }
}

/// Whether `earlier` holds wherever `later` does.
pub fn implied(later: &Condition, earlier: &Condition) -> bool {
    earlier.parts.iter().all(|wanted| later.parts.iter().any(|part| part.text == wanted.text || within(part, wanted)))
}

/// Whether a field's bound lies within another of the same field.
fn within(part: &Part, wanted: &Part) -> bool {
    let (Some((field, op, number)), Some((other, wider, limit))) = (&part.bound, &wanted.bound) else { return false };
    if field != other {
        return false;
    }
    match (op, wider) {
        (Op::Greater | Op::GreaterOrEqual | Op::Equal, Op::Greater) => {
            number > limit || (number == limit && *op == Op::Greater)
        }
        (Op::Greater | Op::GreaterOrEqual | Op::Equal, Op::GreaterOrEqual) => number >= limit,
        (Op::Less | Op::LessOrEqual | Op::Equal, Op::Less) => number < limit || (number == limit && *op == Op::Less),
        (Op::Less | Op::LessOrEqual | Op::Equal, Op::LessOrEqual) => number <= limit,
        (Op::Equal, Op::Equal) => number == limit,
        _ => false,
    }
}
