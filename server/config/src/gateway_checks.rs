//! Services that lead to one port of an inner host, one hidden and another not.
//!
//! Pure. What is hidden is the inner host's port, whichever way leads there, so the one that
//! should be open to everybody is not.

use spa_findings::{Finding, Source};
use spad_model::ServiceName;

use super::server_file::ServerFile;

/// A warning for each service that is shown in vain.
pub(super) fn exposed_inner_ports(source: &Source, server: &ServerFile) -> Vec<Finding> {
    let is_hidden = |name: &ServiceName| {
        let mut hide = server.hide.iter();
        hide.any(|hidden| hidden.value == name.as_str())
    };
    let (hidden, exposed): (Vec<_>, Vec<_>) = server
        .services
        .iter()
        .partition(|(name, _)| is_hidden(name));
    let found = exposed.into_iter().filter_map(|(name, service)| {
        let (other, (_, address, inner)) = service.forwarded().find_map(|end| {
            let same_target = |(_, address, inner)| (address, inner) == (end.1, end.2);
            let mut hidden = hidden.iter();
            let (other, _) = hidden.find(|(_, other)| other.forwarded().any(same_target))?;
            Some((other, end))
        })?;
        let message = format!(
            "`{name}` is not hidden, and leads to {inner} of {address}, as the hidden `{other}` does"
        );
        let finding = source.warning(server.names.get(name.as_str())?.clone(), message);
        Some(
            finding
                .help(format!(
                    "put `{name}` into `hide` too, take `{other}` out of it, or lead them to two ports"
                ))
                .note("strangers are refused at both: hidden is the port of the inner host"),
        )
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Files, check};

    /// What is said of these services, the first of which is hidden.
    fn warnings(services: &str) -> String {
        let directory = Path::new("/etc/spad");
        let mut files = Files::empty(directory);
        let text = format!("hide = [\"nas\"]\n[services]\n{services}");
        let path = directory.join("spad.toml");
        files.server = Some(spa_findings::Source::new(&path, text));
        let client = "shared_key = true\nallow = [\"nas\"]\n".to_owned();
        files.put_client("anna".parse().unwrap(), client);
        let now = spa_proto::Timestamp::from_micros(0);
        let loaded = check(&files, now).unwrap();
        loaded.warnings.to_string()
    }

    #[test]
    fn a_service_that_is_shown_and_leads_to_a_hidden_inner_port_is_told_with_its_line() {
        let nas =
            "nas = { ports = [\"tcp/2222\"], to = [\"10.0.0.5:22\", \"[2001:db8::5]:22\"] }\n";
        for to in ["10.0.0.5:22", "[2001:db8::5]:22"] {
            let other = format!("{nas}open = {{ ports = [\"tcp/2223\"], to = \"{to}\" }}\n");
            let warnings = warnings(&other);
            assert!(
                warnings.starts_with("warning: `open` is not hidden"),
                "{warnings}"
            );
            assert!(warnings.contains("/etc/spad/spad.toml:4:1"), "{warnings}");
            assert!(
                warnings.contains("help: put `open` into `hide`"),
                "{warnings}"
            );
        }
        for (port, to) in [
            ("tcp/2223", "10.0.0.6:22"),
            ("tcp/2223", "10.0.0.5:23"),
            ("udp/2223", "10.0.0.5:22"),
        ] {
            let other = format!("{nas}open = {{ ports = [\"{port}\"], to = \"{to}\" }}\n");
            assert_eq!(warnings(&other), "", "{port} {to}");
        }
    }
}
