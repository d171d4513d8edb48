//! [IO] Whether the kernel forwards packets, where the configuration leads to inner hosts.

use std::path::Path;

use spa_findings::Finding;
use spad_config::Config;

/// The switch of each family: its name, and its file.
const SYSCTLS: [(bool, &str, &str); 2] = [
    (true, "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
    (
        false,
        "net.ipv6.conf.all.forwarding",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ),
];

/// What keeps clients from being led to inner hosts.
pub(crate) fn findings(config: &Config, directory: &Path) -> Vec<Finding> {
    let forwards = config.forwards();
    let off = |file: &str| std::fs::read_to_string(file).is_ok_and(|value| value.trim() == "0");
    let concerned = |four: bool| forwards.iter().find(|one| one.address.is_ipv4() == four);
    SYSCTLS
        .into_iter()
        .filter_map(|(four, name, file)| {
            let one = concerned(four).filter(|_| off(file))?;
            let message = format!(
                "{} leads to {}, and this machine does not forward packets: {name} is 0",
                one.outer, one.address
            );
            let finding = Finding::warning(&directory.join("spad.toml"), message);
            Some(finding.help(format!(
                "sysctl -w {name}=1, and write {name}=1 into /etc/sysctl.d/spad.conf"
            )))
        })
        .collect()
}
