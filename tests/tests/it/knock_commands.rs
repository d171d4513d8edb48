//! A door's command, and hooks told of a door's grants: real programs, as their users.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// The first segment of a connection to each port.
fn knock(world: &World, server: impl Into<IpAddr>) {
    let server = server.into();
    world.lab.client.enter(|| {
        for port in [7000, 8000, 9000] {
            let to = SocketAddr::new(server, port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
}

fn world(door: &str) -> World {
    let world = World::stopped(&Settings::default());
    let who = world.script(
        "who",
        "echo \"$(id -un) door=$SPA_DOOR client=$SPA_CLIENT $SPA_SOURCE $SPA_COMMAND\"",
    );
    let more = format!(
        "[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}\nother = {{ argv = [{who:?}], user = \"daemon\" }}\n[[knock]]\nname = \"side\"\nsequence = \"7000,8000,9000\"\n{door}\n"
    );
    world.append("spad.toml", &more);
    world
}

#[test]
fn a_doors_command_runs_as_its_user_with_the_address_that_knocked_and_opens_nothing() {
    let mut world = world("run = \"who\"");
    world.spad.start();
    knock(&world, SERVER4);
    world.spad.wait_counted("knock_ran", 1);
    let ended = world.audited("run", 1);
    let said = format!("daemon door=side client= {CLIENT4} who\n");
    assert_eq!(ended["output"], said, "{ended}");
    assert_eq!(
        (&ended["door"], &ended["exit"]),
        (&"side".into(), &0.into())
    );
    assert_eq!(world.audited("run_start", 1)["door"], "side");
    assert_eq!(world.tcp(WEB), Reach::Refused);
    knock(&world, SERVER6);
    let ended = world.audited("run", 2);
    let said = format!("daemon door=side client= {CLIENT6} who\n");
    assert_eq!(ended["output"], said, "{ended}");
}

#[test]
fn a_door_may_open_and_run_and_a_reload_changes_what_it_runs() {
    let mut world = world("run = \"who\"\nopen = [\"web\"]");
    world.spad.start();
    knock(&world, SERVER4);
    world.spad.wait_counted("knock_opened", 1);
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.audited("run", 1)["command"], "who");
    world.replace("spad.toml", "run = \"who\"", "run = \"other\"");
    world.spad.reload();
    knock(&world, SERVER4);
    world.spad.wait_counted("knock_opened", 2);
    assert_eq!(world.audited("run", 2)["command"], "other");
}

#[test]
fn hooks_are_told_of_a_doors_grant_with_its_door() {
    let mut world = world("open = [\"web\"]");
    let hook = world.recorder("hook");
    let hooks = format!(
        "[hooks]\nopen = {{ argv = [{hook:?}], user = \"daemon\" }}\nclose = {{ argv = [{hook:?}], user = \"daemon\" }}\n"
    );
    world.append("spad.toml", &hooks);
    world.spad.start();
    knock(&world, SERVER4);
    world.spad.wait_counted("knock_opened", 1);
    let lines = wait::soon("both hooks ran", || {
        Some(world.told()).filter(|told| told.len() == 2)
    });
    for (line, event) in lines.iter().zip(["open", "close"]) {
        assert_eq!(line["event"], event, "{line}");
        assert_eq!(
            (&line["door"], &line["service"]),
            (&"side".into(), &"web".into())
        );
        assert_eq!(line["address"], CLIENT4.to_string());
        assert!(line["client"].is_null() && line["key"].is_null(), "{line}");
    }
    world
        .spad
        .wait_audited(&[("event", "hook"), ("door", "side"), ("command", "close")]);
}
