//! What the state of a step means. State is only used by a step for which it means the same: another key, other windows,
//! other aggregates are another state. How long it is kept, what becomes of late rows, what happens before and behind the
//! step may change without touching what is kept.

use serde_json::{Value, json};

use super::aggregate::{Call, Function};
use super::join::Join;
use super::window::{Shape, Window};
use super::{KeyPart, Node, NodeKind, Operator, Plan};

/// What the state of a node means; `None` of one without.
pub fn meaning(plan: &Plan, node: &Node) -> Option<Value> {
    let NodeKind::Step(operator) = &node.kind else { return None };
    let by = |parts: &[KeyPart]| Value::from(parts.iter().map(|part| part.expr.text.clone()).collect::<Vec<_>>());
    Some(match operator {
        Operator::Window(window) => of_window(window, by(&window.by)),
        Operator::Dedupe(dedupe) => json!({ "kind": "dedupe", "by": by(&dedupe.by) }),
        Operator::Throttle(throttle) => json!({ "kind": "throttle", "by": by(&throttle.by) }),
        Operator::Join(join) => of_join(plan, node, join),
        Operator::Alert(alert) => json!({ "kind": "alert", "by": by(&alert.by), "levels": alert.levels.len() }),
        Operator::Notify(_) => json!({ "kind": "notify" }),
        Operator::Script { by: key, .. } if !key.is_empty() => json!({ "kind": "script", "by": by(key) }),
        _ => return None,
    })
}

fn of_window(window: &Window, by: Value) -> Value {
    let shape = match &window.shape {
        Shape::Tumbling { size, offset } => json!({ "tumbling": size.to_string(), "offset": offset.to_string() }),
        Shape::Sliding { size, every, offset } => {
            json!({ "sliding": size.to_string(), "every": every.to_string(), "offset": offset.to_string() })
        }
        // The longest session may change: those that are open are judged by the new one from then on.
        Shape::Session { gap, .. } => json!({ "session": gap.to_string() }),
        Shape::Count { .. } => json!("count"),
        Shape::Calendar { every, zone } => json!({ "calendar": format!("{every:?}").to_lowercase(), "zone": zone }),
    };
    let aggregates: Vec<String> = window.calls.iter().map(of_call).collect();
    json!({ "kind": "window", "windows": shape, "by": by, "aggregates": aggregates })
}

fn of_call(call: &Call) -> String {
    let argument = call.argument.as_ref().map_or("", |argument| argument.text.as_str());
    match &call.function {
        Function::Fold(fold) => {
            let merge = fold.merge.as_ref().map_or("", |merge| merge.text.as_str());
            format!("fold({:?}, {}, {merge})", fold.init, fold.each.text)
        }
        other => format!("{other:?}({argument})").to_lowercase(),
    }
}

fn of_join(plan: &Plan, node: &Node, join: &Join) -> Value {
    let side = |index: usize, side: &super::join::Side| {
        let input = node.inputs.get(index).and_then(|input| plan.node(input.node)).map(|n| n.name.clone());
        let on: Vec<&str> = side.on.iter().map(|expr| expr.text.as_str()).collect();
        json!({ "reads": input, "on": on })
    };
    json!({ "kind": "join", "left": side(0, &join.left), "right": side(1, &join.right), "windows": join.windows })
}
