//! What a request says of a neighbor, in the words of the configuration file: the reader of the file judges it.

use std::net::IpAddr;

use bgp_engine::config::owners::OwnerName;
use bgp_engine::config::{AddPath, Desired};
use bgpd_proto::v1;
use toml::Value;
use tonic::Status;

use super::{address, family, invalid};
use crate::config::Keys;

/// Collects keys that are set.
#[derive(Default)]
struct Collected(Keys);

impl Collected {
    fn set<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn list(&mut self, key: &str, values: Vec<String>) {
        if !values.is_empty() {
            self.set(key, Some(values));
        }
    }

    /// A table by family in place of one number for all.
    fn by_family(&mut self, key: &str, numbers: Vec<v1::FamilyNumber>) -> Result<(), Status> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut table = Keys::new();
        for v1::FamilyNumber { family: of, number } in numbers {
            let of = family("neighbor", of.ok_or_else(|| invalid("neighbor", format_args!("{key}: which family?")))?)?;
            table.insert(of.to_string(), Value::from(number));
        }
        self.set(key, Some(table));
        Ok(())
    }

    fn ao_keys(&mut self, keys: Vec<v1::AoKey>) {
        let table = |v1::AoKey { id, receive_id, algorithm, key }| {
            let mut table = Self::default();
            table.set("id", Some(id));
            table.set("receive-id", receive_id);
            table.set("algorithm", Some(algorithm).filter(|word| !word.is_empty()));
            table.set("key", Some(key));
            Value::from(table.0)
        };
        if !keys.is_empty() {
            self.set("ao-key", Some(keys.into_iter().map(table).collect::<Vec<_>>()));
        }
    }
}

/// Who asks; `bgpctl` unless it says so.
pub(in crate::api) fn owner_name(name: &str) -> Result<OwnerName, Status> {
    match name {
        "" | "bgpctl" => Ok(OwnerName::bgpctl()),
        name => name.parse().map_err(|error| invalid("owner", error)),
    }
}

/// The address of a neighbor and the keys that a request sets. The request is taken apart completely, so that no field
/// is forgotten. `running` says in which directions it has several paths where the request names one of them only.
pub(in crate::api) fn neighbor_keys(request: v1::NeighborConfig, running: &Desired) -> Result<(IpAddr, Keys), Status> {
    let v1::NeighborConfig {
        address: text,
        peer_group,
        description,
        remote_asn,
        local_asn,
        route_reflector_client,
        families,
        hold_time,
        idle_hold_time,
        connect_retry,
        port,
        local_address,
        passive,
        md5_password,
        ttl_security,
        ebgp_multihop,
        next_hop_self,
        add_path_receive,
        add_path_send,
        import_policy,
        export_policy,
        graceful_restart,
        restart_time,
        long_lived_stale_time,
        max_prefixes,
        max_prefixes_warning,
        max_prefixes_action,
        max_prefixes_restart_time,
        graceful_shutdown,
        stale_path_time,
        extended_messages,
        extended_next_hop,
        role,
        role_strict,
        reject_as_sets,
        shutdown,
        max_prefixes_of,
        long_lived_stale_time_of,
        ao_keys,
    } = request;
    let address = address("neighbor.address", &text)?;
    let families = families.into_iter().map(|one| family("neighbor.families", one).map(|family| family.to_string()));
    let several = add_path(address, peer_group.as_deref(), (add_path_receive, add_path_send), running);
    let mut keys = Collected::default();
    keys.set("peer-group", peer_group);
    keys.set("description", description);
    keys.set("remote-asn", remote_asn);
    keys.set("local-asn", local_asn);
    keys.set("route-reflector-client", route_reflector_client);
    keys.list("families", families.collect::<Result<_, _>>()?);
    keys.set("hold-time", hold_time);
    keys.set("idle-hold-time", idle_hold_time);
    keys.set("connect-retry", connect_retry);
    keys.set("port", port);
    keys.set("local-address", local_address);
    keys.set("passive", passive);
    keys.set("md5-password", md5_password);
    keys.ao_keys(ao_keys);
    keys.set("ttl-security", ttl_security);
    keys.set("ebgp-multihop", ebgp_multihop);
    keys.set("next-hop-self", next_hop_self);
    keys.set("add-path", several);
    keys.list("import-policy", import_policy);
    keys.list("export-policy", export_policy);
    keys.set("graceful-restart", graceful_restart);
    keys.set("restart-time", restart_time);
    keys.set("stale-path-time", stale_path_time);
    keys.set("long-lived-stale-time", long_lived_stale_time);
    keys.by_family("long-lived-stale-time", long_lived_stale_time_of)?;
    keys.set("max-prefixes", max_prefixes);
    keys.by_family("max-prefixes", max_prefixes_of)?;
    keys.set("max-prefixes-warning", max_prefixes_warning);
    keys.set("max-prefixes-action", limit_action(max_prefixes_action)?);
    keys.set("max-prefixes-restart-time", max_prefixes_restart_time);
    keys.set("graceful-shutdown", graceful_shutdown);
    keys.set("extended-messages", extended_messages);
    keys.set("extended-next-hop", extended_next_hop);
    keys.set("role", role);
    keys.set("role-strict", role_strict);
    keys.set("reject-as-sets", reject_as_sets);
    keys.set("shutdown", shutdown.map(down));
    Ok((address, keys.0))
}

/// `shutdown`, with the text that the peer is told or without.
fn down(text: String) -> Value {
    if text.is_empty() { Value::from(true) } else { Value::from(text) }
}

fn add_path(
    address: IpAddr,
    group: Option<&str>,
    wanted: (Option<bool>, Option<bool>),
    running: &Desired,
) -> Option<&'static str> {
    if wanted == (None, None) {
        return None;
    }
    let of_neighbor = running.neighbors.get(&address).map(|neighbor| neighbor.settings.add_path);
    let of_group = || group.and_then(|name| running.peer_groups.get(name)).map(|settings| settings.add_path);
    let AddPath { receive, send } = of_neighbor.or_else(of_group).unwrap_or_default();
    Some(match (wanted.0.unwrap_or(receive), wanted.1.unwrap_or(send)) {
        (true, true) => "both",
        (true, false) => "receive",
        (false, true) => "send",
        (false, false) => "none",
    })
}

fn limit_action(action: i32) -> Result<Option<&'static str>, Status> {
    match v1::LimitAction::try_from(action) {
        Ok(v1::LimitAction::Unspecified) => Ok(None),
        Ok(v1::LimitAction::Warn) => Ok(Some("warn")),
        Ok(v1::LimitAction::DiscardNew) => Ok(Some("discard-new")),
        Ok(v1::LimitAction::Restart) => Ok(Some("restart")),
        Err(_) => Err(invalid("neighbor.max_prefixes_action", "unknown, expected warn, discard-new or restart")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{declared_neighbor, parse};

    /// RFC 5925: also where no kernel is asked for it.
    #[test]
    fn keys_of_tcp_ao_are_what_a_file_with_the_same_words_says() {
        let text = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n\
            [[neighbor]]\naddress = \"192.0.2.10\"\nremote-asn = 65000\n\
            ao-key = [{ id = 1, key = \"one\" }, { id = 2, receive-id = 3, algorithm = \"aes-128-cmac-96\", key = \"two\" }]\n";
        let of_file = parse(text, "bgpd.toml", Path::new(".")).expect("it is right").desired;
        let key = |id, receive_id, algorithm: &str, key: &str| v1::AoKey {
            id,
            receive_id,
            algorithm: algorithm.to_owned(),
            key: key.to_owned(),
        };
        let request = v1::NeighborConfig {
            address: "192.0.2.10".to_owned(),
            remote_asn: Some(65000),
            ao_keys: vec![key(1, None, "", "one"), key(2, Some(3), "aes-128-cmac-96", "two")],
            ..v1::NeighborConfig::default()
        };
        let (address, keys) = neighbor_keys(request, &of_file).expect("an address");
        let neighbor = declared_neighbor(address, &keys, None, &of_file, &of_file.policies).expect("it is right");
        assert_eq!(neighbor.settings.ao_keys.len(), 2);
        assert_eq!(Some(&neighbor), of_file.neighbors.get(&address));
    }
}
