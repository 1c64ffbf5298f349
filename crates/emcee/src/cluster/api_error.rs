//! Errors of the API server and of the connection to it, in one line for people.
//!
//! The API server's own words stay. Those of libraries do not: they are nested, and some print Rust values.

use std::error::Error as StdError;
use std::io;

use axum::http::StatusCode;
use kube::core::Status;

use super::patience::NoAnswerError;

/// Longest part of an answer that is quoted.
const MAX_QUOTED_CHARS: usize = 300;

/// Error of a request to the API server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ServerError(String);

impl From<&kube::Error> for ServerError {
    fn from(error: &kube::Error) -> Self {
        Self(describe_kube_error(error))
    }
}

impl From<&Status> for ServerError {
    fn from(status: &Status) -> Self {
        Self(describe_status(status))
    }
}

/// Returns whether the API server, or the connection to it, caused an error.
pub(crate) fn is_server_error(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<kube::Error>()
            || cause.is::<ServerError>()
            || cause.is::<super::read::ForbiddenError>()
            || cause.is::<super::read::UnknownKindError>()
            || cause.is::<emcee_controller::SnapshotError>()
    })
}

/// Describes an error of the Kubernetes client in one line.
pub(crate) fn describe_kube_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => describe_status(status),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => NO_KUBERNETES.to_owned(),
        kube::Error::Service(cause) => describe_transport(cause.as_ref()),
        kube::Error::Auth(cause) => format!("the credentials of the kubeconfig cannot be used: {cause}"),
        other => describe_transport(other),
    }
}

const NO_KUBERNETES: &str = "the answer is not that of a Kubernetes API server (is the address right? is a proxy or a login page in between?)";

/// Describes an error that the API server, or a proxy before it, has answered.
fn describe_status(status: &Status) -> String {
    let code = status.code;
    let name = http_status_name(code);
    // The client makes up this status if the answer is not one: a page for people, or plain text.
    if status.reason == "Failed to parse error data" {
        let text = status.message.trim();
        let is_page = text.starts_with('<') || text.lines().count() > 1;
        return match (is_page || text.is_empty(), code) {
            (false, _) => format!("{} ({code} {name})", shorten(text)),
            (true, 401 | 403) => format!(
                "{code} {name}, not from a Kubernetes API server (is a proxy or a login page in between?)"
            ),
            (true, _) => format!(
                "{code} {name}, not in the words of a Kubernetes API server (is the address right? is a proxy in between?)"
            ),
        };
    }
    let message = shorten(&status.message);
    match code {
        401 => format!("the API server does not accept the credentials of the kubeconfig: {message} (401)"),
        429 => format!("the API server is busy: {message} (429; try again)"),
        502..=504 => format!("the API server is not available: {message} ({code}; try again)"),
        _ => format!("{message} ({code})"),
    }
}

/// Returns one line of limited length, without control characters.
fn shorten(text: &str) -> String {
    emcee_core::text::sanitize_text(text.trim(), MAX_QUOTED_CHARS)
}

fn http_status_name(code: u16) -> &'static str {
    StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason()).unwrap_or("error")
}

/// Describes why there is no answer: the innermost cause that has a name.
fn describe_transport(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error.to_string();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(words) = current.downcast_ref::<NoAnswerError>() {
            return words.to_string();
        }
        if let Some(error) = current.downcast_ref::<io::Error>()
            && let Some(words) = describe_io_error(error)
        {
            return words;
        }
        if let Some(error) = current.downcast_ref::<tokio_rustls::rustls::Error>() {
            return describe_tls_error(error);
        }
        innermost = current.to_string();
        // An `io::Error` hides the error inside of it from `source`.
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    describe_text(&innermost)
}

fn describe_io_error(error: &io::Error) -> Option<String> {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the connection was reset",
        io::ErrorKind::TimedOut => "no answer in time (--request-timeout)",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no route to the server"
        }
        io::ErrorKind::UnexpectedEof => "the connection was closed before an answer (is it an HTTPS server?)",
        _ => {
            let text = error.to_string();
            return text
                .contains("failed to lookup address")
                .then(|| "the host name of the server cannot be resolved".to_owned());
        }
    };
    Some(words.to_owned())
}

fn describe_tls_error(error: &tokio_rustls::rustls::Error) -> String {
    use tokio_rustls::rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "TLS: the certificate of the server was not issued by the certificate authority in the kubeconfig"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "TLS: the certificate of the server has expired".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "TLS: the certificate of the server is for another name (tls-server-name in the kubeconfig)"
            .to_owned(),
        Error::InvalidCertificate(_) => "TLS: the certificate of the server is not valid".to_owned(),
        Error::InvalidMessage(_) => {
            "TLS: the server does not speak TLS (https:// instead of http:// in the kubeconfig?)".to_owned()
        }
        Error::AlertReceived(_) => {
            "TLS: the server refuses the connection (does it want another client certificate?)".to_owned()
        }
        _ => "TLS: the connection cannot be encrypted".to_owned(),
    }
}

/// Describes errors of HTTP libraries, which have no public types, by their texts.
fn describe_text(text: &str) -> String {
    if text.contains("timed out") || text.contains("deadline has elapsed") {
        return "no answer in time (--request-timeout)".to_owned();
    }
    if text.contains("dns error") || text.contains("failed to lookup address") {
        return "the host name of the server cannot be resolved".to_owned();
    }
    if text.contains("message completed") || text.contains("connection closed") {
        return "the connection was closed before an answer".to_owned();
    }
    if text.contains("invalid HTTP") || text.contains("parse") {
        return "the answer is not HTTP (http:// instead of https:// in the kubeconfig?)".to_owned();
    }
    shorten(text)
}
