//! How a field is spoken of that cannot be there.

use super::{At, Kinds, Type};
use crate::base::suggest::nearest;

/// At most so many names are listed.
const LISTED: usize = 12;

/// What is wrong with a path that no row of a type has, and how to mend it; `never` is the number in the path of the
/// first name that cannot be there.
pub fn unknown_field(row: &Type, path: &[&str], never: usize) -> (String, Option<String>) {
    let (before, name) = (path.get(..never).unwrap_or_default(), path.get(never).copied().unwrap_or_default());
    let holder = match row.at(before) {
        At::Value(holder) => holder,
        At::Never(_) => Type::of(Kinds::MISSING),
    };
    let within = before.join(".");
    if never > 0 && !holder.kinds.meet(Kinds::MAP) {
        return (format!("`{within}` is {} and has no member `{name}`", holder.kinds), None);
    }
    let siblings: Vec<&str> = holder.names().map(Iterator::collect).unwrap_or_default();
    let full = |sibling: &str| if never > 0 { format!("{within}.{sibling}") } else { sibling.to_owned() };
    let mut deep = Vec::new();
    paths(row, "", &mut deep);
    // A member of another map that is called so.
    let ending = format!(".{name}");
    let elsewhere = deep.iter().find(|p| p.ends_with(&ending)).cloned();
    let near = nearest(name, siblings.iter().copied()).map(full).or(elsewhere);
    let help = match near {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if siblings.is_empty() || siblings.len() > LISTED => None,
        None => {
            let quoted: Vec<String> = siblings.iter().map(|s| format!("`{s}`")).collect();
            let what =
                if never > 0 { format!("the members of `{within}` are") } else { "the fields here are".to_owned() };
            Some(match quoted.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{what} {} and {last}", rest.join(", ")),
                _ => format!("{what} {}", quoted.concat()),
            })
        }
    };
    let message = match never {
        0 => format!("there is no field `{name}` here"),
        _ => format!("`{within}` has no member `{name}`"),
    };
    (message, help)
}

/// The paths of the members that are known.
fn paths(of: &Type, before: &str, all: &mut Vec<String>) {
    for (name, member) in &of.members {
        let path = format!("{before}{name}");
        paths(member, &format!("{path}."), all);
        all.push(path);
    }
}
