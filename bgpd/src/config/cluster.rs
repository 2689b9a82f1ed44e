//! `[[cluster]]`: what the clients of each cluster may announce.

use std::collections::BTreeMap;

use bgp_engine::config::cluster::{Cluster, share_addresses};
use ipnet::IpNet;

use super::Named;
use super::diagnosis::Problems;
use super::neighbor::Groups;
use super::reader::Section;

/// Longest prefixes unless configured otherwise: nodes announce networks, not hosts.
pub(crate) const MAX_LENGTH_V4: u32 = 28;
pub(crate) const MAX_LENGTH_V6: u32 = 80;

pub(super) fn read(
    sections: Vec<Section<'_>>,
    groups: &Groups,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Cluster> {
    let mut all: Named<String, Cluster> = Named::new("cluster");
    for mut section in sections {
        let span = section.span.clone();
        let name = section.need::<String>("name", "\"east\"", problems);
        let pods = section.list::<IpNet>("pod-cidrs", problems).unwrap_or_default();
        let nodes = section.list::<IpNet>("nodes", problems).unwrap_or_default();
        let members = section.list::<String>("peer-groups", problems).unwrap_or_default();
        let strict = section.value("strict", problems).unwrap_or(false);
        let max_length_v4 = length(&mut section, "max-length-ipv4", MAX_LENGTH_V4, 32, problems);
        let max_length_v6 = length(&mut section, "max-length-ipv6", MAX_LENGTH_V6, 128, problems);
        for member in &members {
            // What there is to say of a name that no group has, it says.
            let _ = groups.find(member, problems);
        }
        if pods.is_empty() && !section.is_wrong(&["pod-cidrs"]) {
            let help = "add pod-cidrs = [\"10.1.0.0/16\"]: its nodes could announce nothing";
            problems.error(span.clone(), "this [[cluster]] has no pod-cidrs", help);
        }
        if nodes.is_empty() && members.is_empty() {
            let help = "add nodes = [\"192.0.2.0/24\"], the addresses of its nodes, or peer-groups";
            problems.error(span.clone(), "this [[cluster]] has no nodes and no peer-groups", help);
        }
        for pod in &pods {
            let of_other = all.entries.values().find_map(|cluster| {
                let other = cluster.pod_cidrs.iter().find(|other| share_addresses(&pod.value, other))?;
                Some((other, &cluster.name))
            });
            if let Some((other, owner)) = of_other {
                let message = format!("pod-cidrs: {} overlaps {other} of cluster \"{owner}\"", pod.value);
                problems.error(pod.span.clone(), message, "pods of two clusters cannot have the same addresses");
            }
        }
        section.finish(problems);
        let Some(name) = name else { continue };
        let values = |list: Vec<super::reader::At<IpNet>>| list.into_iter().map(|at| at.value).collect();
        let cluster = Cluster {
            name: name.value.clone(),
            pod_cidrs: values(pods),
            node_ranges: values(nodes),
            peer_groups: members.into_iter().map(|at| at.value).collect(),
            strict,
            max_length_v4,
            max_length_v6,
        };
        all.insert(name.value, cluster, name.span, problems);
    }
    all.entries
}

fn length(section: &mut Section<'_>, key: &'static str, default: u32, max: u32, problems: &mut Problems<'_>) -> u8 {
    let value = section.get::<u32>(key, problems);
    if let Some(at) = &value
        && !(1..=max).contains(&at.value)
    {
        let message = format!("{key}: {} is not a prefix length", at.value);
        problems.error(at.span.clone(), message, format!("expected 1 to {max}"));
    }
    value.map_or(default, |at| at.value).min(max) as u8
}
