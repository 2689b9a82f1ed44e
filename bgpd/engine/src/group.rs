//! Update groups: one encoding for all members.
