//! A route as a peer has it, whatever the peer calls it.

/// A route in a peer's table. What the peer does not show is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenRoute {
    /// Destination.
    pub prefix: String,
    /// Next hop; of two the global one.
    pub next_hop: String,
    /// AS numbers, separated by blanks.
    pub as_path: String,
    /// ORIGINATOR_ID.
    pub originator_id: String,
    /// CLUSTER_LIST.
    pub cluster_list: Vec<String>,
    /// Communities.
    pub communities: Vec<String>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MED.
    pub med: Option<u32>,
}

/// The route to a prefix.
#[must_use]
pub fn to<'a>(routes: &'a [SeenRoute], prefix: &str) -> Option<&'a SeenRoute> {
    routes.iter().find(|route| route.prefix == prefix)
}

/// A JSON value as text, however it is typed.
pub(super) fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}
