//! StayRTR: an RPKI cache that serves the VRPs of a file.

use std::fs;

use super::{Daemon, Node};

/// A running StayRTR.
pub struct StayRtr {
    /// The process.
    pub daemon: Daemon,
}

/// What a lab with StayRTR needs.
pub const COMMANDS: [&str; 1] = ["stayrtr"];

/// A VRP: prefix, longest length, AS number.
pub type Roa<'a> = (&'a str, u8, u32);

impl StayRtr {
    /// Starts StayRTR on a node, on port 3323, in a version of the protocol. It looks at its file every second.
    #[must_use]
    pub fn start(node: &Node, version: u8, roas: &[Roa<'_>]) -> Self {
        Self::write(node, roas);
        let file = node.dir.join("vrps.json").display().to_string();
        let version = version.to_string();
        let arguments = [
            "-bind",
            ":3323",
            "-metrics.addr",
            "",
            "-checktime=false",
            "-refresh",
            "1",
            "-protocol",
            &version,
            "-cache",
            &file,
        ];
        Self { daemon: Daemon::start(node, "stayrtr", "stayrtr", &arguments) }
    }

    /// Gives it other VRPs. The file is replaced as a whole: it may be read at any moment.
    ///
    /// # Panics
    /// When the lab's directory cannot be written.
    pub fn write(node: &Node, roas: &[Roa<'_>]) {
        let roas = roas.iter().map(|(prefix, max_length, asn)| {
            serde_json::json!({ "prefix": prefix, "maxLength": max_length, "asn": asn, "ta": "lab" })
        });
        let all = serde_json::json!({ "metadata": {}, "roas": roas.collect::<Vec<_>>() });
        let written = node.write("vrps.json.new", &all.to_string());
        fs::rename(written, node.dir.join("vrps.json")).expect("the lab's directory can be written");
    }
}
