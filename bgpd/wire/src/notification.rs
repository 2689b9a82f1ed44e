//! NOTIFICATION messages (RFC 4271 §4.5, §6; RFC 4486; RFC 9003; RFC 8538; RFC 9687; RFC 6608).

/// A NOTIFICATION: why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code (RFC 4271 §4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Diagnostic data; for Cease/2 and Cease/4 a length-prefixed UTF-8 text (RFC 9003).
    pub data: Vec<u8>,
}
