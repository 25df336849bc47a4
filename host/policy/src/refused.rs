//! Fields that Istio has and the host does not: each says why when it is met.

/// Types that no value is accepted for; the error at its place is the reason.
macro_rules! refused {
    ($($name:ident: $reason:literal,)+) => {$(
        #[derive(Clone, Debug)]
        pub(super) struct $name;

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(serde::de::Error::custom($reason))
            }
        }
    )+};
}

pub(crate) use refused;
