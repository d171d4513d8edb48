//! `spa host add` and `host remove` on the text of `config.toml`. Pure.
//!
//! Adding appends, removing takes out one table: every other line stays as its
//! owner wrote it, comments included. The result is read again before anything
//! is written: all other hosts must be what they were.

use std::path::Path;

use spa_findings::Findings;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, value};

use super::{Config, HostName, parse};

/// A host to add, its words already checked.
#[derive(Clone, Debug)]
pub struct NewHost {
    /// `address`.
    pub address: String,
    /// `port`.
    pub port: u16,
    /// `key`, in its text form.
    pub key: String,
    /// `default`.
    pub default: Vec<String>,
    /// `services`: name and ports.
    pub services: Vec<(String, Vec<String>)>,
    /// `psk_file`.
    pub psk_file: Option<String>,
    /// `shared_key_file`.
    pub shared_key_file: Option<String>,
    /// `require_address`.
    pub require_address: bool,
}

/// Why the configuration was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is not in order as it is, or would not be afterwards.
    #[error("{0:#}")]
    Findings(#[from] Findings),
    /// There is such a host.
    #[error("there is a host `{0}` already; `spa host remove {0}` first, or choose another name")]
    Exists(HostName),
    /// There is no such host.
    #[error("there is no host `{0}`; `spa hosts` lists them")]
    Missing(HostName),
    /// The file is laid out in a way that cannot be edited without loss.
    #[error(
        "config.toml is laid out in a way that this command cannot edit without loss; edit it by hand{0}"
    )]
    Layout(String),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] super::file::FileError),
}

/// The text with the host added at its end.
///
/// # Errors
/// A name that is taken, or a text that is not in order before or after.
pub fn add(path: &Path, text: &str, name: &HostName, host: &NewHost) -> Result<String, EditError> {
    let mut expected = parse(path, text)?;
    if expected.hosts.contains_key(name) {
        return Err(EditError::Exists(name.clone()));
    }
    let block = block(name, host);
    // What is to be added is checked by itself, so that its errors point into it.
    let added = parse(path, &block)?;
    expected.hosts.extend(added.hosts);

    let mut new = text.to_owned();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    if !new.is_empty() {
        new.push('\n');
    }
    new.push_str(&block);
    let layout_error = || EditError::Layout(format!(", with this host:\n\n{block}"));
    is_unchanged(parse(path, &new).ok(), &expected)
        .then_some(new)
        .ok_or_else(layout_error)
}

/// The text without the host.
///
/// # Errors
/// No such host, or a text that is not in order before or after.
pub fn remove(path: &Path, text: &str, name: &HostName) -> Result<String, EditError> {
    let mut expected = parse(path, text)?;
    if expected.hosts.remove(name).is_none() {
        return Err(EditError::Missing(name.clone()));
    }
    let layout = || EditError::Layout(String::new());
    let mut document: DocumentMut = text.parse().map_err(|_| layout())?;
    let hosts = document
        .get_mut("hosts")
        .and_then(Item::as_table_mut)
        .ok_or_else(layout)?;
    let Some(Item::Table(host)) = hosts.remove(name.as_str()) else {
        return Err(layout());
    };
    if host.is_implicit() || host.is_dotted() {
        return Err(layout());
    }
    let ahead = host.decor().prefix().and_then(|prefix| prefix.as_str());
    let comments = before_last_blank_line(ahead.unwrap_or_default()).to_owned();
    move_comments(&mut document, host.position(), &comments);
    let new = document.to_string();
    if is_unchanged(parse(path, &new).ok(), &expected) {
        Ok(new)
    } else {
        Err(layout())
    }
}

fn is_unchanged(read: Option<Config>, expected: &Config) -> bool {
    read.as_ref() == Some(expected)
}

/// `[hosts.NAME]` and its lines.
fn block(name: &HostName, host: &NewHost) -> String {
    let mut table = Table::new();
    table.insert("address", value(&host.address));
    table.insert("port", value(i64::from(host.port)));
    table.insert("key", value(&host.key));
    if !host.default.is_empty() {
        table.insert("default", value(host.default.iter().collect::<Array>()));
    }
    if !host.services.is_empty() {
        let mut services = InlineTable::new();
        for (name, ports) in &host.services {
            match ports.as_slice() {
                [port] => services.insert(name, port.into()),
                ports => services.insert(name, ports.iter().collect::<Array>().into()),
            };
        }
        table.insert("services", value(services));
    }
    for (key, file) in [
        ("psk_file", &host.psk_file),
        ("shared_key_file", &host.shared_key_file),
    ] {
        if let Some(file) = file {
            table.insert(key, value(file));
        }
    }
    if host.require_address {
        table.insert("require_address", value(true));
    }
    let mut hosts = Table::new();
    hosts.set_implicit(true);
    hosts.insert(name.as_str(), Item::Table(table));
    let mut document = DocumentMut::new();
    document.insert("hosts", Item::Table(hosts));
    document.to_string()
}

/// Comments ahead of a table that a blank line parts from it: they are about
/// something else, and stay.
fn before_last_blank_line(ahead: &str) -> &str {
    let mut end = 0;
    let mut offset = 0_usize;
    for line in ahead.split_inclusive('\n') {
        if line.trim().is_empty() {
            end = offset;
        }
        offset = offset.saturating_add(line.len());
    }
    ahead.get(..end).unwrap_or_default()
}

/// Puts the kept comments ahead of the table that followed, or at the end.
fn move_comments(document: &mut DocumentMut, removed: Option<isize>, comments: &str) {
    if comments.is_empty() {
        return;
    }
    let mut next = None;
    find_next(document.as_table(), removed, &mut next);
    let put = next.is_some_and(|position| prepend(document.as_table_mut(), position, comments));
    if !put {
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing(format!("{comments}{trailing}"));
    }
}

fn find_next(table: &Table, removed: Option<isize>, next: &mut Option<isize>) {
    for (_, item) in table.iter() {
        if let Item::Table(table) = item {
            let position = table.position();
            if position > removed && (next.is_none() || position < *next) {
                *next = position;
            }
            find_next(table, removed, next);
        }
    }
}

fn prepend(table: &mut Table, position: isize, comments: &str) -> bool {
    for (_, item) in TableLike::iter_mut(table) {
        let Item::Table(table) = item else { continue };
        if table.position() == Some(position) && !table.is_implicit() {
            let ahead = table.decor().prefix().and_then(|prefix| prefix.as_str());
            let ahead = format!("{comments}{}", ahead.unwrap_or_default());
            table.decor_mut().set_prefix(ahead);
            return true;
        }
        if prepend(table, position, comments) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static KEY: LazyLock<String> = LazyLock::new(|| {
        spa_keys::ServerSecret::from_bytes([7; 32])
            .public()
            .to_string()
    });

    fn path() -> &'static Path {
        Path::new("/etc/spa/config.toml")
    }

    fn new_host() -> NewHost {
        NewHost {
            address: "gw.example.org".into(),
            port: 62201,
            key: KEY.clone(),
            default: vec!["ssh".into()],
            services: vec![
                ("ssh".into(), vec!["tcp/22".into()]),
                ("dns".into(), vec!["tcp/53".into(), "udp/53".into()]),
            ],
            psk_file: Some("/a \"b\"/c".into()),
            shared_key_file: None,
            require_address: true,
        }
    }

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn table(name: &str) -> String {
        let key = &*KEY;
        format!("[hosts.{name}]\naddress = \"{name}\" # here\nport=1\nkey = '{key}'\n")
    }

    #[test]
    fn what_was_added_is_read_again() {
        let text = add(path(), "", &name("a.b"), &new_host()).unwrap();
        let config = parse(path(), &text).unwrap();
        let host = &config.hosts[&name("a.b")];
        assert_eq!(host.address, "gw.example.org");
        assert_eq!(host.services["dns"].len(), 2);
        assert_eq!(host.default[0].to_string(), "tcp/22");
    }

    #[test]
    fn a_host_is_never_replaced() {
        let text = table("gw");
        let again = add(path(), &text, &name("gw"), &new_host());
        assert!(matches!(again, Err(EditError::Exists(_))));
    }

    #[test]
    fn comments_about_other_things_survive_a_removal() {
        let text = format!(
            "# my hosts\n\n# the gateway\n{}\n# about web\n{}\n# the end\n",
            table("gw"),
            table("web")
        );
        let left = remove(path(), &text, &name("gw")).unwrap();
        assert_eq!(
            left,
            format!("# my hosts\n\n# about web\n{}\n# the end\n", table("web"))
        );
        let left = remove(path(), &text, &name("web")).unwrap();
        assert_eq!(
            left,
            format!("# my hosts\n\n# the gateway\n{}\n# the end\n", table("gw"))
        );
        let left = remove(path(), &left, &name("gw")).unwrap();
        assert_eq!(left, "# my hosts\n\n# the end\n");
    }

    #[test]
    fn a_layout_that_cannot_be_edited_without_loss_is_left_alone() {
        let key = &*KEY;
        let inline =
            format!("hosts = {{ gw = {{ address = \"a\", port = 1, key = \"{key}\" }} }}\n");
        let refused = add(path(), &inline, &name("web"), &new_host());
        assert!(matches!(refused, Err(EditError::Layout(_))), "{refused:?}");
        let refused = remove(path(), &inline, &name("gw"));
        assert!(matches!(refused, Err(EditError::Layout(_))), "{refused:?}");
    }

    #[test]
    fn a_broken_file_is_not_edited() {
        let refused = add(path(), "[hosts.gw]\nprot = 1\n", &name("web"), &new_host());
        assert!(matches!(refused, Err(EditError::Findings(_))));
    }

    proptest! {
        #[test]
        fn removing_what_was_added_gives_back_every_byte(
            head in "(# [a-z ]{0,9}\n|\n){0,3}",
            hosts in prop::collection::btree_map("[a-z]{1,4}", "(# [a-z]{0,9}\n|\n){0,3}", 0..4),
        ) {
            let mut text = head;
            for (host, after) in hosts.iter().filter(|(host, _)| *host != "gw") {
                text.push_str(&table(host));
                text.push_str(after);
            }
            let more = add(path(), &text, &name("gw"), &new_host()).unwrap();
            prop_assert!(more.starts_with(&text));
            prop_assert_eq!(remove(path(), &more, &name("gw")).unwrap(), text);
        }
    }
}
