//! `decode`: BGP messages field by field, with the verdict that bgpd would give on each fault.

use std::fmt::Write;
use std::io::Read;

use bgp_wire::attribute::{decode_value, name};
use bgp_wire::frame::{self, Frame, MessageType};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::open::Open;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::update::{DecodeContext, Decoder, NlriBlock, Update};
use bgp_wire::{Family, Nlri, Notification};

use crate::Error;
use crate::arguments::Decode;

/// Decodes what the command line or standard input has.
pub(crate) fn run(wanted: &Decode) -> Result<String, Error> {
    let mut hex = wanted.hex.concat();
    if hex == "-" {
        hex.clear();
        std::io::stdin().read_to_string(&mut hex)?;
    }
    let bytes = octets(&hex)?;
    let families = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    let context = DecodeContext {
        external: wanted.external,
        four_octet_as: !wanted.two_octet_as,
        add_path: if wanted.add_path { families.clone() } else { Vec::new() },
        extended_next_hop: vec![Family::IPV4_UNICAST],
        families,
        reject_as_sets: false,
    };
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match frame::split(rest, frame::MAX_EXTENDED_LEN) {
            Ok(Some(frame)) => {
                message(&frame, &context, &mut text);
                rest = rest.get(frame.raw.len()..).unwrap_or_default();
            }
            Ok(None) => return Err(Error::Input(format!("the last message is cut off after {} octets", rest.len()))),
            Err(notification) => return Err(Error::Input(format!("not a BGP message: {notification}"))),
        }
    }
    Ok(text)
}

fn octets(hex: &str) -> Result<Vec<u8>, Error> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let value = |digit: &char| {
        digit.to_digit(16).ok_or_else(|| Error::Input(format!("\"{digit}\" is not a hexadecimal digit")))
    };
    if !digits.len().is_multiple_of(2) {
        return Err(Error::Input(format!("{} hexadecimal digits are not whole octets", digits.len())));
    }
    digits.chunks(2).map(|pair| Ok((value(&pair[0])? << 4 | value(&pair[1])?) as u8)).collect()
}

fn message(frame: &Frame<'_>, context: &DecodeContext, out: &mut String) {
    let kind = match frame.kind {
        MessageType::Open => "OPEN",
        MessageType::Update => "UPDATE",
        MessageType::Notification => "NOTIFICATION",
        MessageType::Keepalive => "KEEPALIVE",
        MessageType::RouteRefresh => "ROUTE-REFRESH",
    };
    line(out, 0, kind, &format!("{} octets", frame.raw.len()));
    match frame.kind {
        MessageType::Keepalive => {}
        MessageType::Open => match Open::decode(frame.body) {
            Ok(open) => print_open(&open, out),
            Err(notification) => line(out, 1, "refused with", &notification.to_string()),
        },
        MessageType::Notification => line(out, 1, "error", &Notification::decode(frame.body).to_string()),
        MessageType::RouteRefresh => match RouteRefresh::decode(frame.body) {
            Ok(refresh) => {
                let subtype = match refresh.subtype {
                    RefreshSubtype::Request => "request".to_owned(),
                    RefreshSubtype::Begin => "begin (BoRR)".to_owned(),
                    RefreshSubtype::End => "end (EoRR)".to_owned(),
                    RefreshSubtype::Unknown(other) => format!("unknown subtype {other}"),
                };
                line(out, 1, &refresh.family.to_string(), &subtype);
            }
            Err(notification) => line(out, 1, "refused with", &notification.to_string()),
        },
        MessageType::Update => match Decoder::new().decode(frame.body, context) {
            Ok(update) => print_update(&update, out),
            Err(reset) => {
                line(out, 1, "fault", &reset.fault.to_string());
                line(out, 1, "refused with", &reset.notification.to_string());
            }
        },
    }
}

fn line(out: &mut String, depth: usize, name: &str, value: &str) {
    let name = format!("{:indent$}{name}", "", indent = depth * 2);
    // Writing to a string does not fail.
    let _ = writeln!(out, "{name:<28}{value}");
}

fn print_open(open: &Open, out: &mut String) {
    line(out, 1, "AS", &format!("{} (field: {})", open.asn(), open.my_as));
    line(out, 1, "hold time", &format!("{} s", open.hold_seconds));
    line(out, 1, "BGP identifier", &open.router_id.to_string());
    for capability in &open.capabilities {
        line(out, 1, "capability", &capability.to_string());
    }
}

fn print_update(update: &Update<'_>, out: &mut String) {
    if let Some(family) = update.end_of_rib() {
        return line(out, 1, "End-of-RIB", &family.to_string());
    }
    routes(&update.withdrawn, "withdrawn", out);
    if let Some(unreach) = &update.mp_unreach {
        routes(unreach, "withdrawn", out);
    }
    if let Some(next_hop) = update.next_hop {
        line(out, 1, "NEXT_HOP", &next_hop.to_string());
    }
    for raw in update.attributes.iter() {
        let name = name(raw.code).map_or_else(|| format!("attribute {}", raw.code), str::to_owned);
        let value = decode_value(raw.flags, raw.code, raw.value);
        line(out, 1, &name, &value.map_or_else(|fault| fault.to_string(), |value| value.to_string()));
    }
    if let Some(reach) = &update.mp_reach {
        line(out, 1, "next hop", &reach.next_hop.to_string());
        routes(&reach.nlri, "announced", out);
    }
    routes(&update.nlri, "announced", out);
    for fault in update.faults {
        line(out, 1, "fault", &fault.to_string());
    }
    if update.treat_as_withdraw {
        line(out, 1, "verdict", "treat-as-withdraw: what is announced counts as withdrawn (RFC 7606)");
    }
}

fn routes(block: &NlriBlock<'_>, what: &str, out: &mut String) {
    match block.family() {
        Ipv4Unicast::FAMILY => keys::<Ipv4Unicast>(block, what, out),
        Ipv6Unicast::FAMILY => keys::<Ipv6Unicast>(block, what, out),
        _ => {}
    }
}

fn keys<N: Nlri>(block: &NlriBlock<'_>, what: &str, out: &mut String) {
    for key in block.iter::<N>() {
        let id = if block.add_path() { format!(" path-id {}", key.path_id) } else { String::new() };
        line(out, 1, what, &format!("{}{id}", key.key));
    }
}
