//! Writing BGP messages for the load generator: OPEN, KEEPALIVE and pre-encoded UPDATEs.

use std::net::Ipv4Addr;

use super::attributes::{AttributeSet, MP_UNREACH_NLRI, put};
use super::prefix::PrefixKey;

/// Length of a message header (RFC 4271 §4.1).
pub(crate) const HEADER: usize = 19;
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const ROUTE_REFRESH: u8 = 5;

/// Largest message without RFC 8654.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// AS of the reflector and of all its clients.
pub(crate) const ASN: u16 = 65_000;
/// Hold time of all sessions, in seconds.
pub(crate) const HOLD_TIME: u16 = 180;

/// Which families a load uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

fn message(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind]);
    body(out);
    let length = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

/// OPEN with multiprotocol, route refresh and four-octet AS numbers.
pub(crate) fn open(router_id: Ipv4Addr, families: Families, hold_time: u16) -> Vec<u8> {
    let mut capabilities = Vec::new();
    if families.v4 {
        capabilities.extend_from_slice(&[1, 4, 0, 1, 0, 1]);
    }
    if families.v6 {
        capabilities.extend_from_slice(&[1, 4, 0, 2, 0, 1]);
    }
    capabilities.extend_from_slice(&[2, 0]);
    capabilities.extend_from_slice(&[65, 4]);
    capabilities.extend_from_slice(&u32::from(ASN).to_be_bytes());
    let mut out = Vec::new();
    message(OPEN, &mut out, |out| {
        out.push(4);
        out.extend_from_slice(&ASN.to_be_bytes());
        out.extend_from_slice(&hold_time.to_be_bytes());
        out.extend_from_slice(&router_id.octets());
        out.push(capabilities.len() as u8 + 2);
        out.extend_from_slice(&[2, capabilities.len() as u8]);
        out.extend_from_slice(&capabilities);
    });
    out
}

pub(crate) fn keepalive(out: &mut Vec<u8>) {
    message(KEEPALIVE, out, |_| ());
}

/// NOTIFICATION: Cease / Administrative Shutdown (RFC 4486).
pub(crate) fn cease(out: &mut Vec<u8>) {
    message(NOTIFICATION, out, |out| out.extend_from_slice(&[6, 2]));
}

/// One UPDATE that announces `keys` (all of one family).
pub(crate) fn announce(set: &AttributeSet, keys: &[PrefixKey], out: &mut Vec<u8>) {
    let mut nlri = Vec::with_capacity(keys.len() * 5);
    keys.iter().for_each(|key| key.encode(&mut nlri));
    let v6 = keys.first().is_some_and(|key| key.is_v6());
    message(UPDATE, out, |out| {
        out.extend_from_slice(&[0, 0, 0, 0]);
        let start = out.len();
        if v6 {
            set.encode_v6(&nlri, out);
        } else {
            set.encode_v4(out);
        }
        let length = (out.len() - start) as u16;
        out[start - 2..start].copy_from_slice(&length.to_be_bytes());
        if !v6 {
            out.extend_from_slice(&nlri);
        }
    });
}

/// One UPDATE that withdraws `keys` (all of one family).
pub(crate) fn withdraw(keys: &[PrefixKey], out: &mut Vec<u8>) {
    let mut nlri = Vec::with_capacity(keys.len() * 5);
    keys.iter().for_each(|key| key.encode(&mut nlri));
    let v6 = keys.first().is_some_and(|key| key.is_v6());
    message(UPDATE, out, |out| {
        if v6 {
            let mut value = vec![0, 2, 1];
            value.extend_from_slice(&nlri);
            let mut attributes = Vec::new();
            put(0x80, MP_UNREACH_NLRI, &value, &mut attributes);
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
            out.extend_from_slice(&attributes);
        } else {
            out.extend_from_slice(&(nlri.len() as u16).to_be_bytes());
            out.extend_from_slice(&nlri);
            out.extend_from_slice(&[0, 0]);
        }
    });
}

/// End-of-RIB of each family (RFC 4724 §2).
pub(crate) fn end_of_rib(families: Families, out: &mut Vec<u8>) {
    if families.v4 {
        message(UPDATE, out, |out| out.extend_from_slice(&[0, 0, 0, 0]));
    }
    if families.v6 {
        message(UPDATE, out, |out| {
            out.extend_from_slice(&[0, 0, 0, 6, 0x80, MP_UNREACH_NLRI, 3, 0, 2, 1]);
        });
    }
}
