//! Deadline of requests, and the line on a terminal that tells what a command waits for.

use std::future::poll_fn;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tower::{BoxError, Layer, Service};

/// After this time, a terminal shows what the command waits for.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// The API server has not answered in time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswerError {
    /// There was no answer at all.
    #[error("no answer within {} (--request-timeout)", format_seconds(*limit))]
    Silent { limit: Duration },
    /// The server has only answered that it is busy.
    #[error("the API server is busy: it has answered {status} for {} (--request-timeout)", format_seconds(*limit))]
    Busy { limit: Duration, status: u16 },
}

/// Formats a time as in flags, such as `15s`.
fn format_seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// Layer that limits the time until an answer, and repeats requests that a busy server has refused.
#[derive(Clone, Debug)]
pub(super) struct PatienceLayer {
    limit: Duration,
    target: Arc<str>,
}

impl PatienceLayer {
    pub(super) fn new(limit: Duration, target: String) -> Self {
        Self { limit, target: target.into() }
    }
}

impl<S> Layer<S> for PatienceLayer {
    type Service = PatientService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PatientService { inner: Arc::new(Mutex::new(inner)), settings: self.clone() }
    }
}

/// Service whose answers have a deadline.
#[derive(Clone, Debug)]
pub(super) struct PatientService<S> {
    /// Locked while a request is handed over, not until its answer.
    inner: Arc<Mutex<S>>,
    settings: PatienceLayer,
}

type AnswerFuture<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

impl<S, B> Service<Request<Body>> for PatientService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = AnswerFuture<B>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // `send_request` waits for the inner service, within the deadline.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, settings } = self.clone_parts();
        Box::pin(async move {
            let last_status = AtomicU16::new(0);
            let answer = send_until_accepted(&inner, request, &last_status);
            wait_for_answer(answer, &settings).await.unwrap_or_else(|| {
                let limit = settings.limit;
                Err(match last_status.load(Ordering::Relaxed) {
                    0 => NoAnswerError::Silent { limit },
                    status => NoAnswerError::Busy { limit, status },
                }
                .into())
            })
        })
    }
}

impl<S> PatientService<S> {
    /// A derived `Clone` would require that the inner service can be cloned.
    fn clone_parts(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), settings: self.settings.clone() }
    }
}

/// Sends a request. Repeats a read that a busy server has refused for the time that it has named (`Retry-After`), as
/// kubectl does.
async fn send_until_accepted<S, B>(
    inner: &Mutex<S>,
    mut request: Request<Body>,
    last_status: &AtomicU16,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
{
    loop {
        let again = copy_read(&request);
        let answer = send_request(inner, request).await?;
        last_status.store(answer.status().as_u16(), Ordering::Relaxed);
        match (again, retry_delay(&answer)) {
            (Some(copy), Some(delay)) => {
                sleep(delay).await;
                request = copy;
            }
            _ => return Ok(answer),
        }
    }
}

async fn send_request<S, B>(inner: &Mutex<S>, request: Request<Body>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
{
    let answer = {
        let mut service = inner.lock().await;
        poll_fn(|context| service.poll_ready(context)).await?;
        service.call(request)
    };
    answer.await
}

/// Copies a request without a body. `None` for a write, whose body cannot be copied.
fn copy_read(request: &Request<Body>) -> Option<Request<Body>> {
    if *request.method() != Method::GET {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Returns how long the server asks to wait. `None` if it does not ask, or has accepted the request.
fn retry_delay<B>(answer: &Response<B>) -> Option<Duration> {
    let is_busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let seconds = answer.headers().get(header::RETRY_AFTER).filter(|_| is_busy)?.to_str().ok()?;
    // A pause of 0 would send requests as fast as possible.
    seconds.trim().parse::<u64>().ok().map(|seconds| Duration::from_secs(seconds.max(1)))
}

/// Waits for an answer. Returns `None` after the deadline.
async fn wait_for_answer<T>(answer: impl Future<Output = T>, settings: &PatienceLayer) -> Option<T> {
    let mut answer = pin!(answer);
    let waiting = async {
        tokio::select! {
            answer = &mut answer => answer,
            () = sleep(PROGRESS_AFTER) => {
                let _line = ProgressLine::show(&settings.target);
                answer.await
            }
        }
    };
    timeout(settings.limit, waiting).await.ok()
}

/// Line on a terminal that disappears when it is dropped.
struct ProgressLine {
    is_shown: bool,
}

impl ProgressLine {
    fn show(target: &str) -> Self {
        let mut stderr = io::stderr();
        let is_shown = stderr.is_terminal() && write!(stderr, "waiting for {target} …").is_ok();
        // The line has no end, so it would stay in the buffer.
        drop(stderr.flush());
        Self { is_shown }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_shown {
            let mut stderr = io::stderr();
            // Return to the start of the line and clear it.
            drop(write!(stderr, "\r\u{1b}[K"));
            drop(stderr.flush());
        }
    }
}
