//! Records the tracing spans of a test.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::ThreadId;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Records the spans of the thread that started it.
///
/// The subscriber is that of the process. With one per thread, `tracing` would decide whether a span is enabled by the
/// thread that comes to it first, which may be that of a test without a recorder.
#[derive(Debug)]
pub struct SpanRecorder {
    thread: ThreadId,
    /// Spans before this number are of earlier recorders.
    start: usize,
}

/// Spans of all threads, in the order of their creation.
static SPANS: Mutex<Vec<RecordedSpan>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct RecordedSpan {
    id: Id,
    thread: ThreadId,
    /// Whether this project made it, and not a library.
    is_ours: bool,
    text: String,
    was_entered: bool,
}

impl SpanRecorder {
    /// Starts to record. A test whose runtime has one thread records its tasks too.
    ///
    /// # Panics
    /// The process has another subscriber already.
    pub fn start() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let subscriber = tracing_subscriber::registry().with(SpanLayer);
            tracing::subscriber::set_global_default(subscriber)
                .expect("a process without another subscriber");
        });
        Self { thread: std::thread::current().id(), start: lock_spans().len() }
    }

    /// Returns the spans of this project in which something ran, each as `name field=value field=value`.
    pub fn entered(&self) -> Vec<String> {
        let spans = lock_spans();
        let own = spans[self.start..].iter().filter(|span| span.thread == self.thread);
        own.filter(|span| span.is_ours && span.was_entered).map(|span| span.text.clone()).collect()
    }
}

fn lock_spans() -> MutexGuard<'static, Vec<RecordedSpan>> {
    SPANS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn change_span(id: &Id, change: impl FnOnce(&mut RecordedSpan)) {
    // The number of a closed span is used again, so the last one counts.
    if let Some(span) = lock_spans().iter_mut().rfind(|span| span.id == *id) {
        change(span);
    }
}

impl Visit for RecordedSpan {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text, " {field}={value:?}").expect("a string takes everything");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

struct SpanLayer;

impl<S: Subscriber> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        let is_ours = metadata.target().starts_with("emcee");
        let text = metadata.name().to_owned();
        let thread = std::thread::current().id();
        let mut span = RecordedSpan { id: id.clone(), thread, is_ours, text, was_entered: false };
        attributes.record(&mut span);
        lock_spans().push(span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        change_span(id, |span| values.record(span));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        change_span(id, |span| span.was_entered = true);
    }
}
