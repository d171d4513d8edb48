//! [IO] Whether the daemon's users may read the configuration: root, who checks it,
//! reads everything and would not notice.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use spa_findings::{Finding, Findings, redact};

use super::files::{self, client_names, client_path};
use super::one_time;
use super::reference::Section;
use super::toml_reader::{FileReader, parse};

/// Who has to read the configuration at a reload.
#[derive(Clone, Debug, Default)]
pub struct ConfigReaders {
    /// User and groups of each, by number.
    pub users: Vec<(u32, Vec<u32>)>,
    /// The group that is called `spad`.
    pub group: Option<u32>,
}

impl ConfigReaders {
    /// What one of them may not read.
    #[must_use]
    pub fn unreadable(&self, directory: &Path) -> Vec<Finding> {
        if self.users.is_empty() {
            return Vec::new();
        }
        let fixed = ["spad.toml", "clients.d"].map(|name| directory.join(name));
        let names = client_names(directory).into_iter();
        let client_files = names.map(|name| client_path(directory, &name));
        let public = std::iter::once(directory.to_owned())
            .chain(fixed)
            .chain(client_files);
        let secret = one_time_files(directory).into_iter();
        public
            .filter_map(|path| self.unreadable_file(&path, false))
            .chain(secret.filter_map(|path| self.unreadable_file(&path, true)))
            .collect()
    }

    /// The findings of one of these users, who could not read everything: what is said of
    /// a file that is closed to him is how to open it.
    #[must_use]
    pub fn explain(&self, directory: &Path, findings: &Findings) -> Findings {
        let unreadable = self.unreadable(directory);
        let files: BTreeSet<_> = unreadable
            .iter()
            .map(|finding| finding.file.clone())
            .collect();
        let rest = findings
            .iter()
            .filter(|finding| finding.location.is_some() || !files.contains(&finding.file));
        let mut all = Findings::default();
        all.extend(unreadable);
        all.extend(rest.cloned());
        all
    }

    /// `secret`: others must not read it.
    fn unreadable_file(&self, path: &Path, secret: bool) -> Option<Finding> {
        // What is not there, or is something else, is found where it is read.
        let status = std::fs::metadata(path).ok()?;
        let directory = status.is_dir();
        if !(directory || status.is_file()) {
            return None;
        }
        let needed = if directory { 0o5 } else { 0o4 };
        let open = |(uid, groups): &(u32, Vec<u32>)| {
            let shift = match () {
                () if *uid == status.uid() => 6,
                () if groups.contains(&status.gid()) => 3,
                () => 0,
            };
            (status.mode() >> shift) & needed == needed
        };
        if self.users.iter().all(open) || has_access_list(path) {
            return None;
        }
        let (mode, group) = (status.mode() & 0o7777, status.gid());
        let message =
            format!("mode {mode:04o} and group {group} let the users of the daemon not read this");
        let shown = redact::line(&path.display().to_string(), false);
        let letters = if directory { "rx" } else { "r" };
        let in_group = |wanted| {
            self.users
                .iter()
                .all(|(_, groups)| groups.contains(&wanted))
        };
        let help = if self.group.is_some_and(in_group) {
            format!("chgrp spad {shown} && chmod g+{letters} {shown}")
        } else if secret {
            format!(
                "make a group that they all are in, as `adduser --system --group spad` does, then: chgrp spad {shown} && chmod 640 {shown}"
            )
        } else {
            format!("chmod o+{letters} {shown}")
        };
        let finding = Finding::error(path, message).help(help);
        Some(finding.note("the daemon is not root any more when it reloads"))
    }
}

/// Then the mode does not tell who may read.
pub fn has_access_list(path: &Path) -> bool {
    let mut list = [0; 256];
    let read = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list);
    matches!(read, Ok(_) | Err(Errno::RANGE))
}

/// The files of sequences that `spad.toml` names, as far as it can be understood.
pub fn one_time_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(Ok(source)) = files::server(directory) else {
        return Vec::new();
    };
    let reader = FileReader::new(&source);
    let Some(tree) = parse(&reader) else {
        return Vec::new();
    };
    let knock = reader
        .root(&tree, Section::ServerFile)
        .get("knock")
        .map(|doors| doors.raw());
    let doors = knock.and_then(|doors| doors.as_array());
    let named = doors
        .into_iter()
        .flatten()
        .filter_map(|door| door.get_ref().get("one_time")?.get_ref().as_str());
    named
        .map(|written| one_time::path(directory, written))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    /// A configuration that everybody may read, and the paths of its parts.
    fn fixture() -> (tempfile::TempDir, [PathBuf; 4]) {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("etc");
        let parts =
            ["", "spad.toml", "clients.d", "clients.d/anna.toml"].map(|part| top.join(part));
        std::fs::create_dir_all(&parts[2]).unwrap();
        std::fs::write(&parts[1], "").unwrap();
        std::fs::write(&parts[3], "").unwrap();
        for (part, mode) in parts.iter().zip([0o755, 0o644, 0o755, 0o644]) {
            set_mode(part, mode);
        }
        (
            directory,
            [top, parts[1].clone(), parts[2].clone(), parts[3].clone()],
        )
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// An engine and a writer; `group` is in the groups of both.
    fn readers(group: u32) -> ConfigReaders {
        ConfigReaders {
            users: vec![(4242, vec![group]), (4243, vec![4243, group])],
            group: Some(group),
        }
    }

    #[test]
    fn each_part_that_is_closed_to_the_daemon_is_found_with_its_mend() {
        let (_directory, parts) = fixture();
        let readers = readers(4244);
        assert_eq!(readers.unreadable(&parts[0]), []);
        for (part, open) in parts.iter().zip([0o755, 0o644, 0o755, 0o644]) {
            for others in [0o000, 0o050] {
                set_mode(part, (open & 0o700) | (open & others));
                let found = readers.unreadable(&parts[0]);
                assert_eq!(found.len(), 1, "{}", part.display());
                let letters = if part.is_dir() { "rx" } else { "r" };
                let shown = part.display();
                let mend = format!("chgrp spad {shown} && chmod g+{letters} {shown}");
                assert_eq!(found[0].help.as_deref(), Some(&*mend));
            }
            set_mode(part, open);
        }
    }

    #[test]
    fn the_group_is_enough_where_both_are_in_it_and_no_mend_where_one_is_not() {
        let (_directory, parts) = fixture();
        set_mode(&parts[1], 0o640);
        let group = std::fs::metadata(&parts[1]).unwrap().gid();
        let mut readers = readers(group);
        assert_eq!(readers.unreadable(&parts[0]), []);
        readers.users[0].1 = vec![4242];
        let found = readers.unreadable(&parts[0]);
        let mend = format!("chmod o+r {}", parts[1].display());
        assert_eq!(found[0].help.as_deref(), Some(&*mend));
    }

    #[test]
    fn a_file_with_an_access_list_is_not_judged_by_its_mode() {
        let (_directory, parts) = fixture();
        set_mode(&parts[1], 0o600);
        // Version 2; then tag, permissions and number of owner, user, group, mask and others.
        let mut list = 2_u32.to_le_bytes().to_vec();
        let rows = [
            (0x01, 6, u32::MAX),
            (0x02, 4, 4242),
            (0x04, 0, u32::MAX),
            (0x10, 4, u32::MAX),
            (0x20, 0, u32::MAX),
        ];
        for (tag, permissions, number) in rows {
            list.extend(u16::to_le_bytes(tag));
            list.extend(u16::to_le_bytes(permissions));
            list.extend(u32::to_le_bytes(number));
        }
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(&parts[1], "system.posix_acl_access", &list, flags) {
            // This file system has none.
            Err(Errno::OPNOTSUPP) => {}
            set => {
                set.unwrap();
                assert_eq!(readers(4244).unreadable(&parts[0]), []);
            }
        }
    }

    #[test]
    fn what_could_not_be_read_is_told_with_its_mend_and_the_rest_is_kept() {
        let (_directory, parts) = fixture();
        set_mode(&parts[3], 0o600);
        let mut said = Findings::default();
        said.push(Finding::error(&parts[3], "cannot be read").help("run this as root"));
        said.push(Finding::error(&parts[1], "another fault"));
        let told = readers(4244).explain(&parts[0], &said).to_string();
        assert!(told.contains("chgrp spad"), "{told}");
        assert!(told.contains("another fault"), "{told}");
        assert!(!told.contains("run this as root"), "{told}");
    }
}
