//! Adj-RIB-In, Loc-RIB and Adj-RIB-Out, in partitions.
