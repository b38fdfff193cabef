//! Spells a piece of Rhai's syntax tree as an author would write it, for messages.

use rhai::{Expr, Position, Stmt};

use super::syntax::{Segment, chain, is_in};

/// Messages quote at most this many characters of an expression.
const QUOTED: usize = 60;

/// The expression, cut if it is long.
pub(super) fn spell(expr: &Expr) -> String {
    cut(whole(expr))
}

/// A quotation of bearable length.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// Binding strength of a binary operator; 0 for anything else.
fn strength(expr: &Expr) -> u8 {
    match expr {
        Expr::FnCall(call, at) if is_in(call, *at) => 110,
        Expr::FnCall(call, _) if call.is_operator_call() && call.args.len() == 2 => match call.name.as_str() {
            "==" | "!=" => 90,
            "<" | "<=" | ">" | ">=" => 130,
            "+" | "-" => 150,
            "*" | "/" | "%" => 180,
            "**" => 190,
            "|" | "||" => 30,
            "^" => 45,
            "&" => 60,
            "<<" | ">>" => 210,
            _ => 140,
        },
        Expr::Or(..) => 30,
        Expr::And(..) => 60,
        Expr::Coalesce(..) => 135,
        _ => 0,
    }
}

fn side(expr: &Expr, parent: u8, right: bool) -> String {
    let own = strength(expr);
    let text = whole(expr);
    if own != 0 && (own < parent || (right && own == parent)) { format!("({text})") } else { text }
}

fn list<'a>(items: impl Iterator<Item = &'a Expr>) -> String {
    items.map(whole).collect::<Vec<_>>().join(", ")
}

fn whole(expr: &Expr) -> String {
    match expr {
        Expr::BoolConstant(b, _) => b.to_string(),
        Expr::IntegerConstant(i, _) => i.to_string(),
        Expr::FloatConstant(f, _) => zmij::Buffer::new().format(**f).to_string(),
        Expr::CharConstant(c, _) => format!("'{c}'"),
        Expr::StringConstant(s, _) => format!("{:?}", s.as_str()),
        Expr::Unit(_) => "()".into(),
        Expr::Variable(v, ..) => v.1.to_string(),
        Expr::ThisPtr(_) => "this".into(),
        Expr::Array(items, _) => format!("[{}]", list(items.iter())),
        Expr::Map(..) => "#{…}".into(),
        Expr::InterpolatedString(..) => "`…`".into(),
        Expr::Dot(..) | Expr::Index(..) => spell_chain(expr),
        Expr::And(items, _) => joined(items.iter(), " && ", 60),
        Expr::Or(items, _) => joined(items.iter(), " || ", 30),
        Expr::Coalesce(items, _) => joined(items.iter(), " ?? ", 135),
        Expr::FnCall(call, at) => spell_call(expr, call, *at),
        Expr::Stmt(block) => match block.statements() {
            [Stmt::Expr(inner)] => whole(inner),
            _ => "{ … }".into(),
        },
        _ => "…".into(),
    }
}

fn joined<'a>(items: impl Iterator<Item = &'a Expr>, between: &str, parent: u8) -> String {
    items.map(|e| side(e, parent, false)).collect::<Vec<_>>().join(between)
}

fn spell_call(expr: &Expr, call: &rhai::FnCallExpr, at: Position) -> String {
    let name = call.name.as_str();
    match call.args.as_slice() {
        [value] if call.is_operator_call() => {
            let operand = side(value, 200, false);
            // A sign before digits would belong to the number, and two signs are no operator.
            let constant = matches!(value, Expr::IntegerConstant(..) | Expr::FloatConstant(..));
            let digits = !constant && operand.starts_with(|c: char| c.is_ascii_digit());
            if digits || operand.starts_with(['-', '+']) {
                format!("{name}({operand})")
            } else {
                format!("{name}{operand}")
            }
        }
        [list, value] if is_in(call, at) => {
            format!("{} in {}", side(value, 110, false), side(list, 110, true))
        }
        [left, right] if call.is_operator_call() => {
            let parent = strength(expr);
            format!("{} {name} {}", side(left, parent, false), side(right, parent, true))
        }
        _ if name == "curry" => "|…| …".into(),
        args => format!("{name}({})", list(args.iter())),
    }
}

fn spell_chain(expr: &Expr) -> String {
    let chain = chain(expr);
    let mut text = side(chain.root, u8::MAX, false);
    for segment in &chain.segments {
        match segment {
            Segment::Member(name) => {
                text.push('.');
                text.push_str(name);
            }
            Segment::Index(index) => text.push_str(&format!("[{}]", whole(index))),
            Segment::Method(call, _) => {
                text.push_str(&format!(".{}({})", call.name, list(call.args.iter())));
            }
        }
    }
    text
}
