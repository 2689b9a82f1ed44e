//! Storms in small: others never notice, and everything that bgpd took for them is given back.

use interop::storm::{Measure, run};

#[test]
fn storms_leave_bystanders_alone_and_nothing_behind() {
    let (cycles, dribblers, colliding, flipped) = (150, 60, 40, 200);
    let measure = Measure { cycles, dribblers, colliding, table: 5000, flaps: 4, flipped, rounds: 1 };
    let summary = run(&measure);
    eprintln!("{summary}");
    assert_eq!(summary.wrong(), Vec::<String>::new(), "{summary}");
}
