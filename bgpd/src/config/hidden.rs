//! Documents for people to look at: secrets are hidden, and comments, in which there may be others, are left out.

use toml::{Table, Value};

use super::diagnosis::is_secret;

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// A document without its secrets and comments.
///
/// # Errors
/// What is wrong with the text, if it is not TOML.
pub fn hidden(text: &str) -> Result<String, String> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    hide(&mut table);
    toml::to_string(&table).map_err(|error| error.to_string())
}

fn hide(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        match value {
            _ if is_secret(key) => *value = Value::String(HIDDEN.to_owned()),
            other => hide_in(other),
        }
    }
}

fn hide_in(value: &mut Value) {
    match value {
        Value::Table(table) => hide(table),
        Value::Array(values) => values.iter_mut().for_each(hide_in),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_comments_are_not_shown_wherever_they_stand() {
        let text = "# md5-password = \"one\"\n[[neighbor]]\naddress = \"192.0.2.1\"\nmd5-password = \"\"\"two\nlines\"\"\"\n\
                    [[neighbors]]\nkeys = { md5-password = \"three\", hold-time = 9, md5-password-file = \"f\" }\n";
        let shown = hidden(text).expect("it is TOML");
        assert!(["one", "two", "lines", "three"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert!(["192.0.2.1", "hold-time = 9", "\"f\"", HIDDEN].iter().all(|rest| shown.contains(rest)), "{shown}");
    }
}
