//! `bgp-sidecar`: between Kubernetes, bgpd and the kernel.

use bgp_sidecar::arguments::Arguments;
use clap::Parser;

fn main() {
    let _ = Arguments::parse();
}
