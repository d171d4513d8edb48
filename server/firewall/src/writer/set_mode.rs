//! [IO] The mode "set": our sets in a table of the administrator's.
//!
//! Takes the place; makes, empties or takes away the sets that are ours by name, and
//! touches nothing else there.

use rustix::io::Errno;

use super::netlink::Netlink;
use super::{WriterError, nft};
use crate::table::{SetLocation, SetName, removal};

/// Makes the sets that are missing; gives the process that did.
pub(super) fn load(netlink: &mut Netlink) -> Result<Option<u32>, WriterError> {
    let location = netlink.location().clone();
    let mut missing = Vec::new();
    for set in SetName::GRANTS {
        match netlink.set_layout(set).map_err(kernel_error)? {
            None => missing.push(set),
            Some(make) if make == set.layout() => {}
            Some(_) => {
                return Err(WriterError::SetMismatch {
                    table: location.table().to_owned(),
                    set: location.name(set),
                });
            }
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    Ok(Some(nft::load_text(&location.declarations(&missing))?))
}

/// Takes our own table away, where it stands from the mode "guard".
pub(super) fn remove_own_table(netlink: &mut Netlink) -> Result<(), WriterError> {
    let hides = netlink.set_layout_in(&SetLocation::own_table(), SetName::Hidden);
    if hides.map_err(kernel_error)?.is_some() {
        nft::load(&removal())?;
    }
    Ok(())
}

/// Empties the sets at a place that they have left.
pub(super) fn flush(netlink: &mut Netlink, location: &SetLocation) -> Result<(), WriterError> {
    let existing = existing_sets(netlink, location)?;
    if !existing.is_empty() {
        nft::load_text(&location.command_for_sets("flush", &existing))?;
    }
    Ok(())
}

/// Takes the sets away; where rules refer to them, only what is in them.
pub(super) fn remove(netlink: &mut Netlink) -> Result<(), WriterError> {
    let location = netlink.location().clone();
    let existing = existing_sets(netlink, &location)?;
    if existing.is_empty()
        || nft::load_text(&location.command_for_sets("delete", &existing)).is_ok()
    {
        return Ok(());
    }
    flush(netlink, &location)?;
    Err(WriterError::SetInUse {
        table: location.table().to_owned(),
    })
}

fn existing_sets(
    netlink: &mut Netlink,
    location: &SetLocation,
) -> Result<Vec<SetName>, WriterError> {
    let mut existing = Vec::new();
    for set in SetName::GRANTS {
        if netlink
            .set_layout_in(location, set)
            .map_err(kernel_error)?
            .is_some()
        {
            existing.push(set);
        }
    }
    Ok(existing)
}

fn kernel_error(error: Errno) -> WriterError {
    WriterError::Kernel(error.into())
}
