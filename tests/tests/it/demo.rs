//! The demo that the README promises tells its story to the end.

use std::process::Command;

use spa_tests::binaries;
use spa_tests::process::run;

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let _ = binaries::spa();
    let work = tempfile::tempdir().expect("a directory");
    let mut permissions = std::fs::metadata(work.path())
        .expect("its mode")
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(work.path(), permissions).expect("its mode");
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    let output = run(command.env("TMPDIR", work.path())).ok().stdout;
    let order = [
        "spad run",
        "Connection refused",
        "spa open gw:ssh",
        "inside as root",
        "closed the port by itself",
        "refused: replay",
        "stays hidden",
    ];
    let mut rest = output.as_str();
    for step in order {
        rest = rest
            .split_once(step)
            .unwrap_or_else(|| panic!("{step:?} is missing in its place:\n{output}"))
            .1;
    }
    let left: Vec<_> = std::fs::read_dir(work.path())
        .expect("the directory")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
