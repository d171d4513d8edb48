//! Key files: what is refused, and that writing is complete or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use spa_keys::file::{
    AllowedOwner, FileError, FileProblem, MAX_FILE, WriteOptions, read_secret_file,
    write_secret_file, write_secret_file_with,
};

const TEXT: &str = "spa-secret-not-really";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn key(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("identity");
    write_secret_file(&path, TEXT).unwrap();
    path
}

fn problem(result: Result<impl Sized, FileError>) -> FileProblem {
    result.map(|_| ()).unwrap_err().problem
}

fn read(path: &Path) -> Result<String, FileError> {
    read_secret_file(path, AllowedOwner::CurrentUser).map(|text| text.to_string())
}

#[test]
fn a_written_key_is_private_and_read_again() {
    let directory = directory();
    let path = key(&directory);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(read(&path).unwrap(), format!("{TEXT}\n"));
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "a temporary file stayed"
    );
}

#[test]
fn an_existing_key_is_replaced_only_when_that_is_asked_for() {
    let directory = directory();
    let path = key(&directory);
    let refused = problem(write_secret_file(&path, "other"));
    assert!(matches!(refused, FileProblem::Exists), "{refused}");
    assert_eq!(read(&path).unwrap(), format!("{TEXT}\n"));
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "a temporary file stayed"
    );
    let writing = WriteOptions {
        replace: true,
        owner: None,
    };
    write_secret_file_with(&path, "other\n", writing).unwrap();
    assert_eq!(read(&path).unwrap(), "other\n");
}

#[test]
fn an_existing_link_is_not_written_through() {
    let directory = directory();
    let target = directory.path().join("target");
    let path = directory.path().join("identity");
    symlink(&target, &path).unwrap();
    assert!(matches!(
        problem(write_secret_file(&path, TEXT)),
        FileProblem::Exists
    ));
    let writing = WriteOptions {
        replace: true,
        owner: None,
    };
    write_secret_file_with(&path, TEXT, writing).unwrap();
    assert!(!target.exists());
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_key_that_others_can_read_or_write_is_refused_with_the_mend() {
    let directory = directory();
    let path = key(&directory);
    for bits in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
        mode(&path, 0o600 | bits);
        let error = read(&path).unwrap_err();
        assert!(matches!(error.problem, FileProblem::Mode { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(&format!("chmod 600 {}", path.display())),
            "{message}"
        );
        assert!(!message.contains("not-really"));
    }
    mode(&path, 0o400);
    assert!(read(&path).is_ok());
}

#[test]
fn a_directory_in_which_others_can_write_is_refused_unless_it_is_sticky() {
    let directory = directory();
    let path = key(&directory);
    for bits in [0o020, 0o002] {
        mode(directory.path(), 0o700 | bits);
        let error = read(&path).unwrap_err();
        assert!(
            matches!(error.problem, FileProblem::Directory { .. }),
            "{error}"
        );
        assert_eq!(error.path, directory.path());
        let other = directory.path().join("other");
        assert!(matches!(
            problem(write_secret_file(&other, TEXT)),
            FileProblem::Directory { .. }
        ));
        mode(directory.path(), 0o1700 | bits);
        assert!(read(&path).is_ok());
    }
}

#[test]
fn a_link_a_directory_a_pipe_and_a_missing_file_are_refused_each_by_name() {
    let directory = directory();
    let path = key(&directory);
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(problem(read(&link)), FileProblem::Link));
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    assert!(matches!(problem(read(&folder)), FileProblem::NotAFile));
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert!(matches!(problem(read(&pipe)), FileProblem::NotAFile));
    assert!(matches!(
        problem(read(&directory.path().join("none"))),
        FileProblem::Missing
    ));
    assert!(matches!(
        problem(read(&directory.path().join("no/key"))),
        FileProblem::Missing
    ));
    assert!(matches!(
        problem(read(Path::new("/"))),
        FileProblem::NoFileName
    ));
}

#[test]
fn a_file_that_is_too_long_or_no_text_is_refused() {
    let directory = directory();
    let path = key(&directory);
    fs::write(&path, vec![b'a'; MAX_FILE]).unwrap();
    assert_eq!(read(&path).unwrap().len(), MAX_FILE);
    fs::write(&path, vec![b'a'; MAX_FILE + 1]).unwrap();
    assert!(matches!(problem(read(&path)), FileProblem::TooLong));
    fs::write(&path, [0xff; 10]).unwrap();
    assert!(matches!(problem(read(&path)), FileProblem::NotText));
}

#[test]
fn a_key_or_directory_of_another_user_is_refused_unless_he_is_named() {
    assert!(
        geteuid().is_root(),
        "only root can give a file away: run the tests as root"
    );
    let directory = directory();
    let path = key(&directory);
    chown(&path, Some(65534), Some(65534)).unwrap();
    let error = read(&path).unwrap_err();
    assert!(
        matches!(error.problem, FileProblem::Owner { uid: 65534, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chown 0 "), "{error}");
    assert!(read_secret_file(&path, AllowedOwner::CurrentUserOr(65534)).is_ok());
    assert!(read_secret_file(&path, AllowedOwner::CurrentUserOr(65533)).is_err());
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let error = read_secret_file(&path, AllowedOwner::CurrentUser).unwrap_err();
    assert_eq!(error.path, directory.path());
    assert!(read_secret_file(&path, AllowedOwner::CurrentUserOr(65534)).is_ok());

    let given = directory.path().join("given");
    let writing = WriteOptions {
        replace: false,
        owner: Some((65534, 65534)),
    };
    write_secret_file_with(&given, TEXT, writing).unwrap();
    let metadata = fs::metadata(&given).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777),
        (65534, 65534, 0o600)
    );
}
