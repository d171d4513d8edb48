//! Compares the tracker with a model that remembers every knock.

use proptest::prelude::*;

use super::*;
use crate::knock::sequences::OneTimeSequence;

/// Applies the rules of a door to the whole history of knocks each time.
struct Model {
    doors: Vec<KnockPattern>,
    /// The used sequences of each door.
    used: Vec<Vec<Sequence>>,
    /// The knocks of each attempt in progress, with their times.
    attempts: HashMap<Key, Vec<(ObservedKnock, BootTime)>>,
}

impl Model {
    fn due(&self, place: usize) -> Option<Sequence> {
        let door = &self.doors[place];
        let once = door.sequences.one_time().is_some();
        let mut all = door.sequences.iter();
        all.find(|one| !once || !self.used[place].contains(one))
            .cloned()
    }

    fn observe(&mut self, observed: &ObservedKnock, now: BootTime) -> Option<usize> {
        let mut opened = None;
        for place in 0..self.doors.len() {
            let Some(due) = self.due(place) else { continue };
            let door = &self.doors[place];
            let tcp = observed.knock.protocol == Protocol::Tcp;
            let own = due.knocks().contains(&observed.knock);
            let any = door.strict && (tcp || due.has_udp());
            if !(own || any) {
                continue;
            }
            let made = self.attempts.entry((observed.source, place)).or_default();
            if made
                .first()
                .is_some_and(|(_, begun)| now.saturating_since(*begun) >= door.window)
            {
                made.clear();
            }
            let repeated = made.iter().any(|(old, _)| old.knock == observed.knock);
            if due.knocks().get(made.len()) == Some(&observed.knock) {
                made.push((*observed, now));
            } else if repeated {
                let is_first = due.knocks()[0] == observed.knock;
                let known = made.iter().any(|(old, _)| {
                    old.knock == observed.knock && old.source_port == observed.source_port
                });
                if is_first && !known {
                    *made = vec![(*observed, now)];
                }
            } else {
                made.clear();
                if due.knocks()[0] == observed.knock {
                    made.push((*observed, now));
                }
            }
            if made.len() == due.knocks().len() {
                made.clear();
                // This knock has already opened another door.
                if opened.is_some() {
                    if due.knocks()[0] == observed.knock {
                        made.push((*observed, now));
                    }
                    continue;
                }
                opened = Some(place);
                if self.doors[place].sequences.one_time().is_some() {
                    self.used[place].push(due);
                    self.attempts.retain(|(_, at), _| *at != place);
                }
            }
        }
        opened
    }
}

fn knock() -> impl Strategy<Value = Knock> {
    (1_u16..4, prop::bool::weighted(0.1)).prop_map(|(port, udp)| Knock {
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
        port: (port * 10).try_into().unwrap(),
    })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let knocks = prop::collection::vec(knock(), 2..4);
    knocks.prop_filter_map("two in a row", |knocks| Sequence::new(knocks).ok())
}

fn sequences() -> impl Strategy<Value = Sequences> {
    let list = prop::collection::hash_set(sequence(), 0..4).prop_map(|all| {
        let place = spa_findings::Source::new("x".as_ref(), String::new()).location(0..0);
        let listed = all.into_iter().map(|sequence| OneTimeSequence {
            sequence,
            location: place.clone(),
        });
        Sequences::OneTime(crate::knock::sequences::OneTime {
            file: "side".into(),
            sequences: listed.collect(),
        })
    });
    prop_oneof![sequence().prop_map(Sequences::Always), list]
}

fn door() -> impl Strategy<Value = KnockPattern> {
    (sequences(), any::<bool>(), 1_u64..20).prop_map(|(sequences, strict, within)| KnockPattern {
        sequences,
        strict,
        window: Duration::from_secs(within),
        flags: TcpFlags::default(),
        target: None,
    })
}

fn hit() -> impl Strategy<Value = (ObservedKnock, u64)> {
    (knock(), 1_u8..3, 1_u16..3, 0_u64..2).prop_map(|(knock, from, source_port, after)| {
        let hit = ObservedKnock {
            source: [192, 0, 2, from].into(),
            source_port,
            destination: [192, 0, 2, 100].into(),
            knock,
            flags: 0x02,
            interface: 1,
        };
        (hit, after)
    })
}

proptest! {
    #[test]
    fn whatever_is_knocked_the_tracker_opens_what_the_rules_say(
        doors in prop::collection::vec(door(), 1..4),
        hits in prop::collection::vec(hit(), 0..400),
    ) {
        let mut tracker = Tracker::new(doors.clone(), |_| false);
        let used = vec![Vec::new(); doors.len()];
        let mut model = Model { doors, used, attempts: HashMap::new() };
        let mut seconds = 1;
        let mut opened: Vec<Sequence> = Vec::new();
        for (hit, after) in hits {
            seconds += after;
            let now = BootTime::from_micros(seconds * 1_000_000);
            let mut places = Vec::new();
            tracker.observe(&hit, now, |place, heard| {
                if let KnockProgress::Completed(used) = heard {
                    places.push(place);
                    opened.extend(used.cloned());
                }
            });
            prop_assert!(places.len() <= 1);
            prop_assert_eq!(places.first().copied(), model.observe(&hit, now));
            prop_assert_eq!(tracker.attempts.len(), tracker.order.len());
        }
        for (place, door) in model.doors.iter().enumerate() {
            if door.sequences.one_time().is_some() {
                let all = door.sequences.iter().count();
                prop_assert_eq!(tracker.remaining(place) + model.used[place].len(), all);
                // In the order of the list, each once.
                let first = door.sequences.iter().take(model.used[place].len());
                prop_assert!(first.eq(&model.used[place]));
            }
        }
        let used: usize = model.used.iter().map(Vec::len).sum();
        prop_assert_eq!(opened.len(), used);
    }
}
