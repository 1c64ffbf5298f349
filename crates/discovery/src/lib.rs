//! What meshes tell each other, and how: Envoy's incremental xDS carrying Kubernetes EndpointSlices, over mTLS.
