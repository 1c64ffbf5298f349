//! Subject alternative names in certificates.

use std::fmt;

use webpki::EndEntityCert;

/// Names of a peer's certificate that a message shows, and characters of each. The peer chose them.
const MAX_LISTED_NAMES: usize = 4;
const MAX_NAME_CHARS: usize = 100;

/// A name in the subjectAltName of a certificate. Comparison is exact: a wildcard is the name `*.…` and matches no
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectAltName {
    /// A DNS name, in lower case.
    Dns(String),
    /// A URI, for instance a SPIFFE ID.
    Uri(String),
}

impl From<&str> for SubjectAltName {
    /// Text with a scheme is a URI.
    fn from(text: &str) -> Self {
        if text.contains("://") { Self::Uri(text.to_owned()) } else { Self::from_dns_name(text) }
    }
}

impl SubjectAltName {
    fn from_dns_name(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// All DNS names and URIs of a certificate. Other kinds of names do not identify a peer.
    pub(super) fn from_certificate(certificate: &EndEntityCert<'_>) -> Vec<Self> {
        let dns = certificate.valid_dns_names().map(Self::from_dns_name);
        dns.chain(certificate.valid_uri_names().map(|uri| Self::Uri(uri.to_owned()))).collect()
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.as_str();
        let cut = name.char_indices().nth(MAX_NAME_CHARS).map_or(name.len(), |(index, _)| index);
        let (prefix, rest) = name.split_at(cut);
        write!(f, "{}{}", prefix.escape_debug(), if rest.is_empty() { "" } else { "…" })
    }
}

/// Formats names for a message of bounded length.
pub(super) fn format_names<'a>(names: impl IntoIterator<Item = &'a SubjectAltName>) -> String {
    let mut names = names.into_iter();
    let listed: Vec<String> = names.by_ref().take(MAX_LISTED_NAMES).map(ToString::to_string).collect();
    let text = listed.join(", ");
    match names.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_has_no_letter_case_and_a_uri_has() {
        assert_eq!(SubjectAltName::from("M2.Blue.example"), SubjectAltName::from("m2.blue.example"));
        assert_ne!(SubjectAltName::from("spiffe://M2/x"), SubjectAltName::from("spiffe://m2/x"));
    }

    #[test]
    fn a_uri_is_never_a_dns_name() {
        let uri = SubjectAltName::Uri("m2.blue.example".into());
        assert_ne!(uri, SubjectAltName::from("m2.blue.example"));
    }

    #[test]
    fn a_message_shows_some_names_without_control_characters() {
        let long = SubjectAltName::Uri(format!("spiffe://{}", "x".repeat(1000)));
        let many: Vec<_> = (0..7).map(|i| SubjectAltName::Uri(format!("spiffe://a\n{i}"))).collect();
        assert_eq!(long.to_string().chars().count(), 101);
        assert_eq!(
            format_names(&many),
            r"spiffe://a\n0, spiffe://a\n1, spiffe://a\n2, spiffe://a\n3 and 3 more"
        );
    }
}
