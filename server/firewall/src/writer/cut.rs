//! [IO] Ends established connections.
//!
//! Takes who and which ports; gives how many were ended. Forgetting a connection is not
//! enough: the kernel takes up again what goes on, and where this host's own packet comes
//! first, as established. So each is first put into a set of those that the guard lets
//! through no more, and what a grant for one connection left open to it is taken out.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::io::Errno;
use spad_model::{BootTime, ConnectionFilter, Element, KernelElement};

use super::element_key;
use super::grant_sets::GrantSets;
use super::netlink::{Action, Connection, Operation, Timeout};
use crate::table::SetName;

/// How long a connection that was cut stays so, unless a grant lets its client begin anew.
const CUT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How often connections are listed: those that came while they were listed are found the
/// next time.
const MAX_ROUNDS: usize = 4;

/// Ends every connection between these and this host's ports; gives how many.
///
/// # Errors
/// What the kernel says; some may be ended then.
pub(super) fn cut(
    kernel: &mut GrantSets,
    filters: &[ConnectionFilter],
    now: BootTime,
) -> Result<u32, Errno> {
    remove_flow_grants(kernel, filters, now)?;
    // One that the kernel took up again before its end was in the set counts once.
    let mut ended = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let (mut found, mut elements) = (Vec::new(), BTreeSet::new());
        for connection in kernel.netlink.connections()? {
            let meant = matching_elements(&connection, filters);
            if let Some(name) = meant.first() {
                found.push((*name, connection));
                elements.extend(meant);
            }
        }
        let operations: Vec<Operation> = elements.iter().flat_map(mark_cut).collect();
        kernel.in_batches(&operations)?;
        let mut any = false;
        for (name, connection) in &found {
            if kernel.netlink.kill(connection)? {
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
fn matching_elements(connection: &Connection, filters: &[ConnectionFilter]) -> Vec<Element> {
    let meant = filters.iter().find_map(|cut| {
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

fn mark_cut(element: &Element) -> [Operation; 2] {
    let set = if element.address.is_ipv4() {
        SetName::Cut4
    } else {
        SetName::Cut6
    };
    let key = element_key::from_element(element);
    let operation = |action| Operation {
        set,
        key: key.clone(),
        action,
    };
    [
        operation(Action::Delete),
        operation(Action::Add(Timeout::For(CUT_TIMEOUT))),
    ]
}

/// Takes out what rules put in for connections of grants for one; not what is granted so.
fn remove_flow_grants(
    kernel: &mut GrantSets,
    filters: &[ConnectionFilter],
    now: BootTime,
) -> Result<(), Errno> {
    let flows: Vec<KernelElement> = kernel.list()?;
    let flows = flows.iter().map(|one| one.element).filter(|element| {
        let meant = |cut: &ConnectionFilter| {
            cut.service == element.service && cut.network.contains(element.address)
        };
        element.source_port.is_some() && filters.iter().any(meant)
    });
    let ours = flows.filter(|element| !kernel.expects(element, now));
    let operations: Vec<Operation> = ours
        .map(|element| Operation {
            set: element_key::set_for_element(&element),
            key: element_key::from_element(&element),
            action: Action::Delete,
        })
        .collect();
    kernel.in_batches(&operations)
}
