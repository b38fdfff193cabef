//! What functions take and give. What they take is found by trying: a function has no value for an argument of a kind if
//! it refuses that kind whatever the other arguments are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bumpalo::Bump;

use super::Kinds;
use super::known::Known;
use crate::data::value::{Map, Val, Value};
use crate::expr::built_in;
use crate::expr::fault::Fault;
use crate::expr::functions::{Function, find, functions};

/// The position of the first argument that a function takes in none of the kinds it may be of.
pub(super) fn impossible(name: &str, arguments: &[Kinds]) -> Option<usize> {
    // Rhai has functions of the same name, some for values that events do not hold.
    if let Some(built_in) = built_in::find(name) {
        let taken = built_in.arguments.contains(&arguments.len());
        let own = find(name).is_some_and(|f| f.arguments.contains(&arguments.len()));
        let on = arguments.first().copied().unwrap_or(Kinds::NONE);
        let never = taken && !own && on != Kinds::NONE && !on.meet(built_in.on);
        return never.then_some(0);
    }
    let function = functions().iter().find(|f| f.name == name && f.arguments.contains(&arguments.len()))?;
    // Each is tried when it is first asked for: all of them take seconds.
    static REFUSED: Mutex<BTreeMap<(&'static str, usize), Vec<Kinds>>> = Mutex::new(BTreeMap::new());
    let mut known = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    let of = (function.name, arguments.len());
    let refused = known.entry(of).or_insert_with(|| refused(function, arguments.len()));
    arguments.iter().zip(refused).position(|(kinds, refused)| *kinds != Kinds::NONE && kinds.within(*refused))
}

/// For each argument the kinds that a function refuses.
fn refused(function: &Function, count: usize) -> Vec<Kinds> {
    let samples = samples();
    let tries = samples.len().pow(u32::try_from(count).unwrap_or(u32::MAX));
    // One argument more and every pair of kinds costs as much again; none of the table takes so many.
    if count > 4 {
        return vec![Kinds::NONE; count];
    }
    let mut kinds = vec![[Tried::default(); 6]; count];
    let arena = Bump::new();
    for number in 0..tries {
        let chosen: Vec<&(usize, Value)> = (0..count)
            .scan(number, |left, _| {
                let at = *left % samples.len();
                *left /= samples.len();
                samples.get(at)
            })
            .collect();
        let arguments: Vec<Val<'_>> = chosen.iter().map(|(_, value)| value.as_val()).collect();
        let fault = (function.body)(&arguments, &arena).err();
        for (position, (kind, _)) in chosen.iter().enumerate() {
            if let Some(tried) = kinds.get_mut(position).and_then(|k| k.get_mut(*kind)) {
                tried.note(position, fault.as_ref());
            }
        }
    }
    let refused = |of: &[Tried; 6]| {
        let all = of.iter().enumerate().filter(|(_, tried)| tried.refused && !tried.taken);
        all.fold(Kinds::NONE, |sum, (kind, _)| sum | Kinds(1 << kind))
    };
    kinds.iter().map(refused).collect()
}

/// What came of trying one kind at one position.
#[derive(Clone, Copy, Default)]
struct Tried {
    /// It was refused for what it is.
    refused: bool,
    /// There was a value, or none for another reason than the kind of an argument.
    taken: bool,
}

impl Tried {
    fn note(&mut self, position: usize, fault: Option<&Fault>) {
        match fault {
            Some(Fault::Kind(at, _) | Fault::Missing(at)) => self.refused |= *at == position,
            _ => self.taken = true,
        }
    }
}

/// Values of every kind, each with its kind's bit.
fn samples() -> Vec<(usize, Value)> {
    let text = |t: &str| Value::Text(t.into());
    let map = Map(vec![("a".into(), Value::Int(1))]);
    vec![
        (0, Value::Null),
        (1, Value::Bool(true)),
        (2, Value::Int(2)),
        (2, Value::Int(0)),
        (2, Value::Float(1.5)),
        (3, text("a")),
        (3, text("2026-01-01T00:00:00Z")),
        (4, Value::List(Arc::new(vec![text("a")]))),
        (5, Value::Map(Arc::new(map))),
    ]
}

/// What a function gives for arguments of these kinds.
pub(super) fn result(name: &str, arguments: &[Kinds]) -> Known {
    let first = arguments.first().copied().unwrap_or(Kinds::ANY);
    let is = |kind: Kinds| {
        let truth = if first.within(kind) { Some(true) } else { (!first.meet(kind)).then_some(false) };
        Known::truth(truth.filter(|_| first != Kinds::NONE))
    };
    let rarely = |kind: Kinds| {
        // A number may be of another sort.
        Known::truth((!first.meet(kind) && first != Kinds::NONE).then_some(false))
    };
    if let Some(built_in) = built_in::find(name) {
        let own = find(name).is_some_and(|f| f.arguments.contains(&arguments.len()));
        return if built_in.gives || own { Known::nothing() } else { Kinds::MISSING.into() };
    }
    if find(name).is_none_or(|f| !f.arguments.contains(&arguments.len())) {
        return Known::nothing();
    }
    match name {
        "is_null" => is(Kinds::MISSING),
        "is_bool" => is(Kinds::BOOL),
        "is_text" => is(Kinds::TEXT),
        "is_list" => is(Kinds::LIST),
        "is_map" => is(Kinds::MAP),
        "is_number" | "is_int" | "is_float" => rarely(Kinds::NUMBER),
        "starts_with" | "ends_with" | "is_empty" => Known::truth(None),
        "abs" | "sign" | "floor" | "ceil" | "round" | "int" | "float" | "div" | "min" | "max" | "clamp" | "pow"
        | "sqrt" | "exp" | "ln" | "log10" | "log2" | "sin" | "cos" | "atan2" | "len" | "year" | "month" | "day"
        | "hour" | "minute" | "second" | "weekday" | "unix" | "unix_ms" | "parse_time" | "duration" => {
            Kinds::NUMBER.into()
        }
        "parse_int" | "parse_float" => (Kinds::NUMBER | Kinds::MISSING).into(),
        "upper" | "lower" | "trim" | "trim_start" | "trim_end" | "replace" | "substring" | "strip_prefix"
        | "strip_suffix" | "pad_left" | "pad_right" | "repeat" | "join" | "to_text" | "to_json" | "format_time" => {
            Kinds::TEXT.into()
        }
        _ => Known::nothing(),
    }
}
