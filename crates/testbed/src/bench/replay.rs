//! Repeats the recorded writes with a client that knows them beforehand.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use kube::Client;
use serde_json::Value;

use super::MAX_CONCURRENT_REQUESTS;
use super::audit::RecordedWrite;
use super::raw_client::{RawRequest, for_each_concurrently, send_request};
use super::uids::UidRegistry;

/// A write, and the object whose UID it names.
#[derive(Debug)]
pub(super) struct ReplayWrite {
    request: RawRequest,
    /// The UID that the recorded write named, and the key of the object that had it.
    uid_reference: Option<(String, String)>,
}

/// Prepares recorded writes. `then` has the UIDs that the users' resources had when the writes were recorded.
pub(super) fn prepare_writes(recorded: Vec<RecordedWrite>, then: &UidRegistry) -> Result<Vec<ReplayWrite>> {
    let keys = then.keys_by_uid();
    recorded.into_iter().map(|write| prepare_write(write, &keys)).collect()
}

fn prepare_write(recorded: RecordedWrite, keys: &HashMap<String, String>) -> Result<ReplayWrite> {
    let RecordedWrite { verb, uri, mut body, .. } = recorded;
    let owner = body["metadata"]["ownerReferences"][0]["uid"].as_str();
    let own = body["metadata"]["uid"].as_str();
    let names = owner.or(own).and_then(|uid| Some((uid.to_owned(), keys.get(uid)?.clone())));
    if own.is_some()
        && names.is_none()
        && let Some(metadata) = body["metadata"].as_object_mut()
    {
        // Emcee created this object itself. It has another UID here, and its name is enough: nothing else creates it.
        metadata.remove("uid");
    }
    let method = http_method(&verb).with_context(|| format!("no HTTP method for {verb} {uri}"))?;
    let body = if body == Value::Null { Vec::new() } else { body.to_string().into_bytes() };
    let content_type = content_type(&verb, &uri);
    Ok(ReplayWrite { request: RawRequest { method, uri, content_type, body }, uid_reference: names })
}

fn http_method(verb: &str) -> Option<Method> {
    Some(match verb {
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        _ => return None,
    })
}

/// Emcee's applies are forced; its other patches are merges.
fn content_type(verb: &str, uri: &str) -> &'static str {
    match verb {
        "patch" if uri.contains("force=true") => "application/apply-patch+yaml",
        "patch" => "application/merge-patch+json",
        _ => "application/json",
    }
}

impl ReplayWrite {
    /// Waits until the object that the write names exists, and returns the request with its present UID.
    async fn resolve_uid(self, now: &UidRegistry) -> Result<RawRequest> {
        let Self { mut request, uid_reference: names } = self;
        if let Some((then, key)) = names {
            let body = String::from_utf8(request.body)?.replace(&then, &now.wait_for(&key).await);
            request.body = body.into_bytes();
        }
        Ok(request)
    }
}

/// Sends the writes in their order, as many at a time as Emcee does.
pub(super) async fn send_writes(client: &Client, writes: Vec<ReplayWrite>, now: &UidRegistry) -> Result<()> {
    let (client, now) = (client.clone(), now.clone());
    for_each_concurrently(writes, MAX_CONCURRENT_REQUESTS, move |write| {
        let (client, now) = (client.clone(), now.clone());
        async move {
            let request = write.resolve_uid(&now).await?;
            let what = format!("{} {}", request.method, request.uri);
            let answer = send_request(&client, request).await?;
            ensure!(answer.is_success(), "{what}: {}", answer.describe());
            Ok(())
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recorded(verb: &str, uri: &str, body: Value) -> RecordedWrite {
        RecordedWrite {
            verb: verb.to_owned(),
            uri: uri.to_owned(),
            body,
            at: String::new(),
            done: String::new(),
        }
    }

    fn uids(uid: &str) -> UidRegistry {
        let uids = UidRegistry::default();
        uids.record("ServiceBinding/web/a".to_owned(), uid.to_owned());
        uids
    }

    #[tokio::test]
    async fn a_write_names_the_uid_that_its_owner_has_now() {
        let body = json!({"metadata": {"name": "x", "ownerReferences": [{"uid": "old"}]}});
        let apply = recorded("patch", "/x?force=true&fieldManager=emcee", body);
        let write = prepare_writes(vec![apply], &uids("old")).expect("a known verb").remove(0);
        let request = write.resolve_uid(&uids("new")).await.expect("text");
        assert_eq!((request.method, request.content_type), (Method::PATCH, "application/apply-patch+yaml"));
        let sent: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(sent["metadata"]["ownerReferences"][0]["uid"], "new");
    }

    #[tokio::test]
    async fn an_object_that_emcee_created_is_identified_by_name_only() {
        let body = json!({"metadata": {"name": "x", "uid": "unknown"}});
        let write = prepare_writes(vec![recorded("patch", "/x?force=true", body)], &uids("old"))
            .expect("a known verb");
        let request = write.into_iter().next().expect("one").resolve_uid(&uids("new")).await.expect("text");
        assert_eq!(request.body, br#"{"metadata":{"name":"x"}}"#);
    }

    #[test]
    fn an_unknown_verb_is_an_error() {
        assert!(prepare_writes(vec![recorded("deletecollection", "/x", Value::Null)], &uids("old")).is_err());
    }
}
