//! Path attributes: hash-consed sets, their digest, edits.
