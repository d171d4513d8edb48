//! An address for each knock, so that nothing has to close in between; shared with the
//! benchmark `way`.

use std::net::Ipv4Addr;

use spa_tests::lab::{LINK, Lab};

/// The most addresses that knock.
const ADDRESSES: usize = 100;

/// The address of the knock with this number.
pub(crate) fn address(knock: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        192,
        0,
        2,
        u8::try_from(knock + 100).expect("at most 100 knocks"),
    )
}

/// Gives the client's machine an address for each knock.
pub(crate) fn add_addresses(lab: &Lab, knocks: usize) {
    assert!(knocks <= ADDRESSES);
    for knock in 0..knocks {
        let address = format!("{}/24", address(knock));
        let _ = lab
            .client
            .run_ok("ip", &["addr", "add", &address, "dev", LINK]);
    }
}
