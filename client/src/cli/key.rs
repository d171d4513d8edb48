//! `spa key new` and `spa key show`. Only the public key is ever printed.

use std::path::Path;

use serde_json::json;
use spa_keys::ClientPublic;

use super::output::{Failure, Output};
use crate::config::file;
use crate::exit::Exit;
use crate::identity;

pub(super) fn new(directory: &Path, output: &Output) -> Result<Exit, Failure> {
    file::make_directory(directory).map_err(Failure::local)?;
    let secret = identity::create(directory).map_err(Failure::local)?;
    let path = identity::path_in(directory);
    output.note(&format!(
        "wrote {}; give the server this public key (`spad client add`):",
        path.display()
    ));
    print(&secret.public(), output);
    Ok(Exit::Open)
}

pub(super) fn show(directory: &Path, output: &Output) -> Result<Exit, Failure> {
    let secret = identity::load(directory).map_err(Failure::local)?;
    print(&secret.public(), output);
    Ok(Exit::Open)
}

fn print(key: &ClientPublic, output: &Output) {
    let key = key.to_string();
    output.result(&key, &json!({ "exit": 0, "public_key": key }));
}
