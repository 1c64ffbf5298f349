//! UIDs in a compact form.

use std::fmt;

use data_encoding::HEXLOWER;

/// The UID of an object. Empty in files. Kubernetes uses random UUIDs, but guarantees only that it is a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(UidRepr);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum UidRepr {
    Text(Box<str>),
    Uuid([u8; 16]),
}

const UUID_LENGTH: usize = 36;
const DASH_POSITIONS: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// Returns whether the object has no UID.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, UidRepr::Text(text) if text.is_empty())
    }

    /// Creates a UID from its text. `None` gives the empty UID.
    pub fn new(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        Self(parse_uuid(text).map_or_else(|| UidRepr::Text(text.into()), UidRepr::Uuid))
    }
}

/// Parses a UUID in lower case. Any other text is stored as it is, so that it is displayed unchanged.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != UUID_LENGTH || DASH_POSITIONS.iter().any(|place| bytes[*place] != b'-') {
        return None;
    }
    let dashes = |place: &usize| DASH_POSITIONS.contains(place);
    let digits = bytes.iter().enumerate().filter(|(place, _)| !dashes(place)).map(|(_, digit)| *digit);
    let (mut hex, mut uuid) = ([0; 32], [0; 16]);
    hex.iter_mut().zip(digits).for_each(|(to, digit)| *to = digit);
    HEXLOWER.decode_mut(&hex, &mut uuid).ok()?;
    Some(uuid)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = match &self.0 {
            UidRepr::Uuid(uuid) => uuid,
            UidRepr::Text(text) => return f.write_str(text),
        };
        let mut buffer = [0; 32];
        let hex = HEXLOWER.encode_mut_str(uuid, &mut buffer);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stored_as_bytes_and_displayed_unchanged() {
        let text = "0c9f2a4e-75d1-4b7b-8f3a-00ff19ab6cde";
        let uid = Uid::new(Some(text));
        assert!(matches!(uid.0, UidRepr::Uuid([0x0c, 0x9f, ..])), "{uid:?}");
        assert_eq!(uid.to_string(), text);
    }

    #[test]
    fn other_texts_are_kept() {
        for text in
            ["", "uid-7", "0C9F2A4E-75D1-4B7B-8F3A-00FF19AB6CDE", "0c9f2a4e-75d1-4b7b-8f3a-00ff19ab6cdé"]
        {
            assert_eq!(Uid::new(Some(text)).0, UidRepr::Text(text.into()));
            assert_eq!(Uid::new(Some(text)).to_string(), text);
        }
    }
}
