//! Events made anew from their text and from text that belongs inside it: values that were parsed out of a field, elements
//! of a list. What neither of them changes keeps its spelling.

use std::borrow::Cow;

use compact_str::CompactString;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::scan::{Members, after_item, byte, skip_space, value as value_end};
use super::tree::{Member, Node, read_members};
use super::value::inner;

/// Where a value that was parsed out of a field goes.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The path of the field that was parsed.
    pub from: Vec<CompactString>,
    /// Whether that field stays.
    pub keep: bool,
    /// The path that takes the value; `None` if its members join those of the event. A member takes the place of one that
    /// has its name, new ones come last.
    pub into: Option<Vec<CompactString>>,
}

/// Adds the event `row` with `parsed` put into it to `out`; both are JSON texts that were scanned before. False if members
/// should join those of the event and `parsed` is no object.
pub fn write_joined(row: &str, parsed: &str, how: &Joining, out: &mut Vec<u8>) -> bool {
    if how.into.is_none() && !parsed.starts_with('{') {
        return false;
    }
    if how.into.is_none() && append(row, parsed, how, out) {
        return true;
    }
    by_tree(row, parsed, how, out);
    true
}

/// Every case.
fn by_tree(row: &str, parsed: &str, how: &Joining, out: &mut Vec<u8>) {
    let mut event = Node::Text(row);
    if !how.keep {
        event.remove(&how.from);
    }
    match &how.into {
        Some(path) => event.put(path, Node::Text(parsed)),
        None => join(&mut event, read_members(parsed)),
    }
    event.write(out);
}

/// Members that [`append`] compares with each other at most.
const COMPARED: usize = 1 << 10;

/// Where a member stands: its name's opening quote, one past its closing one, one past its value.
type Span = (usize, usize, usize);

/// The common case without a tree: no name stands on both sides. False, with `out` as it was, for every other.
fn append(row: &str, parsed: &str, how: &Joining, out: &mut Vec<u8>) -> bool {
    let [from] = how.from.as_slice() else { return false };
    let (Some(own), Some(new)) = (spans(row), spans(parsed)) else { return false };
    if (own.len() + new.len()) * new.len() > COMPARED {
        return false;
    }
    let is_from = |span: &&Span| row.get(span.0 + 1..span.1 - 1) == Some(from.as_str());
    if own.iter().filter(is_from).count() != 1 {
        return false;
    }
    let stays = |span: &&Span| how.keep || !is_from(span);
    for span in own.iter().filter(stays) {
        let own = row.get(span.0..span.1);
        if new.iter().any(|other| parsed.get(other.0..other.1) == own) {
            return false;
        }
    }
    for (i, span) in new.iter().enumerate() {
        if new.iter().skip(i + 1).any(|other| parsed.get(other.0..other.1) == parsed.get(span.0..span.1)) {
            return false;
        }
    }
    let members = own.iter().filter(stays).map(|span| row.get(span.0..span.2));
    out.push(b'{');
    for (i, member) in members.chain(new.iter().map(|span| parsed.get(span.0..span.2))).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member.unwrap_or_default().as_bytes());
    }
    out.push(b'}');
    true
}

/// Where the members of an object's text stand; `None` if it is no object or a name has escapes.
fn spans(text: &str) -> Option<SmallVec<[Span; 16]>> {
    let bytes = text.as_bytes();
    if byte(bytes, 0) != b'{' {
        return None;
    }
    let mut spans = SmallVec::new();
    let mut members = Members::new(bytes, 0);
    while let Ok(Some(member)) = members.next() {
        let end = value_end(bytes, member.value, 1).ok()?;
        if member.escaped {
            return None;
        }
        spans.push((member.key, member.key_end, end));
        members.value_ends(end);
    }
    Some(spans)
}

/// Lets members join those of an object: one that has its name already takes its place, the last of several of one name
/// counts.
fn join<'a>(event: &mut Node<'a>, joined: Vec<Member<'a>>) {
    let Some(members) = event.members() else {
        *event = Node::Object(joined);
        return;
    };
    let mut places: HashMap<Cow<'a, str>, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut new: Vec<Option<Member<'a>>> = Vec::with_capacity(joined.len());
    for member in joined {
        match places.get(&member.name).and_then(|at| new.get_mut(*at)) {
            Some(earlier) => *earlier = Some(member),
            None => {
                places.insert(member.name.clone(), new.len());
                new.push(Some(member));
            }
        }
    }
    let old = std::mem::take(members);
    for member in old {
        match places.get(&member.name).and_then(|at| new.get_mut(*at)) {
            None => members.push(member),
            // Of several that stood under the name the first gives its place.
            Some(joining) => members.extend(joining.take()),
        }
    }
    members.extend(new.into_iter().flatten());
}

/// What stands at a path of an event's text; of members with one name the last.
pub fn text_at<'a>(row: &'a str, path: &[CompactString]) -> Option<&'a str> {
    let mut text = row;
    for name in path {
        let bytes = text.as_bytes();
        if byte(bytes, 0) != b'{' {
            return None;
        }
        let mut found = None;
        let mut members = Members::new(bytes, 0);
        while let Ok(Some(member)) = members.next() {
            let end = value_end(bytes, member.value, 1).ok()?;
            let same = match member.escaped {
                false => text.get(member.key + 1..member.key_end - 1) == Some(name.as_str()),
                true => inner(text, member.key, member.key_end, true) == *name,
            };
            if same {
                found = text.get(member.value..end);
            }
            members.value_ends(end);
        }
        text = found?;
    }
    Some(text)
}

/// The elements of a list's text, at most so many; nothing if it is no list.
pub fn elements(list: &str, most: usize) -> Vec<&str> {
    let bytes = list.as_bytes();
    let mut found = Vec::new();
    if byte(bytes, 0) != b'[' {
        return found;
    }
    let mut at = skip_space(bytes, 1);
    while found.len() < most && byte(bytes, at) != b']' {
        let Ok(end) = value_end(bytes, at, 1) else { break };
        found.extend(list.get(at..end));
        let Ok(next) = after_item(bytes, end) else { break };
        if byte(bytes, next - 1) == b']' {
            break;
        }
        at = skip_space(bytes, next);
    }
    found
}

/// Stands in a text for what is put there later: a byte that no JSON text holds as it is.
const HOLE: u8 = 1;

/// An event with a hole that values are put into.
#[derive(Debug)]
pub struct Holed {
    text: Vec<u8>,
    at: usize,
}

impl Holed {
    /// The event `row` with a hole at `to` and nothing at `from`. Where both are the same path, the hole is where the value
    /// stood.
    pub fn new(row: &str, from: &[CompactString], to: &[CompactString]) -> Self {
        let mut event = Node::Text(row);
        if from != to {
            event.remove(from);
        }
        event.put(to, Node::Text("\u{1}"));
        let mut text = Vec::with_capacity(row.len());
        event.write(&mut text);
        let at = memchr::memchr(HOLE, &text).unwrap_or(text.len());
        Holed { text, at }
    }

    /// Bytes beside the hole.
    pub fn len(&self) -> usize {
        self.text.len().saturating_sub(1)
    }

    /// Whether there is nothing beside the hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the event with `value` in the hole to `out`.
    pub fn fill(&self, value: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.get(..self.at).unwrap_or_default());
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(self.text.get(self.at + 1..).unwrap_or_default());
    }
}

/// The event `row` without what stands at a path, added to `out`.
pub fn write_without(row: &str, path: &[CompactString], out: &mut Vec<u8>) {
    let mut event = Node::Text(row);
    event.remove(path);
    event.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Vec<CompactString> {
        text.split('.').map(Into::into).collect()
    }

    fn joined(row: &str, parsed: &str, keep: bool, into: Option<&str>) -> String {
        let how = Joining { from: path("m"), keep, into: into.map(path) };
        let mut out = Vec::new();
        assert!(write_joined(row, parsed, &how, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_join_where_they_stood_or_last_and_keep_their_spelling() {
        let row = r#"{"a": 1.50,"m":"…","b":{"x" : 1}}"#;
        assert_eq!(joined(row, r#"{ "c" : 2.0, "b":3 }"#, false, None), r#"{"a": 1.50,"b":3,"c" : 2.0}"#);
        assert_eq!(joined(row, r#"{"c":2}"#, true, None), r#"{"a": 1.50,"m":"…","b":{"x" : 1},"c":2}"#);
        assert_eq!(joined(row, r#"{"m":{"n":1}}"#, false, None), r#"{"a": 1.50,"b":{"x" : 1},"m":{"n":1}}"#);
        assert_eq!(joined(row, "[1, 2]", false, Some("b.y")), r#"{"a": 1.50,"b":{"x" : 1,"y":[1, 2]}}"#);
        assert_eq!(joined(row, "7", false, Some("m")), r#"{"a": 1.50,"b":{"x" : 1},"m":7}"#);
        assert_eq!(joined(r#"{"m":"","a":1,"a":2}"#, r#"{"a":3,"a":4}"#, false, None), r#"{"a":4}"#);
        assert_eq!(joined(r#"{"m":"","a":1,"a":2}"#, r#"{"b":3}"#, false, None), r#"{"a":1,"a":2,"b":3}"#);
        let how = Joining { from: path("m"), keep: true, into: None };
        assert!(!write_joined(row, "[1]", &how, &mut Vec::new()));
    }

    #[test]
    fn lists_are_taken_apart_where_they_stand() {
        let row = r#"{"a":1,"o":{"l":[1.50, {"b":[2]} ,"x"],"z":0},"l":[]}"#;
        let list = text_at(row, &path("o.l")).unwrap();
        assert_eq!(elements(list, 9), ["1.50", r#"{"b":[2]}"#, r#""x""#]);
        assert_eq!(elements(list, 2).len(), 2);
        assert_eq!(elements(" [ ]".trim(), 9), Vec::<&str>::new());
        assert_eq!((text_at(row, &path("o.none")), text_at(row, &path("a.b"))), (None, None));
        let filled = |to: &str| {
            let mut out = Vec::new();
            Holed::new(row, &path("o.l"), &path(to)).fill("7", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(filled("o.l"), r#"{"a":1,"o":{"l":7,"z":0},"l":[]}"#);
        assert_eq!(filled("item"), r#"{"a":1,"o":{"z":0},"l":[],"item":7}"#);
        assert_eq!(filled("l"), r#"{"a":1,"o":{"z":0},"l":7}"#);
        assert_eq!(text_at(r#"{"\u006c":1,"l":[2]}"#, &path("l")), Some("[2]"));
    }

    fn object() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec!["1.50", "null", "\"x\"", "{\"a\": [1]}", "[ ]"]);
        let name = prop::sample::select(vec!["a", "b", "m", "c\\u0041", "d e", "é", "cA"]);
        prop::collection::vec((name, value), 0..6).prop_map(|m| {
            format!("{{{}}}", m.iter().map(|(n, v)| format!("\"{n}\": {v}")).collect::<Vec<_>>().join(" ,"))
        })
    }

    proptest! {
        #[test]
        fn the_short_way_gives_what_the_long_one_does(row in object(), parsed in object(), keep in any::<bool>()) {
            let how = Joining { from: path("m"), keep, into: None };
            let (mut short, mut long) = (Vec::new(), Vec::new());
            if append(&row, &parsed, &how, &mut short) {
                by_tree(&row, &parsed, &how, &mut long);
                prop_assert_eq!(String::from_utf8(short), String::from_utf8(long));
            } else {
                prop_assert!(short.is_empty());
            }
        }

        #[test]
        fn what_joins_counts_over_what_was_there(row in object(), parsed in object()) {
            let how = Joining { from: path("m"), keep: false, into: None };
            let mut out = Vec::new();
            write_joined(&row, &parsed, &how, &mut out);
            let read = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap();
            let mut expected = read(&row);
            expected.remove("m");
            expected.extend(read(&parsed));
            prop_assert_eq!(read(std::str::from_utf8(&out).unwrap()), expected);
        }
    }
}
