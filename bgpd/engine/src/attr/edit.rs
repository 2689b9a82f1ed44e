//! New canonical attributes from old ones: the bytes that do not change are copied, not parsed.

use bgp_wire::attribute::{Attribute, AttributeBlock, Community, code, put};

/// What happens to one attribute.
#[derive(Clone, Copy)]
pub enum Edit<'a> {
    /// Nothing.
    Keep,
    /// It goes.
    Remove,
    /// Its value becomes these four octets, whether it was there or not.
    Set([u8; 4]),
    /// These four octets go in front of its value, or are its value if it was not there.
    Prefix([u8; 4]),
    /// A function appends the new value, given the old one; an empty value removes the attribute,
    /// except AS_PATH. An absent attribute stays absent, except AS_PATH, which is mandatory.
    Map(&'a dyn Fn(&[u8], &mut Vec<u8>)),
    /// As [`Edit::Map`], but an absent attribute is one with an empty value.
    Append(&'a dyn Fn(&[u8], &mut Vec<u8>)),
}

impl Edit<'_> {
    /// Sets the value to a number.
    #[must_use]
    pub fn set_u32(value: u32) -> Self {
        Self::Set(value.to_be_bytes())
    }

    /// Puts a number in front of the value.
    #[must_use]
    pub fn prefix_u32(value: u32) -> Self {
        Self::Prefix(value.to_be_bytes())
    }
}

/// Appends `bytes` with `edits` applied. Both are in ascending order of type code, and so is the
/// result.
pub fn rewrite(bytes: &[u8], edits: &[(u8, Edit<'_>)], out: &mut Vec<u8>) {
    let mut edits = edits.iter().peekable();
    // Start of the octets that are to be copied as they are.
    let (mut kept, mut at) = (0, 0);
    for attribute in AttributeBlock::from_canonical(bytes).iter() {
        let start = at;
        at += tlv_len(attribute.value.len());
        while let Some((code, edit)) = edits.next_if(|(code, _)| *code < attribute.code) {
            out.extend_from_slice(&bytes[kept..start]);
            kept = start;
            absent(*code, edit, out);
        }
        let Some((_, edit)) = edits.next_if(|(code, _)| *code == attribute.code) else { continue };
        if matches!(edit, Edit::Keep) {
            continue;
        }
        out.extend_from_slice(&bytes[kept..start]);
        kept = at;
        present(attribute.flags, attribute.code, attribute.value, edit, out);
    }
    out.extend_from_slice(&bytes[kept..]);
    for (code, edit) in edits {
        absent(*code, edit, out);
    }
}

/// Canonical attributes made of typed ones, in whatever order those are.
#[must_use]
pub fn build(attributes: &[Attribute]) -> Vec<u8> {
    let mut sorted: Vec<&Attribute> = attributes.iter().collect();
    sorted.sort_by_key(|attribute| attribute.code());
    let mut bytes = Vec::with_capacity(64);
    for attribute in sorted {
        attribute.encode(&mut bytes);
    }
    bytes
}

/// Appends the communities of `value`, and those of `added` that are wanted and not among them (RFC 1997).
pub fn add_communities(value: &[u8], added: &[(bool, Community)], out: &mut Vec<u8>) {
    out.extend_from_slice(value);
    for (_, community) in added.iter().filter(|(wanted, _)| *wanted) {
        let octets = community.0.to_be_bytes();
        if value.chunks_exact(4).all(|other| other != octets) {
            out.extend_from_slice(&octets);
        }
    }
}

/// Length of a TLV: flags, type, one octet of length or two where the value needs it.
fn tlv_len(value: usize) -> usize {
    value + if value > 255 { 4 } else { 3 }
}

fn present(flags: u8, code: u8, value: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) {
    match edit {
        Edit::Keep => put(out, flags, code, value),
        Edit::Remove => {}
        Edit::Set(new) => put(out, flags, code, new),
        Edit::Prefix(front) => {
            let mut new = Vec::with_capacity(4 + value.len());
            new.extend_from_slice(front);
            new.extend_from_slice(value);
            put(out, flags, code, &new);
        }
        Edit::Map(map) | Edit::Append(map) => {
            let mut new = Vec::with_capacity(8 + value.len());
            map(value, &mut new);
            if !new.is_empty() || code == code::AS_PATH {
                put(out, flags, code, &new);
            }
        }
    }
}

fn absent(code: u8, edit: &Edit<'_>, out: &mut Vec<u8>) {
    match edit {
        Edit::Set(value) | Edit::Prefix(value) => put(out, flags_of(code), code, value),
        Edit::Map(_) if code == code::AS_PATH => present(flags_of(code), code, &[], edit, out),
        Edit::Append(_) => present(flags_of(code), code, &[], edit, out),
        Edit::Keep | Edit::Remove | Edit::Map(_) => {}
    }
}

/// Flags of the attributes that edits can add (RFC 4271 §4.3, §5): well-known ones are transitive,
/// communities are both (RFC 1997), the rest of them is optional.
fn flags_of(code: u8) -> u8 {
    const OPTIONAL: u8 = 0x80;
    const TRANSITIVE: u8 = 0x40;
    match code {
        code::AS_PATH | code::LOCAL_PREF => TRANSITIVE,
        code::COMMUNITIES | code::ONLY_TO_CUSTOMER => OPTIONAL | TRANSITIVE,
        _ => OPTIONAL,
    }
}
