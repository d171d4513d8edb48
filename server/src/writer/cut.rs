//! [IO] Ends established connections.
//!
//! Takes who and which ports; gives how many were ended. Forgetting a connection is not
//! enough: the kernel takes up again what goes on, and where this host's own packet comes
//! first, as established. So each is first put into a set of those that the guard lets
//! through no more, and what a grant for one connection left open to it is taken out.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::io::Errno;

use super::kernel::Kernel;
use super::keys;
use super::netlink::{Action, Connection, Lasts, Operation};
use crate::clock::BootTime;
use crate::firewall::message::Cut;
use crate::firewall::table::SetName;
use crate::firewall::{Element, KernelElement};

/// How long a connection that was cut stays so, unless a grant lets its client begin anew.
const STAYS_CUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How often connections are listed: those that came while they were listed are found the
/// next time.
const ROUNDS: usize = 4;

/// Ends every connection between these and this host's ports; gives how many.
///
/// # Errors
/// What the kernel says; some may be ended then.
pub(super) fn cut(kernel: &mut Kernel, cuts: &[Cut], now: BootTime) -> Result<u32, Errno> {
    take_flows(kernel, cuts, now)?;
    // One that the kernel took up again before its end was in the set counts once.
    let mut ended = BTreeSet::new();
    for _ in 0..ROUNDS {
        let (mut found, mut elements) = (Vec::new(), BTreeSet::new());
        for connection in kernel.netlink.connections()? {
            let meant = meant(&connection, cuts);
            if let Some(name) = meant.first() {
                found.push((*name, connection));
                elements.extend(meant);
            }
        }
        let operations: Vec<Operation> = elements.iter().flat_map(keep_cut).collect();
        kernel.in_pages(&operations)?;
        let mut any = false;
        for (name, connection) in &found {
            if kernel.netlink.forget(connection)? {
                ended.insert(*name);
                any = true;
            }
        }
        if !any {
            break;
        }
    }
    Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
}

/// The connection as the guard names it, where it is one of these; as the inner host's
/// port too, where it is led there.
fn meant(connection: &Connection, cuts: &[Cut]) -> Vec<Element> {
    let meant = cuts.iter().find_map(|cut| {
        let (address, port) = connection.peer(cut.service)?;
        cut.network.contains(address).then_some(Element {
            address,
            service: cut.service,
            source_port: Some(port),
            once: false,
            prefix: None,
        })
    });
    let Some(outer) = meant else {
        return Vec::new();
    };
    let inner = connection.inner(outer.service);
    let inner = inner.map(|service| Element { service, ..outer });
    [outer].into_iter().chain(inner).collect()
}

fn keep_cut(element: &Element) -> [Operation; 2] {
    let set = if element.address.is_ipv4() {
        SetName::Cut4
    } else {
        SetName::Cut6
    };
    let key = keys::of_element(element);
    let operation = |action| Operation {
        set,
        key: key.clone(),
        action,
    };
    [
        operation(Action::Delete),
        operation(Action::Add(Lasts::For(STAYS_CUT))),
    ]
}

/// Takes out what rules put in for connections of grants for one; not what is granted so.
fn take_flows(kernel: &mut Kernel, cuts: &[Cut], now: BootTime) -> Result<(), Errno> {
    let flows: Vec<KernelElement> = kernel.list()?;
    let flows = flows.iter().map(|one| one.element).filter(|element| {
        let meant =
            |cut: &Cut| cut.service == element.service && cut.network.contains(element.address);
        element.source_port.is_some() && cuts.iter().any(meant)
    });
    let ours = flows.filter(|element| !kernel.has(element, now));
    let operations: Vec<Operation> = ours
        .map(|element| Operation {
            set: keys::set_of(&element),
            key: keys::of_element(&element),
            action: Action::Delete,
        })
        .collect();
    kernel.in_pages(&operations)
}
