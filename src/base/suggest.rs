//! "Did you mean": the nearest known name to one that was not found.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
///
/// Edit distance (Damerau-Levenshtein) within a third of the longer name's length, or a candidate that begins with
/// the name or the other way round (`expression` for `expr`), of at least three letters; else one that abbreviates the
/// name (`avg` for `average`): its letters in order, beginning with the first.
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
        if !near && !prefix && !abbreviates(&other, &folded) {
            continue;
        }
        let score = match (near, prefix) {
            (true, _) => distance,
            (false, true) => longest,
            (false, false) => 2 * longest,
        };
        if best.is_none_or(|(s, _)| score < s) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, c)| c)
}

/// Whether `short` is made of letters of `long` in their order, the first one included, and is at most half as long.
fn abbreviates(short: &str, long: &str) -> bool {
    let mut letters = long.chars();
    let whole = short.chars().all(|c| letters.any(|l| l == c));
    let halved = short.len() >= 3 && short.len() * 2 <= long.len();
    whole && halved && short.chars().next() == long.chars().next()
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
        assert_eq!(nearest("average", ["max", "avg", "variance"]), Some("avg"));
        assert_eq!(nearest("standard_deviation", ["stddev", "min"]), Some("stddev"));
    }
}
