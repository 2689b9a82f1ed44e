//! Malformed messages of every kind: bgpd does what the RFCs say, in all cases. `docs/malformed.md` has what others do.

use interop::lab::Lab;
use interop::malformed::{Kind, Target, address, cases, play_to, table};

#[test]
fn bgpd_does_what_the_rfcs_say_about_every_malformed_message() {
    // RFC 7606; RFC 4271 §6; RFC 6608; RFC 9072; RFC 8654; RFC 9774.
    let lab = Lab::new("malformed", &[]);
    let cases = cases();
    let mut target = Target::start(&lab, Kind::Bgpd);
    let observed = play_to(&mut target, &cases);
    let wrong = observed.iter().filter(|observed| !observed.right).count();
    assert_eq!(wrong, 0, "\n{}", table(&cases, &[(Kind::Bgpd, observed)]));
    let bgpd = target.bgpd().expect("bgpd is the target");
    // What was wrong can be read afterwards.
    for (name, attribute, value, action) in [
        ("COMMUNITIES of length 5", "COMMUNITIES", "0101010101", "treat_as_withdraw"),
        ("AIGP TLV of length 10", "AIGP", "01000a00000000000000", "attribute_discard"),
        ("MP_REACH_NLRI, next hop of 5 octets", "MP_REACH_NLRI", "00020105", "afi_safi_disable"),
        ("unknown well-known", "attribute 99", "010203", "session_reset"),
        ("hold time 1", "OPEN", "", "session_reset"),
        ("message type 9", "header", "09", "session_reset"),
    ] {
        let number = cases.iter().position(|case| case.name == name).expect("a case of this name");
        let address = address(cases[number].who, number).to_string();
        let malformed = &bgpd.neighbor(&address)["malformed"];
        let text = |key: &str| malformed[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("last_attribute"), attribute, "{name}: {malformed}");
        assert!(text("last_attribute_hex").starts_with(value), "{name}: {malformed}");
        assert!(!text("last_hex").is_empty() && !text("last").is_empty(), "{name}: {malformed}");
        assert_eq!(malformed[action], 1, "{name}: {malformed}");
        let shown = bgpd.ctl(&["show", "neighbors", &address]);
        assert!(shown.contains(attribute) && shown.contains(&text("last_hex")), "{shown}");
    }
    // RFC 7606 §6: the destinations and the whole message are in the log.
    let number = cases.iter().position(|case| case.name == "COMMUNITIES of length 5").expect("a case of this name");
    let peer = address(cases[number].who, number).to_string();
    let whole = bgpd.neighbor(&peer)["malformed"]["last_hex"].as_str().unwrap_or_default().to_owned();
    let log = bgpd.daemon.log();
    let said = log.lines().find(|line| line.contains("malformed message") && line.contains(&format!("peer={peer} ")));
    let said = said.unwrap_or_else(|| panic!("nothing of {peer}: {log}"));
    assert!(said.contains("prefixes=\"198.18.") && said.contains(&whole), "{said}");
}
