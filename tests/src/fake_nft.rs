//! A script in the place of `nft`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::test_bed::TestBed;

/// Where Debian has it.
pub const NFT_PATH: &str = "/usr/sbin/nft";

/// A script in the place of `nft`, until the file that is given back is there: then it is `nft`.
#[must_use]
#[track_caller]
pub fn replace_nft(bed: &mut TestBed, script: &str) -> PathBuf {
    let directory = bed.lab.path().to_owned();
    let (real, fake, works) = ["nft.real", "nft.fake", "nft.works"]
        .map(|name| directory.join(name))
        .into();
    std::fs::copy(NFT_PATH, &real).expect("a copy of nft");
    let text = format!(
        "#!/bin/sh\nif [ -e {} ]; then exec {} \"$@\"; fi\n{script}\n",
        works.display(),
        real.display()
    );
    std::fs::write(&fake, text).expect("a script");
    for program in [&real, &fake] {
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))
            .expect("a program");
    }
    bed.spad.bind_mount(NFT_PATH, fake);
    works
}
