//! The query side's doors: GraphQL, subscriptions, streaming
