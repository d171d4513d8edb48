//! What the kernel may say to a change, and what is made of it.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// What the scripted kernel does to one transaction.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// Nothing: somebody else is at it.
    Busy,
    /// The same, of one operation.
    BusyWithOne,
    /// Nothing: its set is full.
    Full,
    /// Makes it, and its answer is lost.
    LostAfterIt,
    /// Does not make it, and its answer is lost.
    LostBeforeIt,
}

/// Sets like the kernel's, which once in a while do something else than is asked.
#[derive(Debug, Default)]
struct Scripted {
    elements: BTreeMap<(SetName, Vec<u8>), Duration>,
    says: VecDeque<Says>,
    transactions: u32,
    lists: bool,
}

impl Sets for Scripted {
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        self.transactions += 1;
        match self.says.pop_front() {
            None => self.make(operations),
            Some(Says::Busy) => Err(Failed::Whole(Errno::BUSY)),
            Some(Says::BusyWithOne) => Err(Failed::Refused(vec![(0, Errno::BUSY)])),
            Some(Says::Full) => Err(Failed::Refused(vec![(0, Errno::NFILE)])),
            Some(Says::LostBeforeIt) => Err(Failed::Unknown),
            Some(Says::LostAfterIt) => {
                self.make(operations).unwrap();
                Err(Failed::Unknown)
            }
        }
    }

    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        if !self.lists {
            return Err(Errno::NOBUFS);
        }
        let all = self.elements.iter().filter(|((of, _), _)| *of == set);
        Ok(all
            .map(|((_, key), rest)| (key.clone(), Some(*rest)))
            .collect())
    }
}

impl Scripted {
    fn make(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        let mut after = self.elements.clone();
        let mut refused = Vec::new();
        for (place, Operation { set, key, action }) in operations.iter().enumerate() {
            let place_of = (*set, key.clone());
            match action {
                Action::Delete if after.remove(&place_of).is_none() => {
                    refused.push((place, Errno::NOENT));
                }
                Action::Add(_) if after.contains_key(&place_of) => {
                    refused.push((place, Errno::EXIST));
                }
                Action::Add(Lasts::For(time)) => drop(after.insert(place_of, *time)),
                Action::Add(Lasts::Forever) | Action::Delete => {}
            }
        }
        if refused.is_empty() {
            self.elements = after;
            Ok(())
        } else {
            Err(Failed::Refused(refused))
        }
    }
}

const NOW: BootTime = BootTime::from_micros(1_000_000);

fn kernel(says: &[Says]) -> Kernel<Scripted> {
    Kernel::new(Scripted {
        says: says.iter().copied().collect(),
        lists: true,
        ..Scripted::default()
    })
}

fn element(last: u8) -> Element {
    Element {
        address: [192, 0, 2, last].into(),
        service: "tcp/22".parse().unwrap(),
        source_port: None,
        once: false,
        prefix: None,
    }
}

fn put(last: u8, seconds: u64) -> Step {
    Step::Put {
        element: element(last),
        ttl: Duration::from_secs(seconds),
    }
}

/// What is open in the kernel, by the last number of the address.
fn open(kernel: &mut Kernel<Scripted>) -> Vec<(u8, u64)> {
    let listed = kernel.list().unwrap();
    let of = |one: &KernelElement| match one.element.address {
        std::net::IpAddr::V4(address) => (address.octets()[3], one.remaining.as_secs()),
        std::net::IpAddr::V6(_) => unreachable!("none was put in"),
    };
    listed.iter().map(of).collect()
}

#[test]
fn what_takes_the_place_of_one_that_may_be_used_is_open_though_nobody_tells_what_was_used() {
    let mut kernel = kernel(&[]);
    let once = Element {
        once: true,
        ..element(1)
    };
    let old = Step::Put {
        element: once,
        ttl: Duration::from_secs(60),
    };
    kernel.change(&[old], NOW).unwrap();
    kernel.netlink.lists = false;
    let remove = Step::Remove { element: once };
    assert_eq!(kernel.change(&[remove, put(2, 60)], NOW), Ok(()));
    kernel.netlink.lists = true;
    assert_eq!(open(&mut kernel), [(2, 60)]);
}

#[test]
fn a_kernel_that_is_busy_for_a_moment_is_asked_again() {
    let mut kernel = kernel(&[Says::Busy, Says::BusyWithOne]);
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Ok(()));
    assert_eq!(kernel.netlink.transactions, 3);
    assert_eq!(open(&mut kernel), [(1, 60)]);
}

#[test]
fn a_kernel_that_stays_busy_is_asked_a_few_times_and_then_it_is_a_refusal() {
    for says in [Says::Busy, Says::BusyWithOne] {
        let mut kernel = kernel(&[says; 100]);
        let refused = kernel.change(&[put(1, 60)], NOW);
        let busy = FirewallRefusal::Kernel(Errno::BUSY.raw_os_error());
        assert_eq!(refused, Err(busy));
        assert_eq!(kernel.netlink.transactions, TRIES);
        assert_eq!(open(&mut kernel), []);
        assert!(!kernel.held.has(&element(1), NOW));
    }
}

#[test]
fn what_the_kernel_holds_decides_where_its_answer_is_lost() {
    let lost = Err(FirewallRefusal::Kernel(Errno::NOBUFS.raw_os_error()));
    let mut kernel = kernel(&[Says::LostAfterIt, Says::LostBeforeIt]);
    assert_eq!(kernel.change(&[put(1, 60), put(2, 60)], NOW), Ok(()));
    assert_eq!(kernel.change(&[put(3, 60)], NOW), lost);
    assert_eq!(open(&mut kernel), [(1, 60), (2, 60)]);
    assert!(!kernel.held.has(&element(3), NOW));

    // A renewal by a little: the end tells which of the two it was.
    for (says, made) in [(Says::LostBeforeIt, false), (Says::LostAfterIt, true)] {
        kernel.netlink.says.push_back(says);
        let renewed = kernel.change(&[put(1, 61)], NOW);
        assert_eq!(renewed, if made { Ok(()) } else { lost });
    }
    assert_eq!(open(&mut kernel), [(1, 61), (2, 60)]);

    // Taken away.
    for (says, made) in [(Says::LostBeforeIt, false), (Says::LostAfterIt, true)] {
        kernel.netlink.says.push_back(says);
        let remove = Step::Remove {
            element: element(2),
        };
        let removed = kernel.change(&[remove], NOW);
        assert_eq!(removed, if made { Ok(()) } else { lost });
    }
    assert_eq!(open(&mut kernel), [(1, 61)]);
}

#[test]
fn where_nothing_can_be_looked_up_either_no_grant_is_reported() {
    let mut kernel = kernel(&[Says::LostAfterIt]);
    kernel.netlink.lists = false;
    let lost = FirewallRefusal::Kernel(Errno::NOBUFS.raw_os_error());
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Err(lost));
}

#[test]
fn a_full_set_refuses_the_new_and_keeps_the_old() {
    let mut kernel = kernel(&[]);
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Ok(()));
    kernel.netlink.says.push_back(Says::Full);
    assert_eq!(
        kernel.change(&[put(2, 60), put(3, 60)], NOW),
        Err(FirewallRefusal::SetFull)
    );
    assert_eq!(open(&mut kernel), [(1, 60)]);
}

#[test]
fn a_table_is_put_back_whole_by_a_kernel_that_is_busy_for_a_moment() {
    let mut kernel = kernel(&[]);
    let steps: Vec<Step> = (1..=10).map(|last| put(last, 60)).collect();
    for some in steps.chunks(4) {
        assert_eq!(kernel.change(some, NOW), Ok(()));
    }
    kernel.netlink.elements.clear();
    kernel.netlink.says.extend([Says::Busy, Says::BusyWithOne]);
    assert_eq!(kernel.put_back(NOW, Once::MayBeUsed), Ok(10));
    assert_eq!(open(&mut kernel).len(), 10);
}
