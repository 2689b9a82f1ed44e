//! From UPDATE bytes to batches for the partitions.
