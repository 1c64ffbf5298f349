//! Checks the parts of arguments. Each error states the problem and what is allowed.

use emcee_core::names::{ends_in_number, is_dns_label, is_dns_name, is_label_key, is_label_value};
use time::Duration;

/// Maximum length of a period: a century. Much longer periods exceed the range of dates in a certificate.
const MAX_PERIOD_DAYS: i64 = 36_500;

type ArgumentCheck<T = ()> = Result<T, String>;

/// Checks a lower-case RFC 1123 label, such as the name of a mesh, namespace or relationship.
pub(super) fn check_dns_label(value: &str) -> ArgumentCheck {
    if is_dns_label(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a DNS label (a-z, 0-9 and '-', at most 63 characters, begins and ends with a letter or digit)"
    ))
}

/// Checks an exact DNS name, as a peer lists it in `subject_alt_names`.
pub(super) fn check_dns_name(value: &str) -> ArgumentCheck {
    if value.contains('*') {
        return Err(format!("{value:?}: a wildcard is not allowed, peers are identified by exact names"));
    }
    // As in URLs, a name whose last label is a number is an IPv4 address, even if it is malformed.
    if value.parse::<std::net::IpAddr>().is_ok()
        || (!value.is_empty() && !value.ends_with('.') && ends_in_number(value))
    {
        return Err(format!("{value:?} is an IP address; a DNS name is needed, it need not resolve"));
    }
    if is_dns_name(value) {
        return Ok(());
    }
    let hint = if value.is_ascii() { "" } else { "; write names in other alphabets in their xn-- form" };
    Err(format!(
        "{value:?} is not a DNS name (labels of a-z, 0-9 and '-', at most 63 characters each, with '.' between, at most 253 in all{hint})"
    ))
}

/// Checks the SPIFFE ID of a workload: a trust domain and a path.
pub(super) fn check_spiffe_id(value: &str) -> ArgumentCheck {
    let fits = value.len() <= 2048
        && value.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).is_some_and(
            |(trust_domain, path)| is_dns_name(trust_domain) && path.split('/').all(is_path_segment),
        );
    if fits {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a SPIFFE ID (spiffe://TRUST-DOMAIN/PATH, trust domain of a-z 0-9 '.' '-', path of letters, digits, '.' '-' '_', no empty part)"
    ))
}

/// Checks a Kubernetes label key: `[prefix/]name`.
pub(super) fn check_label_key(value: &str) -> ArgumentCheck {
    if is_label_key(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a label key ([prefix/]name, name of at most 63 letters, digits, '-', '_', '.')"
    ))
}

/// Checks a Kubernetes label value, which may be empty.
pub(super) fn check_label_value(value: &str) -> ArgumentCheck {
    if is_label_value(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a label value (at most 63 letters, digits, '-', '_', '.', begins and ends with a letter or digit)"
    ))
}

/// Parses a period such as `90d`, `12h` or `30m`.
pub(super) fn parse_period(value: &str) -> ArgumentCheck<Duration> {
    let allowed = "a number and d, h or m (90d, 12h, 30m), at most 36500d";
    // The unit is the last byte. The value may be empty or end with a character of several bytes.
    let split = value.len().checked_sub(1).filter(|at| value.is_char_boundary(*at));
    let (number, unit) = value.split_at(split.unwrap_or(0));
    let minutes = match unit {
        "d" => 24 * 60,
        "h" => 60,
        "m" => 1,
        _ => return Err(format!("not a period ({allowed})")),
    };
    let number = number.parse::<u32>().map_err(|_| format!("not a period ({allowed})"))?;
    let period = Duration::minutes(i64::from(number) * minutes);
    if period.is_zero() || period > Duration::days(MAX_PERIOD_DAYS) {
        return Err(format!("out of range ({allowed}, more than zero)"));
    }
    Ok(period)
}

fn is_path_segment(value: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !matches!(value, "" | "." | "..") && value.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_exact_and_lower_case() {
        for good in ["m1", "m1.blue.example", "xn--bcher-kva.example", &"a".repeat(63)] {
            assert_eq!(check_dns_name(good), Ok(()), "{good}");
        }
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
        for bad in
            ["", ".", "a.", ".a", "a..b", "A.example", "*.blue.example", "-a", "a-", "a_b", "bücher.example"]
        {
            assert!(check_dns_name(bad).is_err(), "{bad}");
        }
        for bad in ["10.0.0.1", "::1", "a.1", &long, &"a".repeat(64), "a b", "a\nb"] {
            assert!(check_dns_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spiffe_ids_have_a_trust_domain_and_a_path() {
        assert_eq!(check_spiffe_id("spiffe://m1.example/ns/blue/sa/gateway"), Ok(()));
        let bad = [
            "spiffe://m1",
            "spiffe://m1/",
            "spiffe:///a",
            "spiffe://M1/a",
            "https://m1/a",
            "spiffe://m1/a//b",
        ];
        for bad in bad.into_iter().chain([
            "spiffe://m1/../a",
            "spiffe://m1/a?b",
            "spiffe://u@m1/a",
            "spiffe://m1:1/a",
        ]) {
            assert!(check_spiffe_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_have_a_unit() {
        assert_eq!(parse_period("365d"), Ok(Duration::days(365)));
        assert_eq!(parse_period("12h"), Ok(Duration::hours(12)));
        for bad in ["", "d", "365", "0d", "-1d", "1y", "36501d", "99999999999d", "1ü", "ü"] {
            assert!(parse_period(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_follow_the_rules_of_kubernetes() {
        for good in ["mesh", "emcee.example/mesh", "A_b.c-d"] {
            assert_eq!(check_label_key(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "ä", "A.example/x"] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
        assert_eq!(check_label_value(""), Ok(()));
        assert!(check_label_value("a b").is_err());
    }
}
