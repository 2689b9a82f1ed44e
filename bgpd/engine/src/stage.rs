//! The messages that cross from one stage to the next.
