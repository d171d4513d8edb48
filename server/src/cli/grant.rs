//! `spad grant`: an administrator lets an address in by hand.

use std::time::Duration;

use super::live::do_in_daemon;
use super::{Options, Run};
use crate::control::Request;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The service, by its name or as one port: tcp/22
    service: String,
    /// The addresses and networks that may reach it
    #[arg(long, required = true, num_args = 1.., value_name = "ADDR[/PREFIX]")]
    from: Vec<String>,
    /// For how long: up to `[grants] admin_max_ttl`
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time)]
    ttl: Duration,
}

/// Runs it.
pub(crate) fn run(options: &Options, arguments: &Arguments) -> Run {
    let request = Request::Grant {
        service: arguments.service.clone(),
        from: arguments.from.clone(),
        ttl_s: arguments.ttl.as_secs(),
    };
    do_in_daemon(options, &request)
}

/// A time with its unit, as in spad.toml.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let factor = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err("a time has a unit, s, m, h or d: 30m".to_owned()),
    };
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = number.and_then(|number| number.parse::<u64>().ok()?.checked_mul(factor));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a time is a whole number and a unit: 30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_number_and_a_unit() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(time("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in [
            "",
            "30",
            "m",
            "-1s",
            "1.5h",
            "5 m",
            "30ms",
            "99999999999999999999d",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
