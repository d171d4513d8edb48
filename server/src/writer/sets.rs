//! [IO] The mode "set": our sets in a table of the administrator's.
//!
//! Takes the place; makes, empties or takes away the sets that are ours by name, and
//! touches nothing else there.

use rustix::io::Errno;

use super::keys::GRANTS;
use super::netlink::Netlink;
use super::{WriterError, nft};
use crate::firewall::table::{Place, SetName, removal};

/// Makes the sets that are missing; gives the process that did.
pub(super) fn load(netlink: &mut Netlink) -> Result<Option<u32>, WriterError> {
    let place = netlink.place().clone();
    let mut missing = Vec::new();
    for set in GRANTS {
        match netlink.make_of(set).map_err(refused)? {
            None => missing.push(set),
            Some(make) if make == set.make() => {}
            Some(_) => {
                return Err(WriterError::OtherSet {
                    table: place.table().to_owned(),
                    set: place.name(set),
                });
            }
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    Ok(Some(nft::load_text(&place.declarations(&missing))?))
}

/// Takes our own table away, where it stands from the mode "guard".
pub(super) fn leave_guard(netlink: &mut Netlink) -> Result<(), WriterError> {
    let hides = netlink.make_in(&Place::own(), SetName::Hidden);
    if hides.map_err(refused)?.is_some() {
        nft::load(&removal())?;
    }
    Ok(())
}

/// Empties the sets at a place that they have left.
pub(super) fn empty(netlink: &mut Netlink, place: &Place) -> Result<(), WriterError> {
    let standing = standing(netlink, place)?;
    if !standing.is_empty() {
        nft::load_text(&place.each("flush", &standing))?;
    }
    Ok(())
}

/// Takes the sets away; where rules refer to them, only what is in them.
pub(super) fn remove(netlink: &mut Netlink) -> Result<(), WriterError> {
    let place = netlink.place().clone();
    let standing = standing(netlink, &place)?;
    if standing.is_empty() || nft::load_text(&place.each("delete", &standing)).is_ok() {
        return Ok(());
    }
    empty(netlink, &place)?;
    Err(WriterError::StillUsed {
        table: place.table().to_owned(),
    })
}

fn standing(netlink: &mut Netlink, place: &Place) -> Result<Vec<SetName>, WriterError> {
    let mut standing = Vec::new();
    for set in GRANTS {
        if netlink.make_in(place, set).map_err(refused)?.is_some() {
            standing.push(set);
        }
    }
    Ok(standing)
}

fn refused(error: Errno) -> WriterError {
    WriterError::Kernel(error.into())
}
