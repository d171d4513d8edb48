//! Any file as a recording: read to its end or refused with a place inside it, each
//! frame within a block's length; and what is no packet of ours is said to be none.

use spad::explain::capture_file::for_each_frame;
use spad::explain::simulate::classify;
use spad_model::Ports;
use spad_model::{CarrierSet, Received};

pub fn run(data: &[u8]) {
    let carriers = CarrierSet {
        udp: Ports::any(),
        icmp: true,
        tcp: Ports::any(),
        ..CarrierSet::default()
    };
    let mut last = 0;
    let mut bytes = 0;
    let read = for_each_frame(data, |recorded| {
        assert_eq!(recorded.number, last + 1);
        last = recorded.number;
        bytes += recorded.bytes.len();
        if let Ok(Received::Datagram(datagram)) = classify(&carriers, recorded.link, recorded.bytes)
        {
            assert!((160..=512).contains(&datagram.payload().len()));
        }
    });
    assert!(bytes <= data.len(), "frames are parts of the file");
    if let Err(error) = read {
        let offset = usize::try_from(error.offset).expect("a place in memory");
        assert!(offset <= data.len());
    }
}
