//! Converts a verdict to Kubernetes conditions.

use emcee_api::Reason;
use emcee_api::condition::{ACCEPTED, CERTIFICATE_VALID, PROGRAMMED, READY};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::ResourceVerdict;
use crate::problem::ResourceProblem;

/// Builds the conditions of a resource. A condition whose status is the same as in `before` keeps its transition
/// time. Each warning becomes a condition whose type is its reason.
pub fn build_conditions(verdict: &ResourceVerdict, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    // If the last good version stays in place, the refusals concern only the newer one: it is not Accepted, but the
    // last good one can be Programmed and Ready.
    let refusals = verdict.refusals.iter().filter(|_| !verdict.keeps_last_good);
    let blocked = refusals.chain(&verdict.failures);
    let mut conditions = vec![
        (ACCEPTED, accepted_content(verdict)),
        (PROGRAMMED, content_of(Reason::Programmed, blocked.clone())),
        (READY, content_of(Reason::Ready, blocked.chain(verdict.not_ready.as_deref()))),
    ];
    if let Some(certificate) = &verdict.certificate {
        conditions.push((
            CERTIFICATE_VALID,
            content_of(
                Reason::CertificateValid,
                certificate.as_ref().err().map(|problem| &**problem).into_iter(),
            ),
        ));
    }
    // Condition types are unique, so warnings with the same reason share one condition.
    let mut warnings: Vec<(&str, ConditionContent)> = Vec::new();
    for warning in &verdict.warnings {
        match warnings.iter_mut().find(|(type_, _)| *type_ == warning.reason.as_str()) {
            Some((_, judgement)) => judgement.message = format!("{}; {warning}", judgement.message),
            None => warnings.push((
                warning.reason.as_str(),
                ConditionContent { status: true, reason: warning.reason, message: warning.to_string() },
            )),
        }
    }
    let all = conditions.into_iter().chain(warnings);
    all.map(|(type_, judgement)| judgement.into_condition(type_, verdict.generation, before, now)).collect()
}

struct ConditionContent {
    status: bool,
    reason: Reason,
    message: String,
}

fn accepted_content(verdict: &ResourceVerdict) -> ConditionContent {
    let mut judgement = content_of(Reason::Accepted, verdict.refusals.iter());
    if verdict.keeps_last_good {
        let last_good = if verdict.is_programmed() {
            "; the last good version stays in place"
        } else {
            "; the last good version is used, but is not in place (see Programmed)"
        };
        judgement.message.push_str(last_good);
    }
    judgement
}

/// Content of a condition that is true, with the reason `positive`, unless there are problems.
fn content_of<'a>(
    positive: Reason,
    problems: impl Iterator<Item = &'a ResourceProblem> + Clone,
) -> ConditionContent {
    // The reason is that of the first problem. The message has them all.
    let reason = problems.clone().next().map_or(positive, |problem| problem.reason);
    ConditionContent { status: problems.clone().next().is_none(), reason, message: join_messages(problems) }
}

/// Joins the problems, up to a length that a person reads. The API server's limit is 32 KiB.
fn join_messages<'a>(problems: impl Iterator<Item = &'a ResourceProblem> + Clone) -> String {
    const MAX_MESSAGE: usize = 8 << 10;
    let count = problems.clone().count();
    let mut message = String::new();
    for (included, problem) in problems.enumerate() {
        let words = problem.to_string();
        // The first problem is never dropped, even if it alone exceeds the limit.
        if included > 0 && message.len() + words.len() > MAX_MESSAGE {
            return format!("{message}; and {} more", count - included);
        }
        if included > 0 {
            message.push_str("; ");
        }
        message.push_str(&words);
    }
    message
}

impl ConditionContent {
    fn into_condition(
        self,
        type_: &str,
        generation: Option<i64>,
        before: &[Condition],
        now: Timestamp,
    ) -> Condition {
        let status = if self.status { "True" } else { "False" };
        // Kubernetes: `lastTransitionTime` is the time of the last change of `status`, not of reason or message.
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
