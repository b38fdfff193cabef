//! Notes, for every operation of an expression, how it is spelled and where it stands.

use rhai::{BinaryExpr, Expr, FnCallExpr, Position};

use super::fault::{Operand, Role, Site, Sites};
use super::spell::{cut, spell};
use super::syntax::{Segment, chain, place, start};

fn operand(expr: &Expr) -> Operand {
    // A chain that ends in a call is no field, whatever it begins with.
    let field = match expr {
        Expr::Variable(..) => true,
        Expr::Dot(..) | Expr::Index(..) => {
            let chain = chain(expr);
            matches!(chain.root, Expr::Variable(..)) && !chain.segments.iter().any(|s| matches!(s, Segment::Method(..)))
        }
        _ => false,
    };
    Operand { text: spell(expr), field }
}

fn add(sites: &mut Sites, role: Role, text: String, operands: Vec<Operand>, at: Position) -> usize {
    let (line, column) = place(at);
    sites.add(role, (line, column), Site { text: cut(text), operands, line, column })
}

/// A call or an operator; `target` is the chain in which a method is called.
pub(super) fn call(sites: &mut Sites, call: &FnCallExpr, at: Position, target: Option<&Expr>) -> usize {
    let mut operands: Vec<Operand> = Vec::with_capacity(call.args.len() + 1);
    let text = match target {
        Some(expr) => {
            let on = before(expr, at);
            let arguments = call.args.iter().map(spell).collect::<Vec<_>>().join(", ");
            let text = format!("{}.{}({arguments})", on.text, call.name);
            operands.push(on);
            text
        }
        None => spell(&Expr::FnCall(Box::new(call.clone()), at)),
    };
    operands.extend(call.args.iter().map(operand));
    add(sites, Role::Operation, text, operands, at)
}

/// What stands in a chain before the method at a place.
pub(super) fn before(expr: &Expr, at: Position) -> Operand {
    let taken = chain(expr);
    let mut on = operand(taken.root);
    for segment in &taken.segments {
        match segment {
            Segment::Method(_, here) if *here == at => return on,
            Segment::Member(name) => on.text = format!("{}.{name}", on.text),
            Segment::Index(index) => on.text = format!("{}[{}]", on.text, spell(index)),
            Segment::Method(call, _) => {
                let arguments = call.args.iter().map(spell).collect::<Vec<_>>().join(", ");
                on = Operand { text: format!("{}.{}({arguments})", on.text, call.name), field: false };
            }
        }
    }
    on
}

/// `target op= value`.
pub(super) fn assignment(sites: &mut Sites, symbol: &str, sides: &BinaryExpr, at: Position) -> usize {
    let operands = vec![operand(&sides.lhs), operand(&sides.rhs)];
    let text = format!("{} {symbol} {}", spell(&sides.lhs), spell(&sides.rhs));
    add(sites, Role::Operation, text, operands, at)
}

/// A part of an interpolated text. Its place is that of the part, which for `${…}` is its brace.
pub(super) fn interpolated(sites: &mut Sites, part: &Expr) -> usize {
    let inner = operand(part);
    let inner = match part {
        Expr::Stmt(block) => match block.statements() {
            [rhai::Stmt::Expr(expr)] => operand(expr),
            _ => inner,
        },
        _ => inner,
    };
    let text = format!("${{{}}}", inner.text);
    add(sites, Role::Operation, text, vec![inner], part.position())
}

/// A value that must be a bool.
pub(super) fn truth(sites: &mut Sites, expr: &Expr) -> usize {
    let operand = operand(expr);
    let (line, column) = start(expr);
    let site = Site { text: operand.text.clone(), operands: vec![operand], line, column };
    let found = sites.add(Role::Truth, place(expr.position()), site);
    // For Rhai a chain may become a plain variable or a call, which stands where the chain begins.
    if matches!(chain(expr).root, Expr::Variable(..)) {
        sites.also(Role::Truth, (line, column), found);
        // And what follows it stands where its second step does.
        let mut rest = expr;
        while let Expr::Dot(sides, _, at) | Expr::Index(sides, _, at) = rest {
            sites.also(Role::Truth, place(*at), found);
            rest = &sides.rhs;
        }
    }
    found
}
