//! A script in the place of `nft`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::world::World;

/// Where Debian has it.
pub const NFT: &str = "/usr/sbin/nft";

/// A script in the place of `nft`, until the file that is given back is there: then it is `nft`.
#[must_use]
#[track_caller]
pub fn replace_nft(world: &mut World, script: &str) -> PathBuf {
    let directory = world.lab.path().to_owned();
    let (real, fake, works) = ["nft.real", "nft.fake", "nft.works"]
        .map(|name| directory.join(name))
        .into();
    std::fs::copy(NFT, &real).expect("a copy of nft");
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
    world.spad.put_in_place(NFT, fake);
    works
}
