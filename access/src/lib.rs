//! Identity for both APIs: tokens, roles and permissions, problem documents, rate limits
