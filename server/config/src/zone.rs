//! [IO] `[policy] time_zone`: the rules of the zone, from the system's zoneinfo.
//!
//! Read when the configuration is, and held in memory from then on.

use jiff::tz::{TimeZone, db};
use spa_findings::redact::quote;
use spa_findings::{EditDistance, nearest};

use super::toml_reader::{Table, Value};

/// The zone of all `hours`: UTC where nothing is said.
pub(super) fn read(table: Option<Table<'_>>) -> TimeZone {
    let Some(table) = table else {
        return TimeZone::UTC;
    };
    let zone = table.get("time_zone").and_then(zone);
    table.report_unknown_keys();
    zone.unwrap_or(TimeZone::UTC)
}

fn zone(value: Value<'_>) -> Option<TimeZone> {
    let name = value.text("Europe/Berlin")?;
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let error = match TimeZone::get(name) {
        Ok(zone) => return Some(zone),
        Err(error) => error,
    };
    let finding = value.error(format!("there is no time zone `{}` here", quote(name)));
    let known: Vec<String> = db().available().map(|name| name.to_string()).collect();
    let meant = nearest(
        name,
        known.iter().map(String::as_str),
        EditDistance::OptimalStringAlignment,
    );
    value.report(match meant {
        Some(meant) => finding.help(format!("did you mean \"{}\"?", quote(meant))),
        None if known.is_empty() => finding
            .help("install the package tzdata, or write \"UTC\"")
            .note(quote(&error.to_string())),
        None => {
            finding.help("write a name of /usr/share/zoneinfo, as \"Europe/Berlin\", or \"UTC\"")
        }
    });
    None
}
