//! `bgp-sidecar`: between Kubernetes, bgpd and the kernel.
//!
//! Nodes of the Kubernetes API become announcements of bgpd; routes that bgpd learns become routes of the kernel. What
//! decides is pure and synchronous ([`announcement`], [`retirement`], [`membership`], [`forwarding`],
//! [`mesh`]); tokio and the network
//! stand at the edge ([`kubernetes`], [`bgpd`], [`kernel`], [`masquerade`], [`http`]), and [`runtime`] joins them.
#![forbid(unsafe_code)]

pub mod announcement;
pub mod arguments;
pub mod bgpd;
pub mod cluster;
pub mod cni;
pub mod forwarding;
pub mod guard;
pub mod http;
pub mod kernel;
pub mod kube_router;
pub mod kubernetes;
pub mod learned;
pub mod masquerade;
pub mod membership;
pub mod mesh;
pub mod metrics;
mod prefix_map;
pub mod problem;
pub mod retirement;
pub mod runtime;
pub mod status;
pub mod topology;
