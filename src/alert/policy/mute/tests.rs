//! Mute times as people write them, where clocks change too.
use super::*;
use crate::base::time::parse_rfc3339;

fn texts(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

fn time(days: &str, dates: &str, months: &str, times: &str, zone: &str) -> MuteTime {
    MuteTime::parse(&texts(days), &texts(dates), &texts(months), &texts(times), zone).unwrap()
}

fn until(times: &[MuteTime], now: &str) -> Option<String> {
    muted_until(times, parse_rfc3339(now.as_bytes()).unwrap()).map(|at| at.to_string())
}

#[track_caller]
fn is(time: &MuteTime, now: &str, end: Option<&str>) {
    assert_eq!(until(std::slice::from_ref(time), now).as_deref(), end, "{now}");
}

#[test]
fn nights_belong_to_the_day_on_which_they_begin() {
    let nights = time("mon-fri", "", "", "22:00-06:00", "UTC");
    is(&nights, "2026-01-02T21:59:59Z", None);
    is(&nights, "2026-01-02T22:00:00Z", Some("2026-01-03T06:00:00Z"));
    is(&nights, "2026-01-03T05:59:59.999999Z", Some("2026-01-03T06:00:00Z"));
    is(&nights, "2026-01-03T06:00:00Z", None);
    is(&nights, "2026-01-03T23:00:00Z", None);
    // Sunday night is no night of a working day.
    is(&nights, "2026-01-05T03:00:00Z", None);
}

#[test]
fn times_that_touch_are_one() {
    let weekend = time("sat-sun", "", "", "", "UTC");
    is(&weekend, "2026-01-03T12:00:00Z", Some("2026-01-05T00:00:00Z"));
    let nights = time("", "", "", "18:00-24:00, 00:00-08:00", "UTC");
    is(&nights, "2026-01-02T19:00:00Z", Some("2026-01-03T08:00:00Z"));
    let both = [weekend, nights];
    assert_eq!(until(&both, "2026-01-02T19:00:00Z").as_deref(), Some("2026-01-05T08:00:00Z"));
}

#[test]
fn dates_months_and_the_end_of_a_month() {
    let christmas = time("", "24-26", "december", "", "Europe/Berlin");
    is(&christmas, "2026-12-23T22:59:59Z", None);
    is(&christmas, "2026-12-23T23:00:00Z", Some("2026-12-26T23:00:00Z"));
    is(&christmas, "2026-11-25T12:00:00Z", None);
    let last = time("", "-1", "", "12:00-13:00", "UTC");
    is(&last, "2024-02-29T12:30:00Z", Some("2024-02-29T13:00:00Z"));
    is(&last, "2024-02-28T12:30:00Z", None);
    is(&time("", "-3 to -1", "nov-feb", "", "UTC"), "2025-01-29T00:00:00Z", Some("2025-02-01T00:00:00Z"));
    is(&time("fri-mon", "", "", "", "UTC"), "2026-01-04T00:00:00Z", Some("2026-01-06T00:00:00Z"));
}

#[test]
fn clocks_that_change() {
    let night = time("", "", "", "01:00-04:00", "Europe/Berlin");
    // 28 March to 29 March 2026: two hours; in autumn four.
    is(&night, "2026-03-29T00:00:00Z", Some("2026-03-29T02:00:00Z"));
    is(&night, "2026-10-24T23:00:00Z", Some("2026-10-25T03:00:00Z"));
    // What ends at a time that is skipped ends as much later; one that comes twice ends the first time.
    is(&time("", "", "", "01:00-02:30", "Europe/Berlin"), "2026-03-29T01:15:00Z", Some("2026-03-29T01:30:00Z"));
    is(&time("", "", "", "01:00-02:30", "Europe/Berlin"), "2026-10-25T00:15:00Z", Some("2026-10-25T00:30:00Z"));
    is(&time("sun", "", "", "", "Europe/Berlin"), "2026-03-29T12:00:00Z", Some("2026-03-29T22:00:00Z"));
}

#[test]
fn what_never_ends_is_asked_again() {
    let always = time("", "", "", "", "UTC");
    let end = until(&[always], "2026-01-01T00:00:00Z").unwrap();
    assert!(end.starts_with("2028-"), "{end}");
    assert_eq!(until(&[], "2026-01-01T00:00:00Z"), None);
    let whole = time("", "", "", "06:00-06:00", "UTC");
    assert!(until(&[whole], "2026-01-01T00:00:00Z").unwrap().starts_with("2028-"));
}

#[test]
fn says_what_is_wrong() {
    let wrong = |days: &str, dates: &str, months: &str, times: &str, zone: &str| {
        MuteTime::parse(&texts(days), &texts(dates), &texts(months), &texts(times), zone).unwrap_err()
    };
    assert!(wrong("funday", "", "", "", "UTC").contains("`funday` is not a day of the week"));
    assert!(wrong("mo", "", "", "", "UTC").contains("day of the week"));
    assert!(wrong("", "32", "", "", "UTC").contains("date of the month"));
    assert!(wrong("", "0", "", "", "UTC").contains("date of the month"));
    assert!(wrong("", "", "smarch", "", "UTC").contains("is not a month"));
    assert!(wrong("", "", "", "25:00-26:00", "UTC").contains("not a time of day"));
    assert!(wrong("", "", "", "9", "UTC").contains("not a time of day"));
    assert!(wrong("", "", "", "24:00-01:00", "UTC").contains("not a time of day"));
    assert!(wrong("", "", "", "", "Mars/Olympus").contains("is not a time zone"));
}
