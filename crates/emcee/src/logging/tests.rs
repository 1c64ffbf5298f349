use std::io;
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::Value;
use tracing::{Dispatch, info, info_span, warn};

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `log` writes with these arguments, line by line.
fn lines(arguments: &[&str], log: impl FnOnce()) -> Vec<String> {
    let args = Command::try_parse_from([&["emcee"], arguments].concat()).unwrap().log;
    let output = Output::default();
    let writer = output.clone();
    let subscriber = args.subscriber(LevelFilter::INFO, move || writer.clone(), false);
    tracing::dispatcher::with_default(&Dispatch::new(subscriber), log);
    let bytes = output.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn refusal(level: &str) -> String {
    let Err(error) = Command::try_parse_from(["emcee", "--log-level", level]) else {
        panic!("{level} is accepted")
    };
    error.to_string()
}

#[test]
fn json_is_one_object_a_line_with_the_fields_of_its_spans() {
    let lines = lines(&["--log-format", "json"], || {
        let outer = info_span!("peer_stream", relationship = "blue", peer = "m2").entered();
        let inner = info_span!("without_fields").entered();
        info!(services = 3_u64, is_full = true, "catalogue received:\n\"quoted\"");
        drop((inner, outer));
        info!(relationship = "green", "closed");
    });
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &objects[..] else { panic!("{lines:?}") };
    assert_eq!(first["message"], "catalogue received:\n\"quoted\"");
    assert_eq!((&first["relationship"], &first["peer"]), (&"blue".into(), &"m2".into()));
    assert_eq!((&first["services"], &first["is_full"]), (&3.into(), &true.into()));
    assert_eq!((&first["level"], &first["target"]), (&"INFO".into(), &"emcee::logging::tests".into()));
    assert!(first["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!((&second["relationship"], &second["peer"]), (&"green".into(), &Value::Null));
}

#[test]
fn a_level_is_for_emcee_and_libraries_log_warnings() {
    let log = || {
        tracing::debug!("of emcee");
        tracing::info!(target: "kube_client", "of a library");
        tracing::warn!(target: "kube_client", "a library warns");
    };
    let messages = |arguments: &[&str]| {
        let lines = lines(arguments, log);
        lines.iter().map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(messages(&[]), ["a library warns"]);
    assert_eq!(messages(&["--log-level", "debug"]), ["of emcee", "a library warns"]);
    assert_eq!(messages(&["--log-level", "off"]), Vec::<String>::new());
    assert_eq!(messages(&["--log-level", "off,kube_client=info"]), ["of a library", "a library warns"]);
}

#[test]
fn a_misspelt_level_is_refused_with_what_is_allowed() {
    for level in ["inof", "emcee=inof", "info,emcee_discovery", ""] {
        let refusal = refusal(level);
        assert!(refusal.contains("off, error, warn, info, debug or trace"), "{level}: {refusal}");
    }
}

#[test]
fn a_warning_that_repeats_is_written_once_and_another_is_written() {
    for format in ["text", "json"] {
        let lines = lines(&["--log-format", format], || {
            for attempt in 0..100 {
                warn!(peer = "m2", error = attempt, "connection failed; retrying");
                warn!(peer = "m3", error = attempt, "connection failed; retrying");
                warn!(target: "kube_client", attempt, "request failed");
            }
            info!("told each time");
            info!("told each time");
        });
        assert_eq!(lines.len(), 5, "{lines:#?}");
    }
}
