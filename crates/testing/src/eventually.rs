//! Waiting for what takes a moment: look again and again until it is there, or fail after a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long between two looks: short beside anything that is worth waiting for.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it returns `Some`, and panics when that has not happened within `deadline`.
#[track_caller]
pub fn eventually<T, F>(deadline: Duration, mut look: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(deadline, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("what {caller} waits for did not happen within {deadline:?}"),
        }
    }
}

/// Like [`eventually`], for tests without a runtime.
#[track_caller]
pub fn eventually_blocking<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < deadline, "it did not happen within {deadline:?}");
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_at_the_third_look_is_returned() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), async || {
            looks += 1;
            (looks == 3).then_some(looks)
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn what_never_happens_names_the_place_that_waited() {
        eventually(Duration::from_millis(30), async || None::<()>).await;
    }

    #[test]
    fn a_blocking_look_is_repeated_too() {
        let mut looks = 0;
        eventually_blocking(Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(())
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "did not happen within 30ms")]
    fn a_blocking_look_has_a_deadline() {
        eventually_blocking(Duration::from_millis(30), || None::<()>);
    }
}
