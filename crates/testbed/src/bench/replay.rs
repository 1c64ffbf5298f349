//! Repeats the recorded writes with a client that knows them beforehand.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use kube::Client;
use serde_json::Value;

use super::AT_ONCE;
use super::audit::Recorded;
use super::raw::{Request, each, send};
use super::uids::Uids;

/// A write, and the object whose UID it names.
#[derive(Debug)]
pub(super) struct Write {
    request: Request,
    /// The UID that the recorded write named, and the key of the object that had it.
    names: Option<(String, String)>,
}

/// Prepares recorded writes. `then` has the UIDs that the users' resources had when the writes were recorded.
pub(super) fn ready(recorded: Vec<Recorded>, then: &Uids) -> Result<Vec<Write>> {
    let keys = then.keys();
    recorded.into_iter().map(|write| of(write, &keys)).collect()
}

fn of(recorded: Recorded, keys: &HashMap<String, String>) -> Result<Write> {
    let Recorded { verb, uri, mut body, .. } = recorded;
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
    let method = method(&verb).with_context(|| format!("no HTTP method for {verb} {uri}"))?;
    let body = if body == Value::Null { Vec::new() } else { body.to_string().into_bytes() };
    let content_type = content_type(&verb, &uri);
    Ok(Write { request: Request { method, uri, content_type, body }, names })
}

fn method(verb: &str) -> Option<Method> {
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

impl Write {
    /// Waits until the object that the write names exists, and returns the request with its present UID.
    async fn request(self, now: &Uids) -> Result<Request> {
        let Self { mut request, names } = self;
        if let Some((then, key)) = names {
            let body = String::from_utf8(request.body)?.replace(&then, &now.of(&key).await);
            request.body = body.into_bytes();
        }
        Ok(request)
    }
}

/// Sends the writes in their order, as many at a time as Emcee does.
pub(super) async fn carry_out(client: &Client, writes: Vec<Write>, now: &Uids) -> Result<()> {
    let (client, now) = (client.clone(), now.clone());
    each(writes, AT_ONCE, move |write| {
        let (client, now) = (client.clone(), now.clone());
        async move {
            let request = write.request(&now).await?;
            let what = format!("{} {}", request.method, request.uri);
            let answer = send(&client, request).await?;
            ensure!(answer.is_success(), "{what}: {}", answer.words());
            Ok(())
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recorded(verb: &str, uri: &str, body: Value) -> Recorded {
        Recorded { verb: verb.to_owned(), uri: uri.to_owned(), body, at: String::new() }
    }

    fn uids(uid: &str) -> Uids {
        let uids = Uids::default();
        uids.note("ServiceBinding/web/a".to_owned(), uid.to_owned());
        uids
    }

    #[tokio::test]
    async fn a_write_names_the_uid_that_its_owner_has_now() {
        let body = json!({"metadata": {"name": "x", "ownerReferences": [{"uid": "old"}]}});
        let apply = recorded("patch", "/x?force=true&fieldManager=emcee", body);
        let write = ready(vec![apply], &uids("old")).expect("a known verb").remove(0);
        let request = write.request(&uids("new")).await.expect("text");
        assert_eq!((request.method, request.content_type), (Method::PATCH, "application/apply-patch+yaml"));
        let sent: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(sent["metadata"]["ownerReferences"][0]["uid"], "new");
    }

    #[tokio::test]
    async fn an_object_of_emcees_own_is_named_by_its_name_alone() {
        let body = json!({"metadata": {"name": "x", "uid": "unknown"}});
        let write =
            ready(vec![recorded("patch", "/x?force=true", body)], &uids("old")).expect("a known verb");
        let request = write.into_iter().next().expect("one").request(&uids("new")).await.expect("text");
        assert_eq!(request.body, br#"{"metadata":{"name":"x"}}"#);
    }

    #[test]
    fn an_unknown_verb_is_not_guessed_at() {
        assert!(ready(vec![recorded("deletecollection", "/x", Value::Null)], &uids("old")).is_err());
    }
}
