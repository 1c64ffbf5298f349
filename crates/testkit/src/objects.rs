//! Builders, one file per family. For fields without a method, use [`Builder::set`] and [`Builder::unset`].

pub mod emcee;
pub mod istio;
pub mod secret;
pub mod service;
pub mod workload;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Methods that all builders have.
pub trait Builder: Sized {
    /// The object as built so far.
    fn value(&mut self) -> &mut Value;

    /// Returns the finished object.
    fn build(mut self) -> Value {
        self.value().take()
    }

    /// Converts the object into a type that reads it.
    fn typed<T: DeserializeOwned>(self) -> T {
        serde_json::from_value(self.build()).expect("the type reads the object this test built")
    }

    /// Sets the value at `pointer`, which is written as in RFC 6901 (`/spec/ports/0/port`). Missing objects on the way
    /// are created; entries of lists must exist.
    #[must_use]
    fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *value_at(self.value(), pointer) = value.into();
        self
    }

    /// Removes the value at `pointer`.
    #[must_use]
    fn unset(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with '/'");
        if let Some(parent) = self.value().pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.shift_remove(key);
        }
        self
    }

    /// Adds another label.
    #[must_use]
    fn label(mut self, key: &str, value: &str) -> Self {
        map_at(self.value(), "/metadata/labels").insert(key.to_owned(), value.into());
        self
    }

    /// Adds another annotation.
    #[must_use]
    fn annotation(mut self, key: &str, value: &str) -> Self {
        map_at(self.value(), "/metadata/annotations").insert(key.to_owned(), value.into());
        self
    }

    /// Sets the UID, which the API server assigns.
    #[must_use]
    fn uid(self, uid: &str) -> Self {
        self.set("/metadata/uid", uid)
    }

    /// Sets the creation time, such as `2026-01-01T00:00:00Z`; the older resource takes precedence.
    #[must_use]
    fn created(self, at: &str) -> Self {
        self.set("/metadata/creationTimestamp", at)
    }
}

/// Defines a builder per line: type, constructor with namespace and name, apiVersion, kind.
macro_rules! builders {
    ($($(#[$doc:meta])* $type:ident, $constructor:ident, $api_version:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $type(serde_json::Value);

        $(#[$doc])*
        pub fn $constructor(namespace: &str, name: &str) -> $type {
            $type($crate::objects::namespaced($api_version, $kind, namespace, name))
        }

        impl $crate::objects::Builder for $type {
            fn value(&mut self) -> &mut serde_json::Value {
                &mut self.0
            }
        }

        impl From<$type> for serde_json::Value {
            fn from(builder: $type) -> Self {
                builder.0
            }
        }
    )*};
}
use builders;

fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

/// The value at a pointer. Missing objects on the way, and the value itself, are created.
fn value_at<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(value, |value, key| match value {
        Value::Array(list) => {
            let index = key.parse::<usize>().expect("a list is indexed by a number");
            list.get_mut(index).expect("the entry of the list exists")
        }
        value => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            value
                .as_object_mut()
                .expect("it was made an object above")
                .entry(unescape(key))
                .or_insert(Value::Null)
        }
    })
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn map_at<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Map<String, Value> {
    let place = value_at(value, pointer);
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    place.as_object_mut().expect("it was made an object above")
}

fn list_at<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Vec<Value> {
    let place = value_at(value, pointer);
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    place.as_array_mut().expect("it was made a list above")
}

/// A map of labels, or a selector, from pairs.
fn map<const N: usize>(pairs: [(&str, &str); N]) -> Value {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

fn strings<const N: usize>(values: [&str; N]) -> Value {
    values.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Builder, service::service};

    #[test]
    fn set_creates_missing_objects_and_unset_keeps_the_rest() {
        let object =
            service("default", "reviews").set("/spec/a~1b/c", 1).set("/spec/d", true).unset("/spec/d");
        assert_eq!(object.build()["spec"], json!({"a/b": {"c": 1}}));
    }

    #[test]
    fn metadata_reads_as_kubernetes_writes_it() {
        let object = service("default", "reviews").label("app", "x").uid("1").created("2026-01-01T00:00:00Z");
        let expected = json!({
            "name": "reviews",
            "namespace": "default",
            "labels": {"app": "x"},
            "uid": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        assert_eq!(object.build()["metadata"], expected);
    }
}
