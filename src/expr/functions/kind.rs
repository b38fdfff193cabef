//! What kind of value something is.

use super::{Function, any, function, truth};
use crate::data::value::{Val, Value};

pub(super) fn functions() -> Vec<Function> {
    macro_rules! test {
        ($signature:literal, $summary:literal, $example:expr, $pattern:pat) => {
            function($signature, $summary, $example, |args, _| truth(matches!(any(args, 0), $pattern)))
        };
    }
    vec![
        test!("is_null(x)", "Whether it is missing or null.", ("is_null(())", "true"), Val::Unit),
        test!("is_bool(x)", "Whether it is a bool.", ("is_bool(1)", "false"), Val::Bool(_)),
        test!("is_int(x)", "Whether it is an integer.", ("is_int(1)", "true"), Val::Int(_)),
        test!("is_float(x)", "Whether it is a float.", ("is_float(1)", "false"), Val::Float(_)),
        test!(
            "is_number(x)",
            "Whether it is a number.",
            ("is_number(1.5)", "true"),
            Val::Int(_) | Val::Float(_) | Val::Big(Value::Number(_))
        ),
        test!("is_text(x)", "Whether it is text.", ("is_text(\"a\")", "true"), Val::Text(_)),
        test!("is_list(x)", "Whether it is a list.", ("is_list([1])", "true"), Val::Big(Value::List(_))),
        test!("is_map(x)", "Whether it is a map.", ("is_map([1])", "false"), Val::Big(Value::Map(_))),
    ]
}
