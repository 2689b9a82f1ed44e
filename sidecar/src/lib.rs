//! `bgp-sidecar`: between Kubernetes, bgpd and the kernel.
//!
//! Nodes of the Kubernetes API become announcements of bgpd; routes that bgpd learns become routes of the kernel. What
//! decides is pure and synchronous ([`announcement`], [`retirement`], [`forwarding`]); tokio and the network stand at
//! the edge.
#![forbid(unsafe_code)]

pub mod announcement;
pub mod arguments;
pub mod cluster;
pub mod cni;
pub mod forwarding;
pub mod guard;
pub mod kernel;
pub mod kube_router;
pub mod kubernetes;
pub mod learned;
pub mod masquerade;
mod prefix_map;
pub mod problem;
pub mod retirement;
pub mod topology;
