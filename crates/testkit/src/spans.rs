//! Records the tracing spans of a test.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Records the spans of one thread. Clones share the same spans.
#[derive(Clone, Debug, Default)]
pub struct SpanRecorder(Arc<Mutex<Vec<RecordedSpan>>>);

#[derive(Debug)]
struct RecordedSpan {
    id: Id,
    /// Whether this project made it, and not a library.
    is_ours: bool,
    text: String,
    was_entered: bool,
}

impl SpanRecorder {
    /// Records until the guard is dropped. A test whose runtime has one thread records its tasks too.
    pub fn start() -> (Self, DefaultGuard) {
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        (recorder, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the spans of this project in which something ran, each as `name field=value field=value`.
    pub fn entered(&self) -> Vec<String> {
        let spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.is_ours && span.was_entered).map(|span| span.text.clone()).collect()
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut RecordedSpan)) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The number of a closed span is used again, so the last one counts.
        if let Some(span) = spans.iter_mut().rfind(|span| span.id == *id) {
            change(span);
        }
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

impl<S: Subscriber> Layer<S> for SpanRecorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        let is_ours = metadata.target().starts_with("emcee");
        let text = metadata.name().to_owned();
        let mut span = RecordedSpan { id: id.clone(), is_ours, text, was_entered: false };
        attributes.record(&mut span);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |span| values.record(span));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.change(id, |span| span.was_entered = true);
    }
}
