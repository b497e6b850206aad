//! The flow of one report: extract, save, publish, answer.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, extract::State, http::HeaderMap};
use crash::{QueueName, RawCrash};
use crashstore::Writer;
use jiff::Timestamp;
use queue::{Message, Published, Publisher};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    answer::Answer,
    config::Config,
    extract::{ExtractError, extract},
    metrics::Metrics,
    payload::{Payload, Receipt},
};

/// What the routes share: where crashes are saved and published.
pub(crate) struct Intake {
    config: Config,
    node: String,
    writer: Writer,
    publisher: Publisher,
    bodies: Semaphore,
    metrics: Metrics,
}

impl Intake {
    pub(crate) fn new(config: Config, node: String, writer: Writer, publisher: Publisher) -> Self {
        let bodies = Semaphore::new(config.max_bodies_in_memory);
        Self { config, node, writer, publisher, bodies, metrics: Metrics::new() }
    }

    /// Reads the body, one of a bounded number at a time, within its deadline.
    async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<Payload, Answer> {
        let reading = async {
            let _permit = self.bodies.acquire().await.expect("the semaphore is never closed");
            extract(headers, body, &self.config).await
        };
        match timeout(self.config.body_timeout.into(), reading).await {
            Ok(Ok(payload)) => Ok(payload),
            Ok(Err(ExtractError::Malformed(reason))) => {
                self.metrics.rejected(&reason.to_string());
                Err(Answer::Discarded(reason))
            }
            Ok(Err(ExtractError::Aborted)) => {
                self.metrics.rejected("aborted");
                Err(Answer::TooSlow)
            }
            Err(_) => {
                self.metrics.rejected("too_slow");
                Err(Answer::TooSlow)
            }
        }
    }

    /// Saves the crash durably, then publishes its id.
    async fn save_and_publish(&self, crash: RawCrash) -> Answer {
        let id = crash.id();
        let started = Instant::now();
        let place = match self.writer.save_raw(&crash).await {
            Ok(place) => place,
            Err(error) => {
                tracing::error!(crash_id = %id, error = %chain(&error), "the crash could not be stored");
                return Answer::NotStored;
            }
        };
        drop(crash);
        self.metrics.stage("save", started);

        let started = Instant::now();
        let message = Message { place: Some(place), ..Message::new(id, Timestamp::now()) };
        match self.publisher.publish(QueueName::Standard, &message).await {
            Ok(Published::Confirmed) => {}
            Ok(Published::Journaled) => {
                tracing::debug!(crash_id = %id, "the broker did not confirm; the id is journaled");
            }
            // The crash is durable, so the client is told so; the sweep of the store finds what no queue knows.
            Err(error) => {
                tracing::error!(crash_id = %id, error = %chain(&error), "the crash is stored, but neither queue nor journal took its id");
            }
        }
        self.metrics.stage("publish", started);
        Answer::Stored(id)
    }
}

/// Answers `POST /submit`.
pub(crate) async fn submit(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Answer {
    let started = Instant::now();
    let answer = match intake.receive(&headers, body).await {
        Ok(payload) => take(&intake, payload).await,
        Err(answer) => answer,
    };
    intake.metrics.answered(answer.outcome(), started);
    answer
}

/// Takes a payload that is wholly here; goes on when the client leaves before its answer.
async fn take(intake: &Arc<Intake>, payload: Payload) -> Answer {
    intake.metrics.received(payload.bytes_wire, payload.bytes_inflated);
    let intake = Arc::clone(intake);
    let task = tokio::spawn(async move {
        let receipt = Receipt {
            node: &intake.node,
            received_at: Timestamp::now(),
            random: rand::random(),
            private_annotations: &intake.config.private_annotations,
        };
        match payload.into_raw_crash(&receipt) {
            Ok(crash) => intake.save_and_publish(crash).await,
            Err(error) => {
                tracing::error!(%error, "no crash id can be made");
                Answer::NotStored
            }
        }
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the task that saves a crash ended early");
        Answer::NotStored
    })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
