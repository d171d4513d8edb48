//! A packet that was touched on its way opens nothing; the untouched one still does.

use spa_proto::{Randomness, limits};
use spa_tests::attacker::flip_bit;
use spa_tests::identity::open;
use spa_tests::reach::Reachability;
use spa_tests::settings::WEB;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

#[test]
fn no_packet_with_any_one_bit_flipped_opens_anything() {
    let bed = TestBed::new();
    let randomness = Randomness {
        nonce: spa_keys::random_bytes().expect("randomness"),
        length: 0,
    };
    let packet = bed
        .laptop
        .seal_with(&open(&["tcp/8080"]), wait::wall(), &randomness);
    let bits = packet.len() * 8;
    let flipped: Vec<Vec<u8>> = (0..bits).map(|bit| flip_bit(&packet, bit)).collect();
    let mut sent = 0;
    for batch in flipped.chunks(64) {
        bed.send_all(batch);
        sent += u64::try_from(batch.len()).expect("a count");
    }
    let verdicts = bed.spad.verdicts();
    let head = u64::try_from(limits::HEAD_LEN * 8).expect("a count");
    assert_eq!(verdicts.get("head_tag"), Some(&head), "{verdicts:?}");
    assert_eq!(verdicts.get("hmac"), Some(&(sent - head)), "{verdicts:?}");
    assert_eq!(verdicts.values().sum::<u64>(), sent, "{verdicts:?}");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.send_counted(&packet, "opened");
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "tampering does not use the genuine packet up"
    );
}

#[test]
fn a_packet_made_longer_or_shorter_opens_nothing() {
    let bed = TestBed::new();
    let randomness = Randomness {
        nonce: spa_keys::random_bytes().expect("randomness"),
        length: 100,
    };
    let packet = bed
        .laptop
        .seal_with(&open(&["tcp/8080"]), wait::wall(), &randomness);
    let mut longer = packet.clone();
    longer.push(0);
    let mut padded = packet.clone();
    padded.extend_from_slice(b"==");
    let shorter = packet.get(..packet.len() - 1).expect("a packet").to_vec();
    let tail = [
        packet.get(..48).expect("a head"),
        packet.get(64..).expect("a rest"),
    ]
    .concat();
    for altered in [&longer, &padded, &shorter, &tail] {
        bed.send(altered);
    }
    bed.spad.wait_verdict_count("hmac", 4);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.send_counted(&packet, "opened");
}

#[test]
fn two_packets_of_one_client_share_no_more_bytes_than_chance_gives() {
    const PACKETS: usize = 1000;
    let server = spa_keys::ServerSecret::generate().expect("a key").public();
    let laptop = spa_tests::identity::Identity::new(&server);
    let packets: Vec<_> = (0..PACKETS).map(|_| laptop.open(&["tcp/8080"])).collect();
    // The first and shortest part, which every packet has: head, nonce, the first ciphertext.
    for bit in 0..160 * 8 {
        let set = |packet: &&Vec<u8>| packet[bit / 8] & (1 << (bit % 8)) != 0;
        let ones = packets.iter().filter(set).count();
        // Further from one half than six standard deviations.
        assert!(ones.abs_diff(PACKETS / 2) < 100, "bit {bit}: {ones}");
    }
    for at in 0..160 {
        let values: std::collections::BTreeSet<u8> = packets.iter().map(|p| p[at]).collect();
        assert!(values.len() > 220, "byte {at} has {} values", values.len());
    }
}
