//! How numbers are written for people, and names and paths for pipeline files.

use std::fmt::Write as _;

use crate::expr::is_reserved_word;

/// `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `12,345 events`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A share of a whole: `0 %`, `0.03 %`, `12.5 %`, `100 %`. Never rounds to none or all what is not.
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".into();
    }
    if part == whole {
        return "100 %".into();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    let digits = if percent < 0.01 {
        return "<0.01 %".into();
    } else if percent < 1.0 {
        2
    } else {
        1
    };
    let text = format!("{percent:.digits$}");
    if text.starts_with("100") { ">99.9 %".into() } else { format!("{text} %") }
}

/// A length of time in microseconds with its two largest units: `0s`, `250ms`, `1m30s`, `2d4h`.
pub fn length(micros: i64) -> String {
    const UNITS: [(&str, i64); 7] = [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
        ("", i64::MAX),
    ];
    let Some(first) = UNITS.iter().position(|(_, unit)| micros >= *unit) else { return "0s".into() };
    let (mut left, mut text) = (micros, String::new());
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        let many = left / unit;
        left %= unit;
        if many > 0 {
            let _ = write!(text, "{many}{name}");
        }
    }
    text
}

/// A key of a YAML map: as it is where YAML takes it for text, else in quotes.
pub fn key(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name.to_lowercase().as_str());
    if first && rest && !word { name.to_owned() } else { quoted(name) }
}

/// Text in double quotes, as both YAML and expressions read it.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A field as an expression reads it: `site.floor`, `event["@timestamp"]`.
pub fn path<S: AsRef<str>>(names: &[S]) -> String {
    let plain = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut text = String::new();
    for (at, name) in names.iter().map(AsRef::as_ref).enumerate() {
        match (at, plain(name)) {
            (0, true) if !is_reserved_word(name) => text.push_str(name),
            (0, _) => {
                let _ = write!(text, "event[{}]", quoted(name));
            }
            (_, true) if !is_reserved_word(name) => {
                let _ = write!(text, ".{name}");
            }
            _ => {
                let _ = write!(text, "[{}]", quoted(name));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        let lengths = [0, 1, 250_000, 1_500_000, 90_000_000, 187_200_000_000, 86_400_000_000];
        assert_eq!(lengths.map(length), ["0s", "1us", "250ms", "1s500ms", "1m30s", "2d4h", "1d"]);
        assert_eq!(
            [share(0, 5), share(1, 8), share(1, 3000), share(2999, 3000), share(1, 1_000_000)],
            ["0 %", "12.5 %", "0.03 %", ">99.9 %", "<0.01 %"]
        );
    }

    #[test]
    fn names_and_paths() {
        let names =
            ["temperature", "@timestamp", "on", "a b", "2nd", "device-id", "", "it's", "a: b", "gr\u{f6}\u{df}e"];
        let keys = names.map(key);
        assert_eq!(
            keys,
            [
                "temperature",
                "\"@timestamp\"",
                "\"on\"",
                "\"a b\"",
                "\"2nd\"",
                "device-id",
                "\"\"",
                "\"it's\"",
                "\"a: b\"",
                "\"gr\u{f6}\u{df}e\""
            ]
        );
        assert_eq!(path(&["site", "floor"]), "site.floor");
        assert_eq!(path(&["@timestamp"]), "event[\"@timestamp\"]");
        assert_eq!(path(&["state"]), "event[\"state\"]");
        assert_eq!(path(&["site", "a-b", "match"]), "site[\"a-b\"][\"match\"]");
    }
}
