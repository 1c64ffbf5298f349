//! `google.protobuf.Duration`, written in JSON as `"5s"` or `"0.5s"`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Duration in the formats that Istio accepts. It is written in seconds, and read in the notation of Go's
/// `time.ParseDuration` (`1h30m`, `100ms`), which Istio accepts in users' objects. Never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, prost::Message)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Why a text is not a [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// A part of the text is not a number with a unit, or the text is empty.
    #[error("duration {0:?} is not a number with a unit, such as 5s, 100ms or 1h30m")]
    Syntax(String),
    /// Longer than Go can represent, 292 years.
    #[error("duration {0:?} is too long")]
    TooLong(String),
}

impl Duration {
    /// Creates a duration from whole seconds.
    pub fn from_secs(seconds: u32) -> Self {
        Self { seconds: seconds.into(), nanos: 0 }
    }

    /// Creates a duration from milliseconds.
    pub fn from_millis(millis: u32) -> Self {
        Self::from_nanos(u64::from(millis) * 1_000_000)
    }

    fn from_nanos(nanos: u64) -> Self {
        let below_a_second = i32::try_from(nanos % NANOS_PER_SECOND);
        let seconds = i64::try_from(nanos / NANOS_PER_SECOND);
        Self {
            seconds: seconds.expect("a 30th of u64's range fits into i64"),
            nanos: below_a_second.expect("less than a second fits into i32"),
        }
    }
}

/// Treats a negative duration as zero. Only a peer on the wire can send a negative one.
impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        let seconds = u64::try_from(duration.seconds).unwrap_or(0);
        Self::new(seconds, u32::try_from(duration.nanos).unwrap_or(0))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = std::time::Duration::from(*self);
        write!(f, "{}", exact.as_secs())?;
        match exact.subsec_nanos() {
            0 => f.write_str("s"),
            nanos => write!(f, ".{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl TryFrom<String> for Duration {
    type Error = ParseDurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || ParseDurationError::Syntax(text.to_owned());
        let mut nanos = 0_u128;
        // Go accepts no other number without a unit.
        let mut rest = if text == "0" { "0s" } else { text };
        if rest.is_empty() {
            return Err(syntax());
        }
        while !rest.is_empty() {
            let (part, tail) = parse_component(rest).ok_or_else(syntax)?;
            // Saturate: the sum is checked against Go's limit below.
            nanos = nanos.saturating_add(part);
            rest = tail;
        }
        // Go counts nanoseconds in an i64.
        let nanos = i64::try_from(nanos).map_err(|_| ParseDurationError::TooLong(text.to_owned()))?;
        Ok(Self::from_nanos(nanos.unsigned_abs()))
    }
}

/// Parses the first number with its unit. Returns it in nanoseconds, and the rest of the text.
fn parse_component(text: &str) -> Option<(u128, &str)> {
    let (whole, text) = split_digits(text);
    let (fraction, text) = text.strip_prefix('.').map_or(("", text), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // A unit ends where the next number begins, as in `1h30m`.
    let end = text.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(text.len());
    let (unit, tail) = text.split_at(end);
    let unit = nanos_per(unit)?;
    // Whole parts of more than 20 digits saturate, and fractions are cut after 18 digits, so that the
    // products stay below the limit of u128.
    let whole = if whole.len() > 20 { u64::MAX.into() } else { parse_digits(whole)? };
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some((whole * unit + parse_digits(fraction)? * unit / scale, tail))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn parse_digits(digits: &str) -> Option<u128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

fn nanos_per(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, ParseDurationError> {
        text.parse::<Duration>().map(String::from)
    }

    #[test]
    fn reads_what_go_reads_and_writes_seconds() {
        for (text, seconds) in [
            ("5s", "5s"),
            ("0.5s", "0.5s"),
            ("0.500s", "0.5s"),
            (".5s", "0.5s"),
            ("1.s", "1s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("100ms", "0.1s"),
            ("3m", "180s"),
            ("1h30m", "5400s"),
            ("1.5h", "5400s"),
            ("1m1.000000001s", "61.000000001s"),
            ("7us", "0.000007s"),
            ("7µs", "0.000007s"),
            ("0.0000000019s", "0.000000001s"),
            ("0.3333333333333333333333h", "1199.999999999s"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "5", "s", ".s", "5 s", " 5s", "5s ", "1d", "-5s", "5sec", "1e3s", "5s5", "٣s", "5é"]
        {
            assert_eq!(parsed(text), Err(ParseDurationError::Syntax(text.to_owned())));
        }
        for text in ["300000h2m", "9223372037s", "99999999999999999999999999999999999999999h"] {
            let expected = if text == "300000h2m" { Ok("1080000120s".to_owned()) } else { Err(()) };
            assert_eq!(parsed(text).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn wire_form_is_seconds_and_nanos() {
        use prost::Message;
        assert_eq!(
            Duration::from_millis(1500).encode_to_vec(),
            [0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]
        );
        let negative = Duration::decode(&[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]);
        assert_eq!(negative.expect("valid").to_string(), "0s");
    }
}
