//! The content of certificates.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    string::Ia5String,
};
use time::{Date, Duration, Month, OffsetDateTime};

/// A certificate to issue. By default it is valid from 2025 to 2100, so that a test may use a fixed clock or the real
/// one.
#[derive(Clone, Debug)]
pub struct Leaf {
    common_name: String,
    dns: Vec<String>,
    uris: Vec<String>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Leaf {
    /// A certificate with one DNS name.
    pub fn dns(name: &str) -> Self {
        Self { dns: vec![name.to_owned()], ..Self::common_name_only(name) }
    }

    /// A certificate with one URI as its only subject alternative name.
    pub fn uri(uri: &str) -> Self {
        Self { uris: vec![uri.to_owned()], ..Self::common_name_only("workload") }
    }

    /// A certificate without subject alternative names, as old tools create them. It must identify no peer.
    pub fn common_name_only(name: &str) -> Self {
        Self {
            common_name: name.to_owned(),
            dns: Vec::new(),
            uris: Vec::new(),
            not_before: days("2025-01-01", 0),
            not_after: days("2100-01-01", 0),
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// Adds another DNS name.
    #[must_use]
    pub fn and_dns(mut self, name: &str) -> Self {
        self.dns.push(name.to_owned());
        self
    }

    /// Adds another URI name.
    #[must_use]
    pub fn and_uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// Valid from this moment on; see [`days`] and [`unix`].
    #[must_use]
    pub fn not_before(mut self, moment: OffsetDateTime) -> Self {
        self.not_before = moment;
        self
    }

    /// Valid up to this moment; see [`days`] and [`unix`].
    #[must_use]
    pub fn not_after(mut self, moment: OffsetDateTime) -> Self {
        self.not_after = moment;
        self
    }

    /// Expired since 1 June 2025.
    #[must_use]
    pub fn expired(self) -> Self {
        self.not_after(days("2025-06-01", 0))
    }

    /// Not valid before the year 2100.
    #[must_use]
    pub fn not_yet_valid(self) -> Self {
        self.not_before(days("2100-01-01", 0)).not_after(days("2101-01-01", 0))
    }

    /// Valid for servers only. A mesh needs certificates for servers and clients.
    #[must_use]
    pub fn server_only(mut self) -> Self {
        self.usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    pub(super) fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        let ascii =
            |name: &String| Ia5String::try_from(name.as_str()).expect("names in certificates are ASCII");
        let dns = self.dns.iter().map(|name| SanType::DnsName(ascii(name)));
        params.subject_alt_names = dns.chain(self.uris.iter().map(|uri| SanType::URI(ascii(uri)))).collect();
        (params.not_before, params.not_after) = (self.not_before, self.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        params
    }
}

/// Midnight UTC of `date`, written `2026-12-01`, plus `after` days.
pub fn days(date: &str, after: i64) -> OffsetDateTime {
    let parts: Vec<u16> = date.split('-').filter_map(|part| part.parse().ok()).collect();
    let midnight = || {
        let [year, month, day] = parts[..] else { return None };
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date = Date::from_calendar_date(year.into(), month, u8::try_from(day).ok()?).ok()?;
        Some(date.midnight().assume_utc() + Duration::days(after))
    };
    midnight().expect("a test writes dates as 2026-12-01")
}

/// A moment in seconds since 1970, which every clock library can express.
pub fn unix(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a test stays within the years 0 to 9999")
}
