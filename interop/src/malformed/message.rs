//! BGP messages as octets, right and wrong.

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const ROUTE_REFRESH: u8 = 5;

/// Well-known.
pub(crate) const WELL_KNOWN: u8 = 0x40;
/// Optional transitive.
pub(crate) const TRANSITIVE: u8 = 0xc0;
/// Optional non-transitive.
pub(crate) const OPTIONAL: u8 = 0x80;

/// AS of the daemon.
pub(crate) const ASN: u16 = 65_000;
/// AS of eBGP peers.
pub(crate) const EXTERNAL_ASN: u16 = 65_001;
/// Next hop of all IPv4 routes: the host that plays the peers.
pub(crate) const NEXT_HOP: [u8; 4] = [192, 0, 2, 2];
/// Next hop of all IPv6 routes.
pub(crate) const NEXT_HOP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// What a peer is and offers.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// eBGP.
    pub external: bool,
    /// Does not know 4-octet AS numbers.
    pub two_octet: bool,
    /// Offers IPv4 unicast.
    pub ipv4: bool,
    /// Offers IPv6 unicast.
    pub ipv6: bool,
    /// Offers extended messages.
    pub extended: bool,
}

pub(crate) const INTERNAL: Who = Who { external: false, two_octet: false, ipv4: true, ipv6: true, extended: false };
pub(crate) const EXTERNAL: Who = Who { external: true, ..INTERNAL };

/// A whole message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    with_length(19 + body.len() as u16, kind, body)
}

/// A message that says it has `length` octets.
pub(crate) fn with_length(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// The fixed fields of an OPEN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) version: u8,
    pub(crate) asn: u16,
    pub(crate) hold_time: u16,
    pub(crate) router_id: [u8; 4],
}

/// The body of an OPEN; `parameters` with their length.
pub(crate) fn open(fixed: Fixed, parameters: &[u8]) -> Vec<u8> {
    let Fixed { version, asn, hold_time, router_id } = fixed;
    [&[version][..], &asn.to_be_bytes(), &hold_time.to_be_bytes(), &router_id, parameters].concat()
}

/// The capabilities of a peer.
pub(crate) fn capabilities(who: Who) -> Vec<u8> {
    let asn = if who.external { EXTERNAL_ASN } else { ASN };
    let mut all = Vec::new();
    if who.ipv4 {
        all.extend([1, 4, 0, 1, 0, 1]);
    }
    if who.ipv6 {
        all.extend([1, 4, 0, 2, 0, 1]);
    }
    // Route refresh, with and without enhancement.
    all.extend([2, 0, 70, 0]);
    if who.extended {
        all.extend([6, 0]);
    }
    if !who.two_octet {
        all.extend([65, 4]);
        all.extend(u32::from(asn).to_be_bytes());
    }
    all
}

/// All capabilities in one parameter, with the length before it.
pub(crate) fn parameters(capabilities: &[u8]) -> Vec<u8> {
    let len = capabilities.len() as u8;
    [&[len + 2, 2, len][..], capabilities].concat()
}

/// One attribute, with an extended length only where it needs one.
pub(crate) fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = if value.len() > 255 {
        let [high, low] = (value.len() as u16).to_be_bytes();
        vec![flags | 0x10, code, high, low]
    } else {
        vec![flags, code, value.len() as u8]
    };
    out.extend_from_slice(value);
    out
}

/// The body of an UPDATE.
pub(crate) fn update(withdrawn: &[u8], attributes: &[Vec<u8>], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(&attributes);
    body.extend_from_slice(nlri);
    body
}

/// A destination as the observer knows it: octets of the address, length.
pub(crate) type Prefix = (Vec<u8>, u8);

pub(crate) fn nlri(prefix: &Prefix) -> Vec<u8> {
    let octets = usize::from(prefix.1.div_ceil(8));
    [&[prefix.1], &prefix.0[..octets]].concat()
}

/// What a case is played with: prefixes of its own, and how the peer writes attributes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) who: Who,
    pub(crate) number: u8,
}

impl Place {
    /// The IPv4 prefix of the case.
    pub(crate) fn ipv4(&self) -> Prefix {
        (vec![198, 18, self.number, 0], 24)
    }

    /// The IPv6 prefix of the case.
    pub(crate) fn ipv6(&self) -> Prefix {
        let mut octets = vec![0; 16];
        octets[..8].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 1, 0, self.number]);
        (octets, 64)
    }

    /// Prefixes that say how far the daemon has come.
    pub(crate) fn sentinel(&self, ipv6: bool, round: u8) -> Prefix {
        if !ipv6 {
            return (vec![198, 19, self.number, round], 32);
        }
        let (mut octets, _) = self.ipv6();
        octets[15] = round;
        (octets, 128)
    }

    pub(crate) fn as_path(&self, asns: &[u16]) -> Vec<u8> {
        let mut value = vec![2, asns.len() as u8];
        for asn in asns {
            if !self.who.two_octet {
                value.extend([0, 0]);
            }
            value.extend(asn.to_be_bytes());
        }
        value
    }

    /// The attributes of a right announcement without those of `code`, in ascending order, with a MED that marks it.
    pub(crate) fn attributes(&self, med: u8, next_hop: bool, without: &[u8]) -> Vec<Vec<u8>> {
        let mut all = vec![
            attribute(WELL_KNOWN, 1, &[0]),
            attribute(WELL_KNOWN, 2, &self.as_path(&[EXTERNAL_ASN, 65_002])),
            attribute(WELL_KNOWN, 3, &NEXT_HOP),
            attribute(OPTIONAL, 4, &[0, 0, 0, med]),
        ];
        if !self.who.external {
            all.push(attribute(WELL_KNOWN, 5, &[0, 0, 0, 100]));
        }
        all.retain(|one| !without.contains(&one[1]) && (next_hop || one[1] != 3));
        all
    }

    /// A right announcement in the body of an UPDATE.
    pub(crate) fn announcement(&self, prefix: &Prefix, med: u8) -> Vec<u8> {
        if prefix.0.len() == 4 {
            return update(&[], &self.attributes(med, true, &[]), &nlri(prefix));
        }
        let mut all = vec![attribute(OPTIONAL, 14, &reach6(&NEXT_HOP6, &nlri(prefix)))];
        all.extend(self.attributes(med, false, &[]));
        update(&[], &all, &[])
    }
}

/// The value of MP_REACH_NLRI for IPv6 unicast.
pub(crate) fn reach6(next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    [&[0, 2, 1, next_hop.len() as u8][..], next_hop, &[0], nlri].concat()
}

/// The value of MP_UNREACH_NLRI for IPv6 unicast.
pub(crate) fn unreach6(nlri: &[u8]) -> Vec<u8> {
    [&[0, 2, 1][..], nlri].concat()
}
