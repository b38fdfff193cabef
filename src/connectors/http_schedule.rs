//! When something is done again: in equal spans, or when the clock on the wall says what cron has.

use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use jiff::Zoned;
use jiff::tz::TimeZone;
use tokio::time::Instant;

/// How long is slept at most before the clock is looked at again: it may have been set.
const LOOK: Duration = Duration::from_secs(30);

/// When to ask.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// At once, and then in equal spans from one start to the next.
    Every(Duration),
    /// At times of the clock.
    At(Box<Cron>, TimeZone),
}

impl Schedule {
    /// Reads what cron has, and the name of a zone. The error is a sentence.
    pub fn cron(text: &str, zone: Option<&str>) -> Result<Schedule, String> {
        let cron = Cron::from_str(text).map_err(|e| format!("`{text}` is no time as cron has it: {e}"))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| format!("there is no time zone `{name}`"))?,
        };
        Ok(Schedule::At(Box::new(cron), zone))
    }

    /// Waits until it is time again; `begun` is when it was last, if it was.
    pub async fn wait(&self, begun: Option<Instant>) -> Result<(), String> {
        match self {
            Schedule::Every(every) => {
                if let Some(begun) = begun {
                    tokio::time::sleep_until(begun + *every).await;
                }
            }
            Schedule::At(cron, zone) => {
                let now = || jiff::Timestamp::now().to_zoned(zone.clone());
                let due = next(cron, &now())?;
                while let Ok(left) = Duration::try_from(due.timestamp().duration_since(now().timestamp()))
                    && !left.is_zero()
                {
                    tokio::time::sleep(left.min(LOOK)).await;
                }
            }
        }
        Ok(())
    }
}

/// The first time after another.
fn next(cron: &Cron, after: &Zoned) -> Result<Zoned, String> {
    cron.find_next_occurrence(after, false).map_err(|e| format!("`{}` never comes again: {e}", cron.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        for (cron, zone, after, wanted) in [
            ("0 6 * * mon-fri", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T04:00:00Z"),
            ("*/5 * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"),
            ("30 * * * * *", "UTC", "2026-01-01T00:00:29.5Z", "2026-01-01T00:00:30Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            let Ok(Schedule::At(made, zone)) = Schedule::cron(cron, Some(zone)) else { panic!("{cron}") };
            let after: jiff::Timestamp = after.parse().unwrap();
            assert_eq!(next(&made, &after.to_zoned(zone)).unwrap().timestamp().to_string(), wanted, "{cron}");
        }
        for (cron, zone) in [("every day", "UTC"), ("61 * * * *", "UTC"), ("* * * * *", "Mars/Base")] {
            assert!(Schedule::cron(cron, Some(zone)).is_err(), "{cron} {zone}");
        }
    }
}
