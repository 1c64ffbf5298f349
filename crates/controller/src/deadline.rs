//! Waiting for a deadline that may not exist.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

/// Sleeps until the deadline; forever without one.
pub(crate) async fn sleep_until_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
