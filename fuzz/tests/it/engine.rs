//! Schedules that nobody wrote, a few in every run; PROPTEST_CASES asks for more.

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_opens_twice_or_too_long(data in proptest::collection::vec(any::<u8>(), 0..256)) {
        spa_fuzz::engine::run(&data);
    }
}
