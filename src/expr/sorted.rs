//! Lists in order: in place of Rhai's own, which take what a closure fails on for an order of some kind, and know none of
//! numbers of two kinds.

use std::any::TypeId;

use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, NativeCallContext};

use super::dynamic::{self, Held};
use super::fault::Fault;
use super::host::raise;
use crate::data::value::compare;

/// What a native call is given.
type Arguments<'a, 'b> = &'a mut [&'b mut Dynamic];
type Failed = Box<EvalAltResult>;

/// Registers `sort`, `sort_by`, `sort_desc`, `order`, `order_by`, `order_desc` and `dedup` with a closure.
pub(super) fn register(engine: &mut Engine) {
    let (list, closure) = (TypeId::of::<Array>(), TypeId::of::<FnPtr>());
    for (name, down) in [("sort", false), ("sort_desc", true)] {
        engine.register_raw_fn(name, [list], move |_, args| in_place(args, |items, _| by_value(items, down)));
    }
    for (name, down) in [("order", false), ("order_desc", true)] {
        engine.register_raw_fn(name, [list], move |_, args| copied(args, |items, _| by_value(items, down)));
    }
    for name in ["sort", "sort_by"] {
        engine.register_raw_fn(name, [list, closure], move |context, args| {
            in_place(args, |items, by| by_closure(name, &context, items, by))
        });
    }
    for name in ["order", "order_by"] {
        engine.register_raw_fn(name, [list, closure], move |context, args| {
            copied(args, |items, by| by_closure(name, &context, items, by))
        });
    }
    engine.register_raw_fn("dedup", [list, closure], |context, args| {
        in_place(args, |items, by| without_repeats(&context, items, by))
    });
}

/// Changes the list that a method is called on. It is held all the while, so that a closure that uses it is refused; where
/// the change fails it stays as it was.
fn in_place(
    args: Arguments<'_, '_>,
    change: impl FnOnce(Array, Option<&FnPtr>) -> Result<Array, Failed>,
) -> Result<Dynamic, Failed> {
    let Some((list, others)) = args.split_first_mut() else { return Ok(Dynamic::UNIT) };
    let closure = others.first().and_then(|by| by.read_lock::<FnPtr>());
    if let Ok(mut items) = list.as_array_mut() {
        let changed = change(items.clone(), closure.as_deref())?;
        *items = changed;
    }
    Ok(Dynamic::UNIT)
}

/// The list that a method is called on, changed.
fn copied(
    args: Arguments<'_, '_>,
    change: impl FnOnce(Array, Option<&FnPtr>) -> Result<Array, Failed>,
) -> Result<Dynamic, Failed> {
    let Some((list, others)) = args.split_first_mut() else { return Ok(Dynamic::UNIT) };
    let closure = others.first().and_then(|by| by.read_lock::<FnPtr>());
    match list.as_array_ref() {
        Ok(items) => change(items.clone(), closure.as_deref()).map(Dynamic::from_array),
        Err(_) => Ok(Dynamic::UNIT),
    }
}

/// In the order of keys, which all values have.
fn by_value(items: Array, down: bool) -> Result<Array, Failed> {
    let mut held = Vec::with_capacity(items.len());
    for item in items {
        match Held::new(&item) {
            Held::Odd(kind) => return Err(raise(Fault::Other(format!("a list that holds {kind} cannot be sorted")))),
            value => held.push((value, item)),
        }
    }
    held.sort_by(|(a, _), (b, _)| match (a.view(), b.view()) {
        (Ok(a), Ok(b)) if down => compare(b, a),
        (Ok(a), Ok(b)) => compare(a, b),
        _ => std::cmp::Ordering::Equal,
    });
    Ok(held.into_iter().map(|(_, item)| item).collect())
}

/// In the order that a closure gives two elements: a number above 0, or `false`, if the first comes after the second.
fn by_closure(
    name: &str,
    context: &NativeCallContext<'_>,
    items: Array,
    closure: Option<&FnPtr>,
) -> Result<Array, Failed> {
    let Some(closure) = closure else { return Ok(items) };
    let mut after = |a: &Dynamic, b: &Dynamic| {
        let said = closure.call_raw(context, None, [a.clone(), b.clone()])?;
        match (said.as_bool(), said.as_int(), said.as_float()) {
            (Ok(first), ..) => Ok(!first),
            (_, Ok(order), _) => Ok(order > 0),
            (.., Ok(order)) => Ok(order > 0.0),
            _ => Err(gave(name, &said, "a number or a bool")),
        }
    };
    // A sort of the standard library may panic where a closure is of two minds, and cannot be stopped by one that fails.
    let mut runs: Vec<Array> = items.into_iter().map(|item| vec![item]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut rest = runs.into_iter();
        while let Some(left) = rest.next() {
            merged.push(match rest.next() {
                Some(right) => merge(left, right, &mut after)?,
                None => left,
            });
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default())
}

/// Two lists that are in order as one.
fn merge(
    left: Array,
    right: Array,
    after: &mut impl FnMut(&Dynamic, &Dynamic) -> Result<bool, Failed>,
) -> Result<Array, Failed> {
    let mut merged = Array::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(if after(a, b)? { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// Without those that a closure takes for a repetition of the element before.
fn without_repeats(context: &NativeCallContext<'_>, items: Array, closure: Option<&FnPtr>) -> Result<Array, Failed> {
    let Some(closure) = closure else { return Ok(items) };
    let mut kept = Array::with_capacity(items.len());
    for item in items {
        let repeats = match kept.last() {
            Some(before) => {
                let said = closure.call_raw(context, None, [Dynamic::clone(before), item.clone()])?;
                said.as_bool().map_err(|_| gave("dedup", &said, "a bool"))?
            }
            None => false,
        };
        if !repeats {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// Why what a closure gave is of no use.
fn gave(name: &str, said: &Dynamic, needed: &str) -> Failed {
    let kind = dynamic::to_value(said).map_or_else(|kind| kind, |value| value.as_val().kind());
    raise(Fault::Other(format!("the closure of `{name}` gave {kind}, where {needed} is needed")))
}
