//! The receivers' reading of messages: strict, fast, and independent of the daemon's codec, so that a bug there cannot
//! hide behind the same bug here.

use super::attributes::{CLUSTER_LIST, MP_REACH_NLRI, MP_UNREACH_NLRI, MULTI_EXIT_DISC, NEXT_HOP, ORIGINATOR_ID, part};
use super::message::{HEADER, MAX_MESSAGE};
use super::prefix::{MAX_V6_LENGTH, PrefixKey};

/// What was wrong with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed message from the daemon: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One message of a stream.
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
    pub(crate) length: usize,
}

/// The first message of `bytes`, or none when it is not complete.
#[inline]
pub(crate) fn message(bytes: &[u8]) -> Result<Option<Message<'_>>, Malformed> {
    let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
    if header[..16] != [0xff; 16] {
        return Err(Malformed("marker is not all ones"));
    }
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    if !(HEADER..=MAX_MESSAGE).contains(&length) {
        return Err(Malformed("length field out of range"));
    }
    Ok(bytes.get(HEADER..length).map(|body| Message { kind: header[18], body, length }))
}

/// An UPDATE, cut into its fields.
#[derive(Default)]
pub(crate) struct Update<'a> {
    pub(crate) withdrawn: &'a [u8],
    pub(crate) nlri: &'a [u8],
    pub(crate) withdrawn_v6: &'a [u8],
    pub(crate) nlri_v6: &'a [u8],
    /// Sum over the attributes, see `attributes.rs`.
    pub(crate) identity: u64,
    pub(crate) originator: Option<u32>,
    pub(crate) clusters: usize,
}

/// Takes `count` octets off the front of `bytes`.
#[inline]
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (front, rest) = bytes.split_at_checked(count).ok_or(Malformed("field runs past its container"))?;
    *bytes = rest;
    Ok(front)
}

#[inline]
fn take_u8(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    Ok(take(bytes, 1)?[0])
}

#[inline]
fn take_u16(bytes: &mut &[u8]) -> Result<usize, Malformed> {
    let pair = take(bytes, 2)?;
    Ok(usize::from(u16::from_be_bytes([pair[0], pair[1]])))
}

/// Reads an UPDATE's body.
#[inline]
pub(crate) fn update(mut body: &[u8]) -> Result<Update<'_>, Malformed> {
    let length = take_u16(&mut body)?;
    let withdrawn = take(&mut body, length)?;
    let length = take_u16(&mut body)?;
    let mut attributes = take(&mut body, length)?;
    let mut update = Update { withdrawn, nlri: body, ..Update::default() };
    let mut seen = [0_u64; 4];
    while !attributes.is_empty() {
        let flags = take_u8(&mut attributes)?;
        let code = take_u8(&mut attributes)?;
        let length =
            if flags & 0x10 == 0 { usize::from(take_u8(&mut attributes)?) } else { take_u16(&mut attributes)? };
        let value = take(&mut attributes, length)?;
        let bit = 1 << (code & 63);
        if seen[usize::from(code >> 6)] & bit != 0 {
            return Err(Malformed("attribute is there twice"));
        }
        seen[usize::from(code >> 6)] |= bit;
        update.attribute(code, value)?;
    }
    if !update.nlri.is_empty() && !update.nlri_v6.is_empty() {
        return Err(Malformed("both families are announced in one UPDATE"));
    }
    Ok(update)
}

impl<'a> Update<'a> {
    #[inline]
    fn attribute(&mut self, code: u8, value: &'a [u8]) -> Result<(), Malformed> {
        match code {
            ORIGINATOR_ID => {
                let id = value.try_into().map_err(|_| Malformed("ORIGINATOR_ID is not four octets"))?;
                self.originator = Some(u32::from_be_bytes(id));
            }
            CLUSTER_LIST => {
                if value.is_empty() || !value.len().is_multiple_of(4) {
                    return Err(Malformed("CLUSTER_LIST is not a list of four octets"));
                }
                self.clusters = value.len() / 4;
            }
            MP_REACH_NLRI => self.mp_reach(value)?,
            MP_UNREACH_NLRI => {
                let (family, nlri) = value.split_at_checked(3).ok_or(Malformed("MP_UNREACH_NLRI is too short"))?;
                match family {
                    [0, 1, 1] => self.withdrawn = nlri,
                    [0, 2, 1] => self.withdrawn_v6 = nlri,
                    _ => return Err(Malformed("MP_UNREACH_NLRI of a family that was not negotiated")),
                }
            }
            // FRR writes the MED that a missing one stands for (RFC 4271 §9.1.2.2(c)).
            MULTI_EXIT_DISC if value == [0; 4] => {}
            _ => self.identity = self.identity.wrapping_add(part(code, value)),
        }
        Ok(())
    }

    fn mp_reach(&mut self, mut value: &'a [u8]) -> Result<(), Malformed> {
        let family = take(&mut value, 3)?;
        let length = usize::from(take_u8(&mut value)?);
        let next_hop = take(&mut value, length)?;
        take(&mut value, 1)?;
        self.identity = self.identity.wrapping_add(part(NEXT_HOP, next_hop));
        match family {
            [0, 1, 1] => self.nlri = value,
            [0, 2, 1] => self.nlri_v6 = value,
            _ => return Err(Malformed("MP_REACH_NLRI of a family that was not negotiated")),
        }
        Ok(())
    }
}

/// Calls `each` for every prefix of an NLRI field.
#[inline]
pub(crate) fn prefixes(mut bytes: &[u8], v6: bool, mut each: impl FnMut(PrefixKey)) -> Result<(), Malformed> {
    let longest = if v6 { MAX_V6_LENGTH } else { 32 };
    while let Some((&length, rest)) = bytes.split_first() {
        if length > longest {
            return Err(Malformed("prefix is longer than any that was announced"));
        }
        let octets = usize::from(length.div_ceil(8));
        let top = match rest.first_chunk::<8>() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let mut eight = [0; 8];
                let there = rest.get(..octets).ok_or(Malformed("prefix runs past its field"))?;
                eight[..octets].copy_from_slice(there);
                u64::from_be_bytes(eight)
            }
        };
        each(PrefixKey::from_top(top, length, v6));
        bytes = &rest[octets..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{AttributeSet, Recipe};
    use super::super::message as write;
    use super::*;

    fn read(bytes: &[u8]) -> (Update<'_>, usize) {
        let message = message(bytes).unwrap().unwrap();
        (update(message.body).unwrap(), message.length)
    }

    fn keys(bytes: &[u8], v6: bool) -> Vec<PrefixKey> {
        let mut keys = Vec::new();
        prefixes(bytes, v6, |key| keys.push(key)).unwrap();
        keys
    }

    const RECIPE: Recipe = Recipe { client: 3, group: 9, variant: 0, detour: 0 };

    #[test]
    fn what_was_announced_is_read_with_the_same_identity() {
        let set = AttributeSet::of(RECIPE);
        let v4 = [PrefixKey::v4(0x0a01_0000, 16), PrefixKey::v4(0x0a02_0300, 24)];
        let v6 = [PrefixKey::v6(0x2400_0001 << 32, 32), PrefixKey::v6(0x2400_0001_0002 << 16, 48)];
        let mut bytes = Vec::new();
        write::announce(&set, &v4, &mut bytes);
        let second = bytes.len();
        write::announce(&set, &v6, &mut bytes);
        let (update, length) = read(&bytes);
        assert_eq!((length, update.identity), (second, set.identity(false)));
        assert_eq!(keys(update.nlri, false), v4);
        let (update, _) = read(&bytes[second..]);
        assert_eq!(update.identity, set.identity(true));
        assert_eq!(keys(update.nlri_v6, true), v6);
    }

    #[test]
    fn what_was_withdrawn_is_read_as_withdrawn() {
        let key = PrefixKey::v6(0x2400_0001 << 32, 32);
        let mut bytes = Vec::new();
        write::withdraw(&[key], &mut bytes);
        let (update, _) = read(&bytes);
        assert_eq!(keys(update.withdrawn_v6, true), [key]);
    }

    #[test]
    fn a_reflectors_own_attributes_do_not_change_the_identity() {
        let mut attributes = Vec::new();
        AttributeSet::of(RECIPE).encode_v4(&mut attributes);
        super::super::attributes::put(0x80, ORIGINATOR_ID, &[10, 0, 0, 1], &mut attributes);
        super::super::attributes::put(0x80, CLUSTER_LIST, &[10, 0, 0, 2], &mut attributes);
        let mut body = vec![0, 0];
        body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        body.extend_from_slice(&attributes);
        let update = update(&body).unwrap();
        assert_eq!(update.identity, AttributeSet::of(RECIPE).identity(false));
        assert_eq!(update.originator, Some(0x0a00_0001));
    }

    #[test]
    fn truncated_messages_are_malformed_and_short_ones_wait() {
        assert!(message(&[0xff; 18]).unwrap().is_none());
        assert!(update(&[0, 5, 0, 0]).is_err());
        assert!(prefixes(&[24, 10, 1], false, |_| ()).is_err());
    }
}
