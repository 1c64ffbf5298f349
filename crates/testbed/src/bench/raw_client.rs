//! Plain requests without any logic: the baseline.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::task::JoinSet;

/// An HTTP request to the API server.
#[derive(Debug, Clone)]
pub(super) struct RawRequest {
    pub(super) method: Method,
    /// Path and query of the request.
    pub(super) uri: String,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// The response to a request.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

impl RawResponse {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// UID of the object in the response.
    pub(super) fn uid(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct CreatedObject {
            metadata: CreatedMetadata,
        }
        #[derive(Deserialize)]
        struct CreatedMetadata {
            uid: String,
        }
        let object: CreatedObject = serde_json::from_slice(&self.body).with_context(|| self.describe())?;
        Ok(object.metadata.uid)
    }

    /// Status and body, for an error message.
    pub(super) fn describe(&self) -> String {
        format!("{} {}", self.code, String::from_utf8_lossy(&self.body))
    }
}

/// Sends a request and reads the whole response.
pub(super) async fn send_request(client: &Client, request: RawRequest) -> Result<RawResponse> {
    let RawRequest { method, uri, content_type, body } = request;
    let request = hyper::Request::builder().method(method).uri(uri).header(CONTENT_TYPE, content_type);
    let response = client.send(request.body(Body::from(body))?).await?;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes().to_vec();
    Ok(RawResponse { code, body })
}

/// Runs `work` on every item. Items start in their order, and at most `at_once` run at a time.
pub(super) async fn for_each_concurrently<T, F, W>(items: Vec<T>, at_once: usize, work: W) -> Result<()>
where
    T: Send + 'static,
    F: Future<Output = Result<()>> + Send,
    W: Fn(T) -> F + Clone + Send + 'static,
{
    let items = Arc::new(Mutex::new(items.into_iter()));
    let mut workers = JoinSet::<Result<()>>::new();
    for _ in 0..at_once {
        let (items, work) = (Arc::clone(&items), work.clone());
        workers.spawn(async move {
            loop {
                let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = item else { return Ok(()) };
                work(item).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker panicked")??;
    }
    Ok(())
}
