//! UPDATE: what each deviation leads to, and what survives the wire.

mod as4_merge;
mod attributes;
mod encode;
mod faults;
mod message;
mod mutation;
mod reachability;
mod routes;
mod tlvs;
