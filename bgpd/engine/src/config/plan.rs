//! From what runs to what is wanted: a list of steps, each with its blast radius.
