//! Sends the same malformed octets to several daemons and prints a table of what each did; see `docs/malformed.md`.

use std::thread;

use clap::Parser;
use interop::malformed::{Kind, cases, play, table};

/// Sends malformed BGP messages to bgpd, FRR, BIRD, GoBGP and OpenBGPD, and prints what each did.
#[derive(Parser)]
struct Options {
    /// Only these daemons.
    #[arg(long, value_delimiter = ',', default_value = "bgpd,frr,bird,gobgp,openbgpd")]
    daemon: Vec<String>,
    /// Only cases whose name holds this.
    #[arg(long, default_value = "")]
    case: String,
}

fn main() {
    let options = Options::parse();
    let mut cases = cases();
    cases.retain(|case| case.name.contains(&options.case));
    let wanted = |kind: &Kind| options.daemon.iter().any(|name| name.eq_ignore_ascii_case(kind.name()));
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(wanted).collect();
    let columns: Vec<_> = thread::scope(|scope| {
        let plays: Vec<_> = kinds
            .iter()
            .map(|&kind| {
                (
                    kind,
                    scope.spawn({
                        let cases = &cases;
                        move || play(kind, cases)
                    }),
                )
            })
            .collect();
        plays.into_iter().filter_map(|(kind, play)| Some((kind, play.join().ok()?))).collect()
    });
    print!("{}", table(&cases, &columns));
}
