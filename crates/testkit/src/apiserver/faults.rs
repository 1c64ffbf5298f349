//! Scripted faults: what goes wrong, for which requests, and how often.

use super::store::{ErrorResponse, Verb};

/// What happens to a request, instead of its work or after it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The server answers with this code, reason and message.
    Refuse(u16, &'static str, String),
    /// The connection breaks before the request is processed.
    DropBefore,
    /// The request is processed, and the connection breaks before the response.
    DropAfter,
}

/// One scripted fault. Without conditions it applies to every request.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) effect: Effect,
    verb: Option<Verb>,
    plural: Option<String>,
    name: Option<String>,
    skip: usize,
    times: usize,
}

impl Fault {
    /// A fault that happens once.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self { effect, verb: None, plural: None, name: None, skip: 0, times: 1 }
    }

    /// Refuses a request with this code, and with the reason and message of the real server.
    #[must_use]
    pub fn code(code: u16) -> Self {
        let (reason, message) = match code {
            403 => ("Forbidden", "is forbidden: the user cannot do this"),
            409 => {
                ("Conflict", "the object has been modified; please apply your changes to the latest version")
            }
            410 => ("Expired", "too old resource version"),
            413 => ("RequestEntityTooLarge", "etcdserver: request is too large"),
            422 => ("Invalid", "admission webhook \"test\" denied the request: no"),
            429 => ("TooManyRequests", "too many requests, please try again later"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            _ => ("InternalError", "an error on the server"),
        };
        Self::new(Effect::Refuse(code, reason, message.to_owned()))
    }

    /// Applies only to this verb.
    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Applies only to this plural.
    #[must_use]
    pub fn plural(mut self, plural: &str) -> Self {
        self.plural = Some(plural.to_owned());
        self
    }

    /// Applies only to objects with this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Sets how many times the fault happens.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Whether the fault applies to this request. Counts the request if its conditions match.
    pub(super) fn apply_to(&mut self, verb: Verb, plural: &str, name: Option<&str>) -> bool {
        let matches = self.verb.is_none_or(|expected| expected == verb)
            && self.plural.as_deref().is_none_or(|expected| expected == plural)
            && self.name.as_deref().is_none_or(|expected| Some(expected) == name);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl Effect {
    pub(super) fn error_response(&self) -> Option<ErrorResponse> {
        let Self::Refuse(code, reason, message) = self else { return None };
        Some(ErrorResponse { code: *code, reason, message: message.clone() })
    }
}
