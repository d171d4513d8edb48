//! Weeks, nights and the days on which clocks change.

use proptest::prelude::*;

use super::*;

fn hours(zone: &str, texts: &[&str]) -> Hours {
    let week = Week::parse(texts.iter().copied()).unwrap();
    Hours::new(week, TimeZone::get(zone).unwrap())
}

fn at(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(at.as_microsecond().try_into().unwrap())
}

fn minutes(hours: &Hours, text: &str) -> Option<u64> {
    hours
        .remaining(at(text))
        .map(|remaining| remaining.as_secs() / 60)
}

#[test]
fn working_hours_hold_from_their_beginning_to_the_moment_before_their_end() {
    let office = hours("UTC", &["mon-fri 08:00-18:00", "sat 10:00-14:00"]);
    // 2027-01-11 is a Monday.
    for (time, left) in [
        ("2027-01-11T07:59:59.999999Z", None),
        ("2027-01-11T08:00:00Z", Some(600)),
        ("2027-01-15T17:59:00Z", Some(1)),
        ("2027-01-15T18:00:00Z", None),
        ("2027-01-16T10:00:00Z", Some(240)),
        ("2027-01-17T12:00:00Z", None),
    ] {
        assert_eq!(minutes(&office, time), left, "{time}");
    }
    let left = office.remaining(at("2027-01-15T17:59:59.999999Z")).unwrap();
    assert_eq!(left, Duration::from_micros(1));
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins_and_goes_on_over_the_weeks_end() {
    let nights = hours("UTC", &["sun 22:00-06:00"]);
    assert_eq!(minutes(&nights, "2027-01-17T22:00:00Z"), Some(480));
    assert_eq!(minutes(&nights, "2027-01-18T05:59:00Z"), Some(1));
    assert_eq!(minutes(&nights, "2027-01-18T06:00:00Z"), None);
    assert_eq!(minutes(&nights, "2027-01-17T05:00:00Z"), None);
    let every = hours("UTC", &["22:00-06:00"]);
    for day in 11..18 {
        let early = format!("2027-01-{day}T05:59:00Z");
        assert_eq!(minutes(&every, &early), Some(1));
    }
}

#[test]
fn times_that_touch_are_one() {
    let both = hours(
        "UTC",
        &["mon 08:00-12:00", "mon 12:00-24:00", "tue 00:00-01:00"],
    );
    assert_eq!(minutes(&both, "2027-01-11T11:00:00Z"), Some(14 * 60));
}

/// Berlin goes from 02:00 to 03:00 on 2027-03-28 at 01:00 UTC.
#[test]
fn an_end_in_the_hour_that_spring_leaves_out_is_the_change_itself() {
    let night = hours("Europe/Berlin", &["00:00-02:30"]);
    assert_eq!(minutes(&night, "2027-03-28T00:30:00Z"), Some(30));
    assert_eq!(minutes(&night, "2027-03-28T01:00:00Z"), None);
    let from = hours("Europe/Berlin", &["02:30-08:00"]);
    assert_eq!(minutes(&from, "2027-03-28T00:59:00Z"), None);
    assert_eq!(minutes(&from, "2027-03-28T01:00:00Z"), Some(300));
    let over = hours("Europe/Berlin", &["sat 22:00-06:00"]);
    assert_eq!(minutes(&over, "2027-03-27T21:00:00Z"), Some(7 * 60));
}

/// Berlin goes from 03:00 back to 02:00 on 2027-10-31 at 01:00 UTC.
#[test]
fn an_hour_that_autumn_repeats_counts_both_times() {
    let night = hours("Europe/Berlin", &["00:00-02:30"]);
    assert_eq!(minutes(&night, "2027-10-31T00:00:00Z"), Some(30));
    assert_eq!(minutes(&night, "2027-10-31T00:30:00Z"), None);
    assert_eq!(minutes(&night, "2027-10-31T01:00:00Z"), Some(30));
    assert_eq!(minutes(&night, "2027-10-31T01:30:00Z"), None);
    let over = hours("Europe/Berlin", &["sat 22:00-06:00"]);
    assert_eq!(minutes(&over, "2027-10-30T20:00:00Z"), Some(9 * 60));
}

#[test]
fn what_is_no_time_of_the_week_says_why() {
    let error = |text: &str| Week::parse([text]).unwrap_err().1;
    for (text, why) in [
        ("", HoursError::Form),
        ("mon", HoursError::Form),
        ("mon 08:00", HoursError::Form),
        ("mon 08:00-18:00 yes", HoursError::Form),
        ("monday 08:00-18:00", HoursError::Day),
        ("mon-fry 08:00-18:00", HoursError::Day),
        ("8:00-18:00", HoursError::Time),
        ("24:00-06:00", HoursError::Time),
        ("08:00-24:01", HoursError::Time),
        ("08:00-18:60", HoursError::Time),
        ("08:00-08:00", HoursError::Empty),
    ] {
        assert_eq!(error(text), why, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the clocks go: until the end it holds, and at the end it does not.
    #[test]
    fn what_is_left_ends_at_the_first_moment_outside(
        minutes in 0..60_u64 * 24 * 400,
        start in 0..1440_u32,
        length in 1..1440_u32,
    ) {
        let end = (start + length) % 1440;
        let text = format!(
            "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60
        );
        let hours = hours("Europe/Berlin", &[&text]);
        let minute = Duration::from_secs(60);
        let mut now = at("2027-01-01T00:00:00Z").saturating_add(minute * u32::try_from(minutes).unwrap());
        let Some(left) = hours.remaining(now) else { return Ok(()) };
        prop_assert_eq!(hours.remaining(now.saturating_add(left)), None);
        let end = now.saturating_add(left);
        while now < end {
            prop_assert_eq!(hours.remaining(now), Some(end.abs_diff(now)));
            now = now.saturating_add(minute);
        }
    }
}
