//! Looks up users and groups by name through the C library (files, or the services in
//! nsswitch.conf).
//!
//! May open files and sockets of the name service, so call it before entering any sandbox.
#![expect(unsafe_code, reason = "the C library's look-ups take raw buffers")]

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt as _;
use std::{io, ptr};

/// A user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
}

/// A user as needed to run programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
    /// Ids of all groups, the primary one included.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: OsString,
}

/// A group of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group id.
    pub gid: u32,
}

/// Maximum buffer for an entry, in bytes: no sane entry is longer.
const MAX_BUFFER: usize = 1 << 20;

/// Looks up a user; `None` if there is none of this name.
///
/// # Errors
/// What the name service reports; a name with a NUL is `InvalidInput`.
pub fn user(name: &str) -> io::Result<Option<User>> {
    lookup(
        name,
        |name, entry: *mut libc::passwd, buffer, length, found| {
            // SAFETY: `look_up` gives a C string, room for one entry, a buffer of `length` bytes and
            // room for the result, all alive during the call.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) }
        },
        |entry| User {
            uid: entry.pw_uid,
            gid: entry.pw_gid,
        },
    )
}

/// Looks up a user with groups and home directory; `None` if there is none of this name.
///
/// # Errors
/// As [`user`].
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let found = lookup(
        name,
        |name, entry: *mut libc::passwd, buffer, length, found| {
            // SAFETY: as in `user`.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) }
        },
        |entry| {
            // SAFETY: the C library made it point to a C string in the buffer, which is alive
            // while this runs; it is copied.
            let home = unsafe { CStr::from_ptr(entry.pw_dir) };
            let home = OsString::from_vec(home.to_bytes().to_vec());
            (entry.pw_uid, entry.pw_gid, home)
        },
    )?;
    let Some((uid, gid, home)) = found else {
        return Ok(None);
    };
    let groups = group_list(name, gid)?;
    let name = name.to_owned();
    Ok(Some(Account {
        name,
        uid,
        gid,
        groups,
        home,
    }))
}

fn group_list(name: &str, gid: u32) -> io::Result<Vec<u32>> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut groups = vec![0; 64];
    loop {
        let capacity = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        let mut count = capacity;
        // SAFETY: a C string, and room for `count` numbers; the call writes no more.
        let found =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if found >= 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        if groups.len() >= MAX_BUFFER {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        groups.resize(groups.len().saturating_mul(2).max(count), 0);
    }
}

/// Looks up a group; `None` if there is none of this name.
///
/// # Errors
/// As [`user`].
pub fn group(name: &str) -> io::Result<Option<Group>> {
    lookup(
        name,
        |name, entry: *mut libc::group, buffer, length, found| {
            // SAFETY: as in `user`.
            unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, length, found) }
        },
        |entry| Group { gid: entry.gr_gid },
    )
}

/// Calls a `get…nam_r` function with a growing buffer. `convert` copies the entry, so the
/// result does not refer to the buffer.
fn lookup<Entry, Taken>(
    name: &str,
    call: impl Fn(&CStr, *mut Entry, *mut c_char, usize, *mut *mut Entry) -> c_int,
    convert: impl Fn(&Entry) -> Taken,
) -> io::Result<Option<Taken>> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut buffer: Vec<c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<Entry>::uninit();
        let mut found: *mut Entry = ptr::null_mut();
        let error = call(
            &name,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        match error {
            0 if found.is_null() => return Ok(None),
            // SAFETY: on success with a result, the C library has filled `entry`, to which `found` points.
            0 => return Ok(Some(convert(unsafe { entry.assume_init_ref() }))),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < MAX_BUFFER => buffer.resize(buffer.len() * 4, 0),
            // POSIX allows these for "no such name" as well.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            _ => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_a_made_up_name_is_not() {
        assert_eq!(user("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!(group("root").unwrap(), Some(Group { gid: 0 }));
        assert_eq!(user("no-such-user-here").unwrap(), None);
        assert_eq!(group("no-such-group-here").unwrap(), None);
        assert!(user("a\0b").is_err());
        let root = account("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(root.home, "/root");
        assert_eq!(account("no-such-user-here").unwrap(), None);
    }
}
