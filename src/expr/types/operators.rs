//! Operators over types: what they give, and which can never give anything.

use rhai::{Expr, FnCallExpr, Position};

use super::known::Known;
use super::read::Reader;
use super::{Kinds, Type};
use crate::expr::ops::Op;
use crate::expr::spell::spell;
use crate::expr::syntax::{is_in, start};

/// Kinds that have an order.
const ORDERED: Kinds = Kinds(Kinds::BOOL.0 | Kinds::NUMBER.0 | Kinds::TEXT.0);
/// Kinds that text can be joined with.
const JOINED: Kinds = Kinds(Kinds::BOOL.0 | Kinds::NUMBER.0 | Kinds::TEXT.0);

impl Reader<'_> {
    /// A call of an operator.
    pub(super) fn operator(&mut self, call: &FnCallExpr, at: Position) -> Known {
        let before = self.found.len();
        let sides: Vec<Known> = call.args.iter().map(|side| self.expr(side)).collect();
        // What is wrong inside is told there.
        let told = self.found.len() > before;
        let name = call.name.as_str();
        match (call.args.as_slice(), sides.as_slice()) {
            ([left, right], [a, b]) if name == "contains" => {
                if let (Expr::Array(items, _), false, true) = (left, told, is_in(call, at)) {
                    self.one_of(call, at, right, &b.of, items);
                }
                let _ = a;
                Known::truth(None)
            }
            ([left, right], [a, b]) => match Op::from_symbol(name) {
                Some(op) if op.is_comparison() => self.comparison(op, call, at, [(left, &a.of), (right, &b.of)], told),
                Some(op) => self.arithmetic(op, call, at, [(left, &a.of), (right, &b.of)], told),
                None => Known::nothing(),
            },
            ([operand], [of]) if name == "!" => {
                if !told {
                    self.bool_needed(operand, of);
                }
                Known::truth(of.truth.map(|truth| !truth))
            }
            ([operand], [of]) if matches!(name, "-" | "+") => {
                if !told && !of.of.kinds.meet(Kinds::NUMBER) {
                    self.no_value(call, at, operand, of.of.kinds);
                }
                Kinds::NUMBER.into()
            }
            _ => Known::nothing(),
        }
    }

    fn comparison(&mut self, op: Op, call: &FnCallExpr, at: Position, sides: [(&Expr, &Type); 2], told: bool) -> Known {
        let [(left, a), (right, b)] = sides;
        let (a, b) = (a.kinds, b.kinds);
        let possible = if op.is_order() { a.and(b).meet(ORDERED) } else { a.meet(b) };
        if possible {
            return Known::truth(None);
        }
        let truth = op == Op::Unequal;
        let equality = !op.is_order();
        let known = Known::truth(Some(truth));
        if told || a == Kinds::NONE || b == Kinds::NONE {
            return known;
        }
        let whole = spell(&Expr::FnCall(Box::new(call.clone()), at));
        // An order that is none is an error of the row, but for one in which a side is missing.
        let always = if equality || a == Kinds::MISSING || b == Kinds::MISSING {
            format!("`{whole}` is always {truth}")
        } else if a.meet(Kinds::MISSING) || b.meet(Kinds::MISSING) {
            format!("`{whole}` is never true")
        } else {
            format!("`{whole}` never has a value")
        };
        let (place, len) = (start(left), whole.len());
        let there = match (a == Kinds::MISSING, b == Kinds::MISSING) {
            (false, true) => Some(left),
            (true, false) => Some(right),
            _ => None,
        };
        match there {
            // Asking whether something is there does no harm.
            Some(field) if equality => {
                let words = format!("{always}: `{}` is never missing or null", spell(field));
                let help = "if it may be, say so in the source's `schema`: `int?`";
                self.warning("impossible-comparison", place, len, words, Some(help.into()));
            }
            _ => {
                let (left_is, right_is) = (said(left, a), said(right, b));
                let why =
                    if a == b && !equality { format!("{a} has no order") } else { format!("{left_is} and {right_is}") };
                let help = quoting([(left, a), (right, b)]);
                self.error("impossible-comparison", place, len, format!("{always}: {why}"), help);
            }
        }
        known
    }

    fn arithmetic(&mut self, op: Op, call: &FnCallExpr, at: Position, sides: [(&Expr, &Type); 2], told: bool) -> Known {
        let [(left, a), (right, b)] = sides;
        let (a, b) = (a.kinds, b.kinds);
        let mut result = Kinds::NONE;
        if a.meet(Kinds::NUMBER) && b.meet(Kinds::NUMBER) {
            result = result | Kinds::NUMBER;
        }
        let joins = (a.meet(Kinds::TEXT) && b.meet(JOINED)) || (b.meet(Kinds::TEXT) && a.meet(JOINED));
        if op == Op::Add && joins {
            result = result | Kinds::TEXT;
        }
        if result == Kinds::NONE && !told {
            let fits = if op == Op::Add { JOINED } else { Kinds::NUMBER };
            let (operand, kinds) =
                if a.meet(fits) && !(b.meet(fits) && op == Op::Add) { (right, b) } else { (left, a) };
            self.no_value(call, at, operand, kinds);
        }
        // After a mistake nothing follows from what it would give.
        if result == Kinds::NONE { Known::nothing() } else { result.into() }
    }

    /// Reports an operation that fails whatever the event, because of one operand.
    pub(super) fn no_value(&mut self, call: &FnCallExpr, at: Position, operand: &Expr, kinds: Kinds) {
        let whole = spell(&Expr::FnCall(Box::new(call.clone()), at));
        let spelled = spell(operand);
        let words = format!("`{whole}` never has a value: `{spelled}` is {kinds}");
        self.error("impossible-types", start(operand), spelled.len(), words, None);
    }

    /// Reports `value in [ … ]` where nothing in the list is of the value's kind.
    fn one_of(&mut self, call: &FnCallExpr, at: Position, value: &Expr, of: &Type, items: &[Expr]) {
        let mut kinds = Kinds::NONE;
        for item in items {
            let scratch = self.found.len();
            kinds = kinds | self.expr(item).of.kinds;
            // It has been read once already.
            self.found.truncate(scratch);
        }
        if kinds.meet(of.kinds) || kinds == Kinds::NONE || of.kinds == Kinds::NONE {
            return;
        }
        let whole = spell(&Expr::FnCall(Box::new(call.clone()), at));
        let words = format!("`{whole}` is always false: {} and the list holds {kinds}", said(value, of.kinds));
        self.error("impossible-comparison", start(value), whole.len(), words, None);
    }

    /// Reports what is never a bool where one is needed.
    pub(super) fn bool_needed(&mut self, expr: &Expr, known: &Known) {
        if known.of.kinds.meet(Kinds::BOOL) || known.of.kinds == Kinds::NONE {
            return;
        }
        let spelled = spell(expr);
        let words = format!("`{spelled}` is {}, where a bool is needed", known.of.kinds);
        let help = match expr {
            Expr::Variable(..) | Expr::Dot(..) if known.of.kinds.without(Kinds::MISSING) == Kinds::NUMBER => {
                Some(format!("compare it: `{spelled} != 0`"))
            }
            Expr::Variable(..) | Expr::Dot(..) if known.of.kinds.without(Kinds::MISSING) == Kinds::TEXT => {
                Some(format!("compare it: `{spelled} == \"…\"`"))
            }
            _ => None,
        };
        self.error("impossible-types", start(expr), spelled.len(), words, help);
    }
}

/// "`status` is text".
fn said(side: &Expr, kinds: Kinds) -> String {
    format!("`{}` is {kinds}", spell(side))
}

/// A number in quotes, or text without them.
fn quoting(sides: [(&Expr, Kinds); 2]) -> Option<String> {
    let [(left, a), (right, b)] = sides;
    let (constant, other) = match (left, right) {
        (_, Expr::StringConstant(..) | Expr::IntegerConstant(..)) => (right, a),
        (Expr::StringConstant(..) | Expr::IntegerConstant(..), _) => (left, b),
        _ => return None,
    };
    match constant {
        Expr::StringConstant(text, _) if other.meet(Kinds::NUMBER) && text.parse::<f64>().is_ok() => {
            Some(format!("a number stands without quotes: `{text}`"))
        }
        Expr::StringConstant(text, _) if other.meet(Kinds::BOOL) && matches!(text.as_str(), "true" | "false") => {
            Some(format!("a bool stands without quotes: `{text}`"))
        }
        Expr::IntegerConstant(number, _) if other.meet(Kinds::TEXT) => {
            Some(format!("text stands in quotes: `\"{number}\"`"))
        }
        _ => None,
    }
}
