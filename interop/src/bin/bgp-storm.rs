//! Lets peers storm a bgpd of its own and prints what that cost; needs root. See `interop/README.md`.

use std::process::ExitCode;

use clap::Parser;
use interop::storm::{Measure, run};

/// Wears a bgpd down: connections by the thousand, half-open ones, collisions, flapping tables, malformed UPDATEs.
#[derive(Parser)]
struct Options {
    /// Connections that are opened and closed.
    #[arg(long, default_value_t = 2000)]
    cycles: usize,
    /// Connections at a time that send an OPEN octet by octet.
    #[arg(long, default_value_t = 400)]
    dribblers: usize,
    /// Neighbors whose connections collide.
    #[arg(long, default_value_t = 1000)]
    colliding: usize,
    /// Prefixes of the peer that flaps its whole table.
    #[arg(long, default_value_t = 50_000)]
    table: u32,
    /// How often it does.
    #[arg(long, default_value_t = 30)]
    flaps: usize,
    /// UPDATEs with one octet changed.
    #[arg(long, default_value_t = 2000)]
    flipped: usize,
    /// How often all of it.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
}

fn main() -> ExitCode {
    let Options { cycles, dribblers, colliding, table, flaps, flipped, rounds } = Options::parse();
    let summary = run(&Measure { cycles, dribblers, colliding, table, flaps, flipped, rounds });
    print!("{summary}");
    let wrong = summary.wrong();
    wrong.iter().for_each(|wrong| println!("wrong: {wrong}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
