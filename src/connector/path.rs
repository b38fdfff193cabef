//! Paths that rows decide: what a template makes of a row stays inside the directory that its author wrote in plain text.

use std::path::{Component, Path};

/// The directory in plain text that a path begins with, and the rest: rows decide nothing outside of it.
pub fn split(path: &str) -> (&str, &str) {
    let plain = path.find("{{").or_else(|| path.find("{%")).unwrap_or(path.len());
    let end = path.get(..plain).and_then(|p| p.rfind('/')).map_or(0, |slash| slash + 1);
    path.split_at(end)
}

/// Whether the text depends on the row.
pub fn is_template(path: &str) -> bool {
    path.contains("{{") || path.contains("{%")
}

/// Why a rendered path cannot be taken, if it cannot; `plain` is its directory as [`split`] gives it.
pub fn refuse(plain: &str, path: &str) -> Option<String> {
    let because =
        |why: &str| Some(format!("the row's path `{path}` {why}; files of this sink stay inside `{}`", home(plain)));
    let Some(inner) = path.strip_prefix(plain) else { return because("begins elsewhere") };
    if inner.is_empty() || inner.ends_with('/') {
        return because("has no file name");
    }
    if inner.contains('\0') {
        return because("holds a zero byte");
    }
    if inner.starts_with('/') {
        return because("is absolute");
    }
    let mut parts = Path::new(inner).components();
    if !parts.all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return because("leads out of its directory");
    }
    None
}

fn home(plain: &str) -> &str {
    if plain.is_empty() { "the pipeline's directory" } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (plain, path) in [
            ("by/", "by/../x"),
            ("by/", "by//etc/passwd"),
            ("", "/etc/passwd"),
            ("", "a/../../x"),
            ("by/", "by/"),
            ("by/", "by/a/"),
            ("by/", "elsewhere/a"),
            ("", "a\0b"),
        ] {
            assert!(refuse(plain, path).is_some(), "{plain} {path}");
        }
        for (plain, path) in [("by/", "by/a.txt"), ("", "a/b..c"), ("../out/", "../out/x"), ("/abs/", "/abs/x")] {
            assert_eq!(refuse(plain, path), None);
        }
        assert_eq!(split("a/b-{{ x }}/c"), ("a/", "b-{{ x }}/c"));
        assert_eq!(split("{{ x }}/c"), ("", "{{ x }}/c"));
        assert_eq!(split("/a/b.txt"), ("/a/", "b.txt"));
    }
}
