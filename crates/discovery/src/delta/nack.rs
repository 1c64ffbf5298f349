//! Rejected resources: remembered on both sides, and listed in a NACK.
//!
//! xDS has no way to reject a single resource of a response. Between Emcees a NACK means: the resources that its
//! `error_detail` names are rejected, and the others are accepted. The detail is a `google.rpc.BadRequest` with a
//! violation for each name. A NACK of another client, without such a detail, rejects the whole response.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use emcee_core::text::sanitize_text;
use prost::Message;

use crate::wire::{Any, BAD_REQUEST, BadRequest, Code, FieldViolation, RpcStatus};

/// Maximum number of names that are remembered and listed. Beyond it only the count is reported.
const MAX_RESOURCES: usize = 100;
/// Maximum length of a reason, in characters.
const MAX_REASON_CHARS: usize = 300;
/// Maximum length of a name, in bytes. No valid name is longer than 63 + 1 + 63 + 1 + 4 + 6.
const MAX_NAME_BYTES: usize = 200;

/// Rejected resources with reasons. Bounded in number and length, whatever the peer sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectedResources(BTreeMap<Arc<str>, String>);

impl RejectedResources {
    pub(crate) fn insert(&mut self, name: &str, reason: &str) {
        // Cut before the lookup, so that a long name is found again under its shortened form.
        let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
        if self.0.len() < MAX_RESOURCES || self.0.contains_key(name) {
            self.0
                .insert(sanitize_text(name, MAX_NAME_BYTES).into(), sanitize_text(reason, MAX_REASON_CHARS));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Names whose reason differs between the two, or that only one of them contains.
    pub(crate) fn names_that_differ(&self, other: &Self) -> BTreeSet<String> {
        let of = |one: &Self, another: &Self| {
            let differ =
                one.iter().filter(|(name, reason)| another.0.get(*name).is_none_or(|it| it != reason));
            differ.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
        };
        of(self, other).union(&of(other, self)).cloned().collect()
    }

    pub(crate) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keeps(name));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, reason)| (&**name, &**reason))
    }

    /// Builds the status of a NACK for a response with `total` resources, `refused` of them rejected.
    pub(crate) fn to_nack(&self, refused: usize, total: usize) -> RpcStatus {
        let violation = |(name, reason): (&str, &str)| FieldViolation {
            field: name.to_owned(),
            description: reason.to_owned(),
        };
        let detail = BadRequest { field_violations: self.iter().map(violation).collect() };
        RpcStatus {
            code: Code::InvalidArgument.into(),
            message: format!("{refused} of {total} resources rejected, the others are accepted"),
            details: vec![Any { type_url: BAD_REQUEST.to_owned(), value: detail.encode_to_vec().into() }],
        }
    }
}

/// Names and reasons in a NACK. Empty if the NACK rejects the response as a whole.
pub(crate) fn rejections_in(nack: &RpcStatus) -> BTreeMap<String, String> {
    let details = nack.details.iter().filter(|detail| detail.type_url == BAD_REQUEST);
    let details = details.filter_map(|detail| BadRequest::decode(detail.value.clone()).ok());
    let violations = details.flat_map(|detail| detail.field_violations);
    violations.map(|violation| (violation.field, violation.description)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_replaced() {
        let mut refusals = RejectedResources::default();
        refusals.insert("shop/a\u{202e}b/IPv4", "no\u{2066}t\u{200b} ta\u{feff}ken\u{1b}[2J");
        assert_eq!(refusals.iter().collect::<Vec<_>>(), [("shop/a b/IPv4", "no t  ta ken [2J")]);
    }
}
