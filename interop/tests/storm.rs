//! Storms in small: others never notice, and everything that bgpd took for them is given back.

use interop::storm::{Measure, run};

#[test]
fn storms_leave_bystanders_alone_and_nothing_behind() {
    let measure = Measure {
        cycles: 150,
        dribblers: 60,
        colliding: 40,
        table: 5000,
        flaps: 4,
        flipped: 200,
        rounds: 1,
        settle: false,
    };
    let summary = run(&measure);
    eprintln!("{summary}");
    assert_eq!(summary.bystander_flaps, 0, "{summary}");
    assert!(summary.after.descriptors <= summary.before.descriptors, "{summary}");
    // A peer that reads nothing costs its queue (4 MiB) at most, and what one chunk is more.
    assert!(summary.stuck_octets <= 5 << 20, "{summary}");
    // What the allocator keeps for the next storm is a few MiB.
    assert!(summary.after.resident_kib <= summary.before.resident_kib + (64 << 10), "{summary}");
}
