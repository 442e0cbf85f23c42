//! The identities of things, each a type of its own so that no two are mistaken for each other.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A channel where members talk.
    ChannelId,
    /// An offer to license a track.
    ListingId,
    /// A message in a channel.
    MessageId,
    /// An order of a licence; its escrow and its payment carry the same identity.
    OrderId,
    /// One listening of a track.
    PlayId,
    /// A track.
    TrackId,
    /// A person's account.
    UserId,
}
