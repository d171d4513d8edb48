//! What the kernel may say to a change, and what is made of it.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// What the scripted kernel does to one transaction.
#[derive(Clone, Copy, Debug)]
enum ScriptedReply {
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
    replies: VecDeque<ScriptedReply>,
    transactions: u32,
    can_list: bool,
}

impl SetBackend for Scripted {
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), TransactionError> {
        self.transactions += 1;
        match self.replies.pop_front() {
            None => self.apply(operations),
            Some(ScriptedReply::Busy) => Err(TransactionError::Transaction(Errno::BUSY)),
            Some(ScriptedReply::BusyWithOne) => {
                Err(TransactionError::Refused(vec![(0, Errno::BUSY)]))
            }
            Some(ScriptedReply::Full) => Err(TransactionError::Refused(vec![(0, Errno::NFILE)])),
            Some(ScriptedReply::LostBeforeIt) => Err(TransactionError::Unconfirmed),
            Some(ScriptedReply::LostAfterIt) => {
                self.apply(operations).unwrap();
                Err(TransactionError::Unconfirmed)
            }
        }
    }

    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        if !self.can_list {
            return Err(Errno::NOBUFS);
        }
        let all = self.elements.iter().filter(|((of, _), _)| *of == set);
        Ok(all
            .map(|((_, key), rest)| (key.clone(), Some(*rest)))
            .collect())
    }
}

impl Scripted {
    fn apply(&mut self, operations: &[Operation]) -> Result<(), TransactionError> {
        let mut after = self.elements.clone();
        let mut refused = Vec::new();
        for (place, Operation { set, key, action }) in operations.iter().enumerate() {
            let entry_key = (*set, key.clone());
            match action {
                Action::Delete if after.remove(&entry_key).is_none() => {
                    refused.push((place, Errno::NOENT));
                }
                Action::Add(_) if after.contains_key(&entry_key) => {
                    refused.push((place, Errno::EXIST));
                }
                Action::Add(Timeout::For(time)) => drop(after.insert(entry_key, *time)),
                Action::Add(Timeout::Never) | Action::Delete => {}
            }
        }
        if refused.is_empty() {
            self.elements = after;
            Ok(())
        } else {
            Err(TransactionError::Refused(refused))
        }
    }
}

const NOW: BootTime = BootTime::from_micros(1_000_000);

fn kernel(replies: &[ScriptedReply]) -> GrantSets<Scripted> {
    GrantSets::new(Scripted {
        replies: replies.iter().copied().collect(),
        can_list: true,
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
fn open(kernel: &mut GrantSets<Scripted>) -> Vec<(u8, u64)> {
    let listed = kernel.list().unwrap();
    let to_row = |one: &KernelElement| match one.element.address {
        std::net::IpAddr::V4(address) => (address.octets()[3], one.remaining.as_secs()),
        std::net::IpAddr::V6(_) => unreachable!("none was put in"),
    };
    listed.iter().map(to_row).collect()
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
    kernel.netlink.can_list = false;
    let remove = Step::Remove { element: once };
    assert_eq!(kernel.change(&[remove, put(2, 60)], NOW), Ok(()));
    kernel.netlink.can_list = true;
    assert_eq!(open(&mut kernel), [(2, 60)]);
}

#[test]
fn a_kernel_that_is_busy_for_a_moment_is_asked_again() {
    let mut kernel = kernel(&[ScriptedReply::Busy, ScriptedReply::BusyWithOne]);
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Ok(()));
    assert_eq!(kernel.netlink.transactions, 3);
    assert_eq!(open(&mut kernel), [(1, 60)]);
}

#[test]
fn a_kernel_that_stays_busy_is_asked_a_few_times_and_then_it_is_a_refusal() {
    for says in [ScriptedReply::Busy, ScriptedReply::BusyWithOne] {
        let mut kernel = kernel(&[says; 100]);
        let refused = kernel.change(&[put(1, 60)], NOW);
        let busy = FirewallError::Kernel(Errno::BUSY.raw_os_error());
        assert_eq!(refused, Err(busy));
        assert_eq!(kernel.netlink.transactions, MAX_TRIES);
        assert_eq!(open(&mut kernel), []);
        assert!(!kernel.expected.contains(&element(1), NOW));
    }
}

#[test]
fn what_the_kernel_holds_decides_where_its_answer_is_lost() {
    let lost = Err(FirewallError::Kernel(Errno::NOBUFS.raw_os_error()));
    let mut kernel = kernel(&[ScriptedReply::LostAfterIt, ScriptedReply::LostBeforeIt]);
    assert_eq!(kernel.change(&[put(1, 60), put(2, 60)], NOW), Ok(()));
    assert_eq!(kernel.change(&[put(3, 60)], NOW), lost);
    assert_eq!(open(&mut kernel), [(1, 60), (2, 60)]);
    assert!(!kernel.expected.contains(&element(3), NOW));

    // A renewal by a little: the end tells which of the two it was.
    for (says, made) in [
        (ScriptedReply::LostBeforeIt, false),
        (ScriptedReply::LostAfterIt, true),
    ] {
        kernel.netlink.replies.push_back(says);
        let renewed = kernel.change(&[put(1, 61)], NOW);
        assert_eq!(renewed, if made { Ok(()) } else { lost });
    }
    assert_eq!(open(&mut kernel), [(1, 61), (2, 60)]);

    // Taken away.
    for (says, made) in [
        (ScriptedReply::LostBeforeIt, false),
        (ScriptedReply::LostAfterIt, true),
    ] {
        kernel.netlink.replies.push_back(says);
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
    let mut kernel = kernel(&[ScriptedReply::LostAfterIt]);
    kernel.netlink.can_list = false;
    let lost = FirewallError::Kernel(Errno::NOBUFS.raw_os_error());
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Err(lost));
}

#[test]
fn a_full_set_refuses_the_new_and_keeps_the_old() {
    let mut kernel = kernel(&[]);
    assert_eq!(kernel.change(&[put(1, 60)], NOW), Ok(()));
    kernel.netlink.replies.push_back(ScriptedReply::Full);
    assert_eq!(
        kernel.change(&[put(2, 60), put(3, 60)], NOW),
        Err(FirewallError::SetFull)
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
    kernel
        .netlink
        .replies
        .extend([ScriptedReply::Busy, ScriptedReply::BusyWithOne]);
    assert_eq!(kernel.restore(NOW, OncePolicy::Skip), Ok(10));
    assert_eq!(open(&mut kernel).len(), 10);
}
