//! How far behind a queue is, and when it will not be. Arithmetic alone: who counts is elsewhere.

use std::time::Duration;

use serde::Serialize;

/// A backlog that is worth so little of the processors' time is no backlog: crashes come while others are done.
const KEEPS_UP: Duration = Duration::from_secs(15);

/// How fast a queue is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// How many processors there are.
    pub processors: u32,
    /// How many crashes a second they take off it, all together.
    pub done_per_s: f64,
    /// How much shorter it gets a second, with what comes meanwhile; negative when it grows. Nothing where nobody has
    /// watched it for long enough.
    pub net_per_s: Option<f64>,
}

impl Pace {
    /// How many crashes a second come, as far as that is known.
    fn coming_per_s(&self) -> f64 {
        self.net_per_s.map_or(0.0, |net| (self.done_per_s - net).max(0.0))
    }
}

/// What is to be expected of a queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// How many seconds of the processors' work wait there.
    pub backlog_seconds: Option<f64>,
    /// In how many seconds it is empty, if all goes on as it does.
    pub eta_seconds: Option<f64>,
    /// Why there is no such figure, or what it rests on.
    pub because: Option<&'static str>,
}

/// Says when a queue in which so many crashes wait is empty.
#[must_use]
pub fn forecast(ready: u32, pace: &Pace) -> Forecast {
    let unknown = |because| Forecast { backlog_seconds: None, eta_seconds: None, because: Some(because) };
    let ready = f64::from(ready);
    if ready <= 0.0 {
        return Forecast { backlog_seconds: Some(0.0), eta_seconds: Some(0.0), because: None };
    }
    if pace.processors == 0 {
        return unknown("no processor is there");
    }
    if pace.done_per_s <= 0.0 {
        return unknown("no processor has done a crash of this queue in the last minute");
    }
    let backlog = ready / pace.done_per_s;
    let (eta_seconds, because) = match pace.net_per_s {
        None => (Some(backlog), Some("if nothing more came")),
        Some(net) if net > 0.0 => (Some(ready / net), None),
        Some(_) if backlog <= KEEPS_UP.as_secs_f64() => {
            (Some(backlog), Some("crashes are done as they come"))
        }
        Some(_) => (None, Some("as many crashes come as are done, or more")),
    };
    Forecast { backlog_seconds: Some(backlog), eta_seconds, because }
}

/// How many more processors of the present kind it takes to be done with so many crashes within a time, with what comes
/// meanwhile. Nothing where no processor shows what one can do.
#[must_use]
pub fn more_processors(ready: u32, pace: &Pace, within: Duration) -> Option<u32> {
    if ready == 0 {
        return Some(0);
    }
    let each = pace.done_per_s / f64::from(pace.processors);
    if !each.is_finite() || each <= 0.0 {
        return None;
    }
    let needed = f64::from(ready) / within.as_secs_f64().max(1.0) + pace.coming_per_s();
    let more = (needed / each).ceil() - f64::from(pace.processors);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the bounds")]
    Some(more.clamp(0.0, f64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pace(processors: u32, done_per_s: f64, net_per_s: Option<f64>) -> Pace {
        Pace { processors, done_per_s, net_per_s }
    }

    #[test]
    fn a_queue_is_empty_when_what_waits_is_done_with_what_comes_meanwhile() {
        let forecast = forecast(1_200, &pace(2, 10.0, Some(4.0)));
        assert_eq!((forecast.backlog_seconds, forecast.eta_seconds), (Some(120.0), Some(300.0)));
        assert_eq!(super::forecast(1_200, &pace(2, 10.0, None)).eta_seconds, Some(120.0));
    }

    #[test]
    fn a_fleet_that_stands_still_has_no_forecast_and_says_why() {
        for (pace, because) in [
            (pace(0, 0.0, Some(0.0)), "no processor is there"),
            (pace(3, 0.0, Some(-5.0)), "no processor has done"),
            (pace(3, 5.0, Some(-1.0)), "as many crashes come"),
        ] {
            let forecast = forecast(1_000, &pace);
            assert_eq!(forecast.eta_seconds, None);
            assert!(forecast.because.is_some_and(|text| text.starts_with(because)), "{forecast:?}");
        }
        assert_eq!(more_processors(1_000, &pace(3, 0.0, None), HOUR), None);
        assert_eq!(more_processors(1_000, &pace(0, 0.0, None), HOUR), None);
    }

    #[test]
    fn a_queue_that_never_fills_up_is_no_backlog() {
        assert_eq!(forecast(0, &pace(0, 0.0, None)).eta_seconds, Some(0.0));
        assert_eq!(forecast(5, &pace(1, 10.0, Some(0.0))).eta_seconds, Some(0.5));
    }

    #[test]
    fn more_processors_are_as_many_as_the_rest_and_what_comes_need() {
        // Two do 1 a second each; 1 a second comes. 7,200 in an hour are 2 a second more: three in all.
        assert_eq!(more_processors(7_200, &pace(2, 2.0, Some(1.0)), HOUR), Some(1));
        assert_eq!(more_processors(72_000, &pace(2, 2.0, None), HOUR), Some(18));
        assert_eq!(more_processors(10, &pace(2, 2.0, None), HOUR), Some(0));
    }
}
