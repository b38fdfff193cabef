//! Text inside XML.

/// The text as it may stand in an element or in an attribute between double quotes. Characters that XML has no way to
/// write (most controls) become U+FFFD; line ends and tabs are written as numbers, so that attributes keep them.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_has_a_meaning_or_none_is_replaced() {
        assert_eq!(escape("a < b && \"c\">\n\u{1b}[31mé"), "a &lt; b &amp;&amp; &quot;c&quot;&gt;&#10;\u{fffd}[31mé");
    }
}
