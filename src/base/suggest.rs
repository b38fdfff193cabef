//! "Did you mean": the nearest known name to one that was not found.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
///
/// Edit distance (Damerau-Levenshtein) within a third of the longer name's length, or a candidate that begins with
/// the name or the other way round (`expression` for `expr`), of at least three letters.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = candidate.to_lowercase();
        if candidate == name {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&folded, &other);
        let longest = folded.chars().count().max(other.chars().count());
        let prefix = folded.len().min(other.len()) >= 3 && (folded.starts_with(&other) || other.starts_with(&folded));
        let near = distance <= (longest / 3).max(1) && distance < longest;
        if !near && !prefix {
            continue;
        }
        let score = if near { distance } else { longest };
        if best.is_none_or(|(s, _)| score < s) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_typos_and_prefixes_and_nothing_far() {
        let known = ["filter", "window", "expr", "tumbling"];
        assert_eq!(nearest("windw", known), Some("window"));
        assert_eq!(nearest("expression", known), Some("expr"));
        assert_eq!(nearest("tumblign", known), Some("tumbling"));
        assert_eq!(nearest("zebra", known), None);
    }
}
