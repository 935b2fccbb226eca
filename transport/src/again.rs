//! Retries requests to the hub's data port while it cannot be reached: a hub may be about to restart.

use crate::DataError;
use std::time::{Duration, Instant};

/// The pause between two tries.
const KNOCK: Duration = Duration::from_millis(100);

/// Retries `attempt` for up to `patience` while the hub cannot be reached. The first failure of this kind calls `told`
/// with its reason.
///
/// # Errors
/// The hub's refusal, or why it could not be reached at the last try.
pub async fn while_away<T, F: Future<Output = Result<T, DataError>>>(
    patience: Duration,
    on_failure: impl FnOnce(&DataError),
    mut attempt: impl FnMut() -> F,
) -> Result<T, DataError> {
    let begun = Instant::now();
    let mut on_failure = Some(on_failure);
    loop {
        match attempt().await {
            Err(error) if error.may_pass() && begun.elapsed() < patience => {
                if let Some(on_failure) = on_failure.take() {
                    on_failure(&error);
                }
            }
            done => return done,
        }
        tokio::time::sleep(KNOCK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkError, Role};
    use std::cell::Cell;

    fn away() -> DataError {
        let message = "connection refused".into();
        DataError::Link(LinkError::Dial { role: Role::Hub, address: "there".into(), message })
    }

    fn cut() -> DataError {
        DataError::Cut { address: "there".into(), done: 1, len: 2, message: "it closed the connection".into() }
    }

    fn refused() -> DataError {
        DataError::Refused { address: "there".into(), message: "no".into() }
    }

    /// Returns the outcome, the number of tries, and how many times `told` was called.
    async fn tried(patience: Duration, answers: &[Result<u8, DataError>]) -> (Result<u8, DataError>, usize, usize) {
        let (tries, on_failure) = (Cell::new(0), Cell::new(0));
        let done = while_away(
            patience,
            |_| on_failure.set(on_failure.get() + 1),
            || {
                let at = tries.replace(tries.get() + 1);
                let answer = answers[at.min(answers.len() - 1)].clone();
                async { answer }
            },
        );
        (done.await, tries.get(), on_failure.get())
    }

    #[tokio::test]
    async fn a_request_is_retried_until_it_succeeds_and_reported_once() {
        let long = Duration::from_secs(60);
        assert_eq!(tried(long, &[Ok(7)]).await, (Ok(7), 1, 0));
        assert_eq!(tried(long, &[Err(away()), Err(cut()), Ok(7)]).await, (Ok(7), 3, 1));
        // A hub that refused would refuse again.
        assert_eq!(tried(long, &[Err(away()), Err(refused()), Ok(7)]).await, (Err(refused()), 2, 1));
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        assert_eq!(tried(Duration::ZERO, &[Err(away()), Ok(7)]).await, (Err(away()), 1, 0));
        let (done, tries, on_failure) = tried(KNOCK * 2, &[Err(away())]).await;
        assert_eq!((done, on_failure), (Err(away()), 1));
        assert!(tries >= 2);
    }
}
