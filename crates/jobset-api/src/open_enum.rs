//! Enums that decode unknown values.
//!
//! The API server enforces the valid values through the CRD. A stored object can still contain another value, because
//! it was stored with an older or newer CRD, and a controller must be able to decode it.
//! [`open_enum!`](crate::open_enum) declares an enum whose last variant keeps an unknown value as text. Its JSON schema
//! contains only the known values.

/// Declares a string enum with an `Unknown(String)` variant for values that are unknown to this version.
#[macro_export]
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[doc = $doc:literal])+ $(#[default $($is_default:tt)?])? $variant:ident = $text:literal ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $( $(#[doc = $doc])+ $(#[default $($is_default)?])? $variant, )+
            /// A value that is unknown to this version, unchanged.
            Unknown(String),
        }

        impl $name {
            /// The values that the API accepts, in declaration order.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value in the notation of the API.
            pub fn as_str(&self) -> &str {
                match self { $( Self::$variant => $text, )+ Self::Unknown(text) => text }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() { $( $text => Self::$variant, )+ _ => Self::Unknown(text) }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                match value { $name::Unknown(text) => text, known => known.as_str().to_owned() }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "enum": Self::KNOWN,
                    // hack/generate adds it to the description of the field.
                    "x-enum-meanings": [$( [$text, concat!($($doc),+)] ),+],
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::jobset::RestartStrategy;

    #[test]
    fn an_unknown_value_survives_a_round_trip() {
        let value: RestartStrategy = serde_json::from_str("\"Sideways\"").unwrap();
        assert_eq!(value, RestartStrategy::Unknown("Sideways".into()));
        assert_eq!(serde_json::to_string(&value).unwrap(), "\"Sideways\"");
        let value: RestartStrategy = serde_json::from_str("\"BlockingRecreate\"").unwrap();
        assert_eq!(value, RestartStrategy::BlockingRecreate);
    }
}
