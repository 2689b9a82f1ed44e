//! All stages of one router in one struct: what simulation and benchmarks drive.
