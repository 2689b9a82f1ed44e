#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn vrp(prefix: &str, max_length: u8, asn: u32) -> Vrp {
    Vrp { prefix: prefix.parse().unwrap(), max_length, asn }
}

fn code(bytes: &[u8]) -> ErrorCode {
    decode(bytes).unwrap_err().code
}

/// An IPv4 Prefix PDU: flags, length, longest, address, AS 64500.
fn ipv4(flags: u8, length: u8, max_length: u8, address: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = address;
    vec![1, 4, 0, 0, 0, 0, 0, 20, flags, length, max_length, 0, a, b, c, d, 0, 0, 0xfb, 0xf4]
}

/// RFC 8210 §5.6.
#[test]
fn an_ipv4_prefix_is_read_as_the_rfc_draws_it() {
    let expected = Pdu::Prefix { announce: true, vrp: vrp("192.0.2.0/24", 26, 64500) };
    assert_eq!(decode(&ipv4(1, 24, 26, [192, 0, 2, 0])).unwrap(), (1, expected));
}

#[test]
fn every_pdu_survives_its_octets_in_both_versions() {
    let intervals = Some(Intervals { refresh: 1, retry: 2, expire: 600 });
    let pdus = [
        Pdu::SerialNotify { session: 7, serial: 9 },
        Pdu::SerialQuery { session: 7, serial: u32::MAX },
        Pdu::ResetQuery,
        Pdu::CacheResponse { session: 65535 },
        Pdu::Prefix { announce: false, vrp: vrp("10.0.0.0/8", 8, 0) },
        Pdu::Prefix { announce: true, vrp: vrp("2001:db8::/32", 128, u32::MAX) },
        Pdu::Prefix { announce: true, vrp: vrp("0.0.0.0/0", 0, 1) },
        Pdu::EndOfData { session: 7, serial: 9, intervals },
        Pdu::CacheReset,
        Pdu::ErrorReport { code: ErrorCode::NO_DATA_AVAILABLE, text: "not yet".to_owned() },
    ];
    for pdu in pdus {
        for version in [0, 1] {
            let expected = match &pdu {
                Pdu::EndOfData { session, serial, .. } if version == 0 => {
                    Pdu::EndOfData { session: *session, serial: *serial, intervals: None }
                }
                other => other.clone(),
            };
            assert_eq!(decode(&pdu.encode(version)).unwrap(), (version, expected));
        }
    }
}

/// RFC 8210 §5.6: lengths that cannot be, and bits behind the prefix.
#[test]
fn prefixes_that_cannot_be_are_corrupt_data() {
    for bytes in [
        ipv4(1, 25, 24, [192, 0, 2, 0]),
        ipv4(1, 24, 33, [192, 0, 2, 0]),
        ipv4(1, 200, 255, [192, 0, 2, 0]),
        ipv4(1, 24, 24, [192, 0, 2, 1]),
    ] {
        assert_eq!(code(&bytes), ErrorCode::CORRUPT_DATA);
    }
}

#[test]
fn lengths_that_do_not_fit_are_corrupt_data() {
    let good = ipv4(1, 24, 24, [192, 0, 2, 0]);
    for cut in 0..good.len() {
        assert_eq!(code(&good[..cut]), ErrorCode::CORRUPT_DATA, "{cut} octets");
        let mut short = good[..cut].to_vec();
        if let Some(length) = short.get_mut(7) {
            *length = cut as u8;
            assert_eq!(code(&short), ErrorCode::CORRUPT_DATA, "{cut} octets that say so");
        }
    }
    // A Reset Query with a body.
    assert_eq!(code(&[1, 2, 0, 0, 0, 0, 0, 9, 0]), ErrorCode::CORRUPT_DATA);
    // An Error Report whose parts are longer than itself.
    assert_eq!(code(&[1, 10, 0, 0, 0, 0, 0, 16, 255, 255, 255, 255, 0, 0, 0, 0]), ErrorCode::CORRUPT_DATA);
}

#[test]
fn versions_and_types_that_nobody_knows_have_codes_of_their_own() {
    assert_eq!(code(&[2, 2, 0, 0, 0, 0, 0, 8]), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(code(&[1, 5, 0, 0, 0, 0, 0, 8]), ErrorCode::UNSUPPORTED_PDU_TYPE);
    // RFC 6810 has no Router Key.
    assert_eq!(code(&Pdu::RouterKey.encode(0)), ErrorCode::UNSUPPORTED_PDU_TYPE);
}

#[test]
fn a_stream_is_split_where_a_pdu_ends_and_not_before() {
    let mut stream = Pdu::CacheReset.encode(1);
    stream.extend(ipv4(1, 24, 24, [192, 0, 2, 0]));
    assert_eq!(split(&stream).unwrap().map(<[u8]>::len), Some(8));
    assert_eq!(split(&stream[8..]).unwrap().map(<[u8]>::len), Some(20));
    for cut in 8..28 {
        assert_eq!(split(&stream[8..cut]).unwrap(), None);
    }
    for length in [0_u32, 7, LEN_MAX as u32 + 1, u32::MAX] {
        let mut header = vec![1, 10, 0, 0];
        header.extend(length.to_be_bytes());
        assert_eq!(split(&header).unwrap_err().code, ErrorCode::CORRUPT_DATA);
    }
}

#[test]
fn a_text_with_line_breaks_becomes_one_line() {
    let report = Pdu::ErrorReport { code: ErrorCode::INTERNAL_ERROR, text: "a\nb\u{1b}[31m".to_owned() };
    let (_, read) = decode(&report.encode(1)).unwrap();
    assert_eq!(read, Pdu::ErrorReport { code: ErrorCode::INTERNAL_ERROR, text: "a b [31m".to_owned() });
}

#[test]
fn an_error_report_repeats_a_bounded_part_of_what_was_received() {
    let error = PduError::corrupt("why");
    let bytes = encode_error(1, &error, &[0; 4000]);
    assert!(bytes.len() < 600);
    assert_eq!(decode(&bytes).unwrap().1, Pdu::ErrorReport { code: error.code, text: "why".to_owned() });
}
