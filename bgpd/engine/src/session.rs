//! The session state machine of RFC 4271 §8.
