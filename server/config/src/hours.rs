//! When a client may open: days and times of a week, in a time zone.
//!
//! Pure. The zone's rules are held in memory: who asks needs no file.

use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use spa_proto::Timestamp;

/// A day, and a week, in seconds.
const DAY: u32 = 86_400;
const WEEK: u32 = 7 * DAY;

/// The longest that is looked ahead: more than any grant lasts.
const LOOKAHEAD: Duration = Duration::from_secs(2 * 86_400);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Times of a week, in seconds from Monday's beginning: ascending, apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Week {
    texts: Vec<String>,
    spans: Vec<(u32, u32)>,
}

/// Why a text names no time of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Neither `HH:MM-HH:MM` nor days before it.
    #[error("this is not a time of the week")]
    Form,
    /// A day that is none.
    #[error("this day is not one of mon, tue, wed, thu, fri, sat, sun")]
    Day,
    /// A time that is none.
    #[error("this is not a time of the day")]
    Time,
    /// It ends where it begins.
    #[error("this ends when it begins: nothing, or a whole day?")]
    Empty,
}

impl Week {
    /// Of texts like `mon-fri 08:00-18:00`, `sat,sun 22:00-06:00`, `08:00-18:00`.
    ///
    /// # Errors
    /// Which of the texts is wrong, and why.
    pub fn parse<'t>(
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, (usize, HoursError)> {
        let mut week = Self {
            texts: Vec::new(),
            spans: Vec::new(),
        };
        for (index, text) in texts.into_iter().enumerate() {
            let spans = parse(text).map_err(|error| (index, error))?;
            week.spans.extend(spans);
            week.texts.push(text.to_owned());
        }
        week.spans.sort_unstable();
        week.spans.dedup_by(|next, before| {
            let touch = next.0 <= before.1;
            if touch {
                before.1 = before.1.max(next.1);
            }
            touch
        });
        Ok(week)
    }

    /// How much longer it lasts from this second of the week on; none where it does not hold then.
    fn remaining(&self, second: u32) -> Option<u32> {
        let holds = |(start, end): &&(u32, u32)| (*start..*end).contains(&second);
        let (_, end) = self.spans.iter().find(holds)?;
        let left = end.saturating_sub(second);
        match self.spans.first() {
            // Sunday's midnight is Monday's beginning.
            Some((0, monday)) if *end == WEEK => Some(left.saturating_add(*monday)),
            _ => Some(left),
        }
    }
}

fn parse(text: &str) -> Result<Vec<(u32, u32)>, HoursError> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (days, times) = match words.as_slice() {
        [times] if times.starts_with(|c: char| c.is_ascii_digit()) => (vec![true; 7], *times),
        [days, times] => (parse_days(days)?, *times),
        _ => return Err(HoursError::Form),
    };
    let (start, end) = times.split_once('-').ok_or(HoursError::Form)?;
    let (start, end) = (time(start)?, time(end)?);
    if start == DAY {
        return Err(HoursError::Time);
    }
    if start == end {
        return Err(HoursError::Empty);
    }
    // Past midnight it belongs to the day on which it begins.
    let length = if end > start {
        end.saturating_sub(start)
    } else {
        end.saturating_add(DAY).saturating_sub(start)
    };
    let mut spans = Vec::new();
    let days = (0..).zip(days).filter(|(_, named)| *named);
    for (day, _) in days {
        let start = DAY.saturating_mul(day).saturating_add(start);
        let end = start.saturating_add(length);
        spans.push((start, end.min(WEEK)));
        if end > WEEK {
            spans.push((0, end.saturating_sub(WEEK)));
        }
    }
    Ok(spans)
}

/// Which days: `mon`, `mon-fri`, `sat,sun`, `sat-mon`.
fn parse_days(text: &str) -> Result<Vec<bool>, HoursError> {
    let place = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = place(first).ok_or(HoursError::Day)?;
        let last = place(last).ok_or(HoursError::Day)?;
        let count = last.saturating_add(7).saturating_sub(first) % 7;
        let around = (0..14).map(|day| day % 7);
        for day in around.skip(first).take(count.saturating_add(1)) {
            if let Some(named) = days.get_mut(day) {
                *named = true;
            }
        }
    }
    Ok(days.to_vec())
}

/// `HH:MM` in seconds; 24:00 ends a day.
fn time(text: &str) -> Result<u32, HoursError> {
    let (hour, minute) = text.split_once(':').ok_or(HoursError::Time)?;
    let number = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        two.then(|| text.parse::<u32>().ok()).flatten()
    };
    match (number(hour), number(minute)) {
        (Some(hour), Some(minute)) if hour < 24 && minute < 60 => Ok(hour
            .saturating_mul(3600)
            .saturating_add(minute.saturating_mul(60))),
        (Some(24), Some(0)) => Ok(DAY),
        _ => Err(HoursError::Time),
    }
}

/// A week's times where its clocks go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    week: Week,
    zone: TimeZone,
}

impl Hours {
    /// These times, in this zone.
    #[must_use]
    pub fn new(week: Week, zone: TimeZone) -> Self {
        Self { week, zone }
    }

    /// As they were written, and in which zone.
    #[must_use]
    pub fn text(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        format!("{} ({zone})", self.week.texts.join(", "))
    }

    /// How much longer they last at `now`, at most two days; none: it is outside them.
    /// They hold whenever a clock on the wall there shows a time within them. So an
    /// hour that the change to summer time leaves out is missing, and one that comes
    /// twice in autumn counts both times.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let start = instant(now)?;
        let mut at = start;
        loop {
            let left = self.week.remaining(second(&self.zone, at))?;
            let fraction = u64::try_from(at.subsec_microsecond()).unwrap_or(0);
            let left =
                Duration::from_secs(left.into()).saturating_sub(Duration::from_micros(fraction));
            let end = at.checked_add(left).ok()?;
            let since = |at: jiff::Timestamp| Duration::try_from(at.duration_since(start)).ok();
            let change = self
                .zone
                .following(at)
                .next()
                .map(|change| change.timestamp());
            // The clocks are put forward or back before it ends: what do they show then?
            match change.filter(|change| *change < end) {
                Some(change) if since(change)? < LOOKAHEAD => {
                    if self.week.remaining(second(&self.zone, change)).is_none() {
                        return since(change);
                    }
                    at = change;
                }
                _ => return Some(since(end)?.min(LOOKAHEAD)),
            }
        }
    }
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    let micros = i64::try_from(at.as_micros()).ok()?;
    jiff::Timestamp::from_microsecond(micros).ok()
}

/// The second of the week that clocks show there.
fn second(zone: &TimeZone, at: jiff::Timestamp) -> u32 {
    let shown = zone.to_datetime(at);
    let day = Weekday::to_monday_zero_offset(shown.weekday());
    let number = |value: i8| u32::try_from(value).unwrap_or(0);
    let minutes = number(shown.hour())
        .saturating_mul(60)
        .saturating_add(number(shown.minute()));
    DAY.saturating_mul(number(day))
        .saturating_add(minutes.saturating_mul(60))
        .saturating_add(number(shown.second()))
}

#[cfg(test)]
mod tests;
