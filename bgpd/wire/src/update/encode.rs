//! Writing UPDATEs (RFC 4271 §4.3, RFC 4760, RFC 6793 §4.2.2, RFC 7606 §5.1): as many NLRI as fit behind one
//! attribute block.

use crate::attribute::{AsPath, AttributeBlock, code, flag, put, put_header};
use crate::cursor::Cursor;
use crate::frame::{self, HEADER_LEN, MessageType};
use crate::open::AS_TRANS;
use crate::update::{NextHop, PathKey};
use crate::{Family, Nlri};

/// Octets of an UPDATE without anything in it.
const EMPTY_LEN: usize = HEADER_LEN + 4;
/// Octets of a path identifier (RFC 7911 §3).
const PATH_ID_LEN: usize = 4;

/// The attributes leave no room for a single NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the attributes need {needed} octets, a message has {max}")]
pub struct TooLarge {
    /// Octets of a message with one NLRI.
    pub needed: usize,
    /// Octets a message may have.
    pub max: usize,
}

/// How UPDATEs are written to a group of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UpdateEncoder {
    /// Longest message: 4096, or 65535 (RFC 8654).
    pub max_len: usize,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
}

/// Where the routes of a message stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The fields of RFC 4271, for IPv4 unicast.
    Field,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI.
    Attribute,
}

impl UpdateEncoder {
    /// Appends UPDATEs that announce `keys`, in order, with the same attributes. `attributes` are canonical and come
    /// without a next hop. IPv4 unicast with an IPv4 next hop uses NEXT_HOP and the NLRI field, all else
    /// MP_REACH_NLRI (RFC 8950 for IPv4 with an IPv6 next hop).
    ///
    /// # Errors
    /// When the attributes leave no room; then nothing is written.
    pub fn reach<N: Nlri>(
        &self,
        attributes: AttributeBlock<'_>,
        next_hop: &NextHop,
        add_path: bool,
        keys: &[PathKey<N::Key>],
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let place = match next_hop {
            NextHop::V4(_) if N::FAMILY == Family::IPV4_UNICAST => Place::Field,
            _ => Place::Attribute,
        };
        let mut block = Vec::with_capacity(attributes.bytes().len() + 16);
        self.attributes(attributes, (place == Place::Field).then_some(next_hop), &mut block);
        let mut head = Vec::new();
        if place == Place::Attribute {
            reach_head(N::FAMILY, next_hop, &mut head);
        }
        let fixed = EMPTY_LEN + block.len() + if place == Place::Attribute { 4 + head.len() } else { 0 };
        let longest = keys.iter().map(|key| nlri_len::<N>(key, add_path)).max().unwrap_or(0);
        if fixed + longest > self.max_len {
            return Err(TooLarge { needed: fixed + longest, max: self.max_len });
        }
        let mut rest = keys;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting::<N>(rest, add_path, self.max_len - fixed));
            let message = frame::begin(out, MessageType::Update);
            out.extend_from_slice(&[0, 0]);
            match place {
                Place::Field => {
                    out.extend_from_slice(&(block.len() as u16).to_be_bytes());
                    out.extend_from_slice(&block);
                    put_nlri::<N>(now, add_path, out);
                }
                Place::Attribute => {
                    let lengths = out.len();
                    out.extend_from_slice(&[0, 0]);
                    put_mp::<N>(code::MP_REACH_NLRI, &head, now, add_path, out);
                    out.extend_from_slice(&block);
                    set_length(out, lengths);
                }
            }
            frame::finish(out, message);
            rest = later;
        }
        Ok(())
    }

    /// Appends UPDATEs that withdraw `keys`.
    pub fn unreach<N: Nlri>(&self, add_path: bool, keys: &[PathKey<N::Key>], out: &mut Vec<u8>) {
        let place = if N::FAMILY == Family::IPV4_UNICAST { Place::Field } else { Place::Attribute };
        let head = family_octets(N::FAMILY);
        let fixed = EMPTY_LEN + if place == Place::Attribute { 4 + head.len() } else { 0 };
        let mut rest = keys;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting::<N>(rest, add_path, self.max_len - fixed));
            let message = frame::begin(out, MessageType::Update);
            let lengths = out.len();
            out.extend_from_slice(&[0, 0]);
            match place {
                Place::Field => {
                    put_nlri::<N>(now, add_path, out);
                    set_length(out, lengths);
                    out.extend_from_slice(&[0, 0]);
                }
                Place::Attribute => {
                    let lengths = out.len();
                    out.extend_from_slice(&[0, 0]);
                    put_mp::<N>(code::MP_UNREACH_NLRI, &head, now, add_path, out);
                    set_length(out, lengths);
                }
            }
            frame::finish(out, message);
            rest = later;
        }
    }

    /// Appends the End-of-RIB marker of a family (RFC 4724 §2).
    pub fn end_of_rib(&self, family: Family, out: &mut Vec<u8>) {
        let message = frame::begin(out, MessageType::Update);
        out.extend_from_slice(&[0, 0]);
        let lengths = out.len();
        out.extend_from_slice(&[0, 0]);
        if family != Family::IPV4_UNICAST {
            put(out, flag::OPTIONAL, code::MP_UNREACH_NLRI, &family_octets(family));
            set_length(out, lengths);
        }
        frame::finish(out, message);
    }

    /// The attributes with NEXT_HOP in its place, and as a peer with 2-octet AS numbers needs them.
    fn attributes(&self, attributes: AttributeBlock<'_>, next_hop: Option<&NextHop>, out: &mut Vec<u8>) {
        let mut next_hop = match next_hop {
            Some(NextHop::V4(address)) => Some(address.octets()),
            _ => None,
        };
        let mut as4 = Vec::new();
        for attribute in attributes.iter() {
            if attribute.code > code::NEXT_HOP
                && let Some(octets) = next_hop.take()
            {
                put(out, flag::TRANSITIVE, code::NEXT_HOP, &octets);
            }
            match attribute.code {
                code::AS_PATH if !self.four_octet_as => narrow_path(attribute.value, out, &mut as4),
                code::AGGREGATOR if !self.four_octet_as => {
                    narrow_aggregator(attribute.flags, attribute.value, out, &mut as4);
                }
                _ => put(out, attribute.flags, attribute.code, attribute.value),
            }
        }
        if let Some(octets) = next_hop {
            put(out, flag::TRANSITIVE, code::NEXT_HOP, &octets);
        }
        out.extend_from_slice(&as4);
    }
}

/// AS_PATH with AS_TRANS for what does not fit, and AS4_PATH if anything does not (RFC 6793 §4.2.2).
fn narrow_path(value: &[u8], out: &mut Vec<u8>, as4: &mut Vec<u8>) {
    let path = AsPath::decode(value);
    let mut narrow = Vec::new();
    let mut lossy = false;
    for segment in &path.segments {
        narrow.extend_from_slice(&[segment.kind.code(), segment.asns.len() as u8]);
        for asn in &segment.asns {
            let short = u16::try_from(*asn).unwrap_or(AS_TRANS);
            lossy |= u32::from(short) != *asn;
            narrow.extend_from_slice(&short.to_be_bytes());
        }
    }
    put(out, flag::TRANSITIVE, code::AS_PATH, &narrow);
    if lossy {
        // RFC 6793 §3: confederation segments do not belong into AS4_PATH.
        let segments = path.segments.into_iter().filter(|segment| !segment.kind.is_confed()).collect();
        let mut wide = Vec::new();
        AsPath { segments }.encode_value(&mut wide);
        put(as4, flag::OPTIONAL | flag::TRANSITIVE, code::AS4_PATH, &wide);
    }
}

/// As [`narrow_path`], for AGGREGATOR and AS4_AGGREGATOR.
fn narrow_aggregator(flags: u8, value: &[u8], out: &mut Vec<u8>, as4: &mut Vec<u8>) {
    let mut cursor = Cursor::new(value);
    // A canonical AGGREGATOR has eight octets.
    let Ok(asn) = cursor.u32() else { return };
    let short = u16::try_from(asn);
    put_header(out, flags, code::AGGREGATOR, 6);
    out.extend_from_slice(&short.unwrap_or(AS_TRANS).to_be_bytes());
    out.extend_from_slice(cursor.rest());
    if short.is_err() {
        put(as4, flag::OPTIONAL | flag::TRANSITIVE, code::AS4_AGGREGATOR, value);
    }
}

fn family_octets(family: Family) -> [u8; 3] {
    let [high, low] = family.afi.to_be_bytes();
    [high, low, family.safi]
}

/// What stands before the routes in MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3).
fn reach_head(family: Family, next_hop: &NextHop, out: &mut Vec<u8>) {
    out.extend_from_slice(&family_octets(family));
    match next_hop {
        NextHop::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        NextHop::V6 { global, link_local } => {
            out.push(if link_local.is_some() { 32 } else { 16 });
            out.extend_from_slice(&global.octets());
            link_local.iter().for_each(|address| out.extend_from_slice(&address.octets()));
        }
    }
    out.push(0);
}

/// An attribute with routes in it. Its length has two octets always, so that it need not be known before.
fn put_mp<N: Nlri>(code: u8, head: &[u8], keys: &[PathKey<N::Key>], add_path: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED_LENGTH, code]);
    let lengths = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(head);
    put_nlri::<N>(keys, add_path, out);
    set_length(out, lengths);
}

/// Fills in a two-octet length at `at` of all that follows it.
fn set_length(out: &mut [u8], at: usize) {
    let len = (out.len() - at - 2) as u16;
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

fn put_nlri<N: Nlri>(keys: &[PathKey<N::Key>], add_path: bool, out: &mut Vec<u8>) {
    for key in keys {
        if add_path {
            out.extend_from_slice(&key.path_id.to_be_bytes());
        }
        N::encode(&key.key, out);
    }
}

fn nlri_len<N: Nlri>(key: &PathKey<N::Key>, add_path: bool) -> usize {
    N::encoded_len(&key.key) + if add_path { PATH_ID_LEN } else { 0 }
}

/// How many of the first keys fit into `room` octets; at least one, because the longest has been looked at before.
fn fitting<N: Nlri>(keys: &[PathKey<N::Key>], add_path: bool, room: usize) -> usize {
    let mut left = room;
    let fits = |key: &&PathKey<N::Key>| match left.checked_sub(nlri_len::<N>(key, add_path)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    keys.iter().take_while(fits).count().max(1)
}
