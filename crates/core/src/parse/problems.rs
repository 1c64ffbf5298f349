//! Problems of one object, up to a limit.

use super::field_checker::member_path;
use super::schema::schema_problem;
use crate::problem::ResourceProblem;

/// Largest number of problems that are listed for one object. Of more problems, the first ones are listed.
pub(crate) const MAX_PROBLEMS: usize = 100;
/// How many unknown fields are compared with all known ones. One comparison costs as much as hundreds of
/// other checks.
const MAX_COMPARED: usize = 5;

/// Problems of one object. Problems beyond [`MAX_PROBLEMS`] are only counted.
#[derive(Default)]
pub(crate) struct ProblemList {
    list: Vec<ResourceProblem>,
    omitted: usize,
    compared: usize,
}

impl ProblemList {
    /// Adds a problem, or counts it if the list is full.
    pub(crate) fn push(&mut self, problem: ResourceProblem) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// Whether there are problems that are not listed, so that further checks are useless.
    pub(crate) fn is_full(&self) -> bool {
        self.omitted > 0
    }

    /// Returns the listed problems.
    pub(crate) fn as_slice(&self) -> &[ResourceProblem] {
        &self.list
    }

    /// Adds the problems of a later step, except those about the fields `but_for` and their members.
    pub(super) fn extend_except(&mut self, later: Self, but_for: &[String]) {
        self.omitted += later.omitted;
        let about_others =
            |problem: &ResourceProblem| !but_for.iter().any(|field| problem.field.starts_with(field));
        later.list.into_iter().filter(about_others).for_each(|problem| self.push(problem));
    }

    /// Returns the list. If problems were omitted, the last entry says so.
    pub(super) fn into_list(mut self) -> Vec<ResourceProblem> {
        if let Some(last) = self.list.last().filter(|_| self.omitted > 0) {
            let message =
                format!("and more problems: only the first {MAX_PROBLEMS} of this object are listed");
            self.list.push(ResourceProblem::new(last.reason, message));
        }
        self.list
    }

    /// Adds an unknown field. Returns the known field that the user probably meant.
    pub(super) fn push_unknown_field<'a>(
        &mut self,
        path: &str,
        field: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<&'a str> {
        // Beyond the limit the message lists the known fields instead.
        let meant = (self.compared < MAX_COMPARED).then(|| closest_name(known.clone(), field)).flatten();
        self.compared += 1;
        let hint = match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None => known.collect::<Vec<_>>().join(", "),
        };
        self.push(schema_problem(&member_path(path, field), format!("unknown field ({hint})")));
        meant
    }
}

/// Returns the known name that the user probably meant. The cost is the square of the length, so long names
/// are not compared.
fn closest_name<'a>(known: impl Iterator<Item = &'a str>, field: &str) -> Option<&'a str> {
    const LONGEST: usize = 64;
    // `useIngressGateway` is closer to `use_egress_gateway` than to `use_ingress_gateway`, unless notation is ignored.
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(field);
    let distance = |name: &'a str| (strsim::damerau_levenshtein(&plain(name), &wanted), name);
    let nearest = known.filter(|_| field.len() <= LONGEST).map(distance).min();
    // Allow one edit, and one more for every four characters of the name.
    nearest.filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::closest_name;

    #[test]
    fn case_and_underscores_do_not_count() {
        let known = ["use_egress_gateway", "use_ingress_gateway", "tls_context_selector"];
        for (written, meant) in [
            ("useIngressGateway", Some("use_ingress_gateway")),
            ("useEgressGateway", Some("use_egress_gateway")),
            ("use-ingress-gateway", Some("use_ingress_gateway")),
            ("UseIngresGateway", Some("use_ingress_gateway")),
            ("tlsContextSelector", Some("tls_context_selector")),
            ("replicas", None),
        ] {
            assert_eq!(closest_name(known.into_iter(), written), meant, "{written}");
        }
    }
}
