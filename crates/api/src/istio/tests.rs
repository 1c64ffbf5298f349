//! Checks each kind against `golden/`, which holds it as Istio's own Go code reads and encodes it; see its
//! README.

use std::fmt::Debug;

use data_encoding::HEXLOWER;
use kube::{Resource, ResourceExt};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

macro_rules! golden {
    ($($test:ident: $spec:ty = $file:literal,)+) => {
        $(#[test]
        fn $test() {
            let object = include_str!(concat!("golden/", $file, ".json"));
            let wire = include_str!(concat!("golden/", $file, ".hex"));
            agrees_with_go::<$spec>(object, &unhex(wire));
        })+
    };
}

golden! {
    gateway: GatewaySpec = "gateway",
    virtual_service: VirtualServiceSpec = "virtual_service",
    destination_rule: DestinationRuleSpec = "destination_rule",
    service_entry: ServiceEntrySpec = "service_entry",
    service_entry_that_selects: ServiceEntrySpec = "service_entry_selecting",
    authorization_policy: AuthorizationPolicySpec = "authorization_policy",
    authorization_policy_for_all: AuthorizationPolicySpec = "authorization_policy_allow",
    peer_authentication: PeerAuthenticationSpec = "peer_authentication",
    workload_entry: WorkloadEntrySpec = "workload_entry",
}

fn agrees_with_go<S>(object: &str, wire: &[u8])
where
    S: IstioSpec + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let object: Value = serde_json::from_str(object).unwrap();
    let json = &object["spec"];
    let spec: S = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&spec).unwrap(), json, "JSON → struct → JSON");
    assert_eq!(spec.encode_to_vec(), wire, "struct → protobuf");
    assert_eq!(S::decode(wire).unwrap(), spec, "protobuf → struct");
    let message = S::TYPE_URL.rsplit('.').next();
    assert_eq!(message, object["kind"].as_str(), "the file is of that kind");
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.split_whitespace().collect::<String>().as_bytes()).unwrap()
}

/// The expected bytes are written by hand: field 3 (`http`) of the `VirtualService`, field 7 (`retries`) of
/// the route, empty.
#[test]
fn disabled_retries_are_encoded() {
    let route = HttpRoute { retries: Some(HttpRetry::default()), ..HttpRoute::default() };
    let spec = VirtualServiceSpec { http: vec![route], ..VirtualServiceSpec::default() };
    assert_eq!(serde_json::to_value(&spec).unwrap(), json!({"http": [{"retries": {"attempts": 0}}]}));
    assert_eq!(spec.encode_to_vec(), [3 << 3 | 2, 2, 7 << 3 | 2, 0]);
}

#[test]
fn zero_modes_are_written() {
    let tls = ServerTls::new(ServerTlsMode::Passthrough);
    assert_eq!(serde_json::to_value(&tls).unwrap(), json!({"mode": "PASSTHROUGH"}));
    let tls = ClientTls::new(ClientTlsMode::Disable);
    assert_eq!(serde_json::to_value(&tls).unwrap(), json!({"mode": "DISABLE"}));
}

#[test]
fn unknown_fields_of_users_objects_are_tolerated() {
    let rule: DestinationRule = serde_json::from_value(json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule",
        "metadata": {"name": "theirs", "namespace": "default"},
        "spec": {
            "host": "hello",
            "trafficPolicy": {
                "loadBalancer": {"simple": "FANCY"},
                "outlierDetection": {"interval": "5m"},
                "tls": {"mode": "QUANTUM", "sni": "x"},
            },
        },
        "status": {"conditions": []},
    }))
    .unwrap();
    let policy = rule.spec.traffic_policy.unwrap();
    let tls = policy.tls.unwrap();
    assert_eq!(tls.mode(), ClientTlsMode::Unrecognized);
    assert_eq!(serde_json::to_value(&tls).unwrap(), json!({"sni": "x"}));
    let interval = policy.outlier_detection.unwrap().interval;
    assert_eq!(interval, Some(Duration::from_secs(300)));
}

#[test]
fn unknown_mtls_mode_is_not_strict() {
    for (json, mode) in [
        (json!({"mtls": {"mode": "STRICT"}}), MutualTlsMode::Strict),
        (json!({"mtls": {"mode": "STRICTER"}}), MutualTlsMode::Unrecognized),
        (json!({"mtls": {}}), MutualTlsMode::Unset),
    ] {
        let spec: PeerAuthenticationSpec = serde_json::from_value(json).unwrap();
        assert_eq!(spec.mtls.unwrap().mode(), mode);
    }
}

#[test]
fn resource_kinds_match_kubernetes() {
    fn named<K: Resource<DynamicType = ()>>() -> String {
        format!("{}/{} {}", K::api_version(&()), K::kind(&()), K::plural(&()))
    }
    assert_eq!(named::<Gateway>(), "networking.istio.io/v1/Gateway gateways");
    assert_eq!(named::<VirtualService>(), "networking.istio.io/v1/VirtualService virtualservices");
    assert_eq!(named::<DestinationRule>(), "networking.istio.io/v1/DestinationRule destinationrules");
    assert_eq!(named::<ServiceEntry>(), "networking.istio.io/v1/ServiceEntry serviceentries");
    assert_eq!(
        named::<AuthorizationPolicy>(),
        "security.istio.io/v1/AuthorizationPolicy authorizationpolicies"
    );
    assert_eq!(named::<WorkloadEntry>(), "networking.istio.io/v1/WorkloadEntry workloadentries");
    assert_eq!(named::<PeerAuthentication>(), "security.istio.io/v1/PeerAuthentication peerauthentications");
}

#[test]
fn object_has_api_version_kind_and_metadata() {
    let spec = GatewaySpec { selector: [("istio".into(), "gw".into())].into(), ..GatewaySpec::default() };
    let gateway = Gateway::new("emcee-hola", spec);
    assert_eq!(gateway.name_any(), "emcee-hola");
    assert_eq!(
        serde_json::to_value(&gateway).unwrap(),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "emcee-hola"},
            "spec": {"selector": {"istio": "gw"}},
        })
    );
}
