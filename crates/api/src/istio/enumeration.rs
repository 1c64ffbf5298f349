//! Enumerations that are an `i32` on the wire and their proto name in JSON.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serializer};

/// Enumeration of an Istio API. A message holds it as `i32`. Write it with `Mode::Strict.into()`, and read it
/// with the getter that prost derives (`tls.mode()`).
pub trait ProtoEnum: Copy + Default + PartialEq + Into<i32> + TryFrom<i32> {
    /// Value for names in users' objects that Emcee does not know.
    const UNRECOGNIZED: Self;

    /// Returns the variant with that proto name, or `None` if there is no such variant.
    fn from_name(name: &str) -> Option<Self>;

    /// Returns the proto name, or `None` for [`Self::UNRECOGNIZED`].
    fn name(self) -> Option<&'static str>;
}

/// Serializes an `i32` field that holds an `E` by its proto name: `#[serde(with = "ProtoName::<E>")]`.
#[derive(Debug)]
pub struct ProtoName<E>(PhantomData<E>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's generated code passes fields by reference")]
impl<E: ProtoEnum> ProtoName<E> {
    pub(super) fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        match Self::proto_name(*value) {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        let name = String::deserialize(deserializer)?;
        // An unknown name must not fail the whole object: a newer Istio may have defined it.
        Ok(E::from_name(&name).unwrap_or(E::UNRECOGNIZED).into())
    }

    /// Whether the value has no proto name, so that JSON omits the field.
    pub(super) fn is_nameless(value: &i32) -> bool {
        Self::proto_name(*value).is_none()
    }

    /// Whether the value has no proto name, or is the default, so that JSON omits the field.
    pub(super) fn is_unset(value: &i32) -> bool {
        *value == E::default().into() || Self::is_nameless(value)
    }

    fn proto_name(value: i32) -> Option<&'static str> {
        E::try_from(value).ok()?.name()
    }
}

/// Declares an enumeration with its numbers and names from Istio's `.proto` files.
macro_rules! proto_enum {
    ($(#[$doc:meta])* $enum:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal => $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
        #[repr(i32)]
        pub enum $enum {
            $($(#[$variant_doc])* $variant = $number,)+
            /// Name that Emcee does not know, in an object that it reads.
            Unrecognized = -1,
        }

        impl $crate::istio::ProtoEnum for $enum {
            const UNRECOGNIZED: Self = Self::Unrecognized;

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($name),)+
                    Self::Unrecognized => None,
                }
            }
        }
    };
}
pub(super) use proto_enum;
