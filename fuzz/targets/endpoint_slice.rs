//! One announced resource: an EndpointSlice of a peer. What is accepted means the same after it is encoded again.
#![no_main]

use emcee_core::catalogue::Announcement;
use emcee_discovery::formats::endpoint_slice::{
    MAX_ENDPOINTS, MAX_IDENTITIES, ServiceSlice, decode_slice, encode_announcement,
};
use emcee_discovery::wire::{Any, ENDPOINT_SLICE, EndpointSlice, XdsResource};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost::bytes::Bytes;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(resource) = XdsResource::decode(bytes) {
        check_resource(&resource);
    }
    // The same bytes as the content of a resource whose name is right. Otherwise few inputs get past the name.
    if let Some(resource) = wrap_slice(bytes) {
        check_resource(&resource);
    }
});

fn wrap_slice(bytes: &[u8]) -> Option<XdsResource> {
    let slice = EndpointSlice::decode(bytes).ok()?;
    let metadata = slice.metadata?;
    let service = metadata.labels.get("kubernetes.io/service-name")?;
    let name = format!("{}/{service}/{}", metadata.namespace?, slice.address_type?);
    let value = Bytes::copy_from_slice(bytes);
    let resource = Some(Any { type_url: ENDPOINT_SLICE.to_owned(), value });
    Some(XdsResource { name, version: "1".to_owned(), resource })
}

fn check_resource(resource: &XdsResource) {
    match decode_slice(resource) {
        Ok(slice) => check_slice(&slice),
        // A quoted value has 60 characters before it is escaped, and the rest is ours.
        Err(error) => emcee_fuzz::assert_printable(&error, 1_000),
    }
}

fn check_slice(slice: &ServiceSlice) {
    assert!(slice.endpoints.len() <= MAX_ENDPOINTS && slice.endpoints.is_sorted());
    assert!(slice.attributes.identities.len() <= MAX_IDENTITIES);
    let announcement = to_announcement(slice);
    let encoded = encode_announcement(&announcement).expect("what a peer may announce can be announced");
    let slices = encoded.iter().map(|resource| {
        let resource = XdsResource::decode(resource.bytes.clone()).expect("a resource");
        decode_slice(&resource).expect("its own encoding is accepted")
    });
    let [again] = <[ServiceSlice; 1]>::try_from(slices.collect::<Vec<_>>()).expect("one slice");
    assert_eq!(to_announcement(&again), announcement);
}

fn to_announcement(slice: &ServiceSlice) -> Announcement {
    slice.attributes.to_announcement(slice.name.key.clone(), slice.endpoints.iter().cloned())
}
