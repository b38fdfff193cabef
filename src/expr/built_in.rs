//! What Rhai's own packages bring for lists, maps, ranges and functions: what each is called on and how.

use super::types::Kinds;

/// A function or method that Rhai brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// The numbers of arguments it takes, what it is called on included.
    pub arguments: &'static [usize],
    /// What it is called on; nothing that an event holds if that is a range or a function.
    pub on: Kinds,
    /// How it is called.
    pub call: &'static str,
    /// Whether it changes what it is called on.
    pub changes: bool,
    /// Whether it gives a value.
    pub gives: bool,
}

const LIST: Kinds = Kinds::LIST;
const MAP: Kinds = Kinds::MAP;
const LIST_OR_MAP: Kinds = Kinds::either(Kinds::LIST, Kinds::MAP);

const fn reads(name: &'static str, arguments: &'static [usize], on: Kinds, call: &'static str) -> BuiltIn {
    BuiltIn { name, arguments, on, call, changes: false, gives: true }
}

/// One that changes what it is called on and gives something of it.
const fn takes(name: &'static str, arguments: &'static [usize], on: Kinds, call: &'static str) -> BuiltIn {
    BuiltIn { name, arguments, on, call, changes: true, gives: true }
}

/// One that changes what it is called on and gives nothing.
const fn changes(name: &'static str, arguments: &'static [usize], on: Kinds, call: &'static str) -> BuiltIn {
    BuiltIn { name, arguments, on, call, changes: true, gives: false }
}

/// All of them.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    reads("type_of", &[1], Kinds::ANY, "type_of(value)"),
    reads("call", &[1, 2, 3, 4, 5, 6, 7, 8], Kinds::NONE, "function.call(argument, …)"),
    reads("curry", &[2, 3, 4, 5, 6, 7, 8], Kinds::NONE, "function.curry(argument, …)"),
    reads("Fn", &[1], Kinds::TEXT, "Fn(\"name\")"),
    reads("is_def_fn", &[2], Kinds::TEXT, "is_def_fn(\"name\", arguments)"),
    reads("range", &[2, 3], Kinds::NUMBER, "range(from, to, step?)"),
    reads("chars", &[1, 2, 3], Kinds::TEXT, "text.chars(start?, length?)"),
    reads("start", &[1], Kinds::NONE, "range.start()"),
    reads("end", &[1], Kinds::NONE, "range.end()"),
    reads("get", &[2], LIST_OR_MAP, "list.get(index)` or `map.get(name)"),
    changes("set", &[3], LIST_OR_MAP, "list.set(index, value)` or `map.set(name, value)"),
    changes("push", &[2], LIST, "list.push(value)"),
    changes("append", &[2], LIST, "list.append(list)"),
    reads("concat", &[2], LIST, "list.concat(list)"),
    changes("insert", &[3], LIST, "list.insert(index, value)"),
    changes("pad", &[3], LIST, "list.pad(length, value)"),
    takes("pop", &[1], LIST, "list.pop()"),
    takes("shift", &[1], LIST, "list.shift()"),
    takes("remove", &[2], LIST_OR_MAP, "list.remove(index)` or `map.remove(name)"),
    changes("clear", &[1], LIST_OR_MAP, "list.clear()` or `map.clear()"),
    changes("truncate", &[2], LIST, "list.truncate(length)"),
    changes("chop", &[2], LIST, "list.chop(length)"),
    changes("reverse", &[1], LIST, "list.reverse()"),
    changes("splice", &[3, 4], LIST, "list.splice(start, length, list)"),
    reads("extract", &[2, 3], LIST, "list.extract(start, length?)"),
    reads("split", &[2], LIST, "list.split(index)"),
    changes("for_each", &[2], LIST, "list.for_each(|item| …)"),
    reads("map", &[2], LIST_OR_MAP, "list.map(|item| …)"),
    reads("filter", &[2], LIST_OR_MAP, "list.filter(|item| …)"),
    reads("index_of", &[2, 3], LIST, "list.index_of(value, start?)"),
    reads("find", &[2, 3], LIST, "list.find(|item| …, start?)"),
    reads("find_map", &[2, 3], LIST, "list.find_map(|item| …, start?)"),
    reads("some", &[2], LIST, "list.some(|item| …)"),
    reads("all", &[2], LIST, "list.all(|item| …)"),
    changes("dedup", &[1, 2], LIST, "list.dedup()"),
    reads("reduce", &[2, 3], LIST, "list.reduce(|sum, item| …, initial?)"),
    reads("reduce_rev", &[2, 3], LIST, "list.reduce_rev(|sum, item| …, initial?)"),
    reads("zip", &[3], LIST, "list.zip(list, |a, b| …)"),
    changes("sort", &[1, 2], LIST, "list.sort(|a, b| …)"),
    changes("sort_by", &[2], LIST, "list.sort_by(|a, b| …)"),
    changes("sort_desc", &[1], LIST, "list.sort_desc()"),
    reads("order", &[1, 2], LIST, "list.order(|a, b| …)"),
    reads("order_by", &[2], LIST, "list.order_by(|a, b| …)"),
    reads("order_desc", &[1], LIST, "list.order_desc()"),
    takes("drain", &[2, 3], LIST_OR_MAP, "list.drain(|item| …)"),
    takes("retain", &[2, 3], LIST_OR_MAP, "list.retain(|item| …)"),
    changes("mixin", &[2], MAP, "map.mixin(map)"),
    changes("fill_with", &[2], MAP, "map.fill_with(map)"),
];

/// The one of a name.
pub(super) fn find(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|b| b.name == name)
}

impl BuiltIn {
    /// Whether it is called on what messages call so.
    pub(super) fn is_on(&self, kind: &str) -> bool {
        match kind {
            "a range" => matches!(self.name, "start" | "end" | "range"),
            "a function" => matches!(self.name, "call" | "curry"),
            "an integer" | "a float" => self.on.meet(Kinds::NUMBER),
            "text" => self.on.meet(Kinds::TEXT),
            "a bool" => self.on.meet(Kinds::BOOL),
            "a list" => self.on.meet(Kinds::LIST),
            "a map" => self.on.meet(Kinds::MAP),
            "null" => self.on.meet(Kinds::MISSING),
            _ => false,
        }
    }

    /// What it is called on, in words.
    pub(super) fn on(&self) -> String {
        match self.name {
            "start" | "end" => "a range".into(),
            "call" | "curry" => "a function".into(),
            _ => self.on.to_string(),
        }
    }
}
