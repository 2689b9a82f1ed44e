//! Pings between all pods, a hundred a second each way, and how many were lost.

use std::fmt;
use std::process::{Child, Stdio};

use super::Pod;

/// Pings a second.
const RATE: u32 = 100;

/// Pings under way.
pub struct Pings {
    running: Vec<(String, Child)>,
}

/// What became of the pings from one pod to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// From where to where.
    pub way: String,
    /// Packets sent.
    pub sent: u32,
    /// Packets not answered.
    pub lost: u32,
}

impl Pings {
    /// Pings between all pods for so many seconds, over both families.
    ///
    /// # Panics
    /// When ping cannot be started.
    #[must_use]
    pub fn start(pods: &[(&str, &Pod)], seconds: u32) -> Self {
        let mut running = Vec::new();
        for (from, source) in pods {
            for (to, target) in pods.iter().filter(|(to, _)| to != from) {
                for address in [target.ipv4.to_string(), target.ipv6.to_string()] {
                    let mut ping = source.namespace.command("ping");
                    ping.args(["-q", "-n", "-W", "2", "-i", &format!("{}", 1.0 / f64::from(RATE))]);
                    ping.args(["-c", &(seconds * RATE).to_string(), &address]);
                    let child = ping.stdout(Stdio::piped()).spawn().expect("ping can be started");
                    running.push((format!("{from} to {to} {address}"), child));
                }
            }
        }
        Self { running }
    }

    /// Whether some still go on.
    #[must_use]
    pub fn go_on(&mut self) -> bool {
        self.running.iter_mut().any(|(_, child)| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for their end.
    ///
    /// # Panics
    /// When ping says something else than how many packets there were.
    #[must_use]
    pub fn finish(self) -> Vec<Loss> {
        let result = |(way, child): (String, Child)| {
            let output = child.wait_with_output().expect("ping ends");
            let report = String::from_utf8_lossy(&output.stdout).into_owned();
            let (sent, received) = counts(&report).unwrap_or_else(|| panic!("{way}: {report}"));
            Loss { way, sent, lost: sent - received }
        };
        self.running.into_iter().map(result).collect()
    }
}

/// `1500 packets transmitted, 1500 received, …`
fn counts(report: &str) -> Option<(u32, u32)> {
    let line = report.lines().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = line.split(", ").map(|part| part.split(' ').next().and_then(|word| word.parse().ok()));
    Some((numbers.next()??, numbers.next()??))
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} lost", self.way, self.lost, self.sent)
    }
}
