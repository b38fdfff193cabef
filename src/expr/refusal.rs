//! Rhai's errors as faults: none of its words for types reaches a message.

use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult};

use super::built_in;
use super::dynamic;
use super::fault::Fault;
use crate::base::limit;
use crate::data::json;

/// What went wrong when Rhai stopped a script, in the language's words.
pub(super) fn fault(error: &EvalAltResult) -> Fault {
    use EvalAltResult as E;
    Fault::Other(match error {
        E::ErrorMismatchDataType(wanted, actual, _) if wanted == "bool" => return Fault::NotBool(kind(actual)),
        E::ErrorDataTooLarge(what, _) if what.contains("tring") || what.contains("text") => return Fault::TooLong,
        E::ErrorFunctionNotFound(signature, _) => return not_taken(signature),
        E::ErrorRuntime(thrown, _) => format!("the script threw: {}", spelled(thrown)),
        E::ErrorDataTooLarge(..) => {
            format!("a list or map grew beyond {} elements", limit::SCRIPT_CONTAINER_ITEMS)
        }
        E::ErrorTooManyOperations(_) => format!(
            "the script took more than {} operations for one event; a loop in it may have no end",
            limit::SCRIPT_OPERATIONS
        ),
        E::ErrorStackOverflow(_) => {
            format!("calls nest deeper than {}; a function may call itself without end", limit::SCRIPT_CALL_DEPTH)
        }
        E::ErrorTooManyVariables(_) => "the script defines too many variables".into(),
        E::ErrorArrayBounds(len, index, _) => format!("element {index} does not exist: the list has {len}"),
        E::ErrorStringBounds(len, index, _) => format!("character {index} does not exist: the text has {len}"),
        E::ErrorBitFieldBounds(len, index, _) => format!("bit {index} does not exist: an integer has {len}"),
        E::ErrorIndexNotFound(index, _) => format!("there is no element {}", spelled(index)),
        E::ErrorIndexingType(..) => {
            "this cannot be looked into with `[…]`: a list takes an integer there, a map the text of a name".into()
        }
        E::ErrorFor(_) => "`for` goes over lists, ranges and text, and this is none of them".into(),
        E::ErrorVariableNotFound(name, _) => format!("there is no variable `{name}`"),
        E::ErrorVariableExists(name, _) => format!("there is a variable `{name}` already"),
        E::ErrorForbiddenVariable(name, _) => format!("a variable cannot be called `{name}`"),
        E::ErrorPropertyNotFound(..) | E::ErrorDotExpr(..) => "only a map has members, and this is none".into(),
        E::ErrorAssignmentToConstant(name, _) => format!("`{name}` is a constant and cannot be written"),
        E::ErrorNonPureMethodCallOnConstant(name, _) => {
            format!("`{name}` changes what it is called on, and this is a constant")
        }
        E::ErrorMismatchDataType(wanted, actual, _) | E::ErrorMismatchOutputType(wanted, actual, _) => {
            format!("this is {}, and {} is needed", kind(actual), kind(wanted))
        }
        E::ErrorUnboundThis(_) => "`this` stands for nothing here".into(),
        E::ErrorArithmetic(why, _) => format!("this cannot be computed: {why}"),
        E::ErrorDataRace(..) => {
            "a closure uses what it is called on: copy that first, `let copy = items;`, and let the closure use the copy".into()
        }
        E::ErrorInFunctionCall(_, _, inner, _) => return fault(inner),
        _ => "the script cannot go on here".into(),
    })
}

/// What `catch` is given: the words for an error, or what the script threw itself.
pub(super) fn caught(value: &Dynamic) -> Dynamic {
    if let Some(fault) = value.read_lock::<Arc<Fault>>() {
        return fault.alone().into();
    }
    // Errors of its own Rhai hands over as maps.
    let told = value.as_map_ref().ok().and_then(|map| {
        let name = map.get("error").filter(|_| map.contains_key("message"))?;
        let name = name.as_immutable_string_ref().ok()?;
        name.starts_with("Error").then(|| match name.as_str() {
            "ErrorArrayBounds" | "ErrorStringBounds" | "ErrorIndexNotFound" => "there is no such element",
            "ErrorFunctionNotFound" => "a function does not take what it was given",
            "ErrorDotExpr" | "ErrorPropertyNotFound" => "only a map has members, and this is none",
            "ErrorIndexingType" => "this cannot be looked into",
            "ErrorFor" => "`for` goes over lists, ranges and text, and this is none of them",
            _ => "a value is not of the kind that is needed",
        })
    });
    told.map_or_else(|| value.flatten_clone(), Dynamic::from)
}

/// A value as JSON, as far as it is one.
fn spelled(value: &Dynamic) -> String {
    match dynamic::to_value(value) {
        Ok(crate::data::value::Value::Text(text)) => text.into(),
        Ok(value) => {
            let mut out = Vec::new();
            json::write_value(&value, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
        Err(kind) => kind.to_owned(),
    }
}

/// The fault of a call that Rhai finds no function for, from its name and the types of its arguments: `name (type, type)`.
fn not_taken(signature: &str) -> Fault {
    let (name, rest) = signature.split_once(" (").unwrap_or((signature, ""));
    let kinds: Vec<&str> = rest.trim_end_matches(')').split(", ").filter(|t| !t.is_empty()).map(kind).collect();
    let given = match kinds.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nothing".to_owned(),
    };
    match (built_in::find(name), kinds.first()) {
        (Some(function), Some(on)) if !function.is_on(on) => Fault::NotOn(on, function),
        (Some(function), _) => {
            Fault::Other(format!("`{name}` cannot be called with {given}: it is called as `{}`", function.call))
        }
        // A name that nobody wrote.
        (None, _) if name.starts_with("anon$") => Fault::Other(format!("this closure cannot be called with {given}")),
        (None, _) => Fault::Other(format!("there is no function `{name}` that takes {given}")),
    }
}

/// What a type is called in messages, from Rhai's name for it.
fn kind(name: &str) -> &'static str {
    match name {
        "()" => "null",
        "i64" | "int" => "an integer",
        "f64" | "float" => "a float",
        "string" | "text" | "char" => "text",
        "bool" => "a bool",
        _ if name.contains("String") => "text",
        _ if name.ends_with("Null") || name == "null" => "null",
        _ if name.ends_with("BigNumber") || name == "number" => "a number beyond 64 bits",
        _ if name.contains("Map") || name == "map" => "a map",
        _ if name.contains("Vec") || name == "list" || name == "array" => "a list",
        _ if name.contains("FnPtr") || name == "Fn" || name == "function" => "a function",
        _ if name.contains("Range") || name.contains("range") => "a range",
        _ => "a value that no event holds",
    }
}
