//! Log output of commands that keep running: which events, in which format.
//!
//! Logs go to stderr; stdout is for data. Repeated warnings and errors are folded: see [`repeats`].

mod json;
mod repeats;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Format, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use self::json::JsonLine;
use self::repeats::FoldRepeats;

/// Targets of Emcee's crates begin with this.
const OWN_TARGETS: &str = "emcee";
/// At most this level is logged of libraries, unless a directive names them: they report to us what goes wrong, and their
/// details fill a log without telling an operator more.
const MAX_LIBRARY_LEVEL: Level = Level::WARN;

/// Log options of commands that keep running.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Log events of this level and above: off, error, warn, info, debug or trace. Or directives, for instance
    /// `info,emcee_discovery=debug`. Default: info, and warn for the demo
    #[arg(long, value_name = "LEVEL", env = "EMCEE_LOG", value_parser = parse_filter)]
    log_level: Option<Targets>,
    /// Write each event as a line of text, or as one JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For log collectors.
    Json,
}

impl LogArgs {
    /// Installs the subscriber of this process, which logs at `default` without a flag. Keeps one that is installed
    /// already, for instance by a program that embeds Emcee.
    pub(crate) fn install(&self, default: LevelFilter) {
        let subscriber = self.subscriber(default, std::io::stderr, std::io::stderr().is_terminal());
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    fn subscriber<W>(
        &self,
        default: LevelFilter,
        writer: W,
        has_colors: bool,
    ) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + use<W>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(has_colors);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match self.log_format {
            LogFormat::Text => lines.event_format(FoldRepeats::new(Format::default())).boxed(),
            LogFormat::Json => {
                lines.fmt_fields(JsonFields::new()).event_format(FoldRepeats::new(JsonLine)).boxed()
            }
        };
        let filter = self.log_level.clone().unwrap_or_else(|| own_level(default));
        tracing_subscriber::registry().with(lines.with_filter(filter))
    }
}

/// Emcee logs at `level`, libraries log at most warnings.
fn own_level(level: LevelFilter) -> Targets {
    let of_libraries = level.min(LevelFilter::from_level(MAX_LIBRARY_LEVEL));
    Targets::new().with_default(of_libraries).with_target(OWN_TARGETS, level)
}

/// Parses a level, which is Emcee's own, or directives.
fn parse_filter(text: &str) -> Result<Targets, String> {
    let text = text.trim();
    if let Some(level) = parse_level(text) {
        return Ok(own_level(level));
    }
    let is_known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        parse_level(level.trim()).is_some()
    };
    // `Targets` would take a misspelt level for the name of a target, and log all of it.
    match text.split(',').find(|directive| !is_known(directive)) {
        None => text.parse().map_err(|error| format!("{error}")),
        Some(directive) => Err(format!(
            "{directive:?} has no level: write off, error, warn, info, debug or trace, or TARGET=LEVEL, separated by commas"
        )),
    }
}

/// `tracing` would take no text at all for `error`.
fn parse_level(text: &str) -> Option<LevelFilter> {
    if text.is_empty() { None } else { text.parse().ok() }
}
