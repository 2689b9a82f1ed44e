//! The gRPC management API of bgpd: generated client and server.
//!
//! The definitions, with their documentation, are in `bgpd/v1/*.proto`.

#![forbid(unsafe_code)]

/// Version 1.
#[expect(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("bgpd.v1");
}

/// The compiled definitions, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bgpd.v1.bin"));
