//! A validating webhook that refuses one object, as Istio's webhook refuses invalid objects.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Mesh;
use crate::cluster::{Authority, Identity};

const WEBHOOK_NAME: &str = "emcee-testbed-refusal";

/// The object is refused until this is dropped.
pub struct RefusingWebhook {
    mesh: Mesh,
    configuration: String,
    server: tokio::task::JoinHandle<()>,
}

impl Mesh {
    /// Makes the API server refuse this object with these words, for every client. Other objects are accepted.
    pub fn refuse_object(&self, object: &Value, words: &'static str) -> Result<RefusingWebhook> {
        let name = object["metadata"]["name"].as_str().context("the object has no name")?.to_owned();
        let authority = Authority::root("a webhook")?;
        let address = self.plan().node();
        let own = authority.issue("webhook", None, &[], &[address.into()])?;
        let listener = self.run(async move { Ok(TcpListener::bind((address, 0))?) })?;
        let port = listener.local_addr()?.port();
        let server = self.serve_refusals(listener, &own, name, words)?;
        let configuration = webhook_configuration(
            object,
            &format!("https://{address}:{port}/"),
            &authority.identity().certificate,
        )?;
        let refusal = RefusingWebhook { mesh: self.clone(), configuration, server };
        self.apply(&refusal.configuration)?;
        self.wait_until_refused(object, &[words])?;
        Ok(refusal)
    }

    fn serve_refusals(
        &self,
        listener: TcpListener,
        own: &Identity,
        name: String,
        words: &'static str,
    ) -> Result<tokio::task::JoinHandle<()>> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(own)?));
        listener.set_nonblocking(true)?;
        self.run(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, name) = (acceptor.clone(), name.clone());
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let answer = service_fn(|request| answer_review(request, &name, words));
                        let served = hyper::server::conn::http1::Builder::new();
                        // If the connection breaks, the test sees the API server's message about it.
                        let _ = served.serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
            }))
        })
    }
}

impl Drop for RefusingWebhook {
    fn drop(&mut self) {
        if let Err(error) = self.mesh.delete(&self.configuration) {
            crate::progress::print_progress(format_args!("error: {error:#}"));
        }
        self.server.abort();
    }
}

fn webhook_configuration(object: &Value, url: &str, ca: &str) -> Result<String> {
    let version = object["apiVersion"].as_str().context("the object has no apiVersion")?;
    let Some((group, version)) = version.split_once('/') else {
        bail!("objects of the core group are not supported")
    };
    let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
    let webhook = json!({
        "name": "refusal.emcee-testbed.example",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": url, "caBundle": ByteString(ca.as_bytes().to_vec())},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "rules": [{
            "apiGroups": [group], "apiVersions": [version], "resources": [plural],
            "operations": ["CREATE", "UPDATE"],
        }],
    });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK_NAME}, "webhooks": [webhook],
    });
    Ok(configuration.to_string())
}

fn server_config(own: &Identity) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes())?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    Ok(builder.with_single_cert(chain, key)?)
}

async fn answer_review(
    request: Request<Incoming>,
    name: &str,
    words: &str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let allowed = review["request"]["name"] != name;
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": allowed, "status": {"code": 400, "message": words}},
    });
    let mut response = Response::new(Full::from(answer.to_string()));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}
