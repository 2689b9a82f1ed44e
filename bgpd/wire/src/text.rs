//! Text that comes from outside.

/// Text as it can be shown and logged: what is not UTF-8 is replaced, and so is what a terminal would obey or what turns
/// around the text beside it. Whoever sends it must not write on the screen of whoever reads it.
#[must_use]
pub fn printable(octets: &[u8]) -> String {
    let is_obeyed = |one: char| one.is_control() || matches!(one, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    String::from_utf8_lossy(octets).chars().map(|one| if is_obeyed(one) { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_as_it_is_but_for_what_would_be_obeyed() {
        for (octets, text) in [
            ("maintenance until 6, \u{fc}\u{4e2d}".as_bytes(), "maintenance until 6, \u{fc}\u{4e2d}"),
            (b"\x1b[2Jgone\r\nState Established", " [2Jgone  State Established"),
            ("a\u{202e}b\u{2066}c\u{9b}d".as_bytes(), "a b c d"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"", ""),
        ] {
            assert_eq!(printable(octets), text);
        }
    }
}
