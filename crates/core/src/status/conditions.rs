//! From a verdict to Kubernetes conditions.

use emcee_api::Reason;
use emcee_api::condition::{ACCEPTED, CERTIFICATE_VALID, PROGRAMMED, READY};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Verdict;
use crate::problem::Problem;

/// The conditions of a resource. One that says the same as before keeps its time; a warning is a condition whose
/// type is its reason.
pub fn conditions(verdict: &Verdict, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let refusals = verdict.refusals.iter().filter(|_| !verdict.held);
    let blocked = refusals.chain(&verdict.failures);
    let mut conditions = vec![
        (ACCEPTED, accepted(verdict)),
        (PROGRAMMED, judged(blocked.clone())),
        (READY, judged(blocked.chain(verdict.unready.as_deref()))),
    ];
    if let Some(certificate) = &verdict.certificate {
        conditions.push((
            CERTIFICATE_VALID,
            judged(certificate.as_ref().err().map(|problem| &**problem).into_iter()),
        ));
    }
    let mut warnings: Vec<(&str, Judgement)> = Vec::new();
    for warning in &verdict.warnings {
        match warnings.iter_mut().find(|(type_, _)| *type_ == warning.reason.as_str()) {
            Some((_, judgement)) => judgement.message = format!("{}; {warning}", judgement.message),
            None => warnings.push((
                warning.reason.as_str(),
                Judgement { status: true, reason: warning.reason, message: warning.to_string() },
            )),
        }
    }
    let all = conditions.into_iter().chain(warnings);
    all.map(|(type_, judgement)| judgement.condition(type_, verdict.generation, before, now)).collect()
}

struct Judgement {
    status: bool,
    reason: Reason,
    message: String,
}

fn accepted(verdict: &Verdict) -> Judgement {
    let mut judgement = judged(verdict.refusals.iter());
    if verdict.held {
        let last_good = if verdict.is_programmed() {
            "; the last good version stays in place"
        } else {
            "; the last good version counts, and is not in place (see Programmed)"
        };
        judgement.message.push_str(last_good);
    }
    judgement
}

fn judged<'a>(problems: impl Iterator<Item = &'a Problem> + Clone) -> Judgement {
    let reason = problems.clone().next().map_or(Reason::Fine, |problem| problem.reason);
    Judgement { status: problems.clone().next().is_none(), reason, message: message(problems) }
}

/// As many problems as a person reads. An API server takes 32 KiB.
fn message<'a>(problems: impl Iterator<Item = &'a Problem> + Clone) -> String {
    const LONGEST: usize = 8 << 10;
    let count = problems.clone().count();
    let mut message = String::new();
    for (told, problem) in problems.enumerate() {
        let words = problem.to_string();
        if told > 0 && message.len() + words.len() > LONGEST {
            return format!("{message}; and {} more", count - told);
        }
        if told > 0 {
            message.push_str("; ");
        }
        message.push_str(&words);
    }
    message
}

impl Judgement {
    fn condition(
        self,
        type_: &str,
        generation: Option<i64>,
        before: &[Condition],
        now: Timestamp,
    ) -> Condition {
        let status = if self.status { "True" } else { "False" };
        let since = before.iter().find(|old| old.type_ == type_ && old.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }
}
