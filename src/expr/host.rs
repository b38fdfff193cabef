//! Rhai, patched to the language's rules: our operators and functions in place of its own, no way to the outside, limits.

use std::any::TypeId;
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use bumpalo::Bump;
use rhai::packages::{
    BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, LanguageCorePackage, Package,
};
use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, Map, NativeCallContext, OptimizationLevel, Position,
    Token,
};

use super::dynamic::{BigNumber, Held, Null, from_val, from_value, to_value};
use super::fault::{Fault, Side};
use super::functions::{self, Function, Out};
use super::ops::{self, Op};
use crate::base::limit;
use crate::data::value::{Val, Value};

/// The engine that every script runs in. It holds no state of a run.
pub(super) static ENGINE: LazyLock<Engine> = LazyLock::new(build);

/// How deep operators and brackets may nest; whatever walks a tree goes as deep.
pub(super) const DEPTH: usize = 128;

/// A native call's answer.
type Answer = Result<Dynamic, Box<EvalAltResult>>;

/// Marks the error that `drop()` ends a script with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped;

/// What a script does besides computing, gathered while it runs.
#[derive(Default)]
pub(super) struct Effects {
    /// What it emitted: port and value.
    pub emitted: Vec<(Option<String>, Value)>,
    /// A fault inside an interpolated text, which Rhai would print instead of failing.
    pub pending: Option<(Fault, Position)>,
}

thread_local! {
    /// The effects of the script that runs on this thread.
    static EFFECTS: RefCell<Effects> = RefCell::default();
}

/// The effects since the last call.
pub(super) fn take_effects() -> Effects {
    EFFECTS.with_borrow_mut(std::mem::take)
}

fn build() -> Engine {
    let mut engine = Engine::new_raw();
    for module in [
        LanguageCorePackage::new().as_shared_module(),
        BasicIteratorPackage::new().as_shared_module(),
        BasicFnPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
    ] {
        engine.register_global_module(module);
    }
    engine.set_optimization_level(OptimizationLevel::None);
    engine.set_fast_operators(false);
    for symbol in ["eval", "import", "export"] {
        engine.disable_symbol(symbol);
    }
    // `null` is reserved in Rhai; here `null()` is a function. The others are plausible names of fields, and what Rhai
    // keeps them for is not here.
    #[expect(deprecated, reason = "Rhai marks the call as unstable; the version is pinned")]
    engine.on_parse_token(|token, _, _| match token {
        Token::Reserved(word) if ["null", "print", "debug"].contains(&word.as_str()) => Token::Identifier(word),
        Token::As => Token::Identifier(Box::new("as".into())),
        other => other,
    });
    name_types(&mut engine);
    set_limits(&mut engine);
    register_operators(&mut engine);
    register_members(&mut engine);
    register_effects(&mut engine);
    super::sorted::register(&mut engine);
    for function in functions::functions() {
        register_function(&mut engine, function);
    }
    engine
}

fn name_types(engine: &mut Engine) {
    for (rust, name) in [("string", "text"), ("char", "text"), ("array", "list"), ("()", "null"), ("Fn", "function")] {
        engine.register_type_with_name_raw(rust, name);
    }
    engine.register_type_with_name::<i64>("int");
    engine.register_type_with_name::<f64>("float");
    engine.register_type_with_name::<Null>("null");
    engine.register_type_with_name::<BigNumber>("number");
}

fn set_limits(engine: &mut Engine) {
    engine.set_max_operations(limit::SCRIPT_OPERATIONS);
    engine.set_max_call_levels(limit::SCRIPT_CALL_DEPTH);
    engine.set_max_string_size(limit::SCRIPT_TEXT_BYTES);
    engine.set_max_array_size(limit::SCRIPT_CONTAINER_ITEMS);
    engine.set_max_map_size(limit::SCRIPT_CONTAINER_ITEMS);
    engine.set_max_variables(limit::FIELDS);
    engine.set_max_modules(0);
    engine.set_max_expr_depths(DEPTH, DEPTH);
}

/// Every type that an operand or a first argument can have.
fn types() -> [TypeId; 13] {
    [
        TypeId::of::<()>(),
        TypeId::of::<bool>(),
        TypeId::of::<i64>(),
        TypeId::of::<f64>(),
        TypeId::of::<ImmutableString>(),
        TypeId::of::<char>(),
        TypeId::of::<Array>(),
        TypeId::of::<Map>(),
        TypeId::of::<Null>(),
        TypeId::of::<BigNumber>(),
        TypeId::of::<FnPtr>(),
        TypeId::of::<std::ops::Range<i64>>(),
        TypeId::of::<std::ops::RangeInclusive<i64>>(),
    ]
}

/// Our operators for every pair of types: Rhai looks for an exact match first, and keeps its own for what it finds none.
fn register_operators(engine: &mut Engine) {
    for (op, symbol) in Op::ALL {
        for left in types() {
            for right in types() {
                engine.register_raw_fn(symbol, [left, right], move |_, args| operate(op, args));
                if !op.is_comparison() {
                    engine.register_raw_fn(format!("{symbol}="), [left, right], move |_, args| {
                        let result = operate(op, args)?;
                        if let Some(target) = args.first_mut() {
                            **target = result;
                        }
                        Ok(Dynamic::UNIT)
                    });
                }
            }
        }
    }
    // What is of no type above, such as an iterator, Rhai would find neither less nor greater.
    let any = TypeId::of::<Dynamic>();
    for (op, symbol) in Op::ALL.into_iter().filter(|(op, _)| op.is_order()) {
        engine.register_raw_fn(symbol, [any, any], move |_, args| operate(op, args));
    }
    register_plain_operators(engine);
    for operand in types() {
        engine.register_raw_fn("-", [operand], |_, args| unary(ops::negate, args));
        engine.register_raw_fn("+", [operand], |_, args| unary(ops::affirm, args));
        engine.register_raw_fn("!", [operand], |_, args| unary(ops::not, args));
    }
}

/// The operators of two numbers once more, without the detour over a view that every type fits: they are what scripts
/// mostly do. The last one registered counts.
fn register_plain_operators(engine: &mut Engine) {
    let (int, float) = (TypeId::of::<i64>(), TypeId::of::<f64>());
    for (op, symbol) in Op::ALL {
        for pair in [[int, int], [int, float], [float, int], [float, float]] {
            engine.register_raw_fn(symbol, pair, move |_, args| numbers(op, args));
            if !op.is_comparison() {
                engine.register_raw_fn(format!("{symbol}="), pair, move |_, args| {
                    let result = numbers(op, args)?;
                    if let Some(target) = args.first_mut() {
                        **target = result;
                    }
                    Ok(Dynamic::UNIT)
                });
            }
        }
    }
    // Rhai would look for these among all functions before it takes its own.
    engine.register_raw_fn("..", [int, int], |_, args| match args {
        [from, to] => Ok(Dynamic::from(from.as_int().unwrap_or(0)..to.as_int().unwrap_or(0))),
        _ => Ok(Dynamic::UNIT),
    });
    engine.register_raw_fn("..=", [int, int], |_, args| match args {
        [from, to] => Ok(Dynamic::from(from.as_int().unwrap_or(0)..=to.as_int().unwrap_or(0))),
        _ => Ok(Dynamic::UNIT),
    });
}

fn numbers(op: Op, args: &mut [&mut Dynamic]) -> Answer {
    let [left, right] = args else { return Err(raise(Fault::Other("an operator needs two operands".into()))) };
    let number = |value: &Dynamic| match value.as_int() {
        Ok(int) => Val::Int(int),
        Err(_) => Val::Float(value.as_float().unwrap_or(f64::NAN)),
    };
    match ops::of_numbers(op, number(left), number(right)) {
        Ok(Val::Int(int)) => Ok(Dynamic::from_int(int)),
        Ok(Val::Float(float)) => Ok(Dynamic::from_float(float)),
        Ok(other) => Ok(Dynamic::from_bool(matches!(other, Val::Bool(true)))),
        Err(fault) => Err(raise(fault)),
    }
}

fn operate(op: Op, args: &mut [&mut Dynamic]) -> Answer {
    let [left, right] = args else { return Err(raise(Fault::Other("an operator needs two operands".into()))) };
    let (left, right) = (Held::new(left), Held::new(right));
    let arena = Bump::new();
    let result = match (left.view(), right.view()) {
        (Ok(left), Ok(right)) => ops::binary(op, left, right, &arena),
        _ if op.is_comparison() && !op.is_order() => Ok(Val::Bool(op == Op::Unequal)),
        (left, right) if op.is_order() => odd_order(left, right),
        (Err(kind), _) => Err(Fault::Kind(0, kind)),
        (_, Err(kind)) => Err(Fault::Kind(1, kind)),
    };
    result.map(from_val).map_err(raise)
}

/// The order of two values of which no event holds one.
fn odd_order<'a>(left: Result<Val<'_>, &'static str>, right: Result<Val<'_>, &'static str>) -> Result<Val<'a>, Fault> {
    if matches!((left, right), (Ok(Val::Unit), _) | (_, Ok(Val::Unit))) {
        return Ok(Val::Bool(false));
    }
    let side = |of: Result<Val<'_>, &'static str>| of.map_or_else(|kind| Side { kind, value: None }, Side::of);
    Err(Fault::Unordered(Box::new([side(left), side(right)])))
}

fn unary(apply: fn(Val<'_>) -> Result<Val<'_>, Fault>, args: &mut [&mut Dynamic]) -> Answer {
    let held = args.first().map_or(Held::Plain(Val::Unit), |a| Held::new(a));
    let result = held.view().map_err(|kind| Fault::Kind(0, kind)).and_then(apply);
    result.map(from_val).map_err(raise)
}

/// A fault as Rhai carries it; its place is filled in on the way out.
pub(super) fn raise(fault: Fault) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(Arc::new(fault)), Position::NONE))
}

/// Reading a member of what is no map gives `()`; writing one makes it a map.
fn register_members(engine: &mut Engine) {
    const GET: &str = "index$get$";
    const SET: &str = "index$set$";
    let text = TypeId::of::<ImmutableString>();
    // Of any type: Rhai refuses exact ones for its own, and never comes here for a map.
    engine.register_raw_fn(GET, [TypeId::of::<Dynamic>(), text], |_, _| Ok(Dynamic::UNIT));
    engine.register_raw_fn(SET, [TypeId::of::<Dynamic>(), text, TypeId::of::<Dynamic>()], |_, args| {
        // Rhai also puts back what it only read; in what is no map that is `()`.
        if let [target, name, value] = args
            && !value.is_unit()
        {
            if target.is_array() {
                return Err(raise(Fault::Other("a list has no members that could be written".into())));
            }
            let name = name.clone().into_string().unwrap_or_default();
            if !target.is_map() {
                **target = Dynamic::from_map(Map::new());
            }
            if let Ok(mut map) = target.as_map_mut() {
                map.insert(name.into(), value.take());
            }
        }
        Ok(Dynamic::UNIT)
    });
}

fn register_effects(engine: &mut Engine) {
    engine.register_raw_fn("drop", [], |_, _| -> Answer {
        Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(Dropped), Position::NONE)))
    });
    engine.register_raw_fn("null", [], |_, _| Ok(Dynamic::from(Null)));
    let any = TypeId::of::<Dynamic>();
    engine.register_raw_fn("emit", [any], |_, args| match args {
        [value] => emit(None, value),
        _ => Ok(Dynamic::UNIT),
    });
    engine.register_raw_fn("emit", [TypeId::of::<ImmutableString>(), any], |_, args| match args {
        [port, value] => emit(Some(port.clone().into_string().unwrap_or_default()), value),
        _ => Ok(Dynamic::UNIT),
    });
    // What `??` is given, so that a null that was written counts as `()`.
    engine.register_raw_fn("un_null_", [any], |_, args| match args {
        [value] if value.is::<Null>() => Ok(Dynamic::UNIT),
        [value] => Ok(value.flatten_clone()),
        _ => Ok(Dynamic::UNIT),
    });
    engine.register_raw_fn("caught_", [any], |_, args| match args {
        [value] => Ok(super::refusal::caught(value)),
        _ => Ok(Dynamic::UNIT),
    });
    for target in types() {
        engine.register_raw_fn("deepen_", [target, TypeId::of::<ImmutableString>()], |_, args| {
            if let [target, names] = args {
                deepen(target, &names.clone().into_string().unwrap_or_default());
            }
            Ok(Dynamic::UNIT)
        });
    }
    engine.register_raw_fn(rhai::FUNC_TO_STRING, [any], interpolate);
}

/// Makes the maps of a path where there are none. A list is left, and so refuses what is written in it.
fn deepen(target: &mut Dynamic, names: &str) {
    if !target.is_map() && !target.is_array() {
        *target = Dynamic::from_map(Map::new());
    }
    let Ok(mut map) = target.as_map_mut() else { return };
    let (first, rest) = names.split_once('\u{1f}').unwrap_or((names, ""));
    let inner = map.entry(first.into()).or_insert(Dynamic::UNIT);
    if !rest.is_empty() {
        deepen(inner, rest);
    } else if !inner.is_map() && !inner.is_array() {
        *inner = Dynamic::from_map(Map::new());
    }
}

fn emit(port: Option<String>, value: &Dynamic) -> Answer {
    let value = to_value(value)
        .map_err(|kind| raise(Fault::Other(format!("`emit` was given {kind}; an event is a map of plain values"))))?;
    EFFECTS.with_borrow_mut(|effects| {
        if effects.emitted.len() >= limit::SCRIPT_EMITS {
            return Err(raise(Fault::Other(format!("the script emitted more than {} events", limit::SCRIPT_EMITS))));
        }
        effects.emitted.push((port, value));
        Ok(Dynamic::UNIT)
    })
}

/// The text of a value inside `${…}`. Rhai prints an error it gets from here, so a fault is kept for the script's end.
fn interpolate(context: NativeCallContext<'_>, args: &mut [&mut Dynamic]) -> Answer {
    let held = args.first().map_or(Held::Plain(Val::Unit), |a| Held::new(a));
    let mut room = ops::Spelling::default();
    let fault = match held.view() {
        Ok(value) => match ops::spelled(value, &mut room) {
            Some(text) => return Ok(Dynamic::from(ImmutableString::from(text))),
            None => Fault::of(0, value),
        },
        Err(kind) => Fault::Kind(0, kind),
    };
    let at = context.call_position();
    EFFECTS.with_borrow_mut(|effects| effects.pending.get_or_insert((fault, at)).clone());
    Ok(Dynamic::from(ImmutableString::new()))
}

/// A function of the table, for each number of arguments it takes. One argument is matched by its exact type, so that
/// ours comes before what Rhai's packages have under the same name; of more than one, theirs for lists and maps are left.
fn register_function(engine: &mut Engine, function: &'static Function) {
    for count in &function.arguments {
        if *count == 1 {
            for argument in types() {
                engine.register_raw_fn(function.name, [argument], move |_, args| call(function, args));
            }
        } else {
            let any = vec![TypeId::of::<Dynamic>(); *count];
            engine.register_raw_fn(function.name, any, move |_, args| call(function, args));
        }
        if *count == 2 {
            // Rhai's own for a list and a text take the text for a function's name.
            let list_and_text = [TypeId::of::<Array>(), TypeId::of::<ImmutableString>()];
            engine.register_raw_fn(function.name, list_and_text, move |_, args| call(function, args));
        }
    }
}

fn call(function: &'static Function, args: &mut [&mut Dynamic]) -> Answer {
    let held: smallvec::SmallVec<[Held; 4]> = args.iter().map(|a| Held::new(a)).collect();
    let mut views: smallvec::SmallVec<[Val<'_>; 4]> = smallvec::SmallVec::new();
    for (i, held) in held.iter().enumerate() {
        views.push(held.view().map_err(|kind| raise(Fault::Kind(i, kind)))?);
    }
    let arena = Bump::new();
    match (function.body)(&views, &arena) {
        Ok(Out::Val(value)) => Ok(from_val(value)),
        Ok(Out::Made(value)) => Ok(from_value(&value)),
        Err(fault) => Err(raise(fault)),
    }
}
