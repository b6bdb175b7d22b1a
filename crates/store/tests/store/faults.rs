//! Faults to survive, in their short form; `cargo xtask faults` runs the long one.

use overspill_store::testing::power::power_cuts;
use overspill_store::testing::rot::bit_rot;
use overspill_store::testing::torn::torn_log;

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let report = power_cuts(150, 1).unwrap();
    println!("{report}");
    assert!(report.is_survived(), "{report}");
}

#[test]
fn a_flipped_bit_is_never_wrong_data() {
    let report = bit_rot(200, 1).unwrap();
    println!("{report}");
    assert!(report.is_survived(), "{report}");
}

#[test]
fn a_torn_log_is_refused_or_its_unacknowledged_end_dropped() {
    let report = torn_log(150, 1).unwrap();
    println!("{report}");
    assert!(report.is_survived(), "{report}");
}
