//! One JSON object per line, with the fields of the event and of its spans.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Members: `timestamp`, `level`, `target`, `message`, then fields. Fields of spans are members of the same object, so that a
/// query for `relationship` or `peer` need not know whether a span or an event carries it; the innermost wins.
pub(super) struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Map::new();
        let metadata = event.metadata();
        members.insert("timestamp".to_owned(), Timestamp::now().to_string().into());
        members.insert("level".to_owned(), metadata.level().as_str().into());
        members.insert("target".to_owned(), metadata.target().into());
        let mut fields = JsonVisitor(Map::new());
        event.record(&mut fields);
        if let Some(message) = fields.0.remove("message") {
            members.insert("message".to_owned(), message);
        }
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<JsonFields>>();
            // Empty for a span without fields.
            let recorded =
                formatted.and_then(|formatted| serde_json::from_str::<Map<String, Value>>(formatted).ok());
            members.extend(recorded.into_iter().flatten());
        }
        members.extend(fields.0);
        writeln!(writer, "{}", Value::Object(members))
    }
}

struct JsonVisitor(Map<String, Value>);

impl JsonVisitor {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for JsonVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}
