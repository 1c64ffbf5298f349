//! The fields of two xDS messages that the benchmark needs, without Emcee's own code.

/// A DiscoveryRequest: a subscription, or the ACK of a response.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

/// A DiscoveryResponse. Its resources stay encoded: only their number counts.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) resources: Vec<Vec<u8>>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

impl DiscoveryResponse {
    /// Returns the request that accepts the response.
    pub(super) fn to_ack(&self) -> DiscoveryRequest {
        DiscoveryRequest {
            version: self.version.clone(),
            type_url: self.type_url.clone(),
            nonce: self.nonce.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_response_is_read_in_any_order_of_fields() {
        // version "v", resource [1, 2], nonce "7", resource of 200 bytes, type "t"
        let mut encoded = vec![0x0a, 1, b'v', 0x12, 2, 1, 2, 0x2a, 1, b'7', 0x12, 0xc8, 0x01];
        encoded.extend([0; 200]);
        encoded.extend([0x22, 1, b't']);
        let expected = DiscoveryResponse {
            version: "v".to_owned(),
            type_url: "t".to_owned(),
            nonce: "7".to_owned(),
            resources: vec![vec![1, 2], vec![0; 200]],
        };
        assert_eq!(DiscoveryResponse::decode(&encoded[..]).expect("a response"), expected);
        assert_eq!(DiscoveryResponse::decode(&[][..]).expect("a response"), DiscoveryResponse::default());
        encoded.pop();
        for invalid in [&encoded[..], &[0x0a, 9][..], &[0x08, 1][..], &[0xff; 11][..]] {
            assert!(DiscoveryResponse::decode(invalid).is_err());
        }
    }

    #[test]
    fn a_request_has_only_the_fields_that_are_set() {
        let encode = |version: &str, type_url: &str, nonce: &str| {
            let [version, type_url, nonce] = [version, type_url, nonce].map(str::to_owned);
            DiscoveryRequest { version, type_url, nonce }.encode_to_vec()
        };
        assert_eq!(encode("", "t", "n"), [0x22, 1, b't', 0x2a, 1, b'n']);
        assert_eq!(encode("v", "", ""), [0x0a, 1, b'v']);
        let long = "x".repeat(200);
        assert_eq!(encode(&long, "", "")[..3], [0x0a, 0xc8, 0x01]);
    }
}
