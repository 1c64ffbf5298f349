//! Emcee on Kubernetes.
