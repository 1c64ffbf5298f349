//! The problems of one object, so many and no more.

use super::checker::member;
use super::shape::wrong;
use crate::problem::Problem;

/// The most problems of one object that are listed. Who has more starts with these.
pub(crate) const MAX_PROBLEMS: usize = 100;
/// How many unknown fields are compared with all known ones: each costs as much as hundreds of other checks.
const MAX_COMPARED: usize = 5;

/// The problems of one object. What comes after [`MAX_PROBLEMS`] is counted only.
#[derive(Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    more: usize,
    compared: usize,
}

impl Problems {
    /// Adds a problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is no use in looking for more.
    pub(crate) fn is_full(&self) -> bool {
        self.more > 0
    }

    /// Those that are listed.
    pub(crate) fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Adds those of a later step that are about other fields than `but_for` and what is below them.
    pub(super) fn extend(&mut self, later: Self, but_for: &[String]) {
        self.more += later.more;
        let about_others = |problem: &Problem| !but_for.iter().any(|field| problem.field.starts_with(field));
        later.list.into_iter().filter(about_others).for_each(|problem| self.push(problem));
    }

    /// The list. Its last entry says that there are more, if there are.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        if let Some(last) = self.list.last().filter(|_| self.more > 0) {
            let message =
                format!("and more problems: only the first {MAX_PROBLEMS} of this object are listed");
            self.list.push(Problem::new(last.reason, message));
        }
        self.list
    }

    /// Adds an unknown field. Returns the known field that was probably meant.
    pub(super) fn unknown<'a>(
        &mut self,
        path: &str,
        field: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<&'a str> {
        let meant = (self.compared < MAX_COMPARED).then(|| likely(known.clone(), field)).flatten();
        self.compared += 1;
        let hint = match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None => known.collect::<Vec<_>>().join(", "),
        };
        self.push(wrong(&member(path, field), format!("unknown field ({hint})")));
        meant
    }
}

/// The known name that was probably meant. Comparing costs the square of the length, so only short names are.
fn likely<'a>(known: impl Iterator<Item = &'a str>, field: &str) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let distance = |name: &'a str| (strsim::damerau_levenshtein(name, field), name);
    let nearest = known.filter(|_| field.len() <= LONGEST).map(distance).min();
    nearest.filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| name)
}
